/*
 * conv_winograd_template.h - body of conv_winograd*_ISA.c; included behind simd_ISA.h and winogradN_transforms.h.
 * 3x3 and 5x5 convolutions of stride 1 by Winograd's method (Lavin and Gray, arXiv 1509.09308): a tile of outputs
 * needs one product for each position of its patch of inputs, for each pair of channels: with patches of 6x6 36
 * instead of 144 or 100, with patches of 8x8 64 instead of 324 or 400.
 *
 * With V the transformed input [position][block][tile][L] and U the transformed
 * weights [panel][position][channel][B][L], the products over channels are made
 * for each position by the same code as a pointwise convolution.
 *
 * From packed weights, codebook_winograd makes U anew in each run, a strip of
 * channels at a time in the cache: the few bits of a weight are read instead of
 * the four floats or more that U has for it.
 */
#include "eval/panel_template.h"

#include "eval/codebook_panel_template.h"

#define POSITIONS (PATCH * PATCH)
#define MAX_TILE (PATCH - 2) /* outputs of the side of a 3x3 kernel's tile */
#define LINE 16              /* floats of a cache line */

/* layer->part[] */
enum { PART_TILE = PART_OWN, PART_TILES_H, PART_TILES_W };

/* Tiles of one piece of work, where weights outweigh activations: each weight that came from far away then meets
 * several groups of tiles. The sums of 28 tiles and two blocks take 129 KiB, an eighth of a second-level cache. */
#define CHUNK_TILES 28

/* The same where U is made anew for each group of tiles: 56 of 6x6, 31 of 8x8. */
#define CODED_TILES (2016 / POSITIONS)

/*
 * From position to position of V, the sums and a strip's U lie an odd number of cache lines: at a distance of whole
 * pages, which these sizes often are, the stores of a transform would all want the same few places of the cache.
 */
static size_t odd_lines(size_t count) {
    return (sqz_divide_up(count, LINE) | 1) * LINE;
}

static size_t tile_count(const struct sqz_layer *layer) {
    return layer->part[PART_TILES_H] * layer->part[PART_TILES_W];
}

/* Floats from position to position of V [position][block][tile][L]. */
static size_t input_stride(const struct sqz_layer *layer) {
    return odd_lines(sqz_divide_up(layer->in_c, LANES) * tile_count(layer) * LANES);
}

static bool winograd_prepare(struct sqz_layer *layer) {
    const struct sqz_window *w = &layer->params.conv.window;
    size_t size = w->kernel_h, tile = PATCH + 1 - size; /* outputs of a tile's side */
    if (layer->op != SQZ_OP_CONV || (size != 3 && size != 5) || w->kernel_w != size || w->stride_h != 1 ||
        w->stride_w != 1 || w->dilation_h != 1 || w->dilation_w != 1 || w->pad_top >= size || w->pad_left >= size ||
        w->pad_bottom >= size || w->pad_right >= size)
        return false;
    size_t panels = sqz_panel_count(layer, LANES), channels = sqz_panel_channels(layer, LANES);
    size_t in_blocks = sqz_divide_up(layer->in_c, LANES);
    layer->part[PART_TILE] = tile;
    layer->part[PART_TILES_H] = sqz_divide_up(layer->out_h, tile);
    layer->part[PART_TILES_W] = sqz_divide_up(layer->out_w, tile);
    layer->part[PART_PANEL_STRIDE] = POSITIONS * channels * SQZ_GEMM_BLOCKS * LANES;
    layer->pack_items = panels;
    layer->weight_count = panels * (layer->part[PART_PANEL_STRIDE] + SQZ_GEMM_BLOCKS * LANES);
    size_t tiles = tile_count(layer);
    size_t activations = layer->in_c * layer->in_h * layer->in_w + layer->out_c * layer->out_h * layer->out_w;
    bool panel_first = layer->weight_count > activations;
    size_t most = panel_first ? CHUNK_TILES : GEMM_PIXELS, chunks = sqz_divide_up(tiles, most);
    layer->part[PART_CHUNKS] = chunks;
    layer->part[PART_PANEL_FIRST] = panel_first;
    layer->n_phases = 2;
    layer->items[0] = in_blocks * layer->part[PART_TILES_H];
    layer->items[1] = panels * chunks;
    layer->shared_count = POSITIONS * input_stride(layer);
    layer->local_count = POSITIONS * odd_lines(SQZ_GEMM_BLOCKS * sqz_divide_up(tiles, chunks) * LANES);
    double out_blocks = (double)sqz_divide_up(layer->out_c, LANES);
    layer->cost = (double)tiles * out_blocks * (POSITIONS * (double)channels + TILE_COST) +
                  (double)tiles * (double)in_blocks * PATCH_COST;
    return true;
}

