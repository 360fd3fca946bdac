/*
 * dense_template.h - body of dense_ISA.c; included behind simd_ISA.h.
 * A dense layer is a 1x1 convolution whose pixels are the images of the batch.
 */
#include "eval/panel_template.h"

/* Blocks of input features worked through at a time when there are several groups of images: 256 rows of 32 weights
 * are 32 KiB, which the second group finds in the first-level cache. */
#define DENSE_BLOCKS (256 / LANES)

static bool dense_prepare(struct sqz_layer *layer) {
    if (layer->op != SQZ_OP_DENSE) return false;
    layer->in_c *= layer->in_h * layer->in_w;
    layer->in_h = layer->in_w = 1;
    plan_weights(layer, 1);
    layer->n_phases = 1;
    layer->items[0] = layer->pack_items;
    layer->cost = (double)(layer->weight_count / LANES) * (double)layer->max_batch;
    return true;
}

static void dense_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                      float *local) {
    (void)phase, (void)local;
    struct sqz_panel panel = sqz_panel_at(layer, LANES, item);
    struct sqz_gemm whole = gemm_of_panel(layer, io, item, &panel);
    size_t images = io->images, groups = sqz_divide_up(images, GEMM_PIXELS);
    size_t stride = layer->max_batch * LANES;
    size_t step = groups > 1 ? DENSE_BLOCKS : panel.n_in;
    for (size_t block = 0; block < panel.n_in; block += step) {
        size_t n = panel.n_in - block < step ? panel.n_in - block : step;
        bool last = block + n == panel.n_in;
        struct sqz_gemm gemm = whole;
        gemm.weights += block * LANES * panel.n_out * LANES;
        gemm.n_blocks = n;
        gemm.last_run = last ? panel.last_run : LANES;
        gemm.block_stride = gemm.out_block_stride = stride;
        gemm.accumulate = block > 0;
        gemm.clamp = last && whole.clamp;
        for (size_t group = 0; group < groups; group++) {
            size_t begin = sqz_part_begin(images, groups, group);
            gemm.x = io->in[0] + block * stride + begin * LANES;
            gemm.out = io->out + panel.first_out * stride + begin * LANES;
            GEMM_TABLE[SQZ_STEP_LANES][panel.n_out - 1][sqz_part_begin(images, groups, group + 1) - begin - 1](&gemm);
        }
    }
}

const struct sqz_kernel KERNEL(dense) = {
    .name = KERNEL_NAME("dense"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BATCH,
    .out = SQZ_LAYOUT_BATCH,
    .lanes = LANES,
    .prepare = dense_prepare,
    .pack = pack_blocked,
    .run = dense_run,
};
