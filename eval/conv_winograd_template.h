/*
 * conv_winograd_template.h - body of conv_winograd_ISA.c; included behind simd_ISA.h.
 * 3x3 and 5x5 convolutions of stride 1 by Winograd's F(4x4, 3x3) and F(2x2, 5x5)
 * (Lavin and Gray, arXiv 1509.09308): a tile of outputs needs 36 products for a
 * pair of channels instead of 144 or 100. Both interpolate at 0, 1, -1, 2, -2
 * and infinity, so they differ only in the transforms of weights and outputs.
 *
 * With V the transformed input [36][block][tile][L] and U the transformed
 * weights [panel][36][channel][B][L], the products over channels are made for
 * each of the 36 positions by the same code as a pointwise convolution.
 */
#include <math.h>
#include <string.h>

#include "eval/conv_layout.h"

#define PATCH 6      /* inputs of a tile's side */
#define POSITIONS 36 /* PATCH * PATCH */

/* layer->part[] */
enum { PART_TILE, PART_TILES_H, PART_TILES_W, PART_CHUNKS, PART_PANEL_FIRST, PART_PANEL_STRIDE };

/* Tiles of one piece of work, where weights outweigh activations: each weight that came from far away then meets
 * several groups of tiles. The sums of 28 tiles and two blocks take 129 KiB, an eighth of a second-level cache. */
#define CHUNK_TILES 28

static size_t tile_count(const struct sqz_layer *layer) {
    return layer->part[PART_TILES_H] * layer->part[PART_TILES_W];
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
    layer->shared_count = POSITIONS * in_blocks * tiles * LANES;
    layer->local_count = POSITIONS * SQZ_GEMM_BLOCKS * sqz_divide_up(tiles, chunks) * LANES;
    /* 36 products for each pair of channels and tile; about 150 operations for a transform of either kind. */
    layer->cost = (double)tiles * (double)panels * SQZ_GEMM_BLOCKS * (POSITIONS * (double)channels + 250) +
                  (double)tiles * (double)in_blocks * 250;
    return true;
}

/* ---- weights -------------------------------------------------------------------- */

/* One row or column of G g G^T: `size` values to 6. */
INLINE void transform_weights(const vec *g, size_t stride, const size_t size, vec *to, size_t to_stride) {
    vec sixth = vec_set(-1.0f / 6), part = vec_set(1.0f / 24), two = vec_set(2), four = vec_set(4);
    vec even = vec_add(g[0], g[2 * stride]), odd = g[stride];
    vec even_twos = vec_fma(four, g[2 * stride], g[0]), odd_twos = vec_mul(two, g[stride]);
    if (size == 5) {
        even = vec_add(even, g[4 * stride]);
        odd = vec_add(odd, g[3 * stride]);
        even_twos = vec_fma(vec_set(16), g[4 * stride], even_twos);
        odd_twos = vec_fma(vec_set(8), g[3 * stride], odd_twos);
    }
    to[0] = vec_mul(g[0], vec_set(1.0f / 4));
    to[to_stride] = vec_mul(vec_add(even, odd), sixth);
    to[2 * to_stride] = vec_mul(vec_sub(even, odd), sixth);
    to[3 * to_stride] = vec_mul(vec_add(even_twos, odd_twos), part);
    to[4 * to_stride] = vec_mul(vec_sub(even_twos, odd_twos), part);
    to[5 * to_stride] = g[(size - 1) * stride];
}

/* One input channel and L output channels: taps[size * size][L] to the 36 positions, to_stride apart. */
INLINE void transform_kernel(const float *taps, const size_t size, float *to, size_t to_stride) {
    vec kernel[25], half[PATCH * 5], row[PATCH];
#pragma GCC unroll 25
    for (size_t i = 0; i < size * size; i++) kernel[i] = vec_load(taps + i * LANES);
#pragma GCC unroll 5
    for (size_t x = 0; x < size; x++) transform_weights(kernel + x, size, size, half + x, size);
#pragma GCC unroll 6
    for (size_t y = 0; y < PATCH; y++) {
        transform_weights(half + y * size, 1, size, row, 1);
#pragma GCC unroll 6
        for (size_t x = 0; x < PATCH; x++) vec_store(to + (y * PATCH + x) * to_stride, row[x]);
    }
}

