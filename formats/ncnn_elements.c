/*
 * ncnn_elements.c - ncnn's activations, normalisations and other layers with one input as nodes.
 *
 * Parameter numbers and their defaults are those of ncnn's operator list
 * (docs/developer-guide/operators.md of Tencent/ncnn).
 */
#include <float.h>
#include <math.h>

#include "formats/ncnn.h"

typedef struct sqz_ncnn_value_of_blob value_of_blob;

/* ---- activations --------------------------------------------------------- */

static enum sqz_status convert_relu(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                    value_of_blob *value) {
    float slope;
    SQZ_TRY(sqz_ncnn_float(layer, 0, 0, &slope, b->err));
    SQZ_TRY(sqz_ncnn_add_unary(b, slope == 0 ? SQZ_OP_RELU : SQZ_OP_LEAKY_RELU, layer, value));
    if (slope != 0) sqz_ncnn_params_of(b, value)->leaky_relu.slope = slope;
    return SQZ_OK;
}

static enum sqz_status convert_prelu(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                     value_of_blob *value) {
    int32_t n;
    float *slope = NULL;
    const struct sqz_ncnn_int_param param = {0, 0, 1, &n};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, &param, 1));
    SQZ_TRY(sqz_ncnn_read_plain(&b->weights, layer->name, (size_t)n, &slope, b->err));
    if (n == 1) {
        float only = slope[0];
        sqz_free(slope);
        SQZ_TRY(sqz_ncnn_add_unary(b, SQZ_OP_LEAKY_RELU, layer, value));
        sqz_ncnn_params_of(b, value)->leaky_relu.slope = only;
        return SQZ_OK;
    }
    value->channels = (uint32_t)n;
    return sqz_ncnn_add_prelu(b, layer, slope, value);
}

static enum sqz_status convert_sigmoid(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                       value_of_blob *value) {
    return sqz_ncnn_add_unary(b, SQZ_OP_SIGMOID, layer, value);
}

static enum sqz_status convert_tanh(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                    value_of_blob *value) {
    return sqz_ncnn_add_unary(b, SQZ_OP_TANH, layer, value);
}

static enum sqz_status convert_swish(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                     value_of_blob *value) {
    uint32_t inputs[2] = {value->node, value->node};
    value_of_blob gate;
    SQZ_TRY(sqz_ncnn_add_node(b, SQZ_OP_SIGMOID, layer->name, "_gate", inputs, 1, &gate));
    inputs[1] = gate.node;
    return sqz_ncnn_add_node(b, SQZ_OP_MUL, layer->name, "", inputs, 2, value);
}

static enum sqz_status convert_hard_swish(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                          value_of_blob *value) {
    float alpha, beta;
    SQZ_TRY(sqz_ncnn_float(layer, 0, 0.2f, &alpha, b->err));
    SQZ_TRY(sqz_ncnn_float(layer, 1, 0.5f, &beta, b->err));
    return sqz_ncnn_add_hard_swish(b, layer, "", alpha, beta, value);
}

static enum sqz_status add_clip(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer, float low, float high,
                                value_of_blob *value) {
    SQZ_TRY(sqz_ncnn_add_unary(b, SQZ_OP_CLIP, layer, value));
    sqz_ncnn_params_of(b, value)->clip.low = low;
    sqz_ncnn_params_of(b, value)->clip.high = high;
    return SQZ_OK;
}

static enum sqz_status convert_hard_sigmoid(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                            value_of_blob *value) {
    float alpha, beta;
    SQZ_TRY(sqz_ncnn_float(layer, 0, 0.2f, &alpha, b->err));
    SQZ_TRY(sqz_ncnn_float(layer, 1, 0.5f, &beta, b->err));
    SQZ_TRY(sqz_ncnn_add_affine(b, layer, "_affine", alpha, beta, value));
    return add_clip(b, layer, 0, 1, value);
}

