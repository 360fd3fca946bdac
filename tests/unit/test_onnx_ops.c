/* test_onnx_ops.c - the ONNX reader: operators, and the arithmetic on shapes that exporters write. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/infer.h"
#include "tests/unit/onnx_samples.h"

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

static size_t count_op(const struct sqz_model *model, enum sqz_op op) {
    size_t n = 0;
    for (size_t i = 0; i < model->n_nodes; i++) n += model->nodes[i].op == op;
    return n;
}

static void check_values(const struct sqz_weight *weight, const float *values, size_t n) {
    ck_assert_uint_eq(weight->count, n);
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(weight->data[i] == values[i], "%s[%zu] is %.9g, not %.9g", weight->name, i, weight->data[i],
                      values[i]);
}

/* Shape of the result for one image. */
static struct sqz_shape result_shape(const struct sqz_model *model) {
    struct sqz_shape *shapes = sqz_alloc(model->n_nodes, sizeof *shapes);
    ck_assert_ptr_nonnull(shapes);
    ck_assert_int_eq(sqz_infer_shapes(model, 1, 0, 0, shapes, NULL), SQZ_OK);
    struct sqz_shape shape = shapes[model->output];
    sqz_free(shapes);
    return shape;
}

/* ---- CASES E2: Softmax and Dropout ---------------------------------------------------- */

static struct onnx_sample *softmax(int64_t opset, int64_t c, int64_t h, int64_t w) {
    struct onnx_sample *sample = onnx_sample_new(opset);
    onnx_sample_input(sample, "data", 1, c, h, w);
    onnx_sample_node(sample, "Softmax", "data", "out");
    onnx_sample_output(sample, "out");
    return sample;
}

static struct sqz_model *read_warned(struct onnx_sample *sample, char *warnings) {
    struct sqz_buffer bytes = {0};
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    onnx_sample_pack(sample, &bytes);
    onnx_sample_free(sample);
    ck_assert_msg(onnx_read_bytes(bytes.data, bytes.nbytes, "s.onnx", warnings, &model, &err) == SQZ_OK, "%s",
                  err.text);
    sqz_buffer_free(&bytes);
    return model;
}

START_TEST(softmax_of_old_operator_sets_flattens) {
    char warnings[1024];
    struct sqz_model *model = read_warned(softmax(9, 4, 1, 1), warnings);
    ck_assert_uint_eq(model->nodes[model->output].params.softmax.axis, 1);
    ck_assert_str_eq(warnings, "");
    sqz_model_free(model);
    model = read_warned(softmax(9, 4, 2, 3), warnings); /* over all 24 elements, then back into shape */
    struct sqz_shape shape = result_shape(model), wanted = sqz_shape4(1, 4, 2, 3);
    ck_assert(sqz_shape_equal(&shape, &wanted));
    ck_assert_int_eq(model->nodes[1].op, SQZ_OP_FLATTEN);
    ck_assert_int_eq(model->nodes[2].op, SQZ_OP_SOFTMAX);
    ck_assert_int_eq(model->nodes[3].op, SQZ_OP_RESHAPE);
    ck_assert_str_eq(warnings, "");
    sqz_model_free(model);
    struct onnx_sample *sample = softmax(11, 4, 2, 3);
    onnx_sample_int(sample, "axis", -1);
    model = read_warned(sample, warnings);
    ck_assert_uint_eq(model->nodes[model->output].params.softmax.axis, 3);
    sqz_model_free(model);
}
END_TEST

START_TEST(softmax_of_new_operator_sets_takes_one_axis) {
    char warnings[1024];
    struct sqz_model *model = read_warned(softmax(13, 4, 1, 1), warnings);
    ck_assert_uint_eq(model->nodes[model->output].params.softmax.axis, 3);
    ck_assert_ptr_nonnull(strstr(warnings, "all its results are 1"));
    sqz_model_free(model);
    struct onnx_sample *sample = softmax(13, 4, 1, 1);
    onnx_sample_int(sample, "axis", 1);
    model = read_warned(sample, warnings);
    ck_assert_uint_eq(model->nodes[model->output].params.softmax.axis, 1);
    ck_assert_str_eq(warnings, "");
    sqz_model_free(model);
}
END_TEST

