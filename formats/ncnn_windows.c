/*
 * ncnn_windows.c - ncnn's convolution, inner product and pooling layers as nodes.
 *
 * Parameter numbers and their defaults are those of ncnn's operator list
 * (docs/developer-guide/operators.md of Tencent/ncnn).
 */
#include <math.h>
#include <string.h>

#include "formats/ncnn.h"

typedef struct sqz_ncnn_value_of_blob value_of_blob;

/* ncnn's marks for SAME padding. */
#define PAD_SAME_UPPER (-233)
#define PAD_SAME_LOWER (-234)

/* A size given for the width and, when it differs, for the height. */
static enum sqz_status read_pair(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer, int32_t wide_id,
                                 int32_t high_id, int32_t fallback, int32_t low, uint32_t *wide, uint32_t *high) {
    int32_t w, h;
    const struct sqz_ncnn_int_param first = {wide_id, fallback, low, &w};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, &first, 1));
    const struct sqz_ncnn_int_param second = {high_id, w, low, &h};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, &second, 1));
    *wide = (uint32_t)w;
    *high = (uint32_t)h;
    return SQZ_OK;
}

struct padding {
    int32_t left, right, top, bottom;
};

/* The four sides: right falls back to left, top to left, bottom to top. */
static enum sqz_status read_padding(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer, int32_t left_id,
                                    int32_t right_id, int32_t top_id, int32_t bottom_id, struct padding *pad) {
    SQZ_TRY(sqz_ncnn_int(layer, left_id, 0, &pad->left, b->err));
    SQZ_TRY(sqz_ncnn_int(layer, right_id, pad->left, &pad->right, b->err));
    SQZ_TRY(sqz_ncnn_int(layer, top_id, pad->left, &pad->top, b->err));
    return sqz_ncnn_int(layer, bottom_id, pad->top, &pad->bottom, b->err);
}

static bool padding_is(const struct padding *pad, int32_t value) {
    return pad->left == value && pad->right == value && pad->top == value && pad->bottom == value;
}

static enum sqz_status set_padding(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                   const struct padding *pad, struct sqz_window *window) {
    if (pad->left < 0 || pad->right < 0 || pad->top < 0 || pad->bottom < 0)
        return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "the padding of %d, %d, %d, %d is negative", pad->left,
                             pad->right, pad->top, pad->bottom);
    window->pad_left = (uint32_t)pad->left;
    window->pad_right = (uint32_t)pad->right;
    window->pad_top = (uint32_t)pad->top;
    window->pad_bottom = (uint32_t)pad->bottom;
    return SQZ_OK;
}

/* Note that the node's window is settled when the input size is known. */
static enum sqz_status defer_window(struct sqz_ncnn_builder *b, uint32_t node, enum sqz_ncnn_window_rule rule) {
    struct sqz_ncnn_window *windows = sqz_ncnn_grow(b, b->windows, b->n_windows, &b->windows_capacity, sizeof *windows);
    if (!windows) return sqz_ncnn_no_memory(b->err);
    b->windows = windows;
    b->windows[b->n_windows++] = (struct sqz_ncnn_window){node, rule};
    return SQZ_OK;
}

/* ---- layers with a kernel ------------------------------------------------ */

/* Read kernel and bias of a Conv or Dense node from the weights file. */
static enum sqz_status add_kernel(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer, uint32_t node_index,
                                  const struct sqz_shape *shape, size_t count, bool has_bias) {
    float *data = NULL;
    struct sqz_packed *packed = NULL;
    uint32_t index = 0;
    const char *node_name = b->model->nodes[node_index].name;
    size_t nbytes = strlen(node_name) + sizeof ".weight";
    char *name = sqz_arena_alloc(&b->arena, nbytes, 1);
    if (!name) return sqz_ncnn_no_memory(b->err);
    memcpy(name, node_name, strlen(node_name));
    strcat(name, ".weight");
    SQZ_TRY(sqz_ncnn_read_kernel(&b->weights, layer->name, count, &data, &packed, b->err));
    if (packed)
        SQZ_TRY(sqz_model_add_packed(b->model, name, SQZ_ROLE_KERNEL, shape, packed, &index, b->err));
    else if (data)
        SQZ_TRY(sqz_model_add_weight(b->model, name, SQZ_ROLE_KERNEL, shape, data, &index, b->err));
    else
        return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "its weights are empty");
    b->model->nodes[node_index].kernel = index;
    if (!has_bias) return SQZ_OK;
    float *bias = NULL;
    SQZ_TRY(sqz_ncnn_read_plain(&b->weights, layer->name, shape->dim[0], &bias, b->err));
    return sqz_ncnn_add_vector(b, node_index, SQZ_ROLE_BIAS, shape->dim[0], bias);
}

struct convolution {
    int32_t outputs, has_bias, n_weights, groups, int8_terms, dynamic;
    struct sqz_window window;
    struct padding pad;
    float pad_value;
};

