/* test_engine.c - every operator through a session, at every level, against published numbers and the reference. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/infer.h"
#include "tests/unit/random_nets.h"
#include "tests/unit/session_tools.h"

/* Hold the engine at every level, one image and three at once, against the reference; frees the model. */
static void compare_with_reference(struct sqz_model *model, double bound) {
    struct sqz_error err = {0};
    ck_assert_msg(sqz_model_check(model, &err) == SQZ_OK, "%s", err.text);
    struct sqz_session *reference = session_of(model, 3, true);
    float *input = random_input(reference, 3, 77), *wanted = run_images(reference, input, 3);
    for (int level = 0; level < N_LEVELS; level++)
        for (uint32_t batch = 1; batch <= 3; batch += 2) {
            setenv("SQZ_CPU", levels[level], 1);
            struct sqz_session *session = session_of(model, batch, false);
            float *got = run_images(session, input, batch);
            size_t n = sqz_session_output_count(session);
            ck_assert_uint_eq(n, sqz_session_output_count(reference));
            for (size_t i = 0; i < n * batch; i++)
                ck_assert_msg(fabs((double)got[i] - (double)wanted[i]) <= bound, "%s, batch %u, output %zu: %g for %g",
                              levels[level], batch, i, (double)got[i], (double)wanted[i]);
            free(got);
            sqz_session_free(session);
        }
    unsetenv("SQZ_CPU");
    free(input);
    free(wanted);
    sqz_session_free(reference);
    sqz_model_free(model);
}

/* Hold every level against known numbers; frees the model. */
static void compare_with_numbers(struct sqz_model *model, const float *input, const double *wanted, size_t n,
                                 double bound) {
    struct sqz_error err = {0};
    ck_assert_msg(sqz_model_check(model, &err) == SQZ_OK, "%s", err.text);
    for (int level = 0; level < N_LEVELS; level++) {
        setenv("SQZ_CPU", levels[level], 1);
        struct sqz_session *session = session_of(model, 1, false);
        ck_assert_uint_eq(sqz_session_output_count(session), n);
        float *got = run_images(session, input, 1);
        for (size_t i = 0; i < n; i++)
            ck_assert_msg(fabs((double)got[i] - wanted[i]) <= bound, "%s, output %zu: %.7g for %.7g", levels[level], i,
                          (double)got[i], wanted[i]);
        free(got);
        sqz_session_free(session);
    }
    unsetenv("SQZ_CPU");
    sqz_model_free(model);
}

static void set_weight(struct sqz_model *model, uint32_t index, const float *values) {
    memcpy(model->weights[index].data, values, model->weights[index].count * sizeof *values);
}

static void zero_bias(struct sqz_model *model, uint32_t node) {
    model->nodes[node].bias = SQZ_NO_WEIGHT;
}

/* ---- known numbers -------------------------------------------------------------------- */

/* Grouped convolution: the first half of the filters sees the first half of the channels only. */
START_TEST(groups_split_channels) {
    struct net net = net_new(4, 1, 1, 1);
    uint32_t conv = net_conv(&net, 0, 4, 4, square_window(1, 1, 0), 2);
    static const float weights[] = {1, 0, 0, 1, 1, 0, 0, 1}, input[] = {1, 2, 3, 4};
    static const double wanted[] = {1, 2, 3, 4};
    set_weight(net.model, net.model->nodes[conv].kernel, weights);
    zero_bias(net.model, conv);
    compare_with_numbers(net.model, input, wanted, 4, 0);
}
END_TEST

