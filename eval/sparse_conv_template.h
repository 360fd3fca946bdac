/*
 * sparse_conv_template.h - body of sparse_conv_ISA.c; included behind simd_ISA.h.
 * Convolutions of stride 1 from the weights that pruning left (after Elsen et al., "Fast Sparse ConvNets", arXiv
 * 1911.09723): a weight meets a row of neighbouring pixels, which must lie side by side in memory for that. So the
 * input is first laid out as planes, one for each channel, inside a frame of zeros for the padding. On a plane a tap
 * is a distance: what an output needs from it lies as many floats further on for each output, also across the ends of
 * rows, where results come out that nobody wants.
 *
 * Planes are [channel][stride], with the frame's rows one after the other.
 */
#include <math.h>
#include <string.h>

#include "eval/panel_template.h"

#include "eval/sparse_transpose.h"

/* layer->part[] */
enum { PART_WIDTH, PART_HEIGHT, PART_STRIDE, PART_VECS, PART_CHUNKS_OF_VECS, PART_SLICE, PART_SLICES, PART_BIAS };

/* Vectors of pixels whose sums fill the registers, beside a weight and a pixel. */
#define MOST_VECS 12

/* Blocks of output channels of a piece of work. All of them meet a slice of planes while it is in the first-level
 * cache, so more are better until their own sums crowd it out: of 1, 2, 4 and 8 the best for conv10 at 0.2. */
#define OUT_BLOCKS 4

/* Bytes of planes that a slice of channels may take: most of a cache of 48 KiB. Of 24, 32, 40, 64 and 128 KiB the best
 * in the same measurement. */
#define SLICE_NBYTES 40960

/*
 * Time of a weight and a vector of pixels, in vector multiply-adds of a dense kernel: it is bound by its loads, which
 * with more than one tap mostly cross cache lines. And of a row's sums, for each vector, with the wrong guess at its
 * end. From the slope and the rest of the times that `bench-kernels` prints for densities from 0.05 to 0.5 on an EPYC
 * 9005 (Zen 5). With these the break-even there is a density of 0.55 for SqueezeNet's conv10, 0.3 to 0.5 for its
 * other 1x1 layers of many channels, and 0.1 to 0.15 for its 3x3 layers, whose rivals are Winograd's.
 */
#define ALIGNED_COST 1.5
#define CROSSING_COST 2.5
#define ROW_COST 6

/* A weight that is not zero, and how far from an output's place in the first plane its inputs begin, in floats. */
struct entry {
    float value;
    uint32_t offset;
};

static size_t out_groups(const struct sqz_layer *layer) {
    return sqz_divide_up(sqz_divide_up(layer->out_c, LANES), OUT_BLOCKS);
}

/* The entries of one output channel in one slice: from here to the first of the next row. */
struct row {
    uint32_t first, out;
};

/* Rows of a group of output channels in a slice begin here; groups without their last outputs have empty rows. */
static size_t row_index(const struct sqz_layer *layer, size_t group, size_t slice) {
    return (group * layer->part[PART_SLICES] + slice) * OUT_BLOCKS * LANES;
}

static size_t row_count(const struct sqz_layer *layer) {
    return row_index(layer, out_groups(layer), 0);
}

/* Floats that the rows take, with one more that ends the last. */
static size_t row_floats(const struct sqz_layer *layer) {
    return (row_count(layer) + 1) * sizeof(struct row) / sizeof(float);
}

static bool plan_planes(struct sqz_layer *layer) {
    const struct sqz_window *w = &layer->params.conv.window;
    size_t height = layer->part[PART_HEIGHT] = layer->in_h + w->pad_top + w->pad_bottom;
    size_t width = layer->part[PART_WIDTH] = layer->in_w + w->pad_left + w->pad_right;
    if (height > layer->in_h + 64 || width > layer->in_w + 64) return false;
    /* The last vector of outputs reads up to a vector further; an odd number of lines, as in conv_winograd. */
    size_t lines = sqz_divide_up(height * width + LANES, 16) | 1;
    layer->part[PART_STRIDE] = lines * 16;
    size_t planes = sqz_round_up(layer->in_c, LANES);
    if (planes > UINT32_MAX / layer->part[PART_STRIDE]) return false;
    layer->shared_count = planes * layer->part[PART_STRIDE];
    return true;
}

