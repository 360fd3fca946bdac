/* test_model.c - building and checking models, shape inference, and the graph's byte form. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/graph_code.h"
#include "lib/infer.h"

static const struct sqz_input small_input = {
    .channels = 3, .height = 13, .width = 13, .scale = 1, .std = {1, 1, 1, 1}, .order = SQZ_CHANNELS_RGB};

/* input -> conv 3x3 -> relu -> global pool -> flatten -> dense. */
static struct sqz_model *build_small(void) {
    struct sqz_model *model = sqz_model_new(&small_input);
    uint32_t node = 0, weight;
    struct sqz_shape kernel = sqz_shape4(4, 3, 3, 3), vector = sqz_shape1(4), dense = sqz_shape2(2, 4);
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_CONV, "conv", &node, 1, &node, NULL), SQZ_OK);
    model->nodes[node].params.conv.window = (struct sqz_window){3, 3, 2, 2, 1, 1, 1, 1, 1, 1};
    model->nodes[node].params.conv.groups = 1;
    ck_assert_int_eq(sqz_model_add_weight(model, "conv.weight", SQZ_ROLE_KERNEL, &kernel, NULL, &weight, NULL), SQZ_OK);
    model->nodes[node].kernel = weight;
    ck_assert_int_eq(sqz_model_add_weight(model, "conv.bias", SQZ_ROLE_BIAS, &vector, NULL, &weight, NULL), SQZ_OK);
    model->nodes[node].bias = weight;
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_RELU, "relu", &node, 1, &node, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_GLOBAL_AVERAGE_POOL, "pool", &node, 1, &node, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_DENSE, "fc", &node, 1, &node, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_model_add_weight(model, "odd name", SQZ_ROLE_KERNEL, &dense, NULL, &weight, NULL), SQZ_OK);
    model->nodes[node].kernel = weight;
    for (size_t i = 0; i < model->n_weights; i++)
        for (size_t k = 0; k < model->weights[i].count; k++) model->weights[i].data[k] = (float)k - 2;
    return model;
}

START_TEST(small_model_passes_its_check) {
    struct sqz_model *model = build_small();
    struct sqz_error err = {0};
    ck_assert_msg(sqz_model_check(model, &err) == SQZ_OK, "%s", err.text);
    ck_assert_str_eq(sqz_model_layer_name(model, 1), "conv");
    ck_assert_uint_eq(sqz_model_float_nbytes(model), 4 * (108 + 4 + 8));
    sqz_model_free(model);
}
END_TEST

START_TEST(check_names_what_is_wrong) {
    struct sqz_error err = {0};
    struct sqz_model *model = build_small();
    model->weights[0].data[7] = NAN;
    ck_assert_int_eq(sqz_model_check(model, &err), SQZ_NONFINITE);
    ck_assert_str_eq(err.text, "weight conv.weight of layer conv holds NaN at index 7");
    model->weights[0].data[7] = -INFINITY;
    ck_assert_int_eq(sqz_model_check(model, &err), SQZ_NONFINITE);
    model->weights[0].data[7] = 0;
    model->nodes[1].bias = 2;
    ck_assert_int_eq(sqz_model_check(model, &err), SQZ_SHAPE);
    model->nodes[1].bias = 1;
    model->nodes[1].params.conv.groups = 2;
    ck_assert_int_eq(sqz_model_check(model, &err), SQZ_SHAPE);
    model->nodes[1].params.conv.groups = 1;
    model->nodes[2].inputs[0] = 2;
    ck_assert_int_eq(sqz_model_check(model, &err), SQZ_MALFORMED);
    model->nodes[2].inputs[0] = 1;
    model->nodes[4].kernel = SQZ_NO_WEIGHT;
    ck_assert_int_eq(sqz_model_check(model, &err), SQZ_MISSING_WEIGHT);
    ck_assert_str_eq(err.text, "layer fc has no weights");
    sqz_model_free(model);
}
END_TEST

START_TEST(names_are_unique) {
    struct sqz_model *model = build_small();
    uint32_t input = 0, node;
    struct sqz_shape shape = sqz_shape1(1);
    ck_assert_int_eq(sqz_model_add_node(model, SQZ_OP_RELU, "relu", &input, 1, &node, NULL), SQZ_OK);
    ck_assert_str_ne(model->nodes[node].name, "relu");
    ck_assert_int_eq(sqz_model_add_weight(model, "conv.bias", SQZ_ROLE_BIAS, &shape, NULL, &node, NULL), SQZ_MALFORMED);
    sqz_model_free(model);
}
END_TEST

