/* test_onnx.c - the ONNX reader: where weights hide, external data, and the input's description. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/half.h"
#include "tests/unit/onnx_samples.h"
#include "tests/unit/reader_folder.h"

#define LIST(...)                                                                                                      \
    (sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) {                                          \
        __VA_ARGS__                                                                                                    \
    }
#define FLOATS(...)                                                                                                    \
    (const float[]) {                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static const struct sqz_node *find_node(const struct sqz_model *model, const char *name) {
    for (size_t i = 0; i < model->n_nodes; i++)
        if (strcmp(model->nodes[i].name, name) == 0) return &model->nodes[i];
    ck_abort_msg("there is no node %s", name);
}

static void check_values(const struct sqz_weight *weight, const float *values, size_t n) {
    ck_assert_uint_eq(weight->count, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(weight->data[i] == values[i], "%s[%zu] is %.9g, not %.9g", weight->name, i, weight->data[i],
                      values[i]);
}

/* ---- CASES E1: where the weights hide ------------------------------------------- */

static void check_conv(struct sqz_model *model) {
    ck_assert_uint_eq(model->n_nodes, 3);
    ck_assert_uint_eq(model->n_weights, 2);
    ck_assert_str_eq(model->nodes[1].name, "conv");
    ck_assert_str_eq(model->weights[0].name, "conv.weight");
    ck_assert_str_eq(model->weights[1].name, "conv.bias");
    ck_assert_int_eq(model->weights[0].role, SQZ_ROLE_KERNEL);
    ck_assert_int_eq(model->weights[1].role, SQZ_ROLE_BIAS);
    check_values(&model->weights[0], onnx_sample_kernel, 6);
    check_values(&model->weights[1], onnx_sample_bias, 2);
    ck_assert_uint_eq(model->input.channels, 3);
    ck_assert_uint_eq(model->input.height, 4);
    ck_assert_str_eq(model->source, "onnx");
    sqz_model_free(model);
}

START_TEST(initialisers) {
    check_conv(onnx_sample_read(onnx_sample_whole()));
}
END_TEST

/* IR 3 lists every initialiser as an input, here even before the real one. */
START_TEST(initialisers_listed_as_inputs) {
    struct onnx_sample *sample = onnx_sample_whole();
    sample->model.ir_version = 3;
    Onnx__ValueInfo *data = sample->graph.input[0];
    sample->graph.n_input = 0;
    onnx_sample_input(sample, "conv.weight", 2, 3, 1, 1);
    onnx_sample_input(sample, "conv.bias", 2, 1, 1, 1);
    sample->graph.input[sample->graph.n_input++] = data;
    check_conv(onnx_sample_read(sample));
}
END_TEST

START_TEST(constant_nodes) {
    struct onnx_sample *sample = onnx_sample_conv("conv.weight", "conv.bias");
    onnx_sample_node(sample, "Constant", "", "conv.weight");
    onnx_sample_value(sample, onnx_sample_make_floats(sample, "", 4, onnx_sample_kernel_dims, onnx_sample_kernel));
    onnx_sample_node(sample, "Constant", "", "conv.bias");
    Onnx__Attribute *attribute = onnx_sample_attribute(sample, "value_floats");
    attribute->floats = (float[]){0.5f, -0.25f};
    attribute->n_floats = 2;
    check_conv(onnx_sample_read(sample)); /* the constants stand behind their readers: the reader sorts */
}
END_TEST

