/* compensate_uniform.c - uniform levels with compensation, rate-aware rounding and a fitted step. */
#include <math.h>
#include <string.h>

#include "lib/compensate_parts.h"
#include "lib/linalg.h"
#include "lib/memory.h"
#include "lib/parallel.h"
#include "lib/trellis.h"

/* Times that rounding is done, from the second on with the prices of the levels it gave: a third gains under 0.1%. */
#define DEFAULT_PASSES 2

/*
 * Step of levels that obey a trellis, as a part of that of free levels: both
 * then take about as many bits. Measured on SqueezeNet's layers at 1.8 to 3 bits for each weight.
 */
#define TRELLIS_STEP 0.6

static enum sqz_status check_options(const struct sqz_uniform_options *options, struct sqz_error *err) {
    if (!(options->step > 0) || !isfinite(options->step) || options->step > 1e30)
        return sqz_fail(err, SQZ_ARGUMENT, "the step %g is not a number above 0", options->step);
    if (!(options->lambda >= 0) || !isfinite(options->lambda))
        return sqz_fail(err, SQZ_ARGUMENT, "lambda %g is not a number of at least 0", options->lambda);
    if (options->trellis_states != 0 && !sqz_trellis_is_valid(options->trellis_states))
        return sqz_fail(err, SQZ_ARGUMENT, "a trellis of %u states is not one of 4, 8, 16, ... %d",
                        options->trellis_states, SQZ_TRELLIS_MAX_STATES);
    return SQZ_OK;
}

/* States of the trellis that the levels are to obey, 0 for none. */
static uint32_t trellis_states(const struct sqz_compensator *compensator, const struct sqz_uniform_options *options) {
    return compensator->group_rows < SQZ_TRELLIS_MIN_ROWS ? 0 : options->trellis_states;
}

/* ---- steps ------------------------------------------------------------------- */

static double row_std(const struct sqz_compensator *compensator, size_t row) {
    const float *w = compensator->weights + row * compensator->n_inputs;
    double squares = 0;
    for (size_t i = 0; i < compensator->n_inputs; i++) squares += (double)w[i] * (double)w[i];
    return sqrt(squares / (double)compensator->n_inputs);
}

/* The largest magnitude of a row's target and weights. */
static double row_reach(const struct sqz_compensator *compensator, size_t row) {
    size_t first = row * compensator->n_inputs;
    double reach = 0;
    for (size_t i = first; i < first + compensator->n_inputs; i++)
        reach = fmax(reach, fmax(fabs((double)compensator->target[i]), fabs((double)compensator->weights[i])));
    return reach;
}

/* Part of the range of levels that targets may take at first: compensation moves weights beyond them. */
#define HEADROOM 0.75

/* One step for each row; equal unless per_channel. */
static void choose_steps(const struct sqz_compensator *compensator, const struct sqz_uniform_options *options,
                         float *steps) {
    size_t rows = compensator->rows;
    double mean = 0, reach = 0, most = HEADROOM * SQZ_MAX_LEVEL;
    if (trellis_states(compensator, options)) most = HEADROOM * SQZ_TRELLIS_MAX_LEVEL * TRELLIS_STEP;
    for (size_t r = 0; r < rows; r++) {
        mean += sqrt(row_std(compensator, r)) / (double)rows;
        reach = fmax(reach, row_reach(compensator, r));
    }
    for (size_t r = 0; r < rows; r++) {
        double step = options->step, own = sqrt(row_std(compensator, r));
        /* A channel of nothing but zeros, or nearly so, has no use for a step of its own. */
        if (options->per_channel && own > 0.01 * mean) step *= own / mean;
        double smallest = (options->per_channel ? row_reach(compensator, r) : reach) / most;
        steps[r] = (float)fmax(fmax(step, smallest), 1e-30);
    }
}

/* ---- refit ------------------------------------------------------------------- */

struct refit_job {
    const struct sqz_compensator *compensator;
    const float *values; /* [rows][n_inputs] of the levels */
    bool per_channel;
    double *above, *below; /* [jobs][SQZ_ROW_CHUNK] numerators and denominators of each row */
    bool *done;
};

/*
 * With the values v and d = W* - v, the factor s that minimises (W* - s v) A (W* - s v)^T is 1 + v A d^T / v A v^T.
 * Both of a row of this chunk.
 */
static void refit_chunk(void *context, size_t index, int thread) {
    (void)thread;
    struct refit_job *job = context;
    job->done[index] = true;
    if (!job->per_channel && !sqz_in_sample(job->compensator, index)) return;
    struct row_chunk chunk = sqz_row_chunk(job->compensator, index);
    const struct compensate_block *block = chunk.block;
    size_t n = block->n, stride = job->compensator->n_inputs;
    double *v = sqz_alloc(chunk.n * n, 2 * sizeof *v);
    job->done[index] = v != NULL;
    if (!v) return;
    double *products = v + chunk.n * n;
    for (size_t r = 0; r < chunk.n; r++) {
        size_t row = chunk.begin + r;
        const float *values = job->values + row * stride + block->begin;
        for (size_t i = 0; i < n; i++) v[r * n + i] = (double)values[i];
    }
    sqz_linalg_product(chunk.n, n, n, 1, v, n, block->own, n, 0, products, n);
    for (size_t r = 0; r < chunk.n; r++) {
        const float *target = job->compensator->target + (chunk.begin + r) * stride + block->begin;
        double along = 0, power = 0;
        for (size_t i = 0; i < n; i++) {
            double value = v[r * n + i], product = products[r * n + i] + block->damping * value;
            along += product * ((double)target[i] - value);
            power += product * value;
        }
        job->above[index * SQZ_ROW_CHUNK + r] = along;
        job->below[index * SQZ_ROW_CHUNK + r] = power;
    }
    sqz_free(v);
}

