/* kmeans.c - Lloyd's iteration on sorted weights, its initialisations, and centroids. */
#include "lib/kmeans.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "lib/random.h"

/* Documented bound on "until nothing moves"; SqueezeNet's and AlexNet's layers settle within a few hundred. */
#define MOST_ITERATIONS 1000

static struct sqz_interval interval(const struct sqz_sorted *sorted, size_t begin, size_t end) {
    struct sqz_moments a = sqz_sorted_moments(sorted, begin), b = sqz_sorted_moments(sorted, end);
    return sqz_moments_between(&a, &b, end - begin);
}

/* Mean of a non-empty interval, held between its smallest and largest member against rounding. */
static double mean_of(const struct sqz_sorted *sorted, struct sqz_interval v, size_t begin, size_t end) {
    double m = sorted->shift + v.sum / v.n, low = sorted->values[begin], high = sorted->values[end - 1];
    return m < low ? low : m > high ? high : m;
}

static double mean(const struct sqz_sorted *sorted, size_t begin, size_t end) {
    return mean_of(sorted, interval(sorted, begin, end), begin, end);
}

double sqz_clusters_cost(const struct sqz_sorted *sorted, const struct sqz_clusters *clusters) {
    double cost = 0;
    for (uint32_t i = 0; i < clusters->k; i++)
        cost += sqz_interval_cost(interval(sorted, clusters->at[i], clusters->at[i + 1]));
    return cost;
}

/* Where to cut an interval with at least two distinct values: behind its mean, with members on both sides. */
static size_t split_point(const struct sqz_sorted *sorted, size_t begin, size_t end) {
    size_t cut = sqz_sorted_above(sorted, begin, end, mean(sorted, begin, end));
    if (cut == end) cut = sqz_sorted_above(sorted, begin, end, nextafter(sorted->values[end - 1], -INFINITY));
    return cut;
}

void sqz_clusters_repair(const struct sqz_sorted *sorted, struct sqz_clusters *clusters) {
    uint32_t kept = 0;
    for (uint32_t i = 0; i < clusters->k; i++)
        if (clusters->at[i] < clusters->at[i + 1]) clusters->at[++kept] = clusters->at[i + 1];
    if (kept == clusters->k) return;
    double cost[SQZ_MAX_CODEBOOK];
    for (uint32_t i = 0; i < kept; i++)
        cost[i] = sqz_interval_cost(interval(sorted, clusters->at[i], clusters->at[i + 1]));
    for (; kept < clusters->k; kept++) {
        uint32_t worst = kept;
        for (uint32_t i = 0; i < kept; i++) {
            bool divisible = sorted->values[clusters->at[i]] != sorted->values[clusters->at[i + 1] - 1];
            if (divisible && (worst == kept || cost[i] > cost[worst])) worst = i;
        }
        assert(worst < kept); /* more than k distinct values */
        size_t cut = split_point(sorted, clusters->at[worst], clusters->at[worst + 1]);
        memmove(&clusters->at[worst + 2], &clusters->at[worst + 1], (kept - worst) * sizeof *clusters->at);
        memmove(&cost[worst + 1], &cost[worst], (kept - worst) * sizeof *cost);
        clusters->at[worst + 1] = cut;
        for (uint32_t i = worst; i <= worst + 1; i++)
            cost[i] = sqz_interval_cost(interval(sorted, clusters->at[i], clusters->at[i + 1]));
    }
}

/* Give every weight to the nearest of k ascending centres; a tie goes to the lower one. */
static void assign(const struct sqz_sorted *sorted, const double *centres, struct sqz_clusters *clusters) {
    clusters->at[0] = 0;
    for (uint32_t i = 1; i < clusters->k; i++)
        clusters->at[i] = sqz_sorted_above(sorted, clusters->at[i - 1], sorted->n, centres[i - 1] / 2 + centres[i] / 2);
    clusters->at[clusters->k] = sorted->n;
}

void sqz_clusters_refine(const struct sqz_sorted *sorted, struct sqz_clusters *clusters, uint32_t max_iterations) {
    sqz_clusters_repair(sorted, clusters);
    for (uint32_t iteration = 0; iteration < max_iterations; iteration++) {
        struct sqz_clusters before = *clusters;
        struct sqz_moments moments[SQZ_MAX_CODEBOOK + 1];
        double centres[SQZ_MAX_CODEBOOK];
        sqz_sorted_moments_at(sorted, before.at, before.k + 1, moments);
        for (uint32_t i = 0; i < before.k; i++) {
            size_t begin = before.at[i], end = before.at[i + 1];
            centres[i] = mean_of(sorted, sqz_moments_between(&moments[i], &moments[i + 1], end - begin), begin, end);
        }
        assign(sorted, centres, clusters);
        sqz_clusters_repair(sorted, clusters);
        if (memcmp(before.at, clusters->at, (clusters->k + 1) * sizeof *clusters->at) == 0) break;
    }
}

/* ---- initialisation ------------------------------------------------------ */

static void init_linear(const struct sqz_sorted *sorted, uint32_t k, double *centres) {
    double low = sorted->values[0], high = sorted->values[sorted->n - 1];
    for (uint32_t i = 0; i < k; i++) centres[i] = low + (high - low) * i / (k - 1);
}

