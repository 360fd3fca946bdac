/* infer.c - shape inference over a model's graph. */
#include "lib/infer.h"

#include <inttypes.h>

uint64_t sqz_window_output(uint64_t in, uint32_t kernel, uint32_t stride, uint32_t dilation, uint32_t pad_begin,
                           uint32_t pad_end, bool ceil_mode) {
    if (kernel == 0 || stride == 0 || dilation == 0 || in == 0) return 0;
    uint64_t span = (uint64_t)dilation * (kernel - 1) + 1;
    uint64_t padded = in + pad_begin + pad_end;
    if (padded < span) return 0;
    uint64_t out = (padded - span + (ceil_mode ? stride - 1 : 0)) / stride + 1;
    /* A window of ceil mode must start inside the image or its begin padding (Caffe's clip, PyTorch's rule). */
    if (ceil_mode && (out - 1) * stride >= in + pad_begin) out--;
    return out;
}

/* Elements of one value: 4 GiB of floats, a batch of 300 images behind VGG-16's first layer. */
#define MAX_VALUE_COUNT ((size_t)1 << 30)

static enum sqz_status misfit(struct sqz_error *err, const struct sqz_node *node, const char *what,
                              const struct sqz_shape *a, const struct sqz_shape *b) {
    char text_a[SQZ_SHAPE_TEXT], text_b[SQZ_SHAPE_TEXT];
    if (!b)
        return sqz_fail(err, SQZ_SHAPE, "%s node %s: %s (input %s)", sqz_op_name(node->op), node->name, what,
                        sqz_shape_format(a, text_a));
    return sqz_fail(err, SQZ_SHAPE, "%s node %s: %s (%s and %s)", sqz_op_name(node->op), node->name, what,
                    sqz_shape_format(a, text_a), sqz_shape_format(b, text_b));
}

static bool window_is_valid(const struct sqz_window *w) {
    return w->kernel_h && w->kernel_w && w->stride_h && w->stride_w && w->dilation_h && w->dilation_w;
}

static enum sqz_status slide_window(const struct sqz_node *node, const struct sqz_window *w, bool ceil_mode,
                                    const struct sqz_shape *in, struct sqz_shape *out, struct sqz_error *err) {
    if (in->rank != 4) return misfit(err, node, "needs a rank-4 input", in, NULL);
    if (!window_is_valid(w)) return misfit(err, node, "a kernel size, stride or dilation is zero", in, NULL);
    out->dim[2] = sqz_window_output(in->dim[2], w->kernel_h, w->stride_h, w->dilation_h, w->pad_top, w->pad_bottom,
                                    ceil_mode);
    out->dim[3] = sqz_window_output(in->dim[3], w->kernel_w, w->stride_w, w->dilation_w, w->pad_left, w->pad_right,
                                    ceil_mode);
    if (out->dim[2] == 0 || out->dim[3] == 0)
        return misfit(err, node, "the kernel is larger than its padded input", in, NULL);
    return SQZ_OK;
}

static enum sqz_status check_vector(const struct sqz_model *model, const struct sqz_node *node, uint32_t index,
                                    uint64_t length, struct sqz_error *err) {
    if (index == SQZ_NO_WEIGHT) return SQZ_OK;
    const struct sqz_weight *weight = &model->weights[index];
    if (weight->shape.rank == 1 && weight->shape.dim[0] == length) return SQZ_OK;
    char text[SQZ_SHAPE_TEXT];
    return sqz_fail(err, SQZ_SHAPE, "%s node %s: %s has shape %s where %" PRIu64 " values are needed",
                    sqz_op_name(node->op), node->name, weight->name, sqz_shape_format(&weight->shape, text), length);
}

static enum sqz_status infer_conv(const struct sqz_model *model, const struct sqz_node *node,
                                  const struct sqz_shape *in, struct sqz_shape *out, struct sqz_error *err) {
    const struct sqz_window *w = &node->params.conv.window;
    const struct sqz_shape *kernel = &model->weights[node->kernel].shape;
    uint32_t groups = node->params.conv.groups;
    if (kernel->rank != 4) return misfit(err, node, "the kernel's rank is not 4", in, kernel);
    if (kernel->dim[2] != w->kernel_h || kernel->dim[3] != w->kernel_w)
        return misfit(err, node, "the kernel's shape differs from the window", in, kernel);
    SQZ_TRY(slide_window(node, w, false, in, out, err));
    if (groups == 0 || kernel->dim[0] == 0 || kernel->dim[0] % groups || in->dim[1] % groups)
        return misfit(err, node, "the groups do not divide the channels", in, kernel);
    if (kernel->dim[1] != in->dim[1] / groups)
        return misfit(err, node, "the kernel's channels do not fit the input", in, kernel);
    out->dim[1] = kernel->dim[0];
    return check_vector(model, node, node->bias, kernel->dim[0], err);
}

