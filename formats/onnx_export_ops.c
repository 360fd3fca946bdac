/* onnx_export_ops.c - nodes of a model as ONNX operators of operator set 13. */
#include <string.h>

#include "formats/onnx_export.h"

/* Values of AttributeProto.type. */
#define TYPE_FLOAT 1
#define TYPE_INT 2
#define TYPE_INTS 7

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

/* Attributes of the widest operator: AveragePool has six. */
#define MAX_ATTRIBUTES 8

/*
 * Append an operator. inputs are n names; the result gets the name `output`.
 * *out (may be NULL) is the node, for its attributes.
 */
static enum sqz_status add(struct onnx_export *export, const char *op_type, const char *name, const char *const *inputs,
                           size_t n, const char *output, Onnx__Node **out, struct sqz_error *err) {
    Onnx__Node *node = sqz_arena_alloc(&export->arena, 1, sizeof *node);
    char **list = sqz_arena_alloc(&export->arena, n + 1, sizeof *list);
    Onnx__Attribute **attributes = sqz_arena_alloc(&export->arena, MAX_ATTRIBUTES, sizeof *attributes);
    if (!node || !list || !attributes || !output) return no_memory(err);
    onnx__node__init(node);
    for (size_t i = 0; i < n; i++) list[i] = (char *)inputs[i];
    list[n] = (char *)output;
    node->op_type = (char *)op_type;
    node->name = (char *)name;
    node->input = list;
    node->n_input = n;
    node->output = list + n;
    node->n_output = 1;
    node->attribute = attributes;
    export->nodes[export->n_nodes++] = node;
    if (out) *out = node;
    return SQZ_OK;
}

static Onnx__Attribute *attribute(struct onnx_export *export, Onnx__Node *node, const char *name, int32_t type) {
    Onnx__Attribute *a = sqz_arena_alloc(&export->arena, 1, sizeof *a);
    if (!a) return NULL;
    onnx__attribute__init(a);
    a->name = (char *)name;
    a->has_type = 1;
    a->type = type;
    node->attribute[node->n_attribute++] = a;
    return a;
}

static enum sqz_status set_int(struct onnx_export *export, Onnx__Node *node, const char *name, int64_t value,
                               struct sqz_error *err) {
    Onnx__Attribute *a = attribute(export, node, name, TYPE_INT);
    if (!a) return no_memory(err);
    a->has_i = 1;
    a->i = value;
    return SQZ_OK;
}

static enum sqz_status set_float(struct onnx_export *export, Onnx__Node *node, const char *name, float value,
                                 struct sqz_error *err) {
    Onnx__Attribute *a = attribute(export, node, name, TYPE_FLOAT);
    if (!a) return no_memory(err);
    a->has_f = 1;
    a->f = value;
    return SQZ_OK;
}

static enum sqz_status set_ints(struct onnx_export *export, Onnx__Node *node, const char *name, const uint32_t *values,
                                size_t n, struct sqz_error *err) {
    Onnx__Attribute *a = attribute(export, node, name, TYPE_INTS);
    int64_t *list = sqz_arena_alloc(&export->arena, n, sizeof *list);
    if (!a || !list) return no_memory(err);
    for (size_t i = 0; i < n; i++) list[i] = values[i];
    a->ints = list;
    a->n_ints = n;
    return SQZ_OK;
}

static enum sqz_status refuse(const struct sqz_node *node, const char *reason, struct sqz_error *err) {
    return sqz_fail(err, SQZ_UNSUPPORTED, "%s node %s cannot be written as ONNX: %s", sqz_op_name(node->op), node->name,
                    reason);
}

/* What every translation needs of its node. */
struct item {
    const struct sqz_node *node;
    const char *name;              /* for the ONNX node: the model's name, made unique */
    const char *in;                /* name of the first input */
    const char *result;            /* name of the output */
    const struct sqz_shape *shape; /* of the first input */
    const struct sqz_shape *to;    /* of the result */
};

/* ---- windows ---------------------------------------------------------------------- */