/* ---- weights -------------------------------------------------------------------- */

/* One input channel and L output channels: size * size taps, tap_stride apart, to all positions, to_stride apart. */
INLINE void transform_kernel(const float *taps, size_t tap_stride, const size_t size, float *to, size_t to_stride) {
    vec kernel[25], half[PATCH * 5], row[PATCH];
#pragma GCC unroll 25
    for (size_t i = 0; i < size * size; i++) kernel[i] = vec_load(taps + i * tap_stride);
#pragma GCC unroll 8
    for (size_t x = 0; x < size; x++) transform_weights(kernel + x, size, size, half + x, size);
#pragma GCC unroll 8
    for (size_t y = 0; y < PATCH; y++) {
        transform_weights(half + y * size, 1, size, row, 1);
#pragma GCC unroll 8
        for (size_t x = 0; x < PATCH; x++) vec_store(to + (y * PATCH + x) * to_stride, row[x]);
    }
}

static void winograd_pack(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *packed,
                          size_t item) {
    struct sqz_panel panel = sqz_panel_at(layer, LANES, item);
    size_t width = panel.n_out * LANES, first_out = panel.first_out * LANES;
    size_t channels = (panel.n_in - 1) * LANES + panel.last_run, size = layer->params.conv.window.kernel_h;
    float *to = packed + item * layer->part[PART_PANEL_STRIDE], taps[25 * LANES];
    for (size_t c = 0; c < channels; c++)
        for (size_t j = 0; j < width; j += LANES) {
            for (size_t l = 0; l < LANES; l++) {
                const float *from = sqz_pair_weights(layer, weights->kernel, size * size, first_out + j + l,
                                                     panel.first_in * LANES + c);
                for (size_t i = 0; i < size * size; i++) taps[i * LANES + l] = from ? from[i] : 0;
            }
            if (size == 3)
                transform_kernel(taps, LANES, 3, to + c * width + j, channels * width);
            else
                transform_kernel(taps, LANES, 5, to + c * width + j, channels * width);
        }
    pack_bias(layer, weights->bias, packed + layer->pack_items * layer->part[PART_PANEL_STRIDE], &panel);
}

/* ---- input ------------------------------------------------------------------------ */

/* Transform the patch at d, whose rows are row_stride floats apart; position k goes to to[k * to_stride]. */
INLINE void transform_patch(const float *d, size_t row_stride, float *to, size_t to_stride) {
    vec half[POSITIONS];
#pragma GCC unroll 8
    for (size_t x = 0; x < PATCH; x++) {
        vec column[PATCH];
#pragma GCC unroll 8
        for (size_t y = 0; y < PATCH; y++) column[y] = vec_load(d + y * row_stride + x * LANES);
        transform_input(column, 1, half + x, PATCH);
    }
#pragma GCC unroll 8
    for (size_t y = 0; y < PATCH; y++) {
        vec row[PATCH];
        transform_input(half + y * PATCH, 1, row, 1);
#pragma GCC unroll 8
        for (size_t x = 0; x < PATCH; x++) vec_store(to + (y * PATCH + x) * to_stride, row[x]);
    }
}

