/* test_calibrate.c - calibration images, and moments of real layers against plain sums. */
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
#include "tests/unit/calibration_samples.h"
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

START_TEST(cuts_of_a_branched_net) {
    struct net net = branched_net(1);
    struct sqz_shape shapes[32];
    bool live[32], cut[32];
    ck_assert_int_eq(sqz_infer_shapes(net.model, 1, 0, 0, shapes, NULL), SQZ_OK);
    sqz_part_cuts(net.model, shapes, live, cut);
    static const bool expected[] = {true,  true, true, false, false, false, false,
                                    false, true, true, true,  true,  true,  true};
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
                ck_assert_double_eq_tol(a->blocks[k].own[e], b->blocks[k].own[e],
                                        1e-5 * (1 + fabs(b->blocks[k].own[e])));
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

Suite *test_calibrate(void) {
    Suite *suite = suite_create("calibrate");
    TCase *images = tcase_create("images"), *layers = tcase_create("layers");
    tcase_set_timeout(images, 60);
    tcase_set_timeout(layers, 120);
    tcase_add_test(images, images_are_drawn_without_replacement);
    tcase_add_test(images, broken_images_are_replaced);
    tcase_add_test(images, too_few_images_are_refused);
    tcase_add_test(images, images_none_of_which_can_be_read);
    tcase_add_test(layers, columns_are_those_that_the_engine_uses);
    tcase_add_test(layers, moments_are_those_of_the_images);
    tcase_add_test(layers, cuts_of_a_branched_net);
    tcase_add_test(layers, the_cache_changes_nothing);
    tcase_add_test(layers, activations_that_overflow_name_their_layer);
    suite_add_tcase(suite, images);
    suite_add_tcase(suite, layers);
    return suite;
}
