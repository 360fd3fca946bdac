/* test_compensate_trellis.c - levels that obey a trellis, with compensation: what they gain, and corners. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"
#include "lib/parallel.h"
#include "tests/unit/effort.h"
#include "tests/unit/made_layer.h"

Suite *test_compensate_trellis(void);

static struct sqz_compensated uniform(const struct sqz_compensator *compensator,
                                      const struct sqz_uniform_options *options, size_t rows, size_t n) {
    struct sqz_compensated result;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_compensate_uniform(compensator, options, &result, &err) == SQZ_OK, "%s", err.text);
    check_packed(&result, rows, n);
    return result;
}

/* ---- gain ---------------------------------------------------------------------------- */

/* Decibels of error and bits for each weight. */
struct outcome {
    double error, nbits;
};

static struct outcome outcome_of(const struct sqz_compensator *compensator, double step, uint32_t n_states, size_t rows,
                                 size_t n) {
    const struct sqz_uniform_options options = {.step = step, .lambda = 0.05, .trellis_states = n_states};
    struct sqz_compensated result = uniform(compensator, &options, rows, n);
    ck_assert_uint_eq(result.packed->trellis_states, n_states);
    struct outcome outcome = {10 * log10(result.stats.error), result.stats.nbits / (double)(rows * n)};
    sqz_compensated_free(&result);
    return outcome;
}

