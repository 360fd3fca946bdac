/* test_ncnn.c - the ncnn reader: how weights are stored, the two files, damage, and the shared files. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/formats.h"
#include "lib/half.h"
#include "tests/unit/ncnn_samples.h"
#include "tests/unit/reader_folder.h"

/* ---- CASES F6: storage ----------------------------------------------------------- */

/* 5 outputs of 3 channels and 3x1 pixels: 45 weights, an odd number, so fp16 is padded to a whole word. */
#define ODD_CONV NET("2") "Convolution c 1 1 x y 0=5 1=1 11=3 5=1 6=45\n"

START_TEST(every_storage) {
    static const uint32_t flags[] = {0, FP16, RAW, TABLE, 0x00000100u};
    for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
        struct sqz_buffer bin = {0};
        ncnn_put_kernel(&bin, flags[f], 45);
        ncnn_put_plain(&bin, 5);
        struct sqz_model *model = ncnn_read_once(ODD_CONV, &bin);
        struct sqz_weight *kernel = &model->weights[0];
        struct sqz_shape shape = sqz_shape4(5, 3, 3, 1);
        ck_assert_str_eq(kernel->name, "c.weight");
        ck_assert_str_eq(model->weights[1].name, "c.bias");
        ck_assert(sqz_shape_equal(&kernel->shape, &shape));
        ck_assert((kernel->packed != NULL) == (f >= 3));
        ck_assert_int_eq(sqz_weight_need_data(kernel, NULL), SQZ_OK);
        for (size_t i = 0; i < 45; i++) ck_assert(kernel->data[i] == ncnn_value(i));
        for (size_t i = 0; i < 5; i++) ck_assert(model->weights[1].data[i] == ncnn_value(i));
        sqz_model_free(model);
    }
}
END_TEST

START_TEST(too_short_and_too_long) {
    static const uint32_t flags[] = {0, FP16, TABLE};
    for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
        struct sqz_buffer bin = {0};
        ncnn_put_kernel(&bin, flags[f], 45);
        ncnn_put_plain(&bin, 5);
        size_t whole = bin.nbytes;
        for (bin.nbytes = 0; bin.nbytes < whole; bin.nbytes += f == 2 ? 61 : 1)
            ncnn_refuse(ODD_CONV, &bin, SQZ_TRUNCATED, "layer c: ");
        bin.nbytes = whole;
        sqz_put_u8(&bin, 0);
        ncnn_refuse(ODD_CONV, &bin, SQZ_MALFORMED, "1 bytes follow the weights of the last layer, c, at byte ");
        sqz_buffer_free(&bin);
    }
}
END_TEST

START_TEST(int8_is_refused) {
    struct sqz_buffer bin = {0};
    sqz_put_u32(&bin, INT8);
    ncnn_put_plain(&bin, 17);
    ncnn_refuse(ODD_CONV, &bin, SQZ_UNSUPPORTED, "int8");
    ncnn_refuse(NET("2") "Convolution c 1 1 x y 0=5 1=1 5=1 6=15 8=2\n", &bin, SQZ_UNSUPPORTED, "int8");
    ncnn_refuse(SIZED("2", "1", "1", "3") "InnerProduct c 1 1 x y 0=5 2=15 8=1\n", &bin, SQZ_UNSUPPORTED, "int8");
    sqz_buffer_free(&bin);
}
END_TEST

START_TEST(bad_values) {
    struct sqz_buffer bin = {0};
    sqz_put_u32(&bin, FP16);
    for (size_t i = 0; i < 46; i++) sqz_put_u16(&bin, i == 7 ? 0x7e00 : 0x3c00);
    ncnn_put_plain(&bin, 5);
    ncnn_refuse(ODD_CONV, &bin, SQZ_NONFINITE, "c.weight of layer c holds NaN at index 7");
    bin.nbytes = 0;
    sqz_put_u32(&bin, TABLE);
    for (size_t i = 0; i < 256; i++) sqz_put_f32(&bin, INFINITY);
    ncnn_put_plain(&bin, 12 + 5);
    ncnn_refuse(ODD_CONV, &bin, SQZ_NONFINITE, "layer c");
    sqz_buffer_free(&bin);
}
END_TEST

