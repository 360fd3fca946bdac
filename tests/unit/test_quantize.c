/* test_quantize.c - weight sharing over whole models. */
#include <float.h>
#include <stdlib.h>

#include "lib/parallel.h"
#include "lib/quantize.h"
#include "tests/unit/chain_model.h"

static enum sqz_status quantize(struct sqz_model *model, double bits, enum sqz_kmeans_method method,
                                enum sqz_kmeans_init init, struct sqz_quantize_stats *stats, struct sqz_error *err) {
    struct sqz_layer_value rule = {NULL, bits};
    struct sqz_quantize_options options = {.bits = &rule, .n_bits = 1, .method = method, .init = init, .seed = 1};
    size_t n_stats;
    return sqz_quantize(model, &options, stats, &n_stats, err);
}

/* Each method and initialisation in turn. */
#define N_WAYS 4
static enum sqz_kmeans_method way_method(int way) {
    return way == 3 ? SQZ_KMEANS_OPTIMAL : SQZ_KMEANS_LLOYD;
}

static enum sqz_kmeans_init way_init(int way) {
    return way == 3 ? SQZ_INIT_LINEAR : (enum sqz_kmeans_init)way;
}

/*
 * k-means over the zeros too once moved them to a small value. 32 zeros and
 * 32 weights of one sign close to zero: zero is not in the codebook, so 2 bits are 4 values besides it.
 */
START_TEST(sparsity_survives) {
    float values[64];
    for (int i = 0; i < 64; i++) values[i] = i % 2 ? 0.02f + 0.04f * (float)(i / 2) / 31 : 0;
    struct chain_layer layer = {"conv", SQZ_OP_CONV, 64, values};
    for (int way = 0; way < N_WAYS; way++) {
        struct sqz_model *model = chain_model(&layer, 1);
        struct sqz_quantize_stats stats[1];
        ck_assert_int_eq(quantize(model, 2, way_method(way), way_init(way), stats, NULL), SQZ_OK);
        ck_assert_ptr_null(model->weights[0].data);
        ck_assert_uint_eq(model->weights[0].packed->n_codebook, 4);
        ck_assert_uint_eq(stats[0].nonzero, 32);
        ck_assert_uint_eq(stats[0].bits, 2);
        const float *after = weight_values(model, 0);
        for (int i = 0; i < 64; i++) ck_assert((after[i] == 0) == (i % 2 == 0));
        ck_assert(model->weights[1].data[0] == 1e-9f);
        sqz_model_free(model);
    }
}
END_TEST

/* Initialisation once assumed at least as many weights as clusters. */
START_TEST(few_distinct_values_stay_bit_for_bit) {
    static const float three[] = {-0.5f, 0, 0.25f, 1, 0.25f, -0.0f, -0.5f}, one[] = {1e-40f}, same[] = {2, 2, 2, 2};
    struct chain_layer layers[] = {{"three", SQZ_OP_CONV, 7, three},
                                   {"one", SQZ_OP_DENSE, 1, one},
                                   {"zeros", SQZ_OP_CONV, 5, NULL},
                                   {"same", SQZ_OP_CONV, 4, same},
                                   {"nothing", SQZ_OP_DENSE, 0, NULL}};
    static const uint32_t used[] = {3, 1, 0, 1, 0};
    for (int way = 0; way < N_WAYS; way++) {
        struct sqz_model *model = chain_model(layers, 5);
        struct sqz_quantize_stats stats[5];
        ck_assert_int_eq(quantize(model, 8, way_method(way), way_init(way), stats, NULL), SQZ_OK);
        for (int l = 0; l < 5; l++) {
            const struct sqz_weight *weight = &model->weights[2 * l];
            ck_assert_uint_eq(stats[l].n_codebook, used[l]);
            ck_assert_uint_eq(weight->packed->n_codebook, used[l]);
            ck_assert_int_eq(sqz_packed_check(weight->packed, &weight->shape, "w", NULL), SQZ_OK);
            ck_assert(stats[l].mse == 0 && stats[l].max_change == 0);
            const float *after = weight_values(model, (size_t)(2 * l));
            for (size_t i = 0; i < layers[l].n; i++)
                ck_assert(after[i] == (layers[l].values ? layers[l].values[i] : 0));
        }
        sqz_model_free(model);
    }
}
END_TEST