/* Through Identity, two Transposes that undo each other, Cast from fp16 and double, and Unsqueeze. */
START_TEST(weights_behind_operators) {
    struct onnx_sample *sample = onnx_sample_conv("w3", "b2");
    struct sqz_buffer half = {0};
    for (size_t i = 0; i < 6; i++) sqz_put_u16(&half, sqz_float_to_half(onnx_sample_kernel[i]));
    Onnx__Tensor *kernel = onnx_sample_floats(sample, "conv.weight", 2, (const int64_t[]){2, 3}, onnx_sample_kernel);
    kernel->data_type = 10;
    kernel->raw_data.data = half.data;
    kernel->raw_data.len = half.nbytes;
    onnx_sample_node(sample, "Cast", "conv.weight", "w0");
    onnx_sample_int(sample, "to", 1);
    onnx_sample_node(sample, "Transpose", "w0", "w1");
    onnx_sample_node(sample, "Transpose", "w1", "w2");
    onnx_sample_ints(sample, "perm", LIST(1, 0));
    onnx_sample_integers(sample, "axes", 1, (const int64_t[]){2}, (const int64_t[]){2, -1});
    onnx_sample_node(sample, "Unsqueeze", "w2 axes", "w3");
    Onnx__Tensor *bias = onnx_sample_floats(sample, "conv.bias", 1, onnx_sample_bias_dims, onnx_sample_bias);
    bias->data_type = 11;
    bias->has_raw_data = 0;
    bias->double_data = (double[]){0.5, -0.25};
    bias->n_double_data = 2;
    onnx_sample_node(sample, "Cast", "conv.bias", "b1");
    onnx_sample_int(sample, "to", 1);
    onnx_sample_node(sample, "Identity", "b1", "b2");
    struct sqz_model *model = onnx_sample_read(sample);
    sqz_buffer_free(&half);
    check_conv(model);
}
END_TEST

START_TEST(shared_bias_is_one_weight) {
    struct onnx_sample *sample = onnx_sample_whole();
    onnx_sample_floats(sample, "second.weight", 4, (const int64_t[]){2, 2, 1, 1}, onnx_sample_kernel);
    sample->graph.node[1]->output[0] = (char *)"relu";
    onnx_sample_node(sample, "Conv", "relu second.weight conv.bias", "out");
    struct sqz_model *model = onnx_sample_read(sample);
    ck_assert_uint_eq(model->n_weights, 3);
    ck_assert_uint_eq(find_node(model, "conv")->bias, find_node(model, "second")->bias);
    sqz_model_free(model);
}
END_TEST

/* fp16, bf16 and small integers in int32_data; integer weights behind DequantizeLinear. */
START_TEST(typed_fields) {
    static const float wanted[6] = {1, -2, 0.5f, 3, -0.25f, 8};
    for (int kind = 0; kind < 4; kind++) {
        struct onnx_sample *sample = onnx_sample_conv(kind == 3 ? "w" : "conv.weight", "conv.bias");
        onnx_sample_floats(sample, "conv.bias", 1, onnx_sample_bias_dims, onnx_sample_bias);
        Onnx__Tensor *kernel = onnx_sample_floats(sample, "conv.weight", 4, onnx_sample_kernel_dims, wanted);
        int32_t words[6];
        float plain[6];
        for (int i = 0; i < 6; i++) {
            uint32_t bits;
            memcpy(&bits, &wanted[i], sizeof bits);
            plain[i] = wanted[i];
            words[i] = kind == 0   ? sqz_float_to_half(wanted[i])
                       : kind == 1 ? (int32_t)(bits >> 16)
                                   : (int32_t)(wanted[i] * 4) + 3;
        }
        kernel->has_raw_data = 0;
        if (kind == 2) {
            kernel->float_data = plain;
            kernel->n_float_data = 6;
        } else {
            kernel->data_type = kind == 0 ? 10 : kind == 1 ? 16 : 3;
            kernel->int32_data = words;
            kernel->n_int32_data = 6;
        }
        if (kind == 3) {
            Onnx__Tensor *zero = onnx_sample_floats(sample, "zero", 1, (const int64_t[]){2}, FLOATS(0, 0));
            zero->data_type = 3;
            zero->has_raw_data = 0;
            zero->int32_data = (int32_t[]){3, 3};
            zero->n_int32_data = 2;
            onnx_sample_floats(sample, "scale", 1, (const int64_t[]){2}, FLOATS(0.25f, 0.25f));
            onnx_sample_node(sample, "DequantizeLinear", "conv.weight scale zero", "w");
            onnx_sample_int(sample, "axis", 0);
        }
        struct sqz_model *model = onnx_sample_read(sample);
        ck_assert_str_eq(model->weights[0].name, "conv.weight");
        check_values(&model->weights[0], wanted, 6);
        sqz_model_free(model);
    }
}
END_TEST

