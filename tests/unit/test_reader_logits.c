/* test_reader_logits.c - models read from ncnn and Deep Compression files compute what their own frameworks compute. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "eval/engine.h"
#include "formats/formats.h"
#include "tests/unit/ncnn_samples.h"
#include "tests/unit/reader_folder.h"

/* The input of every reference: a fixed scramble of the flat index, in [0, 1). */
static float scrambled(uint32_t i) {
    return (float)((i * 2654435761u) >> 8) / 16777216.0f;
}

/* Run the model on one input of the given size; the caller frees the result. */
static float *run(const struct sqz_model *model, uint32_t height, uint32_t width, const float *input, size_t *n) {
    struct sqz_session_options options = {.max_batch = 1, .height = height, .width = width};
    struct sqz_session *session = NULL;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_session_new(model, &options, &session, &err) == SQZ_OK, "%s", err.text);
    *n = sqz_session_output_count(session);
    float *output = sqz_alloc(*n, sizeof *output);
    ck_assert_ptr_nonnull(output);
    sqz_session_run(session, input, 1, output);
    sqz_session_free(session);
    return output;
}

static float *make_scrambled(size_t n) {
    float *input = sqz_alloc(n, sizeof *input);
    ck_assert_ptr_nonnull(input);
    for (size_t i = 0; i < n; i++) input[i] = scrambled((uint32_t)i);
    return input;
}

/* One entry of REFERENCE.json. The whole file is not for jansson: one of its keys holds a NUL. */
static json_t *find_reference(const struct sqz_source *references, const char *name) {
    char key[128];
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *end = (const char *)references->data + references->nbytes;
    const char *entry = memmem(references->data, references->nbytes, key, strlen(key));
    ck_assert_ptr_nonnull(entry);
    entry += strlen(key);
    json_t *reference = json_loadb(entry, (size_t)(end - entry), JSON_DISABLE_EOF_CHECK, NULL);
    ck_assert_ptr_nonnull(reference);
    return reference;
}

/* ncnn itself made these figures; its and our summation orders differ in the last digits. */
static void check_reference(const char *shared, const struct sqz_source *references, const char *name) {
    char path[512];
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    json_t *reference = find_reference(references, name), *shape = json_object_get(reference, "input_shape_nchw");
    json_t *first = json_object_get(reference, "first");
    ck_assert_ptr_nonnull(shape);
    snprintf(path, sizeof path, "%s/fixtures/%s", shared, name);
    ck_assert_msg(ncnn_read_path(path, NULL, &model, &err) == SQZ_OK, "%s: %s", name, err.text);
    uint32_t dims[4];
    for (size_t i = 0; i < 4; i++) dims[i] = (uint32_t)json_integer_value(json_array_get(shape, i));
    ck_assert_uint_eq(model->input.channels, dims[1]);
    float *input = make_scrambled((size_t)dims[1] * dims[2] * dims[3]);
    size_t n;
    float *output = run(model, dims[2], dims[3], input, &n);
    ck_assert_int_eq((json_int_t)n, json_integer_value(json_object_get(reference, "n")));
    for (size_t i = 0; i < json_array_size(first); i++) {
        double expected = json_number_value(json_array_get(first, i));
        ck_assert_msg(fabs(output[i] - expected) <= 1e-5 + 1e-4 * fabs(expected), "%s output %zu: %.7g, not %.7g", name,
                      i, output[i], expected);
    }
    sqz_free(input);
    sqz_free(output);
    sqz_model_free(model);
    json_decref(reference);
}

START_TEST(ncnn_references) {
    const char *shared = reader_shared("test_reader_logits ncnn_references");
    char path[512];
    if (!shared) return;
    snprintf(path, sizeof path, "%s/fixtures/REFERENCE.json", shared);
    struct sqz_source references;
    ck_assert_int_eq(sqz_source_open(path, SQZ_SOURCE_LIMIT, &references, NULL), SQZ_OK);
    check_reference(shared, &references, "ncnn/fsq_fp32.param");
    check_reference(shared, &references, "ncnn/tricky_a_fp32.param");
    check_reference(shared, &references, "ncnn/tricky_a_fp16.param");
    check_reference(shared, &references, "ncnn/tricky_a_fp16.param.bin");
    sqz_source_close(&references);
}
END_TEST

