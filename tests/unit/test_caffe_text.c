/* test_caffe_text.c - the prototxt parser, and the graph made from it. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/caffe_graph.h"
#include "lib/infer.h"

static struct sqz_arena arena;

static void free_arena(void) {
    sqz_arena_free(&arena);
}

static struct sqz_caffe_field *parse(const char *text) {
    struct sqz_caffe_field *root = NULL;
    struct sqz_error err = {0};
    enum sqz_status status = sqz_caffe_text_parse(text, strlen(text), &arena, &root, &err);
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    return root;
}

static void refuse(const char *text, enum sqz_status expected, const char *part) {
    struct sqz_caffe_field *root;
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_caffe_text_parse(text, strlen(text), &arena, &root, &err), expected);
    ck_assert_msg(strstr(err.text, part) != NULL, "\"%s\" lacks \"%s\"", err.text, part);
}

START_TEST(scalars_strings_and_comments) {
    struct sqz_caffe_field *root =
        parse("# a net\nname: \"a\\\"b\\n\" 'c\\x41\\101'\n n: 5, x: -1.5e-3;flag: true # end\nkind: MAX");
    ck_assert_str_eq(sqz_caffe_text(root, "name", ""), "a\"b\ncAA");
    ck_assert(sqz_caffe_find(root, "name")->quoted);
    uint32_t n;
    float x;
    bool flag;
    ck_assert_int_eq(sqz_caffe_uint(root, "n", 0, &n, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_caffe_float(root, "x", 0, &x, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_caffe_bool(root, "flag", false, &flag, NULL), SQZ_OK);
    ck_assert_uint_eq(n, 5);
    ck_assert(x == -1.5e-3f && flag);
    ck_assert_str_eq(sqz_caffe_text(root, "kind", ""), "MAX");
    ck_assert_uint_eq(sqz_caffe_find(root, "kind")->line, 4);
    ck_assert_str_eq(sqz_caffe_text(root, "absent", "fallback"), "fallback");
}
END_TEST

START_TEST(messages_repeats_and_lists) {
    struct sqz_caffe_field *root = parse("a { b: 1 b: 2 } a: < b: [3, 4,5] c { } > e: []");
    const struct sqz_caffe_field *first = sqz_caffe_find(root, "a"), *second = sqz_caffe_find_next(first);
    ck_assert_ptr_nonnull(second);
    ck_assert_ptr_null(sqz_caffe_find_next(second));
    int sum = 0, count = 0;
    for (const struct sqz_caffe_field *b = sqz_caffe_find(second, "b"); b; b = sqz_caffe_find_next(b), count++)
        sum += atoi(b->value);
    ck_assert_int_eq(count, 3);
    ck_assert_int_eq(sum, 12);
    ck_assert_ptr_null(sqz_caffe_find(second, "c")->value);
    ck_assert_ptr_null(sqz_caffe_find(root, "e"));
    ck_assert_ptr_null(sqz_caffe_find(NULL, "a"));
}
END_TEST

START_TEST(bad_syntax_names_the_line) {
    refuse("a: 1\nb", SQZ_TRUNCATED, "line 2");
    refuse("a {\n b: 1\n", SQZ_TRUNCATED, "line 3");
    refuse("a: \"open\n\"", SQZ_MALFORMED, "line 1");
    refuse("a: 1 }", SQZ_MALFORMED, "line 1");
    refuse("a [1]", SQZ_MALFORMED, "\":\"");
    refuse("a: [1 2]", SQZ_MALFORMED, "\"]\"");
    refuse("a: \"\\0\"", SQZ_MALFORMED, "NUL");
    refuse("a: \001", SQZ_MALFORMED, "0x01");
    char deep[2 * SQZ_CAFFE_MAX_DEPTH + 8] = "";
    for (int i = 0; i <= SQZ_CAFFE_MAX_DEPTH; i++) strcat(deep, "a{");
    refuse(deep, SQZ_LIMIT, "nest");
}
END_TEST

START_TEST(bad_numbers_name_the_field) {
    struct sqz_caffe_field *root = parse("n: 4294967296 m: -1 s: \"5\" x: 1.0.0 b: yes inf: inf msg { }");
    struct sqz_error err = {0};
    uint32_t n;
    float x;
    bool b;
    ck_assert_int_eq(sqz_caffe_uint(root, "n", 0, &n, &err), SQZ_MALFORMED);
    ck_assert_ptr_nonnull(strstr(err.text, "line 1: n"));
    ck_assert_int_eq(sqz_caffe_uint(root, "m", 0, &n, &err), SQZ_MALFORMED);
    ck_assert_int_eq(sqz_caffe_uint(root, "s", 0, &n, &err), SQZ_MALFORMED);
    ck_assert_int_eq(sqz_caffe_uint(root, "msg", 0, &n, &err), SQZ_MALFORMED);
    ck_assert_int_eq(sqz_caffe_float(root, "x", 0, &x, &err), SQZ_MALFORMED);
    ck_assert_int_eq(sqz_caffe_float(root, "inf", 0, &x, &err), SQZ_MALFORMED);
    ck_assert_int_eq(sqz_caffe_bool(root, "b", false, &b, &err), SQZ_MALFORMED);
}
END_TEST

/* ---- the graph ----------------------------------------------------------- */