static bool sparse_conv_prepare(struct sqz_layer *layer) {
    const struct sqz_window *w = &layer->params.conv.window;
    if (layer->op != SQZ_OP_CONV || w->stride_h != 1 || w->stride_w != 1 || layer->weights.density >= 1) return false;
    if (!plan_planes(layer)) return false;
    size_t taps = (size_t)w->kernel_h * w->kernel_w;
    size_t vecs = sqz_divide_up((layer->out_h - 1) * layer->part[PART_WIDTH] + layer->out_w, LANES);
    size_t chunks = sqz_divide_up(vecs, MOST_VECS), groups = out_groups(layer);
    layer->part[PART_VECS] = vecs;
    layer->part[PART_CHUNKS_OF_VECS] = chunks;
    size_t slice = SLICE_NBYTES / sizeof(float) / (sqz_divide_up(vecs, chunks) * LANES);
    layer->part[PART_SLICE] = slice ? slice : 1;
    layer->part[PART_SLICES] = sqz_divide_up(layer->in_c, layer->part[PART_SLICE]);
    layer->part[PART_BIAS] = row_floats(layer) + layer->weights.n_nonzero * sizeof(struct entry) / sizeof(float);
    layer->weight_count = layer->part[PART_BIAS] + sqz_round_up(layer->out_c, LANES);
    layer->pack_items = 1;
    layer->n_phases = 2;
    layer->items[0] = sqz_divide_up(layer->in_c, LANES);
    layer->items[1] = groups * chunks;
    layer->local_count = OUT_BLOCKS * LANES * sqz_divide_up(vecs, chunks) * LANES;
    /* The changes of layout cost about two for each vector. */
    layer->cost = (double)vecs * ((double)layer->weights.n_nonzero * (taps > 1 ? CROSSING_COST : ALIGNED_COST) +
                                  (double)row_count(layer) * ROW_COST + 2 * (double)(layer->in_c + layer->out_c));
    return true;
}

/* ---- weights -------------------------------------------------------------------------- */

/* How many weights of one output channel, of input channels [begin, end), are not zero. */
static size_t count_row(const struct sqz_layer *layer, const float *kernel, size_t out, size_t begin, size_t end) {
    const struct sqz_window *w = &layer->params.conv.window;
    size_t taps = (size_t)w->kernel_h * w->kernel_w, count = 0;
    for (size_t in = begin; in < end; in++) {
        const float *from = sqz_pair_weights(layer, kernel, taps, out, in);
        for (size_t t = 0; from && t < taps; t++) count += from[t] != 0;
    }
    return count;
}

/*
 * Their entries; returns the place behind them. A zero is written as well, and then written over: a branch that
 * depends on every weight took ten times as long. So the last one may stand behind the entries, where the bias comes.
 */
static struct entry *pack_row(const struct sqz_layer *layer, const float *kernel, size_t out, size_t begin, size_t end,
                              struct entry *to) {
    const struct sqz_window *w = &layer->params.conv.window;
    size_t taps = (size_t)w->kernel_h * w->kernel_w;
    for (size_t in = begin; in < end; in++) {
        const float *from = sqz_pair_weights(layer, kernel, taps, out, in);
        size_t line = in * layer->part[PART_STRIDE];
        for (size_t y = 0; from && y < w->kernel_h; y++, line += w->dilation_h * layer->part[PART_WIDTH])
            for (size_t x = 0; x < w->kernel_w; x++, from++) {
                *to = (struct entry){*from, (uint32_t)(line + x * w->dilation_w)};
                to += *from != 0;
            }
    }
    return to;
}

/*
 * The rows of a group in a slice, by their number of entries: a loop whose length is that of the one before it ends
 * without a wrong guess of the processor, which took a sixth of the time at a density of 0.2.
 */
