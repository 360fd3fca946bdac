/* simd_avx2.h - eight floats at a time, for the kernel templates. Opens a target region: end with simd_end.h. */
#ifndef SQZ_EVAL_SIMD_AVX2_H
#define SQZ_EVAL_SIMD_AVX2_H

#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define LANES 8
#define LEVEL SQZ_ISA_AVX2
#define KERNEL(name) KERNEL_OF(name)
#define KERNEL_OF(name) sqz_kernel_##name##_avx2
#define KERNEL_NAME(name) name "_avx2"
/* 2 x 6 sums, 2 weights and 1 pixel fill 15 of the 16 registers. */
#define GEMM_PIXELS 6
#define FOR_GEMM_PIXELS(X, B) X(B, 1) X(B, 2) X(B, 3) X(B, 4) X(B, 5) X(B, 6)

#define GEMM_TABLE sqz_gemm_avx2

#define INLINE static inline __attribute__((always_inline))

typedef __m256 vec;

INLINE vec vec_load(const float *p) {
    return _mm256_loadu_ps(p);
}
INLINE void vec_store(float *p, vec a) {
    _mm256_storeu_ps(p, a);
}
INLINE vec vec_set(float a) {
    return _mm256_set1_ps(a);
}
INLINE vec vec_add(vec a, vec b) {
    return _mm256_add_ps(a, b);
}
INLINE vec vec_sub(vec a, vec b) {
    return _mm256_sub_ps(a, b);
}
INLINE vec vec_mul(vec a, vec b) {
    return _mm256_mul_ps(a, b);
}
INLINE vec vec_div(vec a, vec b) {
    return _mm256_div_ps(a, b);
}
INLINE vec vec_sqrt(vec a) {
    return _mm256_sqrt_ps(a);
}
/* One number of memory in all lanes. In assembly, so that the compiler does not carry numbers from one round of a loop
 * to the next instead of loading them again: that costs more than it saves, and registers that there are none of. */
INLINE vec vec_broadcast(const float *p) {
    vec a;
    __asm__("vbroadcastss %1, %0" : "=x"(a) : "m"(*p));
    return a;
}
/* a * b + c in one rounding */
INLINE vec vec_fma(vec a, vec b, vec c) {
    return _mm256_fmadd_ps(a, b, c);
}
/* c - a * b in one rounding */
INLINE vec vec_fnma(vec a, vec b, vec c) {
    return _mm256_fnmadd_ps(a, b, c);
}
/* The greater or smaller one; b where either is not a number. */
INLINE vec vec_max(vec a, vec b) {
    return _mm256_max_ps(a, b);
}
INLINE vec vec_min(vec a, vec b) {
    return _mm256_min_ps(a, b);
}

#endif
