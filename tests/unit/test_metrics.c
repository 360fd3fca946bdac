/* test_metrics.c - ranking, divergence, intervals and tests against values known from elsewhere. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "eval/metrics.h"

START_TEST(ties_go_to_the_lowest_class) {
    const float row[] = {1, 5, 5, -2, 5, 0};
    uint32_t best[6];
    ck_assert_uint_eq(sqz_top_k(row, 6, 4, best), 4);
    const uint32_t expected[] = {1, 2, 4, 0};
    for (int i = 0; i < 4; i++) ck_assert_uint_eq(best[i], expected[i]);
    ck_assert_uint_eq(sqz_best_class(row, 6), 1);
    ck_assert(sqz_in_top_k(row, 6, 1, 1));
    ck_assert(!sqz_in_top_k(row, 6, 2, 1));
    ck_assert(sqz_in_top_k(row, 6, 4, 3));
    ck_assert(!sqz_in_top_k(row, 6, 4, 2));
}
END_TEST

START_TEST(fewer_classes_than_k) {
    const float row[] = {0.5f, INFINITY, -INFINITY};
    uint32_t best[3];
    ck_assert_uint_eq(sqz_top_k(row, 3, 5, best), 3);
    ck_assert_uint_eq(best[0], 1);
    ck_assert_uint_eq(best[2], 2);
    ck_assert(sqz_in_top_k(row, 3, 2, 5));
    ck_assert_uint_eq(sqz_top_k(row, 3, 0, best), 0);
    ck_assert_uint_eq(sqz_best_class(row, 0), SQZ_NO_CLASS);
    ck_assert(!sqz_in_top_k(row, 3, 3, 5));
    ck_assert(!sqz_in_top_k(row, 3, -1, 5));
}
END_TEST

/* An evaluator once reported class 0 for every image of a net with a NaN weight, because no comparison was true. */
START_TEST(nan_is_never_class_zero) {
    const float all[] = {NAN, NAN, NAN}, one[] = {3, NAN, 1};
    uint32_t best[3];
    ck_assert_uint_eq(sqz_best_class(all, 3), SQZ_NO_CLASS);
    ck_assert_uint_eq(sqz_top_k(one, 3, 2, best), 0);
    ck_assert(!sqz_in_top_k(all, 3, 0, 3));
    ck_assert(!sqz_in_top_k(one, 3, 0, 3));
    ck_assert(sqz_row_has_nan(one, 3));
    double p[3];
    sqz_softmax(one, 3, p);
    for (int i = 0; i < 3; i++) ck_assert(isnan(p[i]));
    ck_assert(isnan(sqz_kl_divergence(one, one, 3, false)));
}
END_TEST

START_TEST(top_k_equals_sorting) {
    float row[257];
    uint32_t best[40], state = 1;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 257; i++) {
            state = state * 1664525u + 1013904223u;
            row[i] = (float)(state >> 26); /* few values, so many ties */
        }
        ck_assert_uint_eq(sqz_top_k(row, 257, 40, best), 40);
        for (size_t k = 0; k < 40; k++) {
            ck_assert(sqz_in_top_k(row, 257, (int)best[k], k + 1));
            ck_assert(!sqz_in_top_k(row, 257, (int)best[k], k));
        }
    }
}
END_TEST

START_TEST(softmax_of_known_rows) {
    const float row[] = {1, 2, 3}, large[] = {1000, 1001, 1002}, infinite[] = {INFINITY, 5, INFINITY},
                nothing[] = {-INFINITY, -INFINITY};
    const double expected[] = {0.09003057317038046, 0.24472847105479764, 0.6652409557748219};
    double p[3];
    sqz_softmax(row, 3, p);
    for (int i = 0; i < 3; i++) ck_assert_double_eq_tol(p[i], expected[i], 1e-15);
    sqz_softmax(large, 3, p);
    for (int i = 0; i < 3; i++) ck_assert_double_eq_tol(p[i], expected[i], 1e-15);
    sqz_softmax(infinite, 3, p);
    ck_assert_double_eq(p[0], 0.5);
    ck_assert_double_eq(p[1], 0);
    sqz_softmax(nothing, 2, p);
    ck_assert(isnan(p[0]) && isnan(p[1]));
}
END_TEST