static enum sqz_status convert_clip(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                    value_of_blob *value) {
    float low, high;
    SQZ_TRY(sqz_ncnn_float(layer, 0, -FLT_MAX, &low, b->err));
    SQZ_TRY(sqz_ncnn_float(layer, 1, FLT_MAX, &high, b->err));
    return add_clip(b, layer, low, high, value);
}

/* ---- normalisation ------------------------------------------------------- */

static enum sqz_status convert_lrn(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                   value_of_blob *value) {
    int32_t region, size;
    float alpha, beta, k;
    const struct sqz_ncnn_int_param params[] = {{0, 0, 0, &region}, {1, 5, 1, &size}};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, params, 2));
    SQZ_TRY(sqz_ncnn_float(layer, 2, 1, &alpha, b->err));
    SQZ_TRY(sqz_ncnn_float(layer, 3, 0.75f, &beta, b->err));
    SQZ_TRY(sqz_ncnn_float(layer, 4, 1, &k, b->err));
    if (region != 0) return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "only normalisation across channels is supported");
    /* ncnn's even window covers size + 1 channels but divides by size. */
    if (size % 2 == 0) return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "an even window of %d is not supported", size);
    SQZ_TRY(sqz_ncnn_add_unary(b, SQZ_OP_LRN, layer, value));
    union sqz_params *params_out = sqz_ncnn_params_of(b, value);
    params_out->lrn.size = (uint32_t)size;
    params_out->lrn.alpha = alpha;
    params_out->lrn.beta = beta;
    params_out->lrn.k = k;
    return SQZ_OK;
}

/* ncnn's y = (x - mean) / sqrt(variance + eps) * slope + bias as one scale and shift per channel. */
static enum sqz_status fold_batch_norm(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer, size_t n,
                                       float eps, float *parts[4]) {
    float *slope = parts[0], *mean = parts[1], *variance = parts[2], *bias = parts[3];
    for (size_t c = 0; c < n; c++) {
        double deviation = sqrt((double)variance[c] + (double)eps);
        if (!(deviation > 0))
            return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "the variance of channel %zu is not positive", c);
        double scale = slope[c] / deviation;
        slope[c] = (float)scale;
        bias[c] = (float)(bias[c] - mean[c] * scale);
    }
    return SQZ_OK;
}

static enum sqz_status convert_batch_norm(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                          value_of_blob *value) {
    int32_t n;
    float eps, *parts[4] = {NULL, NULL, NULL, NULL};
    const struct sqz_ncnn_int_param param = {0, 0, 1, &n};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, &param, 1));
    SQZ_TRY(sqz_ncnn_float(layer, 1, 0, &eps, b->err));
    enum sqz_status status = SQZ_OK;
    for (int i = 0; i < 4 && status == SQZ_OK; i++)
        status = sqz_ncnn_read_plain(&b->weights, layer->name, (size_t)n, &parts[i], b->err);
    if (status == SQZ_OK) status = fold_batch_norm(b, layer, (size_t)n, eps, parts);
    sqz_free(parts[1]);
    sqz_free(parts[2]);
    if (status == SQZ_OK) {
        value->channels = (uint32_t)n;
        return sqz_ncnn_add_scale(b, layer->name, "", parts[0], parts[3], value);
    }
    sqz_free(parts[0]);
    sqz_free(parts[3]);
    return status;
}

/* Scale with stored factors, or Bias, which has only the shift. */
static enum sqz_status add_stored_scale(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer, int32_t n,
                                        bool has_scale, bool has_shift, value_of_blob *value) {
    float *scale = NULL, *shift = NULL;
    enum sqz_status status = SQZ_OK;
    if (has_scale) status = sqz_ncnn_read_plain(&b->weights, layer->name, (size_t)n, &scale, b->err);
    if (status == SQZ_OK && has_shift)
        status = sqz_ncnn_read_plain(&b->weights, layer->name, (size_t)n, &shift, b->err);
    if (status == SQZ_OK && n == 1 && value->channels != 1) {
        status = sqz_ncnn_add_affine(b, layer, "", scale ? scale[0] : 1, shift ? shift[0] : 0, value);
    } else if (status == SQZ_OK) {
        if (!scale) scale = sqz_alloc((size_t)n, sizeof *scale);
        if (!scale) status = sqz_ncnn_no_memory(b->err);
        for (int32_t c = 0; scale && !has_scale && c < n; c++) scale[c] = 1;
        value->channels = (uint32_t)n;
        if (status == SQZ_OK) return sqz_ncnn_add_scale(b, layer->name, "", scale, shift, value);
    }
    sqz_free(scale);
    sqz_free(shift);
    return status;
}

