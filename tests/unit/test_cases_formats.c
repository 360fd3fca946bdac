/* test_cases_formats.c - arithmetic that people lost between formats: known answers behind every file we write. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eval/engine.h"
#include "eval/image.h"
#include "formats/formats.h"
#include "lib/container.h"
#include "lib/prune.h"
#include "lib/quantize.h"
#include "tests/unit/onnx_samples.h"
#include "tests/unit/random_nets.h"
#include "tests/unit/reader_folder.h"

/* A net with an answer that was computed by hand, or by the framework that the case is about. */
struct known {
    const char *name;
    struct sqz_model *(*make)(void);
    size_t n_input, n_output;
    float input[25], output[9];
};

/* ---- nets -------------------------------------------------------------------------------- */

/* A 1x1 convolution whose kernel is the identity: something to prune and share in front of the layer under test. */
static struct net identity_net(uint32_t channels, uint32_t height, uint32_t width) {
    struct net net = net_new(channels, height, width, 1);
    uint32_t at = net_conv(&net, 0, channels, channels, square_window(1, 1, 0), 1);
    struct sqz_weight *kernel = &net.model->weights[net.model->nodes[at].kernel];
    struct sqz_weight *bias = &net.model->weights[net.model->nodes[at].bias];
    for (size_t i = 0; i < kernel->count; i++) kernel->data[i] = i % (channels + 1) == 0;
    memset(bias->data, 0, bias->count * sizeof(float));
    return net;
}

static struct sqz_model *ended(struct net net, uint32_t at) {
    net.model->output = at;
    return net.model;
}

/* Converters tiled the halves of a grouped convolution, or dropped the attribute. */
static struct sqz_model *grouped(void) {
    static const float kernel[] = {1, 0, 0, 1, 1, 0, 0, 1};
    struct net net = net_new(4, 1, 1, 1);
    uint32_t at = net_conv(&net, 0, 4, 4, square_window(1, 1, 0), 2);
    memcpy(net.model->weights[0].data, kernel, sizeof kernel);
    memset(net.model->weights[1].data, 0, 4 * sizeof(float));
    return ended(net, at);
}

static struct sqz_model *pooled(uint32_t size, enum sqz_op op, struct sqz_window window, bool ceil_mode) {
    struct net net = identity_net(1, size, size);
    uint32_t at = net_pool(&net, op, 1, window, ceil_mode);
    net.model->nodes[at].params.pool.divisor = SQZ_DIVISOR_PADDED;
    return ended(net, at);
}

/* Maps were one off, or a shape error came at the dense layer: Caffe rounds up and drops what starts in the padding. */
static struct sqz_model *pool_up(void) {
    return pooled(4, SQZ_OP_MAX_POOL, square_window(3, 2, 0), true);
}

static struct sqz_model *pool_down(void) {
    return pooled(4, SQZ_OP_MAX_POOL, square_window(3, 2, 0), false);
}

static struct sqz_model *pool_clipped(void) {
    return pooled(3, SQZ_OP_MAX_POOL, square_window(2, 2, 1), true);
}

/* The last row of an average was two to four times too small: an overhang does not count, padding does. */
static struct sqz_model *average_overhang(void) {
    struct net net = identity_net(1, 1, 5);
    uint32_t at = net_pool(&net, SQZ_OP_AVERAGE_POOL, 1, (struct sqz_window){1, 2, 1, 2, 1, 1, 0, 0, 0, 0}, true);
    net.model->nodes[at].params.pool.divisor = SQZ_DIVISOR_PADDED;
    return ended(net, at);
}

static struct sqz_model *average_one_side(void) {
    return pooled(2, SQZ_OP_AVERAGE_POOL, (struct sqz_window){2, 2, 1, 1, 1, 1, 0, 0, 1, 1}, false);
}

static struct sqz_model *average_corners(void) {
    return pooled(3, SQZ_OP_AVERAGE_POOL, square_window(3, 2, 1), false);
}

/* "Simplified" nets dropped the padding of SqueezeNet's last 1x1 convolution: its border is relu(bias). */
static struct sqz_model *padded_end(float bias) {
    struct net net = net_new(1, 13, 13, 1);
    uint32_t at = net_conv(&net, 0, 1, 1, square_window(1, 1, 1), 1);
    net.model->weights[0].data[0] = 2;
    net.model->weights[1].data[0] = bias;
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    return ended(net, net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, &at, 1));
}

static struct sqz_model *padded_end_0(void) {
    return padded_end(0);
}

static struct sqz_model *padded_end_1(void) {
    return padded_end(1);
}

