/* test_onnx_bad.c - ONNX files that must be refused, damage of every kind, and memory that runs out. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/onnx_samples.h"

/* ---- tensors ------------------------------------------------------------------- */

START_TEST(dims_against_bytes) {
    static const struct {
        int64_t dims[4];
        enum sqz_status status;
        const char *text;
    } cases[] = {{{2, 3, 1, 2}, SQZ_MALFORMED, "tensor conv.weight has 24 bytes where its shape needs 48"},
                 {{2, 3, 1, 0}, SQZ_MALFORMED, "tensor conv.weight has 24 bytes where its shape needs 0"},
                 {{-2, 3, 1, 1}, SQZ_MALFORMED, "dimension 0 of tensor conv.weight is -2"},
                 {{2, -3, -1, 1}, SQZ_MALFORMED, "dimension 1 of tensor conv.weight is -3"},
                 {{1ll << 32, 1ll << 32, 1, 1}, SQZ_LIMIT, "overflows"},
                 {{INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX}, SQZ_LIMIT, "overflows"},
                 {{0, INT64_MAX, INT64_MAX, 1}, SQZ_LIMIT, "overflows"},
                 {{1ll << 40, 1, 1, 1}, SQZ_MALFORMED, "where its shape needs"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct onnx_sample *sample = onnx_sample_whole();
        memcpy(sample->graph.initializer[0]->dims, cases[i].dims, sizeof cases[i].dims);
        onnx_sample_refuse(sample, cases[i].status, cases[i].text);
    }
}
END_TEST

START_TEST(values_in_the_wrong_place) {
    struct onnx_sample *sample = onnx_sample_whole();
    sample->graph.initializer[1]->float_data = (float[]){1, 2};
    sample->graph.initializer[1]->n_float_data = 2;
    onnx_sample_refuse(sample, SQZ_MALFORMED, "tensor conv.bias has its values in more than one place");
    sample = onnx_sample_whole(); /* a float tensor whose values are in int32_data */
    sample->graph.initializer[1]->has_raw_data = 0;
    sample->graph.initializer[1]->int32_data = (int32_t[]){1, 2};
    sample->graph.initializer[1]->n_int32_data = 2;
    onnx_sample_refuse(sample, SQZ_MALFORMED, "tensor conv.bias");
    sample = onnx_sample_whole();
    sample->graph.initializer[1]->has_raw_data = 0;
    onnx_sample_refuse(sample, SQZ_MALFORMED, "tensor conv.bias has 0 values where its shape needs 2");
    sample = onnx_sample_whole();
    sample->graph.initializer[1]->data_type = 999;
    onnx_sample_refuse(sample, SQZ_MALFORMED, "tensor conv.bias has data type 999");
    sample = onnx_sample_whole();
    sample->graph.initializer[1]->has_data_type = 0;
    onnx_sample_refuse(sample, SQZ_MALFORMED, "tensor conv.bias has data type 0");
    sample = onnx_sample_whole();
    sample->graph.initializer[1]->data_type = 8;
    onnx_sample_refuse(sample, SQZ_UNSUPPORTED, "tensor conv.bias has data type 8");
    sample = onnx_sample_whole();
    sample->graph.initializer[1]->data_type = 6; /* int32 has the same size but is no bias */
    onnx_sample_refuse(sample, SQZ_UNSUPPORTED, "the weight conv.bias is not of a float type");
}
END_TEST

START_TEST(weights_that_are_not_finite) {
    struct onnx_sample *sample = onnx_sample_whole();
    memcpy(sample->graph.initializer[0]->raw_data.data + 8, "\0\0\xc0\x7f", 4);
    onnx_sample_refuse(sample, SQZ_NONFINITE, "weight conv.weight of layer conv holds NaN at index 2");
}
END_TEST

/* ---- graphs ---------------------------------------------------------------------- */

START_TEST(names_that_clash_or_lead_nowhere) {
    struct onnx_sample *sample = onnx_sample_whole();
    sample->graph.initializer[1]->name = (char *)"conv.weight";
    onnx_sample_refuse(sample, SQZ_MALFORMED, "the name conv.weight stands for two values");
    sample = onnx_sample_whole();
    sample->graph.node[1]->output[0] = (char *)"c";
    onnx_sample_refuse(sample, SQZ_MALFORMED, "the name c stands for two values");
    sample = onnx_sample_whole();
    sample->graph.n_initializer = 1;
    onnx_sample_refuse(sample, SQZ_MALFORMED, "Conv node that computes c reads conv.bias, which is neither");
    sample = onnx_sample_whole();
    sample->graph.output[0]->name = (char *)"nowhere";
    onnx_sample_refuse(sample, SQZ_MALFORMED, "the output nowhere is computed by no node");
    sample = onnx_sample_whole();
    sample->graph.n_output = 0;
    onnx_sample_refuse(sample, SQZ_MALFORMED, "the graph has no output");
    sample = onnx_sample_whole();
    sample->graph.n_input = 0;
    onnx_sample_refuse(sample, SQZ_UNSUPPORTED, "the graph has no input");
    sample = onnx_sample_whole();
    onnx_sample_input(sample, "second", 1, 1, 1, 1);
    onnx_sample_refuse(sample, SQZ_UNSUPPORTED, "the graph has more than one input: data and second");
    sample = onnx_sample_whole();
    onnx_sample_output(sample, "c");
    onnx_sample_refuse(sample, SQZ_UNSUPPORTED, "the graph has more than one output: out and c");
}
END_TEST

START_TEST(cycles) {
    struct onnx_sample *sample = onnx_sample_whole();
    sample->graph.node[0]->input[0] = (char *)"out";
    onnx_sample_refuse(sample, SQZ_MALFORMED, "cycle");
    sample = onnx_sample_whole();
    sample->graph.node[1]->input[0] = (char *)"out";
    onnx_sample_refuse(sample, SQZ_MALFORMED, "Relu node that computes out: the graph has a cycle here");
    sample = onnx_sample_whole(); /* a cycle that the output does not depend on */
    onnx_sample_node(sample, "Relu", "b", "a");
    onnx_sample_node(sample, "Relu", "a", "b");
    onnx_sample_refuse(sample, SQZ_MALFORMED, "cycle");
}
END_TEST

/* A chain of ten thousand nodes in reverse order: sorting them must not recurse. */
START_TEST(long_chains) {
    enum { LENGTH = 10000 };
    static Onnx__Node nodes[LENGTH], *list[LENGTH];
    static char names[LENGTH + 1][16], *pointers[LENGTH + 1];
    struct onnx_sample *sample = onnx_sample_new(13);
    onnx_sample_input(sample, "v0", 0, 1, 1, 1);
    for (int i = 0; i <= LENGTH; i++) {
        snprintf(names[i], sizeof names[i], "v%d", i);
        pointers[i] = names[i];
    }
    for (int i = 0; i < LENGTH; i++) {
        onnx__node__init(&nodes[i]);
        nodes[i].op_type = (char *)"Identity";
        nodes[i].input = &pointers[i];
        nodes[i].output = &pointers[i + 1];
        nodes[i].n_input = nodes[i].n_output = 1;
        list[LENGTH - 1 - i] = &nodes[i];
    }
    sample->graph.node = list;
    sample->graph.n_node = LENGTH;
    onnx_sample_output(sample, names[LENGTH]);
    struct sqz_model *model = onnx_sample_read(sample);
    ck_assert_uint_eq(model->n_nodes, 1);
    sqz_model_free(model);
}
END_TEST

START_TEST(operator_sets) {
    struct onnx_sample *sample = onnx_sample_whole();
    sample->opset.version = 999;
    onnx_sample_refuse(sample, SQZ_VERSION, "operator set 999");
    sample = onnx_sample_whole();
    sample->model.n_opset_import = 0;
    onnx_sample_refuse(sample, SQZ_MALFORMED, "the file names no operator set");
    sample = onnx_sample_whole();
    sample->model.graph = NULL;
    onnx_sample_refuse(sample, SQZ_MALFORMED, "the file has no graph");
}
END_TEST

START_TEST(unknown_operators_are_named) {
    struct onnx_sample *sample = onnx_sample_whole();
    sample->graph.node[1]->op_type = (char *)"Frobnicate";
    sample->graph.node[1]->name = (char *)"/1/Relu";
    onnx_sample_refuse(sample, SQZ_UNSUPPORTED, "Frobnicate node /1/Relu: the operator is not supported");
    sample = onnx_sample_whole();
    sample->graph.node[1]->domain = (char *)"com.example";
    onnx_sample_refuse(sample, SQZ_UNSUPPORTED, "operators of the domain com.example are not supported");
    sample = onnx_sample_whole(); /* a weight that is computed at run time */
    sample->graph.node[0]->input[1] = (char *)"r";
    onnx_sample_node(sample, "Relu", "data", "r");
    onnx_sample_refuse(sample, SQZ_UNSUPPORTED, "input 1 is computed at run time where a constant is needed");
}
END_TEST

START_TEST(attributes_out_of_range) {
    static const struct {
        const char *name;
        size_t n;
        int64_t values[4];
        enum sqz_status status;
    } cases[] = {{"pads", 4, {-1, 0, 0, 0}, SQZ_MALFORMED},       {"pads", 3, {1, 1, 1}, SQZ_UNSUPPORTED},
                 {"strides", 2, {0, 1}, SQZ_MALFORMED},           {"strides", 2, {1, INT64_MAX}, SQZ_MALFORMED},
                 {"dilations", 2, {0, 0}, SQZ_MALFORMED},         {"dilations", 1, {1}, SQZ_UNSUPPORTED},
                 {"kernel_shape", 2, {3, 1}, SQZ_MALFORMED},      {"kernel_shape", 3, {1, 1, 1}, SQZ_UNSUPPORTED},
                 {"pads", 4, {1ll << 40, 0, 0, 0}, SQZ_MALFORMED}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct onnx_sample *sample = onnx_sample_whole();
        sample->graph.n_node = 1;
        onnx_sample_ints(sample, cases[i].name, cases[i].n, cases[i].values);
        sample->graph.n_node = 2;
        onnx_sample_refuse(sample, cases[i].status, cases[i].name);
    }
    static const int64_t groups[] = {0, -1, 2, 3, 70000};
    for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
        struct onnx_sample *sample = onnx_sample_whole();
        sample->graph.n_node = 1;
        onnx_sample_int(sample, "group", groups[i]);
        sample->graph.n_node = 2;
        onnx_sample_refuse(sample, groups[i] == 2 || groups[i] == 3 ? SQZ_SHAPE : SQZ_MALFORMED, "group");
    }
    struct onnx_sample *sample = onnx_sample_whole();
    sample->graph.initializer[1]->dims[0] = 1;
    sample->graph.initializer[1]->raw_data.len = 4;
    onnx_sample_refuse(sample, SQZ_MALFORMED, "the bias does not have one value for each output channel");
}
END_TEST

