/*
 * ncnn_layers.c - walks over ncnn's layers, ties them together, and converts those with several inputs.
 *
 * Parameter numbers and their defaults are those of ncnn's operator list
 * (docs/developer-guide/operators.md of Tencent/ncnn).
 */
#include <float.h>
#include <string.h>

#include "formats/ncnn.h"

typedef struct sqz_ncnn_value_of_blob value_of_blob;

/* ---- blobs --------------------------------------------------------------- */

void *sqz_ncnn_grow(struct sqz_ncnn_builder *b, void *array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return array;
    size_t larger = *capacity ? *capacity * 2 : 64;
    void *copy = sqz_arena_alloc(&b->arena, larger, size);
    if (!copy) return NULL;
    if (count) memcpy(copy, array, count * size);
    *capacity = larger;
    return copy;
}

static enum sqz_status set_blob(struct sqz_ncnn_builder *b, const char *name, const value_of_blob *value) {
    value_of_blob *values = sqz_ncnn_grow(b, b->values, b->n_values, &b->values_capacity, sizeof *values);
    if (!values) return sqz_ncnn_no_memory(b->err);
    b->values = values;
    b->values[b->n_values] = *value;
    if (!sqz_blob_table_set(&b->names, name, (uint32_t)b->n_values)) return sqz_ncnn_no_memory(b->err);
    b->n_values++;
    return SQZ_OK;
}

static enum sqz_status get_blob(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer, uint32_t i,
                                value_of_blob *value) {
    uint32_t index;
    if (!sqz_blob_table_get(&b->names, layer->bottoms[i], &index))
        return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "it uses the blob %.100s, which no layer before it makes",
                             layer->bottoms[i]);
    *value = b->values[index];
    return SQZ_OK;
}

enum sqz_status sqz_ncnn_read_ints(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                   const struct sqz_ncnn_int_param *params, size_t n) {
    for (size_t i = 0; i < n; i++) {
        SQZ_TRY(sqz_ncnn_int(layer, params[i].id, params[i].fallback, params[i].out, b->err));
        if (*params[i].out < params[i].low)
            return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "parameter %d is %d", params[i].id, *params[i].out);
    }
    return SQZ_OK;
}

/* ---- layers with several inputs ------------------------------------------ */

/* All inputs of the layer; where features come both as [n][c] and as [n][c][1][1], the latter are flattened. */
static enum sqz_status get_operands(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                    value_of_blob **out) {
    value_of_blob *operands = sqz_arena_alloc(&b->arena, layer->n_bottoms, sizeof *operands);
    bool any_flat = false;
    if (!operands) return sqz_ncnn_no_memory(b->err);
    for (uint32_t i = 0; i < layer->n_bottoms; i++) {
        SQZ_TRY(get_blob(b, layer, i, &operands[i]));
        any_flat |= operands[i].n_dims == 1 && !operands[i].pooled;
    }
    for (uint32_t i = 0; any_flat && i < layer->n_bottoms; i++)
        if (operands[i].pooled) SQZ_TRY(sqz_ncnn_flatten(b, layer->name, &operands[i]));
    *out = operands;
    return SQZ_OK;
}

static enum sqz_status convert_concat(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                      value_of_blob *value) {
    value_of_blob *operands = NULL;
    uint32_t axis = 0;
    SQZ_TRY(get_operands(b, layer, &operands));
    uint32_t *nodes = sqz_arena_alloc(&b->arena, layer->n_bottoms, sizeof *nodes);
    if (!nodes) return sqz_ncnn_no_memory(b->err);
    *value = operands[0];
    SQZ_TRY(sqz_ncnn_axis(b, layer, value, &axis));
    for (uint32_t i = 0; i < layer->n_bottoms; i++) {
        nodes[i] = operands[i].node;
        if (operands[i].n_dims != value->n_dims)
            return sqz_ncnn_fail(b, layer, SQZ_SHAPE, "its inputs have %u and %u dimensions", value->n_dims,
                                 operands[i].n_dims);
        if (i == 0 || axis != 1) continue;
        bool known = value->channels && operands[i].channels;
        if (!known || __builtin_add_overflow(value->channels, operands[i].channels, &value->channels))
            value->channels = 0;
    }
    SQZ_TRY(sqz_ncnn_add_node(b, SQZ_OP_CONCAT, layer->name, "", nodes, layer->n_bottoms, value));
    sqz_ncnn_params_of(b, value)->concat.axis = axis;
    return SQZ_OK;
}