static void winograd_pack(const struct sqz_layer *layer, const float *kernel, const float *bias, float *packed,
                          size_t item) {
    struct sqz_panel panel = sqz_panel_at(layer, LANES, item);
    size_t width = panel.n_out * LANES, first_out = panel.first_out * LANES;
    size_t channels = (panel.n_in - 1) * LANES + panel.last_run, size = layer->params.conv.window.kernel_h;
    float *to = packed + item * layer->part[PART_PANEL_STRIDE], taps[25 * LANES];
    for (size_t c = 0; c < channels; c++)
        for (size_t j = 0; j < width; j += LANES) {
            for (size_t l = 0; l < LANES; l++) {
                const float *from =
                    sqz_pair_weights(layer, kernel, size * size, first_out + j + l, panel.first_in * LANES + c);
                for (size_t i = 0; i < size * size; i++) taps[i * LANES + l] = from ? from[i] : 0;
            }
            if (size == 3)
                transform_kernel(taps, 3, to + c * width + j, channels * width);
            else
                transform_kernel(taps, 5, to + c * width + j, channels * width);
        }
    float *bias_to = packed + layer->pack_items * layer->part[PART_PANEL_STRIDE] + first_out;
    for (size_t j = 0; j < width; j++) bias_to[j] = bias && first_out + j < layer->out_c ? bias[first_out + j] : 0;
}

/* ---- input ------------------------------------------------------------------------ */

/* One row or column of B^T d B. */
INLINE void transform_input(const vec *d, size_t stride, vec *to, size_t to_stride) {
    vec four = vec_set(4), five = vec_set(5);
    vec d0 = d[0], d1 = d[stride], d2 = d[2 * stride], d3 = d[3 * stride], d4 = d[4 * stride], d5 = d[5 * stride];
    vec a = vec_fnma(four, d2, d4), b = vec_fnma(four, d1, d3);
    vec c = vec_sub(d4, d2), e = vec_sub(d3, d1);
    e = vec_add(e, e);
    to[0] = vec_fma(four, d0, vec_fnma(five, d2, d4));
    to[to_stride] = vec_add(a, b);
    to[2 * to_stride] = vec_sub(a, b);
    to[3 * to_stride] = vec_add(c, e);
    to[4 * to_stride] = vec_sub(c, e);
    to[5 * to_stride] = vec_fma(four, d1, vec_fnma(five, d3, d5));
}