/* Accuracy was low because alpha was not divided by the window, or an even window leaned to the wrong side. */
static struct sqz_model *lrn(uint32_t size) {
    struct net net = identity_net(5, 1, 1);
    uint32_t at = 1;
    at = net_node(&net, SQZ_OP_LRN, &at, 1);
    net.model->nodes[at].params.lrn.size = size;
    net.model->nodes[at].params.lrn.alpha = 1e-4f;
    net.model->nodes[at].params.lrn.beta = 0.75f;
    net.model->nodes[at].params.lrn.k = 1;
    return ended(net, at);
}

static struct sqz_model *lrn_5(void) {
    return lrn(5);
}

static struct sqz_model *lrn_4(void) {
    return lrn(4);
}

/* Features moved by a pixel: SAME with stride 2 pads behind, other frameworks on both sides. */
static struct sqz_model *picked(struct sqz_window window) {
    struct net net = net_new(1, 5, 5, 1);
    uint32_t at = net_conv(&net, 0, 1, 1, window, 1);
    memset(net.model->weights[0].data, 0, 9 * sizeof(float));
    net.model->weights[0].data[4] = 1;
    net.model->weights[1].data[0] = 0;
    return ended(net, at);
}

static struct sqz_model *padded_behind(void) {
    return picked((struct sqz_window){3, 3, 2, 2, 1, 1, 0, 0, 1, 1});
}

static struct sqz_model *padded_around(void) {
    return picked((struct sqz_window){3, 3, 2, 2, 1, 1, 1, 1, 1, 1});
}

/* Probabilities were all 1 because the axis was lost between two rules of Softmax. */
static struct sqz_model *softmax(void) {
    struct net net = identity_net(4, 1, 1);
    uint32_t at = 1;
    at = net_node(&net, SQZ_OP_SOFTMAX, &at, 1);
    net.model->nodes[at].params.softmax.axis = 1;
    return ended(net, at);
}

#define TWICE_169_OF_225 1.50222222f /* 2 * 169 / 225 */
#define WITH_BIAS 2.50222222f        /* (169 * 3 + 56 * 1) / 225 */
#define RAMP_16 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
#define RAMP_25 RAMP_16, 17, 18, 19, 20, 21, 22, 23, 24, 25
#define NINE_ONES 1, 1, 1, 1, 1, 1, 1, 1, 1

static const struct known nets[] = {
    {"grouped convolution", grouped, 4, 4, {1, 2, 3, 4}, {1, 2, 3, 4}},
    {"pooling rounds up", pool_up, 16, 4, {RAMP_16}, {11, 12, 15, 16}},
    {"pooling rounds down", pool_down, 16, 1, {RAMP_16}, {11}},
    {"pooling drops a window", pool_clipped, 9, 4, {1, 2, 3, 4, 5, 6, 7, 8, 9}, {1, 3, 7, 9}},
    {"average with overhang", average_overhang, 5, 3, {1, 2, 3, 4, 5}, {1.5f, 3.5f, 5}},
    {"average padded on one side", average_one_side, 4, 4, {1, 1, 1, 1}, {1, 0.5f, 0.5f, 0.25f}},
    {"average padded around", average_corners, 9, 4, {NINE_ONES}, {4 / 9.f, 4 / 9.f, 4 / 9.f, 4 / 9.f}},
    {"padded 1x1 convolution", padded_end_0, 169, 1, {1}, {TWICE_169_OF_225}},
    {"padded 1x1 convolution with bias", padded_end_1, 169, 1, {1}, {WITH_BIAS}},
    {"LRN of 5", lrn_5, 5, 5, {100, 100, 100, 100, 100}, {70.292666f, 64.349566f, 59.460356f, 64.349566f, 70.292666f}},
    {"LRN of 4", lrn_4, 5, 5, {100, 100, 100, 100, 100}, {65.723618f, 59.460356f, 59.460356f, 65.723618f, 73.778795f}},
    {"padding behind", padded_behind, 25, 4, {RAMP_25}, {7, 9, 17, 19}},
    {"padding around", padded_around, 25, 9, {RAMP_25}, {1, 3, 5, 11, 13, 15, 21, 23, 25}},
    {"softmax over channels", softmax, 4, 4, {0, 0.69314718f, 1.09861229f, 1.38629436f}, {0.1f, 0.2f, 0.3f, 0.4f}},
};
#define N_NETS (sizeof nets / sizeof *nets)

/* ---- the way through the files -------------------------------------------------------------- */

static void run(const struct sqz_model *model, const struct known *known, float *output) {
    struct sqz_session *session;
    struct sqz_error err = {0};
    float input[169];
    ck_assert_msg(sqz_session_new(model, NULL, &session, &err) == SQZ_OK, "%s: %s", known->name, err.text);
    ck_assert_uint_eq(sqz_session_input_count(session), known->n_input);
    ck_assert_uint_eq(sqz_session_output_count(session), known->n_output);
    for (size_t i = 0; i < known->n_input; i++) input[i] = known->n_input > 25 ? known->input[0] : known->input[i];
    sqz_session_run(session, input, 1, output);
    sqz_session_free(session);
}

