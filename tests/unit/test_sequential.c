/* test_sequential.c - whole nets compressed layer after layer: quality, promises and odd graphs. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/sequential.h"
#include "lib/parallel.h"
#include "tests/unit/calibration_samples.h"

Suite *test_sequential(void);

static void fill_settings(const struct sqz_model *model, struct sqz_layer_setting setting,
                          struct sqz_layer_setting *settings) {
    for (size_t i = 0; i < model->n_weights; i++)
        settings[i] = model->weights[i].role == SQZ_ROLE_KERNEL ? setting : (struct sqz_layer_setting){0};
}

/* Compress a copy; the caller frees it. */
static struct sqz_model *compress(const struct sqz_model *reference, const struct sqz_calibration *calibration,
                                  struct sqz_layer_setting setting, bool one_pass, struct sqz_layer_result *results,
                                  size_t *n) {
    struct sqz_layer_setting settings[64];
    struct sqz_sequential_options options = {.settings = settings, .one_pass = one_pass};
    fill_settings(reference, setting, settings);
    struct sqz_model *model;
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_model_clone(reference, &model, NULL), SQZ_OK);
    ck_assert_msg(sqz_sequential_compress(model, reference, calibration, &options, results, n, &err) == SQZ_OK, "%s",
                  err.text);
    ck_assert_msg(sqz_model_check(model, &err) == SQZ_OK, "%s", err.text);
    return model;
}

static double divergence(const struct sqz_model *reference, const struct sqz_model *model,
                         const struct sqz_calibration *calibration) {
    float *a, *b;
    size_t count;
    ck_assert_int_eq(sqz_calibration_outputs(calibration, reference, &a, &count, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_calibration_outputs(calibration, model, &b, &count, NULL), SQZ_OK);
    double kl = sqz_output_distance(a, b, calibration->n_images, count, false).mean_kl;
    sqz_free(a);
    sqz_free(b);
    return kl;
}

static const struct sqz_layer_setting uniform_setting = {.method = SQZ_LAYER_UNIFORM, .step = 0.5, .lambda = 0.02};

START_TEST(a_whole_net_by_every_method) {
    struct net net = branched_net(4);
    struct sqz_calibration calibration = random_images(net.model, 40, 5), other = random_images(net.model, 40, 6);
    static const struct sqz_layer_setting settings[] = {
        {.method = SQZ_LAYER_UNIFORM, .step = 0.05},
        {.method = SQZ_LAYER_UNIFORM, .bits = 7},
        {.method = SQZ_LAYER_UNIFORM, .step = 0.05, .per_channel = true},
        {.method = SQZ_LAYER_CODEBOOK, .bits = 6},
        {.method = SQZ_LAYER_PRUNE, .density = 0.95},
    };
    struct sqz_layer_result results[64];
    size_t n;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        for (int one_pass = 0; one_pass < 2; one_pass++) {
            struct sqz_model *model = compress(net.model, &calibration, settings[i], one_pass == 1, results, &n);
            ck_assert_uint_eq(n, 6);
            for (size_t k = 0; k < n; k++) {
                ck_assert(results[k].reached);
                ck_assert_uint_eq(results[k].n_blocks, 1);
                const struct sqz_weight *kernel = &model->weights[results[k].weight];
                ck_assert_uint_eq(results[k].stats.count, kernel->count);
                ck_assert((kernel->packed != NULL) == (settings[i].method != SQZ_LAYER_PRUNE));
            }
            ck_assert_double_lt(divergence(net.model, model, &other), 0.01);
            sqz_model_free(model);
        }
    free(calibration.images);
    free(other.images);
    sqz_model_free(net.model);
}
END_TEST

/* On the net as compressed so far, later layers make up for earlier ones. */
START_TEST(sequential_calibration_beats_one_pass) {
    double one = 0, sequential = 0;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct net net = branched_net(seed);
        struct sqz_calibration calibration = random_images(net.model, 60, 5), other = random_images(net.model, 60, 6);
        struct sqz_layer_result results[64];
        size_t n;
        struct sqz_model *a = compress(net.model, &calibration, uniform_setting, true, results, &n);
        struct sqz_model *b = compress(net.model, &calibration, uniform_setting, false, results, &n);
        one += divergence(net.model, a, &other);
        sequential += divergence(net.model, b, &other);
        sqz_model_free(a);
        sqz_model_free(b);
        free(calibration.images);
        free(other.images);
        sqz_model_free(net.model);
    }
    ck_assert_double_lt(sequential, one);
}
END_TEST