/* Heights behind each pooling of SqueezeNet 1.0 and 1.1: Caffe rounds up, ONNX and Keras imports round down. */
START_TEST(ceil_mode_gives_the_published_sizes) {
    static const struct {
        uint32_t kernel, size; /* of the first convolution, of the image */
        bool ceil_mode;
        uint64_t heights[4];
    } cases[] = {{7, 224, true, {109, 54, 27, 13}}, {7, 224, false, {109, 54, 26, 12}},
                 {7, 227, true, {111, 55, 27, 13}}, {7, 227, false, {111, 55, 27, 13}},
                 {3, 227, true, {113, 56, 28, 14}}, {3, 227, false, {113, 56, 27, 13}},
                 {3, 224, true, {111, 55, 27, 13}}, {3, 224, false, {111, 55, 27, 13}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct net net = net_new(1, cases[i].size, cases[i].size, 1);
        uint32_t at = net_conv(&net, 0, 1, 1, square_window(cases[i].kernel, 2, 0), 1);
        for (int k = 0; k < 3; k++)
            at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), cases[i].ceil_mode);
        struct sqz_shape shapes[5];
        ck_assert_int_eq(sqz_infer_shapes(net.model, 1, 0, 0, shapes, NULL), SQZ_OK);
        for (int k = 0; k < 4; k++) ck_assert_uint_eq(shapes[k + 1].dim[2], cases[i].heights[k]);
        struct sqz_session *session = session_of(net.model, 1, false);
        ck_assert_uint_eq(sqz_session_output_count(session), cases[i].heights[3] * cases[i].heights[3]);
        sqz_session_free(session);
        sqz_model_free(net.model);
    }
}
END_TEST

/* Caffe's clip: a last window that would start in the end padding is dropped. */
START_TEST(window_in_the_padding_is_dropped) {
    struct net net = net_new(1, 1, 3, 1);
    struct sqz_window window = {1, 2, 1, 2, 1, 1, 0, 1, 0, 1};
    net_pool(&net, SQZ_OP_MAX_POOL, 0, window, true);
    static const float input[] = {5, 7, 6};
    static const double wanted[] = {5, 7};
    compare_with_numbers(net.model, input, wanted, 2, 0);
}
END_TEST

START_TEST(average_divisors_at_ragged_edges) {
    static const float ramp[] = {1, 2, 3, 4, 5}, ones[] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    static const double halves[] = {1.5, 3.5, 5}, quarter[] = {1, .5, .5, .25};
    static const double caffe[] = {4 / 9., 4 / 9., 4 / 9., 4 / 9.};
    for (int d = SQZ_DIVISOR_VALID; d <= SQZ_DIVISOR_PADDED; d++) { /* what ceil mode overhangs never counts */
        struct net net = net_new(1, 1, 5, 1);
        uint32_t pool = net_pool(&net, SQZ_OP_AVERAGE_POOL, 0, (struct sqz_window){1, 2, 1, 2, 1, 1, 0, 0, 0, 0}, true);
        net.model->nodes[pool].params.pool.divisor = (enum sqz_divisor)d;
        compare_with_numbers(net.model, ramp, halves, 3, 0);
    }
    struct net net = net_new(1, 2, 2, 1);
    uint32_t pool = net_pool(&net, SQZ_OP_AVERAGE_POOL, 0, (struct sqz_window){2, 2, 1, 1, 1, 1, 0, 0, 1, 1}, false);
    net.model->nodes[pool].params.pool.divisor = SQZ_DIVISOR_PADDED;
    compare_with_numbers(net.model, ones, quarter, 4, 0);
    net = net_new(1, 3, 3, 1);
    pool = net_pool(&net, SQZ_OP_AVERAGE_POOL, 0, square_window(3, 2, 1), false);
    net.model->nodes[pool].params.pool.divisor = SQZ_DIVISOR_PADDED;
    compare_with_numbers(net.model, ones, caffe, 4, 1e-7);
    /* ncnn: the whole kernel, also where ceil mode overhangs */
    net = net_new(1, 1, 5, 1);
    pool = net_pool(&net, SQZ_OP_AVERAGE_POOL, 0, (struct sqz_window){1, 2, 1, 2, 1, 1, 0, 0, 0, 0}, true);
    net.model->nodes[pool].params.pool.divisor = SQZ_DIVISOR_KERNEL;
    static const double whole[] = {1.5, 3.5, 2.5};
    compare_with_numbers(net.model, ramp, whole, 3, 0);
}
END_TEST

/* The last layer of SqueezeNet v1.0 pads a 1x1 convolution; its border is relu(bias), and counts in the average. */
START_TEST(padded_pointwise_convolution) {
    float input[169];
    for (int i = 0; i < 169; i++) input[i] = 1;
    for (int bias = 0; bias < 2; bias++) {
        struct net net = net_new(1, 13, 13, 1);
        uint32_t conv = net_conv(&net, 0, 1, 1, square_window(1, 1, 1), 1);
        float two = 2, shift = (float)bias;
        set_weight(net.model, net.model->nodes[conv].kernel, &two);
        set_weight(net.model, net.model->nodes[conv].bias, &shift);
        uint32_t at = net_node(&net, SQZ_OP_RELU, &conv, 1);
        net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, &at, 1);
        double wanted = bias ? (169 * 3 + 56 * 1) / 225. : 2 * 169 / 225.;
        compare_with_numbers(net.model, input, &wanted, 1, 1e-6);
    }
}
END_TEST