static enum sqz_status set_window(struct onnx_export *export, Onnx__Node *node, const struct sqz_window *w,
                                  struct sqz_error *err) {
    uint32_t kernel[2] = {w->kernel_h, w->kernel_w}, stride[2] = {w->stride_h, w->stride_w};
    uint32_t pads[4] = {w->pad_top, w->pad_left, w->pad_bottom, w->pad_right};
    SQZ_TRY(set_ints(export, node, "kernel_shape", kernel, 2, err));
    SQZ_TRY(set_ints(export, node, "strides", stride, 2, err));
    return set_ints(export, node, "pads", pads, 4, err);
}

static enum sqz_status export_conv(struct onnx_export *export, const struct item *item, struct sqz_error *err) {
    const struct sqz_window *w = &item->node->params.conv.window;
    const char *inputs[3] = {item->in};
    bool bias = item->node->bias != SQZ_NO_WEIGHT;
    uint32_t dilation[2] = {w->dilation_h, w->dilation_w};
    Onnx__Node *node;
    SQZ_TRY(sqz_onnx_export_weight(export, item->node->kernel, &inputs[1], err));
    if (bias) SQZ_TRY(sqz_onnx_export_weight(export, item->node->bias, &inputs[2], err));
    SQZ_TRY(add(export, "Conv", item->name, inputs, bias ? 3 : 2, item->result, &node, err));
    SQZ_TRY(set_window(export, node, w, err));
    SQZ_TRY(set_ints(export, node, "dilations", dilation, 2, err));
    return set_int(export, node, "group", item->node->params.conv.groups, err);
}

/* One dimension of a pooling window: output sizes by both roundings, and how far the last window hangs over. */
struct side {
    uint64_t floor, ceil, out, overhang;
};

static struct side measure(uint64_t in, uint64_t out, uint32_t kernel, uint32_t stride, uint32_t dilation,
                           uint32_t begin, uint32_t end) {
    uint64_t span = (uint64_t)dilation * (kernel - 1) + 1, padded = in + begin + end, reach = (out - 1) * stride + span;
    struct side side = {.out = out};
    side.floor = (padded - span) / stride + 1;
    side.ceil = (padded - span + stride - 1) / stride + 1;
    side.overhang = reach > padded ? reach - padded : 0;
    return side;
}

/*
 * Runtimes agree on floor, and on ceil where no window begins in the padding
 * at the end. What is left is written as floor with longer padding, which is
 * the same for a maximum and for an average of the elements inside the image.
 * An average over the whole kernel counts that longer padding, which is what
 * SQZ_DIVISOR_KERNEL means.
 */
static enum sqz_status export_pool(struct onnx_export *export, const struct item *item, struct sqz_error *err) {
    bool average = item->node->op == SQZ_OP_AVERAGE_POOL, ceil_mode = item->node->params.pool.ceil_mode;
    struct sqz_window w = item->node->params.pool.window;
    enum sqz_divisor divisor = item->node->params.pool.divisor;
    struct side h =
        measure(item->shape->dim[2], item->to->dim[2], w.kernel_h, w.stride_h, w.dilation_h, w.pad_top, w.pad_bottom);
    struct side v =
        measure(item->shape->dim[3], item->to->dim[3], w.kernel_w, w.stride_w, w.dilation_w, w.pad_left, w.pad_right);
    bool padded = w.pad_top || w.pad_left || w.pad_bottom || w.pad_right;
    if (divisor == SQZ_DIVISOR_PADDED && !padded) divisor = SQZ_DIVISOR_VALID;
    bool overhangs = h.overhang || v.overhang;
    bool plain_ceil = ceil_mode && h.out == h.ceil && v.out == v.ceil;
    bool lengthen = (ceil_mode && !plain_ceil && overhangs) || (average && divisor == SQZ_DIVISOR_KERNEL && overhangs);
    if (lengthen) {
        if (average && divisor == SQZ_DIVISOR_PADDED)
            return refuse(item->node, "no ONNX operator has its divisor at the border", err);
        w.pad_bottom += (uint32_t)h.overhang;
        w.pad_right += (uint32_t)v.overhang;
        if (w.pad_bottom >= w.kernel_h || w.pad_right >= w.kernel_w)
            return refuse(item->node, "its last window would lie in the padding", err);
    }
    if (average && (w.dilation_h != 1 || w.dilation_w != 1))
        return refuse(item->node, "averages with dilation came after operator set 13", err);
    Onnx__Node *node;
    SQZ_TRY(add(export, average ? "AveragePool" : "MaxPool", item->name, &item->in, 1, item->result, &node, err));
    SQZ_TRY(set_window(export, node, &w, err));
    SQZ_TRY(set_int(export, node, "ceil_mode", plain_ceil && !lengthen, err));
    if (average) return set_int(export, node, "count_include_pad", divisor != SQZ_DIVISOR_VALID, err);
    uint32_t dilation[2] = {w.dilation_h, w.dilation_w};
    return set_ints(export, node, "dilations", dilation, 2, err);
}

