/* test_onnx_write.c - the ONNX writer: what it writes, that the reader gets the same model back, and failures. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/infer.h"
#include "tests/unit/onnx_samples.h"
#include "tests/unit/reader_folder.h"

static const struct sqz_input input_description = {.channels = 4,
                                                   .height = 12,
                                                   .width = 11,
                                                   .resize_short = 99,
                                                   .order = SQZ_CHANNELS_BGR,
                                                   .filter = SQZ_RESIZE_BILINEAR,
                                                   .scale = 0.3f,
                                                   .mean = {1.1f, 2.2f, 3.3f, 4.4f},
                                                   .std = {0.1f, 0.2f, 0.3f, 0.7f}};

static uint32_t append(struct sqz_model *model, enum sqz_op op, const char *name, uint32_t a, uint32_t b) {
    uint32_t inputs[2] = {a, b}, node;
    size_t n = op == SQZ_OP_ADD || op == SQZ_OP_MUL || op == SQZ_OP_CONCAT ? 2 : 1;
    ck_assert_int_eq(sqz_model_add_node(model, op, name, inputs, n, &node, NULL), SQZ_OK);
    return node;
}

/* A weight of awkward values: zeros of both signs, denormals, and numbers that need all their bits. */
static uint32_t weight(struct sqz_model *model, const char *name, enum sqz_role role, struct sqz_shape shape) {
    uint32_t index;
    ck_assert_int_eq(sqz_model_add_weight(model, name, role, &shape, NULL, &index, NULL), SQZ_OK);
    for (size_t i = 0; i < model->weights[index].count; i++)
        model->weights[index].data[i] = i % 7 == 0 ? -0.0f : i % 7 == 1 ? 1e-40f : (float)(i + index) / 3 - 2;
    return index;
}

static void set_window(struct sqz_window *window, uint32_t kernel, uint32_t stride, uint32_t top, uint32_t right) {
    *window = (struct sqz_window){.kernel_h = kernel,
                                  .kernel_w = kernel,
                                  .stride_h = stride,
                                  .stride_w = stride,
                                  .dilation_h = 1,
                                  .dilation_w = 1,
                                  .pad_top = top,
                                  .pad_right = right};
}

