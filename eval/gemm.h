/* gemm.h - the register-blocked product that every convolution and dense kernel is built from. */
#ifndef SQZ_EVAL_GEMM_H
#define SQZ_EVAL_GEMM_H

#include <stdbool.h>
#include <stddef.h>

/* Output blocks (of L channels) that one product computes together. */
#define SQZ_GEMM_BLOCKS 2

/* The most pixels of one product at any level. */
#define SQZ_GEMM_MAX_PIXELS 14

/*
 * out[b][p][lane] = clamp(bias[b][lane] + sum over (block, ky, kx, l) of
 *     weights[block][ky][kx][l][b][lane] *
 *     x[block * block_stride + ky * row_step + kx * col_step + l + p * pixel_step])
 * for b < B blocks and p < P pixels, l < run (last_run in the last block).
 * Each sum is made of fused multiply-adds in exactly this order, whatever B
 * and P are, so a result does not depend on how pixels are grouped.
 */
struct sqz_gemm {
    const float *weights, *x;
    size_t n_blocks, block_stride;
    size_t kernel_h, row_step, kernel_w, col_step;
    size_t run, last_run;
    size_t pixel_step;
    const float *bias; /* [B][L], or NULL for zero */
    bool accumulate;   /* begin with what out holds instead of the bias */
    bool clamp;
    float low, high;
    float *out;
    size_t out_block_stride;
};

typedef void sqz_gemm_fn(const struct sqz_gemm *gemm);

/* Distances of neighbouring pixels in x that have code of their own: L, 2 and 4 floats; the last takes any. */
enum sqz_gemm_step { SQZ_STEP_LANES, SQZ_STEP_2, SQZ_STEP_4, SQZ_STEP_ANY, SQZ_N_STEPS };

/* [step][B - 1][P - 1]; P up to 14 for AVX-512 and NEON, 6 for AVX2. */
typedef sqz_gemm_fn *const sqz_gemm_table[SQZ_N_STEPS][SQZ_GEMM_BLOCKS][SQZ_GEMM_MAX_PIXELS];
extern sqz_gemm_table sqz_gemm_avx512, sqz_gemm_avx2, sqz_gemm_neon;

#endif
