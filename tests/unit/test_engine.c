/* test_engine.c - sessions: every operator, published numbers, threads and batches, packed weights, failures. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/engine.h"
#include "eval/plan.h"
#include "lib/infer.h"
#include "lib/parallel.h"
#include "tests/unit/random_nets.h"

static const char *const levels[] = {"scalar", "avx2", "avx512"};
#define N_LEVELS 3

static struct sqz_session *session_of(const struct sqz_model *model, uint32_t max_batch, bool reference) {
    struct sqz_session_options options = {.max_batch = max_batch, .reference = reference};
    struct sqz_session *session;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_session_new(model, &options, &session, &err) == SQZ_OK, "%s", err.text);
    return session;
}

static float *random_input(const struct sqz_session *session, size_t n, uint64_t seed) {
    size_t count = sqz_session_input_count(session) * n;
    float *input = malloc(count * sizeof *input);
    for (size_t i = 0; i < count; i++) input[i] = random_unit(&seed);
    return input;
}

/* Run n images; free() the result. */
static float *run(struct sqz_session *session, const float *input, size_t n) {
    float *output = malloc(sqz_session_output_count(session) * n * sizeof *output);
    sqz_session_run(session, input, n, output);
    return output;
}

/* Hold the engine at every level, one image and three at once, against the reference; frees the model. */
static void compare_with_reference(struct sqz_model *model, double bound) {
    struct sqz_error err = {0};
    ck_assert_msg(sqz_model_check(model, &err) == SQZ_OK, "%s", err.text);
    struct sqz_session *reference = session_of(model, 3, true);
    float *input = random_input(reference, 3, 77), *wanted = run(reference, input, 3);
    for (int level = 0; level < N_LEVELS; level++)
        for (uint32_t batch = 1; batch <= 3; batch += 2) {
            setenv("SQZ_CPU", levels[level], 1);
            struct sqz_session *session = session_of(model, batch, false);
            float *got = run(session, input, batch);
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
        float *got = run(session, input, 1);
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
    } cases[] = {{7, 224, true, {109, 54, 27, 13}},  {7, 224, false, {109, 54, 26, 12}},
                 {7, 227, true, {111, 55, 27, 13}},  {7, 227, false, {111, 55, 27, 13}},
                 {3, 227, true, {113, 56, 28, 14}},  {3, 227, false, {113, 56, 27, 13}},
                 {3, 224, true, {111, 55, 27, 13}},  {3, 224, false, {111, 55, 27, 13}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct net net = net_new(1, cases[i].size, cases[i].size, 1);
        uint32_t at = net_conv(&net, 0, 1, 1, square_window(cases[i].kernel, 2, 0), 1);
        for (int k = 0; k < 3; k++) at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), cases[i].ceil_mode);
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

/* ---- threads, batches, packed weights ------------------------------------------------------- */

static struct sqz_model *mixed_net(void) {
    struct net net = net_new(3, 37, 33, 5);
    uint32_t at = net_conv(&net, 0, 3, 40, square_window(3, 2, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_conv(&net, at, 40, 48, square_window(3, 1, 1), 1);
    at = net_conv(&net, at, 48, 48, square_window(5, 1, 2), 2);
    at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), true);
    at = net_node(&net, SQZ_OP_FLATTEN, &at, 1);
    at = net_dense(&net, at, 48 * 9 * 8, 70);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_dense(&net, at, 70, 33);
    at = net_node(&net, SQZ_OP_SOFTMAX, &at, 1);
    net.model->nodes[at].params.softmax.axis = 1;
    at = net_dense(&net, at, 33, 12);
    return net.model;
}

/* Summation order once depended on who did the work: last digits differed, and near-ties flipped. */
START_TEST(same_bytes_for_any_threads_and_batch) {
    enum { IMAGES = 15 };
    setenv("SQZ_CPU", levels[_i], 1);
    struct sqz_model *model = mixed_net();
    struct sqz_session *first = session_of(model, 1, false);
    size_t in = sqz_session_input_count(first), out = sqz_session_output_count(first);
    float *input = random_input(first, IMAGES, 3), *wanted = malloc(IMAGES * out * sizeof *wanted);
    sqz_set_threads(1);
    for (size_t i = 0; i < IMAGES; i++) sqz_session_run(first, input + i * in, 1, wanted + i * out);
    sqz_session_free(first);
    static const uint32_t batches[] = {1, 2, 7, 15};
    for (int threads = 1; threads <= 3; threads++)
        for (size_t b = 0; b < 4; b++) {
            sqz_set_threads(threads);
            struct sqz_session *session = session_of(model, batches[b], false);
            float *got = malloc(IMAGES * out * sizeof *got);
            for (size_t i = 0; i < IMAGES; i += batches[b]) {
                size_t n = IMAGES - i < batches[b] ? IMAGES - i : batches[b];
                sqz_session_run(session, input + i * in, n, got + i * out);
            }
            ck_assert_msg(memcmp(got, wanted, IMAGES * out * sizeof *got) == 0, "%d threads, batch %u", threads,
                          batches[b]);
            free(got);
            sqz_session_free(session);
        }
    sqz_set_threads(0);
    unsetenv("SQZ_CPU");
    free(input);
    free(wanted);
    sqz_model_free(model);
}
END_TEST

START_TEST(packed_weights_give_the_same_bytes) {
    struct sqz_model *model = mixed_net();
    for (size_t i = 0; i < model->n_weights; i++) { /* few values, so that each has an exact codebook */
        struct sqz_weight *weight = &model->weights[i];
        for (size_t k = 0; k < weight->count; k++) weight->data[k] = roundf(weight->data[k] * 16) / 16;
        ck_assert_int_eq(sqz_packed_from_values(weight->data, weight->count, &weight->packed, NULL), SQZ_OK);
        ck_assert_ptr_nonnull(weight->packed);
    }
    struct sqz_session *session = session_of(model, 1, false);
    float *input = random_input(session, 1, 4), *wanted = run(session, input, 1);
    size_t n = sqz_session_output_count(session);
    sqz_session_free(session);
    for (size_t i = 0; i < model->n_weights; i++) {
        sqz_free(model->weights[i].data);
        model->weights[i].data = NULL;
    }
    session = session_of(model, 1, false);
    float *got = run(session, input, 1);
    ck_assert_mem_eq(got, wanted, n * sizeof *got);
    for (size_t i = 0; i < model->n_weights; i++) ck_assert_ptr_null(model->weights[i].data);
    free(got);
    free(wanted);
    free(input);
    sqz_session_free(session);
    sqz_model_free(model);
}
END_TEST

START_TEST(two_runs_and_stale_memory_do_not_matter) {
    struct sqz_model *model = mixed_net();
    struct sqz_session *session = session_of(model, 4, false);
    float *input = random_input(session, 4, 8), *wanted = run(session, input, 4);
    size_t in = sqz_session_input_count(session), out = sqz_session_output_count(session);
    float *poison = malloc(4 * in * sizeof *poison);
    for (size_t i = 0; i < 4 * in; i++) poison[i] = NAN;
    free(run(session, poison, 4));
    float *got = run(session, input, 4);
    ck_assert_mem_eq(got, wanted, 4 * out * sizeof *got);
    free(got);
    free(run(session, poison, 3));
    got = run(session, input, 1);
    ck_assert_mem_eq(got, wanted, out * sizeof *got);
    free(got);
    free(poison);
    free(wanted);
    free(input);
    sqz_session_free(session);
    sqz_model_free(model);
}
END_TEST

/* ---- the plan ------------------------------------------------------------------------------- */

/* SqueezeNet becomes 26 convolutions, 4 poolings, and nothing else but the copy of its result. */
START_TEST(plan_of_squeezenet_has_no_needless_steps) {
    if (sqz_isa_detect() == SQZ_ISA_SCALAR) return;
    struct sqz_model *model = random_squeezenet_1_1(224);
    struct sqz_shape *shapes = sqz_alloc(model->n_nodes, sizeof *shapes);
    ck_assert_int_eq(sqz_infer_shapes(model, 1, 0, 0, shapes, NULL), SQZ_OK);
    struct sqz_plan plan;
    ck_assert_int_eq(sqz_plan_make(&plan, model, shapes, 1, false, NULL), SQZ_OK);
    size_t conv = 0, winograd = 0;
    for (size_t i = 0; i < plan.n_steps; i++) {
        conv += plan.steps[i].layer.op == SQZ_OP_CONV;
        winograd += strstr(plan.steps[i].kernel->name, "winograd") != NULL;
    }
    ck_assert_uint_eq(conv, 26);
    ck_assert_uint_eq(winograd, 8);
    ck_assert_uint_eq(plan.n_steps, 31);
    sqz_plan_free(&plan);
    sqz_free(shapes);
    sqz_model_free(model);
}
END_TEST

/* Two buffers in use at the same step never overlap in memory. */
START_TEST(buffers_of_one_time_do_not_overlap) {
    struct sqz_model *model = mixed_net();
    struct sqz_shape *shapes = sqz_alloc(model->n_nodes, sizeof *shapes);
    ck_assert_int_eq(sqz_infer_shapes(model, 1, 0, 0, shapes, NULL), SQZ_OK);
    for (size_t batch = 1; batch <= 5; batch += 4) {
        struct sqz_plan plan;
        ck_assert_int_eq(sqz_plan_make(&plan, model, shapes, batch, false, NULL), SQZ_OK);
        size_t sum = 0;
        for (size_t i = 0; i < plan.n_buffers; i++)
            for (size_t k = 0; k < plan.n_buffers; k++) {
                const struct sqz_activation *a = &plan.buffers[i], *b = &plan.buffers[k];
                bool slots = a->place == SQZ_PLACE_SLOT && b->place == SQZ_PLACE_SLOT;
                if (i == k && slots && a->parent == SQZ_NO_INDEX) sum += a->count;
                if (i == k || !slots || a->parent != SQZ_NO_INDEX || b->parent != SQZ_NO_INDEX) continue;
                if (a->first > b->last || b->first > a->last) continue;
                ck_assert(a->offset + a->count <= b->offset || b->offset + b->count <= a->offset);
            }
        ck_assert_uint_lt(plan.slot_count, sum); /* and memory is used again */
        sqz_plan_free(&plan);
    }
    sqz_free(shapes);
    sqz_model_free(model);
}
END_TEST

/* ---- failures --------------------------------------------------------------------------------- */

START_TEST(sizes_that_do_not_fit_are_refused) {
    struct sqz_model *model = random_squeezenet_1_1(224);
    struct sqz_session_options options = {.height = 2, .width = 224};
    struct sqz_session *session;
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_session_new(model, &options, &session, &err), SQZ_SHAPE);
    ck_assert_ptr_null(session);
    options = (struct sqz_session_options){.max_batch = UINT32_MAX};
    enum sqz_status status = sqz_session_new(model, &options, &session, &err);
    ck_assert(status == SQZ_LIMIT || status == SQZ_OUT_OF_MEMORY);
    options = (struct sqz_session_options){.height = 90, .width = 70};
    ck_assert_int_eq(sqz_session_new(model, &options, &session, &err), SQZ_OK);
    ck_assert_uint_eq(sqz_session_input_count(session), 3 * 90 * 70);
    ck_assert_uint_eq(sqz_session_output_shape(session)->rank, 1);
    ck_assert_uint_eq(sqz_session_output_shape(session)->dim[0], 1000);
    ck_assert_uint_gt(sqz_session_nbytes(session), sqz_model_float_nbytes(model));
    sqz_session_free(session);
    sqz_model_free(model);
}
END_TEST

