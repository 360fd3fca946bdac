/* kmeans_optimal.c - the exact one-dimensional k-means, fast enough for tens of millions of weights. */

/*
 * The optimum is a shortest path: D_k(j) = min_i D_(k-1)(i) + c(i, j) over the
 * sorted weights (Wang & Song's Ckmeans.1d.dp, R Journal 2011). Divide and
 * conquer (monge.h) solves a row in O(n log n), which is still too much for
 * millions of weights. So the rows are first solved on a coarse grid of cuts,
 * and bounds rule out almost every place for almost every limit:
 *
 * 1. Upper bound U. Lloyd from k-means++ to begin with, and then from the best
 *    path over the cuts of each grid.
 *
 * 2. Lower bound. Take the optimal clustering, and a limit that lies inside a
 *    cell (between two neighbouring cuts) of m weights. Move the limit to one
 *    end of the cell, so that all m weights join the same cluster, the one
 *    whose centroid is nearest to their mean. Weight x, which was nearer to
 *    centroid u and is now with v, pays (x - v)^2 - (x - u)^2 more, which is
 *    at most 2 |v - u| |x - mean|, and only weights on u's side of the mean
 *    pay. These have sum |x - mean| = 1/2 sum over the cell, and that is at
 *    most 1/2 sqrt(m * cost of the cell) by Cauchy and Schwarz. (With several
 *    limits in one cell the distances of the centroids add up.) So
 *        optimum >= (shortest path over cuts) - sum of slacks,
 *        slack_k(cell) = sqrt(m * cost of the cell)
 *                        * (an upper bound of centroid k+1 - centroid k).
 *    The slack depends on one limit and one cell only, so the programme with
 *    slacks has the same Monge costs. Solved forward and backward it bounds
 *    the cost of every clustering whose limit k lies in a given cell.
 *
 * 3. Cells whose bound exceeds U are dropped for that limit; the others are
 *    cut finer. The gap is of second order in the size of the cells, so a few
 *    rounds suffice. A cell of equal values is never divided (an optimal
 *    clustering does not split equal values) and has no slack.
 *
 * 4. When every cell that is left is of that kind, the programme over the cuts
 *    is the exact one.
 *
 * The distance of two neighbouring centroids is bounded in two ways. The mean
 * of an interval grows with both of its ends, so the places that are left for
 * the limits bound every centroid. And no weight closer than h to the midpoint
 * of two centroids that are w apart has a centroid within w / 2 - h: i weights
 * there cost at least i (w / 2 - h)^2, which is at most U, so
 * w <= 2 (h + sqrt(U / i)).
 *
 * "Exact" means: no clustering has a smaller cost when costs are evaluated as
 * sorted.h does, in doubles with prefix sums of twice their precision.
 */
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "lib/kmeans.h"
#include "lib/kmeans_cells.h"
#include "lib/memory.h"
#include "lib/monge.h"
#include "lib/parallel.h"

/* A surviving cell is cut into this many. */
#define SPLIT 4

/* With at most this many weights left in all the cells (over all limits) they become cells of their own. */
#define FEW_WEIGHTS ((size_t)1 << 19)

/* Lloyd steps that polish an upper bound: a better bound is worth more than these cost. */
#define POLISH_ITERATIONS 100

/* Room for two neighbouring rows of the programme. */
struct rows {
    struct sqz_cuts cuts[2];
    double *before; /* the candidates' costs */
};

struct search {
    struct sqz_cells cells;
    double upper;
    struct sqz_clusters best; /* what costs that much */
};

static size_t most_places(const struct sqz_cells *cells) {
    size_t most = 0;
    for (uint32_t limit = 0; limit <= cells->k; limit++)
        if (cells->places[limit].n > most) most = cells->places[limit].n;
    return most;
}

static size_t total_places(const struct sqz_cells *cells) {
    size_t total = 0;
    for (uint32_t limit = 0; limit <= cells->k; limit++) total += cells->places[limit].n;
    return total;
}

/* ---- rows of the programme ------------------------------------------------ */

