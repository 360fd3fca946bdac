/* compensate_error.c - what a compensated layer's output is off by, and the bias that goes with it. */
#include <string.h>

#include "lib/compensate_parts.h"
#include "lib/linalg.h"
#include "lib/memory.h"
#include "lib/parallel.h"

struct residual_job {
    const struct sqz_compensator *compensator;
    const float *values; /* [rows][n_inputs] */
    compensate_visit *visit;
    void *context;
    bool sample; /* only the jobs of the sample */
    bool *done;
};

static void residual_chunk(void *context, size_t index, int thread) {
    (void)thread;
    struct residual_job *job = context;
    job->done[index] = true;
    if (job->sample && !sqz_in_sample(job->compensator, index)) return;
    struct row_chunk chunk = sqz_row_chunk(job->compensator, index);
    const struct compensate_block *block = chunk.block;
    size_t n = block->n, count = chunk.n * n, stride = job->compensator->n_inputs;
    double *d = sqz_alloc(count, 2 * sizeof *d);
    job->done[index] = d != NULL;
    if (!d) return;
    double *g = d + count;
    for (size_t r = 0; r < chunk.n; r++) {
        size_t first = (chunk.begin + r) * stride + block->begin;
        for (size_t i = 0; i < n; i++)
            d[r * n + i] = (double)job->compensator->target[first + i] - (double)job->values[first + i];
    }
    sqz_linalg_product(chunk.n, n, n, 1, d, n, block->own, n, 0, g, n);
    for (size_t i = 0; i < count; i++) g[i] += block->damping * d[i];
    job->visit(job->context, index, &chunk, d, g);
    sqz_free(d);
}

static enum sqz_status residuals(const struct sqz_compensator *compensator, const float *values, bool sample,
                                 compensate_visit *visit, void *context, struct sqz_error *err) {
    size_t n = sqz_row_chunks(compensator);
    struct residual_job job = {compensator, values, visit, context, sample, sqz_alloc0(n, sizeof(bool))};
    if (!job.done) return sqz_compensate_no_memory(err);
    sqz_parallel_for(n, residual_chunk, &job);
    bool done = true;
    for (size_t i = 0; i < n; i++) done &= job.done[i];
    sqz_free(job.done);
    return done ? SQZ_OK : sqz_compensate_no_memory(err);
}

enum sqz_status sqz_compensate_residuals(const struct sqz_compensator *compensator, const float *values,
                                         compensate_visit *visit, void *context, struct sqz_error *err) {
    return residuals(compensator, values, false, visit, context, err);
}

static void add_error(void *context, size_t index, const struct row_chunk *chunk, const double *d, double *g) {
    double *sums = context;
    for (size_t i = 0; i < chunk->n * chunk->block->n; i++) sums[index] += d[i] * g[i];
}

/* Sum over the sample, for the whole layer. */
static double sum_up(const struct sqz_compensator *compensator, const double *sums, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += sums[i];
    return sum * sqz_sample_scale(compensator);
}

enum sqz_status sqz_compensate_error(const struct sqz_compensator *compensator, const float *values, double *out,
                                     struct sqz_error *err) {
    size_t n = sqz_row_chunks(compensator);
    double *sums = sqz_alloc0(n, sizeof *sums);
    if (!sums) return sqz_compensate_no_memory(err);
    enum sqz_status status = residuals(compensator, values, true, add_error, sums, err);
    *out = sum_up(compensator, sums, n);
    sqz_free(sums);
    return status;
}

/* ---- output power ------------------------------------------------------------ */

struct power_job {
    const struct sqz_compensator *compensator;
    double *sums;
    bool *done;
};

static void power_chunk(void *context, size_t index, int thread) {
    (void)thread;
    struct power_job *job = context;
    job->done[index] = true;
    if (!sqz_in_sample(job->compensator, index)) return;
    struct row_chunk chunk = sqz_row_chunk(job->compensator, index);
    const struct compensate_block *block = chunk.block;
    const struct sqz_moments_block *moments = &job->compensator->moments->blocks[block - job->compensator->blocks];
    size_t n = block->n, count = chunk.n * n, stride = job->compensator->n_inputs;
    double *w = sqz_alloc(count, 2 * sizeof *w);
    job->done[index] = w != NULL;
    if (!w) return;
    for (size_t r = 0; r < chunk.n; r++)
        for (size_t i = 0; i < n; i++)
            w[r * n + i] = (double)job->compensator->weights[(chunk.begin + r) * stride + block->begin + i];
    sqz_linalg_product(chunk.n, n, n, 1, w, n, moments->cross ? moments->cross : moments->own, n, 0, w + count, n);
    for (size_t i = 0; i < count; i++) job->sums[index] += w[i] * w[count + i];
    sqz_free(w);
}

static enum sqz_status output_power(const struct sqz_compensator *compensator, double *out, struct sqz_error *err) {
    size_t n = sqz_row_chunks(compensator);
    struct power_job job = {compensator, sqz_alloc0(n, sizeof *job.sums), sqz_alloc0(n, sizeof *job.done)};
    bool done = job.sums && job.done;
    if (done) sqz_parallel_for(n, power_chunk, &job);
    for (size_t i = 0; done && i < n; i++) done = job.done[i];
    if (done) *out = sum_up(compensator, job.sums, n);
    sqz_free(job.sums);
    sqz_free(job.done);
    return done ? SQZ_OK : sqz_compensate_no_memory(err);
}

/* ---- conclusion -------------------------------------------------------------- */

/* W mean(X) - Wq mean(X~) of every row. */
static void correct_bias(const struct sqz_compensator *compensator, const float *values, float *bias_change) {
    const struct sqz_moments *moments = compensator->moments;
    for (size_t row = 0; row < compensator->rows; row++) {
        size_t offset = row / compensator->group_rows * compensator->n_inputs;
        const double *mean = moments->mean + offset;
        const double *mean_float = moments->mean_float ? moments->mean_float + offset : mean;
        double sum = 0;
        for (size_t i = 0; i < compensator->n_inputs; i++) {
            size_t at = row * compensator->n_inputs + i;
            sum += (double)compensator->weights[at] * mean_float[i] - (double)values[at] * mean[i];
        }
        bias_change[row] = (float)sum;
    }
}

enum sqz_status sqz_compensate_conclude(const struct sqz_compensator *compensator, const float *plain,
                                        struct sqz_compensated *out, struct sqz_error *err) {
    struct sqz_compensate_stats *stats = &out->stats;
    stats->count = compensator->rows * compensator->n_inputs;
    stats->nonzero = 0;
    for (size_t i = 0; i < stats->count; i++) stats->nonzero += out->weights[i] != 0;
    stats->n_dead = compensator->n_dead;
    out->bias_change = sqz_alloc(compensator->rows, sizeof *out->bias_change);
    if (!out->bias_change) return sqz_compensate_no_memory(err);
    correct_bias(compensator, out->weights, out->bias_change);
    SQZ_TRY(sqz_compensate_error(compensator, out->weights, &stats->error, err));
    SQZ_TRY(sqz_compensate_error(compensator, plain, &stats->plain_error, err));
    return output_power(compensator, &stats->output_power, err);
}
