/* test_packed.c - packed weights: restoring, checking, finding codebooks, and choosing layers by pattern. */
#include <float.h>
#include <stdlib.h>

#include "lib/codebook.h"
#include "lib/layers.h"
#include "lib/parallel.h"
#include "tests/unit/chain_model.h"

START_TEST(codebook_round_trip_is_bit_exact) {
    static const float values[] = {0.25f, 0, -0.5f, 1.0f, -0.5f, 0, 1e-40f, -FLT_MAX};
    struct sqz_packed *packed;
    struct sqz_shape shape = sqz_shape2(2, 4);
    float restored[8];
    ck_assert_int_eq(sqz_packed_from_values(values, 8, &packed, NULL), SQZ_OK);
    ck_assert_uint_eq(packed->n_codebook, 5);
    ck_assert_int_eq(sqz_packed_check(packed, &shape, "w", NULL), SQZ_OK);
    ck_assert_uint_eq(sqz_packed_nonzero(packed), 6);
    sqz_packed_unpack(packed, 2, restored);
    ck_assert_mem_eq(restored, values, sizeof values);
    sqz_packed_free(packed);
}
END_TEST

/* Any number of distinct values up to the limit, and one more; sizes around the pieces of parallel loops. */
START_TEST(distinct_values_are_found_up_to_the_limit) {
    static const size_t sizes[] = {1, 255, 256, 257, 1000, 262143, 262144, 262145};
    static const uint32_t counts[] = {1, 2, 3, 100, 255, 256, 257};
    struct sqz_random random = sqz_random_seeded(7);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            size_t n = sizes[s], distinct = counts[c];
            if (distinct > n) continue;
            float *values = malloc(n * sizeof *values), *restored = malloc(n * sizeof *restored);
            for (size_t i = 0; i < n; i++) {
                uint64_t which = i < distinct ? i : sqz_random_next(&random) % distinct;
                values[i] = ((float)which - 100.5f) * 0.37f;
            }
            struct sqz_packed *packed;
            ck_assert_int_eq(sqz_packed_from_values(values, n, &packed, NULL), SQZ_OK);
            ck_assert((packed != NULL) == (distinct <= 256));
            if (packed) {
                struct sqz_shape shape = sqz_shape1(n);
                ck_assert_uint_eq(packed->n_codebook, distinct);
                ck_assert_int_eq(sqz_packed_check(packed, &shape, "w", NULL), SQZ_OK);
                sqz_packed_unpack(packed, n, restored);
                ck_assert_mem_eq(restored, values, n * sizeof *values);
            }
            sqz_packed_free(packed);
            free(values);
            free(restored);
        }
    }
}
END_TEST

START_TEST(special_values) {
    struct sqz_packed *packed;
    float zeros[3] = {0, -0.0f, 0}, nan[2] = {1, NAN}, restored[3];
    ck_assert_int_eq(sqz_packed_from_values(zeros, 3, &packed, NULL), SQZ_OK);
    ck_assert_uint_eq(packed->n_codebook, 0);
    ck_assert_uint_eq(sqz_packed_nonzero(packed), 0);
    sqz_packed_unpack(packed, 1, restored);
    for (int i = 0; i < 3; i++) ck_assert(restored[i] == 0);
    sqz_packed_free(packed);
    ck_assert_int_eq(sqz_packed_from_values(nan, 2, &packed, NULL), SQZ_OK);
    ck_assert_ptr_null(packed);
    ck_assert_int_eq(sqz_packed_from_values(NULL, 0, &packed, NULL), SQZ_OK);
    ck_assert_uint_eq(packed->n_levels, 0);
    sqz_packed_free(packed);
}
END_TEST