/* From one to more distinct values than clusters, for every number of bits. */
START_TEST(every_promise_holds_for_random_layers) {
    struct sqz_random random = sqz_random_seeded(21);
    for (int round = 0; round < 200; round++) {
        float values[1500];
        size_t n = 1 + sqz_random_next(&random) % (round % 5 ? 60 : 1500);
        unsigned bits = 1 + (unsigned)(sqz_random_next(&random) % 8);
        fill_laplace(values, n, 1, (uint64_t)round);
        for (size_t i = 0; i < n && round % 3 == 0; i++) values[i] = roundf(values[i] * 8) / 8;
        for (size_t i = 0; i < n && round % 4 == 0; i++) values[i] = sqz_random_next(&random) % 3 ? values[i] : 0;
        struct chain_layer layer = {"conv", SQZ_OP_CONV, n, values};
        struct sqz_model *model = chain_model(&layer, 1);
        struct sqz_quantize_stats stats[1];
        int way = round % N_WAYS;
        ck_assert_int_eq(quantize(model, bits, way_method(way), way_init(way), stats, NULL), SQZ_OK);
        const struct sqz_weight *weight = &model->weights[0];
        struct sqz_error err = {0};
        ck_assert_msg(sqz_packed_check(weight->packed, &weight->shape, "w", &err) == SQZ_OK, "%s", err.text);
        ck_assert_uint_le(weight->packed->n_codebook, 1u << bits);
        const float *after = weight_values(model, 0);
        double square = 0, most = 0;
        size_t nonzero = 0, out_of_order = 0;
        for (size_t i = 0; i < n; i++) {
            double error = fabs((double)after[i] - (double)values[i]);
            ck_assert((after[i] == 0) == (values[i] == 0));
            square += error * error;
            most = error > most ? error : most;
            nonzero += values[i] != 0;
            for (size_t k = 0; k < n && values[i] != 0; k++)
                out_of_order += values[k] != 0 && values[k] > values[i] && after[k] < after[i];
        }
        ck_assert_uint_eq(stats[0].nonzero, nonzero);
        ck_assert_uint_eq(out_of_order, 0);
        ck_assert(fabs(stats[0].mse * (double)nonzero - square) <= 1e-12 * square);
        ck_assert(stats[0].max_change == (float)most);
        sqz_model_free(model);
    }
}
END_TEST

START_TEST(defaults_are_the_papers) {
    static float values[2][1000];
    struct chain_layer layers[] = {{"conv", SQZ_OP_CONV, 1000, values[0]}, {"fc", SQZ_OP_DENSE, 1000, values[1]}};
    for (int l = 0; l < 2; l++) fill_laplace(values[l], 1000, 1, (uint64_t)l);
    struct sqz_quantize_options options = {.method = SQZ_KMEANS_OPTIMAL};
    struct sqz_quantize_stats stats[2];
    size_t n_stats;
    struct sqz_model *model = chain_model(layers, 2);
    ck_assert_int_eq(sqz_quantize(model, &options, stats, &n_stats, NULL), SQZ_OK);
    ck_assert_uint_eq(n_stats, 2);
    ck_assert_uint_eq(stats[0].n_codebook, 256);
    ck_assert_uint_eq(stats[1].n_codebook, 32);

    /* What is packed already is packed again from its values. */
    struct sqz_layer_value rules[] = {{NULL, 6}, {"c*", 3}};
    options.bits = rules;
    options.n_bits = 2;
    ck_assert_int_eq(sqz_quantize(model, &options, stats, &n_stats, NULL), SQZ_OK);
    ck_assert_uint_eq(stats[0].n_codebook, 8);
    ck_assert_uint_eq(stats[1].n_codebook, 32);
    ck_assert(stats[1].mse == 0);
    sqz_model_free(model);
}
END_TEST

