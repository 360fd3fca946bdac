/*
 * conv_window_template.h - body of conv_window_ISA.c; included behind simd_ISA.h.
 * Convolutions with any window, row by row: conv_direct on blocked input, codebook_direct the same from packed
 * weights, conv_image on the plain few-channel input of a network, and conv_image_pool, which also takes the maximum
 * pooling behind that.
 */
#include "eval/panel_template.h"

#include "eval/codebook_panel_template.h"
#include "eval/pool_rows_template.h"

enum { PART_PADDED = PART_OWN, PART_PADDED_H, PART_PADDED_W, PART_PAD_ITEMS };

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
    layer->items[0] = layer->part[PART_PAD_ITEMS] = planes * height < WANTED_ITEMS ? planes * height : WANTED_ITEMS;
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
    layer->cost = 1.1 * (double)layer->conv_h * (double)layer->conv_w * plan_products(layer, taps) +
                  (double)layer->shared_count / LANES;
    return true;
}

static bool direct_prepare(struct sqz_layer *layer) {
    return window_prepare(layer, LANES, sqz_divide_up(layer->in_c, LANES));
}

static bool codebook_direct_prepare(struct sqz_layer *layer) {
    const struct sqz_window *w = &layer->params.conv.window;
    size_t taps = (size_t)w->kernel_h * w->kernel_w;
    if (!direct_prepare(layer) || !plan_codebook(layer, taps)) return false;
    plan_coded_items(layer, layer->out_h, layer->n_phases - 1);
    return true;
}

/* Channels of a plain input up to which conv_image spares the change of layout: a picture, with or without alpha. */
#define IMAGE_CHANNELS 4

static bool image_prepare(struct sqz_layer *layer) {
    if (layer->in_c > IMAGE_CHANNELS || sqz_layer_groups(layer) != 1) return false;
    if (!window_prepare(layer, 1, layer->in_c)) return false;
    layer->cost *= 0.9; /* no change of layout before it */
    return true;
}

/* Rows of a pooling window that the ring still holds in a second-level cache beside everything else. */
#define MAX_RING 8

static bool image_pool_prepare(struct sqz_layer *layer) {
    const struct sqz_window *pool = &layer->pool;
    if (pool->kernel_h > MAX_RING || pool->dilation_h != 1 || !image_prepare(layer)) return false;
    /* Rows on the border of two chunks are computed twice, so there are few chunks. */
    size_t chunks = sqz_divide_up(WANTED_ITEMS / 2, layer->pack_items);
    layer->part[PART_CHUNKS] = chunks < layer->out_h ? chunks : layer->out_h;
    layer->items[layer->n_phases - 1] = layer->pack_items * layer->part[PART_CHUNKS];
    layer->local_count = (SQZ_GEMM_BLOCKS * pool->kernel_h + 1) * layer->conv_w * LANES;
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

/* A panel's product at the left end of output row 0, and what moves it along. */
struct row_product {
    struct sqz_gemm gemm;
    sqz_gemm_fn *const *products; /* by pixels - 1 */
    size_t row_step;              /* input floats from one output row to the next */
    size_t groups;                /* of pixels in a row */
};

static struct row_product product_of_panel(const struct sqz_layer *layer, const struct sqz_io *io, size_t index,
                                           const struct sqz_panel *panel, size_t unit) {
    const struct sqz_window *w = &layer->params.conv.window;
    struct row_product product = {.gemm = gemm_of_panel(layer, io, index, panel)};
    struct sqz_gemm *gemm = &product.gemm;
    size_t row_stride = layer->part[PART_PADDED_W] * unit;
    gemm->block_stride = layer->part[PART_PADDED_H] * row_stride;
    gemm->kernel_h = w->kernel_h;
    gemm->row_step = w->dilation_h * row_stride;
    gemm->kernel_w = w->kernel_w;
    gemm->col_step = w->dilation_w * unit;
    gemm->pixel_step = w->stride_w * unit;
    gemm->x =
        (layer->part[PART_PADDED] ? io->shared : io->in[0]) + (unit == 1 ? 0 : panel->first_in * gemm->block_stride);
    if (unit == 1) {
        gemm->n_blocks = layer->in_c;
        gemm->run = gemm->last_run = 1;
        if (w->dilation_w == 1) { /* the taps of a row are neighbours: one run */
            gemm->run = gemm->last_run = w->kernel_w;
            gemm->kernel_w = 1;
        }
    }
    product.products = GEMM_TABLE[step_for(gemm->pixel_step)][panel->n_out - 1];
    product.row_step = w->stride_h * row_stride;
    product.groups = sqz_divide_up(layer->conv_w, GEMM_PIXELS);
    return product;
}

/* Row y of the convolution to out, [B] blocks out_block_stride apart of [conv_w][L]. */
static void multiply_row(const struct sqz_layer *layer, const struct row_product *product, size_t y, float *out,
                         size_t out_block_stride) {
    struct sqz_gemm gemm = product->gemm;
    const float *x = gemm.x + y * product->row_step;
    gemm.out_block_stride = out_block_stride;
    for (size_t group = 0; group < product->groups; group++) {
        size_t begin = sqz_part_begin(layer->conv_w, product->groups, group);
        size_t end = sqz_part_begin(layer->conv_w, product->groups, group + 1);
        gemm.x = x + begin * gemm.pixel_step;
        gemm.out = out + begin * LANES;
        product->products[end - begin - 1](&gemm);
    }
}

INLINE void window_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item, size_t unit,
                       const bool coded, float *local) {
    size_t index, chunk;
    if (phase + 1 < layer->n_phases) {
        size_t planes = unit == 1 ? layer->in_c : sqz_divide_up(layer->in_c, LANES);
        copy_into_frame(layer, io->in[0], io->shared, item, unit, planes);
        return;
    }
    find_item(layer, item, &index, &chunk);
    struct sqz_panel panel = sqz_panel_at(layer, LANES, index);
    struct row_product product = product_of_panel(layer, io, index, &panel, unit);
    if (coded) {
        const struct sqz_window *w = &layer->params.conv.window;
        product.gemm.weights = restore_panel(layer, io, index, &panel, (size_t)w->kernel_h * w->kernel_w, local);
    }
    size_t plane = layer->out_h * layer->out_w * LANES;
    float *out = io->out + panel.first_out * plane;
    size_t y = sqz_part_begin(layer->out_h, layer->part[PART_CHUNKS], chunk);
    size_t end = sqz_part_begin(layer->out_h, layer->part[PART_CHUNKS], chunk + 1);
    for (; y < end; y++) multiply_row(layer, &product, y, out + y * layer->out_w * LANES, plane);
}

