/* test_onnx_logits.c - what models read from ONNX files compute: small nets by hand, and the shared references. */
#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/engine.h"
#include "lib/half.h"
#include "tests/unit/onnx_samples.h"
#include "tests/unit/reader_folder.h"

#define LIST(...)                                                                                                      \
    (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) {                                          \
        __VA_ARGS__                                                                                                    \
    }
#define FLOATS(...)                                                                                                    \
    (sizeof((float[]){__VA_ARGS__}) / sizeof(float)), (const float[]) {                                                \
        __VA_ARGS__                                                                                                    \
    }

/* Run the model on one input; the caller frees the result. */
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

static void check_model(const struct sqz_model *model, const float *input, size_t n_wanted, const float *wanted) {
    size_t n;
    float *output = run(model, 0, 0, input, &n);
    ck_assert_uint_eq(n, n_wanted);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(fabsf(output[i] - wanted[i]) <= 1e-5f * (1 + fabsf(wanted[i])), "output %zu: %.7g, not %.7g", i,
                      output[i], wanted[i]);
    sqz_free(output);
}

/* The sample's result, and that of the file that it is exported to. */
static void check_sample(struct onnx_sample *sample, const float *input, size_t n_wanted, const float *wanted) {
    struct sqz_model *model = onnx_sample_read(sample), *again = NULL;
    struct sqz_source source;
    struct sqz_error err = {0};
    check_model(model, input, n_wanted, wanted);
    ck_assert_msg(sqz_onnx_write(model, reader_path("again.onnx"), NULL, &err) == SQZ_OK, "%s", err.text);
    ck_assert_int_eq(sqz_source_open(reader_path("again.onnx"), SQZ_SOURCE_LIMIT, &source, &err), SQZ_OK);
    ck_assert_int_eq(onnx_read_bytes(source.data, source.nbytes, "again.onnx", NULL, &again, &err), SQZ_OK);
    sqz_source_close(&source);
    check_model(again, input, n_wanted, wanted);
    sqz_model_free(again);
    sqz_model_free(model);
}

static struct onnx_sample *one_node(int64_t opset, const char *op_type, int64_t c, int64_t h, int64_t w) {
    struct onnx_sample *sample = onnx_sample_new(opset);
    onnx_sample_input(sample, "data", 0, c, h, w);
    onnx_sample_output(sample, "out");
    onnx_sample_node(sample, op_type, "data", "out");
    return sample;
}

/* CASES E2: the old rule takes all channels, the new default the last dimension; the export keeps the meaning. */
START_TEST(softmax_rules) {
    float logits[4] = {0, logf(2), logf(3), logf(4)};
    check_sample(one_node(9, "Softmax", 4, 1, 1), logits, FLOATS(0.1f, 0.2f, 0.3f, 0.4f));
    check_sample(one_node(13, "Softmax", 4, 1, 1), logits, FLOATS(1, 1, 1, 1));
    check_sample(one_node(9, "Softmax", 2, 1, 2), logits, FLOATS(0.1f, 0.2f, 0.3f, 0.4f));
    check_sample(one_node(13, "Softmax", 2, 1, 2), logits, FLOATS(1 / 3.0f, 2 / 3.0f, 3 / 7.0f, 4 / 7.0f));
}
END_TEST

START_TEST(dropout_changes_nothing) {
    static const float input[4] = {1, -2, 3, -4};
    static const int64_t opsets[] = {3, 7, 12};
    for (size_t i = 0; i < 3; i++) {
        struct onnx_sample *sample = one_node(opsets[i], "Dropout", 4, 1, 1);
        if (opsets[i] < 12) onnx_sample_float(sample, "ratio", 0.5f);
        check_sample(sample, input, 4, input);
    }
}
END_TEST

