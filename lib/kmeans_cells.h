/* kmeans_cells.h - the grid over sorted weights on which the exact k-means looks for the limits of its clusters. */
#ifndef SQZ_LIB_KMEANS_CELLS_H
#define SQZ_LIB_KMEANS_CELLS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/codebook.h"
#include "lib/sorted.h"

/* The cuts at which one limit may lie, as ascending indices of cuts; neighbours i, i + 1 enclose a cell. */
struct sqz_places {
    size_t n;
    uint32_t *cuts;
};

/*
 * Cuts are positions between sorted weights, never between equal ones, and
 * cell i lies between cut i and cut i + 1. Limit l is the end of cluster l of
 * k, so limit 0 is always at the first cut and limit k at the last one.
 */
struct sqz_cells {
    const struct sqz_sorted *sorted;
    uint32_t k;
    size_t n_cuts;
    size_t *at;                                     /* [n_cuts] ascending, from 0 to sorted->n */
    struct sqz_moments *moments;                    /* [n_cuts] of all that lies before each cut */
    struct sqz_places places[SQZ_MAX_CODEBOOK + 1]; /* [k + 1] */
    uint32_t *place_memory;                         /* what the places point into */
};

/* The first grid, with every cut a place for every limit. false when memory is short; free in either case. */
bool sqz_cells_first(struct sqz_cells *cells, const struct sqz_sorted *sorted, uint32_t k);
void sqz_cells_free(struct sqz_cells *cells);

/*
 * Mark in divide[n_cuts] the cells that some limit may lie in and that hold
 * different weights; returns the number of weights in them, added up over the limits.
 */
size_t sqz_cells_mark(const struct sqz_cells *cells, bool *divide);

/* Refine the marked cells into about `parts` each, or into single weights; false when memory is short. */
bool sqz_cells_split(struct sqz_cells *cells, const bool *divide, size_t parts);

/* Do places i and i + 1 enclose a cell? */
static inline bool sqz_is_cell(const struct sqz_places *places, size_t i) {
    return i + 1 < places->n && places->cuts[i + 1] == places->cuts[i] + 1;
}

/* Are all weights of a cell equal? */
static inline bool sqz_cell_is_whole(const struct sqz_cells *cells, size_t cell) {
    return cells->sorted->values[cells->at[cell]] == cells->sorted->values[cells->at[cell + 1] - 1];
}

#endif