/* tricky_b holds operators outside the model: a clear refusal of the first of them. */
START_TEST(ncnn_refusals) {
    const char *shared = reader_shared("test_reader_logits ncnn_refusals");
    static const char *const names[] = {"tricky_b_fp32.param", "tricky_b_fp32.param.bin", "sq11_int8.param"};
    if (!shared) return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512];
        struct sqz_model *model = NULL;
        struct sqz_error err = {0};
        snprintf(path, sizeof path, "%s/fixtures/ncnn/%s", shared, names[i]);
        ck_assert_int_eq(ncnn_read_path(path, NULL, &model, &err), SQZ_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(err.text, i < 2 ? "ELU" : "int8"));
    }
}
END_TEST

static void check_outputs(const char *param, struct sqz_buffer *bin, const float *input, const float *expected,
                          size_t n_expected) {
    struct sqz_model *model = ncnn_read_once(param, bin);
    size_t n;
    float *output = run(model, 0, 0, input, &n);
    ck_assert_uint_eq(n, n_expected);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(fabsf(output[i] - expected[i]) <= 1e-4f, "output %zu: %.7g, not %.7g", i, output[i], expected[i]);
    sqz_free(output);
    sqz_model_free(model);
}

/* CASES G2: overhang does not count; explicit padding counts when asked; ncnn then divides by the whole kernel. */
START_TEST(average_divisors) {
    static const float ramp[] = {1, 2, 3, 4, 5}, ramp_out[] = {1.5f, 3.5f, 5}, kernel_out[] = {1.5f, 3.5f, 2.5f};
    static const float ones[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1}, corners[] = {4 / 9.0f, 4 / 9.0f, 4 / 9.0f, 4 / 9.0f};
    struct sqz_buffer none = {0};
    check_outputs(SIZED("2", "5", "1", "1") "Pooling p 1 1 x y 0=1 1=2 11=1 2=2 12=1 5=0\n", &none, ramp, ramp_out, 3);
    check_outputs(SIZED("2", "5", "1", "1") "Pooling p 1 1 x y 0=1 1=2 11=1 2=2 12=1 5=0 6=1\n", &none, ramp,
                  kernel_out, 3);
    check_outputs(SIZED("2", "3", "3", "1") "Pooling p 1 1 x y 0=1 1=3 2=2 3=1 5=1 6=1\n", &none, ones, corners, 4);
    check_outputs(SIZED("2", "3", "3", "1") "Pooling p 1 1 x y 0=1 1=3 2=2 3=1 5=1 6=0\n", &none, ones, ones, 4);
}
END_TEST

/* CASES G4: alpha is divided by the window. */
START_TEST(lrn_window) {
    static const float input[] = {100, 100, 100, 100, 100},
                       expected[] = {70.2927f, 64.3496f, 59.4604f, 64.3496f, 70.2927f};
    struct sqz_buffer none = {0};
    check_outputs(SIZED("2", "1", "1", "5") "LRN l 1 1 x y 1=5 2=0.0001 3=0.75\n", &none, input, expected, 5);
}
END_TEST

/* CASES G5: on a 6x6 ramp with stride 2, SAME starts at row and column 1, symmetric padding at 0. */
START_TEST(same_is_not_symmetric) {
    float ramp[36];
    static const float upper[] = {7, 9, 11, 19, 21, 23, 31, 33, 35}, symmetric[] = {0, 2, 4, 12, 14, 16, 24, 26, 28};
    for (int i = 0; i < 36; i++) ramp[i] = (float)i;
    for (int same = 0; same < 2; same++) {
        struct sqz_buffer bin = {0};
        sqz_put_u32(&bin, FP32);
        for (int i = 0; i < 9; i++) sqz_put_f32(&bin, i == 4);
        check_outputs(same ? SIZED("2", "6", "6", "1") "Convolution c 1 1 x y 0=1 1=3 3=2 4=-233 6=9\n"
                           : SIZED("2", "6", "6", "1") "Convolution c 1 1 x y 0=1 1=3 3=2 4=1 6=9\n",
                      &bin, ramp, same ? upper : symmetric, 9);
    }
}
END_TEST

