/* lrn_template.h - body of lrn_ISA.c; included behind simd_ISA.h. Local response normalisation across channels. */
#include <math.h>
#include <string.h>

#include "eval/kernels.h"

/* Windows up to this size reach into the neighbouring blocks only. */
#define MAX_SIZE (2 * LANES)

static bool lrn_prepare(struct sqz_layer *layer) {
    if (layer->op != SQZ_OP_LRN || layer->params.lrn.size > MAX_SIZE) return false;
    layer->n_phases = 1;
    layer->items[0] = layer->in_h;
    layer->local_count = 3 * LANES * layer->in_w;
    layer->cost = (double)sqz_divide_up(layer->in_c, LANES) * (double)(layer->in_h * layer->in_w) * 20;
    return true;
}

/* base^-beta; square roots give the exponents in use (3/4 in AlexNet and GoogLeNet). */
INLINE vec power(vec base, float beta) {
    if (beta == 0.75f) {
        vec root = vec_sqrt(base);
        return vec_div(vec_set(1), vec_mul(root, vec_sqrt(root)));
    }
    if (beta == 0.5f) return vec_div(vec_set(1), vec_sqrt(base));
    if (beta == 1.0f) return vec_div(vec_set(1), base);
    float lane[LANES];
    vec_store(lane, base);
    for (int l = 0; l < LANES; l++) lane[l] = powf(lane[l], -beta);
    return vec_load(lane);
}

/* Squares of a block's row into the third `slot` of squares[w][3][L]; zero for channels that do not exist. */
static void square_row(const struct sqz_layer *layer, const float *in, size_t block, size_t y, float *squares,
                       size_t slot) {
    size_t blocks = sqz_divide_up(layer->in_c, LANES);
    for (size_t x = 0; x < layer->in_w; x++) {
        float *to = squares + (x * 3 + slot) * LANES;
        if (block >= blocks) {
            vec_store(to, vec_set(0));
            continue;
        }
        vec value = vec_load(in + ((block * layer->in_h + y) * layer->in_w + x) * LANES);
        vec_store(to, vec_mul(value, value));
        for (size_t l = layer->in_c - block * LANES; l < LANES; l++) to[l] = 0;
    }
}

static void lrn_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item, float *local) {
    (void)phase;
    size_t blocks = sqz_divide_up(layer->in_c, LANES), size = layer->params.lrn.size, below = (size - 1) / 2;
    vec factor = vec_set(layer->params.lrn.alpha / (float)size), k = vec_set(layer->params.lrn.k);
    for (size_t block = 0; block < blocks; block++) {
        if (block == 0) {
            square_row(layer, io->in[0], blocks, item, local, 0);
            square_row(layer, io->in[0], 0, item, local, 1);
        } else {
            for (size_t x = 0; x < layer->in_w; x++)
                memmove(local + x * 3 * LANES, local + (x * 3 + 1) * LANES, 2 * LANES * sizeof *local);
        }
        square_row(layer, io->in[0], block + 1, item, local, 2);
        size_t at = (block * layer->in_h + item) * layer->in_w * LANES;
        for (size_t x = 0; x < layer->in_w; x++, at += LANES) {
            const float *first = local + (x * 3 + 1) * LANES - below;
            vec sum = vec_load(first);
            for (size_t i = 1; i < size; i++) sum = vec_add(sum, vec_load(first + i));
            vec result = vec_mul(vec_load(io->in[0] + at), power(vec_fma(factor, sum, k), layer->params.lrn.beta));
            vec_store(io->out + at, result);
        }
    }
}

const struct sqz_kernel KERNEL(lrn) = {
    .name = KERNEL_NAME("lrn"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BLOCKED,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .prepare = lrn_prepare,
    .run = lrn_run,
};