START_TEST(lrn_divides_alpha_by_its_size) {
    static const float input[] = {100, 100, 100, 100, 100};
    static const double five[] = {70.2927, 64.3496, 59.4604, 64.3496, 70.2927};
    for (uint32_t size = 4; size <= 5; size++) {
        struct net net = net_new(5, 1, 1, 1);
        uint32_t at = 0;
        uint32_t lrn = net_node(&net, SQZ_OP_LRN, &at, 1);
        union sqz_params *params = &net.model->nodes[lrn].params;
        params->lrn.size = size;
        params->lrn.alpha = 1e-4f;
        params->lrn.beta = 0.75f;
        params->lrn.k = 1;
        if (size == 5) {
            compare_with_numbers(net.model, input, five, 5, 1e-4);
        } else { /* one below and two above: 3, 4, 4, 3, 2 terms */
            double four[5];
            static const int terms[] = {3, 4, 4, 3, 2};
            for (int c = 0; c < 5; c++) four[c] = 100 / pow(1 + 1e-4 / 4 * 1e4 * terms[c], 0.75);
            compare_with_numbers(net.model, input, four, 5, 1e-4);
        }
    }
}
END_TEST

/* TensorFlow pads the odd pixel at the end, Caffe and PyTorch on both sides: other pixels are picked. */
START_TEST(asymmetric_padding_picks_odd_pixels) {
    float ramp[36], centre[9] = {0, 0, 0, 0, 1, 0, 0, 0, 0};
    for (int i = 0; i < 36; i++) ramp[i] = (float)i;
    for (int same = 0; same < 2; same++) {
        struct net net = net_new(1, 6, 6, 1);
        uint32_t begin = same ? 0 : 1;
        struct sqz_window window = {3, 3, 2, 2, 1, 1, begin, begin, 1, 1};
        uint32_t conv = net_conv(&net, 0, 1, 1, window, 1);
        set_weight(net.model, net.model->nodes[conv].kernel, centre);
        zero_bias(net.model, conv);
        double wanted[9];
        for (int y = 0; y < 3; y++)
            for (int x = 0; x < 3; x++) wanted[y * 3 + x] = (2 * y + same) * 6 + 2 * x + same;
        compare_with_numbers(net.model, ramp, wanted, 9, 0);
    }
}
END_TEST

/* ---- every operator ---------------------------------------------------------------------- */

START_TEST(unary_operators) {
    static const enum sqz_op ops[] = {SQZ_OP_RELU, SQZ_OP_LEAKY_RELU, SQZ_OP_SIGMOID,   SQZ_OP_TANH,
                                      SQZ_OP_CLIP, SQZ_OP_DROPOUT,    SQZ_OP_HARD_SWISH};
    for (int behind_conv = 0; behind_conv < 2; behind_conv++) {
        struct net net = net_new(5, 4, 3, 9);
        uint32_t at = behind_conv ? net_conv(&net, 0, 5, 17, square_window(3, 1, 1), 1) : 0;
        uint32_t node = net_node(&net, ops[_i], &at, 1);
        if (ops[_i] == SQZ_OP_LEAKY_RELU) net.model->nodes[node].params.leaky_relu.slope = 0.1f;
        if (ops[_i] == SQZ_OP_CLIP) net.model->nodes[node].params.clip.low = -0.25f;
        if (ops[_i] == SQZ_OP_CLIP) net.model->nodes[node].params.clip.high = 0.5f;
        compare_with_reference(net.model, 2e-5);
    }
}
END_TEST