static enum sqz_status build(const char *text, struct sqz_caffe_graph *graph, struct sqz_error *err) {
    struct sqz_caffe_field *root;
    SQZ_TRY(sqz_caffe_text_parse(text, strlen(text), &arena, &root, err));
    return sqz_caffe_graph_build(root, &arena, graph, err);
}

/* Zero weights, so that the graph can be inferred and checked. */
static void fill_weights(struct sqz_caffe_graph *graph) {
    for (size_t i = 0; i < graph->n_layers; i++) {
        struct sqz_caffe_layer *layer = &graph->layers[i];
        char name[64];
        uint32_t index;
        snprintf(name, sizeof name, "w%zu", i);
        float *data = sqz_alloc0(layer->count, sizeof *data);
        ck_assert_int_eq(sqz_model_add_weight(graph->model, name, SQZ_ROLE_KERNEL, &layer->shape, data, &index, NULL),
                         SQZ_OK);
        graph->model->nodes[layer->node].kernel = index;
    }
}

static uint64_t height_of(const struct sqz_model *model, const char *name, uint64_t side) {
    struct sqz_shape shapes[64];
    struct sqz_error err = {0};
    ck_assert_msg(sqz_infer_shapes(model, 1, side, side, shapes, &err) == SQZ_OK, "%s", err.text);
    for (size_t i = 0; i < model->n_nodes; i++)
        if (strcmp(model->nodes[i].name, name) == 0) return shapes[i].dim[2];
    ck_abort_msg("no node %s", name);
    return 0;
}

#define POOL(name, bottom)                                                                                             \
    "layer { name: \"" name "\" type: \"Pooling\" bottom: \"" bottom "\" top: \"" name                                 \
    "\" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }\n"

/* CASES G1: pooling rounds up in Caffe. The windows of SqueezeNet 1.0 and 1.1. */
START_TEST(pooling_rounds_up) {
    static const char v10[] =
        "input: \"data\" input_dim: 1 input_dim: 3 input_dim: 224 input_dim: 224\n"
        "layer { name: \"conv1\" type: \"Convolution\" bottom: \"data\" top: \"conv1\"\n"
        "  convolution_param { num_output: 2 kernel_size: 7 stride: 2 } }\n" POOL("pool1", "conv1")
            POOL("pool4", "pool1") POOL("pool8", "pool4");
    struct sqz_caffe_graph graph;
    struct sqz_error err = {0};
    ck_assert_msg(build(v10, &graph, &err) == SQZ_OK, "%s", err.text);
    fill_weights(&graph);
    static const struct { uint64_t side, expected[4]; } cases[] = {{224, {109, 54, 27, 13}}, {227, {111, 55, 27, 13}}};
    static const char *const names[] = {"conv1", "pool1", "pool4", "pool8"};
    for (size_t c = 0; c < 2; c++)
        for (size_t i = 0; i < 4; i++)
            ck_assert_uint_eq(height_of(graph.model, names[i], cases[c].side), cases[c].expected[i]);
    ck_assert_int_eq(graph.model->input.order, SQZ_CHANNELS_BGR);
    ck_assert(graph.model->input.mean[0] == 104 && graph.model->input.mean[2] == 123);
    sqz_model_free(graph.model);
}
END_TEST

