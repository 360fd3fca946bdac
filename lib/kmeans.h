/* kmeans.h - one-dimensional k-means on sorted weights: Lloyd's iteration and the exact optimum. */
#ifndef SQZ_LIB_KMEANS_H
#define SQZ_LIB_KMEANS_H

#include "lib/codebook.h"
#include "lib/quantize.h"
#include "lib/sorted.h"

/*
 * In one dimension a cluster is an interval: cluster i holds
 * values[at[i] .. at[i + 1]), with at[0] = 0 and at[k] = n. Equal values are
 * never in two clusters, and no cluster is empty.
 */
struct sqz_clusters {
    uint32_t k;
    size_t at[SQZ_MAX_CODEBOOK + 1];
};

/* Both methods need more than k distinct values and 2 <= k <= SQZ_MAX_CODEBOOK. */

/*
 * Lloyd's iteration. Cluster limits are midpoints of neighbouring centroids
 * and sums come from prefixes, so an iteration costs O(k log n). A cluster
 * that runs empty is seeded again by splitting the one with the largest
 * error. max_iterations 0 means until nothing moves, at most 1000.
 */
void sqz_kmeans_lloyd(const struct sqz_sorted *sorted, uint32_t k, enum sqz_kmeans_init init, uint64_t seed,
                      uint32_t max_iterations, struct sqz_clusters *out);

/*
 * The clustering with the smallest sum of squared errors; see kmeans_optimal.c
 * for the method and for what "exact" means in floating point.
 * SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_kmeans_optimal(const struct sqz_sorted *sorted, uint32_t k, struct sqz_clusters *out,
                                   struct sqz_error *err);

/*
 * Continue from given non-empty clusters towards a codebook that is good after entropy coding: see kmeans_entropy.c.
 * lambda, the squared error that one bit of a weight is worth, is rate_weight times the mean squared error of the
 * given clusters; 2 ln 2 = 1.39 is the exchange rate of a fine quantiser. Some clusters may disappear: clusters->k
 * shrinks, never below 1.
 */
void sqz_kmeans_entropy(const struct sqz_sorted *sorted, double rate_weight, struct sqz_clusters *clusters);

/* Iterate from given clusters, some of which may be empty, until nothing moves or max_iterations were done. */
void sqz_clusters_refine(const struct sqz_sorted *sorted, struct sqz_clusters *clusters, uint32_t max_iterations);

/* Drop empty clusters and split the one with the largest error instead, until there are k again. */
void sqz_clusters_repair(const struct sqz_sorted *sorted, struct sqz_clusters *clusters);

/* Sum of squared distances from each weight to the mean of its cluster. */
double sqz_clusters_cost(const struct sqz_sorted *sorted, const struct sqz_clusters *clusters);

/*
 * The smallest member of each cluster into lower[k] and its centroid, the mean
 * rounded to float32, into codebook[k]: ascending and distinct. A mean of
 * exactly zero (members of both signs) would prune the whole cluster, so the
 * member of smallest magnitude takes its place (the positive one of two).
 */
void sqz_clusters_codebook(const struct sqz_sorted *sorted, const struct sqz_clusters *clusters, float *lower,
                           float *codebook);

#endif
