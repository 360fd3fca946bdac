/* pool_window.h - which elements of the image a pooling output covers, and what its average divides by. */
#ifndef SQZ_EVAL_POOL_WINDOW_H
#define SQZ_EVAL_POOL_WINDOW_H

#include "eval/kernels.h"

/* The rows and columns of one output's window that lie inside the image. */
struct sqz_cell {
    size_t y_begin, y_end, y_step;
    size_t x_begin, x_end, x_step;
    size_t divisor; /* at least 1 */
};

/* One dimension of a window at output `o`: inside range, and how many elements lie in the padded image. */
static inline void sqz_window_range(size_t o, size_t size, uint32_t kernel, uint32_t stride, uint32_t dilation,
                                    uint32_t pad_begin, uint32_t pad_end, size_t *begin, size_t *end,
                                    size_t *padded_count) {
    /* All in coordinates of the padded image, where nothing is negative. */
    size_t origin = o * stride, low = pad_begin, high = size + pad_begin, stop = origin + (size_t)kernel * dilation;
    size_t first = origin < low ? origin + sqz_round_up(low - origin, dilation) : origin;
    size_t last = stop < high ? stop : high, edge = stop < high + pad_end ? stop : high + pad_end;
    *padded_count = sqz_divide_up(edge - origin, dilation);
    *begin = first < last ? first - low : 0;
    *end = first < last ? last - low : 0;
}

/* A pooling as its kernels see it. */
struct sqz_pooling {
    struct sqz_window window;
    enum sqz_divisor divisor;
    bool is_max;
    size_t in_h, in_w, out_w;
};

/* Of a MaxPool, AveragePool or GlobalAveragePool; the last is an average whose window is the image. */
static inline struct sqz_pooling sqz_pooling_of(const struct sqz_layer *layer) {
    struct sqz_pooling pooling = {.window = layer->params.pool.window,
                                  .divisor = layer->params.pool.divisor,
                                  .is_max = layer->op == SQZ_OP_MAX_POOL,
                                  .in_h = layer->in_h,
                                  .in_w = layer->in_w,
                                  .out_w = layer->out_w};
    if (layer->op == SQZ_OP_GLOBAL_AVERAGE_POOL) {
        uint32_t height = (uint32_t)layer->in_h, width = (uint32_t)layer->in_w;
        pooling.window = (struct sqz_window){height, width, 1, 1, 1, 1, 0, 0, 0, 0};
        pooling.divisor = SQZ_DIVISOR_KERNEL;
    }
    return pooling;
}

static inline struct sqz_cell sqz_pool_cell(const struct sqz_pooling *pooling, size_t oy, size_t ox) {
    const struct sqz_window *w = &pooling->window;
    struct sqz_cell cell = {.y_step = w->dilation_h, .x_step = w->dilation_w};
    size_t rows, cols;
    sqz_window_range(oy, pooling->in_h, w->kernel_h, w->stride_h, w->dilation_h, w->pad_top, w->pad_bottom,
                     &cell.y_begin, &cell.y_end, &rows);
    sqz_window_range(ox, pooling->in_w, w->kernel_w, w->stride_w, w->dilation_w, w->pad_left, w->pad_right,
                     &cell.x_begin, &cell.x_end, &cols);
    switch (pooling->divisor) {
    case SQZ_DIVISOR_VALID:
        cell.divisor = sqz_divide_up(cell.y_end - cell.y_begin, cell.y_step) *
                       sqz_divide_up(cell.x_end - cell.x_begin, cell.x_step);
        break;
    case SQZ_DIVISOR_PADDED:
        cell.divisor = rows * cols;
        break;
    case SQZ_DIVISOR_KERNEL:
        cell.divisor = (size_t)w->kernel_h * w->kernel_w;
        break;
    }
    if (cell.divisor == 0) cell.divisor = 1;
    return cell;
}

#endif