/* CASES G1: with padding, a last window that starts in the padding is dropped: 3, k 2, s 2, pad 1 -> 2 and not 3. */
START_TEST(pooling_clips_the_last_window) {
    static const char text[] =
        "layer { name: \"in\" type: \"Input\" top: \"x\" input_param { shape: { dim: 1 dim: 1 dim: 3 dim: 3 } } }"
        "layer { name: \"p\" type: \"Pooling\" bottom: \"x\" top: \"p\" pooling_param { pool: AVE kernel_h: 2"
        " kernel_w: 2 stride: 2 pad: 1 } }";
    struct sqz_caffe_graph graph;
    struct sqz_error err = {0};
    ck_assert_msg(build(text, &graph, &err) == SQZ_OK, "%s", err.text);
    ck_assert_uint_eq(height_of(graph.model, "p", 3), 2);
    ck_assert_int_eq(graph.model->nodes[1].params.pool.divisor, SQZ_DIVISOR_PADDED);
    ck_assert(graph.model->nodes[1].params.pool.ceil_mode);
    sqz_model_free(graph.model);
}
END_TEST

/* Every layer that is supported, old and new spelling, in-place tops, a training-only layer. */
START_TEST(every_layer) {
    static const char text[] =
        "input: \"x\" input_shape { dim: 1 dim: 4 dim: 9 dim: 7 }\n"
        "layer { name: \"c\" type: \"Convolution\" bottom: \"x\" top: \"c\" convolution_param { num_output: 6 group: 2"
        " kernel_h: 3 kernel_w: 1 pad_h: 1 stride: 1 dilation: 1 bias_term: false } }\n"
        "layer { name: \"r\" type: \"ReLU\" bottom: \"c\" top: \"c\" relu_param { negative_slope: 0.25 } }\n"
        "layer { name: \"n\" type: \"LRN\" bottom: \"c\" top: \"n\" lrn_param { local_size: 3 alpha: 0.5 } }\n"
        "layer { name: \"s\" type: \"Sigmoid\" bottom: \"n\" top: \"s\" }\n"
        "layer { name: \"t\" type: \"TanH\" bottom: \"n\" top: \"t\" }\n"
        "layer { name: \"e\" type: \"Eltwise\" bottom: \"s\" bottom: \"t\" bottom: \"n\" top: \"e\""
        " eltwise_param { operation: PROD } }\n"
        "layer { name: \"k\" type: \"Concat\" bottom: \"e\" bottom: \"s\" top: \"k\" }\n"
        "layer { name: \"aug\" type: \"Noise\" bottom: \"k\" top: \"k\" include { phase: TRAIN } }\n"
        "layer { name: \"m\" type: \"Pooling\" bottom: \"k\" top: \"m\" pooling_param { pool: AVE global_pooling: true "
        "} }\n"
        "layers { name: \"d\" type: DROPOUT bottom: \"m\" top: \"m\" }\n"
        "layers { name: \"f\" type: INNER_PRODUCT bottom: \"m\" top: \"f\" inner_product_param { num_output: 5 } }\n"
        "layers { name: \"p\" type: SOFTMAX bottom: \"f\" top: \"p\" }\n";
    static const enum sqz_op expected[] = {
        SQZ_OP_INPUT,   SQZ_OP_CONV,  SQZ_OP_LEAKY_RELU, SQZ_OP_LRN,    SQZ_OP_SIGMOID,
        SQZ_OP_TANH,    SQZ_OP_MUL,   SQZ_OP_MUL,        SQZ_OP_CONCAT, SQZ_OP_GLOBAL_AVERAGE_POOL,
        SQZ_OP_DROPOUT, SQZ_OP_DENSE, SQZ_OP_SOFTMAX};
    struct sqz_caffe_graph graph;
    struct sqz_error err = {0};
    ck_assert_msg(build(text, &graph, &err) == SQZ_OK, "%s", err.text);
    ck_assert_uint_eq(graph.model->n_nodes, sizeof expected / sizeof *expected);
    for (size_t i = 0; i < graph.model->n_nodes; i++) ck_assert_int_eq(graph.model->nodes[i].op, expected[i]);
    ck_assert_uint_eq(graph.n_layers, 2);
    ck_assert(!graph.layers[0].has_bias && graph.layers[1].has_bias);
    struct sqz_shape conv = sqz_shape4(6, 2, 3, 1), dense = sqz_shape2(5, 12);
    ck_assert(sqz_shape_equal(&graph.layers[0].shape, &conv));
    ck_assert(sqz_shape_equal(&graph.layers[1].shape, &dense));
    ck_assert(graph.model->nodes[2].params.leaky_relu.slope == 0.25f);
    ck_assert(graph.model->nodes[3].params.lrn.alpha == 0.5f && graph.model->nodes[3].params.lrn.k == 1);
    fill_weights(&graph);
    ck_assert_msg(sqz_model_check(graph.model, &err) == SQZ_OK, "%s", err.text);
    sqz_model_free(graph.model);
}
END_TEST

