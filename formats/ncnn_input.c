/* ncnn_input.c - finds out what a net in ncnn's format takes in: the file often does not say. */
#include <string.h>

#include "formats/ncnn.h"
#include "lib/infer.h"

/* ---- channels ------------------------------------------------------------ */

/* A whole-number parameter, or the fallback when it is not one: the conversion of the layer reports that. */
static int64_t int_or(const struct sqz_ncnn_layer *layer, int32_t id, int32_t fallback) {
    int32_t value;
    return sqz_ncnn_int(layer, id, fallback, &value, NULL) == SQZ_OK ? value : fallback;
}

/* Channels that the layer needs on its input, 0 when it does not say. */
static uint32_t channels_wanted(const struct sqz_ncnn_layer *layer) {
    int64_t n = 0;
    if (strncmp(layer->type, "Convolution", 11) == 0) {
        int64_t width = int_or(layer, 1, 0), area, each, groups = layer->type[11] ? int_or(layer, 7, 1) : 1;
        if (!__builtin_mul_overflow(width, int_or(layer, 11, (int32_t)width), &area) &&
            !__builtin_mul_overflow(area, int_or(layer, 0, 0), &each) && each > 0)
            n = int_or(layer, 6, 0) / each * groups;
    } else if (strcmp(layer->type, "BatchNorm") == 0 || strcmp(layer->type, "PReLU") == 0 ||
               strcmp(layer->type, "Scale") == 0 || strcmp(layer->type, "Bias") == 0) {
        n = int_or(layer, 0, 0);
        n = n > 1 ? n : 0;
    }
    return n > 0 && n <= INT32_MAX ? (uint32_t)n : 0;
}

/* Whether the outputs of the layer have as many channels as its input. */
static bool keeps_channels(const struct sqz_ncnn_layer *layer) {
    static const char *const changing[] = {"Concat", "Flatten", "Reshape", "InnerProduct"};
    for (size_t i = 0; i < sizeof changing / sizeof *changing; i++)
        if (strcmp(layer->type, changing[i]) == 0) return false;
    return true;
}

/* Follow the input through the layers that keep its channels to one that tells their number. */
static enum sqz_status find_channels(const struct sqz_ncnn_net *net, const char *blob, uint32_t *out,
                                     struct sqz_error *err) {
    struct sqz_arena arena = {0};
    struct sqz_blob_table same = {.arena = &arena};
    bool in_memory = sqz_blob_table_set(&same, blob, 0);
    *out = 0;
    for (size_t i = 0; i < net->n_layers && in_memory && *out == 0; i++) {
        const struct sqz_ncnn_layer *layer = &net->layers[i];
        uint32_t unused;
        if (layer->n_bottoms == 0 || !sqz_blob_table_get(&same, layer->bottoms[0], &unused)) continue;
        *out = channels_wanted(layer);
        if (!keeps_channels(layer)) continue;
        for (uint32_t k = 0; k < layer->n_tops && in_memory; k++)
            in_memory = sqz_blob_table_set(&same, layer->tops[k], 0);
    }
    sqz_arena_free(&arena);
    if (!in_memory) return sqz_ncnn_no_memory(err);
    if (*out == 0)
        return sqz_fail(err, SQZ_UNSUPPORTED, "the file does not tell the number of channels of its input %s", blob);
    return SQZ_OK;
}

static enum sqz_status declared_sizes(const struct sqz_ncnn_layer *layer, struct sqz_input *input,
                                      struct sqz_error *err) {
    int32_t size[3]; /* width, height, channels */
    for (int32_t id = 0; id < 3; id++) {
        SQZ_TRY(sqz_ncnn_int(layer, id, 0, &size[id], err));
        if (size[id] < 0 && size[id] != -1) /* some converters write -1 for "not fixed" */
            return sqz_fail(err, SQZ_MALFORMED, "input layer %s has the size %d", layer->name, size[id]);
        if (size[id] < 0) size[id] = 0;
    }
    if (size[0] > 0 && size[1] == 0)
        return sqz_fail(err, SQZ_UNSUPPORTED, "input layer %s: an input with one dimension is not supported",
                        layer->name);
    input->width = (uint32_t)size[0];
    input->height = (uint32_t)size[1];
    input->channels = (uint32_t)size[2];
    return SQZ_OK;
}

