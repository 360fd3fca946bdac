/*
 * pool_rows_template.h - one row of pooled outputs; included behind simd_ISA.h.
 * First down the rows of the windows, then across: a 3x3 maximum reads each input row once for every output row.
 */
#include <math.h>

#include "eval/pool_window.h"

INLINE vec pool_join(vec a, vec b, bool is_max) {
    return is_max ? vec_max(a, b) : vec_add(a, b);
}

/* Join the rows of [y_begin, y_end) into row[in_w][L]. Row y lies at in + y % ring * row_stride. */
INLINE void pool_down(const struct sqz_pooling *pooling, const struct sqz_cell *cell, const float *in,
                      size_t row_stride, size_t ring, bool is_max, float *row) {
    size_t n = pooling->in_w * LANES, y = cell->y_begin, step = cell->y_step;
    if (y >= cell->y_end) {
        for (size_t i = 0; i < n; i += LANES) vec_store(row + i, vec_set(is_max ? -INFINITY : 0));
        return;
    }
    const float *first = in + y % ring * row_stride;
    if (y + 2 * step < cell->y_end) {
        const float *second = in + (y + step) % ring * row_stride, *third = in + (y + 2 * step) % ring * row_stride;
        for (size_t i = 0; i < n; i += LANES) {
            vec joined = pool_join(vec_load(first + i), vec_load(second + i), is_max);
            vec_store(row + i, pool_join(joined, vec_load(third + i), is_max));
        }
        y += 3 * step;
    } else {
        for (size_t i = 0; i < n; i += LANES) vec_store(row + i, vec_load(first + i));
        y += step;
    }
    for (; y < cell->y_end; y += step) {
        const float *next = in + y % ring * row_stride;
        for (size_t i = 0; i < n; i += LANES)
            vec_store(row + i, pool_join(vec_load(row + i), vec_load(next + i), is_max));
    }
}

/* Output row oy to out[out_w][L]; row is scratch for in_w * L floats. */
INLINE void pool_row(const struct sqz_pooling *pooling, const float *in, size_t row_stride, size_t ring, size_t oy,
                     bool is_max, float *out, float *row) {
    const struct sqz_window *w = &pooling->window;
    struct sqz_cell cell = sqz_pool_cell(pooling, oy, 0);
    pool_down(pooling, &cell, in, row_stride, ring, is_max, row);
    size_t span = (size_t)(w->kernel_w - 1) * w->dilation_w;
    for (size_t ox = 0; ox < pooling->out_w; ox++, out += LANES) {
        size_t first = ox * w->stride_w - w->pad_left; /* wraps round to the left of the image */
        if (is_max && first < pooling->in_w && span < pooling->in_w - first) {
            const float *from = row + first * LANES;
            vec joined = vec_load(from);
            for (size_t k = 1; k < w->kernel_w; k++)
                joined = pool_join(joined, vec_load(from + k * w->dilation_w * LANES), is_max);
            vec_store(out, joined);
            continue;
        }
        cell = sqz_pool_cell(pooling, oy, ox);
        vec joined = vec_set(is_max ? -INFINITY : 0);
        for (size_t x = cell.x_begin; x < cell.x_end; x += cell.x_step)
            joined = pool_join(joined, vec_load(row + x * LANES), is_max);
        vec_store(out, is_max ? joined : vec_div(joined, vec_set((float)cell.divisor)));
    }
}