START_TEST(dropout_is_identity) {
    static const int64_t opsets[] = {3, 7, 12};
    for (size_t i = 0; i < 3; i++) {
        struct onnx_sample *sample = onnx_sample_new(opsets[i]);
        onnx_sample_input(sample, "data", 1, 2, 2, 2);
        if (opsets[i] == 12) {
            Onnx__Tensor *training = onnx_sample_floats(sample, "training", 0, NULL, FLOATS(0));
            training->data_type = 9;
            training->raw_data.data = (uint8_t *)"\1";
            training->raw_data.len = 1;
            onnx_sample_floats(sample, "ratio", 0, NULL, FLOATS(0.5f));
            onnx_sample_node(sample, "Dropout", "data ratio training", "out mask");
        } else {
            onnx_sample_node(sample, "Dropout", "data", "out mask");
            onnx_sample_float(sample, "ratio", 0.5f);
            if (opsets[i] == 3) onnx_sample_int(sample, "is_test", 0);
        }
        onnx_sample_output(sample, "out");
        struct sqz_model *model = onnx_sample_read(sample);
        ck_assert_int_eq(model->nodes[model->output].op, SQZ_OP_DROPOUT);
        sqz_model_free(model);
    }
}
END_TEST

/* ---- windows ----------------------------------------------------------------------------- */

/* CASES C2: the group attribute; G3: a 1x1 convolution keeps its padding. */
START_TEST(convolution_attributes) {
    struct onnx_sample *sample = onnx_sample_new(13);
    onnx_sample_input(sample, "data", 0, 4, 13, 13);
    onnx_sample_floats(sample, "g.weight", 4, (const int64_t[]){4, 2, 1, 1}, FLOATS(1, 0, 0, 1, 1, 0, 0, 1));
    onnx_sample_node(sample, "Conv", "data g.weight", "out");
    onnx_sample_int(sample, "group", 2);
    onnx_sample_ints(sample, "pads", LIST(1, 1, 1, 1));
    onnx_sample_ints(sample, "strides", LIST(1, 2));
    onnx_sample_output(sample, "out");
    struct sqz_model *model = onnx_sample_read(sample);
    const struct sqz_node *node = find_node(model, "g");
    ck_assert_uint_eq(node->params.conv.groups, 2);
    ck_assert_uint_eq(node->params.conv.window.pad_top, 1);
    ck_assert_uint_eq(node->params.conv.window.pad_right, 1);
    ck_assert_uint_eq(node->params.conv.window.stride_w, 2);
    struct sqz_shape shape = result_shape(model), wanted = sqz_shape4(1, 4, 15, 8);
    ck_assert(sqz_shape_equal(&shape, &wanted));
    sqz_model_free(model);
}
END_TEST

/* CASES G5: SAME_UPPER puts the odd element behind, SAME_LOWER before; both depend on the input's size. */
START_TEST(automatic_padding) {
    static const struct {
        const char *mode;
        uint32_t begin, end, out;
    } cases[] = {{"SAME_UPPER", 0, 1, 3}, {"SAME_LOWER", 1, 0, 3}, {"VALID", 0, 0, 2}, {"NOTSET", 2, 2, 4}};
    for (size_t i = 0; i < 4; i++) {
        struct onnx_sample *sample = onnx_sample_new(9);
        onnx_sample_input(sample, "data", 0, 1, 6, 6);
        onnx_sample_node(sample, "MaxPool", "data", "out");
        onnx_sample_string(sample, "auto_pad", cases[i].mode);
        onnx_sample_ints(sample, "kernel_shape", LIST(3, 3));
        onnx_sample_ints(sample, "strides", LIST(2, 2));
        onnx_sample_ints(sample, "pads", LIST(2, 2, 2, 2)); /* ignored unless NOTSET */
        onnx_sample_output(sample, "out");
        struct sqz_model *model = onnx_sample_read(sample);
        const struct sqz_window *window = &model->nodes[1].params.pool.window;
        ck_assert_uint_eq(window->pad_top, cases[i].begin);
        ck_assert_uint_eq(window->pad_bottom, cases[i].end);
        ck_assert_uint_eq(result_shape(model).dim[2], cases[i].out);
        sqz_model_free(model);
    }
}
END_TEST