START_TEST(a_whole_net_whatever_the_threads) {
    struct net net = branched_net(5);
    struct sqz_calibration calibration = random_images(net.model, 30, 5);
    struct sqz_layer_result results[64];
    size_t n;
    sqz_set_threads(1);
    struct sqz_model *a = compress(net.model, &calibration, uniform_setting, false, results, &n);
    sqz_set_threads(3);
    struct sqz_model *b = compress(net.model, &calibration, uniform_setting, false, results, &n);
    sqz_set_threads(0);
    for (size_t i = 0; i < a->n_weights; i++) {
        if (a->weights[i].packed) {
            ck_assert_mem_eq(a->weights[i].packed->levels, b->weights[i].packed->levels,
                             a->weights[i].count * sizeof(int16_t));
            ck_assert_float_eq(a->weights[i].packed->steps[0], b->weights[i].packed->steps[0]);
        } else {
            ck_assert_mem_eq(a->weights[i].data, b->weights[i].data, a->weights[i].count * sizeof(float));
        }
    }
    sqz_model_free(a);
    sqz_model_free(b);
    free(calibration.images);
    sqz_model_free(net.model);
}
END_TEST

/* A branch that leads nowhere, a Conv without bias, two nodes with one kernel, and a channel that is always off. */
START_TEST(odd_graphs) {
    struct net net = net_new(2, 8, 8, 6);
    uint32_t a = net_conv(&net, 0, 2, 4, square_window(3, 1, 1), 1);
    struct sqz_weight *bias = &net.model->weights[net.model->nodes[a].bias];
    bias->data[2] = -1e6f; /* behind the ReLU this channel is dead */
    uint32_t relu = net_node(&net, SQZ_OP_RELU, &a, 1);
    uint32_t b = net_conv(&net, relu, 4, 4, square_window(3, 1, 1), 1);
    net.model->nodes[b].bias = SQZ_NO_WEIGHT;
    uint32_t relu_b = net_node(&net, SQZ_OP_RELU, &b, 1);
    uint32_t c = net_node(&net, SQZ_OP_CONV, &relu_b, 1);
    net.model->nodes[c].kernel = net.model->nodes[b].kernel;
    net.model->nodes[c].params = net.model->nodes[b].params;
    net_conv(&net, relu, 4, 5, square_window(1, 1, 0), 1);
    uint32_t dense = net_dense(&net, c, 4 * 64, 10);
    net.model->output = dense;
    struct sqz_error err;
    ck_assert_msg(sqz_model_check(net.model, &err) == SQZ_OK, "%s", err.text);
    struct sqz_calibration calibration = random_images(net.model, 64, 5), other = random_images(net.model, 64, 6);
    const struct sqz_layer_setting setting = {.method = SQZ_LAYER_UNIFORM, .step = 0.05};
    struct sqz_layer_result results[64];
    size_t n;
    struct sqz_model *model = compress(net.model, &calibration, setting, false, results, &n);
    ck_assert_uint_eq(n, 4);
    ck_assert(results[0].reached && results[1].reached && results[2].reached && !results[3].reached);
    ck_assert_uint_eq(results[1].stats.n_dead, 9);
    ck_assert_ptr_nonnull(model->weights[results[3].weight].packed);
    ck_assert_double_lt(divergence(net.model, model, &other), 0.01);
    sqz_model_free(model);
    free(calibration.images);
    free(other.images);
    sqz_model_free(net.model);
}
END_TEST

/* A Conv without bias gets one where the correction wants it. */
START_TEST(a_missing_bias_is_added) {
    struct net net = branched_net(7);
    net.model->nodes[1].bias = SQZ_NO_WEIGHT;
    struct sqz_calibration calibration = random_images(net.model, 20, 5);
    for (size_t i = 0; i < calibration.n_images * calibration.image_count; i++) calibration.images[i] += 1;
    struct sqz_layer_result results[64];
    size_t n;
    struct sqz_model *model = compress(net.model, &calibration, uniform_setting, false, results, &n);
    ck_assert_uint_ne(model->nodes[1].bias, SQZ_NO_WEIGHT);
    ck_assert_uint_eq(model->weights[model->nodes[1].bias].count, 8);
    ck_assert_int_eq(model->weights[model->nodes[1].bias].role, SQZ_ROLE_BIAS);
    sqz_model_free(model);
    free(calibration.images);
    sqz_model_free(net.model);
}
END_TEST

static bool stop_after_two(void *context, size_t done, size_t total, const struct sqz_layer_result *result) {
    (void)result;
    *(size_t *)context = total;
    return done < 2;
}

