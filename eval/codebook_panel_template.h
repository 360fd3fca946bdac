/*
 * codebook_panel_template.h - panels of packed weights; included behind simd_ISA.h and panel_template.h.
 *
 * A panel is cut into groups of `per` rows, 32 / bits. A group holds one word
 * for each of the panel's output channels, with that channel's weights of the
 * group's rows in it: [group][B][L]. Behind all panels follow the bias, the
 * steps of the output channels where weights have such, and the table. A kernel
 * turns a panel, or a part of it, into floats in its scratch and works on as
 * with weights that were floats before: its results are the same bit for bit.
 */
#include "eval/codebook_lookup.h"

/* layer->part[] from the end, since the kernels' own parts begin at the front. */
enum { PART_BITS = 11, PART_STEPS = 10, PART_TABLE = 9 };

static inline size_t rows_per_word(const struct sqz_layer *layer) {
    return 32 / layer->part[PART_BITS];
}

/* Do all weights that a panel of `width` channels meets exist? If not there would have to be a number for zero. */
static inline bool groups_fit_panels(const struct sqz_layer *layer, size_t width) {
    size_t groups = sqz_layer_groups(layer);
    return groups == 1 || (layer->out_c / groups % width == 0 && layer->in_c / groups % LANES == 0);
}

/* Can the layer's weights be numbered? Then set the bits. */
static inline bool plan_bits(struct sqz_layer *layer) {
    if (layer->weights.n_values == 0) return false;
    layer->part[PART_BITS] = codebook_bits(layer->weights.n_values);
    return true;
}

/* What comes behind `words` floats of panels; sets weight_count. */
static inline void plan_tail(struct sqz_layer *layer, size_t words) {
    size_t channels = sqz_round_up(layer->out_c, SQZ_GEMM_BLOCKS * LANES);
    layer->part[PART_STEPS] = words + channels;
    layer->part[PART_TABLE] = layer->part[PART_STEPS] + (layer->weights.has_steps ? channels : 0);
    layer->weight_count = layer->part[PART_TABLE] + SQZ_TABLE_COUNT;
}

/*
 * Cost of turning one vector of numbers into floats, in vector multiply-adds: instructions of lookup() and the store.
 */
static inline double lookup_cost(const struct sqz_layer *layer) {
    size_t bits = layer->part[PART_BITS];
    if (LANES == 8) return bits <= 3 ? 2 : bits == 4 ? 5 : bits == 5 ? 9 : 12;
    return bits <= 5 ? 2 : bits == 6 ? 4 : 16;
}

/*
 * Behind the planning of a kernel of floats, whose panels have `taps` rows for
 * each input channel: the same with numbers instead. The panel in floats
 * comes first in the scratch.
 */
static inline bool plan_codebook(struct sqz_layer *layer, size_t taps) {
    if (!groups_fit_panels(layer, SQZ_GEMM_BLOCKS * LANES) || !plan_bits(layer)) return false;
    size_t rows = sqz_panel_channels(layer, LANES) * taps, words = sqz_divide_up(rows, rows_per_word(layer));
    size_t width = SQZ_GEMM_BLOCKS * LANES;
    layer->part[PART_PANEL_STRIDE] = words * width;
    plan_tail(layer, layer->pack_items * words * width);
    layer->local_count += words * rows_per_word(layer) * width;
    return true;
}

/*
 * A panel is turned into floats by each piece of work that it meets, so there are no more of these than keep the
 * threads busy. Replaces what plan_items() chose, and adds to the cost.
 */
static inline void plan_coded_items(struct sqz_layer *layer, size_t groups, unsigned phase) {
    size_t panels = layer->pack_items, chunks = sqz_divide_up(WANTED_ITEMS, panels);
    layer->part[PART_PANEL_FIRST] = true;
    layer->part[PART_CHUNKS] = chunks < groups ? chunks : groups;
    layer->items[phase] = panels * layer->part[PART_CHUNKS];
    size_t words = panels * layer->part[PART_PANEL_STRIDE] / LANES * rows_per_word(layer);
    layer->cost += lookup_cost(layer) * (double)words * (double)layer->part[PART_CHUNKS];
}