static void init_density(const struct sqz_sorted *sorted, uint32_t k, double *centres) {
    for (uint32_t i = 0; i < k; i++) centres[i] = sorted->values[(size_t)(((double)i + 0.5) / k * (double)sorted->n)];
}

/* Sum of squared distances of an interval from one point. */
static double distance_from(const struct sqz_sorted *sorted, size_t begin, size_t end, double centre) {
    struct sqz_interval v = interval(sorted, begin, end);
    double c = centre - sorted->shift, sum = v.square - 2 * c * v.sum + v.n * c * c;
    return sum > 0 ? sum : 0;
}

/* The weight at which the running sum of squared distances from the centre exceeds `target`. */
static double draw_within(const struct sqz_sorted *sorted, size_t begin, size_t end, double centre, double target) {
    size_t low = begin, high = end - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (distance_from(sorted, begin, middle + 1, centre) > target)
            high = middle;
        else
            low = middle + 1;
    }
    return sorted->values[low];
}

/* k-means++ on its way: ascending centres, the weights nearest to each, and their squared distances. */
struct seeding {
    uint32_t n;
    double centres[SQZ_MAX_CODEBOOK];
    size_t at[SQZ_MAX_CODEBOOK + 1];
    double distance[SQZ_MAX_CODEBOOK];
};

/* Only the new centre and its two neighbours change. */
static void add_centre(const struct sqz_sorted *sorted, struct seeding *s, double centre) {
    uint32_t place = s->n;
    for (; place > 0 && s->centres[place - 1] > centre; place--) {
        s->centres[place] = s->centres[place - 1];
        s->distance[place] = s->distance[place - 1];
        s->at[place + 1] = s->at[place];
    }
    s->centres[place] = centre;
    s->n++;
    s->at[0] = 0;
    s->at[s->n] = sorted->n;
    for (uint32_t i = place ? place : 1; i <= place + 1 && i < s->n; i++)
        s->at[i] = sqz_sorted_above(sorted, 0, sorted->n, s->centres[i - 1] / 2 + s->centres[i] / 2);
    for (uint32_t i = place ? place - 1 : 0; i <= place + 1 && i < s->n; i++)
        s->distance[i] = s->at[i] < s->at[i + 1] ? distance_from(sorted, s->at[i], s->at[i + 1], s->centres[i]) : 0;
}

/* A weight drawn with probability in proportion to its squared distance from the nearest of the centres. */
static double draw_far(const struct sqz_sorted *sorted, const struct seeding *s, double unit) {
    double total = 0;
    for (uint32_t i = 0; i < s->n; i++) total += s->distance[i];
    double target = unit * total;
    uint32_t last = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        if (s->distance[i] == 0) continue;
        last = i;
        if (target < s->distance[i]) break;
        target -= s->distance[i];
    }
    if (s->distance[last] == 0) return s->centres[last];
    return draw_within(sorted, s->at[last], s->at[last + 1], s->centres[last], target);
}

static void init_kmeanspp(const struct sqz_sorted *sorted, uint32_t k, uint64_t seed, double *centres) {
    struct sqz_random random = sqz_random_seeded(seed);
    struct seeding s = {.n = 0};
    add_centre(sorted, &s, sorted->values[(size_t)(sqz_random_unit(&random) * (double)sorted->n)]);
    while (s.n < k) add_centre(sorted, &s, draw_far(sorted, &s, sqz_random_unit(&random)));
    memcpy(centres, s.centres, k * sizeof *centres);
}

void sqz_kmeans_lloyd(const struct sqz_sorted *sorted, uint32_t k, enum sqz_kmeans_init init, uint64_t seed,
                      uint32_t max_iterations, struct sqz_clusters *out) {
    double centres[SQZ_MAX_CODEBOOK];
    switch (init) {
    case SQZ_INIT_LINEAR:
        init_linear(sorted, k, centres);
        break;
    case SQZ_INIT_DENSITY:
        init_density(sorted, k, centres);
        break;
    case SQZ_INIT_KMEANSPP:
        init_kmeanspp(sorted, k, seed, centres);
        break;
    }
    out->k = k;
    assign(sorted, centres, out);
    sqz_clusters_refine(sorted, out, max_iterations ? max_iterations : MOST_ITERATIONS);
}

/* ---- centroids ----------------------------------------------------------- */

static float smallest_magnitude(const struct sqz_sorted *sorted, size_t begin, size_t end) {
    size_t positive = sqz_sorted_above(sorted, begin, end, 0);
    if (positive == begin) return sorted->values[begin];
    if (positive == end) return sorted->values[end - 1];
    float below = sorted->values[positive - 1], above = sorted->values[positive];
    return above <= -below ? above : below;
}

void sqz_clusters_codebook(const struct sqz_sorted *sorted, const struct sqz_clusters *clusters, float *lower,
                           float *codebook) {
    for (uint32_t i = 0; i < clusters->k; i++) {
        size_t begin = clusters->at[i], end = clusters->at[i + 1];
        lower[i] = sorted->values[begin];
        codebook[i] = (float)mean(sorted, begin, end);
        if (codebook[i] == 0) codebook[i] = smallest_magnitude(sorted, begin, end);
    }
}
