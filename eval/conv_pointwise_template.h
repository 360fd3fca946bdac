/*
 * conv_pointwise_template.h - body of conv_pointwise_ISA.c; included behind simd_ISA.h.
 * 1x1 convolutions of stride 1 without padding: all rows of the image are one row of pixels. From floats, and from
 * packed weights, a panel of which becomes floats in the cache and then meets all pixels of a piece of work.
 */
#include "eval/panel_template.h"

#include "eval/codebook_panel_template.h"

static bool pointwise_prepare(struct sqz_layer *layer) {
    const struct sqz_window *w = &layer->params.conv.window;
    if (layer->op != SQZ_OP_CONV || w->kernel_h != 1 || w->kernel_w != 1 || w->stride_h != 1 || w->stride_w != 1 ||
        w->pad_top || w->pad_left || w->pad_bottom || w->pad_right)
        return false;
    plan_weights(layer, 1);
    size_t pixels = layer->out_h * layer->out_w;
    layer->n_phases = 1;
    plan_items(layer, sqz_divide_up(pixels, GEMM_PIXELS), GEMM_PIXELS * sqz_round_up(layer->in_c, LANES), 0);
    layer->cost = (double)pixels * plan_products(layer, 1);
    return true;
}

static bool codebook_pointwise_prepare(struct sqz_layer *layer) {
    if (!pointwise_prepare(layer) || !plan_codebook(layer, 1)) return false;
    plan_coded_items(layer, sqz_divide_up(layer->out_h * layer->out_w, GEMM_PIXELS), 0);
    return true;
}

INLINE void multiply_pixels(const struct sqz_layer *layer, const struct sqz_io *io, size_t item, const bool coded,
                            float *local) {
    size_t index, chunk, pixels = layer->out_h * layer->out_w, groups = sqz_divide_up(pixels, GEMM_PIXELS);
    find_item(layer, item, &index, &chunk);
    struct sqz_panel panel = sqz_panel_at(layer, LANES, index);
    struct sqz_gemm gemm = gemm_of_panel(layer, io, index, &panel);
    if (coded) gemm.weights = restore_panel(layer, io, index, &panel, 1, local);
    const float *x = io->in[0] + panel.first_in * pixels * LANES;
    float *out = io->out + panel.first_out * pixels * LANES;
    gemm.block_stride = gemm.out_block_stride = pixels * LANES;
    size_t group = sqz_part_begin(groups, layer->part[PART_CHUNKS], chunk);
    size_t end = sqz_part_begin(groups, layer->part[PART_CHUNKS], chunk + 1);
    for (; group < end; group++) {
        size_t begin = sqz_part_begin(pixels, groups, group), n = sqz_part_begin(pixels, groups, group + 1) - begin;
        gemm.x = x + begin * LANES;
        gemm.out = out + begin * LANES;
        GEMM_TABLE[SQZ_STEP_LANES][panel.n_out - 1][n - 1](&gemm);
    }
}

static void pointwise_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                          float *local) {
    (void)phase;
    multiply_pixels(layer, io, item, false, local);
}

static void codebook_pointwise_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                                   float *local) {
    (void)phase;
    multiply_pixels(layer, io, item, true, local);
}

const struct sqz_kernel KERNEL(conv_pointwise) = {
    .name = KERNEL_NAME("conv_pointwise"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BLOCKED,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .prepare = pointwise_prepare,
    .pack = pack_blocked,
    .run = pointwise_run,
};

const struct sqz_kernel KERNEL(codebook_pointwise) = {
    .name = KERNEL_NAME("codebook_pointwise"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BLOCKED,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .form = SQZ_FORM_CODEBOOK,
    .prepare = codebook_pointwise_prepare,
    .pack = pack_coded_by_tap,
    .run = codebook_pointwise_run,
};
