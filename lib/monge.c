/* monge.c - row minima of the dynamic programme of one-dimensional k-means. */
#include "lib/monge.h"

#include <math.h>

struct minima {
    const struct sqz_cuts *rows, *candidates;
    const double *before;
    double *cost;
    uint32_t *choice;
};

/* Cost of the weights between cut i of a and the later cut j of b. */
static inline double cluster_cost(const struct sqz_cuts *a, size_t i, const struct sqz_cuts *b, size_t j) {
    double n = b->at[j] - a->at[i];
    double sum = (b->sum[j] - a->sum[i]) + (b->sum_low[j] - a->sum_low[i]);
    double square = (b->square[j] - a->square[i]) + (b->square_low[j] - a->square_low[i]);
    double cost = square - sum * sum / n;
    return cost > 0 ? cost : 0;
}

/* Best candidate in [low, high] for one row; `low` when none is on the right side of it. */
static size_t best_forward(const struct minima *m, size_t row, size_t low, size_t high) {
    const struct sqz_cuts *c = m->candidates;
    double at = m->rows->at[row], best = INFINITY;
    size_t best_index = low, i = low;
    for (; i <= high && c->at[i] < at; i++) {
        double cost = m->before[i] + cluster_cost(c, i, m->rows, row);
        if (cost < best) best = cost, best_index = i;
    }
    if (i <= high && c->at[i] == at && m->before[i] < best) best = m->before[i], best_index = i;
    m->cost[row] = best;
    return best_index;
}

static size_t best_backward(const struct minima *m, size_t row, size_t low, size_t high) {
    const struct sqz_cuts *c = m->candidates;
    double at = m->rows->at[row], best = INFINITY;
    size_t best_index = high, i = high + 1;
    for (; i > low && c->at[i - 1] > at; i--) {
        double cost = m->before[i - 1] + cluster_cost(m->rows, row, c, i - 1);
        if (cost < best) best = cost, best_index = i - 1;
    }
    if (i > low && c->at[i - 1] == at && m->before[i - 1] < best) best = m->before[i - 1], best_index = i - 1;
    m->cost[row] = best;
    return best_index;
}

/* Rows [begin, end), whose best candidates lie in [low, high]; as deep as log2 of the rows. */
static void divide(const struct minima *m, bool forward, size_t begin, size_t end, size_t low, size_t high) {
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        size_t best = forward ? best_forward(m, middle, low, high) : best_backward(m, middle, low, high);
        if (m->choice) m->choice[middle] = (uint32_t)best;
        divide(m, forward, begin, middle, low, best);
        begin = middle + 1;
        low = best;
    }
}

void sqz_monge_minima(const struct sqz_cuts *rows, const struct sqz_cuts *candidates, const double *before,
                      bool forward, double *cost, uint32_t *choice) {
    struct minima m = {rows, candidates, before, cost, choice};
    if (rows->n > 0 && candidates->n > 0) divide(&m, forward, 0, rows->n, 0, candidates->n - 1);
}
