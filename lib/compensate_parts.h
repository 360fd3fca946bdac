/* compensate_parts.h - what the methods of compensate.h share. Private to compensate*.c. */
#ifndef SQZ_LIB_COMPENSATE_PARTS_H
#define SQZ_LIB_COMPENSATE_PARTS_H

#include <math.h>

#include "lib/compensate.h"
#include "lib/rate_model.h"

/* One block of inputs of one group, factored. "Processing order" is descending diagonal. */
struct compensate_block {
    size_t group, begin, n; /* inputs [begin, begin + n) of the group */
    const double *own;      /* of the moments: A without its damping */
    double damping;         /* absolute */
    uint32_t *order;        /* [n] input (from `begin` on) at each place of the processing order */
    double *u;              /* [n][n] upper factor of A^-1 in processing order, zeros below the diagonal */
    bool *dead;             /* [n] the input never varied over enough positions: its weights may go */
};

struct sqz_compensator {
    const struct sqz_moments *moments;
    size_t rows, group_rows, n_inputs;
    bool keep_zeros;
    size_t n_blocks; /* of all groups */
    struct compensate_block *blocks;
    float *weights; /* [rows][n_inputs] */
    float *target;  /* [rows][n_inputs] W*; the same pointer as `weights` where they are equal */
    double damping, sensitivity, std;
    size_t n_dead;
};

/* Rows that one job takes, within one block: enough for matrix products, few enough to share out. */
#define SQZ_ROW_CHUNK 32

/* Rows [begin, begin + n) of the layer and one block of their inputs. */
struct row_chunk {
    const struct compensate_block *block;
    size_t begin, n;
};

/* Jobs of every block and all its rows. */
size_t sqz_row_chunks(const struct sqz_compensator *compensator);
struct row_chunk sqz_row_chunk(const struct sqz_compensator *compensator, size_t index);

/* Whether an input's weight in a row must be zero: masked or dead. `input` counts within the group. */
static inline bool sqz_must_be_zero(const struct sqz_compensator *compensator, const struct compensate_block *block,
                                    size_t row, size_t input) {
    if (block->dead[input - block->begin]) return true;
    return compensator->keep_zeros && compensator->weights[row * compensator->n_inputs + input] == 0;
}

/* The values a weight may take. */
struct level_grid {
    const float *steps;  /* uniform: [rows]; NULL for a codebook */
    const float *values; /* [n_values] ascending, without zero */
    uint32_t n_values;
    bool zero;                         /* codebook: zero may be chosen freely */
    bool free_rate;                    /* no lambda: round to nearest */
    double lambda;                     /* absolute */
    const struct sqz_rate_model *rate; /* uniform, with lambda */
    const float *value_nbits;          /* codebook, with lambda: [n_values + 1] by level */
};

static inline float sqz_grid_value(const struct level_grid *grid, size_t row, int level) {
    if (grid->steps) return (float)level * grid->steps[row];
    return level == 0 ? 0 : grid->values[level - 1];
}

static inline double sqz_grid_nbits(const struct level_grid *grid, int level) {
    if (grid->free_rate) return 0;
    return (double)(grid->steps ? sqz_rate_bits(grid->rate, level) : grid->value_nbits[level]);
}

/* The level with the smallest (w - value)^2 * weight + lambda * bits. */
int sqz_grid_choose(const struct level_grid *grid, size_t row, double w, double weight);

/* GPTQ: levels[rows][n_inputs] from the target. SQZ_OUT_OF_MEMORY. */
enum sqz_status sqz_compensate_round(const struct sqz_compensator *compensator, const struct level_grid *grid,
                                     int16_t *levels, struct sqz_error *err);

/*
 * Coordinate descent from given levels: each weight in turn takes the level
 * that is best with all the others as they are. At most `sweeps` times over
 * all weights of a row; rows that no longer change stop. SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_compensate_sweep(const struct sqz_compensator *compensator, const struct level_grid *grid,
                                     uint32_t sweeps, int16_t *levels, struct sqz_error *err);

struct trellis_grid {
    uint32_t n_states;
    const float *steps;                /* [rows] */
    double lambda;                     /* absolute */
    const struct sqz_rate_model *rate; /* [2] by quantiser, of indices */
};

struct trellis_effort {
    uint32_t passes; /* of rounding, each but the first with the prices of the levels of the one before */
    uint32_t sweeps; /* of coordinate descent afterwards */
};

/*
 * Levels [rows][n_inputs] that obey the trellis of n_states, by GPTQ and
 * coordinate descent. mean_magnitude is that of indices to expect. *nbits: the
 * entropy of the indices, each quantiser on its own. SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_compensate_trellis(const struct sqz_compensator *compensator, const struct trellis_effort *effort,
                                       uint32_t n_states, const float *steps, double lambda, double mean_magnitude,
                                       int16_t *levels, double *nbits, struct sqz_error *err);

/* Whether sweeps are worth their time: their cost grows with the square of the inputs. */
bool sqz_sweeps_affordable(const struct sqz_compensator *compensator);

/*
 * What is only reported, and the fit of a single step, is taken from every
 * n-th job of a block where sweeps are not affordable: thousands of rows say the
 * same as a few hundred.
 */
size_t sqz_sample_stride(const struct sqz_compensator *compensator);

/* Whether job `index` belongs to the sample, and by what its sums are to be multiplied. */
bool sqz_in_sample(const struct sqz_compensator *compensator, size_t index);
double sqz_sample_scale(const struct sqz_compensator *compensator);

/*
 * With the products d = W* - values and g = d A of every row chunk: calls
 * visit(context, chunk, d, g), both [chunk->n][block->n], in parallel. SQZ_OUT_OF_MEMORY.
 */
typedef void compensate_visit(void *context, size_t index, const struct row_chunk *chunk, const double *d, double *g);
enum sqz_status sqz_compensate_residuals(const struct sqz_compensator *compensator, const float *values,
                                         compensate_visit *visit, void *context, struct sqz_error *err);

/* tr (W* - values) A (W* - values)^T, from the sample. */
enum sqz_status sqz_compensate_error(const struct sqz_compensator *compensator, const float *values, double *out,
                                     struct sqz_error *err);

/* Fill weights, bias_change and the stats that follow from out->weights (set) and plain values [rows][n_inputs]. */
enum sqz_status sqz_compensate_conclude(const struct sqz_compensator *compensator, const float *plain,
                                        struct sqz_compensated *out, struct sqz_error *err);

enum sqz_status sqz_compensate_no_memory(struct sqz_error *err);

#endif