/* Cells of equal size are an ordinary average; others have no ONNX operator. */
static enum sqz_status export_adaptive_pool(struct onnx_export *export, const struct item *item,
                                            struct sqz_error *err) {
    uint64_t in_h = item->shape->dim[2], in_w = item->shape->dim[3], out_h = item->to->dim[2], out_w = item->to->dim[3];
    Onnx__Node *node;
    if (out_h == 1 && out_w == 1)
        return add(export, "GlobalAveragePool", item->name, &item->in, 1, item->result, NULL, err);
    if (in_h % out_h || in_w % out_w) return refuse(item->node, "its cells differ in size", err);
    struct sqz_window w = {.kernel_h = (uint32_t)(in_h / out_h), .kernel_w = (uint32_t)(in_w / out_w)};
    w.stride_h = w.kernel_h;
    w.stride_w = w.kernel_w;
    SQZ_TRY(add(export, "AveragePool", item->name, &item->in, 1, item->result, &node, err));
    return set_window(export, node, &w, err);
}

static enum sqz_status export_pad(struct onnx_export *export, const struct item *item, struct sqz_error *err) {
    const union sqz_params *p = &item->node->params;
    int64_t pads[8] = {0, 0, p->pad.top, p->pad.left, 0, 0, p->pad.bottom, p->pad.right};
    const char *inputs[3] = {item->in};
    SQZ_TRY(sqz_onnx_export_integers(export, item->name, ".pads", pads, 8, &inputs[1], err));
    SQZ_TRY(sqz_onnx_export_floats(export, item->name, ".value", &p->pad.value, 1, true, &inputs[2], err));
    return add(export, "Pad", item->name, inputs, 3, item->result, NULL, err);
}

/* ---- layers with weights ---------------------------------------------------------------- */

static enum sqz_status export_dense(struct onnx_export *export, const struct item *item, struct sqz_error *err) {
    const char *inputs[3] = {item->in};
    bool bias = item->node->bias != SQZ_NO_WEIGHT;
    Onnx__Node *node;
    if (item->shape->rank != 2) {
        const char *flat = sqz_onnx_unique_name(export, item->name, ".flat");
        SQZ_TRY(add(export, "Flatten", flat, inputs, 1, flat, &node, err));
        SQZ_TRY(set_int(export, node, "axis", 1, err));
        inputs[0] = flat;
    }
    SQZ_TRY(sqz_onnx_export_weight(export, item->node->kernel, &inputs[1], err));
    if (bias) SQZ_TRY(sqz_onnx_export_weight(export, item->node->bias, &inputs[2], err));
    SQZ_TRY(add(export, "Gemm", item->name, inputs, bias ? 3 : 2, item->result, &node, err));
    return set_int(export, node, "transB", 1, err);
}

