/*
 * codebook_dense_template.h - body of codebook_dense_ISA.c; included behind simd_ISA.h.
 * A dense layer from packed weights. One image: each word is looked up in registers and multiplied at once, so that
 * the layer's time is that of reading its few bits. More: a strip of the panel becomes floats in the cache, and then
 * meets all images. Both add in the order of the kernel for floats, so all three give the same bits.
 */
#include "eval/panel_template.h"

#include "eval/codebook_panel_template.h"

/*
 * A panel here is WIDE_BLOCKS blocks wide, as many chains of multiply-adds as hide their latency beside words and
 * table in the registers; what is left at the end is cut into panels of half the width, a quarter, and so on.
 */
#define WIDE_BLOCKS (LANES == 16 ? 8 : 4)

/* layer->part[] */
enum { PART_ROWS, PART_STRIP, PART_GROUPS };

struct wide_panel {
    size_t first_out, n_out; /* in blocks */
};

static size_t wide_panel_count(const struct sqz_layer *layer) {
    size_t blocks = sqz_divide_up(layer->out_c, LANES), n = blocks / WIDE_BLOCKS;
    for (size_t left = blocks % WIDE_BLOCKS; left; left &= left - 1) n++;
    return n;
}

static struct wide_panel wide_panel_at(const struct sqz_layer *layer, size_t index) {
    size_t blocks = sqz_divide_up(layer->out_c, LANES), full = blocks / WIDE_BLOCKS;
    if (index < full) return (struct wide_panel){index * WIDE_BLOCKS, WIDE_BLOCKS};
    struct wide_panel panel = {full * WIDE_BLOCKS, WIDE_BLOCKS / 2};
    for (size_t left = blocks % WIDE_BLOCKS;; panel.n_out /= 2) {
        if (!(left & panel.n_out)) continue;
        if (index-- == full) return panel;
        panel.first_out += panel.n_out;
    }
}

/* Rows of a strip: whole groups of words, whole blocks of input, and about 64 so that it fits into a cache. */
static size_t strip_rows(size_t per) {
    size_t rows = per;
    while (rows % LANES) rows += per;
    return sqz_divide_up(64, rows) * rows;
}

static bool codebook_dense_prepare(struct sqz_layer *layer) {
    if (layer->op != SQZ_OP_DENSE || !plan_bits(layer)) return false;
    layer->in_c *= layer->in_h * layer->in_w;
    layer->in_h = layer->in_w = 1;
    size_t per = rows_per_word(layer), blocks = sqz_divide_up(layer->out_c, LANES);
    layer->part[PART_ROWS] = layer->in_c;
    layer->part[PART_GROUPS] = sqz_divide_up(layer->in_c, per);
    layer->part[PART_STRIP] = strip_rows(per);
    layer->pack_items = wide_panel_count(layer);
    plan_tail(layer, layer->part[PART_GROUPS] * blocks * LANES);
    layer->n_phases = 1;
    layer->items[0] = layer->pack_items;
    layer->local_count = layer->max_batch > 1 ? layer->part[PART_STRIP] * WIDE_BLOCKS * LANES : 0;
    layer->cost = (double)layer->in_c * (double)blocks * ((double)layer->max_batch + lookup_cost(layer));
    return true;
}

static float *words_of(const struct sqz_layer *layer, const float *packed, const struct wide_panel *panel) {
    return (float *)packed + panel->first_out * layer->part[PART_GROUPS] * LANES;
}

static void codebook_dense_pack(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *packed,
                                size_t item) {
    struct wide_panel wide = wide_panel_at(layer, item);
    struct sqz_panel panel = {.first_out = wide.first_out,
                              .n_out = wide.n_out,
                              .n_in = sqz_divide_up(layer->in_c, LANES),
                              .last_run = layer->in_c - (layer->in_c - 1) / LANES * LANES};
    if (item == 0) pack_table(layer, weights, packed);
    pack_words(layer, weights, words_of(layer, packed, &wide), &panel, 1, ROWS_BY_CHANNEL);
    pack_bias(layer, weights->bias, packed + layer->part[PART_GROUPS] * sqz_divide_up(layer->out_c, LANES) * LANES,
              &panel);
}