START_TEST(not_finite_weights_are_named) {
    static float values[2][300];
    struct chain_layer layers[] = {{"conv", SQZ_OP_CONV, 300, values[0]}, {"fc", SQZ_OP_DENSE, 300, values[1]}};
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int l = 0; l < 2; l++) fill_laplace(values[l], 300, 1, (uint64_t)l);
    for (int b = 0; b < 3; b++) {
        struct sqz_model *model = chain_model(layers, 2);
        struct sqz_quantize_stats stats[2];
        struct sqz_error err = {0};
        model->weights[2].data[299] = bad[b];
        ck_assert_int_eq(quantize(model, 4, SQZ_KMEANS_LLOYD, SQZ_INIT_LINEAR, stats, &err), SQZ_NONFINITE);
        ck_assert_ptr_nonnull(strstr(err.text, "layer fc"));
        ck_assert_ptr_nonnull(strstr(err.text, "index 299"));
        ck_assert_ptr_null(model->weights[0].packed);
        sqz_model_free(model);
    }
}
END_TEST

START_TEST(extreme_values) {
    float values[40];
    for (int i = 0; i < 40; i++) values[i] = i < 20 ? -FLT_MAX + (float)i * 1e37f : (float)i * 1e-45f;
    struct chain_layer layer = {"conv", SQZ_OP_CONV, 40, values};
    for (int way = 0; way < N_WAYS; way++) {
        struct sqz_model *model = chain_model(&layer, 1);
        struct sqz_quantize_stats stats[1];
        ck_assert_int_eq(quantize(model, 4, way_method(way), way_init(way), stats, NULL), SQZ_OK);
        ck_assert_int_eq(sqz_packed_check(model->weights[0].packed, &model->weights[0].shape, "w", NULL), SQZ_OK);
        ck_assert_uint_eq(model->weights[0].packed->n_codebook, 16);
        sqz_model_free(model);
    }
}
END_TEST

START_TEST(bad_options) {
    static float values[10];
    struct chain_layer layer = {"conv", SQZ_OP_CONV, 10, values};
    fill_laplace(values, 10, 1, 1);
    struct sqz_model *model = chain_model(&layer, 1);
    struct sqz_quantize_stats stats[1];
    struct sqz_error err = {0};
    static const double bad[] = {0, 9, -1, 2.5, NAN, INFINITY};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        ck_assert_int_eq(quantize(model, bad[i], SQZ_KMEANS_LLOYD, SQZ_INIT_LINEAR, stats, &err), SQZ_ARGUMENT);
    ck_assert_int_eq(quantize(model, 4, (enum sqz_kmeans_method)9, SQZ_INIT_LINEAR, stats, &err), SQZ_ARGUMENT);
    ck_assert_int_eq(quantize(model, 4, SQZ_KMEANS_LLOYD, (enum sqz_kmeans_init)9, stats, &err), SQZ_ARGUMENT);
    struct sqz_layer_value unknown = {"fire*", 4};
    struct sqz_quantize_options options = {.bits = &unknown, .n_bits = 1};
    size_t n_stats;
    ck_assert_int_eq(sqz_quantize(model, &options, stats, &n_stats, &err), SQZ_UNKNOWN_LAYER);
    ck_assert_ptr_null(model->weights[0].packed);
    sqz_model_free(model);
}
END_TEST

struct progress_log {
    size_t calls, last, total;
    bool ascending;
};

static void note_progress(void *context, size_t done, size_t total) {
    struct progress_log *log = context;
    log->ascending = log->ascending && done >= log->last && done <= total;
    log->calls++;
    log->last = done;
    log->total = total;
}