/* CASES C2: the first half of the filters sees the first half of the channels. */
START_TEST(grouped_convolution) {
    static const float kernel[8] = {1, 0, 0, 1, 1, 0, 0, 1}, input[4] = {1, 2, 3, 4};
    struct onnx_sample *sample = onnx_sample_new(13);
    onnx_sample_input(sample, "data", 0, 4, 1, 1);
    onnx_sample_floats(sample, "w", 4, (const int64_t[]){4, 2, 1, 1}, kernel);
    onnx_sample_node(sample, "Conv", "data w", "out");
    onnx_sample_int(sample, "group", 2);
    onnx_sample_output(sample, "out");
    check_sample(sample, input, FLOATS(1, 2, 3, 4));
}
END_TEST

/* CASES G2. */
START_TEST(average_divisors) {
    static const float ramp[5] = {1, 2, 3, 4, 5}, ones[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    struct onnx_sample *sample = one_node(11, "AveragePool", 1, 1, 5);
    onnx_sample_ints(sample, "kernel_shape", LIST(1, 2));
    onnx_sample_ints(sample, "strides", LIST(1, 2));
    onnx_sample_int(sample, "ceil_mode", 1);
    check_sample(sample, ramp, FLOATS(1.5f, 3.5f, 5));
    sample = one_node(11, "AveragePool", 1, 2, 2);
    onnx_sample_ints(sample, "kernel_shape", LIST(2, 2));
    onnx_sample_ints(sample, "pads", LIST(0, 0, 1, 1));
    onnx_sample_int(sample, "count_include_pad", 1);
    check_sample(sample, ones, FLOATS(1, 0.5f, 0.5f, 0.25f));
    sample = one_node(11, "AveragePool", 1, 3, 3);
    onnx_sample_ints(sample, "kernel_shape", LIST(3, 3));
    onnx_sample_ints(sample, "strides", LIST(2, 2));
    onnx_sample_ints(sample, "pads", LIST(1, 1, 1, 1));
    onnx_sample_int(sample, "count_include_pad", 1);
    check_sample(sample, ones, FLOATS(4 / 9.0f, 4 / 9.0f, 4 / 9.0f, 4 / 9.0f));
}
END_TEST

/* CASES G3: a 1x1 convolution with padding 1, ReLU, global average over 15x15. */
START_TEST(padded_final_convolution) {
    float input[169];
    for (int i = 0; i < 169; i++) input[i] = 1;
    for (int bias = 0; bias < 2; bias++) {
        struct onnx_sample *sample = onnx_sample_new(13);
        float two = 2, b = (float)bias, wanted = (float)(bias ? (169 * 3 + 56) / 225.0 : 2 * 169 / 225.0);
        onnx_sample_input(sample, "data", 0, 1, 13, 13);
        onnx_sample_floats(sample, "w", 4, (const int64_t[]){1, 1, 1, 1}, &two);
        onnx_sample_floats(sample, "b", 1, (const int64_t[]){1}, &b);
        onnx_sample_node(sample, "Conv", "data w b", "c");
        onnx_sample_ints(sample, "pads", LIST(1, 1, 1, 1));
        onnx_sample_node(sample, "Relu", "c", "r");
        onnx_sample_node(sample, "GlobalAveragePool", "r", "out");
        onnx_sample_output(sample, "out");
        check_sample(sample, input, 1, &wanted);
    }
}
END_TEST

/* CASES G4, with one window of odd and one of even size: one channel below, two above. */
START_TEST(lrn_windows) {
    static const float input[5] = {100, 100, 100, 100, 100};
    struct onnx_sample *sample = one_node(13, "LRN", 5, 1, 1);
    onnx_sample_int(sample, "size", 5);
    check_sample(sample, input, FLOATS(70.2927f, 64.3496f, 59.4604f, 64.3496f, 70.2927f));
    sample = one_node(13, "LRN", 5, 1, 1);
    onnx_sample_int(sample, "size", 4);
    float wanted[5];
    for (int c = 0; c < 5; c++) {
        int n = (c + 2 < 5 ? c + 2 : 4) - (c > 0 ? c - 1 : 0) + 1;
        wanted[c] = (float)(100 / pow(1 + 1e-4 / 4 * n * 1e4, 0.75));
    }
    check_sample(sample, input, 5, wanted);
}
END_TEST

/* PyTorch's way to write the same normalisation (operator set 9: nothing is computed from shapes). */
START_TEST(written_out_lrn) {
    static const float input[5] = {100, 100, 100, 100, 100};
    struct onnx_sample *sample = onnx_sample_new(9);
    onnx_sample_input(sample, "data", 0, 5, 1, 1);
    onnx_sample_floats(sample, "alpha", 0, NULL, (const float[]){1e-4f});
    onnx_sample_floats(sample, "k", 0, NULL, (const float[]){1});
    onnx_sample_floats(sample, "beta", 0, NULL, (const float[]){0.75f});
    onnx_sample_node(sample, "Mul", "data data", "square");
    onnx_sample_node(sample, "Unsqueeze", "square", "volume");
    onnx_sample_ints(sample, "axes", LIST(1));
    onnx_sample_node(sample, "Pad", "volume", "padded");
    onnx_sample_ints(sample, "pads", LIST(0, 0, 2, 0, 0, 0, 0, 2, 0, 0));
    onnx_sample_node(sample, "AveragePool", "padded", "average");
    onnx_sample_ints(sample, "kernel_shape", LIST(5, 1, 1));
    onnx_sample_node(sample, "Squeeze", "average", "mean");
    onnx_sample_ints(sample, "axes", LIST(1));
    onnx_sample_node(sample, "Mul", "mean alpha", "m");
    onnx_sample_node(sample, "Add", "m k", "a");
    onnx_sample_node(sample, "Pow", "a beta", "p");
    onnx_sample_node(sample, "Div", "data p", "out");
    onnx_sample_output(sample, "out");
    check_sample(sample, input, FLOATS(70.2927f, 64.3496f, 59.4604f, 64.3496f, 70.2927f));
}
END_TEST

/* CASES G5: on a 6x6 ramp, SAME starts at row and column 1, symmetric padding at 0. */
START_TEST(same_is_not_symmetric) {
    float ramp[36], centre[9] = {0, 0, 0, 0, 1};
    for (int i = 0; i < 36; i++) ramp[i] = (float)i;
    for (int same = 0; same < 2; same++) {
        struct onnx_sample *sample = onnx_sample_new(13);
        onnx_sample_input(sample, "data", 0, 1, 6, 6);
        onnx_sample_floats(sample, "w", 4, (const int64_t[]){1, 1, 3, 3}, centre);
        onnx_sample_node(sample, "Conv", "data w", "out");
        onnx_sample_ints(sample, "strides", LIST(2, 2));
        if (same)
            onnx_sample_string(sample, "auto_pad", "SAME_UPPER");
        else
            onnx_sample_ints(sample, "pads", LIST(1, 1, 1, 1));
        onnx_sample_output(sample, "out");
        if (same)
            check_sample(sample, ramp, FLOATS(7, 9, 11, 19, 21, 23, 31, 33, 35));
        else
            check_sample(sample, ramp, FLOATS(0, 2, 4, 12, 14, 16, 24, 26, 28));
    }
}
END_TEST

/* ---- shared references -------------------------------------------------------------- */

/* The input of every reference: a fixed scramble of the flat index, in [0, 1), then `affine`. */
static float reference_input(uint32_t i, const char *affine) {
    float x = (float)((i * 2654435761u) >> 8) / 16777216.0f;
    if (strcmp(affine, "x*255") == 0) return x * 255;
    if (strcmp(affine, "floor(255*x)") == 0) return floorf(255 * x);
    if (strstr(affine, "float16")) return sqz_half_to_float(sqz_float_to_half(x));
    ck_assert_str_eq(affine, "x");
    return x;
}

static json_int_t dimension(const json_t *entry, size_t i) {
    return json_integer_value(json_array_get(json_object_get(entry, "input_shape_nchw"), i));
}

/* ONNX Runtime computed the references; those of nets in fp16 are rounded to it after each layer. */
static void check_logits(const struct sqz_model *model, const char *name, const json_t *entry) {
    const json_t *first = json_object_get(entry, "first");
    const char *affine = json_string_value(json_object_get(entry, "affine"));
    if (!first || dimension(entry, 0) != 1) return;
    bool half = strstr(name, "fp16") != NULL;
    size_t count = 1, n;
    for (size_t i = 1; i < 4; i++) count *= (size_t)dimension(entry, i);
    float *input = sqz_alloc(count, sizeof *input);
    ck_assert_ptr_nonnull(input);
    ck_assert_uint_eq(model->input.channels, (uint32_t)dimension(entry, 1));
    for (size_t i = 0; i < count; i++) input[i] = reference_input((uint32_t)i, affine);
    float *output = run(model, (uint32_t)dimension(entry, 2), (uint32_t)dimension(entry, 3), input, &n);
    ck_assert_msg((json_int_t)n == json_integer_value(json_object_get(entry, "n")), "%s: %zu results", name, n);
    double sum = 0, magnitude = 0, largest = 1e-6;
    size_t best = 0;
    for (size_t i = 0; i < n; i++) {
        sum += output[i];
        magnitude += fabs(output[i]);
        if (output[i] > output[best]) best = i;
    }
    for (size_t i = 0; i < json_array_size(first); i++)
        largest = fmax(largest, fabs(json_number_value(json_array_get(first, i))));
    for (size_t i = 0; i < json_array_size(first); i++) {
        double wanted = json_number_value(json_array_get(first, i));
        ck_assert_msg(fabs(output[i] - wanted) <= (half ? 1e-3 : 1e-5) * largest, "%s output %zu: %.7g, not %.7g", name,
                      i, output[i], wanted);
    }
    double wanted_sum = json_number_value(json_object_get(entry, "sum"));
    ck_assert_msg(fabs(sum - wanted_sum) <= (half ? 1e-3 : 1e-5) * fmax(1, magnitude), "%s: sum %.9g, not %.9g", name,
                  sum, wanted_sum);
    ck_assert_msg((json_int_t)best == json_integer_value(json_object_get(entry, "argmax")), "%s: class %zu", name,
                  best);
    sqz_free(input);
    sqz_free(output);
}

/* The nets whose result a runtime computes but sqz refuses or reads by other rules, each for a reason of its own. */
static bool may_differ(const char *name) {
    return strstr(name, "ts_training") != NULL; /* exported in training mode: its stored statistics are used */
}

/* Refusals are refused, everything else is read and computes the right thing or says what is not supported. */
static void check_reference(const char *shared, const char *name, const json_t *entry, size_t *n_read, size_t *n_all) {
    char path[512];
    struct sqz_source source;
    struct sqz_read_options options = {0};
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    snprintf(path, sizeof path, "%s/fixtures/%s", shared, name);
    if (!strstr(name, ".onnx")) return;
    ck_assert_msg(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, &err) == SQZ_OK, "%s: %s", name, err.text);
    enum sqz_status status = sqz_onnx_read(&source, &options, &model, &err);
    sqz_source_close(&source);
    ++*n_all;
    if (json_object_get(entry, "refuse") && !may_differ(name)) {
        ck_assert_msg(status != SQZ_OK, "%s was read", name);
        ck_assert_str_ne(err.text, "");
        return;
    }
    if (status != SQZ_OK) {
        ck_assert_msg(status == SQZ_UNSUPPORTED, "%s: %s", name, err.text);
        return;
    }
    ++*n_read;
    if (!may_differ(name)) check_logits(model, name, entry);
    sqz_model_free(model);
}