/* Copy a patch that overhangs the image, at row y and column x, with zeros outside. */
static void gather_patch(const struct sqz_layer *layer, const float *in, long y, long x, float *patch) {
    long height = (long)layer->in_h, width = (long)layer->in_w;
    for (long i = 0; i < PATCH; i++)
        for (long j = 0; j < PATCH; j++) {
            bool inside = y + i >= 0 && y + i < height && x + j >= 0 && x + j < width;
            vec_store(patch + (i * PATCH + j) * LANES,
                      inside ? vec_load(in + ((y + i) * width + x + j) * LANES) : vec_set(0));
        }
}

/* One row of tiles of one input block. */
static void transform_row(const struct sqz_layer *layer, const struct sqz_io *io, size_t item, float *local) {
    const struct sqz_window *w = &layer->params.conv.window;
    size_t tiles_w = layer->part[PART_TILES_W], tiles = tile_count(layer);
    size_t block = item / layer->part[PART_TILES_H], tile_y = item % layer->part[PART_TILES_H];
    size_t position_stride = input_stride(layer);
    const float *in = io->in[0] + block * layer->in_h * layer->in_w * LANES;
    float *to = io->shared + (block * tiles + tile_y * tiles_w) * LANES;
    long y = (long)(tile_y * layer->part[PART_TILE]) - (long)w->pad_top;
    bool rows_inside = y >= 0 && y + PATCH <= (long)layer->in_h;
    for (size_t tile_x = 0; tile_x < tiles_w; tile_x++, to += LANES) {
        long x = (long)(tile_x * layer->part[PART_TILE]) - (long)w->pad_left;
        if (rows_inside && x >= 0 && x + PATCH <= (long)layer->in_w) {
            transform_patch(in + ((size_t)y * layer->in_w + (size_t)x) * LANES, layer->in_w * LANES, to,
                            position_stride);
        } else {
            gather_patch(layer, in, y, x, local);
            transform_patch(local, PATCH * LANES, to, position_stride);
        }
    }
}

/* ---- output ------------------------------------------------------------------------- */

/* The sums of one tile and block, position_stride floats apart, to its outputs (rows x cols of them exist). */
INLINE void finish_tile(const struct sqz_layer *layer, const size_t tile, const float *sums, size_t position_stride,
                        vec bias, float *out, size_t rows, size_t cols) {
    vec half[MAX_TILE * PATCH];
#pragma GCC unroll 8
    for (size_t x = 0; x < PATCH; x++) {
        vec column[PATCH];
#pragma GCC unroll 8
        for (size_t y = 0; y < PATCH; y++) column[y] = vec_load(sums + (y * PATCH + x) * position_stride);
        transform_output(column, tile, half + x, PATCH);
    }
    vec low = vec_set(layer->low), high = vec_set(layer->high);
#pragma GCC unroll 8
    for (size_t y = 0; y < tile; y++) {
        vec row[MAX_TILE];
        transform_output(half + y * PATCH, tile, row, 1);
#pragma GCC unroll 8
        for (size_t x = 0; x < tile; x++) {
            row[x] = vec_min(high, vec_max(low, vec_add(row[x], bias)));
            if (y < rows && x < cols) vec_store(out + (y * layer->out_w + x) * LANES, row[x]);
        }
    }
}

/* Tiles begin.. begin + n - 1 of one block; sums are [position][sum_stride] and a tile's lanes neighbours. */
INLINE void finish_block(const struct sqz_layer *layer, const size_t tile, const float *sums, size_t sum_stride,
                         vec bias, float *plane, size_t begin, size_t n) {
    size_t tiles_w = layer->part[PART_TILES_W];
    for (size_t t = 0; t < n; t++) {
        size_t y = (begin + t) / tiles_w * tile, x = (begin + t) % tiles_w * tile;
        float *out = plane + (y * layer->out_w + x) * LANES;
        size_t rows = layer->out_h - y, cols = layer->out_w - x;
        if (rows >= tile && cols >= tile)
            finish_tile(layer, tile, sums + t * LANES, sum_stride, bias, out, tile, tile);
        else
            finish_tile(layer, tile, sums + t * LANES, sum_stride, bias, out, rows, cols);
    }
}