START_TEST(every_allocation_may_fail) {
    struct sqz_model *model = mixed_net();
    struct sqz_session_options options = {.max_batch = 2};
    struct sqz_session *session = NULL;
    long n = 0;
    for (; n < 10000; n++) {
        sqz_alloc_fail_after(n);
        enum sqz_status status = sqz_session_new(model, &options, &session, NULL);
        sqz_alloc_fail_after(-1);
        if (status == SQZ_OK) break;
        ck_assert_int_eq(status, SQZ_OUT_OF_MEMORY);
        ck_assert_ptr_null(session);
    }
    ck_assert_int_gt(n, 10);
    ck_assert_ptr_nonnull(session);
    /* A run needs none. */
    float *input = random_input(session, 2, 1), *output = malloc(2 * 12 * sizeof *output);
    sqz_alloc_fail_after(0);
    sqz_session_run(session, input, 2, output);
    sqz_alloc_fail_after(-1);
    free(input);
    free(output);
    sqz_session_free(session);
    sqz_model_free(model);
}
END_TEST

START_TEST(unknown_level_is_the_processors_own) {
    enum sqz_isa best = sqz_isa_detect();
    setenv("SQZ_CPU", "pentium", 1);
    ck_assert_int_eq(sqz_isa_detect(), best);
    setenv("SQZ_CPU", "scalar", 1);
    ck_assert_int_eq(sqz_isa_detect(), SQZ_ISA_SCALAR);
    ck_assert_str_eq(sqz_isa_name(SQZ_ISA_SCALAR), "scalar");
    unsetenv("SQZ_CPU");
}
END_TEST