START_TEST(shared_references) {
    const char *shared = reader_shared("test_onnx_logits shared_references");
    char path[512];
    struct sqz_source references;
    size_t n_read = 0, n_all = 0;
    if (!shared) return;
    snprintf(path, sizeof path, "%s/fixtures/REFERENCE.json", shared);
    ck_assert_int_eq(sqz_source_open(path, SQZ_SOURCE_LIMIT, &references, NULL), SQZ_OK);
    const char *at = (const char *)references.data, *end = at + references.nbytes;
    /* The entries are parsed one by one: another one's key holds a NUL, which the JSON library refuses. */
    while ((at = memmem(at, (size_t)(end - at), "\n\"onnx/", 7)) != NULL) {
        char name[256];
        const char *quote = memchr(at + 2, '"', (size_t)(end - at - 2));
        snprintf(name, sizeof name, "%.*s", (int)(quote - at - 2), at + 2);
        at = quote + 2;
        json_t *entry = json_loadb(at, (size_t)(end - at), JSON_DISABLE_EOF_CHECK, NULL);
        ck_assert_ptr_nonnull(entry);
        check_reference(shared, name, entry, &n_read, &n_all);
        json_decref(entry);
    }
    sqz_source_close(&references);
    ck_assert_uint_ge(n_all, 300);
    ck_assert_uint_ge(n_read, 162);
}
END_TEST