static struct entry *pack_slice(const struct sqz_layer *layer, const float *kernel, size_t group, size_t slice,
                                const struct entry *entries, struct entry *to, struct row *rows) {
    size_t begin = slice * layer->part[PART_SLICE], end = begin + layer->part[PART_SLICE], n = 0;
    size_t counts[OUT_BLOCKS * LANES], first_out = group * OUT_BLOCKS * LANES;
    if (end > layer->in_c) end = layer->in_c;
    for (size_t out = 0; out < OUT_BLOCKS * LANES; out++) {
        size_t count = count_row(layer, kernel, first_out + out, begin, end), at = n++;
        for (; at > 0 && counts[at - 1] > count; at--) {
            counts[at] = counts[at - 1];
            rows[at].out = rows[at - 1].out;
        }
        counts[at] = count;
        rows[at].out = (uint32_t)out;
    }
    for (size_t i = 0; i < n; i++) {
        rows[i].first = (uint32_t)(to - entries);
        to = pack_row(layer, kernel, first_out + rows[i].out, begin, end, to);
    }
    return to;
}

/* The rows, the entries, the bias. */
static void sparse_conv_pack(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *packed,
                             size_t item) {
    (void)item;
    struct row *rows = (struct row *)(void *)packed;
    struct entry *entries = (struct entry *)(void *)(packed + row_floats(layer)), *to = entries;
    for (size_t group = 0; group < out_groups(layer); group++)
        for (size_t slice = 0; slice < layer->part[PART_SLICES]; slice++)
            to = pack_slice(layer, weights->kernel, group, slice, entries, to, rows + row_index(layer, group, slice));
    rows[row_count(layer)] = (struct row){(uint32_t)(to - entries), 0};
    float *bias = packed + layer->part[PART_BIAS];
    for (size_t o = 0; o < sqz_round_up(layer->out_c, LANES); o++)
        bias[o] = weights->bias && o < layer->out_c ? weights->bias[o] : 0;
}

/* ---- planes ----------------------------------------------------------------------------- */

/* n neighbouring pixels of a block to its L planes. */
static void spread_pixels(const float *in, size_t n, float *planes, size_t stride) {
    for (; n >= LANES; n -= LANES, in += LANES * LANES, planes += LANES) {
        vec rows[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) rows[i] = vec_load(in + i * LANES);
        vec_transpose(rows);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) vec_store(planes + (size_t)i * stride, rows[i]);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t l = 0; l < LANES; l++) planes[l * stride + i] = in[i * LANES + l];
}

/* The planes of one block of input, inside their frames. */
static void make_planes(const struct sqz_layer *layer, const struct sqz_io *io, size_t block) {
    const struct sqz_window *w = &layer->params.conv.window;
    size_t width = layer->part[PART_WIDTH], stride = layer->part[PART_STRIDE];
    const float *in = io->in[0] + block * layer->in_h * layer->in_w * LANES;
    float *planes = io->shared + block * LANES * stride;
    bool framed = width != layer->in_w || layer->part[PART_HEIGHT] != layer->in_h;
    if (!framed) {
        spread_pixels(in, layer->in_h * layer->in_w, planes, stride);
        return;
    }
    memset(planes, 0, LANES * stride * sizeof *planes);
    for (size_t y = 0; y < layer->in_h; y++)
        spread_pixels(in + y * layer->in_w * LANES, layer->in_w, planes + (y + w->pad_top) * width + w->pad_left,
                      stride);
}

/* ---- products ------------------------------------------------------------------------------ */

/* Rows of one group in one slice, and where their products are added to. */
struct slice_rows {
    const struct row *begin, *end;
    const struct entry *entries;
    const float *x;    /* first plane, at the first vector of the piece of work */
    const float *bias; /* of the group, which the sums begin with in the first slice; NULL in the others */
    float *sums;       /* [output][V][L] */
    size_t n_out;      /* outputs of the group that exist */
};

