/* test_prune.c - magnitude pruning: exact counts, ties, scopes, floors, packed kernels. */
#include <float.h>
#include <stdlib.h>

#include "lib/parallel.h"
#include "lib/prune.h"
#include "lib/quantize.h"
#include "lib/select.h"
#include "tests/unit/chain_model.h"

static enum sqz_status prune(struct sqz_model *model, enum sqz_prune_rule rule, const struct sqz_layer_value *values,
                             size_t n_values, bool global, size_t min_per_layer, struct sqz_prune_stats *stats,
                             struct sqz_error *err) {
    struct sqz_prune_options options = {rule, values, n_values, global, min_per_layer};
    size_t n_stats;
    return sqz_prune(model, &options, stats, &n_stats, err);
}

/* The same by sorting indices: smaller magnitude first, among equal ones the later index first. */
static const float *sort_data;
static int compare_removal(const void *a, const void *b) {
    size_t i = *(const size_t *)a, k = *(const size_t *)b;
    float x = fabsf(sort_data[i]), y = fabsf(sort_data[k]);
    if (x != y) return x < y ? -1 : 1;
    return i > k ? -1 : 1;
}

static void prune_by_sorting(float *values, size_t n, size_t zeros) {
    size_t *order = malloc(n * sizeof *order);
    for (size_t i = 0; i < n; i++) order[i] = i;
    sort_data = values;
    qsort(order, n, sizeof *order, compare_removal);
    float *out = malloc(n * sizeof *out);
    memcpy(out, values, n * sizeof *out);
    for (size_t i = 0; i < zeros; i++) out[order[i]] = 0;
    memcpy(values, out, n * sizeof *out);
    free(out);
    free(order);
}

static void assert_equal_values(const float *a, const float *b, size_t n) {
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(a[i] == b[i], "weight %zu is %g instead of %g", i, (double)a[i], (double)b[i]);
}

/*
 * "|w| <= threshold" once removed every tie: asked for 50%, a layer of shared
 * values became 80% sparse. 60 ties at 0.5, 20 smaller, 20 larger, half of all to go.
 */
START_TEST(ties_give_exactly_the_number_asked_for) {
    float values[100];
    for (int i = 0; i < 100; i++)
        values[i] = i % 5 < 3 ? (i % 2 ? 0.5f : -0.5f) : i % 5 == 3 ? 0.1f + (float)i * 1e-3f : 0.9f;
    struct chain_layer layer = {"conv", SQZ_OP_CONV, 100, values};
    struct sqz_layer_value half = {NULL, 0.5};
    for (int global = 0; global < 2; global++) {
        struct sqz_model *model = chain_model(&layer, 1);
        struct sqz_prune_stats stats[1];
        ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &half, 1, global, 1, stats, NULL), SQZ_OK);
        float expected[100];
        memcpy(expected, values, sizeof values);
        prune_by_sorting(expected, 100, 50);
        ck_assert_uint_eq(count_zeros(model->weights[0].data, 100), 50);
        assert_equal_values(model->weights[0].data, expected, 100);
        ck_assert(model->weights[1].data[0] == 1e-9f);
        ck_assert_uint_eq(stats[0].nonzero_before, 100);
        ck_assert_uint_eq(stats[0].nonzero_after, 50);
        ck_assert(stats[0].threshold == 0.5f && stats[0].max_change == 0.5f);
        sqz_model_free(model);
    }
}
END_TEST

START_TEST(a_sparser_layer_is_not_touched) {
    float values[10] = {0, 0, 0, -0.0f, 0, 0, 0, 1, 2, 3};
    struct chain_layer layer = {"conv", SQZ_OP_CONV, 10, values};
    struct sqz_layer_value half = {NULL, 0.5};
    struct sqz_model *model = chain_model(&layer, 1);
    struct sqz_prune_stats stats[1];
    ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &half, 1, false, 0, stats, NULL), SQZ_OK);
    ck_assert_mem_eq(model->weights[0].data, values, sizeof values);
    ck_assert_uint_eq(stats[0].nonzero_before, 3);
    ck_assert_uint_eq(stats[0].nonzero_after, 3);
    ck_assert(stats[0].threshold == 0);
    sqz_model_free(model);
}
END_TEST