/* ---- teams -------------------------------------------------------------------------------------- */

struct tally {
    int done[100];
    int errors;
};

static void mark(void *context, size_t i, int thread) {
    (void)thread;
    ((struct tally *)context)->done[i]++;
}

static void count_loops(void *context, struct sqz_team *team, int thread) {
    struct tally *tally = context;
    for (int round = 1; round <= 300; round++) {
        size_t n = (size_t)(round % 7) * 16;
        sqz_team_for(team, thread, n, mark, tally);
        if (thread == 0)
            for (size_t i = 0; i < 100; i++) {
                if (tally->done[i] != (i < n)) tally->errors++;
                tally->done[i] = 0;
            }
        sqz_team_for(team, thread, 0, mark, tally); /* nobody goes on before the count is done */
    }
}

START_TEST(team_runs_each_index_once) {
    for (int threads = 1; threads <= 4; threads++) {
        struct tally tally = {0};
        sqz_set_threads(threads);
        sqz_team_run(threads, count_loops, &tally);
        ck_assert_int_eq(tally.errors, 0);
    }
    sqz_set_threads(0);
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
    tcase_add_loop_test(tcase, same_bytes_for_any_threads_and_batch, 0, N_LEVELS);
    tcase_add_test(tcase, packed_weights_give_the_same_bytes);
    tcase_add_test(tcase, two_runs_and_stale_memory_do_not_matter);
    tcase_add_test(tcase, plan_of_squeezenet_has_no_needless_steps);
    tcase_add_test(tcase, buffers_of_one_time_do_not_overlap);
    tcase_add_test(tcase, sizes_that_do_not_fit_are_refused);
    tcase_add_test(tcase, every_allocation_may_fail);
    tcase_add_test(tcase, unknown_level_is_the_processors_own);
    tcase_add_test(tcase, team_runs_each_index_once);
    suite_add_tcase(suite, tcase);
    return suite;
}
