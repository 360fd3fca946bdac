/* monge.h - row minima of the dynamic programme of one-dimensional k-means. */
#ifndef SQZ_LIB_MONGE_H
#define SQZ_LIB_MONGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Ascending positions among sorted weights with the moments (sorted.h) of what lies before each. */
struct sqz_cuts {
    size_t n;
    double *at;
    double *sum, *sum_low, *square, *square_low;
};

/*
 * Forward: cost[j] = min over candidates i with at_i <= at_j of before[i] + c(at_i, at_j), where c is what the
 * weights between two cuts cost as one cluster (0 when there are none). Backward: the same with at_i >= at_j and
 * c(at_j, at_i). Infinite where no candidate is left. choice[j] (may be NULL) is the best candidate.
 *
 * c satisfies the concave Monge condition c(a,c) + c(b,d) <= c(a,d) + c(b,c) for a <= b <= c <= d, so the best
 * candidate never moves left when j moves right, and divide and conquer needs O((rows + candidates) log rows)
 * evaluations (Grønlund et al., arXiv 1701.07204, section 2.2).
 */
void sqz_monge_minima(const struct sqz_cuts *rows, const struct sqz_cuts *candidates, const double *before,
                      bool forward, double *cost, uint32_t *choice);

#endif