/* Random layers with and without ties against sorting, for several densities, thread counts and both scopes. */
START_TEST(agrees_with_sorting) {
    struct sqz_random random = sqz_random_seeded(3);
    for (int round = 0; round < 60; round++) {
        size_t n = round == 59 ? 700000 : 1 + sqz_random_next(&random) % 3000;
        double density = round % 7 == 0 ? 1 : 0.001 + 0.998 * sqz_random_unit(&random);
        float *values = malloc(n * sizeof *values);
        fill_laplace(values, n, 1, (uint64_t)round);
        for (size_t i = 0; i < n && round % 2; i++) values[i] = roundf(values[i] * 4) / 4;
        struct chain_layer layer = {"conv", SQZ_OP_CONV, n, values};
        struct sqz_model *model = chain_model(&layer, 1);
        struct sqz_prune_stats stats[1];
        struct sqz_layer_value rule = {NULL, density};
        sqz_set_threads(1 + round % 3);
        ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &rule, 1, round % 4 < 2, 0, stats, NULL), SQZ_OK);
        sqz_set_threads(0);
        size_t zeros = (size_t)floor((double)n * (1 - density) + 0.5), already = count_zeros(values, n);
        if (zeros > already) prune_by_sorting(values, n, zeros);
        assert_equal_values(model->weights[0].data, values, n);
        ck_assert_uint_eq(stats[0].nonzero_after, n - (zeros > already ? zeros : already));
        sqz_model_free(model);
        free(values);
    }
}
END_TEST

/* The pool is one array in the order of the layers. */
START_TEST(global_scope_is_one_ranking) {
    static float values[3][500], joined[1500];
    struct chain_layer layers[3] = {
        {"a", SQZ_OP_CONV, 500, values[0]}, {"b", SQZ_OP_DENSE, 500, values[1]}, {"c", SQZ_OP_CONV, 500, values[2]}};
    for (int ties = 0; ties < 2; ties++) {
        for (int l = 0; l < 3; l++) {
            fill_laplace(values[l], 500, 1 + 0.2 * l, (uint64_t)l);
            for (int i = 0; ties && i < 500; i++) values[l][i] = roundf(values[l][i] * 2) / 2 + 0.25f;
            memcpy(joined + 500 * l, values[l], sizeof values[l]);
        }
        struct sqz_model *model = chain_model(layers, 3);
        struct sqz_prune_stats stats[3];
        struct sqz_layer_value rule = {NULL, 0.3};
        ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &rule, 1, true, 1, stats, NULL), SQZ_OK);
        prune_by_sorting(joined, 1500, 1050);
        for (int l = 0; l < 3; l++) assert_equal_values(model->weights[2 * l].data, joined + 500 * l, 500);
        sqz_model_free(model);
    }
}
END_TEST

/*
 * One threshold over layers of different scale once emptied the small-scale
 * layer and made the network constant. Layer 2: a tenth of the weights, 100 times smaller.
 */
START_TEST(global_threshold_leaves_every_layer_its_floor) {
    static float values[3][900];
    static const size_t sizes[3] = {900, 200, 900};
    static const size_t floors[] = {0, 1, 16, 150, 100000};
    struct chain_layer layers[3] = {{"one", SQZ_OP_CONV, 900, values[0]},
                                    {"two", SQZ_OP_CONV, 200, values[1]},
                                    {"three", SQZ_OP_CONV, 900, values[2]}};
    struct sqz_layer_value rule = {NULL, 0.3};
    for (int l = 0; l < 3; l++) fill_laplace(values[l], sizes[l], l == 1 ? 1e-4 : 1e-2, (uint64_t)l + 10);
    for (size_t f = 0; f < sizeof floors / sizeof *floors; f++) {
        struct sqz_model *model = chain_model(layers, 3);
        struct sqz_prune_stats stats[3];
        ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &rule, 1, true, floors[f], stats, NULL), SQZ_OK);
        size_t zeros = 0, least = floors[f] < 200 ? floors[f] : 200;
        for (int l = 0; l < 3; l++) zeros += count_zeros(model->weights[2 * l].data, sizes[l]);
        ck_assert_uint_eq(stats[1].nonzero_after, least);
        ck_assert(stats[1].floored == (floors[f] > 0));
        if (floors[f] < 100000) {
            ck_assert(!stats[0].floored && !stats[2].floored);
            ck_assert_uint_eq(zeros, 1400);
        } else {
            ck_assert_uint_eq(zeros, 0);
        }
        /* What the floor keeps are the largest. */
        float expected[200];
        memcpy(expected, values[1], sizeof expected);
        prune_by_sorting(expected, 200, 200 - least);
        assert_equal_values(model->weights[2].data, expected, 200);
        sqz_model_free(model);
    }
}
END_TEST