/* ---- one image ---------------------------------------------------------------------- */

/* What the product of one wide panel with one image needs. */
struct code_product {
    const float *words, *x, *bias, *entries, *steps;
    size_t rows;
    vec low, high;
    float *out;
};

/* Words this far ahead are asked for, in floats: as far as in gemm_template.h. */
#define WORDS_AHEAD 2048

INLINE void code_rows(const struct code_product *product, const float *words, const float *x, const size_t n,
                      const int B, const int bits, const bool stepped, const vec *table, vec *sum) {
    word_vec word[8];
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) {
        word[b] = words_load(words + b * LANES);
        if (b * LANES % 16 == 0) __builtin_prefetch(words + WORDS_AHEAD + b * LANES);
    }
#pragma GCC unroll 16
    for (size_t k = 0; k < n; k++) {
        vec input = vec_broadcast(x + k);
#pragma GCC unroll 8
        for (int b = 0; b < B; b++) {
            vec weight = lookup(product->entries, table, word[b], bits, (int)k);
            if (stepped) weight = vec_mul(weight, vec_load(product->steps + b * LANES));
            sum[b] = vec_fma(input, weight, sum[b]);
        }
    }
}

INLINE void code_body(const struct code_product *product, const int B, const int bits, const bool stepped) {
    const size_t per = 32 / bits;
    vec table[16], sum[8];
    table_load(product->entries, table, bits);
#pragma GCC unroll 8
    for (int b = 0; b < B; b++) sum[b] = vec_load(product->bias + b * LANES);
    const float *words = product->words, *x = product->x, *end = x + product->rows / per * per;
    for (; x < end; x += per, words += B * LANES) code_rows(product, words, x, per, B, bits, stepped, table, sum);
    for (size_t k = 0; k < product->rows % per; k++) {
        vec input = vec_broadcast(x + k);
#pragma GCC unroll 8
        for (int b = 0; b < B; b++) {
            word_vec word = words_shift(words_load(words + b * LANES), (unsigned)k * bits);
            vec weight = lookup(product->entries, table, word, bits, 0);
            if (stepped) weight = vec_mul(weight, vec_load(product->steps + b * LANES));
            sum[b] = vec_fma(input, weight, sum[b]);
        }
    }
#pragma GCC unroll 8
    for (int b = 0; b < B; b++)
        vec_store(product->out + b * LANES, vec_min(product->high, vec_max(product->low, sum[b])));
}

INLINE void code_panel(const struct code_product *product, size_t n_out, const int bits, const bool stepped) {
    switch (n_out) {
    case 8: /* with AVX2 there is none so wide */
        code_body(product, WIDE_BLOCKS, bits, stepped);
        break;
    case 4:
        code_body(product, 4, bits, stepped);
        break;
    case 2:
        code_body(product, 2, bits, stepped);
        break;
    default:
        code_body(product, 1, bits, stepped);
    }
}

#define DEFINE_CODE(bits)                                                                                              \
    static void code_##bits(const struct code_product *product, size_t n_out) {                                        \
        if (product->steps)                                                                                            \
            code_panel(product, n_out, bits, true);                                                                    \
        else                                                                                                           \
            code_panel(product, n_out, bits, false);                                                                   \
    }
FOR_CODEBOOK_BITS(DEFINE_CODE)

