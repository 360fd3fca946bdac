/* packed_samples.c - random packed tensors and a SqueezeNet made of them. */
#include "tests/unit/packed_samples.h"

#include "lib/trellis.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

uint64_t sample_random(uint64_t *state) {
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545F4914F6CDD1DULL;
}

double sample_unit(uint64_t *state) {
    return (double)(sample_random(state) >> 11) * 0x1p-53;
}

static struct sqz_packed *new_packed(enum sqz_level_kind kind, size_t count, uint32_t n_codebook, uint32_t n_steps) {
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    ck_assert_ptr_nonnull(packed);
    packed->kind = kind;
    packed->n_levels = count;
    packed->n_codebook = n_codebook;
    packed->n_steps = n_steps;
    packed->levels = sqz_alloc0(count, sizeof *packed->levels);
    packed->codebook = sqz_alloc0(n_codebook, sizeof *packed->codebook);
    packed->steps = sqz_alloc0(n_steps, sizeof *packed->steps);
    ck_assert(packed->levels && packed->codebook && packed->steps);
    return packed;
}

/* Ascending, half below zero, none zero, full float32 mantissas. */
static void fill_codebook(struct sqz_packed *packed, uint64_t *state) {
    double value = -0.013 * packed->n_codebook / 2;
    for (uint32_t i = 0; i < packed->n_codebook; i++) {
        value += 0.013 * (0.1 + sample_unit(state));
        if (fabs(value) < 1e-3) value = 1e-3;
        packed->codebook[i] = (float)value;
    }
}

struct sqz_packed *sample_codebook(size_t count, uint32_t n_codebook, double density, uint64_t seed) {
    uint64_t state = seed * 2 + 1;
    struct sqz_packed *packed = new_packed(SQZ_LEVELS_CODEBOOK, count, n_codebook, 0);
    fill_codebook(packed, &state);
    for (size_t i = 0; i < count; i++) {
        if (n_codebook == 0 || sample_unit(&state) >= density) continue;
        double bell = (sample_unit(&state) + sample_unit(&state) + sample_unit(&state)) / 3;
        packed->levels[i] = (int16_t)(1 + (uint32_t)(bell * n_codebook));
    }
    for (uint32_t i = 0; i < n_codebook && i < count; i++)
        packed->levels[sample_random(&state) % (count / n_codebook ? count / n_codebook : 1) +
                       i * (count / n_codebook ? count / n_codebook : 1)] = (int16_t)(i + 1);
    return packed;
}

struct sqz_packed *sample_uniform(size_t count, uint32_t n_steps, double mean, uint64_t seed) {
    uint64_t state = seed * 2 + 1;
    struct sqz_packed *packed = new_packed(SQZ_LEVELS_UNIFORM, count, 0, n_steps);
    for (uint32_t i = 0; i < n_steps; i++) packed->steps[i] = (float)(0.001 + 0.01 * sample_unit(&state));
    for (size_t i = 0; i < count; i++) {
        double magnitude = floor(-mean * log(1 - sample_unit(&state)) + 0.5);
        if (magnitude > SQZ_MAX_LEVEL) magnitude = SQZ_MAX_LEVEL;
        packed->levels[i] = (int16_t)(sample_random(&state) & 1 ? magnitude : -magnitude);
    }
    return packed;
}

struct sqz_packed *sample_trellis(const struct sqz_shape *shape, uint32_t n_states, bool per_row, double mean,
                                  uint64_t seed) {
    size_t count;
    ck_assert(sqz_shape_count(shape, &count));
    struct sqz_packed *packed =
        sample_uniform(count, per_row && shape->rank && shape->dim[0] ? (uint32_t)shape->dim[0] : 1, mean, seed);
    for (size_t i = 0; i < count; i++) {
        int index = packed->levels[i], most = SQZ_TRELLIS_MAX_INDEX;
        packed->levels[i] = (int16_t)(index > most ? most : index < -most ? -most : index);
    }
    struct sqz_lanes lanes = sqz_lanes_of(shape, count, SQZ_STREAM_RANGE);
    sqz_trellis_restore(n_states, &lanes, packed->levels);
    packed->trellis_states = n_states;
    return packed;
}

struct sqz_packed *sample_histogram(const uint64_t *counts, size_t n, uint64_t seed) {
    uint64_t state = seed * 2 + 1;
    size_t count = 0, at = 0;
    for (size_t i = 0; i < n; i++) count += counts[i];
    struct sqz_packed *packed = new_packed(SQZ_LEVELS_CODEBOOK, count, (uint32_t)n - 1, 0);
    fill_codebook(packed, &state);
    for (size_t i = 0; i < n; i++)
        for (uint64_t k = 0; k < counts[i]; k++) packed->levels[at++] = (int16_t)i;
    for (size_t i = count; i > 1; i--) {
        size_t j = sample_random(&state) % i;
        int16_t level = packed->levels[i - 1];
        packed->levels[i - 1] = packed->levels[j];
        packed->levels[j] = level;
    }
    return packed;
}

static bool same_bytes(const void *a, const void *b, size_t nbytes) {
    return nbytes == 0 || memcmp(a, b, nbytes) == 0;
}

