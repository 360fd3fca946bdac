/* compensate_codebook_fit.c - centroids for weights that matter differently. */
#include "lib/compensate_codebook_fit.h"

#include <string.h>

#include "lib/linalg.h"
#include "lib/memory.h"
#include "lib/parallel.h"

/* ---- histogram ---------------------------------------------------------------- */

/* Cells over the range of the targets: sixteen for each centroid of the largest codebook. */
#define N_CELLS 4096

/* Sums over a cell's weights; as prefixes also over all cells before. */
struct cell {
    double weight, sum, square;
};

static void target_range(const struct sqz_compensator *compensator, double *low, double *high) {
    *low = INFINITY;
    *high = -INFINITY;
    for (size_t c = 0; c < sqz_row_chunks(compensator); c++) {
        struct row_chunk chunk = sqz_row_chunk(compensator, c);
        for (size_t row = chunk.begin; row < chunk.begin + chunk.n; row++)
            for (size_t i = chunk.block->begin; i < chunk.block->begin + chunk.block->n; i++) {
                if (sqz_must_be_zero(compensator, chunk.block, row, i)) continue;
                double w = (double)compensator->target[row * compensator->n_inputs + i];
                *low = fmin(*low, w);
                *high = fmax(*high, w);
            }
    }
}

static void fill_cells(const struct sqz_compensator *compensator, double low, double high, struct cell *cells) {
    double scale = high > low ? N_CELLS / (high - low) : 0;
    for (size_t c = 0; c < sqz_row_chunks(compensator); c++) {
        struct row_chunk chunk = sqz_row_chunk(compensator, c);
        const struct compensate_block *block = chunk.block;
        for (size_t row = chunk.begin; row < chunk.begin + chunk.n; row++)
            for (size_t j = 0; j < block->n; j++) {
                size_t input = block->begin + block->order[j];
                if (sqz_must_be_zero(compensator, block, row, input)) continue;
                double w = (double)compensator->target[row * compensator->n_inputs + input];
                double u = block->u[j * block->n + j], weight = 1 / (u * u);
                size_t at = (size_t)((w - low) * scale);
                struct cell *cell = &cells[at < N_CELLS ? at : N_CELLS - 1];
                cell->weight += weight;
                cell->sum += weight * w;
                cell->square += weight * w * w;
            }
    }
}

/* Cells in use become prefix sums: before[i] covers the first i of them. Returns how many there are. */
static size_t to_prefixes(struct cell *cells, struct cell *before) {
    size_t n = 0;
    before[0] = (struct cell){0, 0, 0};
    for (size_t i = 0; i < N_CELLS; i++) {
        if (cells[i].weight <= 0) continue;
        before[n + 1] = (struct cell){before[n].weight + cells[i].weight, before[n].sum + cells[i].sum,
                                      before[n].square + cells[i].square};
        n++;
    }
    return n;
}

/* ---- the best clustering ------------------------------------------------------ */

struct clustering {
    const struct cell *before; /* [n + 1] */
    size_t n;
    double *last, *cost; /* [n + 1] best error of the first i cells with one cluster less, and with this many */
    uint16_t *choice;    /* [k][n + 1] where the last cluster begins */
};

/* Squared error of cells [begin, end) as one cluster. */
static double cluster_cost(const struct cell *before, size_t begin, size_t end) {
    double weight = before[end].weight - before[begin].weight, sum = before[end].sum - before[begin].sum;
    double square = before[end].square - before[begin].square;
    return weight > 0 ? fmax(square - sum * sum / weight, 0) : 0;
}

/*
 * cost[begin..end] given that the last cluster of each begins in [low, high]: the best beginning never moves
 * left when the end moves right, so each half needs only its part. The depth is log2 of the number of cells.
 */
static void divide(struct clustering *c, uint16_t *choice, size_t begin, size_t end, size_t low, size_t high) {
    size_t middle = begin + (end - begin) / 2, best = low;
    double smallest = INFINITY;
    for (size_t i = low; i <= high && i < middle; i++) {
        double cost = c->last[i] + cluster_cost(c->before, i, middle);
        if (cost < smallest) {
            smallest = cost;
            best = i;
        }
    }
    c->cost[middle] = smallest;
    choice[middle] = (uint16_t)best;
    if (middle > begin) divide(c, choice, begin, middle - 1, low, best);
    if (middle < end) divide(c, choice, middle + 1, end, best, high);
}