/* A vector of equal values, shared by all nodes that need it. */
static enum sqz_status constant_vector(struct onnx_export *export, const char *name, float value, size_t n,
                                       const char **out, struct sqz_error *err) {
    for (size_t i = 0; i < export->n_initialisers; i++) {
        const struct onnx_initialiser *known = &export->initialisers[i];
        if (known->weight != SIZE_MAX || known->header->n_dims != 1 || known->header->dims[0] != (int64_t)n) continue;
        if (strncmp(known->header->name, name, strlen(name)) != 0) continue;
        *out = known->header->name;
        return SQZ_OK;
    }
    float *values = sqz_alloc(n, sizeof *values);
    if (!values) return no_memory(err);
    for (size_t i = 0; i < n; i++) values[i] = value;
    enum sqz_status status = sqz_onnx_export_floats(export, name, "", values, n, false, out, err);
    sqz_free(values);
    return status;
}

/* Batch normalisation with mean 0, variance 1 and epsilon 0 multiplies by its scale and adds its bias, exactly. */
static enum sqz_status export_scale(struct onnx_export *export, const struct item *item, struct sqz_error *err) {
    const char *inputs[5] = {item->in};
    size_t channels = (size_t)item->shape->dim[1];
    Onnx__Node *node;
    SQZ_TRY(sqz_onnx_export_weight(export, item->node->kernel, &inputs[1], err));
    if (item->node->bias != SQZ_NO_WEIGHT)
        SQZ_TRY(sqz_onnx_export_weight(export, item->node->bias, &inputs[2], err));
    else
        SQZ_TRY(constant_vector(export, "sqz.zeros", 0, channels, &inputs[2], err));
    SQZ_TRY(constant_vector(export, "sqz.zeros", 0, channels, &inputs[3], err));
    SQZ_TRY(constant_vector(export, "sqz.ones", 1, channels, &inputs[4], err));
    SQZ_TRY(add(export, "BatchNormalization", item->name, inputs, 5, item->result, &node, err));
    return set_float(export, node, "epsilon", 0, err);
}

/* ---- the rest -------------------------------------------------------------------------------- */

static enum sqz_status export_hard_swish(struct onnx_export *export, const struct item *item, struct sqz_error *err) {
    const char *inputs[2] = {item->in, sqz_onnx_unique_name(export, item->name, ".gate")};
    Onnx__Node *node;
    SQZ_TRY(add(export, "HardSigmoid", inputs[1], inputs, 1, inputs[1], &node, err));
    SQZ_TRY(set_float(export, node, "alpha", 1.0f / 6, err));
    SQZ_TRY(set_float(export, node, "beta", 0.5f, err));
    return add(export, "Mul", item->name, inputs, 2, item->result, NULL, err);
}

static enum sqz_status export_clip(struct onnx_export *export, const struct item *item, struct sqz_error *err) {
    const char *inputs[3] = {item->in};
    SQZ_TRY(sqz_onnx_export_floats(export, item->name, ".min", &item->node->params.clip.low, 1, true, &inputs[1], err));
    SQZ_TRY(
        sqz_onnx_export_floats(export, item->name, ".max", &item->node->params.clip.high, 1, true, &inputs[2], err));
    return add(export, "Clip", item->name, inputs, 3, item->result, NULL, err);
}

static enum sqz_status export_reshape(struct onnx_export *export, const struct item *item, struct sqz_error *err) {
    const union sqz_params *p = &item->node->params;
    const char *inputs[2] = {item->in};
    SQZ_TRY(sqz_onnx_export_integers(export, item->name, ".shape", p->reshape.dim, p->reshape.rank, &inputs[1], err));
    return add(export, "Reshape", item->name, inputs, 2, item->result, NULL, err);
}

static enum sqz_status export_concat(struct onnx_export *export, const struct item *item, const char *op_type,
                                     struct sqz_error *err) {
    Onnx__Node *node;
    uint32_t n = item->node->n_inputs;
    const char **inputs = sqz_arena_alloc(&export->arena, n, sizeof *inputs);
    if (!inputs) return no_memory(err);
    for (uint32_t i = 0; i < n; i++) inputs[i] = export->values[item->node->inputs[i]];
    SQZ_TRY(add(export, op_type, item->name, inputs, n, item->result, &node, err));
    if (item->node->op != SQZ_OP_CONCAT) return SQZ_OK;
    return set_int(export, node, "axis", item->node->params.concat.axis, err);
}