/* One panel and one group of tiles. */
struct tile_group {
    struct sqz_panel panel;
    size_t index, begin, n;       /* number of the panel; first tile and number of tiles */
    size_t in_stride, sum_stride; /* from position to position in V and in the sums */
    const float *x;               /* V of the first tile */
    float *sums;                  /* [position][B][n][L] */
};

static struct tile_group tiles_of_item(const struct sqz_layer *layer, const struct sqz_io *io, size_t item,
                                       float *local) {
    struct tile_group group = {.sums = local};
    size_t chunk, tiles = tile_count(layer), chunks = layer->part[PART_CHUNKS];
    find_item(layer, item, &group.index, &chunk);
    group.panel = sqz_panel_at(layer, LANES, group.index);
    group.begin = sqz_part_begin(tiles, chunks, chunk);
    group.n = sqz_part_begin(tiles, chunks, chunk + 1) - group.begin;
    group.in_stride = input_stride(layer);
    group.sum_stride = odd_lines(group.panel.n_out * group.n * LANES);
    group.x = io->shared + (group.panel.first_in * tiles + group.begin) * LANES;
    return group;
}

/* Channels [begin, begin + count) of the panel, whose U is weights [position][count][B][L] with weight_stride floats
 * from position to position, with all positions and tiles. */
static void multiply_channels(const struct sqz_layer *layer, const struct tile_group *group, const float *weights,
                              size_t weight_stride, size_t begin, size_t count) {
    size_t tiles = tile_count(layer), groups = sqz_divide_up(group->n, GEMM_PIXELS);
    struct sqz_gemm gemm = {
        .weights = weights,
        .n_blocks = sqz_divide_up(count, LANES),
        .block_stride = tiles * LANES,
        .kernel_h = 1,
        .kernel_w = 1,
        .run = LANES,
        .last_run = count - (count - 1) / LANES * LANES,
        .accumulate = begin > 0,
        .out_block_stride = group->n * LANES,
    };
    const float *x = group->x + begin * tiles;
    for (size_t k = 0; k < POSITIONS; k++) {
        for (size_t g = 0; g < groups; g++) {
            size_t first = sqz_part_begin(group->n, groups, g), last = sqz_part_begin(group->n, groups, g + 1);
            gemm.x = x + k * group->in_stride + first * LANES;
            gemm.out = group->sums + k * group->sum_stride + first * LANES;
            GEMM_TABLE[SQZ_STEP_LANES][group->panel.n_out - 1][last - first - 1](&gemm);
        }
        gemm.weights += weight_stride;
    }
}

/* From the sums of all channels to the outputs. */
static void finish_tiles(const struct sqz_layer *layer, const struct sqz_io *io, const struct tile_group *group) {
    const float *bias = io->weights + layer->pack_items * layer->part[PART_PANEL_STRIDE];
    for (size_t b = 0; b < group->panel.n_out; b++) {
        size_t block = group->panel.first_out + b;
        vec bias_of_block = vec_load(bias + block * LANES);
        float *plane = io->out + block * layer->out_h * layer->out_w * LANES;
        const float *sums = group->sums + b * group->n * LANES;
        if (layer->part[PART_TILE] == MAX_TILE)
            finish_block(layer, MAX_TILE, sums, group->sum_stride, bias_of_block, plane, group->begin, group->n);
        else
            finish_block(layer, PATCH - 4, sums, group->sum_stride, bias_of_block, plane, group->begin, group->n);
    }
}

static void winograd_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                         float *local) {
    if (phase == 0) {
        transform_row(layer, io, item, local);
        return;
    }
    struct tile_group group = tiles_of_item(layer, io, item, local);
    size_t channels = (group.panel.n_in - 1) * LANES + group.panel.last_run;
    multiply_channels(layer, &group, io->weights + group.index * layer->part[PART_PANEL_STRIDE],
                      channels * group.panel.n_out * LANES, 0, channels);
    finish_tiles(layer, io, &group);
}

/* ---- from packed weights --------------------------------------------------------------- */

/* Channels whose U is made at a time: about 64 with 6x6, 36 with 8x8, for U [position][channels][B][L] of
 * 300 KiB, a third of a second-level cache, and whole groups of words and blocks of input. */
