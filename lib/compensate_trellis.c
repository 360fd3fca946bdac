/*
 * compensate_trellis.c - uniform levels that obey a trellis, with compensation.
 *
 * Machines walk down the columns (trellis.h), GPTQ goes along the rows: all
 * weights of an input are chosen at a time, whatever the order of the inputs.
 * Given the inputs done before, a squared error costs the same in every row, so that one
 * Viterbi search finds the best levels of a column, and no path needs a
 * residual of its own. Coordinate descent afterwards takes a whole column for
 * its coordinate.
 */
#include <string.h>

#include "lib/compensate_parts.h"
#include "lib/linalg.h"
#include "lib/memory.h"
#include "lib/parallel.h"
#include "lib/trellis_search.h"

/* Inputs whose errors are collected before a product spreads them over the others. */
#define COLUMN_BLOCK 64

/* Rows of one lane within one group, and one block of inputs. Matrices are [inputs][rows]: a column is contiguous. */
struct strip {
    const struct compensate_block *block;
    size_t begin, n_rows;
    bool ends_lane;  /* the states behind it are free */
    uint8_t *states; /* [block->n] before the first row */
    uint8_t *ends;   /* [block->n] behind the last row */
    double *work;    /* [2][block->n][n_rows] */
    double *values;  /* [block->n][n_rows] of the levels chosen */
    double *errors;  /* [COLUMN_BLOCK][n_rows] */
    double *factor;  /* [block->n][COLUMN_BLOCK] */
    double *targets; /* [n_rows] */
    int16_t *levels; /* [n_rows] */
    bool *zero;      /* [n_rows] */
    struct sqz_trellis_search search;
};

struct trellis_job {
    const struct sqz_compensator *compensator;
    const struct trellis_grid *grid;
    uint32_t sweeps; /* 0: rounding */
    int16_t *levels;
    struct sqz_lanes lanes;
    bool *done; /* [jobs] false when memory was short */
};

/* ---- one column ---------------------------------------------------------------------- */

static int16_t *column_levels(const struct trellis_job *job, const struct strip *strip, size_t input) {
    return job->levels + strip->begin * job->compensator->n_inputs + strip->block->begin + input;
}

/* Choose the levels of one input for these targets; values[n_rows] get what they stand for. */
static void choose_column(const struct trellis_job *job, struct strip *strip, size_t input, const double *targets,
                          double weight, int end, double *values) {
    const struct sqz_compensator *compensator = job->compensator;
    const float *steps = job->grid->steps + strip->begin;
    bool any_zero = false;
    for (size_t r = 0; r < strip->n_rows; r++) {
        strip->zero[r] = sqz_must_be_zero(compensator, strip->block, strip->begin + r, strip->block->begin + input);
        any_zero |= strip->zero[r];
    }
    const struct sqz_trellis_column column = {
        .n_rows = strip->n_rows,
        .targets = targets,
        .steps = steps,
        .weight = weight,
        .zero = any_zero ? strip->zero : NULL,
        .start = strip->states[input],
        .end = end,
    };
    strip->ends[input] = (uint8_t)sqz_trellis_search(&strip->search, &column, strip->levels);
    int16_t *levels = column_levels(job, strip, input);
    for (size_t r = 0; r < strip->n_rows; r++) {
        levels[r * compensator->n_inputs] = strip->levels[r];
        values[r] = (double)((float)strip->levels[r] * steps[r]);
    }
}

/* to[k] -= from * factors[k], each k a row of n. */
static void subtract_multiples(double *to, size_t begin, size_t end, const double *from, const double *factors,
                               size_t n) {
    for (size_t k = begin; k < end; k++) {
        const double factor = factors[k];
        double *row = to + k * n;
        for (size_t r = 0; r < n; r++) row[r] -= from[r] * factor;
    }
}

/* ---- GPTQ ---------------------------------------------------------------------------- */