static enum sqz_status flatten(const struct sqz_node *node, const struct sqz_shape *in, struct sqz_shape *out,
                               struct sqz_error *err) {
    uint64_t features = 1;
    if (in->rank < 1) return misfit(err, node, "cannot flatten a scalar", in, NULL);
    for (uint32_t i = 1; i < in->rank; i++)
        if (__builtin_mul_overflow(features, in->dim[i], &features)) return misfit(err, node, "too large", in, NULL);
    *out = sqz_shape2(in->dim[0], features);
    return SQZ_OK;
}

static enum sqz_status infer_dense(const struct sqz_model *model, const struct sqz_node *node,
                                   const struct sqz_shape *in, struct sqz_shape *out, struct sqz_error *err) {
    const struct sqz_shape *kernel = &model->weights[node->kernel].shape;
    SQZ_TRY(flatten(node, in, out, err));
    if (kernel->rank != 2 || kernel->dim[0] == 0 || kernel->dim[1] != out->dim[1])
        return misfit(err, node, "the kernel does not fit the input", in, kernel);
    out->dim[1] = kernel->dim[0];
    return check_vector(model, node, node->bias, kernel->dim[0], err);
}

static enum sqz_status infer_concat(const struct sqz_node *node, const struct sqz_shape *shapes,
                                    struct sqz_shape *out, struct sqz_error *err) {
    uint32_t axis = node->params.concat.axis;
    *out = shapes[node->inputs[0]];
    if (axis == 0 || axis >= out->rank) return misfit(err, node, "the axis does not exist", out, NULL);
    for (uint32_t i = 1; i < node->n_inputs; i++) {
        const struct sqz_shape *in = &shapes[node->inputs[i]];
        if (in->rank != out->rank) return misfit(err, node, "the ranks differ", out, in);
        for (uint32_t d = 0; d < in->rank; d++)
            if (d != axis && in->dim[d] != out->dim[d]) return misfit(err, node, "the inputs differ", out, in);
        if (__builtin_add_overflow(out->dim[axis], in->dim[axis], &out->dim[axis]))
            return misfit(err, node, "too large", out, in);
    }
    return SQZ_OK;
}

/* Equal shapes, or one operand [n][c][1][1] that is broadcast over the other's height and width. */
static enum sqz_status infer_elementwise(const struct sqz_node *node, const struct sqz_shape *shapes,
                                         struct sqz_shape *out, struct sqz_error *err) {
    const struct sqz_shape *a = &shapes[node->inputs[0]], *b = &shapes[node->inputs[1]];
    *out = *a;
    if (sqz_shape_equal(a, b)) return SQZ_OK;
    if (a->rank == 4 && b->rank == 4 && a->dim[0] == b->dim[0] && a->dim[1] == b->dim[1]) {
        if (b->dim[2] == 1 && b->dim[3] == 1) return SQZ_OK;
        if (a->dim[2] == 1 && a->dim[3] == 1) {
            *out = *b;
            return SQZ_OK;
        }
    }
    return misfit(err, node, "the inputs differ", a, b);
}

static enum sqz_status infer_reshape(const struct sqz_node *node, const struct sqz_shape *in, struct sqz_shape *out,
                                     struct sqz_error *err) {
    uint32_t rank = node->params.reshape.rank;
    uint64_t known = 1, total = 1;
    int inferred = -1;
    if (rank < 1 || rank > SQZ_MAX_RANK) return misfit(err, node, "the rank is out of range", in, NULL);
    out->rank = rank;
    for (uint32_t i = 0; i < rank; i++) {
        int64_t dim = node->params.reshape.dim[i];
        if (dim < -1 || (dim == 0 && i >= in->rank) || (dim == -1 && inferred >= 0) || (i == 0 && dim != 0))
            return misfit(err, node, "the target shape is not valid", in, NULL);
        if (dim == -1) {
            inferred = (int)i;
            continue;
        }
        out->dim[i] = dim == 0 ? in->dim[i] : (uint64_t)dim;
        if (__builtin_mul_overflow(known, out->dim[i], &known)) return misfit(err, node, "too large", in, NULL);
    }
    for (uint32_t i = 0; i < in->rank; i++) total *= in->dim[i];
    if (inferred >= 0) {
        if (known == 0 || total % known) return misfit(err, node, "the size cannot be inferred", in, NULL);
        out->dim[inferred] = total / known;
    } else if (known != total) {
        return misfit(err, node, "the number of elements changes", in, out);
    }
    return SQZ_OK;
}