static bool rows_allocate(struct rows *rows, size_t most) {
    *rows = (struct rows){0};
    for (int i = 0; i < 2; i++) rows->cuts[i].at = sqz_alloc(5 * most, sizeof(double));
    rows->before = sqz_alloc(most, sizeof(double));
    for (int i = 0; i < 2 && rows->cuts[i].at; i++) {
        rows->cuts[i].sum = rows->cuts[i].at + most;
        rows->cuts[i].sum_low = rows->cuts[i].at + 2 * most;
        rows->cuts[i].square = rows->cuts[i].at + 3 * most;
        rows->cuts[i].square_low = rows->cuts[i].at + 4 * most;
    }
    return rows->cuts[0].at && rows->cuts[1].at && rows->before;
}

static void rows_free(struct rows *rows) {
    sqz_free(rows->cuts[0].at);
    sqz_free(rows->cuts[1].at);
    sqz_free(rows->before);
}

static void gather(const struct sqz_cells *cells, uint32_t limit, struct sqz_cuts *cuts) {
    const struct sqz_places *places = &cells->places[limit];
    cuts->n = places->n;
    for (size_t i = 0; i < places->n; i++) {
        const struct sqz_moments *m = &cells->moments[places->cuts[i]];
        cuts->at[i] = (double)cells->at[places->cuts[i]];
        cuts->sum[i] = m->sum;
        cuts->sum_low[i] = m->sum_low;
        cuts->square[i] = m->square;
        cuts->square_low[i] = m->square_low;
    }
}

/* ---- 1. upper bound -------------------------------------------------------- */

static void offer_upper_bound(struct search *s, const struct sqz_clusters *clusters) {
    double cost = sqz_clusters_cost(s->cells.sorted, clusters);
    if (cost >= s->upper) return;
    s->upper = cost;
    s->best = *clusters;
}

/* Follow the choices back from the end, and improve on what they give. */
static void trace_path(struct search *s, uint32_t *const *choices) {
    const struct sqz_cells *cells = &s->cells;
    struct sqz_clusters clusters = {.k = cells->k};
    size_t place = 0;
    for (uint32_t limit = cells->k; limit > 0; limit--) {
        clusters.at[limit] = cells->at[cells->places[limit].cuts[place]];
        place = choices[limit][place];
    }
    clusters.at[0] = 0;
    sqz_clusters_refine(cells->sorted, &clusters, POLISH_ITERATIONS);
    offer_upper_bound(s, &clusters);
}

/* ---- 2. lower bounds ------------------------------------------------------- */

struct bounds {
    const struct search *search;
    const struct sqz_cells *cells;
    double *spread; /* [n_cuts - 1] sqrt(m * cost) of each cell */
    double *reach;  /* [n_cuts - 1] bound of the distance of the centroids beside a limit in the cell, from U */
    double apart[SQZ_MAX_CODEBOOK + 1]; /* the same for each limit, from the places */
    /* least[d][limit][place]: cost of all before (d = 0) or behind (1) a place, at the least, without its own slack */
    double *least[2][SQZ_MAX_CODEBOOK + 1];
    double *memory;                          /* what they point into */
    uint32_t *choices[SQZ_MAX_CODEBOOK + 1]; /* [limit][place] the place before it that least[0] comes from */
    uint32_t *choice_memory;
    struct rows rows[2];
};

static double reach_of_cell(const struct search *s, size_t begin, size_t end) {
    const struct sqz_sorted *sorted = s->cells.sorted;
    double from = sorted->values[begin], to = sorted->values[end - 1], best = INFINITY;
    /* Weights around the cell: half an average cluster to each side, and far fewer for the thin tails. */
    for (size_t side = sorted->n / (2 * s->cells.k) + 1;; side /= 8) {
        size_t first = begin > side ? begin - side : 0, last = sorted->n - end > side ? end + side : sorted->n;
        double left = to - sorted->values[first], right = sorted->values[last - 1] - from;
        double bound = 2 * ((left > right ? left : right) + sqrt(s->upper / (double)(last - first)));
        if (bound < best) best = bound;
        if (side == 0) return best;
    }
}

static double mean_between(const struct sqz_cells *cells, size_t first_cut, size_t last_cut) {
    struct sqz_interval v = sqz_moments_between(&cells->moments[first_cut], &cells->moments[last_cut],
                                                cells->at[last_cut] - cells->at[first_cut]);
    return cells->sorted->shift + v.sum / v.n;
}

