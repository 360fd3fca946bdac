/*
 * compensate.c - a layer made ready for compensation: least-squares target, processing order and factors.
 *
 * The rounding order wants the upper Cholesky factor U of A^-1 = U^T U. With
 * the order reversed, A = L L^T gives it directly: U is the inverse of L with
 * rows and columns reversed. So A is factored once, never inverted, and the
 * same factor solves for the target.
 */
#include "lib/compensate.h"

#include <stdlib.h>
#include <string.h>

#include "lib/compensate_parts.h"
#include "lib/linalg.h"
#include "lib/memory.h"
#include "lib/parallel.h"

/*
 * An input that was constant at this many positions can be left out; with
 * fewer, it may be one of those that are seldom active.
 */
#define DEAD_POSITIONS 1000

/* Tenfold steps of damping before a block is given up; from 1e-8 on, 1e12 makes any finite matrix diagonal. */
#define MAX_DAMPING_STEPS 20

/* Rows whose target is solved for at a time, in double. */
#define TARGET_ROWS 512

enum sqz_status sqz_compensate_no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory to compensate a layer");
}

/* ---- order and factors ------------------------------------------------------- */

struct place {
    double diagonal;
    uint32_t input;
};

static int descending(const void *a, const void *b) {
    const struct place *x = a, *y = b;
    if (x->diagonal != y->diagonal) return x->diagonal < y->diagonal ? 1 : -1;
    return (x->input > y->input) - (x->input < y->input);
}

static bool choose_order(struct compensate_block *block) {
    struct place *places = sqz_alloc(block->n, sizeof *places);
    if (!places) return false;
    for (size_t i = 0; i < block->n; i++) places[i] = (struct place){block->own[i * block->n + i], (uint32_t)i};
    qsort(places, block->n, sizeof *places, descending);
    for (size_t i = 0; i < block->n; i++) block->order[i] = places[i].input;
    sqz_free(places);
    return true;
}

static double mean_diagonal(const struct compensate_block *block) {
    double sum = 0;
    for (size_t i = 0; i < block->n; i++) sum += block->own[i * block->n + i];
    return sum / (double)block->n;
}

/* L of A in ascending order of the diagonal into factor[n][n]; damping grows until it exists. */
static bool factor_block(struct sqz_compensator *compensator, struct compensate_block *block, double damping,
                         double *factor) {
    size_t n = block->n;
    double mean = mean_diagonal(block);
    for (int step = 0; step < MAX_DAMPING_STEPS; step++, damping *= 10) {
        /* Without any variance there is nothing to be relative to. */
        block->damping = mean > 0 ? damping * mean : 1;
        for (size_t i = 0; i < n; i++) {
            const double *row = block->own + block->order[n - 1 - i] * n;
            for (size_t j = 0; j <= i; j++) factor[i * n + j] = row[block->order[n - 1 - j]];
            factor[i * n + i] += block->damping;
        }
        if (!sqz_linalg_cholesky(factor, n)) continue;
        if (damping > compensator->damping) compensator->damping = damping;
        return true;
    }
    return false;
}

static void reverse_factor(struct compensate_block *block, const double *inverse) {
    size_t n = block->n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) block->u[i * n + j] = j < i ? 0 : inverse[(n - 1 - i) * n + n - 1 - j];
}

/* ---- target ------------------------------------------------------------------ */

/* W C A^-1 of this block's inputs, for all rows of its group. */
static enum sqz_status solve_target(struct sqz_compensator *compensator, const struct compensate_block *block,
                                    const double *cross, const double *factor, struct sqz_error *err) {
    size_t n = block->n, stride = compensator->n_inputs;
    size_t chunk = compensator->group_rows < TARGET_ROWS ? compensator->group_rows : TARGET_ROWS, count;
    double *rows = sqz_mul_size(chunk, n, &count) ? sqz_alloc(count, 2 * sizeof *rows) : NULL;
    if (!rows) return sqz_compensate_no_memory(err);
    double *products = rows + count;
    for (size_t begin = 0; begin < compensator->group_rows; begin += chunk) {
        size_t m = compensator->group_rows - begin < chunk ? compensator->group_rows - begin : chunk;
        size_t first = (block->group * compensator->group_rows + begin) * stride + block->begin;
        for (size_t r = 0; r < m; r++)
            for (size_t i = 0; i < n; i++) rows[r * n + i] = (double)compensator->weights[first + r * stride + i];
        sqz_linalg_product(m, n, n, 1, rows, n, cross, n, 0, products, n);
        for (size_t r = 0; r < m; r++)
            for (size_t i = 0; i < n; i++) products[r * n + i] += block->damping * rows[r * n + i];
        for (size_t r = 0; r < m; r++)
            for (size_t i = 0; i < n; i++) rows[r * n + i] = products[r * n + block->order[n - 1 - i]];
        sqz_linalg_solve_rows(factor, n, rows, m);
        for (size_t r = 0; r < m; r++)
            for (size_t i = 0; i < n; i++)
                compensator->target[first + r * stride + block->order[n - 1 - i]] = (float)rows[r * n + i];
    }
    sqz_free(rows);
    return SQZ_OK;
}

