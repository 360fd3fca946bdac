/* pool_template.h - body of pool_ISA.c; included behind simd_ISA.h. Maximum, average and global average of a window. */
#include <math.h>

#include "eval/kernels.h"
#include "eval/pool_window.h"

enum { PART_CHUNKS };

static bool pool_prepare(struct sqz_layer *layer) {
    if (layer->op != SQZ_OP_MAX_POOL && layer->op != SQZ_OP_AVERAGE_POOL && layer->op != SQZ_OP_GLOBAL_AVERAGE_POOL)
        return false;
    size_t blocks = sqz_divide_up(layer->in_c, LANES), chunks = sqz_divide_up(16, blocks);
    layer->part[PART_CHUNKS] = chunks < layer->out_h ? chunks : layer->out_h;
    layer->n_phases = 1;
    layer->items[0] = blocks * layer->part[PART_CHUNKS];
    layer->cost = (double)blocks * (double)(layer->in_h * layer->in_w);
    return true;
}

static vec pool_cell(const float *in, size_t row_stride, const struct sqz_cell *cell, bool is_max) {
    vec result = vec_set(is_max ? -INFINITY : 0);
    for (size_t y = cell->y_begin; y < cell->y_end; y += cell->y_step)
        for (size_t x = cell->x_begin; x < cell->x_end; x += cell->x_step) {
            vec value = vec_load(in + y * row_stride + x * LANES);
            result = is_max ? vec_max(value, result) : vec_add(result, value);
        }
    return is_max ? result : vec_div(result, vec_set((float)cell->divisor));
}

static void pool_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                     float *local) {
    (void)phase, (void)local;
    size_t chunks = layer->part[PART_CHUNKS], block = item / chunks, chunk = item % chunks;
    const float *in = io->in[0] + block * layer->in_h * layer->in_w * LANES;
    size_t y = sqz_part_begin(layer->out_h, chunks, chunk), end = sqz_part_begin(layer->out_h, chunks, chunk + 1);
    float *out = io->out + (block * layer->out_h + y) * layer->out_w * LANES;
    for (; y < end; y++)
        for (size_t x = 0; x < layer->out_w; x++, out += LANES) {
            struct sqz_cell cell = sqz_pool_cell(layer, y, x);
            vec_store(out, pool_cell(in, layer->in_w * LANES, &cell, layer->op == SQZ_OP_MAX_POOL));
        }
}

const struct sqz_kernel KERNEL(pool) = {
    .name = KERNEL_NAME("pool"),
    .isa = LEVEL,
    .in = SQZ_LAYOUT_BLOCKED,
    .out = SQZ_LAYOUT_BLOCKED,
    .lanes = LANES,
    .prepare = pool_prepare,
    .run = pool_run,
};
