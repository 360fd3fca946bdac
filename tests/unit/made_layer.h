/* made_layer.h - a made-up layer with its moments, for the tests of compensation. */
#ifndef SQZ_TESTS_MADE_LAYER_H
#define SQZ_TESTS_MADE_LAYER_H

#include "lib/compensate.h"

/* A made-up layer: correlated inputs with means, at n_positions positions, in the float net and the compressed one. */
struct layer {
    size_t groups, n, rows, n_positions;
    float *x, *x_float; /* [n_positions][groups * n]; x_float NULL when they are the same */
    float *weights;
    struct sqz_moments *moments;
};

/* A layer with random weights for given columns, which it owns from now on. */
struct layer layer_of_columns(size_t groups, size_t n, size_t rows, size_t n_positions, float *x, float *x_float,
                              size_t max_inputs);

/* Columns in which neighbouring inputs correlate, and some vary more than others. */
float *correlated(size_t groups, size_t n, size_t n_positions, uint64_t seed);

/* Both in one, at 400 positions; paired: the compressed net's inputs differ. */
struct layer make_layer(size_t groups, size_t n, size_t rows, bool paired);
void layer_free(struct layer *layer);

struct sqz_compensator *compensator_of(const struct layer *layer, double damping, bool keep_zeros);

/* Mean over the positions of |W x_float - Wq x - change|^2, added up over the rows. change NULL: zeros. */
double output_error(const struct layer *layer, const float *values, const float *change);

/* The layer's weights rounded to the nearest multiple of step. */
void nearest(const struct layer *layer, float step, float *values);

/* The packed levels keep their promises and unpack to the result's weights. */
void check_packed(const struct sqz_compensated *result, size_t rows, size_t n);

#endif
