/* trellis_search_avx2.c - one row of the Viterbi search for eight states at a time. */
#include "lib/trellis_search.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2")))

/* costs[(t ^ flip) .. ], t..t + 7: whole vectors change places by the high bits, floats within one by the low ones. */
TARGET static inline __m256 load_flipped(const float *costs, unsigned t, unsigned flip, __m256i lanes) {
    return _mm256_permutevar8x32_ps(_mm256_load_ps(costs + (t ^ (flip & ~7u))), lanes);
}

TARGET static inline __m256i lanes_flipped(unsigned flip) {
    return _mm256_xor_si256(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)(flip & 7)));
}

/* Eight states from t on of one half; their decisions are bits of *decisions. */
TARGET static inline __m256 merge(const float *costs, unsigned t, const unsigned flips[2], const __m256i lanes[2],
                                  const float branch[2], unsigned *decisions) {
    __m256 even = _mm256_add_ps(load_flipped(costs, t, flips[0], lanes[0]), _mm256_set1_ps(branch[0]));
    __m256 odd = _mm256_add_ps(load_flipped(costs, t, flips[1], lanes[1]), _mm256_set1_ps(branch[1]));
    *decisions = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(odd, even, _CMP_LT_OQ));
    return _mm256_min_ps(odd, even);
}

/* States t..t + 15 of the result, of even and odd number apart. */
TARGET static inline void store_apart(struct sqz_trellis_costs *to, unsigned t, __m256 low, __m256 high) {
    __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(low, high, 0x88));
    __m256d odd = _mm256_castps_pd(_mm256_shuffle_ps(low, high, 0xDD));
    _mm256_store_ps(to->even + t / 2, _mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xD8)));
    _mm256_store_ps(to->odd + t / 2, _mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xD8)));
}

TARGET void sqz_trellis_step_avx2(struct sqz_trellis trellis, unsigned n_states, const struct sqz_trellis_costs *from,
                                  const float branch[4], struct sqz_trellis_costs *to, uint32_t *decisions) {
    const unsigned half = n_states / 2, feedback = trellis.feedback & (half - 1);
    const unsigned flips[2][2] = {{0, trellis.input}, {feedback, feedback ^ trellis.input}};
    __m256i lanes[2][2];
    for (int i = 0; i < 4; i++) lanes[i / 2][i % 2] = lanes_flipped(flips[i / 2][i % 2]);
    for (unsigned t = 0; t < n_states; t += 16) {
        __m256 merged[2];
        unsigned bits[2];
        for (unsigned i = 0; i < 2; i++) {
            unsigned at = t + 8 * i, upper = at >= half;
            merged[i] = merge(upper ? from->odd : from->even, at - upper * half, flips[upper], lanes[upper],
                              branch + 2 * upper, &bits[i]);
        }
        store_apart(to, t, merged[0], merged[1]);
        uint32_t here = bits[0] | bits[1] << 8;
        if (t % 32 == 0)
            decisions[t / 32] = here;
        else
            decisions[t / 32] |= here << 16;
    }
}

#endif