/* Numbers in every spelling that ncnn's tools have written; a whole number where a float is meant. */
START_TEST(number_spellings) {
    static const struct {
        const char *text;
        float slope;
    } cases[] = {{"1e-05", 1e-05f}, {"0.0001", 0.0001f}, {"1e+10", 1e10f}, {"1.000000e-1", 0.1f},
                 {"3", 3},          {"-2.5", -2.5f}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sqz_buffer none = {0};
        char param[256];
        snprintf(param, sizeof param, SIZED("2", "4", "4", "3") "ReLU r 1 1 x y 0=%s\n", cases[i].text);
        struct sqz_model *model = ncnn_read_good(param, &none);
        ck_assert_int_eq(model->nodes[1].op, SQZ_OP_LEAKY_RELU);
        ck_assert(model->nodes[1].params.leaky_relu.slope == cases[i].slope);
        sqz_model_free(model);
    }
    ncnn_refuse(SIZED("2", "4", "4", "3") "Pooling p 1 1 x y 0=1 1=2.5\n", NULL, SQZ_MALFORMED, "whole number");
    ncnn_refuse(SIZED("2", "4", "4", "3") "ReLU r 1 1 x y 0=nan\n", NULL, SQZ_NONFINITE, "NaN");
    ncnn_refuse(SIZED("2", "4", "4", "3") "ReLU r 1 1 x y 0=size(@0)\n", NULL, SQZ_UNSUPPORTED, "expression");
}
END_TEST

/* ---- the two files ----------------------------------------------------------------- */

START_TEST(either_file_may_be_named) {
    static const char param[] = ODD_CONV;
    struct sqz_buffer bin = {0};
    ncnn_put_kernel(&bin, TABLE, 45); /* no flag that could be recognised */
    ncnn_put_plain(&bin, 5);
    reader_write("n.ncnn.param", param, sizeof param - 1);
    reader_write("n.ncnn.bin", bin.data, bin.nbytes);
    reader_write("far.weights", bin.data, bin.nbytes);
    static const char *const named[][2] = {
        {"n.ncnn.param", NULL}, {"n.ncnn.bin", NULL}, {"n.ncnn.param", "far.weights"}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        struct sqz_model *model = NULL;
        struct sqz_error err = {0};
        const char *companion = named[i][1] ? reader_path(named[i][1]) : NULL;
        enum sqz_status status = ncnn_read_path(reader_path(named[i][0]), companion, &model, &err);
        ck_assert_msg(status == SQZ_OK, "%s: %s", named[i][0], err.text);
        ck_assert_uint_eq(model->n_weights, 2);
        sqz_model_free(model);
    }
    sqz_buffer_free(&bin);
}
END_TEST

START_TEST(the_wrong_second_file) {
    static const char param[] = ODD_CONV;
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    reader_write("a.param", param, sizeof param - 1);
    ck_assert_int_eq(ncnn_read_path(reader_path("a.param"), NULL, &model, &err), SQZ_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.file, "a.bin"));
    err = (struct sqz_error){0};
    ck_assert_int_eq(ncnn_read_path(reader_path("a.param"), reader_path("a.param"), &model, &err), SQZ_MALFORMED);
    ck_assert_ptr_nonnull(strstr(err.text, "list of layers where"));
    reader_write("b.bin", "\0\0\0\0abcd", 8);
    ck_assert_int_eq(ncnn_read_path(reader_path("b.bin"), NULL, &model, &err), SQZ_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, ".param"));
    err = (struct sqz_error){0};
    ck_assert_int_eq(ncnn_read_path(reader_path("b.bin"), reader_path("b.bin"), &model, &err), SQZ_MALFORMED);
    ck_assert_ptr_nonnull(strstr(err.text, "7767517"));
    reader_write("c.param", "just text", 9);
    ck_assert_int_eq(ncnn_read_path(reader_path("c.param"), NULL, &model, &err), SQZ_UNKNOWN_FORMAT);
    reader_write("d.bin", "just text", 9);
    ck_assert_int_eq(ncnn_read_path(reader_path("d.bin"), NULL, &model, &err), SQZ_UNKNOWN_FORMAT);
}
END_TEST

static void put_ints(struct sqz_buffer *b, const int32_t *values, size_t n) {
    for (size_t i = 0; i < n; i++) sqz_put_u32(b, (uint32_t)values[i]);
}

/* The binary list of layers: the same conv, and a fused leaky ReLU whose slope is an array. */
static void put_binary_param(struct sqz_buffer *b) {
    static const int32_t head[] = {7767517, 2, 2, 16, 0,  1, 0, -233, 6, 1,  1, 0, 1,
                                   0,       5, 1, 1,  11, 3, 5, 1,    6, 45, 9, 2};
    put_ints(b, head, sizeof head / sizeof *head);
    sqz_put_u32(b, (uint32_t)-23310);
    sqz_put_u32(b, 1);
    sqz_put_f32(b, 0.25f);
    sqz_put_u32(b, (uint32_t)-233);
}