/*
 * The rows of the convolution go round a ring of kernel_h rows for each block;
 * as soon as a window is complete, its row is pooled. local holds the ring,
 * [B][kernel_h][conv_w][L], and one row of scratch.
 */
static void image_pool_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                           float *local) {
    size_t index, chunk, ring = layer->pool.kernel_h, row = layer->conv_w * LANES;
    if (phase + 1 < layer->n_phases) {
        copy_into_frame(layer, io->in[0], io->shared, item, 1, layer->in_c);
        return;
    }
    find_item(layer, item, &index, &chunk);
    struct sqz_panel panel = sqz_panel_at(layer, LANES, index);
    struct row_product product = product_of_panel(layer, io, index, &panel, 1);
    struct sqz_pooling pooling = {
        .window = layer->pool, .is_max = true, .in_h = layer->conv_h, .in_w = layer->conv_w, .out_w = layer->out_w};
    size_t y = sqz_part_begin(layer->out_h, layer->part[PART_CHUNKS], chunk), done = 0;
    size_t end = sqz_part_begin(layer->out_h, layer->part[PART_CHUNKS], chunk + 1);
    for (; y < end; y++) {
        struct sqz_cell cell = sqz_pool_cell(&pooling, y, 0);
        if (done < cell.y_begin) done = cell.y_begin;
        for (; done < cell.y_end; done++) multiply_row(layer, &product, done, local + done % ring * row, ring * row);
        for (size_t b = 0; b < panel.n_out; b++)
            pool_row(&pooling, local + b * ring * row, row, ring, y, true,
                     io->out + ((panel.first_out + b) * layer->out_h + y) * layer->out_w * LANES,
                     local + SQZ_GEMM_BLOCKS * ring * row);
    }
}

static void direct_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                       float *local) {
    window_run(layer, io, phase, item, LANES, false, local);
}

static void codebook_direct_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                                float *local) {
    window_run(layer, io, phase, item, LANES, true, local);
}

static void image_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                      float *local) {
    window_run(layer, io, phase, item, 1, false, local);
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

const struct sqz_kernel KERNEL(codebook_direct) = {
    .name = KERNEL_NAME("codebook_direct"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BLOCKED,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .form = SQZ_FORM_CODEBOOK,
    .prepare = codebook_direct_prepare,
    .pack = pack_coded_by_tap,
    .run = codebook_direct_run,
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

const struct sqz_kernel KERNEL(conv_image_pool) = {
    .name = KERNEL_NAME("conv_image_pool"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_PLAIN,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .pools = true,
    .prepare = image_pool_prepare,
    .pack = pack_plain,
    .run = image_pool_run,
};