static enum sqz_status read_convolution(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                        struct convolution *conv) {
    struct sqz_window *w = &conv->window;
    const struct sqz_ncnn_int_param params[] = {
        {0, 0, 1, &conv->outputs}, {5, 0, 0, &conv->has_bias},           {6, 0, 1, &conv->n_weights},
        {7, 1, 1, &conv->groups},  {8, 0, INT32_MIN, &conv->int8_terms}, {19, 0, 0, &conv->dynamic},
    };
    *conv = (struct convolution){0};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, params, sizeof params / sizeof *params));
    if (strcmp(layer->type, "Convolution") == 0) conv->groups = 1;
    SQZ_TRY(read_pair(b, layer, 1, 11, 0, 1, &w->kernel_w, &w->kernel_h));
    SQZ_TRY(read_pair(b, layer, 2, 12, 1, 1, &w->dilation_w, &w->dilation_h));
    SQZ_TRY(read_pair(b, layer, 3, 13, 1, 1, &w->stride_w, &w->stride_h));
    SQZ_TRY(read_padding(b, layer, 4, 15, 14, 16, &conv->pad));
    SQZ_TRY(sqz_ncnn_float(layer, 18, 0, &conv->pad_value, b->err));
    if (conv->int8_terms)
        return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "int8 weights are not supported; use the float model");
    if (conv->dynamic) return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "weights that are computed are not supported");
    return SQZ_OK;
}

/* Channels of one group's input, from the number of weights. */
static enum sqz_status channels_in_group(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                         const struct convolution *conv, uint64_t *out) {
    uint64_t each = (uint64_t)conv->outputs, weights = (uint64_t)conv->n_weights;
    if (__builtin_mul_overflow(each, (uint64_t)conv->window.kernel_w, &each) ||
        __builtin_mul_overflow(each, (uint64_t)conv->window.kernel_h, &each) || weights % each)
        return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "its %d weights do not divide by %d outputs of %ux%u",
                             conv->n_weights, conv->outputs, conv->window.kernel_h, conv->window.kernel_w);
    *out = weights / each;
    return SQZ_OK;
}

/* ncnn pads with zeros unless a value is given; then the padding becomes a node of its own. */
static enum sqz_status pad_before(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                  struct convolution *conv, value_of_blob *value) {
    struct sqz_window *w = &conv->window;
    bool upper = padding_is(&conv->pad, PAD_SAME_UPPER), lower = padding_is(&conv->pad, PAD_SAME_LOWER);
    if (!upper && !lower) SQZ_TRY(set_padding(b, layer, &conv->pad, w));
    if (conv->pad_value == 0) return SQZ_OK;
    if (upper || lower) return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "SAME padding with a value is not supported");
    if (!isfinite(conv->pad_value)) return sqz_ncnn_fail(b, layer, SQZ_NONFINITE, "the padding value is infinite");
    uint32_t input = value->node;
    SQZ_TRY(sqz_ncnn_add_node(b, SQZ_OP_PAD, layer->name, "_pad", &input, 1, value));
    union sqz_params *params = sqz_ncnn_params_of(b, value);
    params->pad.top = w->pad_top;
    params->pad.left = w->pad_left;
    params->pad.bottom = w->pad_bottom;
    params->pad.right = w->pad_right;
    params->pad.value = conv->pad_value;
    w->pad_top = w->pad_left = w->pad_bottom = w->pad_right = 0;
    return SQZ_OK;
}

static enum sqz_status convert_convolution(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                           value_of_blob *value) {
    struct convolution conv;
    uint64_t channels = 0;
    SQZ_TRY(read_convolution(b, layer, &conv));
    SQZ_TRY(channels_in_group(b, layer, &conv, &channels));
    /* ncnn runs a 1x1 convolution over features as an inner product. */
    bool dense = value->n_dims == 1 && !value->pooled && conv.window.kernel_w == 1 && conv.window.kernel_h == 1;
    struct sqz_shape shape =
        dense ? sqz_shape2((uint64_t)conv.outputs, channels)
              : sqz_shape4((uint64_t)conv.outputs, channels, conv.window.kernel_h, conv.window.kernel_w);
    if (!dense) SQZ_TRY(pad_before(b, layer, &conv, value));
    SQZ_TRY(sqz_ncnn_add_unary(b, dense ? SQZ_OP_DENSE : SQZ_OP_CONV, layer, value));
    if (!dense) {
        sqz_ncnn_params_of(b, value)->conv.window = conv.window;
        sqz_ncnn_params_of(b, value)->conv.groups = (uint32_t)conv.groups;
        if (padding_is(&conv.pad, PAD_SAME_UPPER)) SQZ_TRY(defer_window(b, value->node, SQZ_NCNN_SAME_UPPER));
        if (padding_is(&conv.pad, PAD_SAME_LOWER)) SQZ_TRY(defer_window(b, value->node, SQZ_NCNN_SAME_LOWER));
    }
    SQZ_TRY(add_kernel(b, layer, value->node, &shape, (size_t)conv.n_weights, conv.has_bias));
    value->channels = (uint32_t)conv.outputs;
    return sqz_ncnn_add_activation(b, layer, value);
}

