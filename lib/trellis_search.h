/* trellis_search.h - the best levels of one column that obey a trellis: a Viterbi search. Private to compensate*.c. */
#ifndef SQZ_LIB_TRELLIS_SEARCH_H
#define SQZ_LIB_TRELLIS_SEARCH_H

#include "lib/rate_model.h"
#include "lib/trellis.h"

/*
 * Costs of the paths to each state, those of even and of odd states apart: even[u]
 * of state 2u, odd[u] of state 2u + 1.
 */
struct sqz_trellis_costs {
    _Alignas(32) float even[SQZ_TRELLIS_MAX_STATES / 2];
    _Alignas(32) float odd[SQZ_TRELLIS_MAX_STATES / 2];
};

/* Bit t of a row: state t was reached by an odd index. */
#define SQZ_TRELLIS_DECISION_WORDS (SQZ_TRELLIS_MAX_STATES / 32)

/*
 * One row for all states: `branch` is the cost of the best level by 2 * quantiser + parity of its
 * index. Of two paths into a state the cheaper one stays, the one by an even index when they cost the same.
 * Every version gives the same bits.
 */
typedef void sqz_trellis_step(struct sqz_trellis trellis, unsigned n_states, const struct sqz_trellis_costs *from,
                              const float branch[4], struct sqz_trellis_costs *to, uint32_t *decisions);

void sqz_trellis_step_scalar(struct sqz_trellis trellis, unsigned n_states, const struct sqz_trellis_costs *from,
                             const float branch[4], struct sqz_trellis_costs *to, uint32_t *decisions);

/* For processors that have AVX2, and at least 16 states. */
void sqz_trellis_step_avx2(struct sqz_trellis trellis, unsigned n_states, const struct sqz_trellis_costs *from,
                           const float branch[4], struct sqz_trellis_costs *to, uint32_t *decisions);

/* The fastest for this processor; SQZ_CPU=scalar in the environment keeps to the scalar one. */
sqz_trellis_step *sqz_trellis_step_for(unsigned n_states);

struct sqz_trellis_search {
    struct sqz_trellis trellis;
    unsigned n_states;
    sqz_trellis_step *step;
    double lambda;                                     /* price of a bit */
    const struct sqz_rate_model *rate;                 /* [2] by quantiser, of indices; not used when lambda is 0 */
    uint32_t (*decisions)[SQZ_TRELLIS_DECISION_WORDS]; /* working memory, [n_rows] */
    int16_t (*indices)[4];                             /* the same: best index by 2 * quantiser + parity */
};

/* What a column's search is given. Arrays are by row. */
struct sqz_trellis_column {
    size_t n_rows;
    const double *targets;
    const float *steps;
    double weight;    /* of a squared error */
    const bool *zero; /* levels that must be zero; NULL: none */
    unsigned start;   /* state at the first row */
    int end;          /* state wanted behind the last one; -1: any. Some path must lead there */
};

/*
 * Levels levels[n_rows] with the smallest sum of weight * (target - step * level)^2 + lambda * bits.
 * Returns the state behind the last row.
 */
unsigned sqz_trellis_search(const struct sqz_trellis_search *search, const struct sqz_trellis_column *column,
                            int16_t *levels);

#endif
