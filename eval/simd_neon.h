/* simd_neon.h - four floats at a time on aarch64, for the kernel templates. Opens a region: end with simd_end.h. */
#ifndef SQZ_EVAL_SIMD_NEON_H
#define SQZ_EVAL_SIMD_NEON_H

#include <arm_neon.h>
#include <stddef.h>

/* Every aarch64 processor has these instructions, so the region asks for nothing. */
#ifdef __clang__
#pragma clang attribute push
#else
#pragma GCC push_options
#endif

#define LANES 4
#define LEVEL SQZ_ISA_NEON
#define KERNEL(name) KERNEL_OF(name)
#define KERNEL_OF(name) sqz_kernel_##name##_neon
#define KERNEL_NAME(name) name "_neon"
/* 2 x 14 sums, 2 weights and 1 pixel fill 31 of the 32 registers. */
#define GEMM_PIXELS 14
#define FOR_GEMM_PIXELS(X, B)                                                                                          \
    X(B, 1) X(B, 2) X(B, 3) X(B, 4) X(B, 5) X(B, 6) X(B, 7) X(B, 8) X(B, 9) X(B, 10) X(B, 11) X(B, 12) X(B, 13) X(B, 14)

#define GEMM_TABLE sqz_gemm_neon

#define INLINE static inline __attribute__((always_inline))

typedef float32x4_t vec;

INLINE vec vec_load(const float *p) {
    return vld1q_f32(p);
}
INLINE void vec_store(float *p, vec a) {
    vst1q_f32(p, a);
}
INLINE vec vec_set(float a) {
    return vdupq_n_f32(a);
}
INLINE vec vec_add(vec a, vec b) {
    return vaddq_f32(a, b);
}
INLINE vec vec_sub(vec a, vec b) {
    return vsubq_f32(a, b);
}
INLINE vec vec_mul(vec a, vec b) {
    return vmulq_f32(a, b);
}
INLINE vec vec_div(vec a, vec b) {
    return vdivq_f32(a, b);
}
INLINE vec vec_sqrt(vec a) {
    return vsqrtq_f32(a);
}
/* One number of memory in all lanes. */
INLINE vec vec_broadcast(const float *p) {
    return vld1q_dup_f32(p);
}
/* a * b + c in one rounding */
INLINE vec vec_fma(vec a, vec b, vec c) {
    return vfmaq_f32(c, a, b);
}
/* c - a * b in one rounding */
INLINE vec vec_fnma(vec a, vec b, vec c) {
    return vfmsq_f32(c, a, b);
}
/* The greater or smaller one; b where either is not a number, as on the other levels, which vmaxq_f32 does not do. */
INLINE vec vec_max(vec a, vec b) {
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}
INLINE vec vec_min(vec a, vec b) {
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

#endif