static void multiply_one(const struct sqz_layer *layer, const struct sqz_io *io, const struct wide_panel *wide,
                         const float *bias) {
    const struct code_product product = {
        .words = words_of(layer, io->weights, wide),
        .x = io->in[0],
        .bias = bias,
        .entries = io->weights + layer->part[PART_TABLE],
        .steps = layer->weights.has_steps ? io->weights + layer->part[PART_STEPS] + wide->first_out * LANES : NULL,
        .rows = layer->part[PART_ROWS],
        .low = vec_set(layer->low),
        .high = vec_set(layer->high),
        .out = io->out + wide->first_out * LANES,
    };
    switch (layer->part[PART_BITS]) {
#define CASE(bits)                                                                                                     \
    case bits:                                                                                                         \
        code_##bits(&product, wide->n_out);                                                                            \
        break;
        FOR_CODEBOOK_BITS(CASE)
#undef CASE
    }
}

/* ---- several images ------------------------------------------------------------------ */

/* One strip of rows of two blocks of output (or one), as floats, with all images. */
static void multiply_strip(const struct sqz_io *io, const struct sqz_gemm *strip, size_t n_out) {
    size_t groups = sqz_divide_up(io->images, GEMM_PIXELS);
    struct sqz_gemm gemm = *strip;
    for (size_t group = 0; group < groups; group++) {
        size_t begin = sqz_part_begin(io->images, groups, group);
        size_t n = sqz_part_begin(io->images, groups, group + 1) - begin;
        gemm.x = strip->x + begin * LANES;
        gemm.out = strip->out + begin * LANES;
        GEMM_TABLE[SQZ_STEP_LANES][n_out - 1][n - 1](&gemm);
    }
}

static void multiply_images(const struct sqz_layer *layer, const struct sqz_io *io, const struct wide_panel *wide,
                            const float *bias, float *local) {
    size_t rows = layer->part[PART_ROWS], step = layer->part[PART_STRIP], per = rows_per_word(layer);
    size_t stride = layer->max_batch * LANES, word_stride = wide->n_out * LANES;
    const float *words = words_of(layer, io->weights, wide);
    for (size_t row = 0; row < rows; row += step) {
        size_t n = rows - row < step ? rows - row : step;
        for (size_t b = 0; b < wide->n_out; b += SQZ_GEMM_BLOCKS) {
            size_t n_out = wide->n_out - b < SQZ_GEMM_BLOCKS ? wide->n_out - b : SQZ_GEMM_BLOCKS;
            restore(layer, io, words + row / per * word_stride + b * LANES, sqz_divide_up(n, per), word_stride,
                    wide->first_out + b, n_out, local);
            const struct sqz_gemm gemm = {
                .weights = local,
                .x = io->in[0] + row * layer->max_batch,
                .n_blocks = sqz_divide_up(n, LANES),
                .block_stride = stride,
                .kernel_h = 1,
                .kernel_w = 1,
                .run = LANES,
                .last_run = n - (n - 1) / LANES * LANES,
                .bias = bias + b * LANES,
                .accumulate = row > 0,
                .clamp = row + n == rows,
                .low = layer->low,
                .high = layer->high,
                .out = io->out + (wide->first_out + b) * stride,
                .out_block_stride = stride,
            };
            multiply_strip(io, &gemm, n_out);
        }
    }
}

static void codebook_dense_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                               float *local) {
    (void)phase;
    struct wide_panel wide = wide_panel_at(layer, item);
    size_t blocks = sqz_divide_up(layer->out_c, LANES);
    const float *bias = io->weights + layer->part[PART_GROUPS] * blocks * LANES + wide.first_out * LANES;
    if (layer->max_batch == 1)
        multiply_one(layer, io, &wide, bias);
    else
        multiply_images(layer, io, &wide, bias, local);
}

const struct sqz_kernel KERNEL(codebook_dense) = {
    .name = KERNEL_NAME("codebook_dense"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BATCH,
    .out = SQZ_LAYOUT_BATCH,
    .lanes = LANES,
    .form = SQZ_FORM_CODEBOOK,
    .prepare = codebook_dense_prepare,
    .pack = codebook_dense_pack,
    .run = codebook_dense_run,
};