bool sample_equal(const struct sqz_packed *a, const struct sqz_packed *b) {
    return a->kind == b->kind && a->n_levels == b->n_levels && a->n_codebook == b->n_codebook &&
           a->n_steps == b->n_steps && a->trellis_states == b->trellis_states &&
           same_bytes(a->levels, b->levels, a->n_levels * sizeof *a->levels) &&
           same_bytes(a->codebook, b->codebook, a->n_codebook * sizeof *a->codebook) &&
           same_bytes(a->steps, b->steps, a->n_steps * sizeof *a->steps);
}

/* ---- SqueezeNet v1.1 ---------------------------------------------------------------- */

struct builder {
    struct sqz_model *model;
    unsigned bits;
    double density;
    uint64_t seed;
};

static uint32_t add_node(struct builder *b, enum sqz_op op, const char *name, const uint32_t *inputs, size_t n) {
    uint32_t node;
    ck_assert_int_eq(sqz_model_add_node(b->model, op, name, inputs, n, &node, NULL), SQZ_OK);
    return node;
}

static uint32_t add_conv(struct builder *b, uint32_t input, const char *name, uint32_t out, uint32_t in, uint32_t size,
                         uint32_t stride, uint32_t pad) {
    char text[128];
    uint32_t node = add_node(b, SQZ_OP_CONV, name, &input, 1);
    union sqz_params *params = &b->model->nodes[node].params;
    params->conv.window = (struct sqz_window){size, size, stride, stride, 1, 1, pad, pad, pad, pad};
    params->conv.groups = 1;
    struct sqz_shape kernel = sqz_shape4(out, in, size, size), vector = sqz_shape1(out);
    size_t count = (size_t)out * in * size * size;
    struct sqz_packed *packed = sample_codebook(count, 1u << b->bits, b->density, ++b->seed);
    snprintf(text, sizeof text, "%s.weight", name);
    ck_assert_int_eq(
        sqz_model_add_packed(b->model, text, SQZ_ROLE_KERNEL, &kernel, packed, &b->model->nodes[node].kernel, NULL),
        SQZ_OK);
    float *bias = sqz_alloc(out, sizeof *bias);
    ck_assert_ptr_nonnull(bias);
    for (uint32_t i = 0; i < out; i++) bias[i] = (float)(sample_unit(&b->seed) - 0.5);
    snprintf(text, sizeof text, "%s.bias", name);
    ck_assert_int_eq(
        sqz_model_add_weight(b->model, text, SQZ_ROLE_BIAS, &vector, bias, &b->model->nodes[node].bias, NULL), SQZ_OK);
    snprintf(text, sizeof text, "%s.relu", name);
    return add_node(b, SQZ_OP_RELU, text, &node, 1);
}

static uint32_t add_pool(struct builder *b, uint32_t input, const char *name) {
    uint32_t node = add_node(b, SQZ_OP_MAX_POOL, name, &input, 1);
    b->model->nodes[node].params.pool.window = (struct sqz_window){3, 3, 2, 2, 1, 1, 0, 0, 0, 0};
    b->model->nodes[node].params.pool.ceil_mode = true;
    return node;
}

static uint32_t add_fire(struct builder *b, uint32_t input, unsigned index, uint32_t in, uint32_t squeeze,
                         uint32_t expand) {
    char name[64];
    snprintf(name, sizeof name, "features.%u.squeeze", index);
    uint32_t squeezed = add_conv(b, input, name, squeeze, in, 1, 1, 0), parts[2];
    snprintf(name, sizeof name, "features.%u.expand1x1", index);
    parts[0] = add_conv(b, squeezed, name, expand, squeeze, 1, 1, 0);
    snprintf(name, sizeof name, "features.%u.expand3x3", index);
    parts[1] = add_conv(b, squeezed, name, expand, squeeze, 3, 1, 1);
    snprintf(name, sizeof name, "features.%u", index);
    uint32_t node = add_node(b, SQZ_OP_CONCAT, name, parts, 2);
    b->model->nodes[node].params.concat.axis = 1;
    return node;
}

struct sqz_model *sample_squeezenet(unsigned bits, double density, uint64_t seed) {
    struct sqz_input input = {.channels = 3, .height = 224, .width = 224};
    ck_assert(sqz_input_preset("torchvision", &input));
    struct builder b = {sqz_model_new(&input), bits, density, seed * 1000 + 1};
    ck_assert_ptr_nonnull(b.model);
    b.model->arch = "squeezenet1_1";
    uint32_t at = add_conv(&b, 0, "features.0", 64, 3, 3, 2, 0);
    at = add_pool(&b, at, "features.2");
    at = add_fire(&b, at, 3, 64, 16, 64);
    at = add_fire(&b, at, 4, 128, 16, 64);
    at = add_pool(&b, at, "features.5");
    at = add_fire(&b, at, 6, 128, 32, 128);
    at = add_fire(&b, at, 7, 256, 32, 128);
    at = add_pool(&b, at, "features.8");
    at = add_fire(&b, at, 9, 256, 48, 192);
    at = add_fire(&b, at, 10, 384, 48, 192);
    at = add_fire(&b, at, 11, 384, 64, 256);
    at = add_fire(&b, at, 12, 512, 64, 256);
    at = add_conv(&b, at, "classifier.1", 1000, 512, 1, 1, 0);
    at = add_node(&b, SQZ_OP_GLOBAL_AVERAGE_POOL, "classifier.3", &at, 1);
    add_node(&b, SQZ_OP_FLATTEN, "flatten", &at, 1);
    return b.model;
}
