/* compensate_codebook_fit.h - centroids for weights that matter differently. Private to compensate_codebook.c. */
#ifndef SQZ_LIB_COMPENSATE_CODEBOOK_FIT_H
#define SQZ_LIB_COMPENSATE_CODEBOOK_FIT_H

#include "lib/codebook.h"
#include "lib/compensate_parts.h"

/* Centroids: ascending, distinct, finite, none of them zero. */
struct centroids {
    uint32_t n; /* 0 when every weight must be zero */
    float values[SQZ_MAX_CODEBOOK];
    double mean_square; /* weighted mean squared distance from the targets to their centroids */
};

/*
 * The k-means clustering of the targets that need not be zero, each weighted
 * by 1 / U_jj^2, what rounding it costs after compensation. Exact but for a histogram
 * of equal cells. zero: one more cluster is kept at zero. SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_centroids_fit(const struct sqz_compensator *compensator, uint32_t k, bool zero,
                                  struct centroids *out, struct sqz_error *err);

/*
 * Move the centroids to where the layer's output error is smallest for the
 * given levels (least squares over all weights together). They stay where they are
 * when the result would break their order. values[rows][n_inputs] is working
 * memory. SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_centroids_refit(const struct sqz_compensator *compensator, const int16_t *levels,
                                    struct centroids *centroids, float *values, struct sqz_error *err);

#endif
