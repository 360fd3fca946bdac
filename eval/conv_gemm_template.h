/*
 * conv_gemm_template.h - body of conv_gemm_ISA.c; included behind simd_ISA.h.
 * Convolutions as products of a panel of weights with pixels of a row:
 * conv_pointwise (1x1, stride 1, no padding: all rows are one), conv_direct
 * (any window, on blocked input) and conv_image (any window, on the plain
 * few-channel input of a network).
 */
#include <math.h>
#include <string.h>

#include "eval/conv_layout.h"

/* layer->part[] */
enum {
    PART_CHUNKS,       /* pieces of the output's rows (groups of pixels for conv_pointwise) */
    PART_PANEL_FIRST,  /* items run through all chunks of a panel first, not through all panels of a chunk */
    PART_PANEL_STRIDE, /* floats from panel to panel */
    PART_PADDED,       /* the input is copied into a zero frame first */
    PART_PADDED_H,
    PART_PADDED_W,
    PART_PAD_ITEMS,
};

/* Pieces of work to aim at: enough that two to four threads finish together, few enough to cost nothing. */
#define WANTED_ITEMS 16

/* Floats of input that a piece of work should touch, so that it stays in half of a 32 KiB first-level cache. */
#define CHUNK_INPUT 6144

/* ---- packing ------------------------------------------------------------------ */

static const struct sqz_window one_by_one = {1, 1, 1, 1, 1, 1, 0, 0, 0, 0};

static const struct sqz_window *window_of(const struct sqz_layer *layer) {
    return layer->op == SQZ_OP_CONV ? &layer->params.conv.window : &one_by_one;
}

/* Cut into panels, with the bias behind them. */
static void plan_weights(struct sqz_layer *layer, size_t taps) {
    size_t panels = sqz_panel_count(layer, LANES);
    layer->part[PART_PANEL_STRIDE] = sqz_panel_channels(layer, LANES) * taps * SQZ_GEMM_BLOCKS * LANES;
    layer->pack_items = panels;
    layer->weight_count = panels * (layer->part[PART_PANEL_STRIDE] + SQZ_GEMM_BLOCKS * LANES);
}

static void pack_panel(const struct sqz_layer *layer, const float *kernel, const float *bias, float *packed,
                       size_t item, bool plain) {
    const struct sqz_window *window = window_of(layer);
    size_t taps = (size_t)window->kernel_h * window->kernel_w;
    struct sqz_panel panel = sqz_panel_at(layer, LANES, item);
    size_t width = panel.n_out * LANES, first_out = panel.first_out * LANES;
    size_t channels = (panel.n_in - 1) * LANES + panel.last_run;
    float *to = packed + item * layer->part[PART_PANEL_STRIDE];
    for (size_t c = 0; c < channels; c++) {
        size_t block = c / LANES, run = block + 1 < panel.n_in ? LANES : panel.last_run;
        for (size_t j = 0; j < width; j++) {
            const float *from =
                sqz_pair_weights(layer, kernel, taps, first_out + j, panel.first_in * LANES + c);
            for (size_t t = 0; t < taps; t++) {
                /* Plain input is walked channel by channel, blocked input tap by tap through the lanes. */
                size_t row = plain ? c * taps + t : block * LANES * taps + t * run + c % LANES;
                to[row * width + j] = from ? from[t] : 0;
            }
        }
    }
    float *bias_to = packed + layer->pack_items * layer->part[PART_PANEL_STRIDE] + first_out;
    for (size_t j = 0; j < width; j++) bias_to[j] = bias && first_out + j < layer->out_c ? bias[first_out + j] : 0;
}

static void pack_blocked(const struct sqz_layer *layer, const float *kernel, const float *bias, float *packed,
                         size_t item) {
    pack_panel(layer, kernel, bias, packed, item, false);
}

static void pack_plain(const struct sqz_layer *layer, const float *kernel, const float *bias, float *packed,
                       size_t item) {
    pack_panel(layer, kernel, bias, packed, item, true);
}

/* ---- what all share ------------------------------------------------------------ */

static void plan_items(struct sqz_layer *layer, size_t groups, size_t group_input, unsigned phase) {
    size_t panels = layer->pack_items;
    size_t activations = layer->in_c * layer->in_h * layer->in_w + layer->out_c * layer->out_h * layer->out_w;
    layer->part[PART_PANEL_FIRST] = layer->weight_count > activations;
    size_t chunks = sqz_divide_up(WANTED_ITEMS, panels);
    if (!layer->part[PART_PANEL_FIRST]) {
        size_t by_input = sqz_divide_up(groups * group_input, CHUNK_INPUT);
        if (by_input > chunks) chunks = by_input;
    }
    layer->part[PART_CHUNKS] = chunks < groups ? chunks : groups;
    layer->items[phase] = panels * layer->part[PART_CHUNKS];
}