/* Output sizes that people got wrong: SqueezeNet's pools at 224 and 227, Caffe's clip, AlexNet without padding. */
START_TEST(window_output_sizes) {
    ck_assert_uint_eq(sqz_window_output(224, 7, 2, 1, 0, 0, false), 109);
    ck_assert_uint_eq(sqz_window_output(109, 3, 2, 1, 0, 0, true), 54);
    ck_assert_uint_eq(sqz_window_output(54, 3, 2, 1, 0, 0, true), 27);
    ck_assert_uint_eq(sqz_window_output(54, 3, 2, 1, 0, 0, false), 26);
    ck_assert_uint_eq(sqz_window_output(113, 3, 2, 1, 0, 0, true), 56);
    ck_assert_uint_eq(sqz_window_output(56, 3, 2, 1, 0, 0, true), 28);
    ck_assert_uint_eq(sqz_window_output(56, 3, 2, 1, 0, 0, false), 27);
    ck_assert_uint_eq(sqz_window_output(3, 2, 2, 1, 1, 1, true), 2);
    ck_assert_uint_eq(sqz_window_output(5, 2, 2, 1, 0, 0, true), 3);
    ck_assert_uint_eq(sqz_window_output(2, 3, 1, 1, 0, 0, false), 0);
    ck_assert_uint_eq(sqz_window_output(7, 3, 1, 3, 0, 0, false), 1);
    ck_assert_uint_eq(sqz_window_output(4, 0, 1, 1, 0, 0, false), 0);
}
END_TEST

static void assert_same_graph(const struct sqz_model *a, const struct sqz_model *b) {
    ck_assert_uint_eq(a->n_nodes, b->n_nodes);
    ck_assert_uint_eq(a->output, b->output);
    for (size_t i = 0; i < a->n_nodes; i++) {
        ck_assert_str_eq(a->nodes[i].name, b->nodes[i].name);
        ck_assert_int_eq(a->nodes[i].op, b->nodes[i].op);
        ck_assert_uint_eq(a->nodes[i].kernel, b->nodes[i].kernel);
        ck_assert_uint_eq(a->nodes[i].bias, b->nodes[i].bias);
        ck_assert_uint_eq(a->nodes[i].n_inputs, b->nodes[i].n_inputs);
        for (uint32_t k = 0; k < a->nodes[i].n_inputs; k++)
            ck_assert_uint_eq(a->nodes[i].inputs[k], b->nodes[i].inputs[k]);
    }
    ck_assert_uint_eq(a->n_weights, b->n_weights);
    for (size_t i = 0; i < a->n_weights; i++) {
        ck_assert_str_eq(a->weights[i].name, b->weights[i].name);
        ck_assert_int_eq(a->weights[i].role, b->weights[i].role);
        ck_assert(sqz_shape_equal(&a->weights[i].shape, &b->weights[i].shape));
    }
}

START_TEST(graph_round_trip) {
    struct sqz_model *model = build_small(), *copy;
    struct sqz_error err = {0};
    static const char *const classes[] = {"tench, Tinca tinca", "goldfish"};
    ck_assert_int_eq(sqz_model_set_classes(model, classes, 2, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_model_note(model, NULL, "pruned to %g", 0.5), SQZ_OK);
    struct sqz_buffer bytes = {0}, again = {0};
    ck_assert_int_eq(sqz_graph_encode(model, true, &bytes, NULL), SQZ_OK);
    ck_assert_msg(sqz_graph_decode(bytes.data, bytes.nbytes, 1 << 20, &copy, &err) == SQZ_OK, "%s", err.text);
    assert_same_graph(model, copy);
    ck_assert_mem_eq(&model->nodes[1].params.conv.window, &copy->nodes[1].params.conv.window,
                     sizeof(struct sqz_window));
    ck_assert_str_eq(copy->class_names[1], "goldfish");
    ck_assert_str_eq(copy->history[0], "pruned to 0.5");
    ck_assert_int_eq(sqz_graph_encode(copy, true, &again, NULL), SQZ_OK);
    ck_assert_uint_eq(again.nbytes, bytes.nbytes);
    ck_assert_mem_eq(again.data, bytes.data, bytes.nbytes);
    sqz_buffer_free(&bytes);
    sqz_buffer_free(&again);
    sqz_model_free(copy);
    sqz_model_free(model);
}
END_TEST

/* Every truncation fails cleanly; every flipped byte is refused or gives some other valid graph. */
START_TEST(graph_bytes_are_not_trusted) {
    struct sqz_model *model = build_small(), *copy;
    struct sqz_buffer bytes = {0};
    ck_assert_int_eq(sqz_graph_encode(model, false, &bytes, NULL), SQZ_OK);
    for (size_t n = 0; n < bytes.nbytes; n++)
        ck_assert_int_ne(sqz_graph_decode(bytes.data, n, 1 << 20, &copy, NULL), SQZ_OK);
    for (size_t i = 0; i < bytes.nbytes; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bytes.data[i] ^= (uint8_t)(1 << bit);
            if (sqz_graph_decode(bytes.data, bytes.nbytes, 1 << 20, &copy, NULL) == SQZ_OK) sqz_model_free(copy);
            bytes.data[i] ^= (uint8_t)(1 << bit);
        }
    }
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_graph_decode(bytes.data, bytes.nbytes, 100, &copy, &err), SQZ_LIMIT);
    sqz_buffer_free(&bytes);
    sqz_model_free(model);
}
END_TEST

