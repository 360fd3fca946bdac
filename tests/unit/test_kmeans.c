/* test_kmeans.c - sorting, prefix sums, Lloyd's iteration and the exact one-dimensional k-means. */
#include <float.h>
#include <stdlib.h>

#include "lib/kmeans.h"
#include "lib/monge.h"
#include "lib/parallel.h"
#include "tests/unit/chain_model.h"

static int compare_floats(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void build(const float *values, size_t n, struct sqz_sorted *sorted) {
    ck_assert_int_eq(sqz_sorted_build(values, n, sorted, NULL), SQZ_OK);
}

/* ---- sorting ------------------------------------------------------------- */

static void assert_sorts(const float *values, size_t n) {
    struct sqz_sorted sorted;
    float *expected = malloc(n * sizeof *expected + 1);
    size_t n_expected = 0;
    for (size_t i = 0; i < n; i++)
        if (values[i] != 0) expected[n_expected++] = values[i];
    qsort(expected, n_expected, sizeof *expected, compare_floats);
    for (int threads = 1; threads <= 3; threads += 2) {
        sqz_set_threads(threads);
        build(values, n, &sorted);
        ck_assert_uint_eq(sorted.n, n_expected);
        ck_assert_mem_eq(sorted.values, expected, n_expected * sizeof *expected);
        sqz_sorted_free(&sorted);
    }
    sqz_set_threads(0);
    free(expected);
}

START_TEST(sorts_every_kind_of_layer) {
    enum { N = 140000 };
    static float values[N];
    static const size_t sizes[] = {0, 1, 2, 24, 25, 1000, 65537, N};
    struct sqz_random random = sqz_random_seeded(1);
    for (int kind = 0; kind < 5; kind++) {
        fill_laplace(values, N, 0.01, 1);
        for (size_t i = 0; i < N; i++) {
            uint64_t bits = sqz_random_next(&random);
            if (kind == 1) values[i] = 1 + (float)(bits % 65536) * 0x1p-23f; /* one bucket, few repetitions */
            if (kind == 2) values[i] = bits % 3 ? -0.25f : 0;                /* one bucket, one value */
            if (kind == 3) values[i] = ldexpf((float)(bits % 1000) - 500, (int)(bits >> 60) * 18 - 149);
            if (kind == 4) values[i] = -(float)(bits % 100000);
        }
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) assert_sorts(values, sizes[s]);
    }
}
END_TEST

/* A prefix keeps the digits of small weights behind large ones. */
START_TEST(moments_are_exact_next_to_outliers) {
    enum { N = 2000 };
    static float values[N];
    fill_laplace(values, N, 0.01, 4);
    values[5] = -1e7f;
    values[6] = 3e6f;
    struct sqz_sorted sorted;
    build(values, N, &sorted);
    for (size_t begin = 1; begin + 300 < N; begin += 97) {
        size_t end = begin + 1 + begin % 299;
        struct sqz_moments a = sqz_sorted_moments(&sorted, begin), b = sqz_sorted_moments(&sorted, end);
        struct sqz_interval v = sqz_moments_between(&a, &b, end - begin);
        long double mean = 0, cost = 0;
        for (size_t i = begin; i < end; i++) mean += (long double)sorted.values[i] / (long double)(end - begin);
        for (size_t i = begin; i < end; i++) cost += (sorted.values[i] - mean) * (sorted.values[i] - mean);
        ck_assert(fabsl((long double)(v.sum / v.n) + sorted.shift - mean) < 1e-15L);
        /* The rounding of squares of this interval, and of the low part of prefixes that begin with 1e14. */
        ck_assert(fabsl((long double)sqz_interval_cost(v) - cost) <= 1e-15L * (long double)v.square + 1e-14L);
    }
    ck_assert_uint_eq(sqz_sorted_above(&sorted, 0, N, 1e6), N - 1);
    ck_assert_uint_eq(sqz_sorted_above(&sorted, 0, N, 3e6), N);
    ck_assert_uint_eq(sqz_sorted_above(&sorted, 0, N, -1e8), 0);
    sqz_sorted_free(&sorted);
}
END_TEST