/* ---- CASES E3: external data ------------------------------------------------------ */

static struct onnx_sample *external_conv(const char *location, const char *bias_length) {
    struct onnx_sample *sample = onnx_sample_whole();
    onnx_sample_external(sample, sample->graph.initializer[0], location, "0", "24");
    onnx_sample_external(sample, sample->graph.initializer[1], location, "4096", bias_length);
    return sample;
}

static void write_external(const char *name) {
    static uint8_t bytes[4096 + 8];
    struct sqz_buffer buffer = {0};
    for (size_t i = 0; i < 6; i++) sqz_put_f32(&buffer, onnx_sample_kernel[i]);
    memcpy(bytes, buffer.data, 24);
    sqz_buffer_free(&buffer);
    for (size_t i = 0; i < 2; i++) sqz_put_f32(&buffer, onnx_sample_bias[i]);
    memcpy(bytes + 4096, buffer.data, 8);
    sqz_buffer_free(&buffer);
    reader_write(name, bytes, sizeof bytes);
}

static enum sqz_status read_external(struct onnx_sample *sample, struct sqz_model **out, struct sqz_error *err) {
    struct sqz_buffer bytes = {0};
    onnx_sample_pack(sample, &bytes);
    onnx_sample_free(sample);
    enum sqz_status status = onnx_read_bytes(bytes.data, bytes.nbytes, reader_path("m.onnx"), NULL, out, err);
    sqz_buffer_free(&bytes);
    return status;
}

START_TEST(external_data) {
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    write_external("w.bin");
    ck_assert_msg(read_external(external_conv("w.bin", "8"), &model, &err) == SQZ_OK, "%s", err.text);
    check_conv(model);
    /* Without a length the tensor's own size counts. */
    ck_assert_msg(read_external(external_conv("w.bin", NULL), &model, &err) == SQZ_OK, "%s", err.text);
    check_conv(model);
}
END_TEST

/* E3 f: model and data are both symlinks into a store whose files have other names. */
START_TEST(external_data_through_symlinks) {
    struct sqz_buffer bytes = {0};
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    struct onnx_sample *sample = external_conv("w.bin", "8");
    onnx_sample_pack(sample, &bytes);
    onnx_sample_free(sample);
    ck_assert_int_eq(mkdir(reader_path("blobs"), 0700), 0);
    ck_assert_int_eq(mkdir(reader_path("snapshot"), 0700), 0);
    reader_write("blobs/aaaa", bytes.data, bytes.nbytes);
    write_external("blobs/bbbb");
    sqz_buffer_free(&bytes);
    ck_assert_int_eq(symlink("../blobs/aaaa", reader_path("snapshot/m.onnx")), 0);
    ck_assert_int_eq(symlink("../blobs/bbbb", reader_path("snapshot/w.bin")), 0);
    struct sqz_source source;
    struct sqz_read_options options = {0};
    ck_assert_int_eq(sqz_source_open(reader_path("snapshot/m.onnx"), SQZ_SOURCE_LIMIT, &source, &err), SQZ_OK);
    ck_assert(sqz_onnx_probe(&source));
    ck_assert_msg(sqz_onnx_read(&source, &options, &model, &err) == SQZ_OK, "%s", err.text);
    sqz_source_close(&source);
    check_conv(model);
}
END_TEST

