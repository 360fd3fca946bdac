/* trellis_search.c - the best levels of one column that obey a trellis: a Viterbi search. */
#include "lib/trellis_search.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- one row ------------------------------------------------------------------------- */

/*
 * State t is reached from two others. As `input` leaves the highest bit alone and
 * `feedback` sets it, even states 2u lead to u (XOR input) in the lower half, and odd
 * ones 2u + 1 to u XOR feedback (XOR input) in the upper half.
 */
void sqz_trellis_step_scalar(struct sqz_trellis trellis, unsigned n_states, const struct sqz_trellis_costs *from,
                             const float branch[4], struct sqz_trellis_costs *to, uint32_t *decisions) {
    const unsigned half = n_states / 2, feedback = trellis.feedback & (half - 1);
    memset(decisions, 0, SQZ_TRELLIS_DECISION_WORDS * sizeof *decisions);
    for (unsigned t = 0; t < n_states; t++) {
        bool upper = t >= half;
        const float *costs = upper ? from->odd : from->even, *own = upper ? branch + 2 : branch;
        unsigned u = upper ? (t - half) ^ feedback : t;
        float even = costs[u] + own[0], odd = costs[u ^ trellis.input] + own[1];
        decisions[t / 32] |= (uint32_t)(odd < even) << t % 32;
        (t & 1 ? to->odd : to->even)[t / 2] = odd < even ? odd : even;
    }
}

sqz_trellis_step *sqz_trellis_step_for(unsigned n_states) {
#if defined(__x86_64__)
    const char *wanted = getenv("SQZ_CPU");
    if (n_states >= 16 && __builtin_cpu_supports("avx2") && !(wanted && strcmp(wanted, "scalar") == 0))
        return sqz_trellis_step_avx2;
#endif
    (void)n_states;
    return sqz_trellis_step_scalar;
}

/* ---- branches ------------------------------------------------------------------------ */

/* Take `index` when it costs less. */
static void consider(const struct sqz_trellis_search *search, double x, double weight, unsigned quantiser, int index,
                     double *cost, int *best) {
    double error = x - sqz_trellis_level(quantiser, index), here = error * error * weight;
    if (search->lambda > 0) here += search->lambda * (double)sqz_rate_bits(&search->rate[quantiser], index);
    if (here < *cost) {
        *cost = here;
        *best = index;
    }
}

/* The best of the indices of one parity next to x steps, x >= 0, and of the smallest one. */
static int choose_index(const struct sqz_trellis_search *search, double x, double weight, unsigned quantiser,
                        unsigned parity, float *cost) {
    double place = ((x + quantiser) / 2 - parity) / 2, last = (SQZ_TRELLIS_MAX_INDEX - 1 - (int)parity) / 2;
    int least = (int)parity, best = least;
    int high = least + 2 * (int)(place < 0 ? 0 : place < last ? place + 1 : last);
    double best_cost = INFINITY;
    consider(search, x, weight, quantiser, high, &best_cost, &best);
    if (high > least) consider(search, x, weight, quantiser, high - 2, &best_cost, &best);
    if (high > least + 2) consider(search, x, weight, quantiser, least, &best_cost, &best);
    *cost = (float)best_cost;
    return best;
}

static void find_branches(const struct sqz_trellis_search *search, const struct sqz_trellis_column *column, size_t row,
                          float branch[4]) {
    double step = (double)column->steps[row], x = column->targets[row] / step;
    int sign = x < 0 ? -1 : 1;
    for (unsigned i = 0; i < 4; i++) {
        int index = choose_index(search, fabs(x), column->weight * step * step, i / 2, i % 2, &branch[i]);
        search->indices[row][i] = (int16_t)(sign * index);
    }
}

/* Even a weight that must be zero takes bits, and more of them with one quantiser than with the other. */
static void only_zero(const struct sqz_trellis_search *search, size_t row, float branch[4]) {
    for (unsigned i = 0; i < 4; i++) {
        search->indices[row][i] = 0;
        branch[i] = i % 2 ? INFINITY : 0;
        if (i % 2 == 0 && search->lambda > 0)
            branch[i] = (float)(search->lambda * (double)sqz_rate_bits(&search->rate[i / 2], 0));
    }
}

/* ---- paths --------------------------------------------------------------------------- */

/* Rows after which the smallest cost is taken from all, so that they stay small numbers. */
#define RENORMALISE_ROWS 16

static float *cost_of(struct sqz_trellis_costs *costs, unsigned state) {
    return (state & 1 ? costs->odd : costs->even) + state / 2;
}

static unsigned cheapest(struct sqz_trellis_costs *costs, unsigned n_states) {
    unsigned best = 0;
    for (unsigned s = 1; s < n_states; s++)
        if (*cost_of(costs, s) < *cost_of(costs, best)) best = s;
    return best;
}

static void renormalise(struct sqz_trellis_costs *costs, unsigned n_states) {
    float least = *cost_of(costs, cheapest(costs, n_states));
    for (unsigned s = 0; s < n_states; s++) *cost_of(costs, s) -= least;
}

/* The state before `state` when the index was of this parity. */
static unsigned state_before(const struct sqz_trellis_search *search, unsigned state, unsigned parity) {
    const unsigned half = search->n_states / 2, upper = state >= half;
    unsigned u = state ^ (upper ? search->trellis.feedback : 0) ^ (parity ? search->trellis.input : 0);
    return 2 * u + upper;
}

unsigned sqz_trellis_search(const struct sqz_trellis_search *search, const struct sqz_trellis_column *column,
                            int16_t *levels) {
    struct sqz_trellis_costs costs[2];
    for (unsigned s = 0; s < search->n_states; s++) *cost_of(&costs[0], s) = s == column->start ? 0 : INFINITY;
    for (size_t row = 0; row < column->n_rows; row++) {
        float branch[4];
        if (column->zero && column->zero[row])
            only_zero(search, row, branch);
        else
            find_branches(search, column, row, branch);
        struct sqz_trellis_costs *from = &costs[row % 2], *to = &costs[1 - row % 2];
        search->step(search->trellis, search->n_states, from, branch, to, search->decisions[row]);
        if (row % RENORMALISE_ROWS == RENORMALISE_ROWS - 1) renormalise(to, search->n_states);
    }
    unsigned end = column->end < 0 ? cheapest(&costs[column->n_rows % 2], search->n_states) : (unsigned)column->end;
    unsigned state = end;
    for (size_t row = column->n_rows; row-- > 0;) {
        unsigned parity = search->decisions[row][state / 32] >> state % 32 & 1;
        state = state_before(search, state, parity);
        levels[row] = (int16_t)sqz_trellis_level(state, search->indices[row][2 * (state & 1) + parity]);
    }
    return end;
}
