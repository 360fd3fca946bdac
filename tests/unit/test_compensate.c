/* test_compensate.c - compensated rounding to uniform levels against brute force, and what all methods promise. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"
#include "lib/parallel.h"
#include "lib/rate_model.h"
#include "tests/unit/made_layer.h"
#include "tests/unit/random_nets.h"

Suite *test_compensate(void);

/* ---- uniform levels ------------------------------------------------------------ */

/* For layers with and without groups and pairing: better on the real columns than rounding to nearest. */
START_TEST(rounding_beats_rounding_to_nearest) {
    static const struct {
        size_t groups, n, rows;
        bool paired;
    } cases[] = {{1, 20, 8, false}, {1, 20, 8, true}, {3, 9, 6, false}, {3, 9, 6, true}, {1, 150, 40, true}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        struct layer layer = make_layer(cases[c].groups, cases[c].n, cases[c].rows, cases[c].paired);
        struct sqz_compensator *compensator = compensator_of(&layer, 1e-4, false);
        float *plain = malloc(layer.rows * layer.n * sizeof *plain);
        for (int variant = 0; variant < 3; variant++) {
            const struct sqz_uniform_options options = {
                .step = 0.1, .no_sweeps = variant == 1, .per_channel = variant == 2};
            struct sqz_compensated result;
            ck_assert_int_eq(sqz_compensate_uniform(compensator, &options, &result, NULL), SQZ_OK);
            check_packed(&result, layer.rows, layer.n);
            nearest(&layer, 0.1f, plain);
            double error = output_error(&layer, result.weights, result.bias_change);
            ck_assert_double_lt(error, 0.7 * output_error(&layer, plain, NULL));
            ck_assert_double_le(result.stats.error, result.stats.plain_error);
            ck_assert_double_gt(result.stats.nbits, 0);
            ck_assert_uint_eq(result.packed->n_steps, variant == 2 ? layer.rows : 1);
            sqz_compensated_free(&result);
        }
        free(plain);
        sqz_compensator_free(compensator);
        layer_free(&layer);
    }
}
END_TEST