START_TEST(binary_list_of_layers) {
    struct sqz_buffer param = {0}, bin = {0};
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    put_binary_param(&param);
    ncnn_put_kernel(&bin, 0, 45);
    ncnn_put_plain(&bin, 5);
    reader_write("b.param.bin", param.data, param.nbytes);
    reader_write("b.bin", bin.data, bin.nbytes);
    static const char *const named[] = {"b.param.bin", "b.bin"};
    for (size_t i = 0; i < 2; i++) {
        ck_assert_msg(ncnn_read_path(reader_path(named[i]), NULL, &model, &err) == SQZ_OK, "%s", err.text);
        ck_assert_str_eq(model->weights[0].name, "Convolution_1.weight");
        ck_assert_int_eq(model->nodes[2].op, SQZ_OP_LEAKY_RELU);
        ck_assert(model->nodes[2].params.leaky_relu.slope == 0.25f);
        sqz_model_free(model);
    }
    model = NULL;
    for (size_t n = 4; n < param.nbytes; n++) {
        reader_write("b.param.bin", param.data, n);
        enum sqz_status status = ncnn_read_path(reader_path("b.param.bin"), NULL, &model, &err);
        ck_assert_msg(status == SQZ_TRUNCATED, "%zu bytes: %s", n, err.text);
    }
    sqz_put_u32(&param, 0);
    reader_write("b.param.bin", param.data, param.nbytes);
    ck_assert_int_eq(ncnn_read_path(reader_path("b.param.bin"), NULL, &model, &err), SQZ_MALFORMED);
    sqz_buffer_free(&param);
    sqz_buffer_free(&bin);
}
END_TEST

/* ---- bad lists of layers ---------------------------------------------------------------- */

