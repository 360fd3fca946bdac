/* onnx_ops.c - the table of operators, and what their converters share. */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "formats/onnx_parts.h"
#include "lib/infer.h"

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* ---- inputs ------------------------------------------------------------------ */

enum sqz_status sqz_onnx_input(struct onnx_import *import, const Onnx__Node *node, size_t i, struct onnx_value **out,
                               struct sqz_error *err) {
    if (!sqz_onnx_has_input(node, i)) return sqz_onnx_malformed(node, "an input is missing", err);
    struct onnx_value *value = sqz_onnx_find(import, node->input[i]);
    while (value && value->same) value = value->same;
    if (!value || value->kind == ONNX_UNKNOWN)
        return sqz_onnx_malformed(node, "an input is not computed before the node", err);
    *out = value;
    return SQZ_OK;
}

enum sqz_status sqz_onnx_activation(struct onnx_import *import, const Onnx__Node *node, size_t i,
                                    struct onnx_value **out, struct sqz_error *err) {
    SQZ_TRY(sqz_onnx_input(import, node, i, out, err));
    if ((*out)->kind == ONNX_CONSTANT) return sqz_onnx_unsupported(node, "the input is a constant", err);
    if ((*out)->kind != ONNX_NODE) SQZ_TRY(sqz_onnx_complete(import, node, *out, err));
    if ((*out)->is_view) return sqz_onnx_unsupported(node, "the dimensions of the input are permuted", err);
    return SQZ_OK;
}

enum sqz_status sqz_onnx_constant_input(struct onnx_import *import, const Onnx__Node *node, size_t i,
                                        const struct onnx_tensor **out, struct sqz_error *err) {
    struct onnx_value *value;
    *out = NULL;
    if (!sqz_onnx_has_input(node, i)) return SQZ_OK;
    SQZ_TRY(sqz_onnx_input(import, node, i, &value, err));
    if (value->kind != ONNX_CONSTANT) {
        char where[ONNX_WHERE_TEXT];
        return sqz_fail(err, SQZ_UNSUPPORTED, "%s: input %zu is computed at run time where a constant is needed",
                        sqz_onnx_where(node, where), i);
    }
    return sqz_onnx_constant(import, value, out, err);
}

enum sqz_status sqz_onnx_scalar_input(struct onnx_import *import, const Onnx__Node *node, size_t i, double fallback,
                                      double *out, struct sqz_error *err) {
    const struct onnx_tensor *tensor;
    SQZ_TRY(sqz_onnx_constant_input(import, node, i, &tensor, err));
    *out = fallback;
    if (!tensor) return SQZ_OK;
    if (tensor->count != 1) return sqz_onnx_malformed(node, "a constant should have one element", err);
    *out = tensor->is_real ? tensor->real[0] : (double)tensor->whole[0];
    return SQZ_OK;
}

/* ---- results ------------------------------------------------------------------- */

enum sqz_status sqz_onnx_add_node(struct onnx_import *import, const Onnx__Node *node, enum sqz_op op, const char *name,
                                  const uint32_t *inputs, size_t n_inputs, uint32_t *out, struct sqz_error *err) {
    char made[64];
    if (!name || !*name) name = onnx_text(node->name);
    if (!*name) {
        snprintf(made, sizeof made, "%.40s_%zu", sqz_op_name(op), import->model->n_nodes);
        name = made;
    }
    return sqz_model_add_node(import->model, op, name, inputs, n_inputs, out, err);
}

enum sqz_status sqz_onnx_infer(struct onnx_import *import, uint32_t index, struct sqz_error *err) {
    if (index >= import->shapes_capacity) {
        size_t capacity = import->shapes_capacity * 2;
        struct sqz_shape *shapes = sqz_realloc(import->shapes, capacity, sizeof *shapes);
        if (!shapes) return no_memory(err);
        import->shapes = shapes;
        import->shapes_capacity = capacity;
    }
    return sqz_infer_node(import->model, index, import->shapes, err);
}