START_TEST(external_data_that_is_refused) {
    static const struct {
        const char *location, *length;
        enum sqz_status status;
    } cases[] = {{"w.bin", "9", SQZ_MALFORMED},
                 {"missing.bin", "8", SQZ_NOT_FOUND},
                 {"short.bin", "8", SQZ_TRUNCATED},
                 {"../w.bin", "8", SQZ_UNSAFE},
                 {"a/../../w.bin", "8", SQZ_UNSAFE},
                 {"/etc/hostname", "8", SQZ_UNSAFE},
                 {"..", "8", SQZ_UNSAFE},
                 {"", "8", SQZ_UNSAFE},
                 {"folder", "8", SQZ_UNSAFE},
                 {"w.bin", "-8", SQZ_MALFORMED},
                 {"w.bin", "99999999999999999999", SQZ_MALFORMED}};
    struct sqz_model *model = NULL;
    struct sqz_error err;
    write_external("w.bin");
    reader_write("short.bin", "too short for the weights", 25);
    ck_assert_int_eq(mkdir(reader_path("folder"), 0700), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum sqz_status status = read_external(external_conv(cases[i].location, cases[i].length), &model, &err);
        ck_assert_msg(status == cases[i].status, "%s, %s: %s", cases[i].location, cases[i].length, err.text);
        ck_assert_ptr_nonnull(strstr(err.text, "conv."));
    }
    /* E3 g: values beside the external ones. */
    struct onnx_sample *sample = external_conv("w.bin", "8");
    sample->graph.initializer[1]->float_data = (float[]){1, 2};
    sample->graph.initializer[1]->n_float_data = 2;
    ck_assert_int_eq(read_external(sample, &model, &err), SQZ_MALFORMED);
    /* No location at all, and a model that came through a pipe. */
    sample = external_conv("w.bin", "8");
    sample->graph.initializer[1]->external_data[0]->key[0] = 'x';
    ck_assert_int_eq(read_external(sample, &model, &err), SQZ_MALFORMED);
    struct sqz_buffer bytes = {0};
    sample = external_conv("w.bin", "8");
    onnx_sample_pack(sample, &bytes);
    onnx_sample_free(sample);
    ck_assert_int_eq(onnx_read_bytes(bytes.data, bytes.nbytes, "-", NULL, &model, &err), SQZ_UNSUPPORTED);
    sqz_buffer_free(&bytes);
}
END_TEST

START_TEST(input_descriptions) {
    static const struct {
        int64_t c, h, w;
        float scale, mean, std;
    } cases[] = {{3, 224, 224, 1 / 255.0f, 0.485f, 0.229f},
                 {3, 227, 227, 1 / 255.0f, 0.485f, 0.229f},
                 {1, 28, 28, 1 / 255.0f, 0.2860f, 0.3530f},
                 {3, 32, 32, 1, 0, 1}};
    for (size_t i = 0; i < 4; i++) {
        struct onnx_sample *sample = onnx_sample_new(13);
        onnx_sample_input(sample, "data", 0, cases[i].c, cases[i].h, cases[i].w);
        onnx_sample_node(sample, "Relu", "data", "out");
        onnx_sample_output(sample, "out");
        struct sqz_model *model = onnx_sample_read(sample);
        ck_assert(model->input.scale == cases[i].scale && model->input.mean[0] == cases[i].mean);
        ck_assert(model->input.std[0] == cases[i].std);
        sqz_model_free(model);
    }
}
END_TEST

Suite *test_onnx(void);

Suite *test_onnx(void) {
    Suite *suite = suite_create("onnx");
    TCase *weights = tcase_create("weights"), *external = tcase_create("external");
    tcase_add_test(weights, initialisers);
    tcase_add_test(weights, initialisers_listed_as_inputs);
    tcase_add_test(weights, constant_nodes);
    tcase_add_test(weights, weights_behind_operators);
    tcase_add_test(weights, shared_bias_is_one_weight);
    tcase_add_test(weights, typed_fields);
    tcase_add_test(weights, input_descriptions);
    tcase_add_checked_fixture(external, reader_folder_make, reader_folder_remove);
    tcase_add_test(external, external_data);
    tcase_add_test(external, external_data_through_symlinks);
    tcase_add_test(external, external_data_that_is_refused);
    suite_add_tcase(suite, weights);
    suite_add_tcase(suite, external);
    return suite;
}