#define STRIP_CHANNELS (2304 / POSITIONS)

static size_t strip_channels(const struct sqz_layer *layer, size_t taps) {
    size_t channels = LANES, per = rows_per_word(layer);
    while (channels * taps % per) channels += LANES;
    return channels * (STRIP_CHANNELS > channels ? STRIP_CHANNELS / channels : 1);
}

static bool codebook_winograd_prepare(struct sqz_layer *layer) {
    if (!winograd_prepare(layer)) return false;
    size_t size = layer->params.conv.window.kernel_h, taps = size * size;
    /* Each group of tiles makes U anew, so there are fewer, larger ones. */
    size_t tiles = tile_count(layer), chunks = sqz_divide_up(tiles, CODED_TILES);
    layer->part[PART_PANEL_FIRST] = true;
    layer->part[PART_CHUNKS] = chunks;
    layer->items[1] = layer->pack_items * chunks;
    layer->local_count = POSITIONS * odd_lines(SQZ_GEMM_BLOCKS * sqz_divide_up(tiles, chunks) * LANES);
    if (!plan_codebook(layer, taps)) return false;
    size_t strip = strip_channels(layer, taps), width = SQZ_GEMM_BLOCKS * LANES;
    layer->local_count =
        POSITIONS * (odd_lines(width * sqz_divide_up(tiles, chunks)) + odd_lines(strip * width)) + strip * taps * width;
    double made = (double)(layer->pack_items * SQZ_GEMM_BLOCKS * chunks * sqz_panel_channels(layer, LANES));
    layer->cost += made * (lookup_cost(layer) * (double)taps + TRANSFORM_COST);
    return true;
}

/* U of channels [begin, begin + count) from the words; rows is scratch for the weights themselves. */
static void make_strip(const struct sqz_layer *layer, const struct sqz_io *io, const struct tile_group *group,
                       size_t begin, size_t count, float *rows, float *to) {
    size_t size = layer->params.conv.window.kernel_h, taps = size * size, width = group->panel.n_out * LANES;
    size_t to_stride = odd_lines(count * width);
    restore_rows(layer, io, group->index, &group->panel, begin * taps, (begin + count) * taps, rows);
    for (size_t c = 0; c < count; c++)
        for (size_t j = 0; j < width; j += LANES) {
            const float *from = rows + c * taps * width + j;
            if (size == 3)
                transform_kernel(from, width, 3, to + c * width + j, to_stride);
            else
                transform_kernel(from, width, 5, to + c * width + j, to_stride);
        }
}

static void codebook_winograd_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                                  float *local) {
    if (phase == 0) {
        transform_row(layer, io, item, local);
        return;
    }
    struct tile_group group = tiles_of_item(layer, io, item, local);
    size_t size = layer->params.conv.window.kernel_h, step = strip_channels(layer, size * size);
    size_t channels = (group.panel.n_in - 1) * LANES + group.panel.last_run, width = group.panel.n_out * LANES;
    float *strip = local + POSITIONS * group.sum_stride, *rows = strip + POSITIONS * odd_lines(step * width);
    for (size_t begin = 0; begin < channels; begin += step) {
        size_t count = channels - begin < step ? channels - begin : step;
        make_strip(layer, io, &group, begin, count, rows, strip);
        multiply_channels(layer, &group, strip, odd_lines(count * width), begin, count);
    }
    finish_tiles(layer, io, &group);
}

const struct sqz_kernel KERNEL(WINOGRAD(conv)) = {
    .name = KERNEL_NAME("conv_" WINOGRAD_NAME),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BLOCKED,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .prepare = winograd_prepare,
    .pack = winograd_pack,
    .run = winograd_run,
};

const struct sqz_kernel KERNEL(WINOGRAD(codebook)) = {
    .name = KERNEL_NAME("codebook_" WINOGRAD_NAME),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BLOCKED,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .form = SQZ_FORM_CODEBOOK,
    .prepare = codebook_winograd_prepare,
    .pack = pack_coded_by_channel,
    .run = codebook_winograd_run,
};