/* CASES G1 and G2: rounding and divisor are what the attributes say, with ONNX's defaults. */
START_TEST(pooling_attributes) {
    for (int ceil_mode = 0; ceil_mode < 2; ceil_mode++)
        for (int include = 0; include < 2; include++) {
            struct onnx_sample *sample = onnx_sample_new(11);
            onnx_sample_input(sample, "data", 0, 1, 5, 5);
            onnx_sample_node(sample, "AveragePool", "data", "out");
            onnx_sample_ints(sample, "kernel_shape", LIST(2, 2));
            onnx_sample_ints(sample, "strides", LIST(2, 2));
            if (ceil_mode) onnx_sample_int(sample, "ceil_mode", 1);
            if (include) onnx_sample_int(sample, "count_include_pad", 1);
            onnx_sample_output(sample, "out");
            struct sqz_model *model = onnx_sample_read(sample);
            ck_assert_int_eq(model->nodes[1].params.pool.divisor, include ? SQZ_DIVISOR_PADDED : SQZ_DIVISOR_VALID);
            ck_assert_uint_eq(result_shape(model).dim[2], ceil_mode ? 3 : 2);
            sqz_model_free(model);
        }
}
END_TEST

/* CASES G4: ONNX's defaults. */
START_TEST(lrn_attributes) {
    struct onnx_sample *sample = onnx_sample_new(13);
    onnx_sample_input(sample, "data", 0, 5, 1, 1);
    onnx_sample_node(sample, "LRN", "data", "out");
    onnx_sample_int(sample, "size", 5);
    onnx_sample_output(sample, "out");
    struct sqz_model *model = onnx_sample_read(sample);
    ck_assert_uint_eq(model->nodes[1].params.lrn.size, 5);
    ck_assert(model->nodes[1].params.lrn.alpha == 1e-4f && model->nodes[1].params.lrn.beta == 0.75f);
    ck_assert(model->nodes[1].params.lrn.k == 1);
    sqz_model_free(model);
}
END_TEST

/* ---- scales and dense layers --------------------------------------------------------------- */

START_TEST(batch_normalisation_becomes_scale) {
    struct onnx_sample *sample = onnx_sample_new(9);
    onnx_sample_input(sample, "data", 0, 2, 3, 3);
    onnx_sample_floats(sample, "bn.weight", 1, (const int64_t[]){2}, FLOATS(2, 3));
    onnx_sample_floats(sample, "bn.bias", 1, (const int64_t[]){2}, FLOATS(1, -1));
    onnx_sample_floats(sample, "mean", 1, (const int64_t[]){2}, FLOATS(5, 7));
    onnx_sample_floats(sample, "var", 1, (const int64_t[]){2}, FLOATS(3.75f, 8.75f));
    onnx_sample_node(sample, "BatchNormalization", "data bn.weight bn.bias mean var", "out");
    onnx_sample_float(sample, "epsilon", 0.25f);
    onnx_sample_output(sample, "out");
    struct sqz_model *model = onnx_sample_read(sample);
    const struct sqz_node *node = find_node(model, "bn");
    ck_assert_int_eq(node->op, SQZ_OP_SCALE);
    check_values(&model->weights[node->kernel], FLOATS(1, 1), 2);
    check_values(&model->weights[node->bias], FLOATS(-4, -8), 2);
    sqz_model_free(model);
}
END_TEST

/* conv -> Mul by [2,1,1] -> Add of [2,1,1] -> Sub of a scalar -> Div by a scalar. */
START_TEST(arithmetic_with_constants) {
    struct onnx_sample *sample = onnx_sample_whole();
    sample->graph.n_node = 1;
    onnx_sample_floats(sample, "factor", 3, (const int64_t[]){2, 1, 1}, FLOATS(3, 4));
    onnx_sample_floats(sample, "offset", 3, (const int64_t[]){2, 1, 1}, FLOATS(5, 6));
    onnx_sample_floats(sample, "one", 0, NULL, FLOATS(1));
    onnx_sample_floats(sample, "four", 1, (const int64_t[]){1}, FLOATS(4));
    onnx_sample_node(sample, "Mul", "factor c", "m");
    onnx_sample_node(sample, "Add", "m offset", "a");
    onnx_sample_node(sample, "Sub", "a one", "s");
    onnx_sample_node(sample, "Div", "s four", "out");
    struct sqz_model *model = onnx_sample_read(sample);
    ck_assert_uint_eq(model->n_nodes, 5); /* the Add went into the Mul's Scale */
    check_values(&model->weights[model->nodes[2].kernel], FLOATS(3, 4), 2);
    check_values(&model->weights[model->nodes[2].bias], FLOATS(5, 6), 2);
    check_values(&model->weights[model->nodes[3].bias], FLOATS(-1, -1), 2);
    check_values(&model->weights[model->nodes[4].kernel], FLOATS(0.25f, 0.25f), 2);
    ck_assert_uint_eq(model->nodes[4].bias, SQZ_NO_WEIGHT);
    sqz_model_free(model);
}
END_TEST

