/* kmeans_cells.c - the grid over sorted weights on which the exact k-means looks for the limits of its clusters. */
#include "lib/kmeans_cells.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"

/*
 * Cuts of the first grid per cluster and kind (equal counts, equal ranges),
 * and its bounds. Measured over 4 to 256 clusters of Laplace weights.
 */
#define FIRST_CUTS_PER_CLUSTER 16
#define FEWEST_FIRST_CUTS 512
#define MOST_FIRST_CUTS 4096

/* Two for each factor 5/6 between 2^64 and 1. */
#define MOST_TAIL_CUTS 512

/* Note a cut inside of (after, end); returns the last cut noted. */
static size_t note_cut(size_t cut, size_t after, size_t end, size_t *out, size_t *n) {
    if (cut <= after || cut >= end) return after;
    if (out) out[*n] = cut;
    ++*n;
    return cut;
}

/*
 * Ascending cuts inside [begin, end) that part it into `parts`, into out
 * (which may be NULL); returns their number. Cuts never separate equal values:
 * one that would is replaced by both ends of the run.
 */
static size_t split_cell(const struct sqz_sorted *sorted, size_t begin, size_t end, size_t parts, size_t *out) {
    size_t n = 0, last = begin, size = end - begin;
    if (parts > size) parts = size;
    for (size_t part = 1; part < parts; part++) {
        size_t cut = begin + size / parts * part + (part < size % parts ? part : size % parts);
        if (cut <= last) continue;
        float value = sorted->values[cut];
        if (sorted->values[cut - 1] != value) {
            last = note_cut(cut, last, end, out, &n);
        } else {
            size_t run = sqz_sorted_above(sorted, last, cut, nextafter((double)value, -INFINITY));
            last = note_cut(run, last, end, out, &n);
            last = note_cut(sqz_sorted_above(sorted, cut, end, value), last, end, out, &n);
        }
    }
    return n;
}

/*
 * The places of a limit after the cuts were refined, into out (which may be
 * NULL); returns their number. new_index says where each old cut went; NULL:
 * every one of the n_cuts new cuts is a place.
 */
static size_t refine_places(const struct sqz_cells *s, uint32_t limit, const size_t *new_index, size_t n_cuts,
                            uint32_t *out) {
    const struct sqz_places *old = &s->places[limit];
    size_t n = 0, n_old = new_index ? old->n : 0;
    if (limit == 0 || limit == s->k) {
        if (out) out[0] = limit == 0 ? 0 : (uint32_t)(n_cuts - 1);
        return 1;
    }
    for (size_t i = 0; i < n_old; i++) {
        size_t from = new_index[old->cuts[i]], to = sqz_is_cell(old, i) ? new_index[old->cuts[i + 1]] : from + 1;
        for (size_t cut = from; out && cut < to; cut++) out[n + cut - from] = (uint32_t)cut;
        n += to - from;
    }
    for (; !new_index && n < n_cuts; n++)
        if (out) out[n] = (uint32_t)n;
    return n;
}

void sqz_cells_free(struct sqz_cells *s) {
    sqz_free(s->place_memory);
    sqz_free(s->moments);
    sqz_free(s->at);
}

/* Replace the cuts by at[n_cuts], which is owned from here on, also after an error. */
static bool set_cuts(struct sqz_cells *s, size_t *at, size_t n_cuts, const size_t *new_index) {
    struct sqz_cells next = *s;
    size_t total = 0;
    for (uint32_t limit = 0; limit <= s->k; limit++) total += refine_places(s, limit, new_index, n_cuts, NULL);
    next.at = at;
    next.n_cuts = n_cuts;
    next.place_memory = sqz_alloc(total, sizeof *next.place_memory);
    next.moments = sqz_alloc(n_cuts, sizeof *next.moments);
    if (n_cuts > UINT32_MAX || !next.place_memory || !next.moments) {
        sqz_cells_free(&next);
        return false;
    }
    uint32_t *cuts = next.place_memory;
    for (uint32_t limit = 0; limit <= s->k; limit++) {
        size_t n = refine_places(s, limit, new_index, n_cuts, cuts);
        next.places[limit] = (struct sqz_places){n, cuts};
        cuts += n;
    }
    sqz_sorted_moments_at(s->sorted, at, n_cuts, next.moments);
    sqz_cells_free(s);
    *s = next;
    return true;
}

