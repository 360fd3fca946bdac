/* sparse_transpose.h - a square of L x L floats in registers, turned; included behind simd_ISA.h. */
#if LANES == 16

/* Pairs, fours, then whole quarters of registers change places. */
INLINE void vec_transpose(vec *rows) {
    vec pairs[16], fours[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        __m512d a = _mm512_castps_pd(pairs[i]), b = _mm512_castps_pd(pairs[i + 1]);
        __m512d c = _mm512_castps_pd(pairs[i + 2]), d = _mm512_castps_pd(pairs[i + 3]);
        fours[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
        fours[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
        fours[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
        fours[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
    }
    /* fours[4 * g + k] holds columns k, k + 4, k + 8 and k + 12 of rows 4 * g to 4 * g + 3. */
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        vec low_a = _mm512_shuffle_f32x4(fours[k], fours[k + 4], 0x88);
        vec high_a = _mm512_shuffle_f32x4(fours[k], fours[k + 4], 0xdd);
        vec low_b = _mm512_shuffle_f32x4(fours[k + 8], fours[k + 12], 0x88);
        vec high_b = _mm512_shuffle_f32x4(fours[k + 8], fours[k + 12], 0xdd);
        rows[k] = _mm512_shuffle_f32x4(low_a, low_b, 0x88);
        rows[k + 8] = _mm512_shuffle_f32x4(low_a, low_b, 0xdd);
        rows[k + 4] = _mm512_shuffle_f32x4(high_a, high_b, 0x88);
        rows[k + 12] = _mm512_shuffle_f32x4(high_a, high_b, 0xdd);
    }
}

#elif LANES == 4

INLINE void vec_transpose(vec *rows) {
    vec low_a = vzip1q_f32(rows[0], rows[2]), high_a = vzip2q_f32(rows[0], rows[2]);
    vec low_b = vzip1q_f32(rows[1], rows[3]), high_b = vzip2q_f32(rows[1], rows[3]);
    rows[0] = vzip1q_f32(low_a, low_b);
    rows[1] = vzip2q_f32(low_a, low_b);
    rows[2] = vzip1q_f32(high_a, high_b);
    rows[3] = vzip2q_f32(high_a, high_b);
}

#else

INLINE void vec_transpose(vec *rows) {
    vec pairs[8], fours[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        fours[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        fours[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
        fours[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        fours[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; k++) {
        rows[k] = _mm256_permute2f128_ps(fours[k], fours[k + 4], 0x20);
        rows[k + 4] = _mm256_permute2f128_ps(fours[k], fours[k + 4], 0x31);
    }
}

#endif