/* Activations and arithmetic that are made of other nodes. */
START_TEST(composed_layers) {
    static const float input[] = {-4, 2, -1, 3}; /* two channels of 1x2 */
    static const float prelu[] = {-2, 2, -0.25f, 3}, gate[] = {0, 1.8f, -0.3f, 3},
                       swish[] = {-0.0719448f, 1.7615942f, -0.2689414f, 2.8577224f};
    static const float difference[] = {0, 0, 0, 0}, reversed[] = {5, -1, 2, -2}, sigmoid[] = {0, 0.9f, 0.3f, 1};
    struct sqz_buffer bin = {0};
    sqz_put_f32(&bin, 0.5f);
    sqz_put_f32(&bin, 0.25f);
    check_outputs(SIZED("2", "2", "1", "2") "PReLU p 1 1 x y 0=2\n", &bin, input, prelu, 4);
    check_outputs(SIZED("2", "2", "1", "2") "HardSwish h 1 1 x y 0=0.2 1=0.5\n", &bin, input, gate, 4);
    check_outputs(SIZED("2", "2", "1", "2") "HardSigmoid h 1 1 x y\n", &bin, input, sigmoid, 4);
    check_outputs(SIZED("2", "2", "1", "2") "Swish s 1 1 x y\n", &bin, input, swish, 4);
    check_outputs(SIZED("3", "2", "1", "2") "Split s 1 2 x a b\nBinaryOp u 2 1 a b y 0=1\n", &bin, input, difference,
                  4);
    check_outputs(SIZED("2", "2", "1", "2") "BinaryOp r 1 1 x y 0=7 1=1 2=1.0\n", &bin, input, reversed, 4);
}
END_TEST

/* CASES G3: a 1x1 convolution with padding 1 on 13x13 ones, W = 2; the border is relu(bias), and the average sees
 * 15x15. */
START_TEST(padded_final_convolution) {
    static const char prototxt[] = "input: \"data\" input_dim: 1 input_dim: 1 input_dim: 13 input_dim: 13\n"
                                   "layer { name: \"conv_final\" type: \"Convolution\" bottom: \"data\" top: \"c\""
                                   " convolution_param { num_output: 1 pad: 1 kernel_size: 1 } }\n"
                                   "layer { name: \"relu\" type: \"ReLU\" bottom: \"c\" top: \"c\" }\n"
                                   "layer { name: \"pool\" type: \"Pooling\" bottom: \"c\" top: \"p\" pooling_param { "
                                   "pool: AVE global_pooling: true } }\n";
    reader_write("g.prototxt", prototxt, sizeof prototxt - 1);
    for (int bias = 0; bias < 2; bias++) {
        struct sqz_buffer net = {0};
        struct sqz_source source;
        struct sqz_read_options options = {0};
        struct sqz_model *model = NULL;
        sqz_put_u32(&net, 1);
        for (int c = 0; c < 256; c++) sqz_put_f32(&net, c == 3 ? 2 : 0);
        sqz_put_f32(&net, (float)bias);
        sqz_put_u8(&net, 3);
        sqz_put_u8(&net, 0);
        reader_write("g.net", net.data, net.nbytes);
        sqz_buffer_free(&net);
        ck_assert_int_eq(sqz_source_open(reader_path("g.net"), SQZ_SOURCE_LIMIT, &source, NULL), SQZ_OK);
        ck_assert_int_eq(sqz_han_read(&source, &options, &model, NULL), SQZ_OK);
        sqz_source_close(&source);
        float ones[169];
        for (int i = 0; i < 169; i++) ones[i] = 1;
        size_t n;
        float *output = run(model, 0, 0, ones, &n);
        ck_assert_uint_eq(n, 1);
        ck_assert(fabsf(output[0] - (bias ? 2.502222f : 1.502222f)) < 1e-4f);
        sqz_free(output);
        sqz_model_free(model);
    }
}
END_TEST

Suite *test_reader_logits(void);

Suite *test_reader_logits(void) {
    Suite *suite = suite_create("reader_logits");
    TCase *logits = tcase_create("logits");
    tcase_add_checked_fixture(logits, reader_folder_make, reader_folder_remove);
    tcase_set_timeout(logits, 60);
    tcase_add_test(logits, ncnn_references);
    tcase_add_test(logits, ncnn_refusals);
    tcase_add_test(logits, average_divisors);
    tcase_add_test(logits, lrn_window);
    tcase_add_test(logits, same_is_not_symmetric);
    tcase_add_test(logits, composed_layers);
    tcase_add_test(logits, padded_final_convolution);
    suite_add_tcase(suite, logits);
    return suite;
}
