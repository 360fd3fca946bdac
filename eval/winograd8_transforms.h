/*
 * winograd8_transforms.h - one dimension of Winograd's F(6x6, 3x3) and F(4x4, 5x5); included behind simd_ISA.h.
 * Both interpolate at 0, 1, -1, 2, -2, 1/2, -1/2 and infinity. With N(a) the product of a - b over all other finite
 * points b, a row of G is the powers of a over N(a), one of A^T the same power of every a, and one of B^T has the
 * coefficients of the product of x - b; that of infinity those of the product over all points.
 */
#define PATCH 8 /* inputs of a tile's side */
#define WINOGRAD(name) name##_winograd8
#define WINOGRAD_NAME "winograd8"

/* Time of the transforms of a patch and of a tile's outputs, in vector multiply-adds: what was left of the time of the
 * 3x3 layers of fire2 and fire5 in bench-kernels on an EPYC 9005 behind the products; and operations of a kernel's. */
#define PATCH_COST 1000
#define TILE_COST 1000
#define TRANSFORM_COST 250

/* One row or column of G g G^T: `size` values to 8. */
INLINE void transform_weights(const vec *g, size_t stride, const size_t size, vec *to, size_t to_stride) {
    vec quarter = vec_set(0.25f), two = vec_set(2), four = vec_set(4), half = vec_set(0.5f);
    vec ninths = vec_set(-2.0f / 9), over_90 = vec_set(1.0f / 90), over_45 = vec_set(32.0f / 45);
    vec g0 = g[0], g1 = g[stride], g2 = g[2 * stride];
    /* Even and odd powers apart, at 1, 2 and 1/2. */
    vec even = vec_add(g0, g2), odd = g1;
    vec even_2 = vec_fma(four, g2, g0), odd_2 = vec_mul(two, g1);
    vec even_half = vec_fma(quarter, g2, g0), odd_half = vec_mul(half, g1);
    if (size == 5) {
        vec g3 = g[3 * stride], g4 = g[4 * stride];
        even = vec_add(even, g4);
        odd = vec_add(odd, g3);
        even_2 = vec_fma(vec_set(16), g4, even_2);
        odd_2 = vec_fma(vec_set(8), g3, odd_2);
        even_half = vec_fma(vec_set(0.0625f), g4, even_half);
        odd_half = vec_fma(vec_set(0.125f), g3, odd_half);
    }
    to[0] = g0;
    to[to_stride] = vec_mul(ninths, vec_add(even, odd));
    to[2 * to_stride] = vec_mul(ninths, vec_sub(even, odd));
    to[3 * to_stride] = vec_mul(over_90, vec_add(even_2, odd_2));
    to[4 * to_stride] = vec_mul(over_90, vec_sub(even_2, odd_2));
    to[5 * to_stride] = vec_mul(over_45, vec_add(even_half, odd_half));
    to[6 * to_stride] = vec_mul(over_45, vec_sub(even_half, odd_half));
    to[7 * to_stride] = g[(size - 1) * stride];
}

/* One row or column of B^T d B. */
INLINE void transform_input(const vec *d, size_t stride, vec *to, size_t to_stride) {
    vec a = vec_set(5.25f), b = vec_set(4.25f), c = vec_set(2.5f), e = vec_set(1.25f);
    vec two = vec_set(2), four = vec_set(4), half = vec_set(0.5f), quarter = vec_set(0.25f);
    vec d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride], d4 = d[4 * stride];
    vec d5 = d[5 * stride], d6 = d[6 * stride];
    vec even = vec_fnma(b, d4, vec_add(d2, d6)), odd = vec_fnma(b, d3, vec_add(d1, d5));
    vec even_2 = vec_fma(quarter, d2, vec_fnma(e, d4, d6));
    vec odd_2 = vec_fma(half, d1, vec_fnma(c, d3, vec_mul(two, d5)));
    vec even_half = vec_fma(four, vec_fnma(e, d4, d2), d6);
    vec odd_half = vec_fma(two, d1, vec_fnma(c, d3, vec_mul(half, d5)));
    to[0] = vec_fma(a, vec_sub(d4, d2), vec_sub(d[0], d6));
    to[to_stride] = vec_add(even, odd);
    to[2 * to_stride] = vec_sub(even, odd);
    to[3 * to_stride] = vec_add(even_2, odd_2);
    to[4 * to_stride] = vec_sub(even_2, odd_2);
    to[5 * to_stride] = vec_add(even_half, odd_half);
    to[6 * to_stride] = vec_sub(even_half, odd_half);
    to[7 * to_stride] = vec_fma(a, vec_sub(d3, d5), vec_sub(d[7 * stride], d1));
}

/* One row or column of A^T m A: 8 values to `tile`. */
INLINE void transform_output(const vec *m, const size_t tile, vec *to, size_t to_stride) {
    vec s1 = vec_add(m[1], m[2]), d1 = vec_sub(m[1], m[2]);
    vec s2 = vec_add(m[3], m[4]), d2 = vec_sub(m[3], m[4]);
    vec s3 = vec_add(m[5], m[6]), d3 = vec_sub(m[5], m[6]);
    to[0] = vec_add(vec_add(m[0], s1), vec_add(s2, s3));
    to[to_stride] = vec_fma(vec_set(2), d2, vec_fma(vec_set(0.5f), d3, d1));
    to[2 * to_stride] = vec_fma(vec_set(4), s2, vec_fma(vec_set(0.25f), s3, s1));
    to[3 * to_stride] = vec_fma(vec_set(8), d2, vec_fma(vec_set(0.125f), d3, d1));
    if (tile == 4) {
        to[3 * to_stride] = vec_add(to[3 * to_stride], m[7]);
        return;
    }
    to[4 * to_stride] = vec_fma(vec_set(16), s2, vec_fma(vec_set(0.0625f), s3, s1));
    to[5 * to_stride] = vec_add(vec_fma(vec_set(32), d2, vec_fma(vec_set(0.03125f), d3, d1)), m[7]);
}