/* Every operator that ONNX has, each with parameters that differ from ONNX's defaults. */
static struct sqz_model *every_operator(void) {
    struct sqz_model *model = sqz_model_new(&input_description);
    uint32_t conv = append(model, SQZ_OP_CONV, "conv", 0, 0);
    set_window(&model->nodes[conv].params.conv.window, 3, 1, 1, 2);
    model->nodes[conv].params.conv.groups = 2;
    model->nodes[conv].kernel = weight(model, "conv.weight", SQZ_ROLE_KERNEL, sqz_shape4(6, 2, 3, 3));
    model->nodes[conv].bias = weight(model, "conv.bias", SQZ_ROLE_BIAS, sqz_shape1(6));
    uint32_t relu = append(model, SQZ_OP_RELU, "relu", conv, 0);
    uint32_t leaky = append(model, SQZ_OP_LEAKY_RELU, "leaky", relu, 0);
    model->nodes[leaky].params.leaky_relu.slope = 0.3f;
    uint32_t sigmoid = append(model, SQZ_OP_SIGMOID, "sigmoid", leaky, 0);
    uint32_t tanh_node = append(model, SQZ_OP_TANH, "tanh", sigmoid, 0);
    uint32_t swish = append(model, SQZ_OP_HARD_SWISH, "swish", tanh_node, 0);
    uint32_t clip = append(model, SQZ_OP_CLIP, "clip", swish, 0);
    model->nodes[clip].params.clip.low = -0.5f;
    model->nodes[clip].params.clip.high = 6;
    uint32_t lrn = append(model, SQZ_OP_LRN, "lrn", clip, 0);
    model->nodes[lrn].params.lrn.size = 3;
    model->nodes[lrn].params.lrn.alpha = 2e-4f;
    model->nodes[lrn].params.lrn.beta = 0.5f;
    model->nodes[lrn].params.lrn.k = 2;
    uint32_t max = append(model, SQZ_OP_MAX_POOL, "max", lrn, 0);
    set_window(&model->nodes[max].params.pool.window, 3, 2, 0, 0);
    model->nodes[max].params.pool.ceil_mode = true;
    uint32_t pad = append(model, SQZ_OP_PAD, "pad", max, 0);
    model->nodes[pad].params.pad.top = 1;
    model->nodes[pad].params.pad.right = 2;
    model->nodes[pad].params.pad.value = -1.5f;
    uint32_t average = append(model, SQZ_OP_AVERAGE_POOL, "average", pad, 0);
    set_window(&model->nodes[average].params.pool.window, 2, 1, 1, 0);
    model->nodes[average].params.pool.divisor = SQZ_DIVISOR_PADDED;
    uint32_t scale = append(model, SQZ_OP_SCALE, "scale", average, 0);
    model->nodes[scale].kernel = weight(model, "scale.weight", SQZ_ROLE_SCALE, sqz_shape1(6));
    model->nodes[scale].bias = weight(model, "scale.bias", SQZ_ROLE_SHIFT, sqz_shape1(6));
    uint32_t add = append(model, SQZ_OP_ADD, "add", average, scale);
    uint32_t mul = append(model, SQZ_OP_MUL, "mul", add, scale);
    uint32_t concat = append(model, SQZ_OP_CONCAT, "concat", mul, add);
    model->nodes[concat].params.concat.axis = 1;
    uint32_t dropout = append(model, SQZ_OP_DROPOUT, "dropout", concat, 0);
    uint32_t global = append(model, SQZ_OP_GLOBAL_AVERAGE_POOL, "global", dropout, 0);
    uint32_t reshape = append(model, SQZ_OP_RESHAPE, "reshape", global, 0);
    model->nodes[reshape].params.reshape.rank = 4;
    model->nodes[reshape].params.reshape.dim[1] = 3;
    model->nodes[reshape].params.reshape.dim[2] = -1;
    model->nodes[reshape].params.reshape.dim[3] = 2;
    uint32_t flatten = append(model, SQZ_OP_FLATTEN, "flatten", reshape, 0);
    uint32_t dense = append(model, SQZ_OP_DENSE, "dense", flatten, 0);
    model->nodes[dense].kernel = weight(model, "dense.weight", SQZ_ROLE_KERNEL, sqz_shape2(5, 12));
    model->nodes[dense].bias = weight(model, "dense.bias", SQZ_ROLE_BIAS, sqz_shape1(5));
    uint32_t softmax = append(model, SQZ_OP_SOFTMAX, "softmax", dense, 0);
    model->nodes[softmax].params.softmax.axis = 1;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_model_check(model, &err) == SQZ_OK, "%s", err.text);
    return model;
}

/* Write to a file of the test's folder and return its bytes. */
static struct sqz_source write_model(const struct sqz_model *model, const char *name) {
    struct sqz_source source;
    struct sqz_error err = {0};
    size_t nbytes = 0;
    ck_assert_msg(sqz_onnx_write(model, reader_path(name), &nbytes, &err) == SQZ_OK, "%s", err.text);
    ck_assert_int_eq(sqz_source_open(reader_path(name), SQZ_SOURCE_LIMIT, &source, &err), SQZ_OK);
    ck_assert_uint_eq(source.nbytes, nbytes);
    ck_assert(sqz_onnx_probe(&source));
    return source;
}

static struct sqz_model *write_and_read(const struct sqz_model *model) {
    struct sqz_source source = write_model(model, "round.onnx");
    struct sqz_model *again = NULL;
    struct sqz_error err = {0};
    ck_assert_msg(onnx_read_bytes(source.data, source.nbytes, "round.onnx", NULL, &again, &err) == SQZ_OK, "%s",
                  err.text);
    sqz_source_close(&source);
    return again;
}

static Onnx__Model *unpack(const struct sqz_source *source) {
    Onnx__Model *message = onnx__model__unpack(NULL, source->nbytes, source->data);
    ck_assert_ptr_nonnull(message);
    return message;
}

static const Onnx__Node *find(const Onnx__Model *message, const char *op_type) {
    for (size_t i = 0; i < message->graph->n_node; i++)
        if (strcmp(message->graph->node[i]->op_type, op_type) == 0) return message->graph->node[i];
    ck_abort_msg("no %s was written", op_type);
}

static const Onnx__Attribute *attribute(const Onnx__Node *node, const char *name) {
    for (size_t i = 0; i < node->n_attribute; i++)
        if (strcmp(node->attribute[i]->name, name) == 0) return node->attribute[i];
    ck_abort_msg("%s has no attribute %s", node->op_type, name);
}

