/* test_calibrate.c - calibration images, moments of real layers against plain loops, and whole nets compressed. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/engine.h"
#include "eval/evaluate.h"
#include "eval/model_part.h"
#include "eval/sequential.h"
#include "lib/infer.h"
#include "lib/parallel.h"
#include "tests/unit/image_samples.h"
#include "tests/unit/random_nets.h"

Suite *test_calibrate(void);

/* ---- images ---------------------------------------------------------------------- */

static struct sqz_dataset *open_folder(void) {
    struct sqz_dataset *dataset;
    const struct sqz_dataset_options options = {0};
    ck_assert_int_eq(sqz_dataset_open(scratch_path("images"), &options, &dataset, NULL), SQZ_OK);
    return dataset;
}

/* n grey pictures of 5x4 pixels, each of one shade; number `broken` and the one after it are cut short. */
static void write_images(int n, int broken) {
    scratch_make();
    scratch_folder("images");
    for (int i = 0; i < n; i++) {
        char name[64], data[64];
        snprintf(name, sizeof name, "images/%03d.pgm", i);
        int length = snprintf(data, sizeof data, "P5 5 4 255\n");
        memset(data + length, i, 20);
        bool cut = i == broken || (broken >= 0 && i == broken + 1);
        scratch_write(name, data, (size_t)length + (cut ? 7 : 20));
    }
}

static const struct sqz_input grey_input = {
    .channels = 1, .height = 4, .width = 5, .order = SQZ_CHANNELS_GREY, .scale = 1, .std = {1, 1, 1, 1}};

START_TEST(images_are_drawn_without_replacement) {
    write_images(40, -1);
    struct sqz_dataset *dataset = open_folder();
    struct sqz_calibration *few, *many, *other;
    struct sqz_calibration_options options = {.n_images = 10, .seed = 3};
    ck_assert_int_eq(sqz_calibration_load(dataset, &grey_input, &options, &few, NULL), SQZ_OK);
    options.n_images = 0;
    ck_assert_int_eq(sqz_calibration_load(dataset, &grey_input, &options, &many, NULL), SQZ_OK);
    options.seed = 4;
    ck_assert_int_eq(sqz_calibration_load(dataset, &grey_input, &options, &other, NULL), SQZ_OK);
    ck_assert_uint_eq(few->n_images, 10);
    ck_assert_uint_eq(many->n_images, 40);
    ck_assert_mem_eq(few->indices, many->indices, 10 * sizeof *few->indices);
    ck_assert_mem_eq(few->images, many->images, 10 * 20 * sizeof(float));
    ck_assert_mem_eq(few->digests, many->digests, 10 * sizeof *few->digests);
    ck_assert_int_ne(memcmp(many->indices, other->indices, 40 * sizeof *many->indices), 0);
    bool seen[40] = {false};
    for (size_t i = 0; i < 40; i++) {
        ck_assert(!seen[many->indices[i]]);
        seen[many->indices[i]] = true;
        ck_assert_float_eq(many->images[i * 20 + 7], (float)many->indices[i]);
        uint8_t *bytes, digest[SQZ_SHA256_NBYTES];
        size_t nbytes;
        ck_assert_int_eq(sqz_dataset_bytes(dataset, many->indices[i], &bytes, &nbytes, NULL), SQZ_OK);
        sqz_sha256(bytes, nbytes, digest);
        ck_assert_mem_eq(digest, many->digests[i], SQZ_SHA256_NBYTES);
        sqz_free(bytes);
    }
    struct sqz_calibration part = sqz_calibration_part(many, 30, 100);
    ck_assert_uint_eq(part.n_images, 10);
    ck_assert_ptr_eq(part.images, many->images + 600);
    struct sqz_model *model = sqz_model_new(&grey_input);
    ck_assert_int_eq(sqz_calibration_record(few, model, NULL), SQZ_OK);
    ck_assert_uint_eq(model->calibrated_on.n_images, 10);
    ck_assert_int_eq(sqz_image_record_find(&model->calibrated_on, few->digests[4]), SQZ_RECORD_PRESENT);
    sqz_model_free(model);
    sqz_calibration_free(few);
    sqz_calibration_free(many);
    sqz_calibration_free(other);
    sqz_dataset_close(dataset);
    scratch_remove();
}
END_TEST