START_TEST(layers_with_their_own_density_leave_the_pool) {
    static float values[3][400];
    struct chain_layer layers[3] = {{"conv1", SQZ_OP_CONV, 400, values[0]},
                                    {"conv2", SQZ_OP_CONV, 400, values[1]},
                                    {"fc", SQZ_OP_DENSE, 400, values[2]}};
    for (int l = 0; l < 3; l++) fill_laplace(values[l], 400, 1, (uint64_t)l);
    struct sqz_prune_stats stats[3];
    struct sqz_layer_value rules[] = {{NULL, 0.5}, {"conv1", 1.0}};
    struct sqz_model *model = chain_model(layers, 3);
    ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, rules, 2, true, 1, stats, NULL), SQZ_OK);
    ck_assert_uint_eq(stats[0].nonzero_after, 400);
    ck_assert_uint_eq(stats[1].nonzero_after + stats[2].nonzero_after, 400);
    sqz_model_free(model);

    /* A layer that no rule matches is left alone. */
    model = chain_model(layers, 3);
    ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, rules + 1, 1, true, 1, stats, NULL), SQZ_OK);
    struct sqz_layer_value fc = {"f*", 0.25};
    ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &fc, 1, false, 1, stats, NULL), SQZ_OK);
    ck_assert_uint_eq(stats[0].nonzero_after, 400);
    ck_assert_uint_eq(stats[1].nonzero_after, 400);
    ck_assert_uint_eq(stats[2].nonzero_after, 100);
    sqz_model_free(model);
}
END_TEST

START_TEST(threshold_and_sensitivity) {
    float values[8] = {0.5f, -0.5f, 0.25f, -1e-40f, 1, -2, -0.0f, 0.75f};
    struct chain_layer layer = {"fc", SQZ_OP_DENSE, 8, values};
    struct sqz_prune_stats stats[1];
    static const struct {
        double threshold;
        size_t left;
    } cases[] = {{0, 7}, {1e-41, 7}, {1e-39, 6}, {0.5, 3}, {0.5 - 1e-12, 5}, {2, 0}, {1e300, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sqz_model *model = chain_model(&layer, 1);
        struct sqz_layer_value rule = {NULL, cases[i].threshold};
        ck_assert_int_eq(prune(model, SQZ_PRUNE_THRESHOLD, &rule, 1, false, 0, stats, NULL), SQZ_OK);
        ck_assert_uint_eq(stats[0].nonzero_after, cases[i].left);
        ck_assert_uint_eq(count_zeros(model->weights[0].data, 8), 8 - cases[i].left);
        sqz_model_free(model);
    }
    /* Mean 0, standard deviation 5: 1 to 4 go with a sensitivity of 0.9, 5 goes with 1. */
    float even[4] = {3, -3, -sqrtf(41), sqrtf(41)};
    layer.values = even;
    layer.n = 4;
    struct sqz_model *model = chain_model(&layer, 1);
    struct sqz_layer_value rule = {NULL, 0.59};
    ck_assert_int_eq(prune(model, SQZ_PRUNE_SENSITIVITY, &rule, 1, false, 0, stats, NULL), SQZ_OK);
    ck_assert_uint_eq(stats[0].nonzero_after, 4);
    rule.value = 0.61;
    ck_assert_int_eq(prune(model, SQZ_PRUNE_SENSITIVITY, &rule, 1, false, 0, stats, NULL), SQZ_OK);
    ck_assert_uint_eq(stats[0].nonzero_after, 2);
    ck_assert(stats[0].threshold == 3);
    sqz_model_free(model);
}
END_TEST

/* NaN is neither above nor below a threshold; -0.0 is zero, a denormal is not. */
START_TEST(special_values) {
    float values[4] = {1, -0.0f, 1e-40f, 2};
    struct chain_layer layers[2] = {{"conv", SQZ_OP_CONV, 4, values}, {"fc", SQZ_OP_DENSE, 4, values}};
    struct sqz_layer_value rule = {NULL, 0.75};
    struct sqz_prune_stats stats[2];
    struct sqz_error err = {0};
    struct sqz_model *model = chain_model(layers, 2);
    ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &rule, 1, false, 0, stats, NULL), SQZ_OK);
    ck_assert_uint_eq(stats[0].nonzero_after, 3);
    ck_assert_mem_eq(model->weights[0].data, values, sizeof values);
    model->weights[2].data[3] = -INFINITY;
    rule.value = 0.5;
    ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &rule, 1, false, 0, stats, &err), SQZ_NONFINITE);
    ck_assert_str_eq(err.text, "weight fc.weight of layer fc holds infinity at index 3");
    model->weights[2].data[1] = NAN;
    ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &rule, 1, true, 0, stats, &err), SQZ_NONFINITE);
    ck_assert_str_eq(err.text, "weight fc.weight of layer fc holds NaN at index 1");
    ck_assert_mem_eq(model->weights[0].data, values, sizeof values);
    sqz_model_free(model);
}
END_TEST

