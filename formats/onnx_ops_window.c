/* onnx_ops_window.c - Conv, MaxPool, AveragePool and Pad. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "formats/onnx_parts.h"

/* Bound on kernel sizes, strides, dilations and pads: beyond any image that is read. */
#define MAX_EXTENT 65535

/* A list attribute of `count` entries between low and MAX_EXTENT, or `fallback` for all when absent. */
static enum sqz_status extents(const Onnx__Node *node, const char *name, size_t count, int64_t low, uint32_t fallback,
                               uint32_t *out, struct sqz_error *err) {
    size_t n;
    const int64_t *list = sqz_onnx_ints(node, name, &n);
    char where[ONNX_WHERE_TEXT];
    for (size_t i = 0; i < count; i++) out[i] = fallback;
    if (n == 0) return SQZ_OK;
    if (n != count)
        return sqz_fail(err, SQZ_UNSUPPORTED, "%s: %s has %zu entries where images need %zu",
                        sqz_onnx_where(node, where), name, n, count);
    for (size_t i = 0; i < count; i++) {
        if (list[i] < low || list[i] > MAX_EXTENT)
            return sqz_fail(err, SQZ_MALFORMED, "%s: %s holds %" PRId64, sqz_onnx_where(node, where), name, list[i]);
        out[i] = (uint32_t)list[i];
    }
    return SQZ_OK;
}

/* Padding of one dimension that makes the output ceil(in / stride); the odd element goes to the end for SAME_UPPER. */
static void pad_same(uint64_t in, uint32_t kernel, uint32_t stride, uint32_t dilation, bool upper, uint32_t *begin,
                     uint32_t *end) {
    uint64_t out = (in + stride - 1) / stride, span = (uint64_t)dilation * (kernel - 1) + 1;
    uint64_t needed = out ? (out - 1) * stride + span : 0, total = needed > in ? needed - in : 0;
    *begin = (uint32_t)(upper ? total / 2 : (total + 1) / 2);
    *end = (uint32_t)(total - *begin);
}

/* kernel[0] = 0: kernel_shape is required. */
static enum sqz_status read_window(const Onnx__Node *node, const struct sqz_shape *in, const uint32_t kernel[2],
                                   struct sqz_window *out, struct sqz_error *err) {
    uint32_t size[2], stride[2], dilation[2], pad[4];
    SQZ_TRY(extents(node, "kernel_shape", 2, 1, 0, size, err));
    if (size[0] == 0) memcpy(size, kernel, sizeof size);
    if (size[0] == 0) return sqz_onnx_malformed(node, "there is no kernel_shape", err);
    if (kernel[0] && memcmp(size, kernel, sizeof size) != 0)
        return sqz_onnx_malformed(node, "kernel_shape differs from the weight's shape", err);
    SQZ_TRY(extents(node, "strides", 2, 1, 1, stride, err));
    SQZ_TRY(extents(node, "dilations", 2, 1, 1, dilation, err));
    SQZ_TRY(extents(node, "pads", 4, 0, 0, pad, err));
    *out = (struct sqz_window){size[0],     size[1], stride[0], stride[1], dilation[0],
                               dilation[1], pad[0],  pad[1],    pad[2],    pad[3]};
    if (sqz_onnx_string_is(node, "auto_pad", "NOTSET", true) || sqz_onnx_string_is(node, "auto_pad", "", true))
        return SQZ_OK;
    bool upper = sqz_onnx_string_is(node, "auto_pad", "SAME_UPPER", false);
    if (upper || sqz_onnx_string_is(node, "auto_pad", "SAME_LOWER", false)) {
        pad_same(in->dim[2], size[0], stride[0], dilation[0], upper, &out->pad_top, &out->pad_bottom);
        pad_same(in->dim[3], size[1], stride[1], dilation[1], upper, &out->pad_left, &out->pad_right);
    } else if (sqz_onnx_string_is(node, "auto_pad", "VALID", false)) {
        out->pad_top = out->pad_left = out->pad_bottom = out->pad_right = 0;
    } else {
        return sqz_onnx_malformed(node, "auto_pad has an unknown value", err);
    }
    return SQZ_OK;
}

