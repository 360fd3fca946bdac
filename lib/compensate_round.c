/*
 * compensate_round.c - rounding with compensation: GPTQ, and coordinate descent after it.
 *
 * GPTQ rounds an input's weights in all rows, spreads the error over the
 * inputs that are still to come, and never comes back. Coordinate descent
 * comes back: with all other weights as they are, the error as a function of
 * one weight is a parabola around a known point, and the weight takes the best
 * level for it.
 */
#include <string.h>

#include "lib/compensate_parts.h"
#include "lib/linalg.h"
#include "lib/memory.h"
#include "lib/parallel.h"

/* Inputs whose errors are collected before a product spreads them over the rest of the row. */
#define COLUMN_BLOCK 64

/* Rows * inputs^2 up to which coordinate descent is done: about ten seconds on one core. */
#define SWEEP_BUDGET 2e10

/* ---- choosing a level -------------------------------------------------------- */

static void consider(const struct level_grid *grid, double distance, double weight, int level, double *best,
                     int *choice) {
    double cost = distance * distance * weight + grid->lambda * sqz_grid_nbits(grid, level);
    if (cost < *best) {
        *best = cost;
        *choice = level;
    }
}

static int choose_uniform(const struct level_grid *grid, double step, double w, double weight) {
    double t = w / step, magnitude = fabs(t);
    int sign = t < 0 ? -1 : 1;
    if (!(magnitude < SQZ_MAX_LEVEL)) return sign * SQZ_MAX_LEVEL;
    int nearest = (int)(magnitude + 0.5);
    if (grid->free_rate) return sign * nearest;
    int low = (int)magnitude, choice = sign * nearest;
    double best = INFINITY;
    /* The nearest first, so that of equal costs it wins; then what lies towards zero, where levels are cheaper. */
    consider(grid, w - step * choice, weight, choice, &best, &choice);
    for (int level = low + 1; level >= 0 && level >= low - 1; level--)
        if (level <= SQZ_MAX_LEVEL) consider(grid, w - step * sign * level, weight, sign * level, &best, &choice);
    consider(grid, w, weight, 0, &best, &choice);
    return choice;
}

/* Level of the first entry at or above w. */
static int codebook_search(const struct level_grid *grid, double w) {
    uint32_t low = 0, high = grid->n_values;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if ((double)grid->values[middle] < w)
            low = middle + 1;
        else
            high = middle;
    }
    return (int)low + 1;
}

/* Entries on each side that the price of bits may move a weight to. */
#define NEIGHBOURS 2

static int choose_codebook(const struct level_grid *grid, double w, double weight) {
    int above = codebook_search(grid, w), choice = 0, reach = grid->free_rate ? 1 : NEIGHBOURS;
    double best = INFINITY;
    for (int level = above - reach; level < above + reach; level++)
        if (level >= 1 && level <= (int)grid->n_values)
            consider(grid, w - (double)grid->values[level - 1], weight, level, &best, &choice);
    if (grid->zero) consider(grid, w, weight, 0, &best, &choice);
    return choice;
}

int sqz_grid_choose(const struct level_grid *grid, size_t row, double w, double weight) {
    return grid->steps ? choose_uniform(grid, (double)grid->steps[row], w, weight) : choose_codebook(grid, w, weight);
}

/* ---- jobs -------------------------------------------------------------------- */

static size_t group_chunks(const struct sqz_compensator *compensator) {
    return (compensator->group_rows + SQZ_ROW_CHUNK - 1) / SQZ_ROW_CHUNK;
}

size_t sqz_row_chunks(const struct sqz_compensator *compensator) {
    return compensator->n_blocks * group_chunks(compensator);
}

struct row_chunk sqz_row_chunk(const struct sqz_compensator *compensator, size_t index) {
    const struct compensate_block *block = &compensator->blocks[index / group_chunks(compensator)];
    size_t begin = index % group_chunks(compensator) * SQZ_ROW_CHUNK, left = compensator->group_rows - begin;
    return (struct row_chunk){block, block->group * compensator->group_rows + begin,
                              left < SQZ_ROW_CHUNK ? left : SQZ_ROW_CHUNK};
}