START_TEST(bad_options) {
    float values[2] = {1, 2};
    struct chain_layer layer = {"conv", SQZ_OP_CONV, 2, values};
    struct sqz_model *model = chain_model(&layer, 1);
    struct sqz_prune_stats stats[1];
    struct sqz_error err = {0};
    static const struct {
        enum sqz_prune_rule rule;
        double value;
    } bad[] = {{SQZ_PRUNE_DENSITY, 0},      {SQZ_PRUNE_DENSITY, 1.5},         {SQZ_PRUNE_DENSITY, -1},
               {SQZ_PRUNE_DENSITY, NAN},    {SQZ_PRUNE_THRESHOLD, -1},        {SQZ_PRUNE_THRESHOLD, NAN},
               {SQZ_PRUNE_SENSITIVITY, -1}, {SQZ_PRUNE_SENSITIVITY, INFINITY}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sqz_layer_value rule = {NULL, bad[i].value};
        ck_assert_int_eq(prune(model, bad[i].rule, &rule, 1, false, 0, stats, &err), SQZ_ARGUMENT);
        ck_assert_ptr_nonnull(strstr(err.text, "all layers"));
    }
    struct sqz_layer_value unknown = {"fire*", 0.5};
    ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &unknown, 1, false, 0, stats, &err), SQZ_UNKNOWN_LAYER);
    struct sqz_layer_value all = {NULL, 1};
    ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &all, 1, false, 0, stats, &err), SQZ_OK);
    ck_assert_mem_eq(model->weights[0].data, values, sizeof values);
    sqz_model_free(model);
}
END_TEST

/* Pruning after weight sharing removes the same weights and drops the entries that nobody uses any more. */
START_TEST(packed_kernels_stay_packed) {
    static float values[1000];
    fill_laplace(values, 1000, 1, 5);
    struct chain_layer layer = {"conv", SQZ_OP_CONV, 1000, values};
    for (int keep_data = 0; keep_data < 2; keep_data++) {
        struct sqz_model *model = chain_model(&layer, 1);
        struct sqz_layer_value bits = {NULL, 4}, rule = {NULL, 0.2};
        struct sqz_quantize_options options = {.bits = &bits, .n_bits = 1, .method = SQZ_KMEANS_OPTIMAL};
        struct sqz_quantize_stats quantized[1];
        struct sqz_prune_stats stats[1];
        size_t n;
        ck_assert_int_eq(sqz_quantize(model, &options, quantized, &n, NULL), SQZ_OK);
        float expected[1000];
        memcpy(expected, weight_values(model, 0), sizeof expected);
        if (!keep_data) {
            sqz_free(model->weights[0].data);
            model->weights[0].data = NULL;
        }
        ck_assert_int_eq(prune(model, SQZ_PRUNE_DENSITY, &rule, 1, false, 0, stats, NULL), SQZ_OK);
        ck_assert((model->weights[0].data != NULL) == keep_data);
        prune_by_sorting(expected, 1000, 800);
        float restored[1000];
        sqz_packed_unpack(model->weights[0].packed, 1, restored);
        assert_equal_values(restored, expected, 1000);
        if (keep_data) assert_equal_values(model->weights[0].data, expected, 1000);
        ck_assert_int_eq(sqz_packed_check(model->weights[0].packed, &model->weights[0].shape, "w", NULL), SQZ_OK);
        ck_assert_uint_lt(model->weights[0].packed->n_codebook, 16);
        sqz_model_free(model);
    }
}
END_TEST