/* ---- clusterings ------------------------------------------------------------ */

static long double true_cost(const float *values, const struct sqz_clusters *clusters) {
    long double total = 0;
    for (uint32_t c = 0; c < clusters->k; c++) {
        size_t begin = clusters->at[c], end = clusters->at[c + 1];
        long double mean = 0;
        for (size_t i = begin; i < end; i++) mean += values[i];
        mean /= (long double)(end - begin);
        for (size_t i = begin; i < end; i++) total += (values[i] - mean) * (values[i] - mean);
    }
    return total;
}

/* Every promise of struct sqz_clusters. */
static void assert_clusters(const struct sqz_sorted *sorted, const struct sqz_clusters *clusters, uint32_t k) {
    float lower[SQZ_MAX_CODEBOOK], codebook[SQZ_MAX_CODEBOOK];
    ck_assert_uint_eq(clusters->k, k);
    ck_assert_uint_eq(clusters->at[0], 0);
    ck_assert_uint_eq(clusters->at[k], sorted->n);
    sqz_clusters_codebook(sorted, clusters, lower, codebook);
    for (uint32_t c = 0; c < k; c++) {
        ck_assert_uint_lt(clusters->at[c], clusters->at[c + 1]);
        ck_assert(c == 0 || sorted->values[clusters->at[c] - 1] < sorted->values[clusters->at[c]]);
        ck_assert(isfinite(codebook[c]) && codebook[c] != 0);
        ck_assert(codebook[c] >= sorted->values[clusters->at[c]]);
        ck_assert(codebook[c] <= sorted->values[clusters->at[c + 1] - 1]);
        ck_assert(c == 0 || codebook[c - 1] < codebook[c]);
        ck_assert(lower[c] == sorted->values[clusters->at[c]]);
    }
}

/* The definition: O(k n^2), in long double, with costs that are added up point by point. */
static long double brute_force(const float *values, size_t n, uint32_t k) {
    long double *before = malloc((n + 1) * sizeof *before), *row = malloc((n + 1) * sizeof *row);
    for (size_t j = 0; j <= n; j++) before[j] = j ? (long double)INFINITY : 0;
    for (uint32_t c = 0; c < k; c++) {
        for (size_t j = 0; j <= n; j++) {
            long double mean = 0, cost = 0;
            row[j] = before[j];
            for (size_t i = j; i > 0; i--) {
                long double distance = values[i - 1] - mean;
                mean += distance / (long double)(j - i + 1);
                cost += distance * (values[i - 1] - mean);
                if (before[i - 1] + cost < row[j]) row[j] = before[i - 1] + cost;
            }
        }
        memcpy(before, row, (n + 1) * sizeof *row);
    }
    long double best = before[n];
    free(before);
    free(row);
    return best;
}

static void fill_kind(float *values, size_t n, int kind, struct sqz_random *random) {
    for (size_t i = 0; i < n; i++) {
        double u = sqz_random_unit(random) - 0.5;
        switch (kind) {
        case 0:
            values[i] = (float)u;
            break;
        case 1:
            values[i] = (float)(int)(u * 40);
            break; /* ties */
        case 2:
            values[i] = (float)((u < 0 ? 1 : -1) * log1p(-2 * fabs(u)));
            break; /* Laplace */
        case 3:
            values[i] = (float)exp(u * 60);
            break; /* 26 decades */
        case 4:
            values[i] = (float)(u * 0.01 + (double)(i % 7) * 3);
            break; /* far groups */
        case 5:
            values[i] = i < 2 ? (i ? 1e7f : -1e6f) : (float)(u * 0.01);
            break; /* outliers */
        case 6:
            values[i] = 1 + (float)(int)(u * 100) * FLT_EPSILON;
            break; /* neighbouring floats */
        default:
            values[i] = (float)(int)(u * 100) * 1e-44f;
            break; /* denormals */
        }
    }
}

static size_t count_distinct(const struct sqz_sorted *sorted) {
    size_t n = 0;
    for (size_t i = 0; i < sorted->n; i++) n += i == 0 || sorted->values[i] != sorted->values[i - 1];
    return n;
}