static void assert_same_packed(const struct sqz_model *a, const struct sqz_model *b) {
    for (size_t i = 0; i < a->n_weights; i += 2) {
        const struct sqz_packed *x = a->weights[i].packed, *y = b->weights[i].packed;
        ck_assert_uint_eq(x->n_codebook, y->n_codebook);
        ck_assert_mem_eq(x->codebook, y->codebook, x->n_codebook * sizeof *x->codebook);
        ck_assert_mem_eq(x->levels, y->levels, x->n_levels * sizeof *x->levels);
    }
}

/* One layer that is packed by all threads, several that are packed side by side: the same bytes for any number. */
START_TEST(same_result_for_any_number_of_threads) {
    static const size_t sizes[4] = {((size_t)2 << 20) + 1, 30000, 500, 300000};
    static const char *const names[4] = {"a", "b", "c", "d"};
    static const int threads[] = {1, 2, 8};
    struct chain_layer layers[4];
    float *values[4];
    size_t total = 0;
    for (int l = 0; l < 4; l++) {
        values[l] = malloc(sizes[l] * sizeof(float));
        fill_laplace(values[l], sizes[l], 0.1, (uint64_t)l);
        layers[l] = (struct chain_layer){names[l], SQZ_OP_DENSE, sizes[l], values[l]};
        total += sizes[l];
    }
    for (int way = 2; way < N_WAYS; way++) {
        struct sqz_model *models[3];
        for (int t = 0; t < 3; t++) {
            struct progress_log log = {.ascending = true};
            struct sqz_quantize_options options = {.method = way_method(way),
                                                   .init = way_init(way),
                                                   .seed = 5,
                                                   .progress = note_progress,
                                                   .progress_context = &log};
            struct sqz_quantize_stats stats[4];
            size_t n;
            models[t] = chain_model(layers, 4);
            sqz_set_threads(threads[t]);
            ck_assert_int_eq(sqz_quantize(models[t], &options, stats, &n, NULL), SQZ_OK);
            sqz_set_threads(0);
            ck_assert(log.ascending && log.calls >= 2 && log.last == total && log.total == total);
            assert_same_packed(models[0], models[t]);
        }
        for (int t = 0; t < 3; t++) sqz_model_free(models[t]);
    }
    for (int l = 0; l < 4; l++) free(values[l]);
}
END_TEST

START_TEST(survives_short_memory) {
    static float values[2][2000];
    struct chain_layer layers[2] = {{"a", SQZ_OP_CONV, 2000, values[0]}, {"b", SQZ_OP_CONV, 2000, values[1]}};
    for (int l = 0; l < 2; l++) fill_laplace(values[l], 2000, 1, (uint64_t)l);
    for (int way = 2; way < N_WAYS; way++) {
        struct sqz_model *model = chain_model(layers, 2);
        struct sqz_quantize_stats stats[2];
        struct sqz_error err = {0};
        enum sqz_status status = SQZ_OUT_OF_MEMORY;
        int n = 0;
        sqz_set_threads(1);
        for (; n < 2000 && status != SQZ_OK; n++) {
            sqz_alloc_fail_after(n);
            status = quantize(model, 3, way_method(way), way_init(way), stats, &err);
            sqz_alloc_fail_after(-1);
            ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
        }
        sqz_set_threads(0);
        ck_assert_int_eq(status, SQZ_OK);
        ck_assert_int_gt(n, 10);
        ck_assert_uint_eq(model->weights[0].packed->n_codebook, 8);
        sqz_model_free(model);
    }
}
END_TEST

Suite *test_quantize(void) {
    Suite *suite = suite_create("quantize");
    TCase *tc = tcase_create("quantize");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, sparsity_survives);
    tcase_add_test(tc, few_distinct_values_stay_bit_for_bit);
    tcase_add_test(tc, every_promise_holds_for_random_layers);
    tcase_add_test(tc, defaults_are_the_papers);
    tcase_add_test(tc, not_finite_weights_are_named);
    tcase_add_test(tc, extreme_values);
    tcase_add_test(tc, bad_options);
    tcase_add_test(tc, same_result_for_any_number_of_threads);
    tcase_add_test(tc, survives_short_memory);
    suite_add_tcase(suite, tc);
    return suite;
}