/* Transform the 6x6 patch at d, whose rows are row_stride floats apart; position k goes to to[k * to_stride]. */
INLINE void transform_patch(const float *d, size_t row_stride, float *to, size_t to_stride) {
    vec half[POSITIONS];
#pragma GCC unroll 6
    for (size_t x = 0; x < PATCH; x++) {
        vec column[PATCH];
#pragma GCC unroll 6
        for (size_t y = 0; y < PATCH; y++) column[y] = vec_load(d + y * row_stride + x * LANES);
        transform_input(column, 1, half + x, PATCH);
    }
#pragma GCC unroll 6
    for (size_t y = 0; y < PATCH; y++) {
        vec row[PATCH];
        transform_input(half + y * PATCH, 1, row, 1);
#pragma GCC unroll 6
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
    size_t position_stride = sqz_divide_up(layer->in_c, LANES) * tiles * LANES;
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

/* One row or column of A^T m A: 6 values to `tile`. */
INLINE void transform_output(const vec *m, const size_t tile, vec *to, size_t to_stride) {
    vec two = vec_set(2), four = vec_set(4), eight = vec_set(8);
    vec s1 = vec_add(m[1], m[2]), d1 = vec_sub(m[1], m[2]);
    vec s2 = vec_add(m[3], m[4]), d2 = vec_sub(m[3], m[4]);
    to[0] = vec_add(vec_add(m[0], s1), s2);
    to[to_stride] = vec_fma(two, d2, d1);
    if (tile == 2) {
        to[to_stride] = vec_add(to[to_stride], m[5]);
        return;
    }
    to[2 * to_stride] = vec_fma(four, s2, s1);
    to[3 * to_stride] = vec_add(vec_fma(eight, d2, d1), m[5]);
}

/* The sums of one tile and block, position_stride floats apart, to its outputs (rows x cols of them exist). */
INLINE void finish_tile(const struct sqz_layer *layer, const size_t tile, const float *sums, size_t position_stride,
                        vec bias, float *out, size_t rows, size_t cols) {
    vec half[4 * PATCH];
#pragma GCC unroll 6
    for (size_t x = 0; x < PATCH; x++) {
        vec column[PATCH];
#pragma GCC unroll 6
        for (size_t y = 0; y < PATCH; y++) column[y] = vec_load(sums + (y * PATCH + x) * position_stride);
        transform_output(column, tile, half + x, PATCH);
    }
    vec low = vec_set(layer->low), high = vec_set(layer->high);
#pragma GCC unroll 4
    for (size_t y = 0; y < tile; y++) {
        vec row[4];
        transform_output(half + y * PATCH, tile, row, 1);
#pragma GCC unroll 4
        for (size_t x = 0; x < tile; x++) {
            row[x] = vec_min(high, vec_max(low, vec_add(row[x], bias)));
            if (y < rows && x < cols) vec_store(out + (y * layer->out_w + x) * LANES, row[x]);
        }
    }
}

/* Tiles begin.. begin + n - 1 of one block; sums are [36][sum_stride] and a tile's lanes neighbours. */
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

/* All positions of one panel for one group of tiles, then their outputs. */
static void multiply_tiles(const struct sqz_layer *layer, const struct sqz_io *io, size_t index, size_t chunk,
                           float *local) {
    struct sqz_panel panel = sqz_panel_at(layer, LANES, index);
    size_t tiles = tile_count(layer), chunks = layer->part[PART_CHUNKS];
    size_t begin = sqz_part_begin(tiles, chunks, chunk), n = sqz_part_begin(tiles, chunks, chunk + 1) - begin;
    size_t channels = (panel.n_in - 1) * LANES + panel.last_run;
    size_t in_stride = sqz_divide_up(layer->in_c, LANES) * tiles * LANES;
    size_t sum_stride = panel.n_out * n * LANES;
    const float *x = io->shared + (panel.first_in * tiles + begin) * LANES;
    struct sqz_gemm gemm = {
        .weights = io->weights + index * layer->part[PART_PANEL_STRIDE],
        .n_blocks = panel.n_in,
        .block_stride = tiles * LANES,
        .kernel_h = 1,
        .kernel_w = 1,
        .run = LANES,
        .last_run = panel.last_run,
        .out_block_stride = n * LANES,
    };
    size_t groups = sqz_divide_up(n, GEMM_PIXELS);
    for (size_t k = 0; k < POSITIONS; k++) {
        for (size_t group = 0; group < groups; group++) {
            size_t first = sqz_part_begin(n, groups, group), last = sqz_part_begin(n, groups, group + 1);
            gemm.x = x + k * in_stride + first * LANES;
            gemm.out = local + k * sum_stride + first * LANES;
            GEMM_TABLE[SQZ_STEP_LANES][panel.n_out - 1][last - first - 1](&gemm);
        }
        gemm.weights += channels * panel.n_out * LANES;
    }
    const float *bias = io->weights + layer->pack_items * layer->part[PART_PANEL_STRIDE];
    for (size_t b = 0; b < panel.n_out; b++) {
        size_t block = panel.first_out + b;
        vec bias_of_block = vec_load(bias + block * LANES);
        float *plane = io->out + block * layer->out_h * layer->out_w * LANES;
        const float *sums = local + b * n * LANES;
        if (layer->part[PART_TILE] == 4)
            finish_block(layer, 4, sums, sum_stride, bias_of_block, plane, begin, n);
        else
            finish_block(layer, 2, sums, sum_stride, bias_of_block, plane, begin, n);
    }
}

static void winograd_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                         float *local) {
    if (phase == 0) {
        transform_row(layer, io, item, local);
        return;
    }
    size_t panels = layer->pack_items, chunks = layer->part[PART_CHUNKS];
    if (layer->part[PART_PANEL_FIRST])
        multiply_tiles(layer, io, item / chunks, item % chunks, local);
    else
        multiply_tiles(layer, io, item % panels, item / panels, local);
}

const struct sqz_kernel KERNEL(conv_winograd) = {
    .name = KERNEL_NAME("conv_winograd"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BLOCKED,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .prepare = winograd_prepare,
    .pack = winograd_pack,
    .run = winograd_run,
};