START_TEST(a_run_can_be_stopped_and_settings_are_checked) {
    struct net net = branched_net(8);
    struct sqz_calibration calibration = random_images(net.model, 10, 5);
    struct sqz_layer_setting settings[64];
    size_t total = 0, n;
    struct sqz_layer_result results[64];
    struct sqz_sequential_options options = {
        .settings = settings, .progress = stop_after_two, .progress_context = &total};
    fill_settings(net.model, uniform_setting, settings);
    struct sqz_model *model;
    ck_assert_int_eq(sqz_model_clone(net.model, &model, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_sequential_compress(model, net.model, &calibration, &options, results, &n, NULL), SQZ_OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_uint_eq(total, 6);
    static const struct sqz_layer_setting bad[] = {
        {.method = SQZ_LAYER_UNIFORM, .step = -1},
        {.method = SQZ_LAYER_UNIFORM},
        {.method = SQZ_LAYER_CODEBOOK, .bits = 9},
        {.method = SQZ_LAYER_PRUNE, .density = 0},
        {.method = SQZ_LAYER_UNIFORM, .step = 1, .lambda = NAN},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fill_settings(net.model, bad[i], settings);
        ck_assert_int_eq(sqz_sequential_compress(model, net.model, &calibration, &options, results, &n, NULL),
                         SQZ_ARGUMENT);
    }
    sqz_model_free(model);
    free(calibration.images);
    sqz_model_free(net.model);
}
END_TEST

START_TEST(a_clone_equals_its_original) {
    struct net net = branched_net(9);
    struct sqz_calibration calibration = random_images(net.model, 10, 5);
    struct sqz_layer_result results[64];
    size_t n;
    struct sqz_model *model = compress(net.model, &calibration, uniform_setting, false, results, &n), *copy;
    ck_assert_int_eq(sqz_model_note(model, NULL, "something was done"), SQZ_OK);
    ck_assert_int_eq(sqz_model_clone(model, &copy, NULL), SQZ_OK);
    ck_assert_uint_eq(copy->n_nodes, model->n_nodes);
    ck_assert_uint_eq(copy->n_weights, model->n_weights);
    ck_assert_str_eq(copy->history[0], model->history[0]);
    ck_assert_str_eq(copy->nodes[3].name, model->nodes[3].name);
    ck_assert_double_eq(divergence(model, copy, &calibration), 0);
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    for (long k = 0; status == SQZ_OUT_OF_MEMORY; k++) {
        struct sqz_model *again;
        sqz_alloc_fail_after(k);
        status = sqz_model_clone(model, &again, NULL);
        sqz_alloc_fail_after(-1);
        sqz_model_free(again);
    }
    ck_assert_int_eq(status, SQZ_OK);
    sqz_model_free(copy);
    sqz_model_free(model);
    free(calibration.images);
    sqz_model_free(net.model);
}
END_TEST

START_TEST(running_out_of_memory_is_clean) {
    struct net net = branched_net(10);
    struct sqz_calibration calibration = random_images(net.model, 9, 5);
    struct sqz_layer_setting settings[64];
    struct sqz_layer_result results[64];
    struct sqz_sequential_options options = {.settings = settings};
    fill_settings(net.model, uniform_setting, settings);
    size_t n, failures = 0;
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    /* A growing stride keeps the number of runs small; every stage is still hit. */
    for (long k = 0; status != SQZ_OK; k += 1 + k / 12) {
        struct sqz_model *model;
        ck_assert_int_eq(sqz_model_clone(net.model, &model, NULL), SQZ_OK);
        sqz_alloc_fail_after(k);
        status = sqz_sequential_compress(model, net.model, &calibration, &options, results, &n, NULL);
        sqz_alloc_fail_after(-1);
        ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
        failures += status != SQZ_OK;
        sqz_model_free(model);
    }
    ck_assert_uint_gt(failures, 20);
    free(calibration.images);
    sqz_model_free(net.model);
}
END_TEST

Suite *test_sequential(void) {
    Suite *suite = suite_create("sequential");
    TCase *nets = tcase_create("nets");
    tcase_set_timeout(nets, 240);
    tcase_add_test(nets, a_whole_net_by_every_method);
    tcase_add_test(nets, sequential_calibration_beats_one_pass);
    tcase_add_test(nets, a_whole_net_whatever_the_threads);
    tcase_add_test(nets, odd_graphs);
    tcase_add_test(nets, a_missing_bias_is_added);
    tcase_add_test(nets, a_run_can_be_stopped_and_settings_are_checked);
    tcase_add_test(nets, a_clone_equals_its_original);
    tcase_add_test(nets, running_out_of_memory_is_clean);
    suite_add_tcase(suite, nets);
    return suite;
}