START_TEST(optimum_equals_brute_force) {
    struct sqz_random random = sqz_random_seeded(11);
    float values[150];
    int compared = 0;
    for (int round = 0; round < 300; round++) {
        size_t n = 3 + sqz_random_next(&random) % (round % 10 ? 40 : 148);
        fill_kind(values, n, round % 8, &random);
        struct sqz_sorted sorted;
        build(values, n, &sorted);
        size_t distinct = count_distinct(&sorted);
        for (uint32_t k = 2; k < distinct && k < 30; k += 1 + (uint32_t)(sqz_random_next(&random) % 9)) {
            struct sqz_clusters clusters;
            ck_assert_int_eq(sqz_kmeans_optimal(&sorted, k, &clusters, NULL), SQZ_OK);
            assert_clusters(&sorted, &clusters, k);
            long double best = brute_force(sorted.values, sorted.n, k), cost = true_cost(sorted.values, &clusters);
            ck_assert_msg(cost <= best * (1 + 1e-11L), "n %zu k %u kind %d: %Lg instead of %Lg", n, k, round % 8, cost,
                          best);
            for (int init = SQZ_INIT_LINEAR; init <= SQZ_INIT_KMEANSPP; init++) {
                sqz_kmeans_lloyd(&sorted, k, (enum sqz_kmeans_init)init, (uint64_t)round, 0, &clusters);
                assert_clusters(&sorted, &clusters, k);
                ck_assert(true_cost(sorted.values, &clusters) >= best * (1 - 1e-11L));
            }
            compared++;
        }
        sqz_sorted_free(&sorted);
    }
    ck_assert_int_gt(compared, 500);
}
END_TEST

/* The programme over every weight, without bounds: what the search over cells must agree with. */
static double plain_programme(const struct sqz_sorted *sorted, uint32_t k) {
    size_t n = sorted->n + 1;
    double *memory = malloc(7 * n * sizeof *memory), *before = memory + 5 * n, *cost = memory + 6 * n;
    struct sqz_cuts cuts = {n, memory, memory + n, memory + 2 * n, memory + 3 * n, memory + 4 * n};
    for (size_t i = 0; i < n; i++) {
        struct sqz_moments m = sqz_sorted_moments(sorted, i);
        cuts.at[i] = (double)i;
        cuts.sum[i] = m.sum;
        cuts.sum_low[i] = m.sum_low;
        cuts.square[i] = m.square;
        cuts.square_low[i] = m.square_low;
        before[i] = i ? INFINITY : 0;
    }
    for (uint32_t c = 0; c < k; c++) {
        sqz_monge_minima(&cuts, &cuts, before, true, cost, NULL);
        memcpy(before, cost, n * sizeof *cost);
    }
    double best = before[n - 1];
    free(memory);
    return best;
}

START_TEST(search_over_cells_equals_the_plain_programme) {
    enum { N = 100000 };
    static float values[N];
    static const struct {
        int kind;
        size_t n;
        uint32_t k;
    } cases[] = {{2, N, 2},     {2, N, 16},    {2, 10000, 64}, {0, 20000, 7},  {4, 20000, 16}, {5, 20000, 8},
                 {3, 5000, 32}, {6, 20000, 5}, {2, 3000, 256}, {1, 20000, 12}, {2, 1537, 100}};
    struct sqz_random random = sqz_random_seeded(5);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sqz_sorted sorted;
        struct sqz_clusters clusters;
        fill_kind(values, cases[i].n, cases[i].kind, &random);
        build(values, cases[i].n, &sorted);
        double best = plain_programme(&sorted, cases[i].k);
        ck_assert_int_eq(sqz_kmeans_optimal(&sorted, cases[i].k, &clusters, NULL), SQZ_OK);
        assert_clusters(&sorted, &clusters, cases[i].k);
        double cost = sqz_clusters_cost(&sorted, &clusters);
        ck_assert_msg(fabs(cost - best) <= 1e-11 * best, "case %zu: %.17g instead of %.17g", i, cost, best);
        sqz_sorted_free(&sorted);
    }
}
END_TEST