static enum sqz_status image_input(struct onnx_import *import, const Onnx__Node *node, struct onnx_value **out,
                                   struct sqz_error *err) {
    SQZ_TRY(sqz_onnx_activation(import, node, 0, out, err));
    if (import->shapes[(*out)->node].rank != 4)
        return sqz_onnx_unsupported(node, "the input is not a batch of images (four dimensions)", err);
    return SQZ_OK;
}

/* An optional vector of `length` values as bias. */
static enum sqz_status add_bias(struct onnx_import *import, const Onnx__Node *node, size_t input, uint64_t length,
                                uint32_t *out, struct sqz_error *err) {
    const struct onnx_tensor *tensor;
    struct onnx_value *value;
    *out = SQZ_NO_WEIGHT;
    if (!sqz_onnx_has_input(node, input)) return SQZ_OK;
    SQZ_TRY(sqz_onnx_constant_input(import, node, input, &tensor, err));
    SQZ_TRY(sqz_onnx_input(import, node, input, &value, err));
    if (tensor->rank != 1 || tensor->count != length)
        return sqz_onnx_malformed(node, "the bias does not have one value for each output channel", err);
    struct sqz_shape shape = sqz_shape1(length);
    return sqz_onnx_weight(import, node, value, SQZ_ROLE_BIAS, &shape, false, out, err);
}