/* Smallest centroid of the cluster between limit - 1 and limit that the places allow. */
static double lowest_centroid(const struct sqz_cells *cells, uint32_t limit) {
    size_t begin = cells->places[limit - 1].cuts[0], end = cells->places[limit].cuts[0];
    if (begin < end) return mean_between(cells, begin, end);
    return cells->at[begin] < cells->sorted->n ? (double)cells->sorted->values[cells->at[begin]] : INFINITY;
}

static double highest_centroid(const struct sqz_cells *cells, uint32_t limit) {
    const struct sqz_places *first = &cells->places[limit - 1], *last = &cells->places[limit];
    size_t begin = first->cuts[first->n - 1], end = last->cuts[last->n - 1];
    if (begin < end) return mean_between(cells, begin, end);
    return cells->at[end] > 0 ? (double)cells->sorted->values[cells->at[end] - 1] : -INFINITY;
}

static void bound_distances(struct bounds *b) {
    const struct sqz_cells *cells = b->cells;
    for (size_t cell = 0; cell + 1 < cells->n_cuts; cell++) {
        size_t begin = cells->at[cell], end = cells->at[cell + 1];
        struct sqz_interval v = sqz_moments_between(&cells->moments[cell], &cells->moments[cell + 1], end - begin);
        bool whole = sqz_cell_is_whole(cells, cell);
        /* Rounding must not make the spread smaller than it is. */
        b->spread[cell] = whole ? 0 : sqrt(v.n * (sqz_interval_cost(v) + v.square * 0x1p-50));
        b->reach[cell] = whole ? 0 : reach_of_cell(b->search, begin, end);
    }
    for (uint32_t limit = 1; limit < cells->k; limit++) {
        double apart = highest_centroid(cells, limit + 1) - lowest_centroid(cells, limit);
        b->apart[limit] = apart > 0 ? apart : 0;
    }
}

static double slack_of_cell(const struct bounds *b, uint32_t limit, size_t i) {
    size_t cell = b->cells->places[limit].cuts[i];
    return b->spread[cell] * (b->reach[cell] < b->apart[limit] ? b->reach[cell] : b->apart[limit]);
}

/* The larger slack of the two cells beside a cut. */
static double slack_of_cut(const struct bounds *b, uint32_t limit, size_t i) {
    const struct sqz_places *places = &b->cells->places[limit];
    double left = i > 0 && sqz_is_cell(places, i - 1) ? slack_of_cell(b, limit, i - 1) : 0;
    double right = sqz_is_cell(places, i) ? slack_of_cell(b, limit, i) : 0;
    return left > right ? left : right;
}

/* Rows of one direction: forward up to the end of the last cluster, backward down to the first inner limit. */
static void bound_direction(void *context, size_t direction, int thread) {
    (void)thread;
    struct bounds *b = context;
    const struct sqz_cells *cells = b->cells;
    struct rows *rows = &b->rows[direction];
    bool forward = direction == 0;
    gather(cells, forward ? 0 : cells->k, &rows->cuts[0]);
    rows->before[0] = 0;
    for (uint32_t step = 1; step < cells->k + forward; step++) {
        uint32_t limit = forward ? step : cells->k - step;
        struct sqz_cuts *candidates = &rows->cuts[(step - 1) % 2], *row = &rows->cuts[step % 2];
        double *least = b->least[direction][limit];
        gather(cells, limit, row);
        sqz_monge_minima(row, candidates, rows->before, forward, least, forward ? b->choices[limit] : NULL);
        for (size_t i = 0; limit < cells->k && i < row->n; i++) rows->before[i] = least[i] - slack_of_cut(b, limit, i);
    }
}

static bool bounds_allocate(struct bounds *b, const struct search *s) {
    const struct sqz_cells *cells = &s->cells;
    size_t most = most_places(cells), total = total_places(cells), offset = 0;
    *b = (struct bounds){.search = s, .cells = cells};
    b->spread = sqz_alloc(cells->n_cuts, sizeof *b->spread);
    b->reach = sqz_alloc(cells->n_cuts, sizeof *b->reach);
    b->memory = sqz_alloc(total, 2 * sizeof *b->memory);
    b->choice_memory = sqz_alloc(total, sizeof *b->choice_memory);
    bool ok = b->spread && b->reach && b->memory && b->choice_memory;
    for (uint32_t limit = 0; ok && limit <= cells->k; limit++) {
        b->least[0][limit] = b->memory + offset;
        b->least[1][limit] = b->memory + total + offset;
        b->choices[limit] = b->choice_memory + offset;
        offset += cells->places[limit].n;
    }
    for (int direction = 0; direction < 2; direction++) ok &= rows_allocate(&b->rows[direction], most);
    return ok;
}

