/* caffe_graph.c - a Caffe network description (prototxt) as a model without weights. */
#include "formats/caffe_graph.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/blob_table.h"
#include "lib/infer.h"

/* A computed value and its size for one image; a flat one has height and width 1 and rank 2. */
struct blob {
    uint32_t node;
    uint64_t channels, height, width;
    bool flat, used;
};

struct builder {
    struct sqz_arena *arena;
    struct sqz_caffe_graph *graph;
    struct sqz_model *model;
    struct sqz_blob_table names; /* blob name -> index into blobs */
    struct blob *blobs;
    size_t n_blobs, blobs_capacity, layers_capacity;
    struct sqz_error *err;
};

/* The layer being converted. */
struct layer {
    const struct sqz_caffe_field *field;
    const char *name, *type;
    uint32_t *inputs; /* [n_inputs] indices into blobs */
    size_t n_inputs;
};

static enum sqz_status no_memory(struct builder *b) {
    return sqz_fail(b->err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

static enum sqz_status unsupported(struct builder *b, const struct layer *layer, const char *what) {
    return sqz_fail(b->err, SQZ_UNSUPPORTED, "layer %s of type %s (line %u): %s", layer->name, layer->type,
                    layer->field->line, what);
}

static enum sqz_status does_not_fit(struct builder *b, const struct layer *layer, const struct blob *in) {
    return sqz_fail(b->err, SQZ_SHAPE,
                    "layer %s of type %s (line %u) does not fit its input of %" PRIu64 "x%" PRIu64 "x%" PRIu64,
                    layer->name, layer->type, layer->field->line, in->channels, in->height, in->width);
}

/* Room for one more element of an arena array of `count` elements; doubles, so the waste stays below the size. */
static void *grow(struct builder *b, void *array, size_t count, size_t *capacity, size_t size) {
    if (count < *capacity) return array;
    size_t larger = *capacity ? *capacity * 2 : 32;
    void *copy = sqz_arena_alloc(b->arena, larger, size);
    if (!copy) return NULL;
    if (count) memcpy(copy, array, count * size);
    *capacity = larger;
    return copy;
}

static enum sqz_status add_blob(struct builder *b, const char *name, struct blob blob) {
    struct blob *blobs = grow(b, b->blobs, b->n_blobs, &b->blobs_capacity, sizeof *blobs);
    if (!blobs) return no_memory(b);
    b->blobs = blobs;
    b->blobs[b->n_blobs] = blob;
    if (!sqz_blob_table_set(&b->names, name, (uint32_t)b->n_blobs)) return no_memory(b);
    b->n_blobs++;
    return SQZ_OK;
}

static struct blob *input_blob(struct builder *b, const struct layer *layer, size_t i) {
    return &b->blobs[layer->inputs[i]];
}

/* Give every top of the layer the value of a node. */
static enum sqz_status set_tops(struct builder *b, const struct layer *layer, struct blob out) {
    const struct sqz_caffe_field *top = sqz_caffe_find(layer->field, "top");
    if (!top || !top->value) return unsupported(b, layer, "it has no top");
    if (sqz_caffe_find_next(top)) return unsupported(b, layer, "it has more than one top");
    return add_blob(b, top->value, out);
}

/* A node over the first n inputs of the layer; its blob starts as a copy of the first input's. */
static enum sqz_status add_node(struct builder *b, const struct layer *layer, enum sqz_op op, size_t n,
                                struct blob *out) {
    uint32_t *nodes = sqz_arena_alloc(b->arena, n, sizeof *nodes);
    if (!nodes) return no_memory(b);
    for (size_t i = 0; i < n; i++) nodes[i] = input_blob(b, layer, i)->node;
    *out = *input_blob(b, layer, 0);
    out->used = false;
    return sqz_model_add_node(b->model, op, layer->name, nodes, n, &out->node, b->err);
}

static enum sqz_status want_inputs(struct builder *b, const struct layer *layer, size_t low, size_t high) {
    if (layer->n_inputs >= low && layer->n_inputs <= high) return SQZ_OK;
    return sqz_fail(b->err, SQZ_MALFORMED, "layer %s of type %s (line %u) has %zu inputs", layer->name, layer->type,
                    layer->field->line, layer->n_inputs);
}

/* ---- layers with a window ----------------------------------------------- */

/* A size given once for both dimensions, twice (height, width), or as two fields of their own. */
static enum sqz_status read_pair(struct builder *b, const struct sqz_caffe_field *message, const char *both,
                                 const char *high, const char *wide, uint32_t fallback, uint32_t *h, uint32_t *w) {
    const struct sqz_caffe_field *first = sqz_caffe_find(message, both);
    *h = *w = fallback;
    if (first) {
        const struct sqz_caffe_field *second = sqz_caffe_find_next(first);
        SQZ_TRY(sqz_caffe_field_uint(first, h, b->err));
        *w = *h;
        return second ? sqz_caffe_field_uint(second, w, b->err) : SQZ_OK;
    }
    SQZ_TRY(sqz_caffe_uint(message, high, fallback, h, b->err));
    return sqz_caffe_uint(message, wide, fallback, w, b->err);
}

static enum sqz_status read_window(struct builder *b, const struct sqz_caffe_field *message,
                                   struct sqz_window *window) {
    uint32_t pad_h, pad_w;
    SQZ_TRY(read_pair(b, message, "kernel_size", "kernel_h", "kernel_w", 0, &window->kernel_h, &window->kernel_w));
    SQZ_TRY(read_pair(b, message, "stride", "stride_h", "stride_w", 1, &window->stride_h, &window->stride_w));
    SQZ_TRY(read_pair(b, message, "pad", "pad_h", "pad_w", 0, &pad_h, &pad_w));
    SQZ_TRY(read_pair(b, message, "dilation", "", "", 1, &window->dilation_h, &window->dilation_w));
    window->pad_top = window->pad_bottom = pad_h;
    window->pad_left = window->pad_right = pad_w;
    return SQZ_OK;
}

static enum sqz_status slide(struct builder *b, const struct layer *layer, const struct sqz_window *w, bool ceil_mode,
                             struct blob *blob) {
    struct blob in = *blob;
    blob->height =
        sqz_window_output(in.height, w->kernel_h, w->stride_h, w->dilation_h, w->pad_top, w->pad_bottom, ceil_mode);
    blob->width =
        sqz_window_output(in.width, w->kernel_w, w->stride_w, w->dilation_w, w->pad_left, w->pad_right, ceil_mode);
    if (in.flat || blob->height == 0 || blob->width == 0) return does_not_fit(b, layer, &in);
    return SQZ_OK;
}

/* Note that the layer wants a kernel and, maybe, a bias. */
static enum sqz_status want_weights(struct builder *b, const struct layer *layer, uint32_t node,
                                    const struct sqz_shape *shape, const struct sqz_caffe_field *message) {
    struct sqz_caffe_graph *graph = b->graph;
    struct sqz_caffe_layer entry = {.name = layer->name, .node = node, .shape = *shape};
    SQZ_TRY(sqz_caffe_bool(message, "bias_term", true, &entry.has_bias, b->err));
    if (!sqz_shape_count(shape, &entry.count) || entry.count == 0)
        return unsupported(b, layer, "the kernel is empty or too large");
    struct sqz_caffe_layer *layers =
        grow(b, graph->layers, graph->n_layers, &b->layers_capacity, sizeof *graph->layers);
    if (!layers) return no_memory(b);
    graph->layers = layers;
    graph->layers[graph->n_layers++] = entry;
    return SQZ_OK;
}

static enum sqz_status convert_convolution(struct builder *b, const struct layer *layer) {
    const struct sqz_caffe_field *message = sqz_caffe_find(layer->field, "convolution_param");
    struct blob out;
    struct sqz_window window;
    uint32_t groups, channels;
    SQZ_TRY(want_inputs(b, layer, 1, 1));
    SQZ_TRY(read_window(b, message, &window));
    SQZ_TRY(sqz_caffe_uint(message, "group", 1, &groups, b->err));
    SQZ_TRY(sqz_caffe_uint(message, "num_output", 0, &channels, b->err));
    SQZ_TRY(add_node(b, layer, SQZ_OP_CONV, 1, &out));
    if (groups == 0 || channels == 0 || channels % groups || out.channels % groups)
        return unsupported(b, layer, "the groups do not divide the channels");
    struct sqz_shape shape = sqz_shape4(channels, out.channels / groups, window.kernel_h, window.kernel_w);
    SQZ_TRY(slide(b, layer, &window, false, &out));
    b->model->nodes[out.node].params.conv.window = window;
    b->model->nodes[out.node].params.conv.groups = groups;
    out.channels = channels;
    SQZ_TRY(want_weights(b, layer, out.node, &shape, message));
    return set_tops(b, layer, out);
}

static enum sqz_status convert_dense(struct builder *b, const struct layer *layer) {
    const struct sqz_caffe_field *message = sqz_caffe_find(layer->field, "inner_product_param");
    struct blob out;
    uint32_t features, axis;
    bool transposed;
    SQZ_TRY(want_inputs(b, layer, 1, 1));
    SQZ_TRY(sqz_caffe_uint(message, "num_output", 0, &features, b->err));
    SQZ_TRY(sqz_caffe_uint(message, "axis", 1, &axis, b->err));
    SQZ_TRY(sqz_caffe_bool(message, "transpose", false, &transposed, b->err));
    if (axis != 1 || transposed) return unsupported(b, layer, "only axis 1 without transpose");
    SQZ_TRY(add_node(b, layer, SQZ_OP_DENSE, 1, &out));
    uint64_t in;
    if (__builtin_mul_overflow(out.channels, out.height, &in) || __builtin_mul_overflow(in, out.width, &in))
        return does_not_fit(b, layer, &out);
    struct sqz_shape shape = sqz_shape2(features, in);
    SQZ_TRY(want_weights(b, layer, out.node, &shape, message));
    out.channels = features;
    out.height = out.width = 1;
    out.flat = true;
    return set_tops(b, layer, out);
}

static enum sqz_status convert_global_pooling(struct builder *b, const struct layer *layer, bool maximum) {
    struct blob out;
    SQZ_TRY(add_node(b, layer, maximum ? SQZ_OP_MAX_POOL : SQZ_OP_GLOBAL_AVERAGE_POOL, 1, &out));
    if (out.flat || out.height > UINT32_MAX || out.width > UINT32_MAX) return does_not_fit(b, layer, &out);
    if (maximum)
        b->model->nodes[out.node].params.pool.window = (struct sqz_window){
            (uint32_t)out.height, (uint32_t)out.width, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1};
    out.height = out.width = 1;
    return set_tops(b, layer, out);
}

static enum sqz_status convert_pooling(struct builder *b, const struct layer *layer) {
    const struct sqz_caffe_field *message = sqz_caffe_find(layer->field, "pooling_param");
    const char *method = sqz_caffe_text(message, "pool", "MAX");
    const char *rounding = sqz_caffe_text(message, "round_mode", "CEIL");
    bool maximum = strcmp(method, "MAX") == 0 || strcmp(method, "0") == 0, global;
    bool ceil_mode = strcmp(rounding, "FLOOR") != 0 && strcmp(rounding, "1") != 0;
    struct blob out;
    struct sqz_window window;
    if (!maximum && strcmp(method, "AVE") != 0 && strcmp(method, "1") != 0)
        return unsupported(b, layer, "only MAX and AVE pooling");
    SQZ_TRY(want_inputs(b, layer, 1, 1));
    SQZ_TRY(sqz_caffe_bool(message, "global_pooling", false, &global, b->err));
    if (global) return convert_global_pooling(b, layer, maximum);
    SQZ_TRY(read_window(b, message, &window));
    SQZ_TRY(add_node(b, layer, maximum ? SQZ_OP_MAX_POOL : SQZ_OP_AVERAGE_POOL, 1, &out));
    SQZ_TRY(slide(b, layer, &window, ceil_mode, &out));
    union sqz_params *params = &b->model->nodes[out.node].params;
    params->pool.window = window;
    params->pool.ceil_mode = ceil_mode;
    params->pool.divisor = SQZ_DIVISOR_PADDED;
    return set_tops(b, layer, out);
}

/* ---- the other layers --------------------------------------------------- */

static enum sqz_status convert_plain(struct builder *b, const struct layer *layer, enum sqz_op op) {
    struct blob out;
    SQZ_TRY(want_inputs(b, layer, 1, 1));
    SQZ_TRY(add_node(b, layer, op, 1, &out));
    return set_tops(b, layer, out);
}

static enum sqz_status convert_relu(struct builder *b, const struct layer *layer) {
    float slope;
    SQZ_TRY(sqz_caffe_float(sqz_caffe_find(layer->field, "relu_param"), "negative_slope", 0, &slope, b->err));
    SQZ_TRY(convert_plain(b, layer, slope == 0 ? SQZ_OP_RELU : SQZ_OP_LEAKY_RELU));
    if (slope != 0) b->model->nodes[b->model->n_nodes - 1].params.leaky_relu.slope = slope;
    return SQZ_OK;
}

static enum sqz_status convert_sigmoid(struct builder *b, const struct layer *layer) {
    return convert_plain(b, layer, SQZ_OP_SIGMOID);
}

static enum sqz_status convert_tanh(struct builder *b, const struct layer *layer) {
    return convert_plain(b, layer, SQZ_OP_TANH);
}

static enum sqz_status convert_dropout(struct builder *b, const struct layer *layer) {
    return convert_plain(b, layer, SQZ_OP_DROPOUT);
}

static enum sqz_status convert_softmax(struct builder *b, const struct layer *layer) {
    uint32_t axis;
    SQZ_TRY(sqz_caffe_uint(sqz_caffe_find(layer->field, "softmax_param"), "axis", 1, &axis, b->err));
    if (axis != 1) return unsupported(b, layer, "only axis 1");
    SQZ_TRY(convert_plain(b, layer, SQZ_OP_SOFTMAX));
    b->model->nodes[b->model->n_nodes - 1].params.softmax.axis = 1;
    return SQZ_OK;
}

static enum sqz_status convert_lrn(struct builder *b, const struct layer *layer) {
    const struct sqz_caffe_field *message = sqz_caffe_find(layer->field, "lrn_param");
    const char *region = sqz_caffe_text(message, "norm_region", "ACROSS_CHANNELS");
    uint32_t size;
    float alpha, beta, k;
    if (strcmp(region, "ACROSS_CHANNELS") != 0 && strcmp(region, "0") != 0)
        return unsupported(b, layer, "only normalisation across channels");
    SQZ_TRY(sqz_caffe_uint(message, "local_size", 5, &size, b->err));
    SQZ_TRY(sqz_caffe_float(message, "alpha", 1, &alpha, b->err));
    SQZ_TRY(sqz_caffe_float(message, "beta", 0.75f, &beta, b->err));
    SQZ_TRY(sqz_caffe_float(message, "k", 1, &k, b->err));
    if (size % 2 == 0) return unsupported(b, layer, "Caffe allows only odd window sizes");
    SQZ_TRY(convert_plain(b, layer, SQZ_OP_LRN));
    union sqz_params *params = &b->model->nodes[b->model->n_nodes - 1].params;
    params->lrn.size = size;
    params->lrn.alpha = alpha;
    params->lrn.beta = beta;
    params->lrn.k = k;
    return SQZ_OK;
}

static enum sqz_status convert_concat(struct builder *b, const struct layer *layer) {
    const struct sqz_caffe_field *message = sqz_caffe_find(layer->field, "concat_param");
    uint32_t axis;
    struct blob out;
    SQZ_TRY(want_inputs(b, layer, 1, SQZ_MAX_NODES));
    SQZ_TRY(sqz_caffe_uint(message, "concat_dim", 1, &axis, b->err));
    SQZ_TRY(sqz_caffe_uint(message, "axis", axis, &axis, b->err));
    if (axis != 1) return unsupported(b, layer, "only along the channels (axis 1)");
    SQZ_TRY(add_node(b, layer, SQZ_OP_CONCAT, layer->n_inputs, &out));
    b->model->nodes[out.node].params.concat.axis = 1;
    for (size_t i = 1; i < layer->n_inputs; i++) {
        const struct blob *in = input_blob(b, layer, i);
        if (in->height != out.height || in->width != out.width || in->flat != out.flat ||
            __builtin_add_overflow(out.channels, in->channels, &out.channels))
            return does_not_fit(b, layer, in);
    }
    return set_tops(b, layer, out);
}

static enum sqz_status convert_eltwise(struct builder *b, const struct layer *layer) {
    const struct sqz_caffe_field *message = sqz_caffe_find(layer->field, "eltwise_param");
    const char *operation = sqz_caffe_text(message, "operation", "SUM");
    bool product = strcmp(operation, "PROD") == 0 || strcmp(operation, "0") == 0;
    const struct sqz_caffe_field *coefficient = sqz_caffe_find(message, "coeff");
    struct blob out;
    if (!product && strcmp(operation, "SUM") != 0 && strcmp(operation, "1") != 0)
        return unsupported(b, layer, "only SUM and PROD");
    for (; coefficient; coefficient = sqz_caffe_find_next(coefficient))
        if (!coefficient->value || strtof(coefficient->value, NULL) != 1)
            return unsupported(b, layer, "a coefficient differs from 1");
    SQZ_TRY(want_inputs(b, layer, 2, SQZ_MAX_NODES));
    enum sqz_op op = product ? SQZ_OP_MUL : SQZ_OP_ADD;
    SQZ_TRY(add_node(b, layer, op, 2, &out));
    for (size_t i = 1; i < layer->n_inputs; i++) {
        const struct blob *in = input_blob(b, layer, i);
        if (in->channels != out.channels || in->height != out.height || in->width != out.width)
            return does_not_fit(b, layer, in);
        uint32_t operands[2] = {out.node, in->node};
        if (i > 1) SQZ_TRY(sqz_model_add_node(b->model, op, layer->name, operands, 2, &out.node, b->err));
    }
    return set_tops(b, layer, out);
}

static enum sqz_status convert_flatten(struct builder *b, const struct layer *layer) {
    uint32_t axis;
    struct blob out;
    SQZ_TRY(want_inputs(b, layer, 1, 1));
    SQZ_TRY(sqz_caffe_uint(sqz_caffe_find(layer->field, "flatten_param"), "axis", 1, &axis, b->err));
    if (axis != 1) return unsupported(b, layer, "only from axis 1");
    SQZ_TRY(add_node(b, layer, SQZ_OP_FLATTEN, 1, &out));
    if (__builtin_mul_overflow(out.channels, out.height, &out.channels) ||
        __builtin_mul_overflow(out.channels, out.width, &out.channels))
        return does_not_fit(b, layer, &out);
    out.height = out.width = 1;
    out.flat = true;
    return set_tops(b, layer, out);
}

/* Type names: of `layer` messages, and of the older `layers` messages. */
static const struct {
    const char *type, *old_type;
    enum sqz_status (*convert)(struct builder *b, const struct layer *layer);
} converters[] = {
    {"Convolution", "CONVOLUTION", convert_convolution},
    {"InnerProduct", "INNER_PRODUCT", convert_dense},
    {"Pooling", "POOLING", convert_pooling},
    {"ReLU", "RELU", convert_relu},
    {"Sigmoid", "SIGMOID", convert_sigmoid},
    {"TanH", "TANH", convert_tanh},
    {"LRN", "LRN", convert_lrn},
    {"Concat", "CONCAT", convert_concat},
    {"Eltwise", "ELTWISE", convert_eltwise},
    {"Dropout", "DROPOUT", convert_dropout},
    {"Softmax", "SOFTMAX", convert_softmax},
    {"Flatten", "FLATTEN", convert_flatten},
};

/* ---- the whole net ------------------------------------------------------ */

/* Create the model from the four dimensions of its input. */
static enum sqz_status set_input(struct builder *b, const char *name, const uint32_t dims[4]) {
    if (b->model) return sqz_fail(b->err, SQZ_UNSUPPORTED, "the net has more than one input (%s)", name);
    struct sqz_input input = {.channels = dims[1], .height = dims[2], .width = dims[3]};
    sqz_input_preset(dims[1] == 3 ? "caffe" : "raw", &input);
    b->model = b->graph->model = sqz_model_new(&input);
    if (!b->model) return no_memory(b);
    return add_blob(b, name, (struct blob){.channels = dims[1], .height = dims[2], .width = dims[3]});
}

/* The four numbers of repeated fields "input_dim" or "dim". */
static enum sqz_status read_dims(struct builder *b, const struct sqz_caffe_field *first, const char *name,
                                 uint32_t dims[4]) {
    size_t n = 0;
    for (const struct sqz_caffe_field *dim = first; dim; dim = sqz_caffe_find_next(dim), n++)
        if (n < 4) SQZ_TRY(sqz_caffe_field_uint(dim, &dims[n], b->err));
    if (n == 4) return SQZ_OK;
    return sqz_fail(b->err, SQZ_UNSUPPORTED,
                    "input %s has %zu dimensions where batch, channels, height, width are needed", name, n);
}

static enum sqz_status convert_top_level_input(struct builder *b, const struct sqz_caffe_field *net) {
    const struct sqz_caffe_field *input = sqz_caffe_find(net, "input"), *dim = sqz_caffe_find(net, "input_dim");
    uint32_t dims[4];
    if (!input || !input->value) return SQZ_OK;
    if (sqz_caffe_find_next(input)) return sqz_fail(b->err, SQZ_UNSUPPORTED, "the net has more than one input");
    if (!dim) dim = sqz_caffe_find(sqz_caffe_find(net, "input_shape"), "dim");
    SQZ_TRY(read_dims(b, dim, input->value, dims));
    return set_input(b, input->value, dims);
}

static enum sqz_status convert_input_layer(struct builder *b, const struct layer *layer) {
    const char *top = sqz_caffe_text(layer->field, "top", layer->name);
    const struct sqz_caffe_field *shape = sqz_caffe_find(sqz_caffe_find(layer->field, "input_param"), "shape");
    uint32_t dims[4];
    SQZ_TRY(read_dims(b, sqz_caffe_find(shape, "dim"), top, dims));
    return set_input(b, top, dims);
}

static enum sqz_status find_inputs(struct builder *b, struct layer *layer) {
    const struct sqz_caffe_field *first = sqz_caffe_find(layer->field, "bottom");
    size_t n = 0;
    for (const struct sqz_caffe_field *bottom = first; bottom; bottom = sqz_caffe_find_next(bottom)) n++;
    layer->inputs = sqz_arena_alloc(b->arena, n ? n : 1, sizeof *layer->inputs);
    if (!layer->inputs) return no_memory(b);
    for (const struct sqz_caffe_field *bottom = first; bottom; bottom = sqz_caffe_find_next(bottom)) {
        uint32_t *index = &layer->inputs[layer->n_inputs++];
        if (!bottom->value || !sqz_blob_table_get(&b->names, bottom->value, index))
            return sqz_fail(b->err, SQZ_MALFORMED,
                            "layer %s (line %u) uses the blob %s, which no layer before it makes", layer->name,
                            bottom->line, bottom->value ? bottom->value : "(a message)");
        b->blobs[*index].used = true;
    }
    return SQZ_OK;
}

/* Whether the layer exists only while training. */
static bool is_for_training(const struct sqz_caffe_field *layer) {
    const char *phase = sqz_caffe_text(sqz_caffe_find(layer, "include"), "phase", "TEST");
    return strcmp(phase, "TRAIN") == 0 || strcmp(phase, "0") == 0;
}

static enum sqz_status convert_layer(struct builder *b, const struct sqz_caffe_field *field) {
    struct layer layer = {
        .field = field, .name = sqz_caffe_text(field, "name", ""), .type = sqz_caffe_text(field, "type", "(none)")};
    if (is_for_training(field)) return SQZ_OK;
    if (strcmp(layer.type, "Input") == 0) return convert_input_layer(b, &layer);
    for (size_t i = 0; i < sizeof converters / sizeof *converters; i++) {
        if (strcmp(layer.type, converters[i].type) != 0 && strcmp(layer.type, converters[i].old_type) != 0) continue;
        SQZ_TRY(find_inputs(b, &layer));
        SQZ_TRY(want_inputs(b, &layer, 1, SQZ_MAX_NODES));
        return converters[i].convert(b, &layer);
    }
    if (strstr(layer.type, "Data") || strstr(layer.type, "DATA"))
        return unsupported(b, &layer, "this prototxt is for training; the deploy one declares the size of its input");
    return unsupported(b, &layer, "this type is not supported");
}

/* One result, and as a vector when it is one. */
static enum sqz_status finish(struct builder *b) {
    if (!b->model || b->n_blobs < 2) return sqz_fail(b->err, SQZ_MALFORMED, "the net has no input or no layers");
    struct blob *last = &b->blobs[b->n_blobs - 1];
    for (size_t i = 0; i + 1 < b->n_blobs; i++)
        if (!b->blobs[i].used && b->blobs[i].node != last->node)
            return sqz_fail(b->err, SQZ_UNSUPPORTED, "the net has more than one result (%s and %s)",
                            b->model->nodes[b->blobs[i].node].name, b->model->nodes[last->node].name);
    b->model->output = last->node;
    if (last->flat || last->height != 1 || last->width != 1) return SQZ_OK;
    uint32_t node;
    return sqz_model_add_node(b->model, SQZ_OP_FLATTEN, "flatten", &last->node, 1, &node, b->err);
}

static enum sqz_status build(struct builder *b, const struct sqz_caffe_field *net) {
    SQZ_TRY(convert_top_level_input(b, net));
    for (const struct sqz_caffe_field *field = net->children; field; field = field->next)
        if (strcmp(field->name, "layer") == 0 || strcmp(field->name, "layers") == 0) SQZ_TRY(convert_layer(b, field));
    return finish(b);
}

enum sqz_status sqz_caffe_graph_build(const struct sqz_caffe_field *net, struct sqz_arena *arena,
                                      struct sqz_caffe_graph *graph, struct sqz_error *err) {
    *graph = (struct sqz_caffe_graph){0};
    struct builder builder = {.arena = arena, .graph = graph, .names = {.arena = arena}, .err = err};
    enum sqz_status status = build(&builder, net);
    if (status != SQZ_OK) {
        sqz_model_free(graph->model);
        *graph = (struct sqz_caffe_graph){0};
    }
    return status;
}