/* Names, operators, connections and parameters; weights bit for bit; the input's description. */
START_TEST(every_operator_comes_back) {
    struct sqz_model *model = every_operator(), *again = write_and_read(model);
    ck_assert_uint_eq(again->n_nodes, model->n_nodes);
    for (size_t i = 1; i < model->n_nodes; i++) {
        const struct sqz_node *a = &model->nodes[i], *b = &again->nodes[i];
        ck_assert_str_eq(a->name, b->name);
        ck_assert_str_eq(sqz_op_name(a->op), sqz_op_name(b->op));
        ck_assert_uint_eq(a->n_inputs, b->n_inputs);
        ck_assert_mem_eq(a->inputs, b->inputs, a->n_inputs * sizeof *a->inputs);
        ck_assert_msg(memcmp(&a->params, &b->params, sizeof a->params) == 0, "parameters of %s differ", a->name);
        ck_assert((a->bias == SQZ_NO_WEIGHT) == (b->bias == SQZ_NO_WEIGHT));
    }
    ck_assert_uint_eq(again->n_weights, model->n_weights);
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct sqz_weight *a = &model->weights[i], *b = &again->weights[i];
        ck_assert_str_eq(a->name, b->name);
        ck_assert_int_eq(a->role, b->role);
        ck_assert(sqz_shape_equal(&a->shape, &b->shape));
        /* Scale passes through batch normalisation's arithmetic, where -0 + 0 is +0. */
        bool exact = a->role == SQZ_ROLE_KERNEL || a->role == SQZ_ROLE_BIAS;
        for (size_t k = 0; k < a->count; k++)
            ck_assert(exact ? memcmp(&a->data[k], &b->data[k], 4) == 0 : a->data[k] == b->data[k]);
    }
    ck_assert_mem_eq(&again->input, &model->input, sizeof model->input);
    sqz_model_free(again);
    sqz_model_free(model);
}
END_TEST

START_TEST(same_model_same_bytes) {
    struct sqz_model *model = every_operator(), *again = write_and_read(model);
    struct sqz_source a = write_model(model, "a.onnx"), b = write_model(model, "b.onnx"),
                      c = write_model(again, "c.onnx");
    ck_assert_uint_eq(a.nbytes, b.nbytes);
    ck_assert_mem_eq(a.data, b.data, a.nbytes);
    ck_assert_uint_eq(a.nbytes, c.nbytes);
    sqz_source_close(&a);
    sqz_source_close(&b);
    sqz_source_close(&c);
    sqz_model_free(again);
    sqz_model_free(model);
}
END_TEST

/* CASES E1, E2: initialisers are not inputs, axes and rounding are written out, the batch is free. */
START_TEST(what_is_written) {
    struct sqz_model *model = every_operator();
    struct sqz_source source = write_model(model, "w.onnx");
    Onnx__Model *message = unpack(&source);
    const Onnx__Graph *graph = message->graph;
    ck_assert_int_eq(message->ir_version, 8);
    ck_assert_uint_eq(message->n_opset_import, 1);
    ck_assert_int_eq(message->opset_import[0]->version, 13);
    ck_assert_uint_eq(graph->n_input, 1);
    ck_assert_uint_eq(graph->n_output, 1);
    ck_assert_str_eq(graph->input[0]->name, "input");
    ck_assert_str_eq(graph->output[0]->name, "output");
    Onnx__Dimension **dim = graph->input[0]->type->tensor_type->shape->dim;
    ck_assert_str_eq(dim[0]->dim_param, "batch");
    ck_assert_int_eq(dim[1]->dim_value, 4);
    ck_assert_int_eq(dim[2]->dim_value, 12);
    ck_assert_int_eq(attribute(find(message, "Softmax"), "axis")->i, 1);
    ck_assert_int_eq(attribute(find(message, "Concat"), "axis")->i, 1);
    ck_assert_int_eq(attribute(find(message, "MaxPool"), "ceil_mode")->i, 1);
    ck_assert_int_eq(attribute(find(message, "AveragePool"), "count_include_pad")->i, 1);
    ck_assert_int_eq(attribute(find(message, "Conv"), "group")->i, 2);
    const Onnx__Attribute *pads = attribute(find(message, "Conv"), "pads");
    static const int64_t wanted[4] = {1, 0, 0, 2};
    ck_assert_uint_eq(pads->n_ints, 4);
    ck_assert_mem_eq(pads->ints, wanted, sizeof wanted);
    onnx__model__free_unpacked(message, NULL);
    sqz_source_close(&source);
    sqz_model_free(model);
}
END_TEST