static enum sqz_status infer_scale(const struct sqz_model *model, const struct sqz_node *node,
                                   const struct sqz_shape *in, struct sqz_shape *out, struct sqz_error *err) {
    if (in->rank < 2) return misfit(err, node, "needs a channel dimension", in, NULL);
    *out = *in;
    SQZ_TRY(check_vector(model, node, node->kernel, in->dim[1], err));
    return check_vector(model, node, node->bias, in->dim[1], err);
}

static enum sqz_status infer_pad(const struct sqz_node *node, const struct sqz_shape *in, struct sqz_shape *out,
                                 struct sqz_error *err) {
    if (in->rank != 4) return misfit(err, node, "needs a rank-4 input", in, NULL);
    *out = *in;
    out->dim[2] += (uint64_t)node->params.pad.top + node->params.pad.bottom;
    out->dim[3] += (uint64_t)node->params.pad.left + node->params.pad.right;
    return SQZ_OK;
}

static enum sqz_status infer_node(const struct sqz_model *model, const struct sqz_node *node,
                                  const struct sqz_shape *shapes, struct sqz_shape *out, struct sqz_error *err) {
    const struct sqz_shape *in = &shapes[node->inputs[0]];
    *out = *in;
    switch (node->op) {
    case SQZ_OP_CONV:
        return infer_conv(model, node, in, out, err);
    case SQZ_OP_DENSE:
        return infer_dense(model, node, in, out, err);
    case SQZ_OP_MAX_POOL:
    case SQZ_OP_AVERAGE_POOL:
        return slide_window(node, &node->params.pool.window, node->params.pool.ceil_mode, in, out, err);
    case SQZ_OP_GLOBAL_AVERAGE_POOL:
        if (in->rank != 4) return misfit(err, node, "needs a rank-4 input", in, NULL);
        out->dim[2] = out->dim[3] = 1;
        return SQZ_OK;
    case SQZ_OP_ADAPTIVE_AVERAGE_POOL:
        if (in->rank != 4) return misfit(err, node, "needs a rank-4 input", in, NULL);
        out->dim[2] = node->params.adaptive_pool.out_h;
        out->dim[3] = node->params.adaptive_pool.out_w;
        if (out->dim[2] == 0 || out->dim[3] == 0) return misfit(err, node, "the output is empty", in, NULL);
        return SQZ_OK;
    case SQZ_OP_LRN:
        if (in->rank != 4 || node->params.lrn.size == 0) return misfit(err, node, "window or rank", in, NULL);
        return SQZ_OK;
    case SQZ_OP_SCALE:
        return infer_scale(model, node, in, out, err);
    case SQZ_OP_CONCAT:
        return infer_concat(node, shapes, out, err);
    case SQZ_OP_ADD:
    case SQZ_OP_MUL:
        return infer_elementwise(node, shapes, out, err);
    case SQZ_OP_FLATTEN:
        return flatten(node, in, out, err);
    case SQZ_OP_RESHAPE:
        return infer_reshape(node, in, out, err);
    case SQZ_OP_SOFTMAX:
        if (node->params.softmax.axis == 0 || node->params.softmax.axis >= in->rank)
            return misfit(err, node, "the axis does not exist", in, NULL);
        return SQZ_OK;
    case SQZ_OP_PAD:
        return infer_pad(node, in, out, err);
    default: /* element by element */
        return SQZ_OK;
    }
}

enum sqz_status sqz_infer_node(const struct sqz_model *model, size_t index, struct sqz_shape *shapes,
                               struct sqz_error *err) {
    size_t count;
    if (index > 0) SQZ_TRY(infer_node(model, &model->nodes[index], shapes, &shapes[index], err));
    if (!sqz_shape_count(&shapes[index], &count) || count > MAX_VALUE_COUNT)
        return misfit(err, &model->nodes[index], "the value is too large", &shapes[index], NULL);
    return SQZ_OK;
}

enum sqz_status sqz_infer_shapes(const struct sqz_model *model, uint64_t n, uint64_t height, uint64_t width,
                                 struct sqz_shape *shapes, struct sqz_error *err) {
    const struct sqz_input *input = &model->input;
    shapes[0] = sqz_shape4(n, input->channels, height ? height : input->height, width ? width : input->width);
    for (size_t i = 0; i < model->n_nodes; i++) SQZ_TRY(sqz_infer_node(model, i, shapes, err));
    return SQZ_OK;
}
