/* test_kmeans_entropy.c - clusters that are good after entropy coding. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/kmeans.h"
#include "tests/unit/chain_model.h"

enum { N = 50000 };
static float values[N];

static double entropy(const struct sqz_clusters *clusters, size_t n) {
    double bits = 0;
    for (uint32_t i = 0; i < clusters->k; i++) {
        double share = (double)(clusters->at[i + 1] - clusters->at[i]) / (double)n;
        bits -= share * log2(share);
    }
    return bits;
}

static void cluster(uint32_t k, double rate_weight, struct sqz_sorted *sorted, struct sqz_clusters *out) {
    ck_assert_int_eq(sqz_sorted_build(values, N, sorted, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_kmeans_optimal(sorted, k, out, NULL), SQZ_OK);
    if (rate_weight > 0) sqz_kmeans_entropy(sorted, rate_weight, out);
}

/* At the same entropy, clusters that were chosen for it have a smaller error than the best plain k-means. */
START_TEST(beats_plain_kmeans_at_equal_entropy) {
    struct sqz_sorted sorted;
    struct sqz_clusters plain, constrained;
    fill_laplace(values, N, 0.02, 7);
    cluster(12, 0, &sorted, &plain);
    double plain_bits = entropy(&plain, N), plain_cost = sqz_clusters_cost(&sorted, &plain);
    sqz_sorted_free(&sorted);
    double low = 0, high = 1000;
    for (int step = 0; step < 40; step++) {
        double middle = (low + high) / 2;
        cluster(64, middle, &sorted, &constrained);
        if (entropy(&constrained, N) > plain_bits) low = middle; else high = middle;
        if (step < 39) sqz_sorted_free(&sorted);
    }
    ck_assert_msg(entropy(&constrained, N) <= plain_bits + 0.02, "%g bits", entropy(&constrained, N));
    double cost = sqz_clusters_cost(&sorted, &constrained);
    ck_assert_msg(cost < 0.8 * plain_cost, "%g against %g", cost, plain_cost);
    sqz_sorted_free(&sorted);
}
END_TEST

/* More weight on the rate never gives more bits, and the limits stay in order with a member in each cluster. */
START_TEST(rate_falls_with_its_weight) {
    static const double weights[] = {0.1, 1, 1.4, 5, 30, 1000, 1e6};
    double before = INFINITY;
    fill_laplace(values, N, 0.02, 8);
    for (size_t i = 0; i < sizeof weights / sizeof *weights; i++) {
        struct sqz_sorted sorted;
        struct sqz_clusters clusters;
        cluster(32, weights[i], &sorted, &clusters);
        ck_assert_uint_ge(clusters.k, 1);
        ck_assert_uint_eq(clusters.at[0], 0);
        ck_assert_uint_eq(clusters.at[clusters.k], N);
        for (uint32_t c = 0; c < clusters.k; c++) ck_assert_uint_lt(clusters.at[c], clusters.at[c + 1]);
        ck_assert(entropy(&clusters, N) <= before);
        before = entropy(&clusters, N);
        sqz_sorted_free(&sorted);
    }
    ck_assert(before == 0);
}
END_TEST

/* Two clusters with one obvious answer: far apart, so no exchange rate of order one merges them. */
START_TEST(separate_values_stay_separate) {
    struct sqz_sorted sorted;
    struct sqz_clusters clusters;
    for (size_t i = 0; i < N; i++) values[i] = (i % 10 ? 1.0f : -3.0f) + (float)(i % 7) * 1e-3f;
    cluster(2, 1.4, &sorted, &clusters);
    ck_assert_uint_eq(clusters.k, 2);
    ck_assert_uint_eq(clusters.at[1], N / 10);
    sqz_sorted_free(&sorted);
}
END_TEST

Suite *test_kmeans_entropy(void) {
    Suite *suite = suite_create("kmeans_entropy");
    TCase *tc = tcase_create("kmeans_entropy");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, beats_plain_kmeans_at_equal_entropy);
    tcase_add_test(tc, rate_falls_with_its_weight);
    tcase_add_test(tc, separate_values_stay_separate);
    suite_add_tcase(suite, tc);
    return suite;
}