START_TEST(shared_weights_are_stored_once) {
    struct sqz_model *model = sqz_model_new(&input_description);
    uint32_t first = append(model, SQZ_OP_CONV, "first", 0, 0), second = append(model, SQZ_OP_CONV, "second", first, 0);
    uint32_t kernel = weight(model, "kernel", SQZ_ROLE_KERNEL, sqz_shape4(4, 4, 1, 1));
    weight(model, "unused", SQZ_ROLE_BIAS, sqz_shape1(4));
    for (uint32_t node = first; node <= second; node++) {
        set_window(&model->nodes[node].params.conv.window, 1, 1, 0, 0);
        model->nodes[node].params.conv.groups = 1;
        model->nodes[node].kernel = kernel;
    }
    struct sqz_source source = write_model(model, "s.onnx");
    Onnx__Model *message = unpack(&source);
    ck_assert_uint_eq(message->graph->n_initializer, 1);
    ck_assert_str_eq(message->graph->initializer[0]->name, "kernel");
    ck_assert_uint_eq(message->graph->initializer[0]->raw_data.len, 64);
    onnx__model__free_unpacked(message, NULL);
    sqz_source_close(&source);
    sqz_model_free(model);
}
END_TEST

/* A weight that exists only in packed form is written as the floats it stands for. */
START_TEST(packed_weights_are_restored) {
    struct sqz_model *model = sqz_model_new(&input_description), *again;
    uint32_t conv = append(model, SQZ_OP_CONV, "conv", 0, 0), index;
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    struct sqz_shape shape = sqz_shape4(3, 4, 1, 1);
    packed->kind = SQZ_LEVELS_CODEBOOK;
    packed->n_levels = 12;
    packed->levels = sqz_alloc0(12, sizeof *packed->levels);
    packed->n_codebook = 2;
    packed->codebook = sqz_alloc(2, sizeof *packed->codebook);
    packed->codebook[0] = -0.75f;
    packed->codebook[1] = 0.3f;
    for (size_t i = 0; i < 12; i++) packed->levels[i] = (int16_t)(i % 3);
    ck_assert_int_eq(sqz_model_add_packed(model, "conv.weight", SQZ_ROLE_KERNEL, &shape, packed, &index, NULL), SQZ_OK);
    set_window(&model->nodes[conv].params.conv.window, 1, 1, 0, 0);
    model->nodes[conv].params.conv.groups = 1;
    model->nodes[conv].kernel = index;
    again = write_and_read(model);
    for (size_t i = 0; i < 12; i++)
        ck_assert(again->weights[0].data[i] == (i % 3 == 0 ? 0 : i % 3 == 1 ? -0.75f : 0.3f));
    ck_assert_ptr_null(model->weights[index].data); /* the model itself is left as it was */
    sqz_model_free(again);
    sqz_model_free(model);
}
END_TEST

static struct sqz_model *pool(enum sqz_op op, uint32_t size, uint32_t kernel, uint32_t stride, uint32_t pad) {
    struct sqz_input input = input_description;
    input.height = input.width = size;
    struct sqz_model *model = sqz_model_new(&input);
    uint32_t node = append(model, op, "pool", 0, 0);
    if (op == SQZ_OP_ADAPTIVE_AVERAGE_POOL) {
        model->nodes[node].params.adaptive_pool.out_h = model->nodes[node].params.adaptive_pool.out_w = kernel;
        return model;
    }
    struct sqz_window *w = &model->nodes[node].params.pool.window;
    set_window(w, kernel, stride, pad, pad);
    w->pad_left = w->pad_bottom = pad;
    model->nodes[node].params.pool.ceil_mode = true;
    return model;
}

/*
 * CASES G1, G2: where ONNX's ceil_mode means something else than the model's,
 * longer padding says the same; what has no expression is refused.
 */