/* ---- GPTQ -------------------------------------------------------------------- */

struct round_job {
    const struct sqz_compensator *compensator;
    const struct level_grid *grid;
    uint32_t sweeps;
    int16_t *levels;
    bool *done; /* [jobs] false when memory was short */
};

/* Columns [begin, end) of the processing order; errors[row][end - begin] of each rounding, divided by U_jj. */
static void round_columns(const struct round_job *job, const struct row_chunk *chunk, size_t begin, size_t end,
                          double *work, double *errors) {
    const struct compensate_block *block = chunk->block;
    size_t n = block->n;
    for (size_t r = 0; r < chunk->n; r++) {
        size_t row = chunk->begin + r;
        double *w = work + r * n, *error = errors + r * COLUMN_BLOCK;
        for (size_t j = begin; j < end; j++) {
            size_t input = block->begin + block->order[j];
            const double *u = block->u + j * n;
            int level = 0;
            if (!sqz_must_be_zero(job->compensator, block, row, input))
                level = sqz_grid_choose(job->grid, row, w[j], 1 / (u[j] * u[j]));
            job->levels[row * job->compensator->n_inputs + input] = (int16_t)level;
            double e = (w[j] - (double)sqz_grid_value(job->grid, row, level)) / u[j];
            for (size_t k = j + 1; k < end; k++) w[k] -= e * u[k];
            error[j - begin] = e;
        }
    }
}

static void round_chunk(void *context, size_t index, int thread) {
    (void)thread;
    struct round_job *job = context;
    struct row_chunk chunk = sqz_row_chunk(job->compensator, index);
    const struct compensate_block *block = chunk.block;
    size_t n = block->n, stride = job->compensator->n_inputs;
    double *work = sqz_alloc(chunk.n * n, sizeof *work);
    job->done[index] = work != NULL;
    if (!work) return;
    for (size_t r = 0; r < chunk.n; r++) {
        const float *target = job->compensator->target + (chunk.begin + r) * stride + block->begin;
        for (size_t j = 0; j < n; j++) work[r * n + j] = (double)target[block->order[j]];
    }
    double errors[SQZ_ROW_CHUNK * COLUMN_BLOCK];
    for (size_t begin = 0; begin < n; begin += COLUMN_BLOCK) {
        size_t end = n - begin < COLUMN_BLOCK ? n : begin + COLUMN_BLOCK;
        round_columns(job, &chunk, begin, end, work, errors);
        if (end < n)
            sqz_linalg_product(chunk.n, n - end, end - begin, -1, errors, COLUMN_BLOCK, block->u + begin * n + end, n,
                               1, work + end, n);
    }
    sqz_free(work);
}

static enum sqz_status run_jobs(struct round_job *job, void (*body)(void *context, size_t index, int thread),
                                struct sqz_error *err) {
    size_t n = sqz_row_chunks(job->compensator);
    job->done = sqz_alloc0(n, sizeof *job->done);
    if (!job->done) return sqz_compensate_no_memory(err);
    sqz_parallel_for(n, body, job);
    bool done = true;
    for (size_t i = 0; i < n; i++) done &= job->done[i];
    sqz_free(job->done);
    return done ? SQZ_OK : sqz_compensate_no_memory(err);
}

enum sqz_status sqz_compensate_round(const struct sqz_compensator *compensator, const struct level_grid *grid,
                                     int16_t *levels, struct sqz_error *err) {
    struct round_job job = {compensator, grid, 0, levels, NULL};
    return run_jobs(&job, round_chunk, err);
}

/* ---- coordinate descent ------------------------------------------------------ */