/* y = a op b; the result has the larger operand's shape. */
static enum sqz_status add_binary(struct sqz_ncnn_builder *b, enum sqz_op op, const struct sqz_ncnn_layer *layer,
                                  const value_of_blob *other, value_of_blob *value) {
    uint32_t inputs[2] = {value->node, other->node};
    if (other->n_dims > value->n_dims) *value = *other;
    return sqz_ncnn_add_node(b, op, layer->name, "", inputs, 2, value);
}

enum binary_op { BINARY_ADD, BINARY_SUB, BINARY_MUL, BINARY_DIV, BINARY_MAX, BINARY_MIN, BINARY_RSUB = 7 };

static enum sqz_status add_clip(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer, float low, float high,
                                value_of_blob *value) {
    SQZ_TRY(sqz_ncnn_add_unary(b, SQZ_OP_CLIP, layer, value));
    sqz_ncnn_params_of(b, value)->clip.low = low;
    sqz_ncnn_params_of(b, value)->clip.high = high;
    return SQZ_OK;
}

static enum sqz_status convert_scalar_op(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer, int32_t op,
                                         value_of_blob *value) {
    float scalar;
    SQZ_TRY(sqz_ncnn_float(layer, 2, 0, &scalar, b->err));
    switch (op) {
    case BINARY_ADD:
        return sqz_ncnn_add_affine(b, layer, "", 1, scalar, value);
    case BINARY_SUB:
        return sqz_ncnn_add_affine(b, layer, "", 1, -scalar, value);
    case BINARY_MUL:
        return sqz_ncnn_add_affine(b, layer, "", scalar, 0, value);
    case BINARY_DIV:
        if (scalar == 0) return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "it divides by zero");
        return sqz_ncnn_add_affine(b, layer, "", 1 / scalar, 0, value);
    case BINARY_RSUB:
        return sqz_ncnn_add_affine(b, layer, "", -1, scalar, value);
    case BINARY_MAX:
        return add_clip(b, layer, scalar, FLT_MAX, value);
    case BINARY_MIN:
        return add_clip(b, layer, -FLT_MAX, scalar, value);
    default:
        return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "operation %d with a number is not supported", op);
    }
}

static enum sqz_status convert_binary(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                      value_of_blob *value) {
    int32_t op, with_scalar;
    value_of_blob *operands = NULL;
    const struct sqz_ncnn_int_param params[] = {{0, 0, 0, &op}, {1, 0, 0, &with_scalar}};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, params, 2));
    if (with_scalar) return convert_scalar_op(b, layer, op, value);
    if (layer->n_bottoms != 2)
        return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "it has %u inputs where 2 are needed", layer->n_bottoms);
    SQZ_TRY(get_operands(b, layer, &operands));
    bool subtract = op == BINARY_SUB || op == BINARY_RSUB;
    if (op != BINARY_ADD && op != BINARY_MUL && !subtract)
        return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "operation %d on two blobs is not supported", op);
    if (subtract) SQZ_TRY(sqz_ncnn_add_affine(b, layer, "_negate", -1, 0, &operands[op == BINARY_SUB]));
    *value = operands[0];
    return add_binary(b, op == BINARY_MUL ? SQZ_OP_MUL : SQZ_OP_ADD, layer, &operands[1], value);
}

/* 0 product, 1 sum (with optional coefficients), 2 maximum. */
static enum sqz_status convert_eltwise(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                       value_of_blob *value) {
    int32_t op;
    size_t n_coefficients;
    value_of_blob *operands = NULL;
    SQZ_TRY(sqz_ncnn_int(layer, 0, 0, &op, b->err));
    if (op != 0 && op != 1) return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "operation %d is not supported", op);
    float *coefficients = sqz_arena_alloc(&b->arena, layer->n_bottoms, sizeof *coefficients);
    if (!coefficients) return sqz_ncnn_no_memory(b->err);
    SQZ_TRY(sqz_ncnn_floats(layer, 1, layer->n_bottoms, coefficients, &n_coefficients, b->err));
    SQZ_TRY(get_operands(b, layer, &operands));
    for (size_t i = 0; op == 1 && i < n_coefficients; i++)
        if (coefficients[i] != 1) SQZ_TRY(sqz_ncnn_add_affine(b, layer, "_scaled", coefficients[i], 0, &operands[i]));
    *value = operands[0];
    for (uint32_t i = 1; i < layer->n_bottoms; i++)
        SQZ_TRY(add_binary(b, op == 0 ? SQZ_OP_MUL : SQZ_OP_ADD, layer, &operands[i], value));
    return SQZ_OK;
}