enum sqz_status sqz_ncnn_declared_input(const struct sqz_ncnn_net *net, struct sqz_input *input,
                                        struct sqz_error *err) {
    const struct sqz_ncnn_layer *found = NULL;
    for (size_t i = 0; i < net->n_layers; i++) {
        const struct sqz_ncnn_layer *layer = &net->layers[i];
        if (strcmp(layer->type, "Input") != 0) continue;
        if (found)
            return sqz_fail(err, SQZ_UNSUPPORTED, "the net has more than one input (%s and %s)", found->name,
                            layer->name);
        found = layer;
    }
    if (!found || found->n_tops != 1) return sqz_fail(err, SQZ_MALFORMED, "the net has no input layer with one output");
    *input = (struct sqz_input){0};
    SQZ_TRY(declared_sizes(found, input, err));
    return input->channels ? SQZ_OK : find_channels(net, found->tops[0], &input->channels, err);
}

/* ---- height and width ---------------------------------------------------- */

/* Windows that are settled one by one, each by an inference of all nodes in front: bounds the work on hostile files. */
#define MAX_WINDOWS 1024

/* Nodes looked at in the search for a size: half a second. */
#define SEARCH_BUDGET ((size_t)10000000)

/* Largest side that the search tries; and for sides that differ, where the number of pairs matters. */
#define MAX_SIDE 512
#define MAX_UNEQUAL_SIDE 64

/* Padding of one dimension so that the output is ceil(in / stride). */
static bool same_padding(uint64_t in, uint32_t kernel, uint32_t dilation, uint32_t stride, bool upper, uint32_t *begin,
                         uint32_t *end) {
    if (in == 0 || in > INT32_MAX) return false;
    uint64_t needed = (uint64_t)dilation * (kernel - 1) + 1 + (in - 1) / stride * stride;
    uint64_t total = needed > in ? needed - in : 0;
    if (total > INT32_MAX) return false;
    *begin = (uint32_t)(upper ? total / 2 : total - total / 2);
    *end = (uint32_t)total - *begin;
    return true;
}

/* Settle one window whose input has the shape `in`. */
static bool settle_window(struct sqz_node *node, enum sqz_ncnn_window_rule rule, const struct sqz_shape *in) {
    struct sqz_window *w = node->op == SQZ_OP_CONV ? &node->params.conv.window : &node->params.pool.window;
    if (in->rank != 4 || in->dim[2] > INT32_MAX || in->dim[3] > INT32_MAX) return false;
    if (rule == SQZ_NCNN_WHOLE) {
        *w = (struct sqz_window){(uint32_t)in->dim[2], (uint32_t)in->dim[3], 1, 1, 1, 1, 0, 0, 0, 0};
        return true;
    }
    bool upper = rule == SQZ_NCNN_SAME_UPPER;
    return same_padding(in->dim[2], w->kernel_h, w->dilation_h, w->stride_h, upper, &w->pad_top, &w->pad_bottom) &&
           same_padding(in->dim[3], w->kernel_w, w->dilation_w, w->stride_w, upper, &w->pad_left, &w->pad_right);
}