static enum sqz_status convert_scale(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                     value_of_blob *value) {
    int32_t n, has_shift;
    const struct sqz_ncnn_int_param params[] = {{0, 0, INT32_MIN, &n}, {1, 0, 0, &has_shift}};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, params, 2));
    if (n < 1) return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "a scale that is not stored is not supported");
    return add_stored_scale(b, layer, n, true, has_shift, value);
}

static enum sqz_status convert_bias(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                    value_of_blob *value) {
    int32_t n;
    const struct sqz_ncnn_int_param param = {0, 0, 1, &n};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, &param, 1));
    return add_stored_scale(b, layer, n, false, true, value);
}

/* ---- shapes -------------------------------------------------------------- */

static enum sqz_status convert_dropout(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                       value_of_blob *value) {
    float scale;
    SQZ_TRY(sqz_ncnn_float(layer, 0, 1, &scale, b->err));
    if (scale != 1) return sqz_ncnn_add_affine(b, layer, "", scale, 0, value);
    return sqz_ncnn_add_unary(b, SQZ_OP_DROPOUT, layer, value);
}

static enum sqz_status convert_flatten(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                       value_of_blob *value) {
    bool keeps_channels = value->n_dims == 1;
    SQZ_TRY(sqz_ncnn_add_unary(b, SQZ_OP_FLATTEN, layer, value));
    *value = (value_of_blob){.node = value->node, .n_dims = 1, .channels = keeps_channels ? value->channels : 0};
    return SQZ_OK;
}

/* ncnn's axes count without the batch: axis a of a blob is axis a + 1 of a node; negative ones count from the end. */
enum sqz_status sqz_ncnn_axis(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                              const value_of_blob *value, uint32_t *axis) {
    int32_t given, n_dims = (int32_t)value->n_dims;
    SQZ_TRY(sqz_ncnn_int(layer, 0, 0, &given, b->err));
    if (given < -n_dims || given >= n_dims)
        return sqz_ncnn_fail(b, layer, SQZ_MALFORMED, "axis %d of a blob with %d dimensions", given, n_dims);
    *axis = (uint32_t)(given < 0 ? given + n_dims : given) + 1;
    return SQZ_OK;
}

static enum sqz_status convert_softmax(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                       value_of_blob *value) {
    uint32_t axis = 0;
    SQZ_TRY(sqz_ncnn_axis(b, layer, value, &axis));
    SQZ_TRY(sqz_ncnn_add_unary(b, SQZ_OP_SOFTMAX, layer, value));
    sqz_ncnn_params_of(b, value)->softmax.axis = axis;
    return SQZ_OK;
}