static enum sqz_status convert_dense(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                     value_of_blob *value) {
    int32_t outputs, has_bias, n_weights, int8_terms;
    const struct sqz_ncnn_int_param params[] = {
        {0, 0, 1, &outputs}, {1, 0, 0, &has_bias}, {2, 0, 1, &n_weights}, {8, 0, INT32_MIN, &int8_terms}};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, params, sizeof params / sizeof *params));
    if (int8_terms)
        return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "int8 weights are not supported; use the float model");
    if (n_weights % outputs)
        return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "its %d weights do not divide by %d outputs", n_weights, outputs);
    if (value->n_dims == 2)
        return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "an input with 2 dimensions is not supported");
    struct sqz_shape shape = sqz_shape2((uint64_t)outputs, (uint64_t)(n_weights / outputs));
    SQZ_TRY(sqz_ncnn_add_unary(b, SQZ_OP_DENSE, layer, value));
    SQZ_TRY(add_kernel(b, layer, value->node, &shape, (size_t)n_weights, has_bias));
    *value = (value_of_blob){.node = value->node, .n_dims = 1, .channels = (uint32_t)outputs};
    return sqz_ncnn_add_activation(b, layer, value);
}

/* ---- pooling ------------------------------------------------------------- */

static enum sqz_status convert_global_pooling(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                              bool maximum, value_of_blob *value) {
    if (value->n_dims != 3) return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "its input has not 3 dimensions");
    SQZ_TRY(sqz_ncnn_add_unary(b, maximum ? SQZ_OP_MAX_POOL : SQZ_OP_GLOBAL_AVERAGE_POOL, layer, value));
    if (maximum) SQZ_TRY(defer_window(b, value->node, SQZ_NCNN_WHOLE));
    value->n_dims = 1;
    value->pooled = true;
    return SQZ_OK;
}

static enum sqz_status convert_adaptive_pooling(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                                bool maximum, value_of_blob *value) {
    uint32_t w, h;
    SQZ_TRY(read_pair(b, layer, 8, 18, 0, INT32_MIN, &w, &h));
    if ((int32_t)w <= 0 || (int32_t)h <= 0)
        return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "adaptive pooling to %dx%d is not supported", (int32_t)h,
                             (int32_t)w);
    bool whole = w == 1 && h == 1;
    if (maximum && !whole) return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "adaptive maximum pooling is not supported");
    SQZ_TRY(sqz_ncnn_add_unary(b, maximum ? SQZ_OP_MAX_POOL : SQZ_OP_ADAPTIVE_AVERAGE_POOL, layer, value));
    if (maximum) return defer_window(b, value->node, SQZ_NCNN_WHOLE);
    sqz_ncnn_params_of(b, value)->adaptive_pool.out_h = h;
    sqz_ncnn_params_of(b, value)->adaptive_pool.out_w = w;
    return SQZ_OK;
}

/*
 * ncnn's "full" mode rounds the output size up. It keeps a last window that
 * lies wholly in the padding, which frameworks that models come from drop;
 * this reader drops it too.
 */
static enum sqz_status convert_pooling(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                       value_of_blob *value) {
    int32_t type, global, mode, include_pad, adaptive;
    struct sqz_window window = {.dilation_h = 1, .dilation_w = 1};
    struct padding pad;
    const struct sqz_ncnn_int_param params[] = {
        {0, 0, 0, &type}, {4, 0, 0, &global}, {5, 0, 0, &mode}, {6, 0, 0, &include_pad}, {7, 0, 0, &adaptive}};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, params, sizeof params / sizeof *params));
    if (type > 1 || mode > 3) return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "pooling %d with padding %d", type, mode);
    if (global) return convert_global_pooling(b, layer, type == 0, value);
    if (adaptive) return convert_adaptive_pooling(b, layer, type == 0, value);
    SQZ_TRY(read_pair(b, layer, 1, 11, 0, 1, &window.kernel_w, &window.kernel_h));
    SQZ_TRY(read_pair(b, layer, 2, 12, 1, 1, &window.stride_w, &window.stride_h));
    SQZ_TRY(read_padding(b, layer, 3, 14, 13, 15, &pad));
    if (mode < 2) SQZ_TRY(set_padding(b, layer, &pad, &window));
    SQZ_TRY(sqz_ncnn_add_unary(b, type == 0 ? SQZ_OP_MAX_POOL : SQZ_OP_AVERAGE_POOL, layer, value));
    sqz_ncnn_params_of(b, value)->pool.window = window;
    sqz_ncnn_params_of(b, value)->pool.ceil_mode = mode == 0;
    sqz_ncnn_params_of(b, value)->pool.divisor = include_pad ? SQZ_DIVISOR_KERNEL : SQZ_DIVISOR_VALID;
    if (mode == 2) return defer_window(b, value->node, SQZ_NCNN_SAME_UPPER);
    return mode == 3 ? defer_window(b, value->node, SQZ_NCNN_SAME_LOWER) : SQZ_OK;
}

const struct sqz_ncnn_converter sqz_ncnn_window_converters[] = {
    {"Convolution", 1, 1, convert_convolution},
    {"ConvolutionDepthWise", 1, 1, convert_convolution},
    {"InnerProduct", 1, 1, convert_dense},
    {"Pooling", 1, 1, convert_pooling},
    {NULL, 0, 0, NULL},
};