/* A result that two nodes read keeps its values: the bias may not go into the convolution. */
START_TEST(shared_results_are_left_alone) {
    struct onnx_sample *sample = onnx_sample_conv("conv.weight", "-");
    onnx_sample_floats(sample, "conv.weight", 4, onnx_sample_kernel_dims, onnx_sample_kernel);
    onnx_sample_floats(sample, "offset", 3, (const int64_t[]){2, 1, 1}, FLOATS(5, 6));
    sample->graph.node[1]->output[0] = (char *)"r";
    onnx_sample_node(sample, "Add", "c offset", "a");
    onnx_sample_node(sample, "Add", "a r", "out");
    struct sqz_model *model = onnx_sample_read(sample);
    ck_assert_uint_eq(find_node(model, "conv")->bias, SQZ_NO_WEIGHT);
    ck_assert_uint_eq(count_op(model, SQZ_OP_SCALE), 1);
    sqz_model_free(model);
}
END_TEST

START_TEST(dense_layers) {
    struct onnx_sample *sample = onnx_sample_new(13);
    onnx_sample_input(sample, "data", 0, 3, 1, 1);
    onnx_sample_node(sample, "Flatten", "data", "f");
    onnx_sample_floats(sample, "a.weight", 2, (const int64_t[]){2, 3}, FLOATS(1, 2, 3, 4, 5, 6));
    onnx_sample_floats(sample, "a.bias", 2, (const int64_t[]){1, 2}, FLOATS(7, 8));
    onnx_sample_node(sample, "Gemm", "f a.weight a.bias", "a");
    onnx_sample_int(sample, "transB", 1);
    onnx_sample_floats(sample, "b.weight", 2, (const int64_t[]){2, 3}, FLOATS(1, 2, 3, 4, 5, 6));
    onnx_sample_floats(sample, "b.bias", 1, (const int64_t[]){3}, FLOATS(1, 2, 3));
    onnx_sample_node(sample, "MatMul", "a b.weight", "m");
    onnx_sample_node(sample, "Add", "b.bias m", "b");
    onnx_sample_floats(sample, "c.weight", 2, (const int64_t[]){3, 1}, FLOATS(1, 2, 3));
    onnx_sample_floats(sample, "c.bias", 1, (const int64_t[]){1}, FLOATS(2));
    onnx_sample_node(sample, "Gemm", "b c.weight c.bias", "out");
    onnx_sample_float(sample, "alpha", 2);
    onnx_sample_float(sample, "beta", 0.5f);
    onnx_sample_output(sample, "out");
    struct sqz_model *model = onnx_sample_read(sample);
    const struct sqz_node *a = find_node(model, "a"), *b = find_node(model, "b"), *c = find_node(model, "c");
    check_values(&model->weights[a->kernel], FLOATS(1, 2, 3, 4, 5, 6), 6);
    check_values(&model->weights[a->bias], FLOATS(7, 8), 2);
    ck_assert_uint_eq(model->weights[a->bias].shape.rank, 1);
    check_values(&model->weights[b->kernel], FLOATS(1, 4, 2, 5, 3, 6), 6); /* [in][out] turned round */
    check_values(&model->weights[b->bias], FLOATS(1, 2, 3), 3);
    check_values(&model->weights[c->kernel], FLOATS(2, 4, 6), 3);
    check_values(&model->weights[c->bias], FLOATS(1), 1);
    ck_assert_uint_eq(model->n_nodes, 5);
    sqz_model_free(model);
}
END_TEST

/* ---- shapes ------------------------------------------------------------------------------------ */

