/* gemm_template.h - body of gemm_ISA.c; included behind simd_ISA.h. */
#include "eval/gemm.h"

/* Weights are read once from first to last, often from the last-level cache or memory, whose delay the hardware's own
 * prefetching covers only in part. Of 1, 2, 4 and 8 KiB ahead, 8 was fastest by a little on the layers of AlexNet, and
 * none made a difference where weights are in the first-level cache. */
#define PREFETCH_FLOATS 2048

INLINE void gemm_body(const struct sqz_gemm *gemm, const int B, const int P, const size_t step) {
    vec sum[SQZ_GEMM_BLOCKS * GEMM_PIXELS];
    float *const out = gemm->out;
    const size_t out_block_stride = gemm->out_block_stride;
    if (gemm->accumulate) {
#pragma GCC unroll 16
        for (int p = 0; p < P; p++)
#pragma GCC unroll 2
            for (int b = 0; b < B; b++) sum[p * B + b] = vec_load(out + (size_t)b * out_block_stride + p * LANES);
    } else {
        vec bias[SQZ_GEMM_BLOCKS];
#pragma GCC unroll 2
        for (int b = 0; b < B; b++) bias[b] = gemm->bias ? vec_load(gemm->bias + b * LANES) : vec_set(0);
#pragma GCC unroll 16
        for (int p = 0; p < P; p++)
#pragma GCC unroll 2
            for (int b = 0; b < B; b++) sum[p * B + b] = bias[b];
    }
    const float *weights = gemm->weights;
    for (size_t block = 0; block < gemm->n_blocks; block++) {
        size_t run = block + 1 < gemm->n_blocks ? gemm->run : gemm->last_run;
        for (size_t ky = 0; ky < gemm->kernel_h; ky++) {
            for (size_t kx = 0; kx < gemm->kernel_w; kx++) {
                const float *x = gemm->x + block * gemm->block_stride + ky * gemm->row_step + kx * gemm->col_step;
                for (size_t l = 0; l < run; l++) {
                    vec weight[SQZ_GEMM_BLOCKS];
#pragma GCC unroll 2
                    for (int b = 0; b < B; b++) weight[b] = vec_load(weights + b * LANES);
#pragma GCC unroll 16
                    for (int p = 0; p < P; p++) {
                        vec pixel = vec_broadcast(x + (size_t)p * step);
#pragma GCC unroll 2
                        for (int b = 0; b < B; b++) sum[p * B + b] = vec_fma(pixel, weight[b], sum[p * B + b]);
                    }
#pragma GCC unroll 2
                    for (int b = 0; b < B * LANES; b += 16) __builtin_prefetch(weights + PREFETCH_FLOATS + b);
                    weights += B * LANES;
                    x++;
                }
            }
        }
    }
    if (gemm->clamp) {
        vec low = vec_set(gemm->low), high = vec_set(gemm->high);
#pragma GCC unroll 16
        for (int p = 0; p < P; p++)
#pragma GCC unroll 2
            for (int b = 0; b < B; b++) sum[p * B + b] = vec_min(high, vec_max(low, sum[p * B + b]));
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; p++)
#pragma GCC unroll 2
        for (int b = 0; b < B; b++) vec_store(out + (size_t)b * out_block_stride + p * LANES, sum[p * B + b]);
}

#define DEFINE(B, P)                                                                                                   \
    static void gemm_lanes_##B##x##P(const struct sqz_gemm *gemm) {                                                    \
        gemm_body(gemm, B, P, LANES);                                                                                  \
    }                                                                                                                  \
    static void gemm_2_##B##x##P(const struct sqz_gemm *gemm) {                                                        \
        gemm_body(gemm, B, P, 2);                                                                                      \
    }                                                                                                                  \
    static void gemm_4_##B##x##P(const struct sqz_gemm *gemm) {                                                        \
        gemm_body(gemm, B, P, 4);                                                                                      \
    }                                                                                                                  \
    static void gemm_any_##B##x##P(const struct sqz_gemm *gemm) {                                                      \
        gemm_body(gemm, B, P, gemm->pixel_step);                                                                       \
    }
FOR_GEMM_PIXELS(DEFINE, 1)
FOR_GEMM_PIXELS(DEFINE, 2)

#define LIST_LANES(B, P) gemm_lanes_##B##x##P,
#define LIST_2(B, P) gemm_2_##B##x##P,
#define LIST_4(B, P) gemm_4_##B##x##P,
#define LIST_ANY(B, P) gemm_any_##B##x##P,
sqz_gemm_table GEMM_TABLE = {
    {{FOR_GEMM_PIXELS(LIST_LANES, 1)}, {FOR_GEMM_PIXELS(LIST_LANES, 2)}},
    {{FOR_GEMM_PIXELS(LIST_2, 1)}, {FOR_GEMM_PIXELS(LIST_2, 2)}},
    {{FOR_GEMM_PIXELS(LIST_4, 1)}, {FOR_GEMM_PIXELS(LIST_4, 2)}},
    {{FOR_GEMM_PIXELS(LIST_ANY, 1)}, {FOR_GEMM_PIXELS(LIST_ANY, 2)}},
};