/* Which panel and which chunk item i is. */
static void find_item(const struct sqz_layer *layer, size_t item, size_t *panel, size_t *chunk) {
    if (layer->part[PART_PANEL_FIRST]) {
        *panel = item / layer->part[PART_CHUNKS];
        *chunk = item % layer->part[PART_CHUNKS];
    } else {
        *panel = item % layer->pack_items;
        *chunk = item / layer->pack_items;
    }
}

static struct sqz_gemm gemm_of_panel(const struct sqz_layer *layer, const struct sqz_io *io, size_t index,
                                     const struct sqz_panel *panel) {
    struct sqz_gemm gemm = {
        .weights = io->weights + index * layer->part[PART_PANEL_STRIDE],
        .bias = io->weights + layer->pack_items * layer->part[PART_PANEL_STRIDE] + panel->first_out * LANES,
        .n_blocks = panel->n_in,
        .kernel_h = 1,
        .kernel_w = 1,
        .run = LANES,
        .last_run = panel->last_run,
        .clamp = layer->low > -INFINITY || layer->high < INFINITY,
        .low = layer->low,
        .high = layer->high,
    };
    return gemm;
}

/* ---- conv_pointwise -------------------------------------------------------------- */

static bool pointwise_prepare(struct sqz_layer *layer) {
    const struct sqz_window *w = &layer->params.conv.window;
    if (layer->op != SQZ_OP_CONV || w->kernel_h != 1 || w->kernel_w != 1 || w->stride_h != 1 || w->stride_w != 1 ||
        w->pad_top || w->pad_left || w->pad_bottom || w->pad_right)
        return false;
    plan_weights(layer, 1);
    size_t pixels = layer->out_h * layer->out_w;
    layer->n_phases = 1;
    plan_items(layer, sqz_divide_up(pixels, GEMM_PIXELS), GEMM_PIXELS * sqz_round_up(layer->in_c, LANES), 0);
    layer->cost = (double)pixels * (double)(layer->part[PART_PANEL_STRIDE] / LANES) * (double)layer->pack_items;
    return true;
}