/* Shared prefixes let two bytes stand for a long string: a small file must not ask for gigabytes. */
START_TEST(string_bomb_is_refused) {
    enum { LONG = 60000, COUNT = 1000 };
    struct sqz_model *model = build_small(), *copy;
    static char text[LONG + 1];
    static const char *names[COUNT];
    struct sqz_buffer bytes = {0};
    struct sqz_error err = {0};
    memset(text, 'x', LONG);
    for (size_t i = 0; i < COUNT; i++) names[i] = text;
    model->class_names = names;
    model->n_classes_named = COUNT;
    ck_assert_int_eq(sqz_graph_encode(model, false, &bytes, NULL), SQZ_OK);
    ck_assert_uint_lt(bytes.nbytes, 1 << 20);
    ck_assert_int_eq(sqz_graph_decode(bytes.data, bytes.nbytes, 1 << 20, &copy, &err), SQZ_MALFORMED);
    model->n_classes_named = 0;
    sqz_buffer_free(&bytes);
    sqz_model_free(model);
}
END_TEST

START_TEST(graph_survives_short_memory) {
    struct sqz_model *model = build_small(), *copy;
    struct sqz_buffer bytes = {0};
    ck_assert_int_eq(sqz_graph_encode(model, false, &bytes, NULL), SQZ_OK);
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    int n = 0;
    for (; n < 1000 && status != SQZ_OK; n++) {
        sqz_alloc_fail_after(n);
        status = sqz_graph_decode(bytes.data, bytes.nbytes, 1 << 20, &copy, NULL);
        sqz_alloc_fail_after(-1);
    }
    ck_assert_int_eq(status, SQZ_OK);
    ck_assert_int_gt(n, 1);
    sqz_model_free(copy);
    sqz_buffer_free(&bytes);
    sqz_model_free(model);
}
END_TEST

START_TEST(presets) {
    struct sqz_input input = {.channels = 3, .height = 224, .width = 224};
    ck_assert(sqz_input_preset("torchvision", &input));
    ck_assert_uint_eq(input.resize_short, 256);
    ck_assert(fabsf((124 * input.scale - input.mean[0]) / input.std[0] - 0.0056f) < 1e-3f);
    ck_assert(sqz_input_preset("caffe", &input));
    ck_assert_int_eq(input.order, SQZ_CHANNELS_BGR);
    ck_assert(!sqz_input_preset("no such preset", &input));
    ck_assert_uint_eq(input.height, 224);
}
END_TEST

Suite *test_model(void) {
    Suite *suite = suite_create("model");
    TCase *tc = tcase_create("model");
    tcase_add_test(tc, small_model_passes_its_check);
    tcase_add_test(tc, check_names_what_is_wrong);
    tcase_add_test(tc, names_are_unique);
    tcase_add_test(tc, window_output_sizes);
    tcase_add_test(tc, graph_round_trip);
    tcase_add_test(tc, graph_bytes_are_not_trusted);
    tcase_add_test(tc, string_bomb_is_refused);
    tcase_add_test(tc, graph_survives_short_memory);
    tcase_add_test(tc, presets);
    suite_add_tcase(suite, tc);
    return suite;
}