/* One row: g[n] = (W* - values) A, kept up to date. Returns how many weights changed. */
static size_t sweep_row(const struct round_job *job, const struct compensate_block *block, size_t row, double *g,
                        int16_t *levels) {
    size_t n = block->n, changed = 0;
    for (size_t j = 0; j < n; j++) {
        if (sqz_must_be_zero(job->compensator, block, row, block->begin + j)) continue;
        const double *own = block->own + j * n;
        double weight = own[j] + block->damping;
        int old = levels[j];
        double value = (double)sqz_grid_value(job->grid, row, old), best = value + g[j] / weight;
        int level = sqz_grid_choose(job->grid, row, best, weight);
        if (level == old) continue;
        double next = (double)sqz_grid_value(job->grid, row, level), step = next - value;
        double gain = weight * ((best - value) * (best - value) - (best - next) * (best - next)) +
                      job->grid->lambda * (sqz_grid_nbits(job->grid, old) - sqz_grid_nbits(job->grid, level));
        if (!(gain > 0)) continue;
        levels[j] = (int16_t)level;
        for (size_t k = 0; k < n; k++) g[k] -= step * own[k];
        g[j] -= step * block->damping;
        changed++;
    }
    return changed;
}

/* d = W* - values of the levels, g = d A. */
static void chunk_residual(const struct round_job *job, const struct row_chunk *chunk, double *d, double *g) {
    const struct compensate_block *block = chunk->block;
    size_t n = block->n, stride = job->compensator->n_inputs;
    for (size_t r = 0; r < chunk->n; r++) {
        size_t first = (chunk->begin + r) * stride + block->begin;
        for (size_t i = 0; i < n; i++)
            d[r * n + i] = (double)job->compensator->target[first + i] -
                           (double)sqz_grid_value(job->grid, chunk->begin + r, job->levels[first + i]);
    }
    sqz_linalg_product(chunk->n, n, n, 1, d, n, block->own, n, 0, g, n);
    for (size_t i = 0; i < chunk->n * n; i++) g[i] += block->damping * d[i];
}

static void sweep_chunk(void *context, size_t index, int thread) {
    (void)thread;
    struct round_job *job = context;
    struct row_chunk chunk = sqz_row_chunk(job->compensator, index);
    size_t n = chunk.block->n, count = chunk.n * n;
    double *d = sqz_alloc(count, 2 * sizeof *d);
    job->done[index] = d != NULL;
    if (!d) return;
    double *g = d + count;
    chunk_residual(job, &chunk, d, g);
    for (size_t r = 0; r < chunk.n; r++) {
        size_t row = chunk.begin + r;
        int16_t *levels = job->levels + row * job->compensator->n_inputs + chunk.block->begin;
        for (uint32_t sweep = 0; sweep < job->sweeps; sweep++)
            if (sweep_row(job, chunk.block, row, g + r * n, levels) == 0) break;
    }
    sqz_free(d);
}

enum sqz_status sqz_compensate_sweep(const struct sqz_compensator *compensator, const struct level_grid *grid,
                                     uint32_t sweeps, int16_t *levels, struct sqz_error *err) {
    struct round_job job = {compensator, grid, sweeps, levels, NULL};
    return run_jobs(&job, sweep_chunk, err);
}

bool sqz_sweeps_affordable(const struct sqz_compensator *compensator) {
    double n = (double)compensator->blocks[0].n;
    return (double)compensator->rows * (double)compensator->n_inputs * n <= SWEEP_BUDGET;
}

/* An eighth of the jobs: 512 rows of a layer of 4096. */
#define SAMPLE_STRIDE 8

size_t sqz_sample_stride(const struct sqz_compensator *compensator) {
    return sqz_sweeps_affordable(compensator) ? 1 : SAMPLE_STRIDE;
}

bool sqz_in_sample(const struct sqz_compensator *compensator, size_t index) {
    return index % group_chunks(compensator) % sqz_sample_stride(compensator) == 0;
}

double sqz_sample_scale(const struct sqz_compensator *compensator) {
    size_t sampled = 0;
    for (size_t i = 0; i < group_chunks(compensator); i++)
        if (sqz_in_sample(compensator, i)) sampled += sqz_row_chunk(compensator, i).n;
    return (double)compensator->group_rows / (double)sampled;
}