/* ---- one block --------------------------------------------------------------- */

static enum sqz_status prepare_block(struct sqz_compensator *compensator, size_t index, double damping,
                                     struct sqz_error *err) {
    struct compensate_block *block = &compensator->blocks[index];
    const struct sqz_moments_block *moments = &compensator->moments->blocks[index];
    *block = (struct compensate_block){
        .group = index / compensator->moments->n_blocks, .begin = moments->begin, .n = moments->n, .own = moments->own};
    size_t n = block->n;
    block->order = sqz_alloc(n, sizeof *block->order);
    block->dead = sqz_alloc(n, sizeof *block->dead);
    block->u = sqz_alloc(n * n, sizeof *block->u);
    double *factor = sqz_alloc(n * n, sizeof *factor);
    enum sqz_status status = SQZ_OK;
    if (!block->order || !block->dead || !block->u || !factor || !choose_order(block)) {
        status = sqz_compensate_no_memory(err);
    } else if (!factor_block(compensator, block, damping, factor)) {
        status = sqz_fail(err, SQZ_NONFINITE, "the moments of a layer's inputs cannot be factored");
    } else {
        for (size_t i = 0; i < n; i++)
            block->dead[i] = moments->own[i * n + i] <= 0 && compensator->moments->n_positions >= DEAD_POSITIONS;
        if (compensator->target != compensator->weights)
            status = solve_target(compensator, block, moments->cross, factor, err);
        double *inverse = status == SQZ_OK ? sqz_alloc(n * n, sizeof *inverse) : NULL;
        if (inverse) {
            sqz_linalg_triangle_inverse(factor, n, inverse);
            reverse_factor(block, inverse);
        } else if (status == SQZ_OK) {
            status = sqz_compensate_no_memory(err);
        }
        sqz_free(inverse);
    }
    sqz_free(factor);
    return status;
}

struct prepare_job {
    struct sqz_compensator *compensators; /* [n_blocks] copies that collect the damping of one block each */
    double damping;
    enum sqz_status *status; /* [n_blocks] */
};

static void prepare_one(void *context, size_t index, int thread) {
    (void)thread;
    struct prepare_job *job = context;
    job->status[index] = prepare_block(&job->compensators[index], index, job->damping, NULL);
}

/* Many small groups (depthwise convolutions) are shared out; a few large blocks are cut up inside. */
static enum sqz_status prepare_blocks(struct sqz_compensator *compensator, double damping, struct sqz_error *err) {
    size_t n = compensator->n_blocks;
    if (compensator->moments->n_groups == 1) {
        for (size_t i = 0; i < n; i++) SQZ_TRY(prepare_block(compensator, i, damping, err));
        return SQZ_OK;
    }
    struct prepare_job job = {sqz_alloc(n, sizeof *job.compensators), damping, sqz_alloc(n, sizeof *job.status)};
    enum sqz_status status = SQZ_OK;
    if (!job.compensators || !job.status) {
        status = sqz_compensate_no_memory(err);
    } else {
        for (size_t i = 0; i < n; i++) job.compensators[i] = *compensator;
        sqz_parallel_for(n, prepare_one, &job);
        for (size_t i = 0; i < n; i++) {
            if (job.status[i] != SQZ_OK && status == SQZ_OK) status = job.status[i];
            compensator->damping = fmax(compensator->damping, job.compensators[i].damping);
        }
        if (status == SQZ_OUT_OF_MEMORY) sqz_compensate_no_memory(err);
        if (status == SQZ_NONFINITE) sqz_fail(err, status, "the moments of a layer's inputs cannot be factored");
    }
    sqz_free(job.compensators);
    sqz_free(job.status);
    return status;
}