START_TEST(results_do_not_depend_on_threads) {
    enum { N = 200000 };
    static float values[N];
    fill_laplace(values, N, 0.02, 9);
    struct sqz_clusters first, again;
    for (int threads = 1; threads <= 8; threads += threads < 3 ? 1 : 5) {
        struct sqz_sorted sorted;
        sqz_set_threads(threads);
        build(values, N, &sorted);
        ck_assert_int_eq(sqz_kmeans_optimal(&sorted, 32, &again, NULL), SQZ_OK);
        if (threads == 1) first = again;
        ck_assert_mem_eq(first.at, again.at, 33 * sizeof *first.at);
        sqz_sorted_free(&sorted);
    }
    sqz_set_threads(0);
}
END_TEST

/*
 * Linear initialisation over [min, max] with one outlier once left all
 * clusters but two empty, with centroids of 0/0. Ten thousand weights of at
 * most 0.01, one of 5.
 */
START_TEST(outlier_does_not_empty_the_clusters) {
    enum { N = 10001 };
    static float values[N];
    struct sqz_random random = sqz_random_seeded(42);
    for (int method = 0; method < 4; method++) {
        for (int distribution = 0; distribution < 2; distribution++) {
            struct sqz_sorted sorted;
            struct sqz_clusters clusters;
            for (int i = 0; i < N; i++) {
                double u = sqz_random_unit(&random) - 0.5, v = sqz_random_unit(&random) - 0.5;
                values[i] = (float)(distribution ? 0.01 * (u + v) : 0.02 * u);
            }
            values[1234] = 5;
            build(values, N, &sorted);
            if (method == 3)
                ck_assert_int_eq(sqz_kmeans_optimal(&sorted, 16, &clusters, NULL), SQZ_OK);
            else
                sqz_kmeans_lloyd(&sorted, 16, (enum sqz_kmeans_init)method, 1, 0, &clusters);
            assert_clusters(&sorted, &clusters, 16);
            ck_assert_uint_eq(clusters.at[15], N - 1);
            /*
             * 16 levels from -0.01 to 0.01 are 0.02 / 15 apart. The 15 clusters that are left for uniform weights
             * can just reach that; Lloyd's local optima may miss it by a few percent.
             */
            double most = 0.02 / 15 / sqrt(12) * (method == 3 ? 1 : 1.05);
            double rms = sqrt((double)true_cost(sorted.values, &clusters) / (N - 1));
            ck_assert_msg(rms <= most, "method %d: %g instead of at most %g", method, rms, most);
            sqz_sorted_free(&sorted);
        }
    }
}
END_TEST

/* Lloyd never makes it worse, ends where every weight is with its nearest centroid, and obeys its bound. */
START_TEST(lloyd_converges) {
    enum { N = 5000 };
    static float values[N];
    for (int init = SQZ_INIT_LINEAR; init <= SQZ_INIT_KMEANSPP; init++) {
        struct sqz_sorted sorted;
        struct sqz_clusters clusters;
        double last = INFINITY;
        fill_laplace(values, N, 1, 77);
        build(values, N, &sorted);
        for (uint32_t iterations = 1; iterations < 40; iterations += 3) {
            sqz_kmeans_lloyd(&sorted, 16, (enum sqz_kmeans_init)init, 3, iterations, &clusters);
            double cost = sqz_clusters_cost(&sorted, &clusters);
            ck_assert(cost <= last * (1 + 1e-12));
            last = cost;
        }
        sqz_kmeans_lloyd(&sorted, 16, (enum sqz_kmeans_init)init, 3, 0, &clusters);
        for (uint32_t c = 1; c < 16; c++) {
            double means[2] = {0, 0};
            for (int side = 0; side < 2; side++) {
                size_t begin = clusters.at[c - 1 + (uint32_t)side], end = clusters.at[c + (uint32_t)side];
                for (size_t i = begin; i < end; i++) means[side] += sorted.values[i] / (double)(end - begin);
            }
            double middle = (means[0] + means[1]) / 2;
            ck_assert(sorted.values[clusters.at[c] - 1] <= middle + 1e-12);
            ck_assert(sorted.values[clusters.at[c]] >= middle - 1e-12);
        }
        sqz_sorted_free(&sorted);
    }
}
END_TEST

