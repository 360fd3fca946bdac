/* test_compensate_methods.c - weight sharing and pruning with compensation: limits, closed forms, exact counts. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/made_layer.h"

Suite *test_compensate_methods(void);

/* ---- codebooks ------------------------------------------------------------------- */

START_TEST(codebooks_of_every_size) {
    struct layer layer = make_layer(1, 50, 30, true);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    double last = INFINITY;
    for (unsigned bits = 1; bits <= 8; bits++)
        for (int prune = 0; prune < 2; prune++) {
            const struct sqz_codebook_options options = {.bits = bits, .prune = prune == 1, .lambda = prune * 0.02};
            struct sqz_compensated result;
            ck_assert_int_eq(sqz_compensate_codebook(compensator, &options, &result, NULL), SQZ_OK);
            check_packed(&result, 30, 50);
            ck_assert_uint_le(result.packed->n_codebook, 1u << bits);
            if (prune == 0) {
                ck_assert_uint_eq(result.stats.nonzero, 1500);
                ck_assert_double_lt(result.stats.error, result.stats.plain_error);
                ck_assert_double_lt(result.stats.error, last);
                last = result.stats.error;
            }
            sqz_compensated_free(&result);
        }
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

START_TEST(few_distinct_weights_and_none) {
    struct layer layer = make_layer(1, 10, 4, false);
    for (int variant = 0; variant < 3; variant++) {
        static const float choices[] = {0.5f, -0.25f, 0.125f};
        for (size_t i = 0; i < 40; i++) layer.weights[i] = variant == 2 ? 0 : choices[i % 3];
        struct sqz_compensator *compensator = compensator_of(&layer, 0, variant > 0);
        const struct sqz_codebook_options options = {.bits = 4};
        struct sqz_compensated result;
        ck_assert_int_eq(sqz_compensate_codebook(compensator, &options, &result, NULL), SQZ_OK);
        check_packed(&result, 4, 10);
        ck_assert_uint_eq(result.packed->n_codebook, variant == 2 ? 0 : 3);
        for (size_t i = 0; i < 40; i++) ck_assert_float_eq_tol(result.weights[i], layer.weights[i], 1e-4f);
        sqz_compensated_free(&result);
        sqz_compensator_free(compensator);
    }
    layer_free(&layer);
}
END_TEST

/* ---- pruning --------------------------------------------------------------------- */

/* Inverse of a small matrix by Gauss and Jordan. */
static void invert(double *a, double *inverse, size_t n) {
    for (size_t i = 0; i < n * n; i++) inverse[i] = i % (n + 1) == 0;
    for (size_t i = 0; i < n; i++) {
        double pivot = a[i * n + i];
        for (size_t j = 0; j < n; j++) {
            a[i * n + j] /= pivot;
            inverse[i * n + j] /= pivot;
        }
        for (size_t r = 0; r < n; r++) {
            double factor = a[r * n + i];
            for (size_t j = 0; r != i && j < n; j++) {
                a[r * n + j] -= factor * a[i * n + j];
                inverse[r * n + j] -= factor * inverse[i * n + j];
            }
        }
    }
}

/* One weight of a row goes; the others must be those of Optimal Brain Surgeon, w - w_p / H_pp H_p with H = A^-1. */
START_TEST(one_removal_equals_the_closed_form) {
    size_t n = 6;
    struct layer layer = make_layer(1, n, 1, false);
    struct sqz_compensator *compensator = compensator_of(&layer, 1e-6, false);
    const struct sqz_prune_target target = {.density = 5.0 / 6};
    struct sqz_compensated result;
    ck_assert_int_eq(sqz_compensate_prune(compensator, &target, &result, NULL), SQZ_OK);
    ck_assert_uint_eq(result.stats.nonzero, 5);
    double a[36], inverse[36], trace = 0;
    memcpy(a, layer.moments->blocks[0].own, sizeof a);
    for (size_t i = 0; i < n; i++) trace += a[i * n + i];
    for (size_t i = 0; i < n; i++) a[i * n + i] += 1e-6 * trace / (double)n;
    invert(a, inverse, n);
    size_t gone = 0;
    while (result.weights[gone] != 0) gone++;
    double factor = (double)layer.weights[gone] / inverse[gone * n + gone], cheapest = INFINITY;
    for (size_t i = 0; i < n; i++) {
        double w = (double)layer.weights[i], expected = w - factor * inverse[gone * n + i];
        ck_assert_double_eq_tol((double)result.weights[i], expected, 2e-3);
        cheapest = fmin(cheapest, w * w / inverse[i * n + i]);
    }
    ck_assert_double_ge(result.stats.error, cheapest * 0.999);
    ck_assert_double_le(result.stats.error, result.stats.plain_error * 1.0001);
    sqz_compensated_free(&result);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

START_TEST(densities_are_reached_exactly) {
    struct layer layer = make_layer(2, 21, 10, true);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    static const double densities[] = {1, 0.999, 0.5, 0.37, 0.1, 0.001};
    for (int i = 0; i < 6; i++)
        for (uint32_t block = 0; block < 10; block += 9) {
            const struct sqz_prune_target target = {.density = densities[i], .block = block};
            struct sqz_compensated result;
            ck_assert_int_eq(sqz_compensate_prune(compensator, &target, &result, NULL), SQZ_OK);
            size_t gone = (size_t)floor(210 * (1 - densities[i]) + 0.5);
            ck_assert_uint_eq(result.stats.nonzero, 210 - gone);
            ck_assert_ptr_null(result.packed);
            if (densities[i] == 0.5) ck_assert_double_lt(result.stats.error, 0.8 * result.stats.plain_error);
            sqz_compensated_free(&result);
        }
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

Suite *test_compensate_methods(void) {
    Suite *suite = suite_create("compensate methods");
    TCase *tests = tcase_create("methods");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, codebooks_of_every_size);
    tcase_add_test(tests, few_distinct_weights_and_none);
    tcase_add_test(tests, one_removal_equals_the_closed_form);
    tcase_add_test(tests, densities_are_reached_exactly);
    suite_add_tcase(suite, tests);
    return suite;
}