/* Change of a step beyond which the fit is not trusted: a layer of few levels that all rest on a handful of weights. */
#define MAX_REFIT 0.2

static float refit_factor(double above, double below) {
    double change = below > 0 ? above / below : 0;
    return (float)(1 + fmin(fmax(change, -MAX_REFIT), MAX_REFIT));
}

/* New steps from each row's sums, or from those of all rows together. */
static void apply_refit(const struct refit_job *job, size_t jobs, double *rows, float *steps) {
    const struct sqz_compensator *compensator = job->compensator;
    double above = 0, below = 0;
    for (size_t i = 0; i < jobs; i++) {
        struct row_chunk chunk = sqz_row_chunk(compensator, i);
        for (size_t r = 0; r < chunk.n; r++) {
            rows[2 * (chunk.begin + r)] += job->above[i * SQZ_ROW_CHUNK + r];
            rows[2 * (chunk.begin + r) + 1] += job->below[i * SQZ_ROW_CHUNK + r];
            above += job->above[i * SQZ_ROW_CHUNK + r];
            below += job->below[i * SQZ_ROW_CHUNK + r];
        }
    }
    for (size_t row = 0; row < compensator->rows; row++)
        steps[row] *= job->per_channel ? refit_factor(rows[2 * row], rows[2 * row + 1]) : refit_factor(above, below);
}

/* Fit the steps to the levels, for the smallest error. */
static enum sqz_status refit_steps(const struct sqz_compensator *compensator, bool per_channel, const float *values,
                                   float *steps, struct sqz_error *err) {
    size_t jobs = sqz_row_chunks(compensator);
    double *sums = sqz_alloc0(jobs * SQZ_ROW_CHUNK, 2 * sizeof *sums);
    double *rows = sqz_alloc0(compensator->rows, 2 * sizeof *rows);
    struct refit_job job = {compensator, values, per_channel, sums, NULL, sqz_alloc0(jobs, sizeof(bool))};
    bool done = sums && rows && job.done;
    if (done) {
        job.below = sums + jobs * SQZ_ROW_CHUNK;
        sqz_parallel_for(jobs, refit_chunk, &job);
        for (size_t i = 0; i < jobs; i++) done &= job.done[i];
    }
    if (done) apply_refit(&job, jobs, rows, steps);
    sqz_free(sums);
    sqz_free(rows);
    sqz_free(job.done);
    return done ? SQZ_OK : sqz_compensate_no_memory(err);
}

/* ---- rounding ---------------------------------------------------------------- */

/* Mean magnitude of the levels that plain rounding of the target would give. */
static double mean_magnitude(const struct sqz_compensator *compensator, const float *steps) {
    size_t count = compensator->rows * compensator->n_inputs;
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += floor(fabs((double)compensator->target[i]) / (double)steps[i / compensator->n_inputs] + 0.5);
    return sum / (double)count;
}

static struct trellis_effort effort_of(const struct sqz_compensator *compensator,
                                       const struct sqz_uniform_options *options) {
    struct trellis_effort effort = {.passes = options->passes > 0 ? options->passes : DEFAULT_PASSES,
                                    .sweeps = options->sweeps > 0 ? options->sweeps : SQZ_DEFAULT_SWEEPS};
    if (options->lambda == 0) effort.passes = 1;
    if (options->no_sweeps || !sqz_sweeps_affordable(compensator)) effort.sweeps = 0;
    return effort;
}

static enum sqz_status round_levels(const struct sqz_compensator *compensator,
                                    const struct sqz_uniform_options *options, const float *steps, double lambda,
                                    int16_t *levels, double *nbits, struct sqz_error *err) {
    size_t count = compensator->rows * compensator->n_inputs;
    struct trellis_effort effort = effort_of(compensator, options);
    struct sqz_rate_model rate;
    struct level_grid grid = {.steps = steps, .free_rate = lambda == 0, .lambda = lambda, .rate = &rate};
    sqz_rate_model_geometric(&rate, mean_magnitude(compensator, steps));
    for (uint32_t pass = 0; pass < effort.passes; pass++) {
        SQZ_TRY(sqz_compensate_round(compensator, &grid, levels, err));
        sqz_rate_model_fit(&rate, levels, count);
    }
    if (effort.sweeps > 0) SQZ_TRY(sqz_compensate_sweep(compensator, &grid, effort.sweeps, levels, err));
    *nbits = sqz_rate_entropy_nbits(levels, count);
    return SQZ_OK;
}

