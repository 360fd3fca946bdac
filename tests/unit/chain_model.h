/* chain_model.h - a chain of layers with given weights, for tests of pruning and weight sharing. */
#ifndef SQZ_TESTS_CHAIN_MODEL_H
#define SQZ_TESTS_CHAIN_MODEL_H

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/model.h"
#include "lib/random.h"

struct chain_layer {
    const char *name;
    enum sqz_op op;      /* SQZ_OP_CONV (1x1) or SQZ_OP_DENSE */
    size_t n;            /* weights; one output channel */
    const float *values; /* NULL: zeros */
};

/* Layer i has weights 2i (the kernel) and 2i + 1 (a bias of 1e-9). */
static inline struct sqz_model *chain_model(const struct chain_layer *layers, size_t n_layers) {
    struct sqz_input input = {.channels = 1, .height = 1, .width = 1, .scale = 1, .std = {1, 1, 1, 1}};
    struct sqz_model *model = sqz_model_new(&input);
    uint32_t node = 0, weight;
    for (size_t i = 0; i < n_layers; i++) {
        const struct chain_layer *layer = &layers[i];
        char name[64];
        struct sqz_shape shape = layer->op == SQZ_OP_CONV ? sqz_shape4(1, layer->n, 1, 1) : sqz_shape2(1, layer->n);
        struct sqz_shape one = sqz_shape1(1);
        ck_assert_int_eq(sqz_model_add_node(model, layer->op, layer->name, &node, 1, &node, NULL), SQZ_OK);
        snprintf(name, sizeof name, "%s.weight", layer->name);
        ck_assert_int_eq(sqz_model_add_weight(model, name, SQZ_ROLE_KERNEL, &shape, NULL, &weight, NULL), SQZ_OK);
        model->nodes[node].kernel = weight;
        if (layer->values)
            memcpy(model->weights[weight].data, layer->values, layer->n * sizeof(float));
        else
            memset(model->weights[weight].data, 0, layer->n * sizeof(float));
        snprintf(name, sizeof name, "%s.bias", layer->name);
        ck_assert_int_eq(sqz_model_add_weight(model, name, SQZ_ROLE_BIAS, &one, NULL, &weight, NULL), SQZ_OK);
        model->nodes[node].bias = weight;
        model->weights[weight].data[0] = 1e-9f;
    }
    return model;
}

/* Laplace-distributed weights, the shape that trained layers have. */
static inline void fill_laplace(float *values, size_t n, double scale, uint64_t seed) {
    struct sqz_random random = sqz_random_seeded(seed);
    for (size_t i = 0; i < n; i++) {
        double u = sqz_random_unit(&random) - 0.5 + 0x1p-54;
        values[i] = (float)((u < 0 ? 1 : -1) * scale * log(1 - 2 * fabs(u)));
    }
}

/* The current values of a weight, whether packed or not. */
static inline const float *weight_values(struct sqz_model *model, size_t weight) {
    ck_assert_int_eq(sqz_weight_need_data(&model->weights[weight], NULL), SQZ_OK);
    return model->weights[weight].data;
}

static inline size_t count_zeros(const float *values, size_t n) {
    size_t zeros = 0;
    for (size_t i = 0; i < n; i++) zeros += values[i] == 0;
    return zeros;
}

#endif