/* ---- packing ---------------------------------------------------------------------- */

/* The table, with short ones repeated to the reach of a permute, and the steps; by the first piece of packing. */
static inline void pack_table(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *packed) {
    size_t n = layer->weights.n_values, period = (size_t)1 << layer->part[PART_BITS];
    float *table = packed + layer->part[PART_TABLE];
    for (size_t i = 0; i < SQZ_TABLE_COUNT; i++) table[i] = i % period < n ? weights->values[i % period] : 0;
    size_t channels = layer->part[PART_TABLE] - layer->part[PART_STEPS];
    for (size_t o = 0; o < channels; o++)
        packed[layer->part[PART_STEPS] + o] = o < layer->out_c && weights->steps ? weights->steps[o] : 1;
}

/* Number of the weight that joins an output to an input channel at a tap; 0 where there is no such output. */
static inline uint32_t weight_number(const struct sqz_layer *layer, const struct sqz_weight_values *weights,
                                     size_t taps, size_t out, size_t in, size_t tap) {
    if (out >= layer->out_c) return 0;
    size_t group_in = layer->in_c / sqz_layer_groups(layer);
    size_t i = (out * group_in + in % group_in) * taps + tap;
    return (uint32_t)(weights->levels[i] - layer->weights.first_level);
}

/* Where a row of a panel comes from: its input channel, counted from the panel's first, and its tap. */
enum row_order {
    ROWS_BY_TAP,     /* block by block of input channels, in it tap by tap, then channel by channel */
    ROWS_BY_CHANNEL, /* channel by channel, then tap by tap */
};

static inline void row_origin(const struct sqz_panel *panel, size_t taps, enum row_order order, size_t row,
                              size_t *channel, size_t *tap) {
    if (order == ROWS_BY_CHANNEL) {
        *channel = row / taps;
        *tap = row % taps;
        return;
    }
    size_t block = row / (LANES * taps), run = block + 1 < panel->n_in ? LANES : panel->last_run;
    row %= LANES * taps;
    *tap = row / run;
    *channel = block * LANES + row % run;
}

/* The words of a panel whose first row's input channel is the panel's first; all its rows in order. */
static inline void pack_words(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *to,
                              const struct sqz_panel *panel, size_t taps, enum row_order order) {
    size_t rows = ((panel->n_in - 1) * LANES + panel->last_run) * taps, per = rows_per_word(layer);
    size_t width = panel->n_out * LANES, bits = layer->part[PART_BITS];
    for (size_t begin = 0; begin < rows; begin += per, to += width) {
        size_t n = rows - begin < per ? rows - begin : per, channel[16], tap[16];
        for (size_t k = 0; k < n; k++) row_origin(panel, taps, order, begin + k, &channel[k], &tap[k]);
        for (size_t j = 0; j < width; j++) {
            uint32_t word = 0;
            for (size_t k = 0; k < n; k++)
                word |= weight_number(layer, weights, taps, panel->first_out * LANES + j,
                                      panel->first_in * LANES + channel[k], tap[k])
                        << (k * bits);
            memcpy(to + j, &word, sizeof word);
        }
    }
}

static inline void pack_coded(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *packed,
                              size_t item, enum row_order order) {
    const struct sqz_window *window = window_of(layer);
    struct sqz_panel panel = sqz_panel_at(layer, LANES, item);
    if (item == 0) pack_table(layer, weights, packed);
    pack_words(layer, weights, packed + item * layer->part[PART_PANEL_STRIDE], &panel,
               (size_t)window->kernel_h * window->kernel_w, order);
    pack_bias(layer, weights->bias, packed + layer->pack_items * layer->part[PART_PANEL_STRIDE], &panel);
}