/* x.view(x.size(0), -1) as PyTorch writes it: Shape, Gather, Unsqueeze, Concat, Reshape. */
START_TEST(view_by_shape_arithmetic) {
    struct onnx_sample *sample = onnx_sample_new(11);
    onnx_sample_input(sample, "data", 0, 3, 4, 5);
    onnx_sample_integers(sample, "zero", 0, NULL, (const int64_t[]){0});
    onnx_sample_integers(sample, "minus", 1, (const int64_t[]){1}, (const int64_t[]){-1});
    onnx_sample_node(sample, "Shape", "data", "s");
    onnx_sample_node(sample, "Gather", "s zero", "n");
    onnx_sample_node(sample, "Unsqueeze", "n", "u");
    onnx_sample_ints(sample, "axes", LIST(0));
    onnx_sample_node(sample, "Concat", "u minus", "to");
    onnx_sample_int(sample, "axis", 0);
    onnx_sample_node(sample, "Reshape", "data to", "out");
    onnx_sample_output(sample, "out");
    struct sqz_model *model = onnx_sample_read(sample);
    ck_assert_uint_eq(model->n_nodes, 2);
    ck_assert_int_eq(model->nodes[1].op, SQZ_OP_FLATTEN);
    ck_assert_uint_eq(result_shape(model).dim[1], 60);
    sqz_model_free(model);
}
END_TEST

/* Old PyTorch computes pads as [begin, end] pairs from the last dimension on, turned round by Slice and Transpose. */
START_TEST(pads_by_shape_arithmetic) {
    struct onnx_sample *sample = onnx_sample_new(13);
    onnx_sample_input(sample, "data", 0, 1, 4, 5);
    onnx_sample_integers(sample, "given", 1, (const int64_t[]){4}, (const int64_t[]){1, 2, 3, 4});
    onnx_sample_integers(sample, "four", 1, (const int64_t[]){1}, (const int64_t[]){4});
    onnx_sample_integers(sample, "pairs", 1, (const int64_t[]){2}, (const int64_t[]){-1, 2});
    onnx_sample_integers(sample, "zero", 1, (const int64_t[]){1}, (const int64_t[]){0});
    onnx_sample_integers(sample, "minus", 1, (const int64_t[]){1}, (const int64_t[]){-1});
    onnx_sample_integers(sample, "least", 1, (const int64_t[]){1}, (const int64_t[]){-INT64_MAX});
    onnx_sample_node(sample, "ConstantOfShape", "four", "rest");
    onnx_sample_value(sample, onnx_sample_integers(sample, "fill", 1, (const int64_t[]){1}, (const int64_t[]){0}));
    onnx_sample_node(sample, "Concat", "given rest", "all");
    onnx_sample_int(sample, "axis", 0);
    onnx_sample_node(sample, "Reshape", "all pairs", "rows");
    onnx_sample_node(sample, "Slice", "rows minus least zero minus", "turned");
    onnx_sample_node(sample, "Transpose", "turned", "columns");
    onnx_sample_ints(sample, "perm", LIST(1, 0));
    onnx_sample_node(sample, "Reshape", "columns minus", "flat");
    onnx_sample_node(sample, "Cast", "flat", "pads");
    onnx_sample_int(sample, "to", 7);
    onnx_sample_node(sample, "Pad", "data pads", "out");
    onnx_sample_output(sample, "out");
    struct sqz_model *model = onnx_sample_read(sample);
    const union sqz_params *p = &model->nodes[1].params;
    ck_assert_int_eq(model->nodes[1].op, SQZ_OP_PAD);
    ck_assert_uint_eq(p->pad.left, 1);
    ck_assert_uint_eq(p->pad.right, 2);
    ck_assert_uint_eq(p->pad.top, 3);
    ck_assert_uint_eq(p->pad.bottom, 4);
    sqz_model_free(model);
}
END_TEST

/* Integer arithmetic with broadcasting, and an If whose condition it decides. */
START_TEST(branches_with_known_condition) {
    for (int64_t channels = 1; channels <= 2; channels++) {
        struct onnx_sample *sample = onnx_sample_new(13), *then = onnx_sample_new(13), *otherwise = onnx_sample_new(13);
        struct sqz_buffer branches[2] = {{0}, {0}};
        onnx_sample_input(sample, "data", 0, channels, 2, 2);
        onnx_sample_integers(sample, "one", 0, NULL, (const int64_t[]){1});
        onnx_sample_node(then, "Relu", "data", "t");
        onnx_sample_output(then, "t");
        onnx_sample_node(otherwise, "Tanh", "data", "e");
        onnx_sample_output(otherwise, "e");
        struct onnx_sample *both[2] = {then, otherwise};
        onnx_sample_node(sample, "Shape", "data", "s");
        onnx_sample_node(sample, "Gather", "s one", "c");
        onnx_sample_node(sample, "Equal", "c one", "is_one");
        onnx_sample_node(sample, "If", "is_one", "out");
        for (int i = 0; i < 2; i++) {
            uint8_t *bytes = sqz_buffer_reserve(&branches[i], onnx__graph__get_packed_size(&both[i]->graph));
            branches[i].nbytes = onnx__graph__pack(&both[i]->graph, bytes);
            Onnx__Attribute *attribute = onnx_sample_attribute(sample, i ? "else_branch" : "then_branch");
            attribute->has_g = 1;
            attribute->g.data = branches[i].data;
            attribute->g.len = branches[i].nbytes;
        }
        onnx_sample_output(sample, "out");
        struct sqz_model *model = onnx_sample_read(sample);
        ck_assert_int_eq(model->nodes[model->output].op, channels == 1 ? SQZ_OP_RELU : SQZ_OP_TANH);
        sqz_model_free(model);
        for (int i = 0; i < 2; i++) {
            onnx_sample_free(both[i]);
            sqz_buffer_free(&branches[i]);
        }
    }
}
END_TEST