static enum sqz_status export_lrn(struct onnx_export *export, const struct item *item, struct sqz_error *err) {
    const union sqz_params *p = &item->node->params;
    Onnx__Node *node;
    SQZ_TRY(add(export, "LRN", item->name, &item->in, 1, item->result, &node, err));
    SQZ_TRY(set_float(export, node, "alpha", p->lrn.alpha, err));
    SQZ_TRY(set_float(export, node, "beta", p->lrn.beta, err));
    SQZ_TRY(set_float(export, node, "bias", p->lrn.k, err));
    return set_int(export, node, "size", p->lrn.size, err);
}

/* An operator of one input whose only attribute, if any, is an axis or a slope. */
static enum sqz_status export_simple(struct onnx_export *export, const struct item *item, const char *op_type,
                                     struct sqz_error *err) {
    Onnx__Node *node;
    SQZ_TRY(add(export, op_type, item->name, &item->in, 1, item->result, &node, err));
    switch (item->node->op) {
    case SQZ_OP_LEAKY_RELU:
        return set_float(export, node, "alpha", item->node->params.leaky_relu.slope, err);
    case SQZ_OP_FLATTEN:
        return set_int(export, node, "axis", 1, err);
    case SQZ_OP_SOFTMAX:
        return set_int(export, node, "axis", item->node->params.softmax.axis, err);
    default:
        return SQZ_OK;
    }
}

enum sqz_status sqz_onnx_export_node(struct onnx_export *export, size_t index, struct sqz_error *err) {
    const struct sqz_node *node = &export->model->nodes[index];
    struct item item = {.node = node,
                        .name = export->values[index],
                        .in = export->values[node->inputs[0]],
                        .result = export->values[index],
                        .shape = &export->shapes[node->inputs[0]],
                        .to = &export->shapes[index]};
    /* The result of the net is called "output"; its node keeps its own name. */
    if (index == export->model->output) item.name = sqz_onnx_unique_name(export, node->name, "");
    if (!item.name) return no_memory(err);
    switch (node->op) {
    case SQZ_OP_CONV:
        return export_conv(export, &item, err);
    case SQZ_OP_DENSE:
        return export_dense(export, &item, err);
    case SQZ_OP_RELU:
        return export_simple(export, &item, "Relu", err);
    case SQZ_OP_LEAKY_RELU:
        return export_simple(export, &item, "LeakyRelu", err);
    case SQZ_OP_SIGMOID:
        return export_simple(export, &item, "Sigmoid", err);
    case SQZ_OP_TANH:
        return export_simple(export, &item, "Tanh", err);
    case SQZ_OP_HARD_SWISH:
        return export_hard_swish(export, &item, err);
    case SQZ_OP_CLIP:
        return export_clip(export, &item, err);
    case SQZ_OP_MAX_POOL:
    case SQZ_OP_AVERAGE_POOL:
        return export_pool(export, &item, err);
    case SQZ_OP_GLOBAL_AVERAGE_POOL:
        return export_simple(export, &item, "GlobalAveragePool", err);
    case SQZ_OP_ADAPTIVE_AVERAGE_POOL:
        return export_adaptive_pool(export, &item, err);
    case SQZ_OP_LRN:
        return export_lrn(export, &item, err);
    case SQZ_OP_SCALE:
        return export_scale(export, &item, err);
    case SQZ_OP_CONCAT:
        return export_concat(export, &item, "Concat", err);
    case SQZ_OP_ADD:
        return export_concat(export, &item, "Add", err);
    case SQZ_OP_MUL:
        return export_concat(export, &item, "Mul", err);
    case SQZ_OP_FLATTEN:
        return export_simple(export, &item, "Flatten", err);
    case SQZ_OP_RESHAPE:
        return export_reshape(export, &item, err);
    case SQZ_OP_DROPOUT:
        return export_simple(export, &item, "Dropout", err);
    case SQZ_OP_SOFTMAX:
        return export_simple(export, &item, "Softmax", err);
    case SQZ_OP_PAD:
        return export_pad(export, &item, err);
    default:
        return refuse(node, "the operator is not known", err);
    }
}
