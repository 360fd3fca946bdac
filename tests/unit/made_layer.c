/* made_layer.c - a made-up layer with its moments, for the tests of compensation. */
#include "tests/unit/made_layer.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/random_nets.h"

struct layer layer_of_columns(size_t groups, size_t n, size_t rows, size_t n_positions, float *x, float *x_float,
                              size_t max_inputs) {
    struct layer layer = {groups, n, rows, n_positions, x, x_float, malloc(rows * n * sizeof(float)), NULL};
    uint64_t seed = 7;
    for (size_t i = 0; i < rows * n; i++) layer.weights[i] = random_unit(&seed) * 0.2f + random_unit(&seed) * 0.1f;
    ck_assert_int_eq(sqz_moments_new(groups, n, x_float != NULL, max_inputs, &layer.moments, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_moments_add(layer.moments, x, x_float, n_positions, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_moments_finish(layer.moments, NULL), SQZ_OK);
    return layer;
}

float *correlated(size_t groups, size_t n, size_t n_positions, uint64_t seed) {
    float *x = malloc(n_positions * groups * n * sizeof *x);
    for (size_t p = 0; p < n_positions; p++) {
        float last = 0;
        for (size_t i = 0; i < groups * n; i++) {
            last = 0.7f * last + random_unit(&seed);
            x[p * groups * n + i] = last * (1 + (float)(i % 5)) + 0.5f;
        }
    }
    return x;
}

struct layer make_layer(size_t groups, size_t n, size_t rows, bool paired) {
    size_t n_positions = 400;
    float *x = correlated(groups, n, n_positions, 1), *x_float = NULL;
    if (paired) {
        uint64_t seed = 99;
        x_float = malloc(n_positions * groups * n * sizeof *x_float);
        for (size_t i = 0; i < n_positions * groups * n; i++) x_float[i] = 1.1f * x[i] + 0.3f * random_unit(&seed);
    }
    return layer_of_columns(groups, n, rows, n_positions, x, x_float, 0);
}

void layer_free(struct layer *layer) {
    sqz_moments_free(layer->moments);
    free(layer->x);
    free(layer->x_float);
    free(layer->weights);
}

struct sqz_compensator *compensator_of(const struct layer *layer, double damping, bool keep_zeros) {
    const struct sqz_compensator_options options = {.damping = damping, .keep_zeros = keep_zeros};
    struct sqz_compensator *compensator;
    ck_assert_int_eq(sqz_compensator_new(layer->moments, layer->weights, layer->rows, &options, &compensator, NULL),
                     SQZ_OK);
    return compensator;
}

double output_error(const struct layer *layer, const float *values, const float *change) {
    double sum = 0;
    for (size_t p = 0; p < layer->n_positions; p++)
        for (size_t row = 0; row < layer->rows; row++) {
            size_t group = row / (layer->rows / layer->groups);
            const float *x = layer->x + (p * layer->groups + group) * layer->n;
            const float *x_float = layer->x_float ? layer->x_float + (p * layer->groups + group) * layer->n : x;
            double y = change ? -(double)change[row] : 0;
            for (size_t i = 0; i < layer->n; i++)
                y += (double)layer->weights[row * layer->n + i] * (double)x_float[i] -
                     (double)values[row * layer->n + i] * (double)x[i];
            sum += y * y;
        }
    return sum / (double)layer->n_positions;
}

void nearest(const struct layer *layer, float step, float *values) {
    for (size_t i = 0; i < layer->rows * layer->n; i++) values[i] = step * nearbyintf(layer->weights[i] / step);
}

void check_packed(const struct sqz_compensated *result, size_t rows, size_t n) {
    struct sqz_shape shape = sqz_shape2(rows, n);
    ck_assert_int_eq(sqz_packed_check(result->packed, &shape, "w", NULL), SQZ_OK);
    float *values = malloc(rows * n * sizeof *values);
    sqz_packed_unpack(result->packed, rows, values);
    ck_assert_mem_eq(values, result->weights, rows * n * sizeof *values);
    ck_assert_uint_eq(sqz_packed_nonzero(result->packed), result->stats.nonzero);
    free(values);
}