/* Split and Noop: every output is the input. */
static enum sqz_status convert_alias(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                     value_of_blob *value) {
    (void)b, (void)layer, (void)value;
    return SQZ_OK;
}

static const struct sqz_ncnn_converter joining_converters[] = {
    {"Split", 1, 1, convert_alias},
    {"Noop", 1, 1, convert_alias},
    {"Concat", 1, SQZ_MAX_NODES, convert_concat},
    {"BinaryOp", 1, 2, convert_binary},
    {"Eltwise", 2, SQZ_MAX_NODES, convert_eltwise},
    {NULL, 0, 0, NULL},
};

/* ---- the whole net ------------------------------------------------------- */

static const struct sqz_ncnn_converter *find_converter(const char *type) {
    const struct sqz_ncnn_converter *const tables[] = {joining_converters, sqz_ncnn_window_converters,
                                                       sqz_ncnn_element_converters};
    for (size_t t = 0; t < sizeof tables / sizeof *tables; t++)
        for (const struct sqz_ncnn_converter *row = tables[t]; row->type; row++)
            if (strcmp(row->type, type) == 0) return row;
    return NULL;
}

static enum sqz_status convert_input(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer) {
    if (layer->n_tops != 1) return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "it has %u outputs", layer->n_tops);
    value_of_blob value = {.node = 0, .n_dims = 3, .channels = b->model->input.channels};
    return set_blob(b, layer->tops[0], &value);
}

static enum sqz_status convert_layer(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer) {
    if (strcmp(layer->type, "Input") == 0) return convert_input(b, layer);
    const struct sqz_ncnn_converter *converter = find_converter(layer->type);
    value_of_blob value = {0};
    if (!converter) return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "this type of layer is not supported");
    if (layer->n_bottoms < converter->min_bottoms || layer->n_bottoms > converter->max_bottoms)
        return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "it has %u inputs", layer->n_bottoms);
    bool is_alias = converter->convert == convert_alias;
    if (layer->n_tops == 0 || (layer->n_tops > 1 && !is_alias))
        return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "it has %u outputs", layer->n_tops);
    SQZ_TRY(get_blob(b, layer, 0, &value));
    SQZ_TRY(converter->convert(b, layer, &value));
    for (uint32_t i = 0; i < layer->n_tops; i++) SQZ_TRY(set_blob(b, layer->tops[i], &value));
    return SQZ_OK;
}

/* The node that no other node uses, which must be one. */
static enum sqz_status find_output(struct sqz_ncnn_builder *b, uint32_t *out) {
    const struct sqz_model *model = b->model;
    bool *used = sqz_arena_alloc(&b->arena, model->n_nodes, sizeof *used);
    size_t n_results = 0;
    if (!used) return sqz_ncnn_no_memory(b->err);
    for (size_t i = 0; i < model->n_nodes; i++)
        for (uint32_t k = 0; k < model->nodes[i].n_inputs; k++) used[model->nodes[i].inputs[k]] = true;
    for (size_t i = 0; i < model->n_nodes; i++) {
        if (used[i]) continue;
        if (n_results++)
            return sqz_fail(b->err, SQZ_UNSUPPORTED, "the net has more than one result (%s and %s)",
                            model->nodes[*out].name, model->nodes[i].name);
        *out = (uint32_t)i;
    }
    return SQZ_OK;
}

enum sqz_status sqz_ncnn_build(struct sqz_ncnn_builder *b) {
    uint32_t output = 0;
    for (size_t i = 0; i < b->net.n_layers; i++) SQZ_TRY(convert_layer(b, &b->net.layers[i]));
    size_t left = sqz_reader_left(&b->weights.reader);
    if (left)
        return sqz_fail(b->err, SQZ_MALFORMED,
                        "%zu bytes follow the weights of the last layer, %s, at byte %zu of the weights file", left,
                        b->net.n_layers ? b->net.layers[b->net.n_layers - 1].name : "(none)", b->weights.reader.offset);
    SQZ_TRY(find_output(b, &output));
    for (size_t i = 0; i < b->n_values; i++) {
        value_of_blob value = b->values[i];
        if (value.node != output || !value.pooled) continue;
        SQZ_TRY(sqz_ncnn_flatten(b, b->model->nodes[output].name, &value));
        output = value.node;
        break;
    }
    b->model->output = output;
    return SQZ_OK;
}