/* Limits at[0..k] of the best k clusters; returns their squared error. k is at most n. */
static double best_clusters(struct clustering *c, uint32_t k, size_t *at) {
    size_t stride = c->n + 1;
    for (size_t i = 0; i <= c->n; i++) c->cost[i] = i == 0 ? 0 : cluster_cost(c->before, 0, i);
    memset(c->choice, 0, stride * sizeof *c->choice);
    for (uint32_t clusters = 2; clusters <= k; clusters++) {
        double *swap = c->last;
        c->last = c->cost;
        c->cost = swap;
        for (size_t i = 0; i < clusters; i++) c->cost[i] = INFINITY;
        divide(c, c->choice + (clusters - 1) * stride, clusters, c->n, clusters - 1, c->n);
    }
    at[k] = c->n;
    for (uint32_t i = k; i > 0; i--) at[i - 1] = c->choice[(i - 1) * stride + at[i]];
    return c->cost[c->n];
}

/* Centroids of the clusters; with `zero` the one nearest to zero is left out, for zero itself takes its place. */
static void name_centroids(const struct cell *before, const size_t *at, uint32_t k, bool zero, struct centroids *out) {
    double means[SQZ_MAX_CODEBOOK + 1];
    uint32_t nearest = 0;
    for (uint32_t i = 0; i < k; i++) {
        means[i] = (before[at[i + 1]].sum - before[at[i]].sum) / (before[at[i + 1]].weight - before[at[i]].weight);
        if (fabs(means[i]) < fabs(means[nearest])) nearest = i;
    }
    out->n = 0;
    for (uint32_t i = 0; i < k; i++) {
        float value = (float)means[i];
        if ((zero && i == nearest) || value == 0) continue;
        if (out->n > 0 && value <= out->values[out->n - 1]) continue;
        out->values[out->n++] = value;
    }
}

static enum sqz_status cluster_cells(const struct cell *before, size_t n, uint32_t k, bool zero, struct centroids *out,
                                     struct sqz_error *err) {
    if (zero) k++;
    if (k > n) k = (uint32_t)n;
    struct clustering c = {.before = before, .n = n};
    double *memory = sqz_alloc(n + 1, 2 * sizeof *memory);
    c.choice = sqz_alloc((size_t)k * (n + 1), sizeof *c.choice);
    enum sqz_status status = SQZ_OK;
    if (memory && c.choice) {
        size_t at[SQZ_MAX_CODEBOOK + 2];
        c.last = memory;
        c.cost = memory + n + 1;
        out->mean_square = best_clusters(&c, k, at) / before[n].weight;
        name_centroids(before, at, k, zero, out);
    } else {
        status = sqz_compensate_no_memory(err);
    }
    sqz_free(memory);
    sqz_free(c.choice);
    return status;
}

enum sqz_status sqz_centroids_fit(const struct sqz_compensator *compensator, uint32_t k, bool zero,
                                  struct centroids *out, struct sqz_error *err) {
    *out = (struct centroids){0};
    double low, high;
    target_range(compensator, &low, &high);
    if (low > high) return SQZ_OK;
    struct cell *cells = sqz_alloc0(2 * N_CELLS + 1, sizeof *cells);
    if (!cells) return sqz_compensate_no_memory(err);
    fill_cells(compensator, low, high, cells);
    size_t n = to_prefixes(cells, cells + N_CELLS);
    enum sqz_status status = cluster_cells(cells + N_CELLS, n, k, zero, out, err);
    sqz_free(cells);
    /* All targets exactly zero, though none has to be: any centroid will do for them. */
    if (status == SQZ_OK && out->n == 0 && !zero) out->values[out->n++] = 1e-30f;
    return status;
}

/* ---- refitting ---------------------------------------------------------------- */

struct normal_equations {
    const struct sqz_compensator *compensator;
    const int16_t *levels;
    uint32_t k;
    /* [jobs][k] gradients; matrices are summed over one job at a time */
    double *gradients;
    double *matrices; /* [groups of jobs][k][k] */
    size_t jobs_per_matrix;
};

/* Jobs are walked in bundles, one matrix each, so that memory stays small and sums keep their order. */
#define MATRICES 16

static void gradient_chunk(void *context, size_t index, const struct row_chunk *chunk, const double *d, double *g) {
    (void)d;
    struct normal_equations *equations = context;
    double *gradient = equations->gradients + index * equations->k;
    size_t n = chunk->block->n;
    for (size_t r = 0; r < chunk->n; r++) {
        const int16_t *levels =
            equations->levels + (chunk->begin + r) * equations->compensator->n_inputs + chunk->block->begin;
        for (size_t j = 0; j < n; j++)
            if (levels[j] > 0) gradient[levels[j] - 1] += g[r * n + j];
    }
}