static inline void pack_coded_by_tap(const struct sqz_layer *layer, const struct sqz_weight_values *weights,
                                     float *packed, size_t item) {
    pack_coded(layer, weights, packed, item, ROWS_BY_TAP);
}

static inline void pack_coded_by_channel(const struct sqz_layer *layer, const struct sqz_weight_values *weights,
                                         float *packed, size_t item) {
    pack_coded(layer, weights, packed, item, ROWS_BY_CHANNEL);
}

/* ---- restoring ---------------------------------------------------------------------- */

/* Words of B blocks, n groups word_stride floats apart, to floats [group * per][B][L]; steps [B][L] or NULL. */
INLINE void restore_body(const float *words, size_t n, size_t word_stride, const int B, const int bits,
                         const float *entries, const float *steps, float *to) {
    const int per = 32 / bits;
    vec table[16], step[SQZ_GEMM_BLOCKS];
    table_load(entries, table, bits);
#pragma GCC unroll 2
    for (int b = 0; b < B; b++) step[b] = steps ? vec_load(steps + b * LANES) : vec_set(1);
    for (size_t g = 0; g < n; g++, words += word_stride, to += per * B * LANES)
#pragma GCC unroll 2
        for (int b = 0; b < B; b++) {
            word_vec word = words_load(words + b * LANES);
#pragma GCC unroll 16
            for (int k = 0; k < per; k++) {
                vec weight = lookup(entries, table, word, bits, k);
                vec_store(to + (k * B + b) * LANES, steps ? vec_mul(weight, step[b]) : weight);
            }
        }
}

#define DEFINE_RESTORE(bits)                                                                                           \
    static void restore_##bits(const float *words, size_t n, size_t word_stride, size_t n_out, const float *entries,   \
                               const float *steps, float *to) {                                                        \
        if (n_out == 1)                                                                                                \
            restore_body(words, n, word_stride, 1, bits, entries, steps, to);                                          \
        else if (steps)                                                                                                \
            restore_body(words, n, word_stride, 2, bits, entries, steps, to);                                          \
        else                                                                                                           \
            restore_body(words, n, word_stride, 2, bits, entries, NULL, to);                                           \
    }
FOR_CODEBOOK_BITS(DEFINE_RESTORE)

/* The one for the layer's bits; first_out is the block of its output that the words begin at. */
static inline void restore(const struct sqz_layer *layer, const struct sqz_io *io, const float *words, size_t n,
                           size_t word_stride, size_t first_out, size_t n_out, float *to) {
    const float *entries = io->weights + layer->part[PART_TABLE];
    const float *steps = layer->weights.has_steps ? io->weights + layer->part[PART_STEPS] + first_out * LANES : NULL;
    switch (layer->part[PART_BITS]) {
#define CASE(bits)                                                                                                     \
    case bits:                                                                                                         \
        restore_##bits(words, n, word_stride, n_out, entries, steps, to);                                              \
        break;
        FOR_CODEBOOK_BITS(CASE)
#undef CASE
    }
}

/* Rows [begin, end) of a panel to floats [end - begin][B][L]; begin is a multiple of rows_per_word(). */
static inline void restore_rows(const struct sqz_layer *layer, const struct sqz_io *io, size_t index,
                                const struct sqz_panel *panel, size_t begin, size_t end, float *to) {
    size_t per = rows_per_word(layer), n = sqz_divide_up(end - begin, per), width = panel->n_out * LANES;
    const float *words = io->weights + index * layer->part[PART_PANEL_STRIDE] + begin / per * width;
    restore(layer, io, words, n, width, panel->first_out, panel->n_out, to);
}

/* A whole panel; returns where its floats are. */
static inline const float *restore_panel(const struct sqz_layer *layer, const struct sqz_io *io, size_t index,
                                         const struct sqz_panel *panel, size_t taps, float *local) {
    restore_rows(layer, io, index, panel, 0, ((panel->n_in - 1) * LANES + panel->last_run) * taps, local);
    return local;
}