size_t sqz_cells_mark(const struct sqz_cells *s, bool *divide) {
    size_t weights = 0;
    memset(divide, 0, s->n_cuts * sizeof *divide);
    for (uint32_t limit = 1; limit < s->k; limit++) {
        const struct sqz_places *places = &s->places[limit];
        for (size_t i = 0; i < places->n; i++) {
            size_t cell = places->cuts[i];
            if (!sqz_is_cell(places, i) || sqz_cell_is_whole(s, cell)) continue;
            divide[cell] = true;
            weights += s->at[cell + 1] - s->at[cell];
        }
    }
    return weights;
}

bool sqz_cells_split(struct sqz_cells *s, const bool *divide, size_t parts) {
    size_t *new_index = sqz_alloc(s->n_cuts, sizeof *new_index), n = 0;
    if (!new_index) return false;
    for (size_t cut = 0; cut < s->n_cuts; cut++) {
        new_index[cut] = n++;
        if (divide[cut]) n += split_cell(s->sorted, s->at[cut], s->at[cut + 1], parts, NULL);
    }
    size_t *at = sqz_alloc(n, sizeof *at);
    bool ok = at != NULL;
    for (size_t cut = 0; ok && cut < s->n_cuts; cut++) {
        at[new_index[cut]] = s->at[cut];
        if (divide[cut]) split_cell(s->sorted, s->at[cut], s->at[cut + 1], parts, at + new_index[cut] + 1);
    }
    ok = ok && set_cuts(s, at, n, new_index);
    sqz_free(new_index);
    return ok;
}

static int compare_sizes(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* Cuts that close in on both ends in steps of a sixth, so that the tails are cut finely and outliers are on their own.
 */
static size_t tail_cuts(const struct sqz_sorted *sorted, double from, size_t *out) {
    size_t n = 0;
    for (double distance = from; distance >= 1; distance -= distance / 6) {
        size_t ends[2] = {(size_t)distance - 1, sorted->n - (size_t)distance - 1};
        for (int i = 0; i < 2; i++) out[n++] = sqz_sorted_above(sorted, ends[i], sorted->n, sorted->values[ends[i]]);
    }
    return n;
}

/* Equal counts and equal ranges together: cells that are small in both measures. */
bool sqz_cells_first(struct sqz_cells *s, const struct sqz_sorted *sorted, uint32_t k) {
    *s = (struct sqz_cells){.sorted = sorted, .k = k};
    size_t grid = (size_t)s->k * FIRST_CUTS_PER_CLUSTER;
    if (grid < FEWEST_FIRST_CUTS) grid = FEWEST_FIRST_CUTS;
    if (grid > MOST_FIRST_CUTS) grid = MOST_FIRST_CUTS;
    size_t few = 3 * grid, parts = sorted->n <= few ? sorted->n : grid;
    /* Both ends of a run for each part, one cut for each step of the range, the tails, and the two ends. */
    size_t *at = sqz_alloc(few + MOST_TAIL_CUTS + 2, sizeof *at);
    if (!at) return false;
    size_t n = 1, unique = 0;
    at[0] = 0;
    n += split_cell(sorted, 0, sorted->n, parts, at + 1);
    if (parts == grid) {
        double low = sorted->values[0], step = (sorted->values[sorted->n - 1] - low) / (double)grid;
        for (size_t i = 1; i < grid; i++) at[n++] = sqz_sorted_above(sorted, 0, sorted->n, low + step * (double)i);
        n += tail_cuts(sorted, (double)sorted->n / (double)grid, at + n);
    }
    at[n++] = sorted->n;
    qsort(at, n, sizeof *at, compare_sizes);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || at[i] != at[i - 1]) at[unique++] = at[i];
    return set_cuts(s, at, unique, NULL);
}
