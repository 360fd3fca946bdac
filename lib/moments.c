/*
 * moments.c - second moments of a layer's inputs.
 *
 * Sums are taken around the means of the first columns that arrive, not
 * around zero: a mean far from zero would otherwise leave nothing but
 * rounding errors of the variance, and a constant input would not be seen as
 * constant.
 */
#include "lib/moments.h"

#include <math.h>
#include <string.h>

#include "lib/linalg.h"
#include "lib/memory.h"
#include "lib/parallel.h"

/* Columns whose sums one job of the passes over all positions takes: a few cache lines of each position. */
#define CHUNK 64

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the moments of a layer");
}

static size_t block_count(size_t n_inputs, size_t max_inputs) {
    if (max_inputs == 0) max_inputs = SQZ_MOMENTS_MAX_INPUTS;
    return (n_inputs + max_inputs - 1) / max_inputs;
}

static bool alloc_blocks(struct sqz_moments *moments, bool paired) {
    for (size_t i = 0; i < moments->n_groups * moments->n_blocks; i++) {
        struct sqz_moments_block *block = &moments->blocks[i];
        size_t b = i % moments->n_blocks, count;
        block->begin = moments->n_inputs * b / moments->n_blocks;
        block->n = moments->n_inputs * (b + 1) / moments->n_blocks - block->begin;
        if (!sqz_mul_size(block->n, block->n, &count)) return false;
        block->own = sqz_alloc0(count, sizeof *block->own);
        if (!block->own) return false;
        if (!paired) continue;
        block->cross = sqz_alloc0(count, sizeof *block->cross);
        if (!block->cross) return false;
    }
    return true;
}

enum sqz_status sqz_moments_new(size_t n_groups, size_t n_inputs, bool paired, size_t max_inputs,
                                struct sqz_moments **out, struct sqz_error *err) {
    *out = NULL;
    SQZ_TRY(sqz_linalg_load(err));
    if (n_groups == 0 || n_inputs == 0) return sqz_fail(err, SQZ_ARGUMENT, "a layer without inputs has no moments");
    size_t n_blocks = block_count(n_inputs, max_inputs), n_all, all_blocks;
    if (!sqz_mul_size(n_groups, n_inputs, &n_all) || !sqz_mul_size(n_groups, n_blocks, &all_blocks))
        return no_memory(err);
    struct sqz_moments *moments = sqz_alloc0(1, sizeof *moments);
    if (!moments) return no_memory(err);
    moments->n_groups = n_groups;
    moments->n_inputs = n_inputs;
    moments->n_blocks = n_blocks;
    moments->blocks = sqz_alloc0(all_blocks, sizeof *moments->blocks);
    moments->mean = sqz_alloc0(n_all, sizeof *moments->mean);
    moments->shift = sqz_alloc0(n_all, 2 * sizeof *moments->shift);
    if (paired) moments->mean_float = sqz_alloc0(n_all, sizeof *moments->mean_float);
    if (!moments->blocks || !moments->mean || !moments->shift || (paired && !moments->mean_float) ||
        !alloc_blocks(moments, paired)) {
        sqz_moments_free(moments);
        return no_memory(err);
    }
    *out = moments;
    return SQZ_OK;
}

/* ---- adding columns ---------------------------------------------------------- */

struct shift_job {
    const float *columns; /* [n_positions][n_all] */
    size_t n_positions, n_all;
    bool first;    /* choose the shift from these columns */
    double *shift; /* [n_all] */
    double *sum;   /* [n_all] of the shifted columns so far */
    float *out;    /* [n_positions][n_all] shifted */
    bool *finite;  /* [chunks] */
};

static void shift_chunk(void *context, size_t chunk, int thread) {
    (void)thread;
    const struct shift_job *job = context;
    size_t n = job->n_all, begin = chunk * CHUNK, count = n - begin < CHUNK ? n - begin : CHUNK;
    double sum[CHUNK] = {0};
    for (size_t p = 0; p < job->n_positions; p++)
        for (size_t i = 0; i < count; i++) sum[i] += (double)job->columns[p * n + begin + i];
    bool finite = true;
    for (size_t i = 0; i < count; i++) finite &= isfinite(sum[i]);
    job->finite[chunk] = finite;
    if (!finite) return;
    double *shift = job->shift + begin;
    /* A float32 value, so that a constant input minus its shift is exactly zero. */
    if (job->first)
        for (size_t i = 0; i < count; i++) shift[i] = (double)(float)(sum[i] / (double)job->n_positions);
    for (size_t p = 0; p < job->n_positions; p++)
        for (size_t i = 0; i < count; i++)
            job->out[p * n + begin + i] = (float)((double)job->columns[p * n + begin + i] - shift[i]);
    for (size_t i = 0; i < count; i++) job->sum[begin + i] += sum[i] - (double)job->n_positions * shift[i];
}

/* Shifted columns into out, their sums into the means. */
static enum sqz_status shift_columns(struct sqz_moments *moments, const float *columns, size_t n_positions,
                                     double *shift, double *sum, float *out, struct sqz_error *err) {
    size_t n_all = moments->n_groups * moments->n_inputs, chunks = (n_all + CHUNK - 1) / CHUNK;
    bool *finite = sqz_alloc(chunks, sizeof *finite);
    if (!finite) return no_memory(err);
    struct shift_job job = {columns, n_positions, n_all, moments->n_positions == 0, shift, sum, out, finite};
    sqz_parallel_for(chunks, shift_chunk, &job);
    bool all = true;
    for (size_t i = 0; i < chunks; i++) all &= finite[i];
    sqz_free(finite);
    return all ? SQZ_OK : sqz_fail(err, SQZ_NONFINITE, "an input of the layer is NaN or infinite");
}