START_TEST(seed_decides_kmeanspp) {
    enum { N = 3000 };
    static float values[N];
    struct sqz_sorted sorted;
    struct sqz_clusters a, b, other;
    fill_laplace(values, N, 1, 8);
    build(values, N, &sorted);
    sqz_kmeans_lloyd(&sorted, 16, SQZ_INIT_KMEANSPP, 1, 1, &a);
    sqz_kmeans_lloyd(&sorted, 16, SQZ_INIT_KMEANSPP, 1, 1, &b);
    sqz_kmeans_lloyd(&sorted, 16, SQZ_INIT_KMEANSPP, 2, 1, &other);
    ck_assert_mem_eq(a.at, b.at, 17 * sizeof *a.at);
    ck_assert_mem_ne(a.at, other.at, 17 * sizeof *a.at);
    sqz_sorted_free(&sorted);
}
END_TEST

/* A cluster around zero must not turn its weights into pruned ones. */
START_TEST(no_centroid_is_zero) {
    static const float values[] = {-2, -1, -0.25f, 0.25f, 1, 2};
    struct sqz_sorted sorted;
    struct sqz_clusters clusters = {.k = 3, .at = {0, 2, 4, 6}};
    float lower[3], codebook[3];
    build(values, 6, &sorted);
    sqz_clusters_codebook(&sorted, &clusters, lower, codebook);
    ck_assert(codebook[0] == -1.5f && codebook[1] == 0.25f && codebook[2] == 1.5f);
    sqz_sorted_free(&sorted);
}
END_TEST

START_TEST(optimum_survives_short_memory) {
    enum { N = 6000 };
    static float values[N];
    struct sqz_sorted sorted;
    struct sqz_clusters clusters;
    struct sqz_error err = {0};
    fill_laplace(values, N, 1, 2);
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    int n = 0;
    for (; n < 1000 && status != SQZ_OK; n++) {
        sqz_alloc_fail_after(n);
        status = sqz_sorted_build(values, N, &sorted, &err);
        if (status == SQZ_OK) status = sqz_kmeans_optimal(&sorted, 8, &clusters, &err);
        sqz_alloc_fail_after(-1);
        sqz_sorted_free(&sorted);
        ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
    }
    ck_assert_int_eq(status, SQZ_OK);
    ck_assert_int_gt(n, 20);
}
END_TEST

/* First outputs of xoshiro256** for the state 1, 2, 3, 4, worked out by hand from its definition. */
START_TEST(generator_is_the_published_one) {
    struct sqz_random random = {{1, 2, 3, 4}};
    ck_assert_uint_eq(sqz_random_next(&random), 11520);
    ck_assert_uint_eq(sqz_random_next(&random), 0);
    ck_assert_uint_eq(sqz_random_next(&random), 1509978240);
    struct sqz_random a = sqz_random_seeded(0), b = sqz_random_seeded(1);
    ck_assert_uint_eq(a.state[0], UINT64_C(0xe220a8397b1dcdaf));
    for (int i = 0; i < 1000; i++) {
        double u = sqz_random_unit(&a);
        ck_assert(u >= 0 && u < 1);
        ck_assert(u != sqz_random_unit(&b));
    }
}
END_TEST

Suite *test_kmeans(void) {
    Suite *suite = suite_create("kmeans");
    TCase *tc = tcase_create("kmeans");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, sorts_every_kind_of_layer);
    tcase_add_test(tc, moments_are_exact_next_to_outliers);
    tcase_add_test(tc, optimum_equals_brute_force);
    tcase_add_test(tc, search_over_cells_equals_the_plain_programme);
    tcase_add_test(tc, results_do_not_depend_on_threads);
    tcase_add_test(tc, outlier_does_not_empty_the_clusters);
    tcase_add_test(tc, lloyd_converges);
    tcase_add_test(tc, seed_decides_kmeanspp);
    tcase_add_test(tc, no_centroid_is_zero);
    tcase_add_test(tc, optimum_survives_short_memory);
    tcase_add_test(tc, generator_is_the_published_one);
    suite_add_tcase(suite, tc);
    return suite;
}