#define INPUT "input: \"x\" input_dim: 1 input_dim: 4 input_dim: 8 input_dim: 8 "
#define LAYER(type, more) INPUT "layer { name: \"l\" type: \"" type "\" bottom: \"x\" top: \"y\" " more " }"

START_TEST(bad_graphs) {
    static const struct {
        const char *text;
        enum sqz_status status;
        const char *part;
    } cases[] = {
        {"", SQZ_MALFORMED, "no input"},
        {"input: \"x\" input_dim: 1 input_dim: 3", SQZ_UNSUPPORTED, "2 dimensions"},
        {INPUT, SQZ_MALFORMED, "no layers"},
        {LAYER("LSTM", ""), SQZ_UNSUPPORTED, "LSTM"},
        {"layer { name: \"d\" type: \"Data\" top: \"x\" include { phase: TEST } }", SQZ_UNSUPPORTED, "deploy"},
        {INPUT "layer { name: \"l\" type: \"ReLU\" bottom: \"z\" top: \"y\" }", SQZ_MALFORMED, "blob z"},
        {INPUT "layer { name: \"l\" type: \"ReLU\" bottom: \"x\" }", SQZ_UNSUPPORTED, "no top"},
        {LAYER("Convolution", "convolution_param { num_output: 6 kernel_size: 9 }"), SQZ_SHAPE, "4x8x8"},
        {LAYER("Convolution", "convolution_param { num_output: 6 kernel_size: 3 group: 4 }"), SQZ_UNSUPPORTED,
         "groups"},
        {LAYER("Convolution", "convolution_param { num_output: 6 kernel_size: 3 stride: 0 }"), SQZ_SHAPE, "fit"},
        {LAYER("Convolution", "convolution_param { num_output: 0 kernel_size: 3 }"), SQZ_UNSUPPORTED, "groups"},
        {LAYER("Convolution", "convolution_param { num_output: 2000000000 kernel_size: 1 pad: 2000000000 }"
                              "} layer { name: \"m\" type: \"InnerProduct\" bottom: \"y\" top: \"z\""
                              " inner_product_param { num_output: 2000000000 }"),
         SQZ_SHAPE, "fit"},
        {LAYER("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 }"), SQZ_UNSUPPORTED, "MAX and AVE"},
        {LAYER("LRN", "lrn_param { norm_region: WITHIN_CHANNEL }"), SQZ_UNSUPPORTED, "across"},
        {LAYER("LRN", "lrn_param { local_size: 4 }"), SQZ_UNSUPPORTED, "odd"},
        {LAYER("Softmax", "softmax_param { axis: 2 }"), SQZ_UNSUPPORTED, "axis 1"},
        {LAYER("Eltwise", ""), SQZ_MALFORMED, "1 inputs"},
        {LAYER("ReLU", "} layer { name: \"m\" type: \"TanH\" bottom: \"x\" top: \"z\""), SQZ_UNSUPPORTED, "one result"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sqz_caffe_graph graph;
        struct sqz_error err = {0};
        enum sqz_status status = build(cases[i].text, &graph, &err);
        ck_assert_msg(status == cases[i].status, "case %zu: %s %s", i, sqz_status_name(status), err.text);
        ck_assert_msg(strstr(err.text, cases[i].part) != NULL, "case %zu: \"%s\"", i, err.text);
        ck_assert_ptr_null(graph.model);
    }
}
END_TEST

/* Every prefix and every single flipped byte ends in a model or in an error, never in a crash. */
START_TEST(damaged_text) {
    static const char text[] = LAYER(
        "Convolution",
        "convolution_param { num_output: 6 kernel_size: [3, 3] pad: 1 } } # comment\n"
        "layer { name: 'p' type: \"Pooling\" bottom: \"y\" top: \"z\" pooling_param < pool: AVE kernel_size: 2 >");
    char copy[sizeof text];
    size_t n_good = 0;
    for (size_t i = 0; i < sizeof text - 1; i++)
        for (int flip = 0; flip < 9; flip++) {
            struct sqz_caffe_graph graph;
            struct sqz_error err = {0};
            memcpy(copy, text, sizeof text);
            if (flip == 8)
                copy[i] = '\0';
            else
                copy[i] = (char)(copy[i] ^ 1 << flip);
            enum sqz_status status = build(copy, &graph, &err);
            ck_assert((status == SQZ_OK) == (err.text[0] == '\0'));
            if (status == SQZ_OK) sqz_model_free(graph.model);
            n_good += status == SQZ_OK;
            sqz_arena_free(&arena);
        }
    ck_assert_uint_gt(n_good, 0);
}
END_TEST

START_TEST(memory_runs_out) {
    static const char text[] = LAYER("Convolution", "convolution_param { num_output: 6 kernel_size: 3 }");
    struct sqz_caffe_graph graph;
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    long n = 0;
    for (; status != SQZ_OK && n < 1000; n++) {
        sqz_alloc_fail_after(n);
        status = build(text, &graph, NULL);
        sqz_alloc_fail_after(-1);
        ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
        if (status == SQZ_OK) sqz_model_free(graph.model);
        sqz_arena_free(&arena);
    }
    ck_assert_int_eq(status, SQZ_OK);
    ck_assert_int_gt(n, 2);
}
END_TEST

Suite *test_caffe_text(void);

Suite *test_caffe_text(void) {
    Suite *suite = suite_create("caffe_text");
    TCase *text = tcase_create("text"), *graph = tcase_create("graph");
    tcase_add_checked_fixture(text, NULL, free_arena);
    tcase_add_checked_fixture(graph, NULL, free_arena);
    tcase_add_test(text, scalars_strings_and_comments);
    tcase_add_test(text, messages_repeats_and_lists);
    tcase_add_test(text, bad_syntax_names_the_line);
    tcase_add_test(text, bad_numbers_name_the_field);
    tcase_add_test(graph, pooling_rounds_up);
    tcase_add_test(graph, pooling_clips_the_last_window);
    tcase_add_test(graph, every_layer);
    tcase_add_test(graph, bad_graphs);
    tcase_add_test(graph, damaged_text);
    tcase_add_test(graph, memory_runs_out);
    suite_add_tcase(suite, text);
    suite_add_tcase(suite, graph);
    return suite;
}