struct block_job {
    struct sqz_moments *moments;
    const float *columns, *columns_float; /* shifted; columns_float NULL unless paired */
    size_t n_positions;
};

static void add_block(void *context, size_t index, int thread) {
    (void)thread;
    const struct block_job *job = context;
    const struct sqz_moments *moments = job->moments;
    const struct sqz_moments_block *block = &moments->blocks[index];
    size_t ld = moments->n_groups * moments->n_inputs;
    size_t offset = index / moments->n_blocks * moments->n_inputs + block->begin;
    sqz_linalg_moment_add(job->columns + offset, NULL, job->n_positions, block->n, ld, block->own);
    if (block->cross)
        sqz_linalg_moment_add(job->columns_float + offset, job->columns + offset, job->n_positions, block->n, ld,
                              block->cross);
}

enum sqz_status sqz_moments_add(struct sqz_moments *moments, const float *columns, const float *columns_float,
                                size_t n_positions, struct sqz_error *err) {
    if (n_positions == 0) return SQZ_OK;
    size_t n_all = moments->n_groups * moments->n_inputs, count;
    bool paired = moments->mean_float != NULL;
    if (!sqz_mul_size(n_positions, n_all, &count) || !sqz_mul_size(count, 2 * sizeof(float), &(size_t){0}))
        return no_memory(err);
    float *shifted = sqz_alloc(count, (paired ? 2 : 1) * sizeof *shifted);
    if (!shifted) return no_memory(err);
    enum sqz_status status = shift_columns(moments, columns, n_positions, moments->shift, moments->mean, shifted, err);
    if (status == SQZ_OK && paired)
        status = shift_columns(moments, columns_float, n_positions, moments->shift + n_all, moments->mean_float,
                               shifted + count, err);
    if (status == SQZ_OK) {
        struct block_job job = {moments, shifted, paired ? shifted + count : NULL, n_positions};
        size_t n_blocks = moments->n_groups * moments->n_blocks;
        /* Many groups are shared out among the threads, few large blocks are cut up by the products. */
        if (moments->n_groups > 1)
            sqz_parallel_for(n_blocks, add_block, &job);
        else
            for (size_t i = 0; i < n_blocks; i++) add_block(&job, i, 0);
        moments->n_positions += n_positions;
    }
    sqz_free(shifted);
    return status;
}

/* ---- finishing --------------------------------------------------------------- */

static void finish_block(void *context, size_t index, int thread) {
    (void)thread;
    const struct sqz_moments *moments = context;
    const struct sqz_moments_block *block = &moments->blocks[index];
    size_t n = block->n, offset = index / moments->n_blocks * moments->n_inputs + block->begin;
    double scale = 1 / (double)moments->n_positions;
    const double *mean = moments->mean + offset; /* of the shifted columns, still */
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) block->own[i * n + j] = block->own[i * n + j] * scale - mean[i] * mean[j];
    for (size_t i = 0; i < n; i++) block->own[i * n + i] = fmax(block->own[i * n + i], 0);
    sqz_linalg_mirror(block->own, n);
    if (!block->cross) return;
    const double *mean_float = moments->mean_float + offset;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++)
            block->cross[i * n + j] = block->cross[i * n + j] * scale - mean_float[i] * mean[j];
}

enum sqz_status sqz_moments_finish(struct sqz_moments *moments, struct sqz_error *err) {
    if (moments->finished) return SQZ_OK;
    if (moments->n_positions == 0) return sqz_fail(err, SQZ_ARGUMENT, "a layer has no calibration columns");
    size_t n_all = moments->n_groups * moments->n_inputs;
    double scale = 1 / (double)moments->n_positions;
    for (size_t i = 0; i < n_all; i++) {
        moments->mean[i] *= scale;
        if (moments->mean_float) moments->mean_float[i] *= scale;
    }
    sqz_parallel_for(moments->n_groups * moments->n_blocks, finish_block, moments);
    for (size_t i = 0; i < n_all; i++) {
        moments->mean[i] += moments->shift[i];
        if (moments->mean_float) moments->mean_float[i] += moments->shift[n_all + i];
    }
    moments->finished = true;
    return SQZ_OK;
}

/* ---- size -------------------------------------------------------------------- */

size_t sqz_moments_estimate_nbytes(size_t n_groups, size_t n_inputs, bool paired, size_t max_inputs) {
    size_t n_blocks = block_count(n_inputs, max_inputs), nbytes = 0;
    for (size_t b = 0; b < n_blocks; b++) {
        size_t n = n_inputs * (b + 1) / n_blocks - n_inputs * b / n_blocks;
        nbytes += n * n;
    }
    return n_groups * (nbytes * (paired ? 2 : 1) + n_inputs * (paired ? 4 : 3)) * sizeof(double);
}

size_t sqz_moments_nbytes(const struct sqz_moments *moments) {
    size_t entries = 0;
    for (size_t i = 0; i < moments->n_groups * moments->n_blocks; i++) {
        const struct sqz_moments_block *block = &moments->blocks[i];
        entries += block->n * block->n * (block->cross ? 2 : 1);
    }
    return (entries + moments->n_groups * moments->n_inputs * (moments->mean_float ? 4 : 3)) * sizeof(double);
}

void sqz_moments_free(struct sqz_moments *moments) {
    if (!moments) return;
    for (size_t i = 0; moments->blocks && i < moments->n_groups * moments->n_blocks; i++) {
        sqz_free(moments->blocks[i].own);
        sqz_free(moments->blocks[i].cross);
    }
    sqz_free(moments->blocks);
    sqz_free(moments->mean);
    sqz_free(moments->mean_float);
    sqz_free(moments->shift);
    sqz_free(moments);
}