/* The same with a trellis; steps become those of its levels. */
static enum sqz_status trellis_levels(const struct sqz_compensator *compensator,
                                      const struct sqz_uniform_options *options, float *steps, double lambda,
                                      int16_t *levels, double *nbits, struct sqz_error *err) {
    struct trellis_effort effort = effort_of(compensator, options);
    double magnitude = mean_magnitude(compensator, steps);
    for (size_t r = 0; r < compensator->rows; r++) steps[r] *= (float)TRELLIS_STEP;
    return sqz_compensate_trellis(compensator, &effort, options->trellis_states, steps, lambda, magnitude, levels,
                                  nbits, err);
}

/* W to the nearest level, without compensation. */
static void plain_values(const struct sqz_compensator *compensator, const float *steps, float *values) {
    size_t count = compensator->rows * compensator->n_inputs;
    for (size_t i = 0; i < count; i++) {
        float step = steps[i / compensator->n_inputs];
        values[i] = step * (float)nearbyint((double)compensator->weights[i] / (double)step);
    }
}

/* Takes over `levels`, in every case. */
static enum sqz_status pack_levels(const struct sqz_compensator *compensator, const struct sqz_uniform_options *options,
                                   const float *steps, int16_t *levels, struct sqz_packed **out,
                                   struct sqz_error *err) {
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    if (packed) {
        packed->kind = SQZ_LEVELS_UNIFORM;
        packed->n_levels = compensator->rows * compensator->n_inputs;
        packed->trellis_states = trellis_states(compensator, options);
        packed->n_steps = options->per_channel ? (uint32_t)compensator->rows : 1;
        packed->steps = sqz_alloc(packed->n_steps, sizeof *packed->steps);
    }
    if (!packed || !packed->steps) {
        sqz_packed_free(packed);
        sqz_free(levels);
        return sqz_compensate_no_memory(err);
    }
    memcpy(packed->steps, steps, packed->n_steps * sizeof *steps);
    packed->levels = levels;
    *out = packed;
    return SQZ_OK;
}

/* Fit the steps of what is packed, and restore the weights. */
static enum sqz_status refit(const struct sqz_compensator *compensator, bool keep_step, float *steps,
                             struct sqz_compensated *out, struct sqz_error *err) {
    struct sqz_packed *packed = out->packed;
    sqz_packed_unpack(packed, compensator->rows, out->weights);
    if (keep_step) return SQZ_OK;
    SQZ_TRY(refit_steps(compensator, packed->n_steps > 1, out->weights, steps, err));
    memcpy(packed->steps, steps, packed->n_steps * sizeof *steps);
    sqz_packed_unpack(packed, compensator->rows, out->weights);
    return SQZ_OK;
}

/* steps[rows] and plain[count] are working memory. */
static enum sqz_status compensate(const struct sqz_compensator *compensator, const struct sqz_uniform_options *options,
                                  float *steps, float *plain, struct sqz_compensated *out, struct sqz_error *err) {
    size_t count = compensator->rows * compensator->n_inputs;
    choose_steps(compensator, options, steps);
    plain_values(compensator, steps, plain);
    double mean = 0;
    for (size_t r = 0; r < compensator->rows; r++) mean += (double)steps[r] / (double)compensator->rows;
    double lambda = options->lambda * mean * mean * compensator->sensitivity;
    int16_t *levels = sqz_alloc(count, sizeof *levels);
    if (!levels) return sqz_compensate_no_memory(err);
    enum sqz_status status = trellis_states(compensator, options)
                                 ? trellis_levels(compensator, options, steps, lambda, levels, &out->stats.nbits, err)
                                 : round_levels(compensator, options, steps, lambda, levels, &out->stats.nbits, err);
    if (status != SQZ_OK) {
        sqz_free(levels);
        return status;
    }
    SQZ_TRY(pack_levels(compensator, options, steps, levels, &out->packed, err));
    SQZ_TRY(refit(compensator, options->keep_step, steps, out, err));
    out->stats.step = mean;
    out->stats.lambda = lambda;
    return sqz_compensate_conclude(compensator, plain, out, err);
}

enum sqz_status sqz_compensate_uniform(const struct sqz_compensator *compensator,
                                       const struct sqz_uniform_options *options, struct sqz_compensated *out,
                                       struct sqz_error *err) {
    *out = (struct sqz_compensated){0};
    SQZ_TRY(check_options(options, err));
    size_t count = compensator->rows * compensator->n_inputs;
    float *steps = sqz_alloc(compensator->rows, sizeof *steps), *plain = sqz_alloc(count, sizeof *plain);
    out->weights = sqz_alloc(count, sizeof *out->weights);
    enum sqz_status status = steps && plain && out->weights ? compensate(compensator, options, steps, plain, out, err)
                                                            : sqz_compensate_no_memory(err);
    sqz_free(steps);
    sqz_free(plain);
    if (status != SQZ_OK) sqz_compensated_free(out);
    return status;
}