/* Sizes are given as width, height, channels; an absent one (-233) ends the list, 0 copies, -1 is the rest. */
static enum sqz_status convert_reshape(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                       value_of_blob *value) {
    enum { ABSENT = -233 };
    int32_t size[3], depth, permute; /* innermost first */
    const struct sqz_ncnn_int_param params[] = {{0, ABSENT, ABSENT, &size[0]},
                                                {1, ABSENT, ABSENT, &size[1]},
                                                {2, ABSENT, ABSENT, &size[2]},
                                                {11, ABSENT, ABSENT, &depth},
                                                {3, 0, 0, &permute}};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, params, sizeof params / sizeof *params));
    uint32_t n = size[0] == ABSENT ? 0 : size[1] == ABSENT ? 1 : size[2] == ABSENT ? 2 : 3;
    if (n == 0 || depth != ABSENT || permute)
        return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "only a plain shape of 1 to 3 dimensions is supported");
    /* A copied size means the blob's own dimension, of which a pooled blob has one. */
    bool copies = size[0] == 0 || size[1] == 0 || size[2] == 0;
    if (copies && value->pooled) SQZ_TRY(sqz_ncnn_flatten(b, layer->name, value));
    union sqz_params reshape = {.reshape = {.rank = n + 1}};
    for (uint32_t i = 0; i < n; i++) {
        if (size[i] == 0 && value->n_dims != n)
            return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "copying a size between blobs of %u and %u dimensions",
                                 value->n_dims, n);
        reshape.reshape.dim[n - i] = size[i];
    }
    SQZ_TRY(sqz_ncnn_add_unary(b, SQZ_OP_RESHAPE, layer, value));
    *sqz_ncnn_params_of(b, value) = reshape;
    bool column = value->n_dims == 1 && n == 3 && size[0] == 1 && size[1] == 1; /* [c] becomes [c][1][1] */
    int32_t outer = size[n - 1];
    value->channels = outer > 0 ? (uint32_t)outer : column || (outer == 0) ? value->channels : 0;
    value->n_dims = n;
    value->pooled = false;
    return SQZ_OK;
}

static enum sqz_status convert_padding(struct sqz_ncnn_builder *b, const struct sqz_ncnn_layer *layer,
                                       value_of_blob *value) {
    int32_t top, bottom, left, right, type, per_channel, front, behind;
    float fill;
    const struct sqz_ncnn_int_param params[] = {{0, 0, 0, &top},   {1, 0, 0, &bottom}, {2, 0, 0, &left},
                                                {3, 0, 0, &right}, {4, 0, 0, &type},   {6, 0, 0, &per_channel},
                                                {7, 0, 0, &front}, {8, 0, 0, &behind}};
    SQZ_TRY(sqz_ncnn_read_ints(b, layer, params, sizeof params / sizeof *params));
    SQZ_TRY(sqz_ncnn_float(layer, 5, 0, &fill, b->err));
    if (type != 0 || per_channel || front || behind || !isfinite(fill))
        return sqz_ncnn_fail(b, layer, SQZ_UNSUPPORTED, "only padding of height and width with one value is supported");
    SQZ_TRY(sqz_ncnn_add_unary(b, SQZ_OP_PAD, layer, value));
    union sqz_params *out = sqz_ncnn_params_of(b, value);
    out->pad.top = (uint32_t)top;
    out->pad.bottom = (uint32_t)bottom;
    out->pad.left = (uint32_t)left;
    out->pad.right = (uint32_t)right;
    out->pad.value = fill;
    return SQZ_OK;
}

const struct sqz_ncnn_converter sqz_ncnn_element_converters[] = {
    {"ReLU", 1, 1, convert_relu},
    {"PReLU", 1, 1, convert_prelu},
    {"Sigmoid", 1, 1, convert_sigmoid},
    {"TanH", 1, 1, convert_tanh},
    {"Swish", 1, 1, convert_swish},
    {"HardSwish", 1, 1, convert_hard_swish},
    {"HardSigmoid", 1, 1, convert_hard_sigmoid},
    {"Clip", 1, 1, convert_clip},
    {"LRN", 1, 1, convert_lrn},
    {"BatchNorm", 1, 1, convert_batch_norm},
    {"Scale", 1, 1, convert_scale},
    {"Bias", 1, 1, convert_bias},
    {"Dropout", 1, 1, convert_dropout},
    {"Flatten", 1, 1, convert_flatten},
    {"Reshape", 1, 1, convert_reshape},
    {"Softmax", 1, 1, convert_softmax},
    {"Padding", 1, 1, convert_padding},
    {NULL, 0, 0, NULL},
};