static struct sqz_model *read_back(const char *name) {
    struct sqz_read_options options = {0};
    struct sqz_model *model;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_model_read(reader_path(name), &options, &model, &err) == SQZ_OK, "%s: %s", name, err.text);
    return model;
}

static void write_sqz(const struct sqz_model *model, const char *name) {
    struct sqz_encode_options options = {SQZ_CODER_AUTO, SQZ_BIAS_FP32};
    struct sqz_buffer file = {0};
    struct sqz_error err = {0};
    ck_assert_msg(sqz_container_encode(model, &options, &file, &err) == SQZ_OK, "%s", err.text);
    reader_write(name, file.data, file.nbytes);
    sqz_buffer_free(&file);
}

static void write_as(const struct sqz_model *model, const char *format, const char *name) {
    struct sqz_error err = {0};
    ck_assert_msg(sqz_format_find(format, NULL)->write(model, reader_path(name), NULL, &err) == SQZ_OK, "%s: %s",
                  format, err.text);
}

static void prune_nothing_and_share(struct sqz_model *model) {
    struct sqz_layer_value all = {NULL, 1}, bits = {NULL, 8};
    struct sqz_prune_options prune = {.rule = SQZ_PRUNE_DENSITY, .values = &all, .n_values = 1};
    struct sqz_quantize_options share = {.bits = &bits, .n_bits = 1};
    struct sqz_prune_stats pruned[4];
    struct sqz_quantize_stats shared[4];
    size_t n;
    ck_assert_int_eq(sqz_prune(model, &prune, pruned, &n, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_quantize(model, &share, shared, &n, NULL), SQZ_OK);
}

static void expect_answer(const struct sqz_model *model, const struct known *known, const char *stage) {
    float output[25];
    run(model, known, output);
    for (size_t i = 0; i < known->n_output; i++)
        ck_assert_msg(fabsf(output[i] - known->output[i]) <= 2e-6f * (1 + fabsf(known->output[i])),
                      "%s, %s: result %zu is %.8g instead of %.8g", known->name, stage, i, (double)output[i],
                      (double)known->output[i]);
}

/* What each of these layers computes, as a model, and behind pruning, sharing, and every file that we write and read.
 */
START_TEST(answers_survive_every_file) {
    const struct known *known = &nets[_i];
    struct sqz_model *model = known->make(), *back;
    expect_answer(model, known, "as made");
    prune_nothing_and_share(model);
    expect_answer(model, known, "shared");
    write_as(model, "hdf5", "m.h5");
    back = read_back("m.h5");
    expect_answer(back, known, "behind .h5");
    write_sqz(back, "m.sqz");
    sqz_model_free(back);
    back = read_back("m.sqz");
    expect_answer(back, known, "behind .sqz");
    write_as(back, "onnx", "m.onnx");
    sqz_model_free(back);
    back = read_back("m.onnx");
    expect_answer(back, known, "behind .onnx");
    write_sqz(back, "again.sqz");
    sqz_model_free(back);
    back = read_back("again.sqz");
    expect_answer(back, known, "behind .onnx and .sqz");
    sqz_model_free(back);
    sqz_model_free(model);
}
END_TEST

/*
 * Caffe's weights expect blue, green, red. Converters swapped twice or never: accuracy a few points low, easily missed.
 * A net that looks at its first channel alone sees nothing of a red image, 255 of a blue one, whichever file it is in.
 */
START_TEST(channel_order_travels) {
    static const char *const files[] = {NULL, "m.h5", "m.sqz", "m.onnx"};
    struct net net = net_new(3, 2, 2, 1);
    struct sqz_model *model = net.model;
    ck_assert(sqz_input_preset("caffe", &model->input));
    memset(model->input.mean, 0, sizeof model->input.mean);
    uint32_t at = net_conv(&net, 0, 3, 1, square_window(1, 1, 0), 1);
    memcpy(model->weights[0].data, (float[]){1, 0, 0}, 3 * sizeof(float));
    model->weights[1].data[0] = 0;
    model->output = net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, &at, 1);
    write_as(model, "hdf5", "m.h5");
    write_as(model, "onnx", "m.onnx");
    write_sqz(model, "m.sqz");
    for (size_t f = 0; f < 4; f++) {
        struct sqz_model *read = files[f] ? read_back(files[f]) : model;
        ck_assert_int_eq(read->input.order, SQZ_CHANNELS_BGR);
        ck_assert_int_eq(memcmp(&read->input.mean, &model->input.mean, sizeof read->input.mean), 0);
        struct sqz_session *session;
        ck_assert_int_eq(sqz_session_new(read, NULL, &session, NULL), SQZ_OK);
        for (int blue = 0; blue < 2; blue++) {
            uint8_t image[11 + 12] = "P6\n2 2\n255\n";
            for (int i = 0; i < 4; i++) image[11 + 3 * i + (blue ? 2 : 0)] = 255;
            float pixels[12], output;
            /* Two pixels a side must not be resized to 256 first. */
            struct sqz_input input = read->input;
            input.resize_short = 0;
            ck_assert_int_eq(sqz_image_load(image, sizeof image, &input, false, pixels, NULL), SQZ_OK);
            sqz_session_run(session, pixels, 1, &output);
            ck_assert_float_eq(output, blue ? 255 : 0);
        }
        sqz_session_free(session);
        if (files[f]) sqz_model_free(read);
    }
    sqz_model_free(model);
}
END_TEST