static struct onnx_value *output_value(const struct onnx_import *import, const Onnx__Node *node) {
    return sqz_onnx_has_output(node, 0) ? sqz_onnx_find(import, node->output[0]) : NULL;
}

enum sqz_status sqz_onnx_set_output(struct onnx_import *import, const Onnx__Node *node, uint32_t index,
                                    struct sqz_error *err) {
    struct onnx_value *value = output_value(import, node);
    if (!value) return sqz_onnx_malformed(node, "it has no output", err);
    value->kind = ONNX_NODE;
    value->node = index;
    value->exclusive = value->n_uses == 1;
    return SQZ_OK;
}

enum sqz_status sqz_onnx_alias(struct onnx_import *import, const Onnx__Node *node, const struct onnx_value *value,
                               struct sqz_error *err) {
    SQZ_TRY(sqz_onnx_set_output(import, node, value->node, err));
    struct onnx_value *out = output_value(import, node);
    out->exclusive = value->exclusive && out->n_uses == 1;
    out->is_view = value->is_view;
    memcpy(out->perm, value->perm, sizeof out->perm);
    return SQZ_OK;
}

enum sqz_status sqz_onnx_simple(struct onnx_import *import, const Onnx__Node *node, enum sqz_op op,
                                const uint32_t *inputs, size_t n_inputs, struct sqz_error *err) {
    uint32_t index;
    SQZ_TRY(sqz_onnx_add_node(import, node, op, NULL, inputs, n_inputs, &index, err));
    SQZ_TRY(sqz_onnx_infer(import, index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

/* ---- element by element ---------------------------------------------------------- */

/* Operators on single elements work on permuted values as well: the view goes on behind them. */
static enum sqz_status add_unary(struct onnx_import *import, const Onnx__Node *node, enum sqz_op op,
                                 union sqz_params params, struct sqz_error *err) {
    struct onnx_value *in;
    uint32_t index;
    SQZ_TRY(sqz_onnx_input(import, node, 0, &in, err));
    if (in->kind != ONNX_NODE) SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    SQZ_TRY(sqz_onnx_add_node(import, node, op, NULL, &in->node, 1, &index, err));
    import->model->nodes[index].params = params;
    SQZ_TRY(sqz_onnx_infer(import, index, err));
    SQZ_TRY(sqz_onnx_set_output(import, node, index, err));
    struct onnx_value *out = output_value(import, node);
    out->is_view = in->is_view;
    memcpy(out->perm, in->perm, sizeof out->perm);
    return SQZ_OK;
}

static enum sqz_status convert_activation(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    static const struct {
        const char *name;
        enum sqz_op op;
    } table[] = {{"Relu", SQZ_OP_RELU},
                 {"Sigmoid", SQZ_OP_SIGMOID},
                 {"Tanh", SQZ_OP_TANH},
                 {"HardSwish", SQZ_OP_HARD_SWISH},
                 {"LeakyRelu", SQZ_OP_LEAKY_RELU}};
    union sqz_params params = {0};
    size_t i = 0;
    while (strcmp(node->op_type, table[i].name) != 0) i++;
    if (table[i].op == SQZ_OP_LEAKY_RELU) params.leaky_relu.slope = sqz_onnx_float(node, "alpha", 0.01f);
    return add_unary(import, node, table[i].op, params, err);
}

static enum sqz_status convert_clip(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    double low, high;
    SQZ_TRY(sqz_onnx_scalar_input(import, node, 1, sqz_onnx_float(node, "min", -FLT_MAX), &low, err));
    SQZ_TRY(sqz_onnx_scalar_input(import, node, 2, sqz_onnx_float(node, "max", FLT_MAX), &high, err));
    if (isnan(low) || isnan(high) || low > high) return sqz_onnx_malformed(node, "the bounds are not in order", err);
    union sqz_params params = {.clip = {(float)low, (float)high}};
    return add_unary(import, node, SQZ_OP_CLIP, params, err);
}

/* A slope for each channel would be a layer of its own; one slope for all is LeakyReLU. */
static enum sqz_status convert_prelu(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    const struct onnx_tensor *slope;
    SQZ_TRY(sqz_onnx_constant_input(import, node, 1, &slope, err));
    if (!slope || !slope->is_real || slope->count == 0) return sqz_onnx_malformed(node, "the slope is missing", err);
    for (size_t i = 1; i < slope->count; i++)
        if (slope->real[i] != slope->real[0])
            return sqz_onnx_unsupported(node, "a slope for each channel is not supported", err);
    union sqz_params params = {.leaky_relu = {slope->real[0]}};
    return add_unary(import, node, SQZ_OP_LEAKY_RELU, params, err);
}

static enum sqz_status convert_hard_sigmoid(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    return sqz_onnx_begin_hard_sigmoid(import, node, in, err);
}

static enum sqz_status convert_identity(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    SQZ_TRY(sqz_onnx_input(import, node, 0, &in, err));
    if (in->kind != ONNX_NODE) SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    return sqz_onnx_alias(import, node, in, err);
}

static enum sqz_status convert_cast(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    if (!sqz_onnx_type_is_real((int32_t)sqz_onnx_int(node, "to", ONNX_FLOAT)))
        return sqz_onnx_unsupported(node, "activations are cast to integers", err);
    return convert_identity(import, node, err);
}

static enum sqz_status convert_dropout(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *mask = sqz_onnx_has_output(node, 1) ? sqz_onnx_find(import, node->output[1]) : NULL;
    if (mask && mask->n_uses) return sqz_onnx_unsupported(node, "the mask is used", err);
    return add_unary(import, node, SQZ_OP_DROPOUT, (union sqz_params){0}, err);
}

/* ---- across elements ---------------------------------------------------------------- */

static enum sqz_status convert_global_average_pool(struct onnx_import *import, const Onnx__Node *node,
                                                   struct sqz_error *err) {
    struct onnx_value *in;
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    return sqz_onnx_simple(import, node, SQZ_OP_GLOBAL_AVERAGE_POOL, &in->node, 1, err);
}

static enum sqz_status convert_lrn(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    uint32_t index;
    int64_t size = sqz_onnx_int(node, "size", 0);
    if (size < 1 || size > UINT16_MAX) return sqz_onnx_malformed(node, "the size is out of range", err);
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    SQZ_TRY(sqz_onnx_add_node(import, node, SQZ_OP_LRN, NULL, &in->node, 1, &index, err));
    union sqz_params *params = &import->model->nodes[index].params;
    params->lrn.size = (uint32_t)size;
    params->lrn.alpha = sqz_onnx_float(node, "alpha", 1e-4f);
    params->lrn.beta = sqz_onnx_float(node, "beta", 0.75f);
    params->lrn.k = sqz_onnx_float(node, "bias", 1.0f);
    SQZ_TRY(sqz_onnx_infer(import, index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

static enum sqz_status convert_concat(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in = NULL;
    uint32_t index;
    if (node->n_input == 0) return sqz_onnx_malformed(node, "an input is missing", err);
    uint32_t *inputs = sqz_arena_alloc(&import->arena, node->n_input, sizeof *inputs);
    if (!inputs) return no_memory(err);
    for (size_t i = 0; i < node->n_input; i++) {
        SQZ_TRY(sqz_onnx_activation(import, node, i, &in, err));
        inputs[i] = in->node;
    }
    int64_t axis = sqz_onnx_int(node, "axis", 1), rank = import->shapes[in->node].rank;
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) return sqz_onnx_malformed(node, "the axis does not exist", err);
    if (axis == 0) return sqz_onnx_unsupported(node, "images are joined along the batch dimension", err);
    SQZ_TRY(sqz_onnx_add_node(import, node, SQZ_OP_CONCAT, NULL, inputs, node->n_input, &index, err));
    import->model->nodes[index].params.concat.axis = (uint32_t)axis;
    SQZ_TRY(sqz_onnx_infer(import, index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

/* Shape of a value that is computed at run time, as far as one image size decides it. */
static enum sqz_status convert_shape(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    int64_t dim[ONNX_MAX_RANK];
    SQZ_TRY(sqz_onnx_input(import, node, 0, &in, err));
    bool pending = in->kind == ONNX_LRN;
    if (in->kind == ONNX_HARD_SIGMOID) SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    const struct sqz_shape *shape = &import->shapes[in->node];
    int64_t rank = pending ? in->pending.rank : shape->rank;
    for (int64_t i = 0; i < rank; i++)
        dim[i] = (int64_t)(pending ? in->pending.dim[i] : shape->dim[in->is_view ? in->perm[i] : i]);
    uint32_t start, end;
    sqz_onnx_shape_range(node, (uint32_t)rank, &start, &end);
    return sqz_onnx_set_integers(import, node, dim + start, end - start, err);
}

/* ---- the table ------------------------------------------------------------------------ */

static const struct {
    const char *name;
    onnx_convert_function *function;
} operators[] = {
    {"Conv", sqz_onnx_conv},
    {"Gemm", sqz_onnx_gemm},
    {"MatMul", sqz_onnx_matmul},
    {"Relu", convert_activation},
    {"LeakyRelu", convert_activation},
    {"Sigmoid", convert_activation},
    {"Tanh", convert_activation},
    {"HardSwish", convert_activation},
    {"HardSigmoid", convert_hard_sigmoid},
    {"PRelu", convert_prelu},
    {"Clip", convert_clip},
    {"MaxPool", sqz_onnx_pool},
    {"AveragePool", sqz_onnx_pool},
    {"GlobalAveragePool", convert_global_average_pool},
    {"ReduceMean", sqz_onnx_reduce_mean},
    {"LRN", convert_lrn},
    {"BatchNormalization", sqz_onnx_batch_normalization},
    {"Add", sqz_onnx_add},
    {"Sum", sqz_onnx_add},
    {"Sub", sqz_onnx_sub},
    {"Mul", sqz_onnx_mul},
    {"Div", sqz_onnx_div},
    {"Pow", sqz_onnx_pow},
    {"Concat", convert_concat},
    {"Flatten", sqz_onnx_flatten},
    {"Reshape", sqz_onnx_reshape},
    {"Squeeze", sqz_onnx_squeeze},
    {"Unsqueeze", sqz_onnx_unsqueeze},
    {"Transpose", sqz_onnx_transpose},
    {"Softmax", sqz_onnx_softmax},
    {"Pad", sqz_onnx_pad},
    {"Dropout", convert_dropout},
    {"Identity", convert_identity},
    {"Cast", convert_cast},
    {"Shape", convert_shape},
    {"If", sqz_onnx_if},
};

static bool all_constant(const struct onnx_import *import, const Onnx__Node *node) {
    for (size_t i = 0; i < node->n_input; i++) {
        if (!sqz_onnx_has_input(node, i)) continue;
        const struct onnx_value *value = sqz_onnx_find(import, node->input[i]);
        if (!value || value->kind != ONNX_CONSTANT) return false;
    }
    return true;
}

enum sqz_status sqz_onnx_convert_node(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    const char *domain = onnx_text(node->domain), *op_type = onnx_text(node->op_type);
    char where[ONNX_WHERE_TEXT];
    bool done = false;
    if (*domain && strcmp(domain, "ai.onnx") != 0)
        return sqz_fail(err, SQZ_UNSUPPORTED, "%s: operators of the domain %.100s are not supported",
                        sqz_onnx_where(node, where), domain);
    if (sqz_onnx_can_fold(node) && all_constant(import, node)) return sqz_onnx_fold(import, node, err);
    SQZ_TRY(sqz_onnx_continue(import, node, &done, err));
    if (done) return SQZ_OK;
    for (size_t i = 0; i < sizeof operators / sizeof *operators; i++)
        if (strcmp(op_type, operators[i].name) == 0) return operators[i].function(import, node, err);
    return sqz_fail(err, SQZ_UNSUPPORTED, "%s: the operator is not supported", sqz_onnx_where(node, where));
}