/* The same net from ONNX and from PyTorch: the same layers by name, and every weight bit for bit. */
static void compare_with_pytorch(const char *shared, const char *net) {
    struct sqz_model *models[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        char path[512];
        struct sqz_error err = {0};
        snprintf(path, sizeof path, "%s/data/models/%s.%s", shared, net, i ? "pth" : "onnx");
        ck_assert_msg(sqz_model_read(path, NULL, &models[i], &err) == SQZ_OK, "%s: %s", path, err.text);
    }
    ck_assert_str_eq(models[0]->arch, models[1]->arch);
    ck_assert_uint_eq(models[0]->n_weights, models[1]->n_weights);
    for (size_t i = 0; i < models[0]->n_weights; i++) {
        const struct sqz_weight *a = &models[0]->weights[i], *b = NULL;
        size_t k = 0;
        for (; k < models[1]->n_weights && !b; k++)
            if (strcmp(models[1]->weights[k].name, a->name) == 0) b = &models[1]->weights[k];
        ck_assert_msg(b != NULL, "%s has no %s", net, a->name);
        ck_assert(sqz_shape_equal(&a->shape, &b->shape));
        ck_assert_mem_eq(a->data, b->data, a->count * sizeof(float));
        ck_assert_str_eq(sqz_model_layer_name(models[0], i), sqz_model_layer_name(models[1], k - 1));
    }
    sqz_model_free(models[0]);
    sqz_model_free(models[1]);
}