/* A few bytes that ask for any amount of memory. */
START_TEST(constants_without_end) {
    static const int64_t sizes[] = {1 << 20, 1 << 20};
    struct onnx_sample *sample = onnx_sample_conv("w", "-");
    onnx_sample_integers(sample, "size", 1, (const int64_t[]){2}, sizes);
    onnx_sample_node(sample, "ConstantOfShape", "size", "w");
    onnx_sample_refuse(sample, SQZ_LIMIT, "constants");
    sample = onnx_sample_conv("w", "-");
    onnx_sample_integers(sample, "size", 1, (const int64_t[]){2}, (const int64_t[]){INT64_MAX, INT64_MAX});
    onnx_sample_node(sample, "ConstantOfShape", "size", "w");
    onnx_sample_refuse(sample, SQZ_LIMIT, "overflows");
    sample = onnx_sample_conv("w", "-");
    onnx_sample_integers(sample, "size", 1, (const int64_t[]){1}, (const int64_t[]){-5});
    onnx_sample_node(sample, "ConstantOfShape", "size", "w");
    onnx_sample_refuse(sample, SQZ_MALFORMED, "negative");
    sample = onnx_sample_whole(); /* the bound on a model's weights */
    struct sqz_buffer bytes = {0};
    struct sqz_model *model = NULL;
    onnx_sample_pack(sample, &bytes);
    onnx_sample_free(sample);
    struct sqz_source source = {.path = "m.onnx", .data = bytes.data, .nbytes = bytes.nbytes};
    struct sqz_read_options options = {.max_nbytes = 31};
    ck_assert_int_eq(sqz_onnx_read(&source, &options, &model, NULL), SQZ_LIMIT);
    options.max_nbytes = 32;
    ck_assert_int_eq(sqz_onnx_read(&source, &options, &model, NULL), SQZ_OK);
    sqz_model_free(model);
    sqz_buffer_free(&bytes);
}
END_TEST