/* The reported error is what the columns say, plus the damping's share. */
START_TEST(the_reported_error_is_the_real_one) {
    struct layer layer = make_layer(2, 12, 6, false);
    struct sqz_compensator *compensator = compensator_of(&layer, 1e-9, false);
    const struct sqz_uniform_options options = {.step = 0.15};
    struct sqz_compensated result;
    ck_assert_int_eq(sqz_compensate_uniform(compensator, &options, &result, NULL), SQZ_OK);
    double error = output_error(&layer, result.weights, result.bias_change);
    ck_assert_double_eq_tol(result.stats.error / error, 1, 1e-4);
    double power = 0, unit;
    float *zeros = calloc(layer.rows * layer.n, sizeof *zeros), mean[6];
    for (size_t row = 0; row < 6; row++) {
        double sum = 0;
        for (size_t i = 0; i < 12; i++)
            sum += (double)layer.weights[row * 12 + i] * layer.moments->mean[row / 3 * 12 + i];
        mean[row] = (float)sum;
    }
    power = output_error(&layer, zeros, mean);
    unit = result.stats.output_power / power;
    ck_assert_double_eq_tol(unit, 1, 1e-4);
    free(zeros);
    sqz_compensated_free(&result);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

/* One row of four weights: all 7^4 choices of levels, with the step as it is. */
START_TEST(four_weights_against_all_choices) {
    struct layer layer = make_layer(1, 4, 1, false);
    for (uint64_t seed = 1; seed < 30; seed++) {
        uint64_t state = seed;
        for (int i = 0; i < 4; i++) layer.weights[i] = random_unit(&state) * 0.25f;
        struct sqz_compensator *compensator = compensator_of(&layer, 1e-9, false);
        const struct sqz_uniform_options options = {.step = 0.1, .keep_step = true};
        struct sqz_compensated result;
        ck_assert_int_eq(sqz_compensate_uniform(compensator, &options, &result, NULL), SQZ_OK);
        double best = INFINITY, found = output_error(&layer, result.weights, result.bias_change);
        for (int c = 0; c < 7 * 7 * 7 * 7; c++) {
            float values[4], change[1] = {0};
            for (int i = 0, left = c; i < 4; i++, left /= 7) values[i] = 0.1f * (float)(left % 7 - 3);
            for (int i = 0; i < 4; i++)
                change[0] += (float)((double)(layer.weights[i] - values[i]) * layer.moments->mean[i]);
            best = fmin(best, output_error(&layer, values, change));
        }
        /* Neither GPTQ nor coordinate descent is exhaustive, but here they come close. */
        ck_assert_double_ge(found, best * 0.999);
        ck_assert_double_le(found, best * 1.5 + 1e-12);
        sqz_compensated_free(&result);
        sqz_compensator_free(compensator);
    }
    layer_free(&layer);
}
END_TEST

/* The compressed net's inputs are a linear map of the float ones, so other weights undo the map exactly. */
START_TEST(least_squares_finds_the_weights_for_changed_inputs) {
    size_t n = 10, n_positions = 500;
    float *x_float = correlated(1, n, n_positions, 3), *x = malloc(n_positions * n * sizeof *x);
    for (size_t p = 0; p < n_positions; p++)
        for (size_t i = 0; i < n; i++)
            x[p * n + i] = 0.5f * x_float[p * n + i] + 0.3f * x_float[p * n + (i + 1) % n] + 2;
    struct layer layer = layer_of_columns(1, n, 5, n_positions, x, x_float, 0);
    struct sqz_compensator *compensator = compensator_of(&layer, 1e-8, false);
    const struct sqz_uniform_options options = {.step = 1e-4};
    struct sqz_compensated result;
    ck_assert_int_eq(sqz_compensate_uniform(compensator, &options, &result, NULL), SQZ_OK);
    ck_assert_double_lt(output_error(&layer, result.weights, result.bias_change), 1e-5);
    ck_assert_double_gt(output_error(&layer, layer.weights, NULL), 1);
    sqz_compensated_free(&result);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

START_TEST(a_price_on_bits_saves_bits) {
    struct layer layer = make_layer(1, 100, 40, false);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    double last_nbits = INFINITY, last_error = 0;
    static const double lambdas[] = {0, 0.1, 0.3, 1};
    for (int i = 0; i < 4; i++) {
        const struct sqz_uniform_options options = {.step = 0.08, .lambda = lambdas[i]};
        struct sqz_compensated result;
        ck_assert_int_eq(sqz_compensate_uniform(compensator, &options, &result, NULL), SQZ_OK);
        check_packed(&result, 40, 100);
        ck_assert_double_lt(result.stats.nbits, last_nbits);
        ck_assert_double_gt(result.stats.error, last_error);
        ck_assert_double_eq_tol(result.stats.nbits, sqz_rate_entropy_nbits(result.packed->levels, 4000), 1e-9);
        last_nbits = result.stats.nbits;
        last_error = result.stats.error;
        sqz_compensated_free(&result);
    }
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

START_TEST(levels_never_leave_their_range) {
    struct layer layer = make_layer(1, 30, 4, false);
    layer.weights[17] = 1000;
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    for (int variant = 0; variant < 2; variant++) {
        const struct sqz_uniform_options options = {.step = 1e-3, .per_channel = variant == 1, .lambda = 0.01};
        struct sqz_compensated result;
        ck_assert_int_eq(sqz_compensate_uniform(compensator, &options, &result, NULL), SQZ_OK);
        check_packed(&result, 4, 30);
        sqz_compensated_free(&result);
    }
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

/* ---- inputs that are hard on it -------------------------------------------------- */

/* Input 2 is constant, input 3 always zero, input 5 a copy of input 4: singular, and two of them are dead. */
static struct layer singular_layer(size_t n_positions) {
    size_t n = 8;
    float *x = correlated(1, n, n_positions, 5);
    for (size_t p = 0; p < n_positions; p++) {
        x[p * n + 2] = 3.25f;
        x[p * n + 3] = 0;
        x[p * n + 5] = x[p * n + 4];
    }
    return layer_of_columns(1, n, 4, n_positions, x, NULL, 0);
}

START_TEST(singular_moments_and_dead_inputs) {
    struct layer layer = singular_layer(2000);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    const struct sqz_uniform_options options = {.step = 0.05};
    struct sqz_compensated result;
    ck_assert_int_eq(sqz_compensate_uniform(compensator, &options, &result, NULL), SQZ_OK);
    ck_assert_uint_eq(result.stats.n_dead, 2);
    for (size_t row = 0; row < 4; row++) {
        ck_assert_float_eq(result.weights[row * 8 + 2], 0);
        ck_assert_float_eq(result.weights[row * 8 + 3], 0);
    }
    /* The bias takes over what the constant input gave. */
    float plain[32];
    nearest(&layer, 0.05f, plain);
    ck_assert_double_lt(output_error(&layer, result.weights, result.bias_change), output_error(&layer, plain, NULL));
    sqz_compensated_free(&result);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

/* A few positions do not prove that an input is dead. */
START_TEST(few_positions_kill_no_input) {
    struct layer layer = singular_layer(50);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    const struct sqz_uniform_options options = {.step = 0.01};
    struct sqz_compensated result;
    ck_assert_int_eq(sqz_compensate_uniform(compensator, &options, &result, NULL), SQZ_OK);
    ck_assert_uint_eq(result.stats.n_dead, 0);
    for (size_t row = 0; row < 4; row++)
        ck_assert_float_eq_tol(result.weights[row * 8 + 3], layer.weights[row * 8 + 3], 0.01f);
    sqz_compensated_free(&result);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

START_TEST(inputs_that_never_vary_at_all) {
    float *x = malloc(20 * 6 * sizeof *x);
    for (int i = 0; i < 20 * 6; i++) x[i] = 1;
    struct layer layer = layer_of_columns(1, 6, 3, 20, x, NULL, 0);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    struct sqz_compensated result;
    const struct sqz_uniform_options uniform = {.step = 0.05, .lambda = 0.1};
    ck_assert_int_eq(sqz_compensate_uniform(compensator, &uniform, &result, NULL), SQZ_OK);
    sqz_compensated_free(&result);
    const struct sqz_codebook_options codebook = {.bits = 2};
    ck_assert_int_eq(sqz_compensate_codebook(compensator, &codebook, &result, NULL), SQZ_OK);
    check_packed(&result, 3, 6);
    sqz_compensated_free(&result);
    const struct sqz_prune_target target = {.density = 0.5};
    ck_assert_int_eq(sqz_compensate_prune(compensator, &target, &result, NULL), SQZ_OK);
    ck_assert_uint_eq(result.stats.nonzero, 9);
    ck_assert_double_lt(output_error(&layer, result.weights, result.bias_change), 1e-10);
    sqz_compensated_free(&result);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

START_TEST(a_mask_is_kept) {
    struct layer layer = make_layer(1, 40, 10, true);
    size_t masked = 0;
    for (size_t i = 0; i < 400; i++)
        if (i % 3 == 0) {
            layer.weights[i] = 0;
            masked++;
        }
    struct sqz_compensator *compensator = compensator_of(&layer, 0, true);
    for (int method = 0; method < 4; method++) {
        struct sqz_compensated result;
        const struct sqz_uniform_options uniform = {.step = 0.03};
        const struct sqz_codebook_options codebook = {.bits = 4, .prune = method == 2};
        const struct sqz_prune_target target = {.density = 0.95};
        if (method == 0) ck_assert_int_eq(sqz_compensate_uniform(compensator, &uniform, &result, NULL), SQZ_OK);
        if (method == 1 || method == 2)
            ck_assert_int_eq(sqz_compensate_codebook(compensator, &codebook, &result, NULL), SQZ_OK);
        if (method == 3) ck_assert_int_eq(sqz_compensate_prune(compensator, &target, &result, NULL), SQZ_OK);
        for (size_t i = 0; i < 400; i += 3) ck_assert_float_eq(result.weights[i], 0);
        if (method == 1 || method == 3) ck_assert_uint_eq(result.stats.nonzero, 400 - masked);
        sqz_compensated_free(&result);
    }
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

START_TEST(blocks_of_inputs) {
    size_t n = 60, n_positions = 400;
    struct layer layer = layer_of_columns(1, n, 12, n_positions, correlated(1, n, n_positions, 8), NULL, 25);
    ck_assert_uint_eq(layer.moments->n_blocks, 3);
    struct sqz_compensator *compensator = compensator_of(&layer, 0, false);
    float *plain = malloc(12 * n * sizeof *plain);
    const struct sqz_uniform_options options = {.step = 0.1};
    struct sqz_compensated result;
    ck_assert_int_eq(sqz_compensate_uniform(compensator, &options, &result, NULL), SQZ_OK);
    nearest(&layer, 0.1f, plain);
    ck_assert_double_lt(output_error(&layer, result.weights, result.bias_change), output_error(&layer, plain, NULL));
    sqz_compensated_free(&result);
    free(plain);
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

/* ---- promises --------------------------------------------------------------------- */

static void run_all(const struct layer *layer, struct sqz_compensated results[3]) {
    struct sqz_compensator *compensator = compensator_of(layer, 0, false);
    const struct sqz_uniform_options uniform = {.step = 0.06, .lambda = 0.05};
    const struct sqz_codebook_options codebook = {.bits = 3, .lambda = 0.05, .prune = true};
    const struct sqz_prune_target target = {.density = 0.4};
    ck_assert_int_eq(sqz_compensate_uniform(compensator, &uniform, &results[0], NULL), SQZ_OK);
    ck_assert_int_eq(sqz_compensate_codebook(compensator, &codebook, &results[1], NULL), SQZ_OK);
    ck_assert_int_eq(sqz_compensate_prune(compensator, &target, &results[2], NULL), SQZ_OK);
    sqz_compensator_free(compensator);
}

START_TEST(threads_change_nothing) {
    static const size_t groups[] = {1, 4};
    for (int g = 0; g < 2; g++) {
        struct layer layer = make_layer(groups[g], 130, 80, true);
        struct sqz_compensated one[3], three[3];
        sqz_set_threads(1);
        run_all(&layer, one);
        sqz_set_threads(3);
        run_all(&layer, three);
        sqz_set_threads(0);
        for (int i = 0; i < 3; i++) {
            ck_assert_mem_eq(one[i].weights, three[i].weights, 80 * 130 * sizeof(float));
            ck_assert_mem_eq(one[i].bias_change, three[i].bias_change, 80 * sizeof(float));
            ck_assert_double_eq(one[i].stats.error, three[i].stats.error);
            sqz_compensated_free(&one[i]);
            sqz_compensated_free(&three[i]);
        }
        layer_free(&layer);
    }
}
END_TEST

START_TEST(bad_arguments_are_refused) {
    struct layer layer = make_layer(2, 4, 4, false);
    struct sqz_compensator *compensator;
    struct sqz_compensator_options options = {.damping = -1};
    ck_assert_int_eq(sqz_compensator_new(layer.moments, layer.weights, 4, &options, &compensator, NULL), SQZ_ARGUMENT);
    options.damping = NAN;
    ck_assert_int_eq(sqz_compensator_new(layer.moments, layer.weights, 4, &options, &compensator, NULL), SQZ_ARGUMENT);
    options.damping = 0;
    ck_assert_int_eq(sqz_compensator_new(layer.moments, layer.weights, 3, &options, &compensator, NULL), SQZ_ARGUMENT);
    layer.weights[3] = NAN;
    ck_assert_int_eq(sqz_compensator_new(layer.moments, layer.weights, 4, &options, &compensator, NULL), SQZ_NONFINITE);
    ck_assert_ptr_null(compensator);
    layer.weights[3] = 0;
    compensator = compensator_of(&layer, 0, false);
    struct sqz_compensated result;
    static const double bad_steps[] = {0, -1, NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        const struct sqz_uniform_options uniform = {.step = bad_steps[i]};
        ck_assert_int_eq(sqz_compensate_uniform(compensator, &uniform, &result, NULL), SQZ_ARGUMENT);
        const struct sqz_prune_target target = {.density = i == 0 ? 1.5 : bad_steps[i]};
        ck_assert_int_eq(sqz_compensate_prune(compensator, &target, &result, NULL), SQZ_ARGUMENT);
    }
    const struct sqz_uniform_options negative = {.step = 1, .lambda = -1};
    ck_assert_int_eq(sqz_compensate_uniform(compensator, &negative, &result, NULL), SQZ_ARGUMENT);
    for (unsigned bits = 0; bits < 10; bits += 9) {
        const struct sqz_codebook_options codebook = {.bits = bits};
        ck_assert_int_eq(sqz_compensate_codebook(compensator, &codebook, &result, NULL), SQZ_ARGUMENT);
    }
    sqz_compensator_free(compensator);
    layer_free(&layer);
}
END_TEST

START_TEST(running_out_of_memory_is_clean) {
    struct layer layer = make_layer(2, 6, 4, true);
    const struct sqz_compensator_options options = {0};
    for (int method = 0; method < 3; method++) {
        enum sqz_status status = SQZ_OUT_OF_MEMORY;
        for (long n = 0; status == SQZ_OUT_OF_MEMORY; n++) {
            ck_assert_int_lt(n, 300);
            struct sqz_compensator *compensator;
            struct sqz_compensated result = {0};
            const struct sqz_uniform_options uniform = {.step = 0.06, .lambda = 0.05};
            const struct sqz_codebook_options codebook = {.bits = 2};
            const struct sqz_prune_target target = {.density = 0.4};
            sqz_alloc_fail_after(n);
            status = sqz_compensator_new(layer.moments, layer.weights, 4, &options, &compensator, NULL);
            if (status == SQZ_OK && method == 0) status = sqz_compensate_uniform(compensator, &uniform, &result, NULL);
            if (status == SQZ_OK && method == 1)
                status = sqz_compensate_codebook(compensator, &codebook, &result, NULL);
            if (status == SQZ_OK && method == 2) status = sqz_compensate_prune(compensator, &target, &result, NULL);
            sqz_alloc_fail_after(-1);
            sqz_compensated_free(&result);
            sqz_compensator_free(compensator);
        }
        ck_assert_int_eq(status, SQZ_OK);
    }
    layer_free(&layer);
}
END_TEST

START_TEST(the_rate_model_prices_what_it_has_seen) {
    int16_t levels[1000];
    for (int i = 0; i < 1000; i++) levels[i] = (int16_t)(i % 2 == 0 ? 0 : i % 4 == 1 ? 1 : i % 8 == 3 ? -2 : 300);
    struct sqz_rate_model model;
    sqz_rate_model_fit(&model, levels, 1000);
    ck_assert_float_eq_tol(sqz_rate_bits(&model, 0), 1, 0.05f);
    ck_assert_float_eq_tol(sqz_rate_bits(&model, 1), 3, 0.1f);
    ck_assert_float_eq_tol(sqz_rate_bits(&model, -2), 4, 0.1f);
    ck_assert_float_eq_tol(sqz_rate_bits(&model, 300), 3 + 9, 0.1f); /* 256 magnitudes and a sign in one bucket */
    ck_assert(isfinite(sqz_rate_bits(&model, SQZ_MAX_LEVEL)));
    ck_assert_double_eq_tol(sqz_rate_entropy_nbits(levels, 1000), 1000 * (0.5 + 0.25 * 2 + 0.25 * 3), 1);
    sqz_rate_model_geometric(&model, 1);
    ck_assert_float_eq_tol(sqz_rate_bits(&model, 0), 1, 0.01f);
    ck_assert_float_eq_tol(sqz_rate_bits(&model, 2), 3 + 1, 0.01f);
}
END_TEST

Suite *test_compensate(void) {
    Suite *suite = suite_create("compensate");
    TCase *tests = tcase_create("compensate");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, rounding_beats_rounding_to_nearest);
    tcase_add_test(tests, the_reported_error_is_the_real_one);
    tcase_add_test(tests, four_weights_against_all_choices);
    tcase_add_test(tests, least_squares_finds_the_weights_for_changed_inputs);
    tcase_add_test(tests, a_price_on_bits_saves_bits);
    tcase_add_test(tests, levels_never_leave_their_range);
    tcase_add_test(tests, singular_moments_and_dead_inputs);
    tcase_add_test(tests, few_positions_kill_no_input);
    tcase_add_test(tests, inputs_that_never_vary_at_all);
    tcase_add_test(tests, a_mask_is_kept);
    tcase_add_test(tests, blocks_of_inputs);
    tcase_add_test(tests, threads_change_nothing);
    tcase_add_test(tests, bad_arguments_are_refused);
    tcase_add_test(tests, running_out_of_memory_is_clean);
    tcase_add_test(tests, the_rate_model_prices_what_it_has_seen);
    suite_add_tcase(suite, tests);
    return suite;
}
