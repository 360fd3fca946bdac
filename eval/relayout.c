/* relayout.c - changes of layout between kernels, and copies. */
#include <string.h>

#include "eval/plan.h"

/* layer->part[0] holds L for the changes of layout; the copy moves flat_count floats. */

static bool never_chosen(struct sqz_layer *layer) {
    (void)layer;
    return false;
}

static size_t area_of(const struct sqz_layer *layer) {
    return layer->in_h * layer->in_w;
}

/* One item is one block of L channels. */
static void to_blocked(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                       float *local) {
    (void)phase, (void)local;
    size_t lanes = layer->part[0], area = area_of(layer), first = item * lanes;
    size_t n = layer->in_c - first < lanes ? layer->in_c - first : lanes;
    const float *in = io->in[0] + first * area;
    float *out = io->out + first * area;
    for (size_t i = 0; i < area; i++)
        for (size_t l = 0; l < lanes; l++) out[i * lanes + l] = l < n ? in[l * area + i] : 0;
}

static void to_plain(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                     float *local) {
    (void)phase, (void)local;
    size_t lanes = layer->part[0], area = area_of(layer), first = item * lanes;
    size_t n = layer->in_c - first < lanes ? layer->in_c - first : lanes;
    const float *in = io->in[0] + first * area;
    float *out = io->out + first * area;
    for (size_t l = 0; l < n; l++)
        for (size_t i = 0; i < area; i++) out[l * area + i] = in[i * lanes + l];
}

/* io->out points at the image's place in the first block. */
static void to_batch(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                     float *local) {
    (void)phase, (void)item, (void)local;
    size_t lanes = layer->part[0], n = layer->in_c * area_of(layer);
    for (size_t i = 0; i < n; i += lanes) {
        float *out = io->out + i * layer->max_batch;
        for (size_t l = 0; l < lanes; l++) out[l] = i + l < n ? io->in[0][i + l] : 0;
    }
}

static void from_batch(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                       float *local) {
    (void)phase, (void)item, (void)local;
    size_t lanes = layer->part[0], n = layer->in_c * area_of(layer);
    for (size_t i = 0; i < n; i++) io->out[i] = io->in[0][i / lanes * lanes * layer->max_batch + i % lanes];
}

static void copy(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item, float *local) {
    (void)phase, (void)item, (void)local;
    memcpy(io->out, io->in[0], layer->flat_count * sizeof *io->out);
}

const struct sqz_kernel sqz_kernel_to_blocked = {.name = "to_blocked",
                                                 .in = SQZ_LAYOUT_PLAIN,
                                                 .out = SQZ_LAYOUT_BLOCKED,
                                                 .prepare = never_chosen,
                                                 .run = to_blocked};
const struct sqz_kernel sqz_kernel_to_plain = {
    .name = "to_plain", .in = SQZ_LAYOUT_BLOCKED, .out = SQZ_LAYOUT_PLAIN, .prepare = never_chosen, .run = to_plain};
const struct sqz_kernel sqz_kernel_to_batch = {
    .name = "to_batch", .in = SQZ_LAYOUT_PLAIN, .out = SQZ_LAYOUT_BATCH, .prepare = never_chosen, .run = to_batch};
const struct sqz_kernel sqz_kernel_from_batch = {
    .name = "from_batch", .in = SQZ_LAYOUT_BATCH, .out = SQZ_LAYOUT_PLAIN, .prepare = never_chosen, .run = from_batch};
const struct sqz_kernel sqz_kernel_copy = {
    .name = "copy", .in = SQZ_LAYOUT_ANY, .out = SQZ_LAYOUT_ANY, .prepare = never_chosen, .run = copy};