enum sqz_status sqz_onnx_conv(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    const struct onnx_tensor *tensor;
    struct onnx_value *in, *value;
    struct sqz_window window;
    uint32_t kernel, bias, index;
    SQZ_TRY(image_input(import, node, &in, err));
    SQZ_TRY(sqz_onnx_constant_input(import, node, 1, &tensor, err));
    SQZ_TRY(sqz_onnx_input(import, node, 1, &value, err));
    if (tensor->rank != 4 || !tensor->is_real)
        return sqz_onnx_unsupported(node, "only two-dimensional convolutions with float weights are supported", err);
    struct sqz_shape shape = sqz_shape4(tensor->dim[0], tensor->dim[1], tensor->dim[2], tensor->dim[3]);
    int64_t groups = sqz_onnx_int(node, "group", 1);
    if (groups < 1 || groups > MAX_EXTENT || shape.dim[2] > MAX_EXTENT || shape.dim[3] > MAX_EXTENT ||
        tensor->count == 0)
        return sqz_onnx_malformed(node, "the groups or the kernel's shape are out of range", err);
    uint32_t size[2] = {(uint32_t)shape.dim[2], (uint32_t)shape.dim[3]};
    SQZ_TRY(read_window(node, &import->shapes[in->node], size, &window, err));
    SQZ_TRY(sqz_onnx_weight(import, node, value, SQZ_ROLE_KERNEL, &shape, false, &kernel, err));
    SQZ_TRY(add_bias(import, node, 2, shape.dim[0], &bias, err));
    const char *name = sqz_onnx_module_name(import, value->origin);
    SQZ_TRY(sqz_onnx_add_node(import, node, SQZ_OP_CONV, name, &in->node, 1, &index, err));
    struct sqz_node *added = &import->model->nodes[index];
    added->params.conv.window = window;
    added->params.conv.groups = (uint32_t)groups;
    added->kernel = kernel;
    added->bias = bias;
    SQZ_TRY(sqz_onnx_infer(import, index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

enum sqz_status sqz_onnx_pool(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    static const uint32_t from_attribute[2] = {0, 0};
    struct onnx_value *in;
    struct sqz_window window;
    uint32_t index;
    bool average = strcmp(node->op_type, "AveragePool") == 0;
    struct onnx_value *indices = sqz_onnx_has_output(node, 1) ? sqz_onnx_find(import, node->output[1]) : NULL;
    if (indices && indices->n_uses) return sqz_onnx_unsupported(node, "the indices of the maxima are used", err);
    SQZ_TRY(image_input(import, node, &in, err));
    SQZ_TRY(read_window(node, &import->shapes[in->node], from_attribute, &window, err));
    SQZ_TRY(sqz_onnx_add_node(import, node, average ? SQZ_OP_AVERAGE_POOL : SQZ_OP_MAX_POOL, NULL, &in->node, 1, &index,
                              err));
    union sqz_params *params = &import->model->nodes[index].params;
    params->pool.window = window;
    params->pool.ceil_mode = sqz_onnx_int(node, "ceil_mode", 0) != 0;
    params->pool.divisor = sqz_onnx_int(node, "count_include_pad", 0) != 0 ? SQZ_DIVISOR_PADDED : SQZ_DIVISOR_VALID;
    SQZ_TRY(sqz_onnx_infer(import, index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

/* ---- Pad ------------------------------------------------------------------------ */

enum sqz_status sqz_onnx_read_pads(struct onnx_import *import, const Onnx__Node *node, uint32_t rank,
                                   int64_t begin[ONNX_MAX_RANK], int64_t end[ONNX_MAX_RANK], double *fill,
                                   struct sqz_error *err) {
    size_t n, n_axes;
    uint32_t axes[ONNX_MAX_RANK];
    const int64_t *pads = sqz_onnx_ints(node, import->opset < 2 ? "paddings" : "pads", &n);
    if (import->opset >= 11) {
        const struct onnx_tensor *input;
        SQZ_TRY(sqz_onnx_constant_input(import, node, 1, &input, err));
        if (!input || input->is_real) return sqz_onnx_malformed(node, "the pads are missing", err);
        pads = input->whole;
        n = input->count;
    }
    SQZ_TRY(sqz_onnx_scalar_input(import, node, 2, sqz_onnx_float(node, "value", 0), fill, err));
    SQZ_TRY(sqz_onnx_axes(import, node, 3, rank, axes, &n_axes, err));
    if (n_axes == 0) {
        n_axes = rank;
        for (uint32_t i = 0; i < rank; i++) axes[i] = i;
    }
    if (n != 2 * n_axes) return sqz_onnx_malformed(node, "the pads do not fit the rank", err);
    for (uint32_t i = 0; i < rank; i++) begin[i] = end[i] = 0;
    for (size_t i = 0; i < n_axes; i++) {
        if (pads[i] < -MAX_EXTENT || pads[i] > MAX_EXTENT || pads[i + n_axes] < -MAX_EXTENT ||
            pads[i + n_axes] > MAX_EXTENT)
            return sqz_onnx_malformed(node, "a pad is out of range", err);
        begin[axes[i]] = pads[i];
        end[axes[i]] = pads[i + n_axes];
    }
    return SQZ_OK;
}

enum sqz_status sqz_onnx_pad(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in;
    int64_t begin[ONNX_MAX_RANK], end[ONNX_MAX_RANK];
    double fill;
    uint32_t index;
    SQZ_TRY(sqz_onnx_activation(import, node, 0, &in, err));
    if (!sqz_onnx_string_is(node, "mode", "constant", true))
        return sqz_onnx_unsupported(node, "only padding with a constant is supported", err);
    uint32_t rank = import->shapes[in->node].rank;
    SQZ_TRY(sqz_onnx_read_pads(import, node, rank, begin, end, &fill, err));
    bool all_zero = true;
    for (uint32_t i = 0; i < rank; i++) {
        if (begin[i] < 0 || end[i] < 0) return sqz_onnx_unsupported(node, "a negative pad crops", err);
        if ((begin[i] || end[i]) && (rank != 4 || i < 2))
            return sqz_onnx_unsupported(node, "only height and width can be padded", err);
        if (begin[i] || end[i]) all_zero = false;
    }
    if (all_zero) return sqz_onnx_alias(import, node, in, err);
    SQZ_TRY(sqz_onnx_add_node(import, node, SQZ_OP_PAD, NULL, &in->node, 1, &index, err));
    union sqz_params *params = &import->model->nodes[index].params;
    params->pad.top = (uint32_t)begin[2];
    params->pad.left = (uint32_t)begin[3];
    params->pad.bottom = (uint32_t)end[2];
    params->pad.right = (uint32_t)end[3];
    params->pad.value = (float)fill;
    SQZ_TRY(sqz_onnx_infer(import, index, err));
    return sqz_onnx_set_output(import, node, index, err);
}