static void load_targets(const struct trellis_job *job, const struct strip *strip, const uint32_t *order,
                         double *targets) {
    const size_t n = strip->block->n, m = strip->n_rows, stride = job->compensator->n_inputs;
    const float *from = job->compensator->target + strip->begin * stride + strip->block->begin;
    for (size_t j = 0; j < n; j++)
        for (size_t r = 0; r < m; r++) targets[j * m + r] = (double)from[r * stride + (order ? order[j] : j)];
}

/* Columns [begin, end) of the processing order; their errors, divided by U_jj, into strip->errors. */
static void round_columns(const struct trellis_job *job, struct strip *strip, size_t begin, size_t end) {
    const struct compensate_block *block = strip->block;
    const size_t m = strip->n_rows;
    for (size_t j = begin; j < end; j++) {
        const double *u = block->u + j * block->n;
        double *targets = strip->work + j * m, *errors = strip->errors + (j - begin) * m;
        choose_column(job, strip, block->order[j], targets, 1 / (u[j] * u[j]), -1, errors);
        for (size_t r = 0; r < m; r++) errors[r] = (targets[r] - errors[r]) / u[j];
        subtract_multiples(strip->work, j + 1, end, errors, u, m);
    }
}

static void round_strip(const struct trellis_job *job, struct strip *strip) {
    const struct compensate_block *block = strip->block;
    const size_t n = block->n, m = strip->n_rows;
    load_targets(job, strip, block->order, strip->work);
    for (size_t begin = 0; begin < n; begin += COLUMN_BLOCK) {
        size_t end = n - begin < COLUMN_BLOCK ? n : begin + COLUMN_BLOCK;
        round_columns(job, strip, begin, end);
        if (end == n) break;
        for (size_t k = end; k < n; k++)
            for (size_t j = begin; j < end; j++)
                strip->factor[(k - end) * COLUMN_BLOCK + j - begin] = block->u[j * n + k];
        sqz_linalg_product(n - end, m, end - begin, -1, strip->factor, COLUMN_BLOCK, strip->errors, m, 1,
                           strip->work + end * m, m);
    }
}

/* ---- coordinate descent -------------------------------------------------------------- */

/* Values of the levels as they are, the states behind them, and g = (W* - values) A. */
static void restore_strip(const struct trellis_job *job, struct strip *strip, double *g) {
    const struct compensate_block *block = strip->block;
    const size_t n = block->n, m = strip->n_rows;
    const float *steps = job->grid->steps + strip->begin;
    double *d = g + n * m;
    load_targets(job, strip, NULL, d);
    for (size_t j = 0; j < n; j++) {
        const int16_t *levels = column_levels(job, strip, j);
        double *values = strip->values + j * m;
        uint8_t state = strip->states[j];
        for (size_t r = 0; r < m; r++) {
            int level = levels[r * job->compensator->n_inputs];
            values[r] = (double)((float)level * steps[r]);
            d[j * m + r] -= values[r];
            state = sqz_trellis_next(strip->search.trellis, state, sqz_trellis_index(level));
        }
        strip->ends[j] = state;
    }
    sqz_linalg_product(n, m, n, 1, block->own, n, d, m, 0, g, m);
    for (size_t i = 0; i < n * m; i++) g[i] += block->damping * d[i];
}

/* Columns [begin, end) in turn, g of these kept up to date; what each changed by into strip->errors. */
static bool sweep_columns(const struct trellis_job *job, struct strip *strip, double *g, size_t begin, size_t end) {
    const struct compensate_block *block = strip->block;
    const size_t m = strip->n_rows;
    bool changed = false;
    for (size_t j = begin; j < end; j++) {
        const double *own = block->own + j * block->n, weight = own[j] + block->damping;
        double *values = strip->values + j * m, *changes = strip->errors + (j - begin) * m, any = 0;
        for (size_t r = 0; r < m; r++) strip->targets[r] = values[r] + g[j * m + r] / weight;
        choose_column(job, strip, j, strip->targets, weight, strip->ends_lane ? -1 : strip->ends[j], changes);
        for (size_t r = 0; r < m; r++) {
            double value = changes[r];
            changes[r] -= values[r];
            values[r] = value;
            any += fabs(changes[r]);
        }
        if (!(any > 0)) continue;
        changed = true;
        for (size_t r = 0; r < m; r++) g[j * m + r] -= block->damping * changes[r];
        subtract_multiples(g, begin, end, changes, own, m);
    }
    return changed;
}

