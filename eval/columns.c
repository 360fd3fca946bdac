/* columns.c - im2col columns of a layer's inputs at a few output positions. */
#include "eval/columns.h"

#include <string.h>

#include "lib/random.h"

enum sqz_status sqz_columns_of(const struct sqz_model *model, const struct sqz_shape *shapes, size_t node,
                               struct sqz_columns *out, struct sqz_error *err) {
    const struct sqz_node *layer = &model->nodes[node];
    if (layer->op != SQZ_OP_CONV && layer->op != SQZ_OP_DENSE)
        return sqz_fail(err, SQZ_ARGUMENT, "node %s is neither a convolution nor a dense layer", layer->name);
    const struct sqz_shape *in = &shapes[layer->inputs[0]];
    const struct sqz_shape *kernel = &model->weights[layer->kernel].shape;
    if (layer->op == SQZ_OP_DENSE) {
        size_t n = (size_t)kernel->dim[1];
        *out = (struct sqz_columns){
            .n_groups = 1, .n_inputs = n, .out_h = 1, .out_w = 1, .channels = n, .height = 1, .width = 1};
        out->window = (struct sqz_window){
            .kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1, .dilation_h = 1, .dilation_w = 1};
        return SQZ_OK;
    }
    *out = (struct sqz_columns){
        .n_groups = layer->params.conv.groups,
        .n_inputs = (size_t)(kernel->dim[1] * kernel->dim[2] * kernel->dim[3]),
        .out_h = (size_t)shapes[node].dim[2],
        .out_w = (size_t)shapes[node].dim[3],
        .channels = (size_t)in->dim[1],
        .height = (size_t)in->dim[2],
        .width = (size_t)in->dim[3],
        .window = layer->params.conv.window,
    };
    return SQZ_OK;
}

void sqz_columns_sample(const struct sqz_columns *columns, uint64_t seed, size_t n, size_t *positions) {
    size_t all = columns->out_h * columns->out_w;
    struct sqz_random random = sqz_random_seeded(seed);
    for (size_t i = 0; i < n; i++) {
        size_t begin = all * i / n, end = all * (i + 1) / n;
        positions[i] = begin + (size_t)(sqz_random_unit(&random) * (double)(end - begin));
    }
}

/* One column, all channels. */
static void gather_one(const struct sqz_columns *columns, const float *value, size_t position, float *out) {
    const struct sqz_window *w = &columns->window;
    /* In size_t a place before the image wraps around to far behind it, so one comparison tests both borders. */
    size_t top = position / columns->out_w * w->stride_h - w->pad_top;
    size_t left = position % columns->out_w * w->stride_w - w->pad_left;
    for (size_t c = 0; c < columns->channels; c++, value += columns->height * columns->width)
        for (size_t i = 0; i < w->kernel_h; i++) {
            size_t y = top + i * w->dilation_h;
            for (size_t j = 0; j < w->kernel_w; j++) {
                size_t x = left + j * w->dilation_w;
                *out++ = y < columns->height && x < columns->width ? value[y * columns->width + x] : 0;
            }
        }
}

void sqz_columns_gather(const struct sqz_columns *columns, const float *value, const size_t *positions, size_t n,
                        float *out) {
    size_t length = columns->n_groups * columns->n_inputs;
    for (size_t i = 0; i < n; i++) gather_one(columns, value, positions[i], out + i * length);
}