START_TEST(divergence_of_known_rows) {
    const float p[] = {0.36f, 0.48f, 0.16f}, q[] = {1 / 3.0f, 1 / 3.0f, 1 / 3.0f}; /* Kullback's own example */
    ck_assert_double_eq_tol(sqz_kl_divergence(p, q, 3, true), 0.0852996, 1e-6);
    ck_assert_double_eq_tol(sqz_kl_divergence(q, p, 3, true), 0.097455, 1e-6);
    float log_p[3], log_q[3];
    for (int i = 0; i < 3; i++) {
        log_p[i] = logf(p[i]) + 7; /* logits are free of a constant */
        log_q[i] = logf(q[i]) - 90;
    }
    ck_assert_double_eq_tol(sqz_kl_divergence(log_p, log_q, 3, false), 0.0852996, 1e-5);
    ck_assert_double_eq(sqz_kl_divergence(p, p, 3, true), 0);
    ck_assert_double_eq(sqz_kl_divergence(log_p, log_p, 3, false), 0);
    const float certain[] = {1, 0, 0}, wrong[] = {0, 1, 0}, far[] = {1e4f, -1e4f, 0}, apart[] = {-1e4f, 1e4f, 0};
    double divergence = sqz_kl_divergence(certain, wrong, 3, true);
    ck_assert_double_eq_tol(divergence, -log((double)FLT_MIN), 1e-6);
    ck_assert_double_eq_tol(sqz_kl_divergence(far, apart, 3, false), 2e4, 1e-6);
    const float infinite[] = {INFINITY, 0, 0};
    ck_assert(isnan(sqz_kl_divergence(p, infinite, 3, false)));
}
END_TEST

START_TEST(wilson_interval_of_known_counts) {
    /* Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3. */
    static const struct {
        size_t correct, total;
        double low, high;
    } known[] = {{81, 263, 0.2553, 0.3662}, {15, 148, 0.0624, 0.1605}, {0, 20, 0, 0.1611}, {1, 29, 0.0061, 0.1718}};
    struct sqz_interval i;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        i = sqz_wilson95(known[k].correct, known[k].total);
        ck_assert_double_eq_tol(i.low, known[k].low, 5e-5);
        ck_assert_double_eq_tol(i.high, known[k].high, 5e-5);
        i = sqz_wilson95(known[k].total - known[k].correct, known[k].total);
        ck_assert_double_eq_tol(i.low, 1 - known[k].high, 5e-5);
        ck_assert_double_eq_tol(i.high, 1 - known[k].low, 5e-5);
    }
    i = sqz_wilson95(0, 0);
    ck_assert(i.low == 0 && i.high == 1);
}
END_TEST

START_TEST(mcnemar_of_known_counts) {
    ck_assert_double_eq_tol(sqz_mcnemar_exact(0, 0), 1, 1e-12);
    ck_assert_double_eq_tol(sqz_mcnemar_exact(5, 5), 1, 1e-12);
    ck_assert_double_eq_tol(sqz_mcnemar_exact(0, 5), 0.0625, 1e-12);
    ck_assert_double_eq_tol(sqz_mcnemar_exact(1, 9), 22.0 / 1024, 1e-12);
    ck_assert_double_eq_tol(sqz_mcnemar_exact(9, 1), 22.0 / 1024, 1e-12);
    ck_assert_double_eq_tol(sqz_mcnemar_exact(86, 150), 3.715936139571442e-5, 1e-12);
    ck_assert_double_eq_tol(sqz_mcnemar_exact(0, 5000), 0, 1e-300);
}
END_TEST

START_TEST(percentiles_interpolate) {
    double values[] = {15, 50, 20, 40, 35};
    sqz_sort_doubles(values, 5);
    ck_assert_double_eq(values[0], 15);
    ck_assert_double_eq(values[4], 50);
    ck_assert_double_eq(sqz_percentile(values, 5, 50), 35);
    ck_assert_double_eq_tol(sqz_percentile(values, 5, 40), 29, 1e-12);
    ck_assert_double_eq_tol(sqz_percentile(values, 5, 95), 48, 1e-12);
    ck_assert_double_eq(sqz_percentile(values, 5, 0), 15);
    ck_assert_double_eq(sqz_percentile(values, 5, 100), 50);
    ck_assert_double_eq(sqz_percentile(values, 4, 50), 27.5);
    ck_assert_double_eq(sqz_percentile(values, 1, 95), 15);
    ck_assert(isnan(sqz_percentile(values, 0, 50)));
}
END_TEST

START_TEST(agreement_leaves_out_rows_without_a_class) {
    const uint32_t a[] = {1, 2, SQZ_NO_CLASS, 4}, b[] = {1, 3, SQZ_NO_CLASS, 4};
    ck_assert_double_eq(sqz_agreement(a, b, 4), 0.5);
    ck_assert_double_eq(sqz_agreement(a, a, 2), 1);
    ck_assert(isnan(sqz_agreement(a, b, 0)));
}
END_TEST

Suite *test_metrics(void);

Suite *test_metrics(void) {
    Suite *suite = suite_create("metrics");
    TCase *tests = tcase_create("metrics");
    tcase_add_test(tests, ties_go_to_the_lowest_class);
    tcase_add_test(tests, fewer_classes_than_k);
    tcase_add_test(tests, nan_is_never_class_zero);
    tcase_add_test(tests, top_k_equals_sorting);
    tcase_add_test(tests, softmax_of_known_rows);
    tcase_add_test(tests, divergence_of_known_rows);
    tcase_add_test(tests, wilson_interval_of_known_counts);
    tcase_add_test(tests, mcnemar_of_known_counts);
    tcase_add_test(tests, percentiles_interpolate);
    tcase_add_test(tests, agreement_leaves_out_rows_without_a_class);
    suite_add_tcase(suite, tests);
    return suite;
}