START_TEST(softmax_on_any_axis) {
    for (uint32_t axis = 1; axis <= 3; axis++) {
        struct net net = net_new(3, 4, 5, 9);
        uint32_t at = net_conv(&net, 0, 3, 18, square_window(1, 1, 0), 1);
        uint32_t node = net_node(&net, SQZ_OP_SOFTMAX, &at, 1);
        net.model->nodes[node].params.softmax.axis = axis;
        compare_with_reference(net.model, 1e-6);
    }
    struct net net = net_new(2, 1, 1, 9);
    uint32_t at = 0, softmax = net_node(&net, SQZ_OP_SOFTMAX, &at, 1);
    net.model->nodes[softmax].params.softmax.axis = 1;
    static const float input[] = {0, 1.0986123f};
    static const double wanted[] = {0.25, 0.75};
    compare_with_numbers(net.model, input, wanted, 2, 1e-6);
}
END_TEST

START_TEST(adding_and_multiplying_broadcast) {
    for (int swapped = 0; swapped < 2; swapped++)
        for (int op = SQZ_OP_ADD; op <= SQZ_OP_MUL; op++) {
            struct net net = net_new(3, 5, 4, 9);
            uint32_t inputs[2];
            inputs[swapped] = net_conv(&net, 0, 3, 20, square_window(3, 1, 1), 1);
            inputs[!swapped] = net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, &inputs[swapped], 1);
            uint32_t same[2] = {net_node(&net, (enum sqz_op)op, inputs, 2), inputs[swapped]};
            net_node(&net, (enum sqz_op)op, same, 2);
            compare_with_reference(net.model, 2e-5);
        }
}
END_TEST

START_TEST(concat_of_every_kind) {
    static const uint32_t widths[][3] = {{16, 32, 16}, {16, 16, 5}, {5, 16, 16}, {8, 8, 8}};
    for (size_t i = 0; i < 4; i++)
        for (int twice = 0; twice < 2; twice++) {
            struct net net = net_new(3, 6, 7, 9);
            uint32_t parts[4];
            for (int k = 0; k < 3; k++) parts[k] = net_conv(&net, 0, 3, widths[i][k], square_window(3, 1, 1), 1);
            parts[3] = parts[1]; /* the same value twice, and in two results */
            uint32_t first = net_node(&net, SQZ_OP_CONCAT, parts, twice ? 4 : 3);
            net.model->nodes[first].params.concat.axis = 1;
            uint32_t total = widths[i][0] + widths[i][1] + widths[i][2] + (twice ? widths[i][1] : 0);
            uint32_t at[2] = {net_conv(&net, first, total, 16, square_window(1, 1, 0), 1), parts[0]};
            uint32_t second = net_node(&net, SQZ_OP_CONCAT, at, 2);
            net.model->nodes[second].params.concat.axis = 1;
            compare_with_reference(net.model, 5e-5);
        }
    for (uint32_t axis = 1; axis <= 3; axis++) { /* other axes, and the input itself */
        struct net net = net_new(16, 6, 6, 9);
        uint32_t parts[2] = {net_conv(&net, 0, 16, 16, square_window(3, 1, 1), 1), 0};
        uint32_t node = net_node(&net, SQZ_OP_CONCAT, parts, 2);
        net.model->nodes[node].params.concat.axis = axis;
        compare_with_reference(net.model, 2e-5);
    }
    struct net net = net_new(5, 1, 1, 9);
    uint32_t at = 0, flat = net_node(&net, SQZ_OP_FLATTEN, &at, 1);
    uint32_t parts[3] = {net_dense(&net, flat, 5, 16), flat, net_dense(&net, flat, 5, 7)};
    uint32_t node = net_node(&net, SQZ_OP_CONCAT, parts, 3);
    net.model->nodes[node].params.concat.axis = 1;
    compare_with_reference(net.model, 2e-5);
}
END_TEST

START_TEST(scales_fold_and_stand_alone) {
    struct net net = net_new(3, 6, 7, 9);
    uint32_t at = net_scale(&net, 0, 3); /* nothing before it to fold into */
    at = net_conv(&net, at, 3, 20, square_window(3, 1, 1), 1);
    zero_bias(net.model, at);
    at = net_scale(&net, at, 20);
    at = net_scale(&net, at, 20);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_scale(&net, at, 20); /* behind an activation: must not fold */
    uint32_t shared = net_conv(&net, at, 20, 16, square_window(1, 1, 0), 1);
    uint32_t pair[2] = {shared, net_scale(&net, shared, 16)}; /* the convolution has another user: must not fold */
    at = net_node(&net, SQZ_OP_ADD, pair, 2);
    at = net_node(&net, SQZ_OP_FLATTEN, &at, 1);
    at = net_dense(&net, at, 16 * 42, 9);
    at = net_scale(&net, at, 9);
    compare_with_reference(net.model, 1e-4);
}
END_TEST