START_TEST(uniform_levels_use_the_step_of_their_channel) {
    int16_t levels[6] = {1, -2, 0, 3, 8191, -8191};
    float steps[3] = {0.5f, 2, 1e-3f}, restored[6];
    struct sqz_packed packed = {
        .kind = SQZ_LEVELS_UNIFORM, .n_levels = 6, .levels = levels, .n_steps = 3, .steps = steps};
    struct sqz_shape shape = sqz_shape2(3, 2);
    static const float expected[6] = {0.5f, -1, 0, 6, 8191 * 1e-3f, -8191 * 1e-3f};
    ck_assert_int_eq(sqz_packed_check(&packed, &shape, "w", NULL), SQZ_OK);
    sqz_packed_unpack(&packed, 3, restored);
    ck_assert_mem_eq(restored, expected, sizeof expected);
    packed.n_steps = 1;
    sqz_packed_unpack(&packed, 3, restored);
    ck_assert(restored[4] == 8191 * 0.5f);
}
END_TEST

/* A channel that spans several pieces of the parallel loop, and pieces with several channels. */
START_TEST(uniform_levels_over_many_pieces) {
    static const size_t channels[] = {1, 3, 1000, 600001};
    size_t n = 0;
    for (size_t c = 0; c < 4; c++) {
        n = 600001 / channels[c] * channels[c];
        struct sqz_packed packed = {.kind = SQZ_LEVELS_UNIFORM, .n_levels = n, .n_steps = (uint32_t)channels[c]};
        packed.levels = malloc(n * sizeof *packed.levels);
        packed.steps = malloc(channels[c] * sizeof *packed.steps);
        float *restored = malloc(n * sizeof *restored);
        for (size_t i = 0; i < n; i++) packed.levels[i] = (int16_t)(i % 15) - 7;
        for (size_t i = 0; i < channels[c]; i++) packed.steps[i] = (float)(i + 1);
        sqz_packed_unpack(&packed, channels[c], restored);
        for (size_t i = 0; i < n; i++)
            ck_assert(restored[i] == (float)((int)(i % 15) - 7) * (float)(i / (n / channels[c]) + 1));
        free(packed.levels);
        free(packed.steps);
        free(restored);
    }
}
END_TEST

static void expect_bad(struct sqz_packed *packed, const char *text) {
    struct sqz_error err = {0};
    struct sqz_shape shape = sqz_shape2(2, 2);
    ck_assert_int_eq(sqz_packed_check(packed, &shape, "w", &err), SQZ_MALFORMED);
    ck_assert_msg(strstr(err.text, text) != NULL, "\"%s\" does not say \"%s\"", err.text, text);
}

START_TEST(check_names_what_is_wrong) {
    int16_t levels[4] = {1, 2, 0, 2};
    float codebook[3] = {-1, 1, 2}, steps[2] = {1, 1};
    struct sqz_packed good = {
        .kind = SQZ_LEVELS_CODEBOOK, .n_levels = 4, .levels = levels, .n_codebook = 2, .codebook = codebook};
    struct sqz_packed bad = good;
    bad.n_levels = 3;
    expect_bad(&bad, "shape");
    bad = good;
    bad.n_codebook = 3;
    expect_bad(&bad, "entry 2 in the codebook of weight w is not used");
    bad = good;
    bad.n_codebook = 1;
    expect_bad(&bad, "level 2 at index 1");
    levels[3] = -1;
    expect_bad(&good, "level -1 at index 3");
    levels[3] = 2;
    codebook[1] = -1;
    expect_bad(&good, "not above");
    codebook[1] = 0;
    expect_bad(&good, "is 0");
    codebook[1] = NAN;
    expect_bad(&good, "nan");
    codebook[1] = 1;
    bad = good;
    bad.n_codebook = 257;
    expect_bad(&bad, "more than 256");
    bad = good;
    bad.kind = (enum sqz_level_kind)7;
    expect_bad(&bad, "unknown kind");
    struct sqz_packed uniform = {
        .kind = SQZ_LEVELS_UNIFORM, .n_levels = 4, .levels = levels, .n_steps = 2, .steps = steps};
    bad = uniform;
    bad.n_steps = 3;
    expect_bad(&bad, "3 steps for 2");
    steps[1] = 0;
    expect_bad(&uniform, "step 1");
    steps[1] = INFINITY;
    expect_bad(&uniform, "step 1");
    steps[1] = 1;
    levels[0] = 8192;
    expect_bad(&uniform, "level 8192 at index 0");
}
END_TEST