START_TEST(bad_lists) {
    static const struct {
        const char *text;
        enum sqz_status status;
        const char *part;
    } cases[] = {
        {"7767517\n", SQZ_TRUNCATED, "number of layers"},
        {"7767517\nx 1\n", SQZ_MALFORMED, "\"x\""},
        {"7767517\n-1 1\n", SQZ_MALFORMED, "\"-1\""},
        {"7767517\n99999999 1\n", SQZ_LIMIT, "99999999"},
        {SIZED("3", "4", "4", "3") "ReLU r 1 1 x y\n", SQZ_TRUNCATED, "layer type"},
        {SIZED("1", "4", "4", "3") "ReLU r 1 1 x y\n", SQZ_MALFORMED, "follows the last of 1 layers"},
        {SIZED("2", "4", "4", "3") "ReLU r 1000000 1 x y\n", SQZ_TRUNCATED, "1000000 blob names"},
        {SIZED("2", "4", "4", "3") "ReLU r 1 1 x y 99=1\n", SQZ_MALFORMED, "99=1"},
        {SIZED("2", "4", "4", "3") "ReLU r 1 1 x y 0=\n", SQZ_MALFORMED, "0="},
        {SIZED("2", "4", "4", "3") "ReLU r 1 1 x y -23300=3,1,2\n", SQZ_MALFORMED, "-23300=3,1,2"},
        {SIZED("2", "4", "4", "3") "ReLU r 1 1 x y -23300=1,2,3\n", SQZ_MALFORMED, "-23300=1,2,3"},
        {SIZED("2", "4", "4", "3") "ReLU r 1 1 x y -23300=1,0.5\n", SQZ_MALFORMED, "array"},
        {SIZED("2", "4", "4", "3") "ReLU r 1 1 y x\n", SQZ_MALFORMED, "blob y"}, /* a cycle */
        {SIZED("2", "4", "4", "3") "ReLU r 2 1 x x y\n", SQZ_MALFORMED, "2 inputs"},
        {SIZED("2", "4", "4", "3") "ReLU r 1 2 x y z\n", SQZ_UNSUPPORTED, "2 outputs"},
        {SIZED("2", "4", "4", "3") "Quantum q 1 1 x y\n", SQZ_UNSUPPORTED, "layer q of type Quantum"},
        {SIZED("3", "4", "4", "3") "ReLU r 1 1 x y\nTanH t 1 1 x z\n", SQZ_UNSUPPORTED,
         "more than one result (r and t)"},
        {SIZED("2", "4", "4", "3") "Convolution c 1 1 x y 0=2 1=0 6=6\n", SQZ_MALFORMED, "parameter 1 is 0"},
        {SIZED("2", "4", "4", "3") "Convolution c 1 1 x y 0=2 1=1 6=7\n", SQZ_MALFORMED, "do not divide"},
        {SIZED("2", "4", "4", "3") "Convolution c 1 1 x y 0=2 1=1 6=2000000000\n", SQZ_TRUNCATED, "c"},
        {SIZED("2", "4", "4", "3") "Convolution c 1 1 x y 0=2147483647 1=2147483647 11=2147483647 6=6\n", SQZ_MALFORMED,
         "c"},
        {SIZED("2", "4", "4", "3") "Convolution c 1 1 x y 0=2 1=1 6=6 4=-7\n", SQZ_MALFORMED, "negative"},
        {SIZED("2", "4", "4", "3") "InnerProduct c 1 1 x y 0=0 2=48\n", SQZ_MALFORMED, "parameter 0"},
        {SIZED("2", "4", "4", "3") "BatchNorm c 1 1 x y 0=-3\n", SQZ_MALFORMED, "parameter 0"},
        {SIZED("2", "4", "4", "-3") "ReLU r 1 1 x y\n", SQZ_MALFORMED, "-3"},
        {SIZED("2", "4", "4", "2000000000") "BinaryOp b 1 1 x y 0=0 1=1 2=1.0\n", SQZ_LIMIT, "channels"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        ncnn_refuse(cases[i].text, NULL, cases[i].status, cases[i].part);
}
END_TEST

/* A kernel that does not fit the channels in front of it. */
START_TEST(shapes_that_do_not_fit) {
    struct sqz_buffer bin = {0};
    ncnn_put_kernel(&bin, 0, 8);
    ncnn_refuse(SIZED("2", "4", "4", "3") "Convolution c 1 1 x y 0=2 1=1 6=8\n", &bin, SQZ_SHAPE, "c");
    bin.nbytes = 0;
    ncnn_put_kernel(&bin, 0, 2 * 47);
    ncnn_refuse(SIZED("2", "4", "4", "3") "InnerProduct d 1 1 x y 0=2 2=94\n", &bin, SQZ_SHAPE, "d");
    sqz_buffer_free(&bin);
}
END_TEST

#define SMALL                                                                                                          \
    SIZED("6", "8", "8", "3")                                                                                          \
    "Convolution c 1 1 x a 0=4 1=3 5=1 6=108 9=2 -23310=1,0.1\nSplit s 1 2 a b d\n"                                    \
    "Pooling p 1 1 b e 0=1 1=2 2=2\nPooling q 1 1 d f 0=0 1=2 2=2\nConcat k 2 1 e f g\n"

/* Every prefix and every flipped byte of both files ends in a model or in an error. */
START_TEST(damaged_files) {
    static const char param[] = SMALL;
    char text[sizeof param];
    struct sqz_buffer bin = {0};
    size_t n_good = 0;
    ncnn_put_kernel(&bin, FP16, 108);
    ncnn_put_plain(&bin, 4);
    for (size_t i = 0; i < sizeof param - 1 + bin.nbytes; i++)
        for (int flip = 0; flip < 3; flip++) {
            struct sqz_model *model = NULL;
            struct sqz_error err = {0};
            memcpy(text, param, sizeof param);
            uint8_t *byte = i < sizeof param - 1 ? (uint8_t *)text + i : bin.data + (i - sizeof param + 1), old = *byte;
            *byte = flip == 2 ? 0 : (uint8_t)(old ^ (flip ? 0x80 : 1 << i % 7));
            enum sqz_status status = ncnn_read_pair(text, &bin, &model, &err);
            ck_assert((status == SQZ_OK) == (model != NULL));
            n_good += status == SQZ_OK;
            sqz_model_free(model);
            *byte = old;
        }
    ck_assert_uint_gt(n_good, 0);
    sqz_buffer_free(&bin);
}
END_TEST

START_TEST(memory_runs_out) {
    struct sqz_buffer bin = {0};
    ncnn_put_kernel(&bin, TABLE, 108);
    ncnn_put_plain(&bin, 4);
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    long n = 0;
    reader_write("m.param", SMALL, sizeof SMALL - 1);
    reader_write("m.bin", bin.data, bin.nbytes);
    for (; status != SQZ_OK && n < 1000; n++) {
        struct sqz_model *model = NULL;
        sqz_alloc_fail_after(n);
        status = ncnn_read_path(reader_path("m.param"), NULL, &model, NULL);
        sqz_alloc_fail_after(-1);
        ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
        sqz_model_free(model);
    }
    ck_assert_int_eq(status, SQZ_OK);
    ck_assert_int_gt(n, 8);
    sqz_buffer_free(&bin);
}
END_TEST

/* ---- shared data --------------------------------------------------------------------------- */

/* pnnx's pair of SqueezeNet v1.1: 1,235,496 parameters; kernels are fp16 numbers. */
START_TEST(real_squeezenet) {
    const char *shared = reader_shared("test_ncnn real_squeezenet");
    if (!shared) return;
    char path[512];
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    snprintf(path, sizeof path, "%s/data/models/squeezenet_v1.1.ncnn.bin", shared);
    ck_assert_msg(ncnn_read_path(path, NULL, &model, &err) == SQZ_OK, "%s", err.text);
    ck_assert_uint_eq(sqz_model_float_nbytes(model), 4 * 1235496);
    ck_assert_str_eq(model->arch, "squeezenet1_1");
    ck_assert(model->input.height == 224 && model->input.resize_short == 256);
    for (size_t i = 0; i < model->n_weights; i++)
        for (size_t k = 0; model->weights[i].role == SQZ_ROLE_KERNEL && k < model->weights[i].count; k++)
            ck_assert(sqz_half_to_float(sqz_float_to_half(model->weights[i].data[k])) == model->weights[i].data[k]);
    ncnn_check_shape(model, model->nodes[model->output].name, "1x1000");
    sqz_model_free(model);
}
END_TEST

/* The same weights as PyTorch's file, tensor by tensor; branches may come in another order, so look for a partner. */
START_TEST(real_squeezenet_equals_pytorch) {
    const char *shared = reader_shared("test_ncnn real_squeezenet_equals_pytorch");
    if (!shared) return;
    char path[512];
    struct sqz_model *ours = NULL, *theirs = NULL;
    struct sqz_error err = {0};
    snprintf(path, sizeof path, "%s/data/models/squeezenet_v1.1.ncnn.param", shared);
    struct sqz_source source;
    struct sqz_read_options options = {.max_nbytes = (size_t)1 << 30};
    ck_assert_msg(ncnn_read_path(path, NULL, &ours, &err) == SQZ_OK, "%s", err.text);
    snprintf(path, sizeof path, "%s/data/models/squeezenet1_1.pth", shared);
    ck_assert_msg(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, &err) == SQZ_OK, "%s", err.text);
    ck_assert_msg(sqz_pytorch_read(&source, &options, &theirs, &err) == SQZ_OK, "%s", err.text);
    sqz_source_close(&source);
    ck_assert_uint_eq(ours->n_weights, theirs->n_weights);
    for (size_t i = 0; i < theirs->n_weights; i++) {
        size_t nbytes = theirs->weights[i].count * sizeof(float), k = 0;
        while (k < ours->n_weights && (!sqz_shape_equal(&ours->weights[k].shape, &theirs->weights[i].shape) ||
                                       memcmp(ours->weights[k].data, theirs->weights[i].data, nbytes) != 0))
            k++;
        ck_assert_msg(k < ours->n_weights, "no partner for %s", theirs->weights[i].name);
    }
    sqz_model_free(ours);
    sqz_model_free(theirs);
}
END_TEST

Suite *test_ncnn(void);

Suite *test_ncnn(void) {
    Suite *suite = suite_create("ncnn");
    TCase *files = tcase_create("files"), *bad = tcase_create("bad"), *real = tcase_create("shared");
    TCase *const cases[] = {files, bad, real};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tcase_add_checked_fixture(cases[i], reader_folder_make, reader_folder_remove);
        tcase_set_timeout(cases[i], 60);
        suite_add_tcase(suite, cases[i]);
    }
    tcase_add_test(files, every_storage);
    tcase_add_test(files, number_spellings);
    tcase_add_test(files, either_file_may_be_named);
    tcase_add_test(files, the_wrong_second_file);
    tcase_add_test(files, binary_list_of_layers);
    tcase_add_test(bad, too_short_and_too_long);
    tcase_add_test(bad, int8_is_refused);
    tcase_add_test(bad, bad_values);
    tcase_add_test(bad, bad_lists);
    tcase_add_test(bad, shapes_that_do_not_fit);
    tcase_add_test(bad, damaged_files);
    tcase_add_test(bad, memory_runs_out);
    tcase_add_test(real, real_squeezenet);
    tcase_add_test(real, real_squeezenet_equals_pytorch);
    return suite;
}