static void sweep_strip(const struct trellis_job *job, struct strip *strip) {
    const struct compensate_block *block = strip->block;
    const size_t n = block->n, m = strip->n_rows;
    double *g = strip->work;
    restore_strip(job, strip, g);
    bool changed = true;
    for (uint32_t sweep = 0; changed && sweep < job->sweeps; sweep++) {
        changed = false;
        for (size_t begin = 0; begin < n; begin += COLUMN_BLOCK) {
            size_t end = n - begin < COLUMN_BLOCK ? n : begin + COLUMN_BLOCK;
            if (!sweep_columns(job, strip, g, begin, end)) continue;
            changed = true;
            const double *own = block->own + begin, *after = own + end * n;
            if (begin > 0) sqz_linalg_product(begin, m, end - begin, -1, own, n, strip->errors, m, 1, g, m);
            if (end < n) sqz_linalg_product(n - end, m, end - begin, -1, after, n, strip->errors, m, 1, g + end * m, m);
        }
    }
}

/* ---- jobs ---------------------------------------------------------------------------- */

static bool strip_alloc(struct strip *strip, size_t n, size_t m) {
    strip->states = sqz_alloc0(n, sizeof *strip->states);
    strip->ends = sqz_alloc0(n, sizeof *strip->ends);
    strip->work = sqz_alloc(n * m, 2 * sizeof *strip->work);
    strip->values = sqz_alloc(n * m, sizeof *strip->values);
    strip->errors = sqz_alloc(m, COLUMN_BLOCK * sizeof *strip->errors);
    strip->factor = sqz_alloc(n, COLUMN_BLOCK * sizeof *strip->factor);
    strip->targets = sqz_alloc(m, sizeof *strip->targets);
    strip->levels = sqz_alloc(m, sizeof *strip->levels);
    strip->zero = sqz_alloc(m, sizeof *strip->zero);
    strip->search.decisions = sqz_alloc(m, sizeof *strip->search.decisions);
    strip->search.indices = sqz_alloc(m, sizeof *strip->search.indices);
    return strip->states && strip->ends && strip->work && strip->values && strip->errors && strip->factor &&
           strip->targets && strip->levels && strip->zero && strip->search.decisions && strip->search.indices;
}

static void strip_free(struct strip *strip) {
    sqz_free(strip->states);
    sqz_free(strip->ends);
    sqz_free(strip->work);
    sqz_free(strip->values);
    sqz_free(strip->errors);
    sqz_free(strip->factor);
    sqz_free(strip->targets);
    sqz_free(strip->levels);
    sqz_free(strip->zero);
    sqz_free(strip->search.decisions);
    sqz_free(strip->search.indices);
}

/*
 * One lane of one block of inputs. Groups follow each other: the states
 * behind one are those at the start of the next.
 */
static void run_lane(void *context, size_t index, int thread) {
    (void)thread;
    struct trellis_job *job = context;
    const struct sqz_compensator *compensator = job->compensator;
    const size_t n_blocks = compensator->moments->n_blocks, b = index % n_blocks, lane = index / n_blocks;
    const size_t first = sqz_lane_first_row(&job->lanes, lane), end = sqz_lane_first_row(&job->lanes, lane + 1);
    const size_t n = compensator->blocks[b].n;
    struct strip strip = {.search = {.trellis = sqz_trellis_of(job->grid->n_states),
                                     .n_states = job->grid->n_states,
                                     .step = sqz_trellis_step_for(job->grid->n_states),
                                     .lambda = job->grid->lambda,
                                     .rate = job->grid->rate}};
    job->done[index] = strip_alloc(&strip, n, end - first);
    for (size_t row = first; job->done[index] && row < end;) {
        size_t group = row / compensator->group_rows, stop = (group + 1) * compensator->group_rows;
        if (stop > end) stop = end;
        strip.block = &compensator->blocks[group * n_blocks + b];
        strip.begin = row;
        strip.n_rows = stop - row;
        strip.ends_lane = stop == end;
        if (job->sweeps > 0)
            sweep_strip(job, &strip);
        else
            round_strip(job, &strip);
        memcpy(strip.states, strip.ends, n);
        row = stop;
    }
    strip_free(&strip);
}