static void count_bad(void *context, const char *name, const char *reason) {
    ck_assert(*name && *reason);
    ++*(size_t *)context;
}

START_TEST(broken_images_are_replaced) {
    write_images(20, 5);
    struct sqz_dataset *dataset = open_folder();
    struct sqz_calibration *calibration;
    size_t n_bad = 0;
    const struct sqz_calibration_options options = {.n_images = 18, .bad_image = count_bad, .bad_context = &n_bad};
    ck_assert_int_eq(sqz_calibration_load(dataset, &grey_input, &options, &calibration, NULL), SQZ_OK);
    ck_assert_uint_eq(calibration->n_images, 18);
    ck_assert_uint_eq(calibration->n_bad, n_bad);
    ck_assert_uint_gt(n_bad, 0);
    for (size_t i = 0; i < 18; i++) {
        ck_assert(calibration->indices[i] != 5 && calibration->indices[i] != 6);
        ck_assert_float_eq(calibration->images[i * 20], (float)calibration->indices[i]);
    }
    sqz_calibration_free(calibration);
    sqz_dataset_close(dataset);
    scratch_remove();
}
END_TEST

START_TEST(too_few_images_are_refused) {
    static const struct {
        int n, broken;
        size_t wanted;
        enum sqz_status status;
    } cases[] = {{7, -1, 0, SQZ_ARGUMENT}, {9, 3, 0, SQZ_ARGUMENT}, {20, -1, 7, SQZ_ARGUMENT}, {8, -1, 0, SQZ_OK}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_images(cases[i].n, cases[i].broken);
        struct sqz_dataset *dataset = open_folder();
        struct sqz_calibration *calibration;
        const struct sqz_calibration_options options = {.n_images = cases[i].wanted};
        struct sqz_error err = {0};
        ck_assert_int_eq(sqz_calibration_load(dataset, &grey_input, &options, &calibration, &err), cases[i].status);
        if (cases[i].status != SQZ_OK) ck_assert_ptr_nonnull(strstr(err.text, "at least 8 images"));
        sqz_calibration_free(calibration);
        sqz_dataset_close(dataset);
        scratch_remove();
    }
}
END_TEST

START_TEST(images_none_of_which_can_be_read) {
    scratch_make();
    scratch_folder("images");
    for (int i = 0; i < 10; i++) {
        char name[64];
        snprintf(name, sizeof name, "images/%d.png", i);
        scratch_text(name, "this is no picture");
    }
    struct sqz_dataset *dataset = open_folder();
    struct sqz_calibration *calibration;
    const struct sqz_calibration_options options = {0};
    ck_assert_int_eq(sqz_calibration_load(dataset, &grey_input, &options, &calibration, NULL), SQZ_BAD_IMAGE);
    ck_assert_ptr_null(calibration);
    sqz_dataset_close(dataset);
    scratch_remove();
}
END_TEST

/* ---- moments of layers -------------------------------------------------------------- */

/* Random images for a net, without a data set. */
static struct sqz_calibration random_images(const struct sqz_model *model, size_t n, uint64_t seed) {
    struct sqz_calibration calibration = {.input = model->input, .n_images = n};
    calibration.image_count = (size_t)model->input.channels * model->input.height * model->input.width;
    calibration.images = malloc(n * calibration.image_count * sizeof(float));
    for (size_t i = 0; i < n * calibration.image_count; i++) calibration.images[i] = random_unit(&seed);
    return calibration;
}

