/*
 * winograd6_transforms.h - one dimension of Winograd's F(4x4, 3x3) and F(2x2, 5x5); included behind simd_ISA.h.
 * Both interpolate at 0, 1, -1, 2, -2 and infinity, so they differ only in the transforms of weights and outputs.
 */
#define PATCH 6 /* inputs of a tile's side */
#define WINOGRAD(name) name##_winograd
#define WINOGRAD_NAME "winograd"

/* Time of the transforms of a patch and of a tile's outputs, in vector multiply-adds: what was left of the time of the
 * 3x3 layers of fire2 and fire5 in bench-kernels on an EPYC 9005 behind the products; and operations of a kernel's. */
#define PATCH_COST 350
#define TILE_COST 350
#define TRANSFORM_COST 120

/* One row or column of G g G^T: `size` values to 6. */
INLINE void transform_weights(const vec *g, size_t stride, const size_t size, vec *to, size_t to_stride) {
    vec sixth = vec_set(-1.0f / 6), part = vec_set(1.0f / 24), two = vec_set(2), four = vec_set(4);
    vec even = vec_add(g[0], g[2 * stride]), odd = g[stride];
    vec even_twos = vec_fma(four, g[2 * stride], g[0]), odd_twos = vec_mul(two, g[stride]);
    if (size == 5) {
        even = vec_add(even, g[4 * stride]);
        odd = vec_add(odd, g[3 * stride]);
        even_twos = vec_fma(vec_set(16), g[4 * stride], even_twos);
        odd_twos = vec_fma(vec_set(8), g[3 * stride], odd_twos);
    }
    to[0] = vec_mul(g[0], vec_set(1.0f / 4));
    to[to_stride] = vec_mul(vec_add(even, odd), sixth);
    to[2 * to_stride] = vec_mul(vec_sub(even, odd), sixth);
    to[3 * to_stride] = vec_mul(vec_add(even_twos, odd_twos), part);
    to[4 * to_stride] = vec_mul(vec_sub(even_twos, odd_twos), part);
    to[5 * to_stride] = g[(size - 1) * stride];
}

/* One row or column of B^T d B. */
INLINE void transform_input(const vec *d, size_t stride, vec *to, size_t to_stride) {
    vec four = vec_set(4), five = vec_set(5);
    vec d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride], d4 = d[4 * stride], d5 = d[5 * stride];
    vec a = vec_fnma(four, d2, d4), b = vec_fnma(four, d1, d3);
    vec c = vec_sub(d4, d2), e = vec_sub(d3, d1);
    e = vec_add(e, e);
    to[0] = vec_fma(four, d0, vec_fnma(five, d2, d4));
    to[to_stride] = vec_add(a, b);
    to[2 * to_stride] = vec_sub(a, b);
    to[3 * to_stride] = vec_add(c, e);
    to[4 * to_stride] = vec_sub(c, e);
    to[5 * to_stride] = vec_fma(four, d1, vec_fnma(five, d3, d5));
}

/* One row or column of A^T m A: 6 values to `tile`. */
INLINE void transform_output(const vec *m, const size_t tile, vec *to, size_t to_stride) {
    vec two = vec_set(2), four = vec_set(4), eight = vec_set(8);
    vec s1 = vec_add(m[1], m[2]), d1 = vec_sub(m[1], m[2]);
    vec s2 = vec_add(m[3], m[4]), d2 = vec_sub(m[3], m[4]);
    to[0] = vec_add(vec_add(m[0], s1), s2);
    to[to_stride] = vec_fma(two, d2, d1);
    if (tile == 2) {
        to[to_stride] = vec_add(to[to_stride], m[5]);
        return;
    }
    to[2 * to_stride] = vec_fma(four, s2, s1);
    to[3 * to_stride] = vec_add(vec_fma(eight, d2, d1), m[5]);
}