/* Add the entries' products to V vectors of sums in memory, or to a bias. */
INLINE void add_row(const struct slice_rows *rows, const struct row *row, const int V) {
    const struct entry *entry = rows->entries + row[0].first, *end = rows->entries + row[1].first;
    float *sums = rows->sums + (size_t)row->out * (size_t)(V * LANES);
    const float *x = rows->x;
    vec sum[MOST_VECS];
    if (rows->bias) {
#pragma GCC unroll 12
        for (int v = 0; v < V; v++) sum[v] = vec_set(rows->bias[row->out]);
    } else {
#pragma GCC unroll 12
        for (int v = 0; v < V; v++) sum[v] = vec_load(sums + v * LANES);
    }
    for (; entry < end; entry++) {
        vec weight = vec_broadcast(&entry->value);
        const float *pixels = x + entry->offset;
#pragma GCC unroll 12
        for (int v = 0; v < V; v++) sum[v] = vec_fma(weight, vec_load(pixels + v * LANES), sum[v]);
    }
#pragma GCC unroll 12
    for (int v = 0; v < V; v++) vec_store(sums + v * LANES, sum[v]);
}

#define FOR_VECS(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)

#define DEFINE_ROWS(V)                                                                                                 \
    static void add_rows_##V(const struct slice_rows *rows) {                                                          \
        for (const struct row *row = rows->begin; row < rows->end; row++)                                              \
            if (row->out < rows->n_out) add_row(rows, row, V);                                                         \
    }
FOR_VECS(DEFINE_ROWS)

typedef void rows_fn(const struct slice_rows *rows);

#define LIST_ROWS(V) add_rows_##V,
static rows_fn *const rows_fns[MOST_VECS] = {FOR_VECS(LIST_ROWS)};

/* The sums of one block, [L][vecs][L], clamped, to the pixels that exist, from vector `first` of the planes on. */
static void gather_block(const struct sqz_layer *layer, const float *sums, size_t vecs, size_t first, float *out) {
    vec low = vec_set(layer->low), high = vec_set(layer->high);
    size_t width = layer->part[PART_WIDTH], x = first * LANES % width, y = first * LANES / width;
    for (size_t v = 0; v < vecs; v++) {
        vec rows[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) rows[i] = vec_load(sums + ((size_t)i * vecs + v) * LANES);
        vec_transpose(rows);
        for (int i = 0; i < LANES; i++) {
            if (x < layer->out_w && y < layer->out_h)
                vec_store(out + (y * layer->out_w + x) * LANES, vec_min(high, vec_max(low, rows[i])));
            if (++x == width) {
                x = 0;
                y++;
            }
        }
    }
}

static void multiply_planes(const struct sqz_layer *layer, const struct sqz_io *io, size_t item, float *local) {
    size_t chunks = layer->part[PART_CHUNKS_OF_VECS], group = item / chunks, chunk = item % chunks;
    size_t first = sqz_part_begin(layer->part[PART_VECS], chunks, chunk);
    size_t vecs = sqz_part_begin(layer->part[PART_VECS], chunks, chunk + 1) - first;
    size_t blocks = sqz_divide_up(layer->out_c, LANES) - group * OUT_BLOCKS;
    if (blocks > OUT_BLOCKS) blocks = OUT_BLOCKS;
    const struct row *rows = (const struct row *)(const void *)io->weights;
    struct slice_rows slice_rows = {
        .entries = (const struct entry *)(const void *)(io->weights + row_floats(layer)),
        .x = io->shared + first * LANES,
        .bias = io->weights + layer->part[PART_BIAS] + group * OUT_BLOCKS * LANES,
        .sums = local,
        .n_out = blocks * LANES,
    };
    for (size_t slice = 0; slice < layer->part[PART_SLICES]; slice++) {
        slice_rows.begin = rows + row_index(layer, group, slice);
        slice_rows.end = slice_rows.begin + OUT_BLOCKS * LANES;
        rows_fns[vecs - 1](&slice_rows);
        slice_rows.bias = NULL;
    }
    for (size_t b = 0; b < blocks; b++)
        gather_block(layer, local + b * LANES * vecs * LANES, vecs, first,
                     io->out + (group * OUT_BLOCKS + b) * layer->out_h * layer->out_w * LANES);
}

static void sparse_conv_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                            float *local) {
    if (phase == 0)
        make_planes(layer, io, item);
    else
        multiply_planes(layer, io, item, local);
}

const struct sqz_kernel KERNEL(sparse_conv) = {
    .name = KERNEL_NAME("sparse_conv"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BLOCKED,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .form = SQZ_FORM_SPARSE,
    .prepare = sparse_conv_prepare,
    .pack = sparse_conv_pack,
    .run = sparse_conv_run,
};