/* With one or four channels there is nothing to swap: a fixed swap of the first and the third broke such nets. */
START_TEST(other_numbers_of_channels_are_left_alone) {
    for (uint32_t channels = 1; channels <= 4; channels += 3) {
        struct net net = net_new(channels, 1, 1, 1);
        ck_assert(sqz_input_preset("caffe", &net.model->input));
        uint32_t at = net_conv(&net, 0, channels, channels, square_window(1, 1, 0), 1);
        for (uint32_t i = 0; i < channels * channels; i++) net.model->weights[0].data[i] = i % (channels + 1) == 0;
        memset(net.model->weights[1].data, 0, channels * sizeof(float));
        net.model->output = at;
        ck_assert_int_eq(net.model->input.order, channels == 1 ? SQZ_CHANNELS_GREY : SQZ_CHANNELS_BGR);
        write_as(net.model, "onnx", "m.onnx");
        struct sqz_model *back = read_back("m.onnx");
        struct sqz_session *session;
        ck_assert_int_eq(sqz_session_new(back, NULL, &session, NULL), SQZ_OK);
        static const float input[] = {1, 2, 3, 4};
        float output[4];
        sqz_session_run(session, input, 1, output);
        ck_assert_int_eq(memcmp(input, output, channels * sizeof(float)), 0);
        sqz_session_free(session);
        sqz_model_free(back);
        sqz_model_free(net.model);
    }
}
END_TEST

/* Weights in a second file were left out of the size that a ratio is taken against. */
START_TEST(external_bytes_count) {
    uint8_t bytes[4096 + 8] = {0};
    struct onnx_sample *sample = onnx_sample_whole();
    onnx_sample_external(sample, sample->graph.initializer[0], "w.bin", "0", "24");
    onnx_sample_external(sample, sample->graph.initializer[1], "w.bin", "4096", "8");
    struct sqz_buffer file = {0};
    onnx_sample_pack(sample, &file);
    onnx_sample_free(sample);
    reader_write("m.onnx", file.data, file.nbytes);
    reader_write("w.bin", bytes, sizeof bytes);
    size_t nbytes = 0;
    struct sqz_read_options options = {.file_nbytes = &nbytes};
    struct sqz_model *model;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_model_read(reader_path("m.onnx"), &options, &model, &err) == SQZ_OK, "%s", err.text);
    ck_assert_uint_eq(nbytes, file.nbytes + 24 + 8); /* the part of w.bin that is this model's */
    sqz_model_free(model);
    sqz_buffer_free(&file);
}
END_TEST

/*
 * Exports that were as large as before, or held a float copy beside the small weights: an ONNX file of a compressed
 * model has each weight once, as float, and little else.
 */
START_TEST(an_export_holds_each_weight_once) {
    struct net net = net_new(64, 8, 8, 3);
    uint32_t at = net_conv(&net, 0, 64, 64, square_window(3, 1, 1), 1);
    at = net_conv(&net, at, 64, 64, square_window(3, 1, 1), 1);
    net.model->output = at;
    prune_nothing_and_share(net.model);
    size_t nbytes;
    ck_assert_int_eq(sqz_onnx_write(net.model, reader_path("m.onnx"), &nbytes, NULL), SQZ_OK);
    size_t weights = 2 * (64 * 64 * 9 + 64) * sizeof(float);
    ck_assert_uint_ge(nbytes, weights);
    ck_assert_uint_le(nbytes, weights + 2000);
    sqz_model_free(net.model);
}
END_TEST

Suite *test_cases_formats(void);

Suite *test_cases_formats(void) {
    Suite *suite = suite_create("cases_formats");
    TCase *tc = tcase_create("cases");
    tcase_add_checked_fixture(tc, reader_folder_make, reader_folder_remove);
    tcase_add_loop_test(tc, answers_survive_every_file, 0, N_NETS);
    tcase_add_test(tc, channel_order_travels);
    tcase_add_test(tc, other_numbers_of_channels_are_left_alone);
    tcase_add_test(tc, external_bytes_count);
    tcase_add_test(tc, an_export_holds_each_weight_once);
    suite_add_tcase(suite, tc);
    return suite;
}
