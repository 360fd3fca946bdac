/* conv_depthwise_template.h - body of conv_depthwise_ISA.c; included behind simd_ISA.h. One filter for each channel. */
#include <math.h>

#include "eval/kernels.h"

static bool depthwise_prepare(struct sqz_layer *layer) {
    if (layer->op != SQZ_OP_CONV || layer->params.conv.groups != layer->in_c || layer->out_c != layer->in_c)
        return false;
    const struct sqz_window *w = &layer->params.conv.window;
    size_t taps = (size_t)w->kernel_h * w->kernel_w, blocks = sqz_divide_up(layer->in_c, LANES);
    layer->pack_items = 1;
    layer->weight_count = blocks * (taps + 1) * LANES;
    layer->n_phases = 1;
    layer->items[0] = blocks;
    /* Twice for the loads and bounds of each tap. */
    layer->cost = 2.0 * (double)blocks * (double)taps * (double)(layer->out_h * layer->out_w);
    return true;
}

/* [block][tap][L], then the bias [block][L] */
static void depthwise_pack(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *packed,
                           size_t item) {
    (void)item;
    const float *kernel = weights->kernel, *bias = weights->bias;
    const struct sqz_window *w = &layer->params.conv.window;
    size_t taps = (size_t)w->kernel_h * w->kernel_w, blocks = sqz_divide_up(layer->in_c, LANES);
    for (size_t c = 0; c < blocks * LANES; c++) {
        bool exists = c < layer->in_c;
        for (size_t t = 0; t < taps; t++)
            packed[(c / LANES * taps + t) * LANES + c % LANES] = exists ? kernel[c * taps + t] : 0;
        packed[blocks * taps * LANES + c] = exists && bias ? bias[c] : 0;
    }
}

static void depthwise_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                          float *local) {
    (void)phase, (void)local;
    const struct sqz_window *w = &layer->params.conv.window;
    size_t taps = (size_t)w->kernel_h * w->kernel_w, blocks = sqz_divide_up(layer->in_c, LANES);
    const float *weights = io->weights + item * taps * LANES;
    const float *in = io->in[0] + item * layer->in_h * layer->in_w * LANES;
    float *out = io->out + item * layer->out_h * layer->out_w * LANES;
    vec bias = vec_load(io->weights + (blocks * taps + item) * LANES);
    vec low = vec_set(layer->low), high = vec_set(layer->high);
    for (size_t oy = 0; oy < layer->out_h; oy++) {
        for (size_t ox = 0; ox < layer->out_w; ox++, out += LANES) {
            vec sum = bias;
            for (size_t ky = 0; ky < w->kernel_h; ky++) {
                size_t y = oy * w->stride_h + ky * w->dilation_h - w->pad_top; /* wraps round above the image */
                if (y >= layer->in_h) continue;
                for (size_t kx = 0; kx < w->kernel_w; kx++) {
                    size_t x = ox * w->stride_w + kx * w->dilation_w - w->pad_left;
                    if (x >= layer->in_w) continue;
                    sum = vec_fma(vec_load(in + (y * layer->in_w + x) * LANES),
                                  vec_load(weights + (ky * w->kernel_w + kx) * LANES), sum);
                }
            }
            vec_store(out, vec_min(high, vec_max(low, sum)));
        }
    }
}

const struct sqz_kernel KERNEL(conv_depthwise) = {
    .name = KERNEL_NAME("conv_depthwise"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BLOCKED,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .prepare = depthwise_prepare,
    .pack = depthwise_pack,
    .run = depthwise_run,
};
