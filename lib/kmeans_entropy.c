/*
 * kmeans_entropy.c - entropy-constrained k-means: clusters that are good after entropy coding.
 *
 * Plain k-means spreads its centroids so that each cluster costs about the same error, which makes the indices nearly
 * equally likely and so hard to compress. Chou, Lookabaugh and Gray (IEEE Trans. ASSP 37, 1989) assign a weight x to
 * the cluster that minimises (x - c)^2 + lambda * bits(c) instead, where bits(c) = -log2(share of the weights in c),
 * and iterate as Lloyd does. In one dimension these costs are parabolas of equal width, so the clusters are the
 * intervals of their lower envelope; a centroid that never is lowest has priced itself out and is dropped.
 */
#include <math.h>
#include <string.h>

#include "lib/kmeans.h"

/* Shares settle geometrically; SqueezeNet's layers change by less than 0.01 bits per weight after 30 rounds. */
#define MOST_ROUNDS 100

/* Where the parabola of cluster b becomes lower than that of a, for centres a < b. */
static double crossing(const double *centre, const double *bits, double lambda, uint32_t a, uint32_t b) {
    return (centre[a] + centre[b]) / 2 + lambda * (bits[b] - bits[a]) / (2 * (centre[b] - centre[a]));
}

/* Lower envelope of k parabolas by ascending centre: the kept ones into kept[], their left ends into from[]. */
static uint32_t lower_envelope(const double *centre, const double *bits, double lambda, uint32_t k, uint32_t *kept,
                               double *from) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < k; i++) {
        double start = -INFINITY;
        while (n > 0) {
            start = crossing(centre, bits, lambda, kept[n - 1], i);
            if (start > from[n - 1]) break;
            n--;
            start = -INFINITY;
        }
        kept[n] = i;
        from[n++] = start;
    }
    return n;
}

static void measure(const struct sqz_sorted *sorted, const struct sqz_clusters *clusters, double *centre,
                    double *bits) {
    struct sqz_moments moments[SQZ_MAX_CODEBOOK + 1];
    sqz_sorted_moments_at(sorted, clusters->at, clusters->k + 1, moments);
    for (uint32_t i = 0; i < clusters->k; i++) {
        struct sqz_interval v =
            sqz_moments_between(&moments[i], &moments[i + 1], clusters->at[i + 1] - clusters->at[i]);
        centre[i] = sorted->shift + v.sum / v.n;
        bits[i] = log2((double)sorted->n / v.n);
    }
}

/* Cut the weights at the envelope's limits and drop the clusters that hold none. */
static void cut(const struct sqz_sorted *sorted, const double *from, uint32_t n, struct sqz_clusters *clusters) {
    clusters->k = 0;
    clusters->at[0] = 0;
    for (uint32_t i = 1; i <= n; i++) {
        size_t begin = clusters->at[clusters->k];
        size_t end = i == n ? sorted->n : sqz_sorted_above(sorted, begin, sorted->n, from[i]);
        if (end > begin) clusters->at[++clusters->k] = end;
    }
}

void sqz_kmeans_entropy(const struct sqz_sorted *sorted, double rate_weight, struct sqz_clusters *clusters) {
    double centre[SQZ_MAX_CODEBOOK], bits[SQZ_MAX_CODEBOOK], from[SQZ_MAX_CODEBOOK];
    uint32_t kept[SQZ_MAX_CODEBOOK];
    double lambda = rate_weight * sqz_clusters_cost(sorted, clusters) / (double)sorted->n;
    for (int round = 0; round < MOST_ROUNDS; round++) {
        struct sqz_clusters before = *clusters;
        measure(sorted, clusters, centre, bits);
        uint32_t n = lower_envelope(centre, bits, lambda, clusters->k, kept, from);
        cut(sorted, from, n, clusters);
        if (before.k == clusters->k && memcmp(before.at, clusters->at, (before.k + 1) * sizeof *before.at) == 0) break;
    }
}