START_TEST(shared_nets_equal_pytorch) {
    const char *shared = reader_shared("test_onnx_logits shared_nets_equal_pytorch");
    if (!shared) return;
    compare_with_pytorch(shared, "squeezenet1_1");
    compare_with_pytorch(shared, "fashion_squeezenet");
    compare_with_pytorch(shared, "fashion_alexnet");
}
END_TEST

Suite *test_onnx_logits(void);

Suite *test_onnx_logits(void) {
    Suite *suite = suite_create("onnx_logits");
    TCase *logits = tcase_create("logits");
    tcase_add_checked_fixture(logits, reader_folder_make, reader_folder_remove);
    tcase_set_timeout(logits, 300);
    tcase_add_test(logits, softmax_rules);
    tcase_add_test(logits, dropout_changes_nothing);
    tcase_add_test(logits, grouped_convolution);
    tcase_add_test(logits, average_divisors);
    tcase_add_test(logits, padded_final_convolution);
    tcase_add_test(logits, lrn_windows);
    tcase_add_test(logits, written_out_lrn);
    tcase_add_test(logits, same_is_not_symmetric);
    tcase_add_test(logits, shared_references);
    tcase_add_test(logits, shared_nets_equal_pytorch);
    suite_add_tcase(suite, logits);
    return suite;
}