START_TEST(arithmetic_that_fails) {
    static const struct {
        const char *op;
        int64_t a, b;
    } cases[] = {
        {"Add", INT64_MAX, 1}, {"Sub", INT64_MIN, 1}, {"Mul", INT64_MAX, 2}, {"Div", 1, 0}, {"Div", INT64_MIN, -1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct onnx_sample *sample = onnx_sample_new(13);
        onnx_sample_input(sample, "data", 0, 1, 2, 2);
        onnx_sample_integers(sample, "a", 1, (const int64_t[]){1}, &cases[i].a);
        onnx_sample_integers(sample, "b", 1, (const int64_t[]){1}, &cases[i].b);
        onnx_sample_node(sample, cases[i].op, "a b", "c");
        onnx_sample_node(sample, "Reshape", "data c", "out");
        onnx_sample_output(sample, "out");
        onnx_sample_refuse(sample, SQZ_MALFORMED, "overflows or is divided by zero");
    }
}
END_TEST

/* If inside If inside If ...: a parser that follows them recursively would overflow its stack. */
START_TEST(deep_nesting) {
    struct sqz_buffer inner = {0};
    for (int depth = 0; depth < 3000; depth++) {
        Onnx__Graph graph = ONNX__GRAPH__INIT;
        Onnx__Node node = ONNX__NODE__INIT, *nodes[1] = {&node};
        Onnx__Attribute attribute = ONNX__ATTRIBUTE__INIT, *attributes[1] = {&attribute};
        struct sqz_buffer outer = {0};
        node.op_type = (char *)"If";
        attribute.name = (char *)"then_branch";
        attribute.has_g = 1;
        attribute.g.data = inner.data;
        attribute.g.len = inner.nbytes;
        node.attribute = attributes;
        node.n_attribute = 1;
        graph.node = nodes;
        graph.n_node = 1;
        uint8_t *bytes = sqz_buffer_reserve(&outer, onnx__graph__get_packed_size(&graph));
        outer.nbytes = onnx__graph__pack(&graph, bytes);
        sqz_buffer_free(&inner);
        inner = outer;
    }
    struct onnx_sample *sample = onnx_sample_whole();
    onnx_sample_node(sample, "If", "c", "deep");
    Onnx__Attribute *attribute = onnx_sample_attribute(sample, "then_branch");
    attribute->has_g = 1;
    attribute->g.data = inner.data;
    attribute->g.len = inner.nbytes;
    onnx_sample_refuse(sample, SQZ_UNSUPPORTED, "nested too deeply");
    sqz_buffer_free(&inner);
}
END_TEST

/* ---- damage ------------------------------------------------------------------------ */

/* A net that goes through folding, permuted values, patterns and dense layers. */
static void pack_busy_net(struct sqz_buffer *out) {
    struct onnx_sample *sample = onnx_sample_whole();
    sample->graph.node[1]->output[0] = (char *)"r";
    onnx_sample_integers(sample, "zero", 0, NULL, (const int64_t[]){0});
    onnx_sample_integers(sample, "minus", 1, (const int64_t[]){1}, (const int64_t[]){-1});
    onnx_sample_node(sample, "Mul", "r r", "square");
    onnx_sample_node(sample, "Add", "square r", "sum");
    onnx_sample_node(sample, "MaxPool", "sum", "p");
    onnx_sample_ints(sample, "kernel_shape", 2, (const int64_t[]){2, 2});
    onnx_sample_node(sample, "Shape", "p", "s");
    onnx_sample_node(sample, "Gather", "s zero", "n");
    onnx_sample_node(sample, "Unsqueeze", "n zero", "u");
    onnx_sample_node(sample, "Concat", "u minus", "to");
    onnx_sample_int(sample, "axis", 0);
    onnx_sample_node(sample, "Reshape", "p to", "flat");
    float values[18];
    for (int i = 0; i < 18; i++) values[i] = (float)i;
    onnx_sample_floats(sample, "fc.weight", 2, (const int64_t[]){18, 1}, values);
    onnx_sample_floats(sample, "fc.bias", 1, (const int64_t[]){1}, values);
    onnx_sample_node(sample, "MatMul", "flat fc.weight", "m");
    onnx_sample_node(sample, "Add", "m fc.bias", "a");
    onnx_sample_node(sample, "Softmax", "a", "probability");
    sample->graph.output[0]->name = (char *)"probability";
    onnx_sample_pack(sample, out);
    onnx_sample_free(sample);
}

START_TEST(truncation) {
    struct sqz_buffer bytes = {0};
    pack_busy_net(&bytes);
    for (size_t n = 0; n < bytes.nbytes; n++) {
        /* In a block of its own length, so that the sanitizer sees a read past the end. */
        uint8_t *cut = sqz_alloc(n, 1);
        struct sqz_model *model = NULL;
        struct sqz_error err = {0};
        ck_assert_ptr_nonnull(cut);
        if (n) memcpy(cut, bytes.data, n);
        ck_assert_int_ne(onnx_read_bytes(cut, n, "cut.onnx", NULL, &model, &err), SQZ_OK);
        ck_assert_ptr_null(model);
        ck_assert_str_ne(err.text, "");
        sqz_free(cut);
    }
    sqz_buffer_free(&bytes);
}
END_TEST

/* Each byte replaced by several values: either refused with a sentence or read as a model that holds together. */
START_TEST(flipped_bytes) {
    static const uint8_t masks[] = {0x01, 0x08, 0x80, 0xff};
    struct sqz_buffer bytes = {0};
    pack_busy_net(&bytes);
    size_t n_refused = 0;
    for (size_t i = 0; i < bytes.nbytes; i++)
        for (size_t m = 0; m < sizeof masks; m++) {
            struct sqz_model *model = NULL;
            struct sqz_error err = {0};
            bytes.data[i] ^= masks[m];
            if (onnx_read_bytes(bytes.data, bytes.nbytes, "flipped.onnx", NULL, &model, &err) == SQZ_OK) {
                ck_assert_int_eq(sqz_model_check(model, NULL), SQZ_OK);
                sqz_model_free(model);
            } else {
                ck_assert_str_ne(err.text, "");
                n_refused++;
            }
            bytes.data[i] ^= masks[m];
        }
    ck_assert_uint_gt(n_refused, bytes.nbytes);
    sqz_buffer_free(&bytes);
}
END_TEST

START_TEST(memory_runs_out) {
    struct sqz_buffer bytes = {0};
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    long n = 0;
    pack_busy_net(&bytes);
    for (; status == SQZ_OUT_OF_MEMORY; n++) {
        struct sqz_model *model = NULL;
        struct sqz_error err = {0};
        sqz_alloc_fail_after(n);
        status = onnx_read_bytes(bytes.data, bytes.nbytes, "m.onnx", NULL, &model, &err);
        sqz_alloc_fail_after(-1);
        ck_assert((model != NULL) == (status == SQZ_OK));
        sqz_model_free(model);
    }
    ck_assert_int_eq(status, SQZ_OK);
    ck_assert_int_gt(n, 50);
    sqz_buffer_free(&bytes);
}
END_TEST

/* The probe takes ONNX files, also cut ones, and leaves everything else to the other readers. */
START_TEST(probe) {
    static const char *const others[] = {"",
                                         "7767517\n3 3\n",
                                         "PK\3\4",
                                         "\x89HDF\r\n\x1a\n",
                                         "some text\nand more\n",
                                         "name: \"net\"\ninput: \"data\"\n",
                                         "\x80\x02\x8a\x0a",
                                         "\x08\x01\x12\x04\x0a\x02\x08\x01" /* TensorFlow's SavedModel */};
    struct sqz_buffer bytes = {0};
    pack_busy_net(&bytes);
    struct sqz_source source = {.path = "x", .data = bytes.data, .nbytes = bytes.nbytes};
    ck_assert(sqz_onnx_probe(&source));
    source.nbytes = bytes.nbytes / 2;
    ck_assert(sqz_onnx_probe(&source));
    sqz_buffer_free(&bytes);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        source = (struct sqz_source){.path = "x", .data = (const uint8_t *)others[i], .nbytes = strlen(others[i])};
        ck_assert(!sqz_onnx_probe(&source));
    }
}
END_TEST

Suite *test_onnx_bad(void);

Suite *test_onnx_bad(void) {
    Suite *suite = suite_create("onnx_bad");
    TCase *content = tcase_create("content"), *damage = tcase_create("damage");
    tcase_add_test(content, dims_against_bytes);
    tcase_add_test(content, values_in_the_wrong_place);
    tcase_add_test(content, weights_that_are_not_finite);
    tcase_add_test(content, names_that_clash_or_lead_nowhere);
    tcase_add_test(content, cycles);
    tcase_add_test(content, long_chains);
    tcase_add_test(content, operator_sets);
    tcase_add_test(content, unknown_operators_are_named);
    tcase_add_test(content, attributes_out_of_range);
    tcase_add_test(content, constants_without_end);
    tcase_add_test(content, arithmetic_that_fails);
    tcase_add_test(content, deep_nesting);
    tcase_add_test(damage, truncation);
    tcase_add_test(damage, flipped_bytes);
    tcase_add_test(damage, memory_runs_out);
    tcase_add_test(damage, probe);
    tcase_set_timeout(content, 60);
    tcase_set_timeout(damage, 120);
    suite_add_tcase(suite, content);
    suite_add_tcase(suite, damage);
    return suite;
}