static void summarise(struct sqz_compensator *compensator) {
    double sum = 0, squares = 0;
    for (size_t b = 0; b < compensator->n_blocks; b++) {
        const struct compensate_block *block = &compensator->blocks[b];
        for (size_t i = 0; i < block->n; i++) {
            double u = block->u[i * block->n + i];
            sum += 1 / (u * u);
            compensator->n_dead += block->dead[i];
        }
    }
    compensator->sensitivity = sum / (double)(compensator->moments->n_groups * compensator->n_inputs);
    size_t used = 0;
    for (size_t i = 0; i < compensator->rows * compensator->n_inputs; i++) {
        double w = (double)compensator->weights[i];
        squares += w * w;
        used += w != 0 || !compensator->keep_zeros;
    }
    compensator->std = used > 0 ? sqrt(squares / (double)used) : 0;
}

/* ---- public ------------------------------------------------------------------ */

static enum sqz_status check_arguments(const struct sqz_moments *moments, const float *weights, size_t rows,
                                       double damping, struct sqz_error *err) {
    size_t count;
    if (!moments->finished) return sqz_fail(err, SQZ_ARGUMENT, "the moments of a layer are not finished");
    if (rows == 0 || rows % moments->n_groups != 0)
        return sqz_fail(err, SQZ_ARGUMENT, "%zu output channels cannot be shared out among %zu groups", rows,
                        moments->n_groups);
    if (!(damping >= 0) || !isfinite(damping))
        return sqz_fail(err, SQZ_ARGUMENT, "the damping %g is not a number of at least 0", damping);
    if (!sqz_mul_size(rows, moments->n_inputs, &count)) return sqz_compensate_no_memory(err);
    for (size_t i = 0; i < count; i++)
        if (!isfinite(weights[i])) return sqz_fail(err, SQZ_NONFINITE, "weight %zu is NaN or infinite", i);
    return SQZ_OK;
}

enum sqz_status sqz_compensator_new(const struct sqz_moments *moments, const float *weights, size_t rows,
                                    const struct sqz_compensator_options *options, struct sqz_compensator **out,
                                    struct sqz_error *err) {
    *out = NULL;
    double damping = options->damping != 0 ? options->damping : SQZ_DEFAULT_DAMPING;
    SQZ_TRY(check_arguments(moments, weights, rows, damping, err));
    struct sqz_compensator *compensator = sqz_alloc0(1, sizeof *compensator);
    if (!compensator) return sqz_compensate_no_memory(err);
    bool least_squares = moments->mean_float && !options->keep_target;
    compensator->moments = moments;
    compensator->rows = rows;
    compensator->group_rows = rows / moments->n_groups;
    compensator->n_inputs = moments->n_inputs;
    compensator->keep_zeros = options->keep_zeros;
    compensator->n_blocks = moments->n_groups * moments->n_blocks;
    compensator->blocks = sqz_alloc0(compensator->n_blocks, sizeof *compensator->blocks);
    size_t count = rows * moments->n_inputs;
    compensator->weights = sqz_alloc(count, sizeof *compensator->weights);
    compensator->target = least_squares ? sqz_alloc(count, sizeof *compensator->target) : compensator->weights;
    enum sqz_status status;
    if (!compensator->blocks || !compensator->weights || !compensator->target) {
        status = sqz_compensate_no_memory(err);
    } else {
        memcpy(compensator->weights, weights, count * sizeof *weights);
        status = prepare_blocks(compensator, damping, err);
    }
    if (status != SQZ_OK) {
        sqz_compensator_free(compensator);
        return status;
    }
    summarise(compensator);
    *out = compensator;
    return SQZ_OK;
}

void sqz_compensator_free(struct sqz_compensator *compensator) {
    if (!compensator) return;
    for (size_t i = 0; compensator->blocks && i < compensator->n_blocks; i++) {
        sqz_free(compensator->blocks[i].order);
        sqz_free(compensator->blocks[i].dead);
        sqz_free(compensator->blocks[i].u);
    }
    sqz_free(compensator->blocks);
    if (compensator->target != compensator->weights) sqz_free(compensator->target);
    sqz_free(compensator->weights);
    sqz_free(compensator);
}

double sqz_compensator_damping(const struct sqz_compensator *compensator) {
    return compensator->damping;
}

double sqz_compensator_sensitivity(const struct sqz_compensator *compensator) {
    return compensator->sensitivity;
}

double sqz_compensator_weight_std(const struct sqz_compensator *compensator) {
    return compensator->std;
}

void sqz_compensated_free(struct sqz_compensated *result) {
    sqz_packed_free(result->packed);
    sqz_free(result->weights);
    sqz_free(result->bias_change);
    *result = (struct sqz_compensated){0};
}