START_TEST(empty_and_single_weights) {
    float one = -3;
    struct chain_layer layers[3] = {
        {"one", SQZ_OP_CONV, 1, &one}, {"zeros", SQZ_OP_CONV, 5, NULL}, {"nothing", SQZ_OP_DENSE, 0, NULL}};
    static const double densities[] = {1, 0.51, 0.5, 0.01};
    static const size_t left[] = {1, 1, 0, 0};
    for (int i = 0; i < 4; i++) {
        for (int rule = SQZ_PRUNE_DENSITY; rule <= SQZ_PRUNE_SENSITIVITY; rule++) {
            struct sqz_model *model = chain_model(layers, 3);
            struct sqz_prune_stats stats[3];
            struct sqz_layer_value value = {NULL, densities[i]};
            ck_assert_int_eq(prune(model, (enum sqz_prune_rule)rule, &value, 1, false, 0, stats, NULL), SQZ_OK);
            ck_assert_uint_eq(stats[0].nonzero_after, rule == SQZ_PRUNE_DENSITY ? left[i] : 1);
            ck_assert_uint_eq(stats[1].nonzero_after, 0);
            ck_assert_uint_eq(stats[2].count, 0);
            sqz_model_free(model);
        }
    }
}
END_TEST

START_TEST(survives_short_memory) {
    static float values[2][300];
    struct chain_layer layers[2] = {{"a", SQZ_OP_CONV, 300, values[0]}, {"b", SQZ_OP_CONV, 300, values[1]}};
    for (int l = 0; l < 2; l++) fill_laplace(values[l], 300, l ? 1 : 1e-3, 1);
    struct sqz_layer_value rule = {NULL, 0.3};
    struct sqz_model *model = chain_model(layers, 2);
    struct sqz_prune_stats stats[2];
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    int n = 0;
    for (; n < 1000 && status != SQZ_OK; n++) {
        ck_assert_mem_eq(model->weights[0].data, values[0], sizeof values[0]);
        sqz_alloc_fail_after(n);
        status = prune(model, SQZ_PRUNE_DENSITY, &rule, 1, true, 20, stats, NULL);
        sqz_alloc_fail_after(-1);
        ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
    }
    ck_assert_int_eq(status, SQZ_OK);
    ck_assert_int_gt(n, 5);
    ck_assert_uint_eq(stats[0].nonzero_after, 20);
    sqz_model_free(model);
}
END_TEST

START_TEST(selection_over_spans) {
    float values[6] = {-3, 1, 0, 2, -1, 1};
    struct sqz_span spans[3] = {{values, 2}, {values, 0}, {values + 2, 4}};
    static const float ranked[6] = {0, 1, 1, 1, 2, 3};
    static const size_t below[6] = {0, 1, 1, 1, 4, 5}, equal[6] = {1, 3, 3, 3, 1, 1};
    for (size_t rank = 1; rank <= 6; rank++) {
        uint32_t magnitude;
        struct sqz_rank out;
        ck_assert(sqz_select_magnitude(spans, 3, rank, &magnitude, &out));
        ck_assert_uint_eq(magnitude, sqz_magnitude(ranked[rank - 1]));
        ck_assert_uint_eq(out.below, below[rank - 1]);
        ck_assert_uint_eq(out.equal, equal[rank - 1]);
    }
}
END_TEST

Suite *test_prune(void) {
    Suite *suite = suite_create("prune");
    TCase *tc = tcase_create("prune");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, ties_give_exactly_the_number_asked_for);
    tcase_add_test(tc, a_sparser_layer_is_not_touched);
    tcase_add_test(tc, agrees_with_sorting);
    tcase_add_test(tc, global_scope_is_one_ranking);
    tcase_add_test(tc, global_threshold_leaves_every_layer_its_floor);
    tcase_add_test(tc, layers_with_their_own_density_leave_the_pool);
    tcase_add_test(tc, threshold_and_sensitivity);
    tcase_add_test(tc, special_values);
    tcase_add_test(tc, bad_options);
    tcase_add_test(tc, packed_kernels_stay_packed);
    tcase_add_test(tc, empty_and_single_weights);
    tcase_add_test(tc, survives_short_memory);
    tcase_add_test(tc, selection_over_spans);
    suite_add_tcase(suite, tc);
    return suite;
}