/* Channels-last nets transpose at the start; means over height and width are global pooling. */
START_TEST(channels_last_input_and_mean) {
    struct onnx_sample *sample = onnx_sample_new(18);
    onnx_sample_input(sample, "data", 1, 9, 8, 3);
    onnx_sample_node(sample, "Transpose", "data", "t");
    onnx_sample_ints(sample, "perm", LIST(0, 3, 1, 2));
    onnx_sample_integers(sample, "axes", 1, (const int64_t[]){2}, (const int64_t[]){-1, 2});
    onnx_sample_node(sample, "ReduceMean", "t axes", "out");
    onnx_sample_int(sample, "keepdims", 0);
    onnx_sample_output(sample, "out");
    struct sqz_model *model = onnx_sample_read(sample);
    ck_assert_uint_eq(model->input.channels, 3);
    ck_assert_uint_eq(model->input.height, 9);
    ck_assert_uint_eq(model->input.width, 8);
    ck_assert_int_eq(model->nodes[1].op, SQZ_OP_GLOBAL_AVERAGE_POOL);
    ck_assert_int_eq(model->nodes[2].op, SQZ_OP_FLATTEN);
    sqz_model_free(model);
}
END_TEST

/* HardSwish before operator set 14; a HardSigmoid by itself. */
START_TEST(written_out_activations) {
    struct onnx_sample *sample = onnx_sample_new(13);
    onnx_sample_input(sample, "data", 0, 2, 2, 2);
    onnx_sample_node(sample, "HardSigmoid", "data", "g");
    onnx_sample_float(sample, "alpha", 1.0f / 6);
    onnx_sample_node(sample, "Mul", "data g", "h");
    onnx_sample_node(sample, "HardSigmoid", "h", "out");
    onnx_sample_output(sample, "out");
    struct sqz_model *model = onnx_sample_read(sample);
    ck_assert_uint_eq(model->n_nodes, 4);
    ck_assert_int_eq(model->nodes[1].op, SQZ_OP_HARD_SWISH);
    ck_assert_int_eq(model->nodes[2].op, SQZ_OP_SCALE);
    ck_assert_int_eq(model->nodes[3].op, SQZ_OP_CLIP);
    check_values(&model->weights[model->nodes[2].kernel], FLOATS(0.2f, 0.2f), 2);
    sqz_model_free(model);
}
END_TEST

Suite *test_onnx_ops(void);

Suite *test_onnx_ops(void) {
    Suite *suite = suite_create("onnx_ops");
    TCase *operators = tcase_create("operators");
    tcase_add_test(operators, softmax_of_old_operator_sets_flattens);
    tcase_add_test(operators, softmax_of_new_operator_sets_takes_one_axis);
    tcase_add_test(operators, dropout_is_identity);
    tcase_add_test(operators, convolution_attributes);
    tcase_add_test(operators, automatic_padding);
    tcase_add_test(operators, pooling_attributes);
    tcase_add_test(operators, lrn_attributes);
    tcase_add_test(operators, batch_normalisation_becomes_scale);
    tcase_add_test(operators, arithmetic_with_constants);
    tcase_add_test(operators, shared_results_are_left_alone);
    tcase_add_test(operators, dense_layers);
    tcase_add_test(operators, view_by_shape_arithmetic);
    tcase_add_test(operators, pads_by_shape_arithmetic);
    tcase_add_test(operators, branches_with_known_condition);
    tcase_add_test(operators, channels_last_input_and_mean);
    tcase_add_test(operators, written_out_activations);
    suite_add_tcase(suite, operators);
    return suite;
}