START_TEST(packing_survives_short_memory) {
    float values[4] = {1, 2, 0, 1};
    struct sqz_packed *packed = NULL;
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    int n = 0;
    for (; n < 10 && status != SQZ_OK; n++) {
        sqz_alloc_fail_after(n);
        status = sqz_packed_from_values(values, 4, &packed, NULL);
        sqz_alloc_fail_after(-1);
        ck_assert(status == SQZ_OK || (status == SQZ_OUT_OF_MEMORY && packed == NULL));
    }
    ck_assert_int_eq(n, 4);
    sqz_packed_free(packed);
}
END_TEST

START_TEST(last_matching_rule_wins) {
    struct sqz_layer_value rules[] = {{NULL, 8}, {"fire*", 6}, {"fire9*", 4}, {"fire?.squeeze", 3}};
    ck_assert(sqz_layer_value_get(rules, 4, "conv1", 1) == 8);
    ck_assert(sqz_layer_value_get(rules, 4, "fire2.expand", 1) == 6);
    ck_assert(sqz_layer_value_get(rules, 4, "fire9.expand", 1) == 4);
    ck_assert(sqz_layer_value_get(rules, 4, "fire9.squeeze", 1) == 3);
    ck_assert(sqz_layer_value_get(rules + 1, 1, "conv1", 1) == 1);
    ck_assert(sqz_layer_value_get(NULL, 0, "conv1", 5) == 5);
    struct sqz_layer_value undone[] = {{"conv1", 2}, {NULL, 7}};
    ck_assert(sqz_layer_value_get(undone, 2, "conv1", 1) == 7);
}
END_TEST

START_TEST(unknown_pattern_lists_the_layers) {
    struct chain_layer layers[] = {{"conv1", SQZ_OP_CONV, 2, NULL}, {"fc", SQZ_OP_DENSE, 2, NULL}};
    struct sqz_model *model = chain_model(layers, 2);
    struct sqz_error err = {0};
    struct sqz_layer_value good[] = {{"c*1", 1}, {NULL, 2}}, bad[] = {{"conv?", 1}, {"fire*", 2}};
    ck_assert_int_eq(sqz_layer_value_check(good, 2, model, &err), SQZ_OK);
    ck_assert_int_eq(sqz_layer_value_check(bad, 2, model, &err), SQZ_UNKNOWN_LAYER);
    ck_assert_str_eq(err.text, "no layer matches \"fire*\"; the layers with weights are: conv1, fc");
    sqz_model_free(model);
}
END_TEST

START_TEST(long_list_of_layers_is_cut) {
    enum { MANY = 300 };
    static struct chain_layer layers[MANY];
    static char names[MANY][32];
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "features.%d", i);
        layers[i] = (struct chain_layer){names[i], SQZ_OP_CONV, 1, NULL};
    }
    struct sqz_model *model = chain_model(layers, MANY);
    struct sqz_error err = {0};
    struct sqz_layer_value bad = {"nothing", 1};
    ck_assert_int_eq(sqz_layer_value_check(&bad, 1, model, &err), SQZ_UNKNOWN_LAYER);
    int last = -1, more = -1;
    ck_assert_ptr_nonnull(strstr(err.text, "features.0, features.1, "));
    ck_assert_int_eq(sscanf(strrchr(err.text, '.'), ".%d and %d more", &last, &more), 2);
    ck_assert_int_eq(last + 1 + more, MANY);
    sqz_model_free(model);
}
END_TEST

Suite *test_packed(void) {
    Suite *suite = suite_create("packed");
    TCase *tc = tcase_create("packed");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, codebook_round_trip_is_bit_exact);
    tcase_add_test(tc, distinct_values_are_found_up_to_the_limit);
    tcase_add_test(tc, special_values);
    tcase_add_test(tc, uniform_levels_use_the_step_of_their_channel);
    tcase_add_test(tc, uniform_levels_over_many_pieces);
    tcase_add_test(tc, check_names_what_is_wrong);
    tcase_add_test(tc, packing_survives_short_memory);
    tcase_add_test(tc, last_matching_rule_wins);
    tcase_add_test(tc, unknown_pattern_lists_the_layers);
    tcase_add_test(tc, long_list_of_layers_is_cut);
    suite_add_tcase(suite, tc);
    return suite;
}