static void add_row_matrix(const struct compensate_block *block, const int16_t *levels, uint32_t k, double *matrix) {
    size_t n = block->n;
    for (size_t i = 0; i < n; i++) {
        if (levels[i] == 0) continue;
        double *row = matrix + (size_t)(levels[i] - 1) * k;
        const double *own = block->own + i * n;
        row[levels[i] - 1] += block->damping;
        for (size_t j = 0; j < n; j++)
            if (levels[j] > 0) row[levels[j] - 1] += own[j];
    }
}

static void matrix_bundle(void *context, size_t bundle, int thread) {
    (void)thread;
    struct normal_equations *equations = context;
    size_t jobs = sqz_row_chunks(equations->compensator), begin = bundle * equations->jobs_per_matrix;
    double *matrix = equations->matrices + bundle * equations->k * equations->k;
    for (size_t job = begin; job < begin + equations->jobs_per_matrix && job < jobs; job++) {
        struct row_chunk chunk = sqz_row_chunk(equations->compensator, job);
        for (size_t row = chunk.begin; row < chunk.begin + chunk.n; row++)
            add_row_matrix(chunk.block, equations->levels + row * equations->compensator->n_inputs + chunk.block->begin,
                           equations->k, matrix);
    }
}

/* Solve matrix * change = gradient; false when it is singular. */
static bool solve_change(double *matrix, uint32_t k, double *gradient) {
    double mean = 0;
    for (uint32_t i = 0; i < k; i++) mean += matrix[(size_t)i * k + i] / k;
    /* An unused centroid has an empty row; a touch of the mean keeps it where it is. */
    for (uint32_t i = 0; i < k; i++) matrix[(size_t)i * k + i] += 1e-6 * mean;
    if (!sqz_linalg_cholesky(matrix, k)) return false;
    sqz_linalg_solve_rows(matrix, k, gradient, 1);
    return true;
}

static void move_centroids(struct centroids *centroids, const double *change) {
    float moved[SQZ_MAX_CODEBOOK];
    for (uint32_t i = 0; i < centroids->n; i++) {
        moved[i] = (float)((double)centroids->values[i] + change[i]);
        if (!isfinite(moved[i]) || moved[i] == 0 || (i > 0 && moved[i] <= moved[i - 1])) return;
    }
    memcpy(centroids->values, moved, centroids->n * sizeof *moved);
}

static void sum_up(struct normal_equations *equations, size_t jobs, size_t bundles) {
    size_t k = equations->k;
    for (size_t job = 1; job < jobs; job++)
        for (size_t i = 0; i < k; i++) equations->gradients[i] += equations->gradients[job * k + i];
    for (size_t bundle = 1; bundle < bundles; bundle++)
        for (size_t i = 0; i < k * k; i++) equations->matrices[i] += equations->matrices[bundle * k * k + i];
}

enum sqz_status sqz_centroids_refit(const struct sqz_compensator *compensator, const int16_t *levels,
                                    struct centroids *centroids, float *values, struct sqz_error *err) {
    if (centroids->n == 0) return SQZ_OK;
    size_t jobs = sqz_row_chunks(compensator), k = centroids->n;
    struct normal_equations equations = {.compensator = compensator, .levels = levels, .k = (uint32_t)k};
    equations.jobs_per_matrix = (jobs + MATRICES - 1) / MATRICES;
    size_t bundles = (jobs + equations.jobs_per_matrix - 1) / equations.jobs_per_matrix;
    equations.gradients = sqz_alloc0(jobs * k, sizeof(double));
    equations.matrices = sqz_alloc0(bundles * k * k, sizeof(double));
    enum sqz_status status = SQZ_OK;
    if (equations.gradients && equations.matrices) {
        const struct level_grid grid = {.values = centroids->values, .n_values = centroids->n};
        for (size_t i = 0; i < compensator->rows * compensator->n_inputs; i++)
            values[i] = sqz_grid_value(&grid, 0, levels[i]);
        status = sqz_compensate_residuals(compensator, values, gradient_chunk, &equations, err);
    } else {
        status = sqz_compensate_no_memory(err);
    }
    if (status == SQZ_OK) {
        sqz_parallel_for(bundles, matrix_bundle, &equations);
        sum_up(&equations, jobs, bundles);
        if (solve_change(equations.matrices, equations.k, equations.gradients))
            move_centroids(centroids, equations.gradients);
    }
    sqz_free(equations.gradients);
    sqz_free(equations.matrices);
    return status;
}