static void pointwise_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                          float *local) {
    (void)phase, (void)local;
    size_t index, chunk, pixels = layer->out_h * layer->out_w, groups = sqz_divide_up(pixels, GEMM_PIXELS);
    find_item(layer, item, &index, &chunk);
    struct sqz_panel panel = sqz_panel_at(layer, LANES, index);
    struct sqz_gemm gemm = gemm_of_panel(layer, io, index, &panel);
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

/* ---- conv_direct and conv_image ------------------------------------------------------ */

/* Does not let a hostile padding ask for a frame much larger than the image. */
static bool plan_frame(struct sqz_layer *layer, size_t unit, size_t planes) {
    const struct sqz_window *w = &layer->params.conv.window;
    layer->part[PART_PADDED] = w->pad_top || w->pad_left || w->pad_bottom || w->pad_right;
    size_t height = layer->part[PART_PADDED_H] = layer->in_h + w->pad_top + w->pad_bottom;
    size_t width = layer->part[PART_PADDED_W] = layer->in_w + w->pad_left + w->pad_right;
    if (!layer->part[PART_PADDED]) {
        layer->n_phases = 1;
        return true;
    }
    if (height > layer->in_h + 64 || width > layer->in_w + 64) return false;
    layer->n_phases = 2;
    layer->items[0] = layer->part[PART_PAD_ITEMS] =
        planes * height < WANTED_ITEMS ? planes * height : WANTED_ITEMS;
    layer->shared_count = planes * height * width * unit;
    return true;
}

static bool window_prepare(struct sqz_layer *layer, size_t unit, size_t planes) {
    const struct sqz_window *w = &layer->params.conv.window;
    if (layer->op != SQZ_OP_CONV || !plan_frame(layer, unit, planes)) return false;
    size_t taps = (size_t)w->kernel_h * w->kernel_w;
    plan_weights(layer, taps);
    size_t row_input = planes * unit * layer->part[PART_PADDED_W] * w->stride_h;
    plan_items(layer, layer->out_h, row_input, layer->n_phases - 1);
    /* A tenth more than conv_pointwise for loops that are shorter. */
    layer->cost = 1.1 * (double)layer->out_h * (double)layer->out_w *
                      (double)(layer->part[PART_PANEL_STRIDE] / LANES) * (double)layer->pack_items +
                  (double)layer->shared_count / LANES;
    return true;
}

static bool direct_prepare(struct sqz_layer *layer) {
    return window_prepare(layer, LANES, sqz_divide_up(layer->in_c, LANES));
}

/* Channels of a plain input up to which conv_image spares the change of layout: a picture, with or without alpha. */
#define IMAGE_CHANNELS 4

static bool image_prepare(struct sqz_layer *layer) {
    if (layer->in_c > IMAGE_CHANNELS || sqz_layer_groups(layer) != 1) return false;
    if (!window_prepare(layer, 1, layer->in_c)) return false;
    layer->cost *= 0.9; /* no change of layout before it */
    return true;
}

/* Copy part of the input, [planes][h][w][unit], into its zero frame. */
static void copy_into_frame(const struct sqz_layer *layer, const float *in, float *frame, size_t item, size_t unit,
                            size_t planes) {
    const struct sqz_window *w = &layer->params.conv.window;
    size_t height = layer->part[PART_PADDED_H], width = layer->part[PART_PADDED_W] * unit;
    size_t row = sqz_part_begin(planes * height, layer->part[PART_PAD_ITEMS], item);
    size_t end = sqz_part_begin(planes * height, layer->part[PART_PAD_ITEMS], item + 1);
    size_t left = w->pad_left * unit, right = w->pad_right * unit, copied = layer->in_w * unit;
    for (; row < end; row++) {
        size_t y = row % height, plane = row / height;
        float *to = frame + row * width;
        if (y < w->pad_top || y >= w->pad_top + layer->in_h) {
            memset(to, 0, width * sizeof *to);
            continue;
        }
        memset(to, 0, left * sizeof *to);
        memcpy(to + left, in + (plane * layer->in_h + y - w->pad_top) * copied, copied * sizeof *to);
        memset(to + left + copied, 0, right * sizeof *to);
    }
}

static enum sqz_gemm_step step_for(size_t pixel_step) {
    if (pixel_step == LANES) return SQZ_STEP_LANES;
    if (pixel_step == 2) return SQZ_STEP_2;
    return pixel_step == 4 ? SQZ_STEP_4 : SQZ_STEP_ANY;
}

static void window_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                       size_t unit) {
    const struct sqz_window *w = &layer->params.conv.window;
    size_t planes = unit == 1 ? layer->in_c : sqz_divide_up(layer->in_c, LANES), index, chunk;
    if (phase + 1 < layer->n_phases) {
        copy_into_frame(layer, io->in[0], io->shared, item, unit, planes);
        return;
    }
    find_item(layer, item, &index, &chunk);
    struct sqz_panel panel = sqz_panel_at(layer, LANES, index);
    struct sqz_gemm gemm = gemm_of_panel(layer, io, index, &panel);
    size_t row_stride = layer->part[PART_PADDED_W] * unit;
    gemm.block_stride = layer->part[PART_PADDED_H] * row_stride;
    gemm.kernel_h = w->kernel_h;
    gemm.row_step = w->dilation_h * row_stride;
    gemm.kernel_w = w->kernel_w;
    gemm.col_step = w->dilation_w * unit;
    gemm.pixel_step = w->stride_w * unit;
    if (unit == 1) {
        gemm.n_blocks = layer->in_c;
        gemm.run = gemm.last_run = 1;
        if (w->dilation_w == 1) { /* the taps of a row are neighbours: one run */
            gemm.run = gemm.last_run = w->kernel_w;
            gemm.kernel_w = 1;
        }
    }
    const float *frame = layer->part[PART_PADDED] ? io->shared : io->in[0];
    const float *x = frame + (unit == 1 ? 0 : panel.first_in * gemm.block_stride);
    float *out = io->out + panel.first_out * layer->out_h * layer->out_w * LANES;
    gemm.out_block_stride = layer->out_h * layer->out_w * LANES;
    size_t groups = sqz_divide_up(layer->out_w, GEMM_PIXELS);
    sqz_gemm_fn *const *products = GEMM_TABLE[step_for(gemm.pixel_step)][panel.n_out - 1];
    size_t y = sqz_part_begin(layer->out_h, layer->part[PART_CHUNKS], chunk);
    size_t end = sqz_part_begin(layer->out_h, layer->part[PART_CHUNKS], chunk + 1);
    for (; y < end; y++) {
        for (size_t group = 0; group < groups; group++) {
            size_t begin = sqz_part_begin(layer->out_w, groups, group);
            gemm.x = x + y * w->stride_h * row_stride + begin * gemm.pixel_step;
            gemm.out = out + (y * layer->out_w + begin) * LANES;
            products[sqz_part_begin(layer->out_w, groups, group + 1) - begin - 1](&gemm);
        }
    }
}

static void direct_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                       float *local) {
    (void)local;
    window_run(layer, io, phase, item, LANES);
}

static void image_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                      float *local) {
    (void)local;
    window_run(layer, io, phase, item, 1);
}

const struct sqz_kernel KERNEL(conv_direct) = {
    .name = KERNEL_NAME("conv_direct"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BLOCKED,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .prepare = direct_prepare,
    .pack = pack_blocked,
    .run = direct_run,
};

const struct sqz_kernel KERNEL(conv_image) = {
    .name = KERNEL_NAME("conv_image"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_PLAIN,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .prepare = image_prepare,
    .pack = pack_plain,
    .run = image_run,
};

/* ---- dense ------------------------------------------------------------------------------ */

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
    layer->cost = (double)(layer->weight_count / LANES);
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