/* Bits saved at equal error, as a part of those that free levels take. */
START_TEST(a_trellis_saves_bits) {
    size_t rows = 200, n = 96;
    struct layer layer = make_layer(1, n, rows, true);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    double std = sqz_compensator_weight_std(compensator);
    double saved[3];
    static const uint32_t states[] = {4, 8, 256};
    for (int i = 0; i < 3; i++) {
        struct outcome trellis = outcome_of(compensator, 0.7 * std, states[i], rows, n);
        struct outcome coarse = outcome_of(compensator, 0.72 * std, 0, rows, n);
        struct outcome fine = outcome_of(compensator, 0.6 * std, 0, rows, n);
        ck_assert_double_lt(fine.error, trellis.error + 0.5);
        double slope = (fine.nbits - coarse.nbits) / (coarse.error - fine.error);
        double nbits = coarse.nbits + slope * (coarse.error - trellis.error);
        saved[i] = 1 - trellis.nbits / nbits;
    }
    ck_assert_double_gt(saved[0], 0.03);
    ck_assert_double_gt(saved[1], 0.035);
    ck_assert_double_gt(saved[2], 0.05);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

START_TEST(sweeps_lower_the_error) {
    struct layer layer = make_layer(2, 70, 64, true);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    double errors[2];
    for (int i = 0; i < 2; i++) {
        const struct sqz_uniform_options options = {
            .step = 0.1, .trellis_states = 16, .no_sweeps = i == 0, .keep_step = true};
        struct sqz_compensated result = uniform(compensator, &options, 64, 70);
        errors[i] = result.stats.error;
        ck_assert_double_lt(result.stats.error, result.stats.plain_error);
        sqz_compensated_free(&result);
    }
    ck_assert_double_lt(errors[1], errors[0]);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

/* ---- promises ------------------------------------------------------------------------ */

static void expect_same_for_threads(const struct layer *layer, const struct sqz_uniform_options *options) {
    struct sqz_compensated results[2];
    for (int i = 0; i < 2; i++) {
        sqz_set_threads(1 + 2 * i);
        struct sqz_compensator *compensator = compensator_of(layer, 0, false);
        results[i] = uniform(compensator, options, layer->rows, layer->n);
        sqz_compensator_free(compensator);
    }
    sqz_set_threads(0);
    size_t count = layer->rows * layer->n;
    ck_assert_mem_eq(results[0].packed->levels, results[1].packed->levels, count * sizeof(int16_t));
    ck_assert_mem_eq(results[0].weights, results[1].weights, count * sizeof(float));
    ck_assert_double_eq(results[0].stats.nbits, results[1].stats.nbits);
    sqz_compensated_free(&results[0]);
    sqz_compensated_free(&results[1]);
}

START_TEST(threads_change_nothing) {
    static const size_t groups[] = {1, 4};
    for (int g = 0; g < 2; g++) {
        struct layer layer = make_layer(groups[g], 130, 80, true);
        const struct sqz_uniform_options options = {.step = 0.08, .lambda = 0.05, .trellis_states = 32};
        expect_same_for_threads(&layer, &options);
        layer_free(&layer);
    }
    /* Two lanes, and blocks of inputs. */
    size_t n = 150, rows = 2000, n_positions = 200;
    struct layer layer = layer_of_columns(1, n, rows, n_positions, correlated(1, n, n_positions, 8), NULL, 64);
    ck_assert_uint_gt(layer.moments->n_blocks, 1);
    const struct sqz_uniform_options options = {.step = 0.1, .trellis_states = 8, .sweeps = 1};
    expect_same_for_threads(&layer, &options);
    layer_free(&layer);
}
END_TEST

START_TEST(processors_change_nothing) {
    struct layer layer = make_layer(1, 40, 50, true);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    const struct sqz_uniform_options options = {.step = 0.08, .lambda = 0.05, .trellis_states = 256};
    struct sqz_compensated fast = uniform(compensator, &options, 50, 40);
    setenv("SQZ_CPU", "scalar", 1);
    struct sqz_compensated scalar = uniform(compensator, &options, 50, 40);
    unsetenv("SQZ_CPU");
    ck_assert_mem_eq(fast.packed->levels, scalar.packed->levels, 2000 * sizeof(int16_t));
    sqz_compensated_free(&fast);
    sqz_compensated_free(&scalar);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

/* The n-th allocation fails, for every n. */
START_TEST(short_memory_is_survived) {
    struct layer layer = make_layer(2, 20, 24, true);
    const struct sqz_uniform_options options = {.step = 0.05, .lambda = 0.05, .trellis_states = 8};
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    sqz_set_threads(1);
    for (long n = 0; status != SQZ_OK; n++) {
        struct sqz_compensated result;
        ck_assert_int_lt(n, 1000);
        sqz_alloc_fail_after(n);
        status = sqz_compensate_uniform(compensator, &options, &result, NULL);
        sqz_alloc_fail_after(-1);
        ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
        sqz_compensated_free(&result);
    }
    sqz_set_threads(0);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

START_TEST(bad_numbers_of_states_are_refused) {
    struct layer layer = make_layer(1, 4, 10, false);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    static const uint32_t bad[] = {1, 2, 3, 5, 12, 512, 0x80000000u};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const struct sqz_uniform_options options = {.step = 0.1, .trellis_states = bad[i]};
        struct sqz_compensated result;
        ck_assert_int_eq(sqz_compensate_uniform(compensator, &options, &result, NULL), SQZ_ARGUMENT);
    }
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

/* ---- corners ------------------------------------------------------------------------- */

START_TEST(few_rows_stay_free) {
    static const struct {
        size_t groups, rows;
        uint32_t expected;
    } cases[] = {{1, 7, 0}, {1, 8, 8}, {4, 16, 0}, {2, 16, 8}, {1, 1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct layer layer = make_layer(cases[i].groups, 9, cases[i].rows, true);
        struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
        const struct sqz_uniform_options options = {.step = 0.1, .trellis_states = 8};
        struct sqz_compensated result = uniform(compensator, &options, cases[i].rows, 9);
        ck_assert_uint_eq(result.packed->trellis_states, cases[i].expected);
        sqz_compensated_free(&result);
        sqz_compensator_free(compensator);
        layer_free(&layer);
    }
}
END_TEST

START_TEST(one_input_and_one_weight) {
    for (size_t rows = 1; rows <= 9; rows += 8) {
        struct layer layer = make_layer(1, 1, rows, false);
        struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
        const struct sqz_uniform_options options = {.step = 1e-3, .trellis_states = 256, .keep_step = true};
        struct sqz_compensated result = uniform(compensator, &options, rows, 1);
        for (size_t i = 0; i < rows; i++) ck_assert_float_eq_tol(result.weights[i], layer.weights[i], 4e-3f);
        sqz_compensated_free(&result);
        sqz_compensator_free(compensator);
        layer_free(&layer);
    }
}
END_TEST

START_TEST(zero_and_constant_rows) {
    struct layer layer = make_layer(1, 20, 30, true);
    for (size_t i = 0; i < 600; i++)
        layer.weights[i] = i / 20 % 3 == 0 ? 0 : i / 20 % 3 == 1 ? 0.25f : layer.weights[i];
    for (int per_channel = 0; per_channel < 2; per_channel++)
        for (int all_zero = 0; all_zero < 2; all_zero++) {
            for (size_t i = 0; all_zero && i < 600; i++) layer.weights[i] = 0;
            struct sqz_compensator *compensator = compensator_of(&layer, 0, true);
            const struct sqz_uniform_options options = {
                .step = 0.05, .lambda = 0.05, .trellis_states = 8, .per_channel = per_channel == 1};
            struct sqz_compensated result = uniform(compensator, &options, 30, 20);
            ck_assert_uint_eq(result.packed->n_steps, per_channel ? 30 : 1);
            for (size_t i = 0; i < 600; i++)
                if (layer.weights[i] == 0) ck_assert(result.weights[i] == 0);
            if (all_zero) ck_assert_uint_eq(result.stats.nonzero, 0);
            sqz_compensated_free(&result);
            sqz_compensator_free(compensator);
            if (all_zero) break;
        }
    layer_free(&layer);
}
END_TEST

START_TEST(dead_and_constant_inputs) {
    size_t n = 8, n_positions = 1200;
    float *x = correlated(1, n, n_positions, 3);
    for (size_t p = 0; p < n_positions; p++) x[p * n + 3] = 0.5f;
    struct layer layer = layer_of_columns(1, n, 12, n_positions, x, NULL, 0);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    const struct sqz_uniform_options options = {.step = 0.02, .trellis_states = 16};
    struct sqz_compensated result = uniform(compensator, &options, 12, n);
    ck_assert_uint_eq(result.stats.n_dead, 1);
    for (size_t row = 0; row < 12; row++) ck_assert(result.weights[row * n + 3] == 0);
    sqz_compensated_free(&result);
    sqz_compensator_free(compensator);
    layer_free(&layer);
    x = malloc(20 * 6 * sizeof *x);
    for (int i = 0; i < 20 * 6; i++) x[i] = 1;
    layer = layer_of_columns(1, 6, 10, 20, x, NULL, 0);
    compensator = compensator_of(&layer, 0, false);
    result = uniform(compensator, &options, 10, 6);
    sqz_compensated_free(&result);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

/* Steps far too small for the levels there are. */
START_TEST(levels_stay_within_bounds) {
    struct layer layer = make_layer(1, 6, 16, false);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    const struct sqz_uniform_options options = {.step = 1e-9, .trellis_states = 8};
    struct sqz_compensated result = uniform(compensator, &options, 16, 6);
    for (size_t i = 0; i < 96; i++) ck_assert_float_eq_tol(result.weights[i], layer.weights[i], 0.01f);
    sqz_compensated_free(&result);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

Suite *test_compensate_trellis(void) {
    Suite *suite = suite_create("compensate trellis");
    TCase *tcase = tcase_create("trellis");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_trellis_saves_bits);
    tcase_add_test(tcase, sweeps_lower_the_error);
    tcase_add_test(tcase, threads_change_nothing);
    tcase_add_test(tcase, processors_change_nothing);
    tcase_add_test(tcase, short_memory_is_survived);
    tcase_add_test(tcase, bad_numbers_of_states_are_refused);
    tcase_add_test(tcase, few_rows_stay_free);
    tcase_add_test(tcase, one_input_and_one_weight);
    tcase_add_test(tcase, zero_and_constant_rows);
    tcase_add_test(tcase, dead_and_constant_inputs);
    tcase_add_test(tcase, levels_stay_within_bounds);
    suite_add_tcase(suite, tcase);
    return suite;
}