static enum sqz_status run(const struct sqz_compensator *compensator, const struct trellis_grid *grid, uint32_t sweeps,
                           int16_t *levels, struct sqz_error *err) {
    struct trellis_job job = {.compensator = compensator, .grid = grid, .sweeps = sweeps, .levels = levels};
    job.lanes = sqz_lanes_of_rows(compensator->rows, compensator->rows * compensator->n_inputs, SQZ_STREAM_RANGE);
    size_t n = job.lanes.n_lanes * compensator->moments->n_blocks;
    job.done = sqz_alloc0(n, sizeof *job.done);
    if (!job.done) return sqz_compensate_no_memory(err);
    sqz_parallel_for(n, run_lane, &job);
    bool done = true;
    for (size_t i = 0; i < n; i++) done &= job.done[i];
    sqz_free(job.done);
    return done ? SQZ_OK : sqz_compensate_no_memory(err);
}

/* ---- a whole layer ------------------------------------------------------------------- */

/* Indices and quantisers of levels, for models of their rates. */
struct description {
    int16_t *indices;
    uint8_t *quantisers;
    size_t count;
};

static void describe(const struct sqz_compensator *compensator, const struct trellis_grid *grid, const int16_t *levels,
                     struct description *description) {
    struct sqz_lanes lanes = sqz_lanes_of_rows(compensator->rows, description->count, SQZ_STREAM_RANGE);
    sqz_trellis_describe(grid->n_states, &lanes, levels, description->indices, description->quantisers);
}

static enum sqz_status round_and_sweep(const struct sqz_compensator *compensator, const struct trellis_effort *effort,
                                       struct trellis_grid *grid, struct sqz_rate_model rate[2], int16_t *levels,
                                       struct description *description, struct sqz_error *err) {
    for (uint32_t pass = 0; pass < effort->passes; pass++) {
        SQZ_TRY(run(compensator, grid, 0, levels, err));
        describe(compensator, grid, levels, description);
        for (unsigned q = 0; q < 2; q++)
            sqz_rate_model_fit_class(&rate[q], description->indices, description->quantisers, q, description->count);
    }
    if (effort->sweeps == 0) return SQZ_OK;
    SQZ_TRY(run(compensator, grid, effort->sweeps, levels, err));
    describe(compensator, grid, levels, description);
    return SQZ_OK;
}

enum sqz_status sqz_compensate_trellis(const struct sqz_compensator *compensator, const struct trellis_effort *effort,
                                       uint32_t n_states, const float *steps, double lambda, double mean_magnitude,
                                       int16_t *levels, double *nbits, struct sqz_error *err) {
    struct sqz_rate_model rate[2];
    struct trellis_grid grid = {.n_states = n_states, .steps = steps, .lambda = lambda, .rate = rate};
    struct description description = {.count = compensator->rows * compensator->n_inputs};
    description.indices = sqz_alloc(description.count, sizeof *description.indices);
    description.quantisers = sqz_alloc(description.count, sizeof *description.quantisers);
    for (unsigned q = 0; q < 2; q++) sqz_rate_model_geometric(&rate[q], mean_magnitude);
    enum sqz_status status = description.indices && description.quantisers
                                 ? round_and_sweep(compensator, effort, &grid, rate, levels, &description, err)
                                 : sqz_compensate_no_memory(err);
    *nbits = 0;
    for (unsigned q = 0; status == SQZ_OK && q < 2; q++)
        *nbits += sqz_rate_entropy_class_nbits(description.indices, description.quantisers, q, description.count);
    sqz_free(description.indices);
    sqz_free(description.quantisers);
    return status;
}