START_TEST(the_rest_of_the_operators) {
    struct net net = net_new(3, 9, 8, 9);
    uint32_t at = 0, pad = net_node(&net, SQZ_OP_PAD, &at, 1);
    net.model->nodes[pad].params.pad.top = 1;
    net.model->nodes[pad].params.pad.right = 2;
    net.model->nodes[pad].params.pad.value = 0.5f;
    at = net_conv(&net, pad, 3, 24, square_window(3, 1, 0), 1);
    uint32_t lrn = net_node(&net, SQZ_OP_LRN, &at, 1);
    net.model->nodes[lrn].params.lrn.size = 5;
    net.model->nodes[lrn].params.lrn.alpha = 0.1f;
    net.model->nodes[lrn].params.lrn.beta = 0.75f;
    net.model->nodes[lrn].params.lrn.k = 2;
    at = net_node(&net, SQZ_OP_ADAPTIVE_AVERAGE_POOL, &lrn, 1);
    net.model->nodes[at].params.adaptive_pool.out_h = 3;
    net.model->nodes[at].params.adaptive_pool.out_w = 5;
    at = net_conv(&net, at, 24, 24, square_window(3, 1, 1), 24);
    at = net_node(&net, SQZ_OP_RESHAPE, &at, 1);
    net.model->nodes[at].params.reshape.rank = 3;
    net.model->nodes[at].params.reshape.dim[1] = 12;
    net.model->nodes[at].params.reshape.dim[2] = -1;
    uint32_t softmax = net_node(&net, SQZ_OP_SOFTMAX, &at, 1);
    net.model->nodes[softmax].params.softmax.axis = 2;
    at = net_dense(&net, softmax, 360, 10);
    at = net_node(&net, SQZ_OP_SIGMOID, &at, 1);
    net_dense(&net, at, 10, 4);
    compare_with_reference(net.model, 2e-5);
}
END_TEST

START_TEST(result_that_others_use_and_identities) {
    struct net net = net_new(3, 5, 5, 9); /* the result is a convolution whose ReLU is dead */
    uint32_t conv = net_conv(&net, 0, 3, 7, square_window(3, 1, 1), 1);
    net_node(&net, SQZ_OP_RELU, &conv, 1);
    net.model->output = conv;
    compare_with_reference(net.model, 2e-5);
    net = net_new(3, 5, 5, 9); /* nothing is computed at all */
    uint32_t at = 0;
    net_node(&net, SQZ_OP_DROPOUT, &at, 1);
    compare_with_reference(net.model, 0);
    net = net_new(5, 1, 1, 9);
    at = net_node(&net, SQZ_OP_FLATTEN, &at, 1);
    net_dense(&net, at, 5, 3);
    compare_with_reference(net.model, 2e-5);
}
END_TEST

START_TEST(small_squeezenet_equals_the_reference) {
    compare_with_reference(random_squeezenet_1_1(48), 1e-4);
}
END_TEST

Suite *test_engine(void) {
    Suite *suite = suite_create("engine");
    TCase *tcase = tcase_create("engine");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, groups_split_channels);
    tcase_add_test(tcase, ceil_mode_gives_the_published_sizes);
    tcase_add_test(tcase, window_in_the_padding_is_dropped);
    tcase_add_test(tcase, average_divisors_at_ragged_edges);
    tcase_add_test(tcase, padded_pointwise_convolution);
    tcase_add_test(tcase, lrn_divides_alpha_by_its_size);
    tcase_add_test(tcase, asymmetric_padding_picks_odd_pixels);
    tcase_add_loop_test(tcase, unary_operators, 0, 7);
    tcase_add_test(tcase, softmax_on_any_axis);
    tcase_add_test(tcase, adding_and_multiplying_broadcast);
    tcase_add_test(tcase, concat_of_every_kind);
    tcase_add_test(tcase, scales_fold_and_stand_alone);
    tcase_add_test(tcase, the_rest_of_the_operators);
    tcase_add_test(tcase, result_that_others_use_and_identities);
    tcase_add_test(tcase, small_squeezenet_equals_the_reference);
    suite_add_tcase(suite, tcase);
    return suite;
}