START_TEST(borders_are_faithful_or_refused) {
    struct sqz_error err = {0};
    struct sqz_model *model = pool(SQZ_OP_MAX_POOL, 3, 2, 2, 1), *again = write_and_read(model);
    ck_assert(!again->nodes[1].params.pool.ceil_mode); /* 2 outputs by the rule that drops a window in the padding */
    ck_assert_uint_eq(again->nodes[1].params.pool.window.pad_bottom, 1);
    sqz_model_free(again);
    sqz_model_free(model);
    model = pool(SQZ_OP_AVERAGE_POOL, 5, 2, 2, 0);
    model->nodes[1].params.pool.divisor = SQZ_DIVISOR_KERNEL;
    again = write_and_read(model);
    ck_assert_int_eq(again->nodes[1].params.pool.divisor, SQZ_DIVISOR_PADDED);
    ck_assert_uint_eq(again->nodes[1].params.pool.window.pad_bottom, 1);
    ck_assert_uint_eq(again->nodes[1].params.pool.window.pad_top, 0);
    sqz_model_free(again);
    sqz_model_free(model);
    model = pool(SQZ_OP_ADAPTIVE_AVERAGE_POOL, 6, 3, 0, 0);
    again = write_and_read(model);
    ck_assert_int_eq(again->nodes[1].op, SQZ_OP_AVERAGE_POOL);
    ck_assert_uint_eq(again->nodes[1].params.pool.window.kernel_h, 2);
    sqz_model_free(again);
    sqz_model_free(model);
    model = pool(SQZ_OP_ADAPTIVE_AVERAGE_POOL, 6, 4, 0, 0);
    ck_assert_int_eq(sqz_onnx_write(model, reader_path("no.onnx"), NULL, &err), SQZ_UNSUPPORTED);
    ck_assert_ptr_nonnull(strstr(err.text, "pool"));
    ck_assert_int_ne(access(reader_path("no.onnx"), F_OK), 0);
    sqz_model_free(model);
}
END_TEST

/* Nodes and weights share one name space in ONNX, and strings must be UTF-8. */
START_TEST(names_that_clash) {
    struct sqz_model *model = sqz_model_new(&input_description), *again;
    uint32_t node = append(model, SQZ_OP_DENSE, "output", 0, 0);
    model->nodes[node].kernel = weight(model, "input", SQZ_ROLE_KERNEL, sqz_shape2(2, 4 * 12 * 11));
    model->nodes[node].bias = weight(model, "bad \xff\xc3 utf-8 \xc3\xa4", SQZ_ROLE_BIAS, sqz_shape1(2));
    append(model, SQZ_OP_RELU, "bad __ utf-8 \xc3\xa4", node, 0);
    struct sqz_source source = write_model(model, "n.onnx");
    Onnx__Model *message = unpack(&source);
    ck_assert_str_eq(message->graph->initializer[0]->name, "input_2");
    ck_assert_str_eq(message->graph->initializer[1]->name, "bad __ utf-8 \xc3\xa4");
    onnx__model__free_unpacked(message, NULL);
    sqz_source_close(&source);
    again = write_and_read(model);
    ck_assert_uint_eq(again->n_nodes, 4); /* the dense layer's own flattening is written out */
    sqz_model_free(again);
    sqz_model_free(model);
}
END_TEST

/* A failure leaves the old file whole and nothing else behind. */
START_TEST(failures_leave_the_old_file) {
    struct sqz_model *model = every_operator();
    struct sqz_error err = {0};
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    reader_write("old.onnx", "old", 3);
    long n = 0;
    for (; status != SQZ_OK; n++) {
        sqz_alloc_fail_after(n);
        status = sqz_onnx_write(model, reader_path("old.onnx"), NULL, &err);
        sqz_alloc_fail_after(-1);
        if (status == SQZ_OK) break;
        ck_assert_int_eq(status, SQZ_OUT_OF_MEMORY);
        struct sqz_source source;
        ck_assert_int_eq(sqz_source_open(reader_path("old.onnx"), SQZ_SOURCE_LIMIT, &source, NULL), SQZ_OK);
        ck_assert_uint_eq(source.nbytes, 3);
        sqz_source_close(&source);
    }
    ck_assert_int_gt(n, 20);
    ck_assert_int_eq(sqz_onnx_write(model, "/dev/full", NULL, &err), SQZ_IO);
    ck_assert_int_eq(sqz_onnx_write(model, reader_path("missing/m.onnx"), NULL, &err), SQZ_IO);
    sqz_model_free(model);
}
END_TEST

Suite *test_onnx_write(void);

Suite *test_onnx_write(void) {
    Suite *suite = suite_create("onnx_write");
    TCase *writing = tcase_create("writing");
    tcase_add_checked_fixture(writing, reader_folder_make, reader_folder_remove);
    tcase_set_timeout(writing, 60);
    tcase_add_test(writing, every_operator_comes_back);
    tcase_add_test(writing, same_model_same_bytes);
    tcase_add_test(writing, what_is_written);
    tcase_add_test(writing, shared_weights_are_stored_once);
    tcase_add_test(writing, packed_weights_are_restored);
    tcase_add_test(writing, borders_are_faithful_or_refused);
    tcase_add_test(writing, names_that_clash);
    tcase_add_test(writing, failures_leave_the_old_file);
    suite_add_tcase(suite, writing);
    return suite;
}
