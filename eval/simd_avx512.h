/* simd_avx512.h - sixteen floats at a time, for the kernel templates. Opens a target region: end with simd_end.h. */
#ifndef SQZ_EVAL_SIMD_AVX512_H
#define SQZ_EVAL_SIMD_AVX512_H

#include <immintrin.h>

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma"))),                   \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")
#endif

#define LANES 16
#define LEVEL SQZ_ISA_AVX512
#define KERNEL(name) KERNEL_OF(name)
#define KERNEL_OF(name) sqz_kernel_##name##_avx512
#define KERNEL_NAME(name) name "_avx512"
/* 2 x 14 sums, 2 weights and 1 pixel fill 31 of the 32 registers. */
#define GEMM_PIXELS 14
#define FOR_GEMM_PIXELS(X, B)                                                                                          \
    X(B, 1) X(B, 2) X(B, 3) X(B, 4) X(B, 5) X(B, 6) X(B, 7) X(B, 8) X(B, 9) X(B, 10) X(B, 11) X(B, 12) X(B, 13) X(B, 14)

#define GEMM_TABLE sqz_gemm_avx512

#define INLINE static inline __attribute__((always_inline))

typedef __m512 vec;

INLINE vec vec_load(const float *p) {
    return _mm512_loadu_ps(p);
}
INLINE void vec_store(float *p, vec a) {
    _mm512_storeu_ps(p, a);
}
INLINE vec vec_set(float a) {
    return _mm512_set1_ps(a);
}
INLINE vec vec_add(vec a, vec b) {
    return _mm512_add_ps(a, b);
}
INLINE vec vec_sub(vec a, vec b) {
    return _mm512_sub_ps(a, b);
}
INLINE vec vec_mul(vec a, vec b) {
    return _mm512_mul_ps(a, b);
}
INLINE vec vec_div(vec a, vec b) {
    return _mm512_div_ps(a, b);
}
INLINE vec vec_sqrt(vec a) {
    return _mm512_sqrt_ps(a);
}
/* One number of memory in all lanes. In assembly, so that the compiler does not carry numbers from one round of a loop
 * to the next instead of loading them again: that costs more than it saves, and registers that there are none of. */
INLINE vec vec_broadcast(const float *p) {
    vec a;
    __asm__("vbroadcastss %1, %0" : "=v"(a) : "m"(*p));
    return a;
}
/* a * b + c in one rounding */
INLINE vec vec_fma(vec a, vec b, vec c) {
    return _mm512_fmadd_ps(a, b, c);
}
/* c - a * b in one rounding */
INLINE vec vec_fnma(vec a, vec b, vec c) {
    return _mm512_fnmadd_ps(a, b, c);
}
/* The greater or smaller one; b where either is not a number. */
INLINE vec vec_max(vec a, vec b) {
    return _mm512_max_ps(a, b);
}
INLINE vec vec_min(vec a, vec b) {
    return _mm512_min_ps(a, b);
}

#endif