static void bounds_free(struct bounds *b) {
    sqz_free(b->spread);
    sqz_free(b->reach);
    sqz_free(b->memory);
    sqz_free(b->choice_memory);
    rows_free(&b->rows[0]);
    rows_free(&b->rows[1]);
}

/* ---- 3. dropping and refining ---------------------------------------------- */

/* Keep the ends of those cells that may hold the limit in a clustering that costs `most`. */
static void drop_places(const struct bounds *b, uint32_t limit, double most, struct sqz_places *places) {
    const double *before = b->least[0][limit], *behind = b->least[1][limit];
    size_t kept = 0;
    bool ends_kept_cell = false;
    for (size_t i = 0; i < places->n; i++) {
        bool begins_kept_cell = false;
        if (sqz_is_cell(places, i)) {
            double left = before[i] + behind[i], right = before[i + 1] + behind[i + 1];
            begins_kept_cell = (left < right ? left : right) - slack_of_cell(b, limit, i) <= most;
        }
        if (begins_kept_cell || ends_kept_cell) places->cuts[kept++] = places->cuts[i];
        ends_kept_cell = begins_kept_cell;
    }
    /* Rounding may not leave a limit without any place. */
    if (kept > 0) places->n = kept;
}

/* U, a millionth of a percent, and what rounding may do to the cost of clusters like those of U. */
static double upper_with_rounding(const struct search *s) {
    double most = s->upper * (1 + 1e-8);
    struct sqz_moments moments[SQZ_MAX_CODEBOOK + 1];
    sqz_sorted_moments_at(s->cells.sorted, s->best.at, s->best.k + 1, moments);
    for (uint32_t i = 0; i < s->best.k; i++) {
        struct sqz_interval v = sqz_moments_between(&moments[i], &moments[i + 1], s->best.at[i + 1] - s->best.at[i]);
        if (v.n > 1) most += v.square * 0x1p-50; /* the cost of a single weight is exactly 0 */
    }
    return most;
}

/* Drop the places that the bounds rule out. Without inner cells (`whole`) the forward rows are the exact programme. */
static bool search_grid(struct search *s, bool whole) {
    struct bounds b;
    bool ok = bounds_allocate(&b, s);
    if (ok) {
        bound_distances(&b);
        sqz_parallel_for(whole ? 1 : 2, bound_direction, &b);
        if (!isinf(b.least[0][s->cells.k][0])) trace_path(s, b.choices);
        double most = upper_with_rounding(s);
        for (uint32_t limit = 1; !whole && limit < s->cells.k; limit++)
            drop_places(&b, limit, most, &s->cells.places[limit]);
    }
    bounds_free(&b);
    return ok;
}

static bool search_optimum(struct search *s) {
    for (bool whole = false; !whole;) {
        bool *divide = sqz_alloc(s->cells.n_cuts, sizeof *divide);
        if (!divide) return false;
        whole = sqz_cells_mark(&s->cells, divide) == 0;
        bool ok = search_grid(s, whole);
        if (ok && !whole) {
            size_t weights = sqz_cells_mark(&s->cells, divide);
            ok = sqz_cells_split(&s->cells, divide, weights <= FEW_WEIGHTS ? SIZE_MAX : SPLIT);
        }
        sqz_free(divide);
        if (!ok) return false;
    }
    return true;
}

enum sqz_status sqz_kmeans_optimal(const struct sqz_sorted *sorted, uint32_t k, struct sqz_clusters *out,
                                   struct sqz_error *err) {
    struct search *s = sqz_alloc0(1, sizeof *s);
    if (!s) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    struct sqz_clusters start;
    sqz_kmeans_lloyd(sorted, k, SQZ_INIT_KMEANSPP, 0, POLISH_ITERATIONS, &start);
    s->upper = INFINITY;
    s->cells.sorted = sorted;
    offer_upper_bound(s, &start);
    bool ok = sqz_cells_first(&s->cells, sorted, k) && search_optimum(s);
    *out = s->best;
    sqz_cells_free(&s->cells);
    sqz_free(s);
    return ok ? SQZ_OK
              : sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the k-means of %zu weights", sorted->n);
}