/* Mean of a layer's output channels over all positions and images, from the engine, without the bias. */
static void engine_output_mean(const struct sqz_model *model, const struct sqz_calibration *calibration, uint32_t node,
                               double *mean) {
    struct sqz_model *copy;
    ck_assert_int_eq(sqz_model_clone(model, &copy, NULL), SQZ_OK);
    copy->output = node;
    copy->nodes[node].bias = SQZ_NO_WEIGHT;
    float *outputs;
    size_t count, channels = (size_t)model->weights[model->nodes[node].kernel].shape.dim[0];
    ck_assert_int_eq(sqz_calibration_outputs(calibration, copy, &outputs, &count, NULL), SQZ_OK);
    for (size_t c = 0; c < channels; c++) {
        double sum = 0;
        for (size_t i = 0; i < calibration->n_images; i++)
            for (size_t p = 0; p < count / channels; p++)
                sum += (double)outputs[i * count + c * (count / channels) + p];
        mean[c] = sum / (double)(calibration->n_images * (count / channels));
    }
    sqz_free(outputs);
    sqz_model_free(copy);
}

/* With all positions, W mean(X) must be the mean of the layer's output as the engine computes it. */
static void check_mean(const struct sqz_model *model, const struct sqz_calibration *calibration, uint32_t node) {
    const struct sqz_collector_options options = {.positions_per_image = 100000};
    struct sqz_collector *collector;
    struct sqz_moments *moments;
    ck_assert_int_eq(sqz_collector_new(calibration, model, &options, &collector, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_collector_moments(collector, NULL, node, &moments, NULL), SQZ_OK);
    const struct sqz_weight *kernel = &model->weights[model->nodes[node].kernel];
    size_t rows = (size_t)kernel->shape.dim[0], n = moments->n_inputs;
    double *mean = malloc(rows * sizeof *mean);
    engine_output_mean(model, calibration, node, mean);
    for (size_t row = 0; row < rows; row++) {
        double sum = 0;
        for (size_t i = 0; i < n; i++)
            sum += (double)kernel->data[row * n + i] * moments->mean[row / (rows / moments->n_groups) * n + i];
        ck_assert_double_eq_tol(sum, mean[row], 1e-4);
    }
    free(mean);
    sqz_moments_free(moments);
    sqz_collector_free(collector);
}

START_TEST(columns_are_those_that_the_engine_uses) {
    static const struct sqz_window windows[] = {
        {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, {3, 2, 2, 1, 1, 1, 0, 1, 2, 0}, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0},
        {3, 3, 1, 2, 2, 1, 2, 0, 1, 1}, {5, 5, 3, 3, 1, 1, 2, 2, 2, 2},
    };
    for (size_t w = 0; w < sizeof windows / sizeof *windows; w++)
        for (uint32_t groups = 1; groups <= 6; groups = groups == 1 ? 2 : groups * 3) {
            struct net net = net_new(6, 9, 11, w + 1);
            uint32_t conv = net_conv(&net, 0, 6, 12, windows[w], groups);
            struct sqz_calibration calibration = random_images(net.model, 9, 5);
            check_mean(net.model, &calibration, conv);
            free(calibration.images);
            sqz_model_free(net.model);
        }
    struct net net = net_new(3, 4, 4, 1);
    uint32_t dense = net_dense(&net, 0, 48, 7);
    struct sqz_calibration calibration = random_images(net.model, 20, 5);
    check_mean(net.model, &calibration, dense);
    free(calibration.images);
    sqz_model_free(net.model);
}
END_TEST

/* A Conv with one input and one 1x1 kernel sees every pixel: its second moment is the variance of the images. */
START_TEST(moments_are_those_of_the_images) {
    struct net net = net_new(1, 6, 6, 1);
    uint32_t conv = net_conv(&net, 0, 1, 2, square_window(1, 1, 0), 1);
    struct sqz_calibration calibration = random_images(net.model, 37, 5);
    const struct sqz_collector_options options = {.positions_per_image = 36};
    struct sqz_collector *collector;
    struct sqz_moments *moments;
    ck_assert_int_eq(sqz_collector_new(&calibration, net.model, &options, &collector, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_collector_moments(collector, net.model, conv, &moments, NULL), SQZ_OK);
    double sum = 0, squares = 0, n = 37 * 36;
    for (size_t i = 0; i < 37 * 36; i++) {
        sum += (double)calibration.images[i];
        squares += (double)calibration.images[i] * (double)calibration.images[i];
    }
    ck_assert_uint_eq(moments->n_positions, 37 * 36);
    ck_assert_double_eq_tol(moments->mean[0], sum / n, 1e-6);
    ck_assert_double_eq_tol(moments->blocks[0].own[0], squares / n - sum / n * (sum / n), 1e-5);
    ck_assert_double_eq_tol(moments->blocks[0].cross[0], moments->blocks[0].own[0], 1e-9);
    sqz_moments_free(moments);
    sqz_collector_free(collector);
    free(calibration.images);
    sqz_model_free(net.model);
}
END_TEST

/* conv - relu - two branches that meet again - relu - conv - pool - dense: has cuts and nodes that are none. */
static struct net branched_net(uint64_t seed) {
    struct net net = net_new(3, 12, 12, seed);
    uint32_t at = net_conv(&net, 0, 3, 8, square_window(3, 1, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    uint32_t left = net_conv(&net, at, 8, 6, square_window(1, 1, 0), 1);
    left = net_node(&net, SQZ_OP_RELU, &left, 1);
    uint32_t right = net_conv(&net, at, 8, 8, square_window(3, 1, 1), 8);
    right = net_node(&net, SQZ_OP_RELU, &right, 1);
    right = net_conv(&net, right, 8, 10, square_window(3, 1, 1), 2);
    uint32_t both[2] = {left, right};
    uint32_t joined = net_node(&net, SQZ_OP_CONCAT, both, 2);
    net.model->nodes[joined].params.concat.axis = 1;
    at = net_node(&net, SQZ_OP_RELU, &joined, 1);
    at = net_conv(&net, at, 16, 12, square_window(3, 2, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, &at, 1);
    at = net_dense(&net, at, 12, 10);
    net.model->output = at;
    struct sqz_error err;
    ck_assert_msg(sqz_model_check(net.model, &err) == SQZ_OK, "%s", err.text);
    return net;
}

START_TEST(cuts_of_a_branched_net) {
    struct net net = branched_net(1);
    struct sqz_shape shapes[32];
    bool live[32], cut[32];
    ck_assert_int_eq(sqz_infer_shapes(net.model, 1, 0, 0, shapes, NULL), SQZ_OK);
    sqz_part_cuts(net.model, shapes, live, cut);
    static const bool expected[] = {true, true, true, false, false, false, false, false, true, true, true, true, true, true};
    for (size_t i = 0; i < net.model->n_nodes; i++) {
        ck_assert(live[i]);
        ck_assert_msg(cut[i] == expected[i], "node %zu", i);
    }
    sqz_model_free(net.model);
}
END_TEST

/* Values that are cached and values computed anew from the images differ by rounding at the most. */
START_TEST(the_cache_changes_nothing) {
    struct net net = branched_net(2);
    struct sqz_calibration calibration = random_images(net.model, 21, 5);
    struct sqz_collector *cached, *anew;
    struct sqz_collector_options options = {.positions_per_image = 10};
    ck_assert_int_eq(sqz_collector_new(&calibration, net.model, &options, &cached, NULL), SQZ_OK);
    options.cache_nbytes = 1;
    ck_assert_int_eq(sqz_collector_new(&calibration, net.model, &options, &anew, NULL), SQZ_OK);
    for (size_t i = 0; i < net.model->n_nodes; i++) {
        if (net.model->nodes[i].kernel == SQZ_NO_WEIGHT) continue;
        struct sqz_moments *a, *b;
        ck_assert_int_eq(sqz_collector_moments(cached, net.model, i, &a, NULL), SQZ_OK);
        ck_assert_int_eq(sqz_collector_moments(anew, net.model, i, &b, NULL), SQZ_OK);
        for (size_t k = 0; k < a->n_groups; k++) {
            size_t n = a->blocks[k].n;
            for (size_t e = 0; e < n * n; e++)
                ck_assert_double_eq_tol(a->blocks[k].own[e], b->blocks[k].own[e], 1e-5 * (1 + fabs(b->blocks[k].own[e])));
            ck_assert_uint_eq(a->n_positions, b->n_positions);
        }
        sqz_moments_free(a);
        sqz_moments_free(b);
    }
    /* Going back is allowed. */
    struct sqz_moments *first;
    ck_assert_int_eq(sqz_collector_moments(cached, NULL, 1, &first, NULL), SQZ_OK);
    sqz_moments_free(first);
    sqz_collector_rewind(cached);
    ck_assert_int_eq(sqz_collector_moments(cached, net.model, 5, &first, NULL), SQZ_OK);
    sqz_moments_free(first);
    sqz_collector_free(cached);
    sqz_collector_free(anew);
    free(calibration.images);
    sqz_model_free(net.model);
}
END_TEST

START_TEST(activations_that_overflow_name_their_layer) {
    struct net net = branched_net(3);
    for (size_t i = 0; i < net.model->weights[0].count; i++) net.model->weights[0].data[i] *= 1e30f;
    for (size_t i = 0; i < net.model->weights[2].count; i++) net.model->weights[2].data[i] *= 1e30f;
    struct sqz_calibration calibration = random_images(net.model, 9, 5);
    struct sqz_collector *collector;
    const struct sqz_collector_options options = {0};
    ck_assert_int_eq(sqz_collector_new(&calibration, net.model, &options, &collector, NULL), SQZ_OK);
    struct sqz_moments *moments;
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_collector_moments(collector, NULL, 10, &moments, &err), SQZ_NONFINITE);
    ck_assert_ptr_nonnull(strstr(err.text, net.model->nodes[10].name));
    ck_assert_ptr_null(moments);
    ck_assert_int_eq(sqz_collector_moments(collector, NULL, 2, &moments, &err), SQZ_ARGUMENT);
    sqz_collector_free(collector);
    free(calibration.images);
    sqz_model_free(net.model);
}
END_TEST

/* ---- whole nets ------------------------------------------------------------------------ */

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
        {.method = SQZ_LAYER_UNIFORM, .step = -1}, {.method = SQZ_LAYER_UNIFORM},
        {.method = SQZ_LAYER_CODEBOOK, .bits = 9}, {.method = SQZ_LAYER_PRUNE, .density = 0},
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

Suite *test_calibrate(void) {
    Suite *suite = suite_create("calibrate");
    TCase *images = tcase_create("images"), *layers = tcase_create("layers"), *nets = tcase_create("nets");
    tcase_set_timeout(images, 60);
    tcase_set_timeout(layers, 120);
    tcase_set_timeout(nets, 240);
    tcase_add_test(images, images_are_drawn_without_replacement);
    tcase_add_test(images, broken_images_are_replaced);
    tcase_add_test(images, too_few_images_are_refused);
    tcase_add_test(images, images_none_of_which_can_be_read);
    tcase_add_test(layers, columns_are_those_that_the_engine_uses);
    tcase_add_test(layers, moments_are_those_of_the_images);
    tcase_add_test(layers, cuts_of_a_branched_net);
    tcase_add_test(layers, the_cache_changes_nothing);
    tcase_add_test(layers, activations_that_overflow_name_their_layer);
    tcase_add_test(nets, a_whole_net_by_every_method);
    tcase_add_test(nets, sequential_calibration_beats_one_pass);
    tcase_add_test(nets, a_whole_net_whatever_the_threads);
    tcase_add_test(nets, odd_graphs);
    tcase_add_test(nets, a_missing_bias_is_added);
    tcase_add_test(nets, a_run_can_be_stopped_and_settings_are_checked);
    tcase_add_test(nets, a_clone_equals_its_original);
    tcase_add_test(nets, running_out_of_memory_is_clean);
    suite_add_tcase(suite, images);
    suite_add_tcase(suite, layers);
    suite_add_tcase(suite, nets);
    return suite;
}