/* Try one input size; on success the model has it and its windows are settled. */
static enum sqz_status try_size(struct sqz_ncnn_builder *b, uint32_t height, uint32_t width, struct sqz_shape *shapes,
                                struct sqz_error *err) {
    struct sqz_model *model = b->model;
    size_t n_nodes = model->n_nodes;
    enum sqz_status status = SQZ_OK;
    model->input.height = height;
    model->input.width = width;
    for (size_t i = 0; i < b->n_windows && status == SQZ_OK; i++) {
        struct sqz_node *node = &model->nodes[b->windows[i].node];
        model->n_nodes = b->windows[i].node; /* only the nodes in front of it have shapes yet */
        status = sqz_infer_shapes(model, 1, 0, 0, shapes, err);
        if (status == SQZ_OK && !settle_window(node, b->windows[i].rule, &shapes[node->inputs[0]]))
            status = sqz_fail(err, SQZ_SHAPE, "layer %s: its window cannot be fitted to its input", node->name);
    }
    model->n_nodes = n_nodes;
    return status == SQZ_OK ? sqz_infer_shapes(model, 1, 0, 0, shapes, err) : status;
}

/* Sizes that nets with one and with three channels usually have, most usual first. */
static const uint32_t usual_grey[] = {28, 32, 224}, usual_colour[] = {224, 227, 299, 256, 128, 64, 32};

static bool try_usual(struct sqz_ncnn_builder *b, struct sqz_shape *shapes) {
    bool grey = b->model->input.channels == 1;
    const uint32_t *usual = grey ? usual_grey : usual_colour;
    size_t n = grey ? sizeof usual_grey / sizeof *usual_grey : sizeof usual_colour / sizeof *usual_colour;
    for (size_t i = 0; i < n; i++)
        if (try_size(b, usual[i], usual[i], shapes, NULL) == SQZ_OK) return true;
    return false;
}

/* The smallest square that fits, else the most nearly square rectangle. */
static bool search_size(struct sqz_ncnn_builder *b, struct sqz_shape *shapes) {
    size_t cost = b->model->n_nodes * (b->n_windows + 1), spent = 0;
    for (uint32_t side = 1; side <= MAX_SIDE; side++) {
        if ((spent += cost) > SEARCH_BUDGET) return false;
        if (try_size(b, side, side, shapes, NULL) == SQZ_OK) return true;
    }
    for (uint32_t more = 1; more < MAX_UNEQUAL_SIDE; more++)
        for (uint32_t side = 1; side + more <= MAX_UNEQUAL_SIDE; side++) {
            if ((spent += 2 * cost) > SEARCH_BUDGET) return false;
            if (try_size(b, side + more, side, shapes, NULL) == SQZ_OK) return true;
            if (try_size(b, side, side + more, shapes, NULL) == SQZ_OK) return true;
        }
    return false;
}

/* No size fits: say why the most usual one does not. */
static enum sqz_status nothing_fits(struct sqz_ncnn_builder *b, struct sqz_shape *shapes) {
    uint32_t side = b->model->input.channels == 1 ? usual_grey[0] : usual_colour[0];
    struct sqz_error inner = {0};
    enum sqz_status status = try_size(b, side, side, shapes, &inner);
    return sqz_fail(b->err, status,
                    "the file does not declare its input size and none that was tried fits; at %ux%u: %s", side, side,
                    inner.text);
}

enum sqz_status sqz_ncnn_settle_input(struct sqz_ncnn_builder *b, bool *guessed) {
    struct sqz_input *input = &b->model->input;
    *guessed = false;
    if (b->n_windows > MAX_WINDOWS)
        return sqz_fail(b->err, SQZ_LIMIT, "more than %d layers with SAME padding", MAX_WINDOWS);
    struct sqz_shape *shapes = sqz_alloc(b->model->n_nodes, sizeof *shapes);
    if (!shapes) return sqz_ncnn_no_memory(b->err);
    enum sqz_status status = SQZ_OK;
    if (input->height) {
        status = try_size(b, input->height, input->width, shapes, b->err);
    } else if (!try_usual(b, shapes)) {
        *guessed = search_size(b, shapes);
        if (!*guessed) status = nothing_fits(b, shapes);
    }
    sqz_free(shapes);
    return status;
}
