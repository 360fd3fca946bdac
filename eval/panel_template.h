/*
 * panel_template.h - what the kernels that multiply panels of weights share: packing, and cutting into pieces of work.
 * Included behind simd_ISA.h.
 */
#include <math.h>
#include <string.h>

#include "eval/conv_layout.h"

/* layer->part[] of every kernel that includes this; those with numbers of their own go on from PART_OWN. */
enum {
    PART_CHUNKS,       /* pieces of the output's rows (groups of pixels for conv_pointwise) */
    PART_PANEL_FIRST,  /* items run through all chunks of a panel first, not through all panels of a chunk */
    PART_PANEL_STRIDE, /* floats from panel to panel */
    PART_OWN,
};

/* Pieces of work to aim at: enough that two to four threads finish together, few enough to cost nothing. */
#define WANTED_ITEMS 16

/* Floats of input that a piece of work should touch, so that it stays in half of a 32 KiB first-level cache. */
#define CHUNK_INPUT 6144

/* ---- packing ------------------------------------------------------------------ */

static const struct sqz_window one_by_one = {1, 1, 1, 1, 1, 1, 0, 0, 0, 0};

static inline const struct sqz_window *window_of(const struct sqz_layer *layer) {
    return layer->op == SQZ_OP_CONV ? &layer->params.conv.window : &one_by_one;
}

/* Cut into panels, with the bias behind them. */
static inline void plan_weights(struct sqz_layer *layer, size_t taps) {
    size_t panels = sqz_panel_count(layer, LANES);
    layer->part[PART_PANEL_STRIDE] = sqz_panel_channels(layer, LANES) * taps * SQZ_GEMM_BLOCKS * LANES;
    layer->pack_items = panels;
    layer->weight_count = panels * (layer->part[PART_PANEL_STRIDE] + SQZ_GEMM_BLOCKS * LANES);
}

/* A panel's part of the bias behind all panels. */
static inline void pack_bias(const struct sqz_layer *layer, const float *bias, float *to,
                             const struct sqz_panel *panel) {
    for (size_t o = panel->first_out * LANES; o < (panel->first_out + panel->n_out) * LANES; o++)
        to[o] = bias && o < layer->out_c ? bias[o] : 0;
}

static inline void pack_panel(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *packed,
                              size_t item, bool plain) {
    const struct sqz_window *window = window_of(layer);
    size_t taps = (size_t)window->kernel_h * window->kernel_w;
    struct sqz_panel panel = sqz_panel_at(layer, LANES, item);
    size_t width = panel.n_out * LANES, first_out = panel.first_out * LANES;
    float *to = packed + item * layer->part[PART_PANEL_STRIDE];
    for (size_t block = 0; block < panel.n_in; block++) {
        size_t run = block + 1 < panel.n_in ? LANES : panel.last_run, first_in = (panel.first_in + block) * LANES;
        for (size_t j = 0; j < width; j++) {
            for (size_t l = 0; l < run; l++) {
                const float *from = sqz_pair_weights(layer, weights->kernel, taps, first_out + j, first_in + l);
                for (size_t t = 0; t < taps; t++) {
                    /* Plain input is walked channel by channel, blocked input tap by tap through the lanes. */
                    size_t row = block * LANES * taps + (plain ? l * taps + t : t * run + l);
                    to[row * width + j] = from ? from[t] : 0;
                }
            }
        }
    }
    pack_bias(layer, weights->bias, packed + layer->pack_items * layer->part[PART_PANEL_STRIDE], &panel);
}

static inline void pack_blocked(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *packed,
                                size_t item) {
    pack_panel(layer, weights, packed, item, false);
}

static inline void pack_plain(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *packed,
                              size_t item) {
    pack_panel(layer, weights, packed, item, true);
}

/* Products of vectors of weights with one pixel: the last panel may have fewer blocks than the others. */
static inline double plan_products(const struct sqz_layer *layer, size_t taps) {
    return (double)(sqz_panel_channels(layer, LANES) * taps) * (double)sqz_divide_up(layer->out_c, LANES);
}

/* ---- what all share ------------------------------------------------------------ */

static inline void plan_items(struct sqz_layer *layer, size_t groups, size_t group_input, unsigned phase) {
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
static inline void find_item(const struct sqz_layer *layer, size_t item, size_t *panel, size_t *chunk) {
    if (layer->part[PART_PANEL_FIRST]) {
        *panel = item / layer->part[PART_CHUNKS];
        *chunk = item % layer->part[PART_CHUNKS];
    } else {
        *panel = item % layer->pack_items;
        *chunk = item / layer->pack_items;
    }
}

static inline struct sqz_gemm gemm_of_panel(const struct sqz_layer *layer, const struct sqz_io *io, size_t index,
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
