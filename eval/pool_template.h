/* pool_template.h - body of pool_ISA.c; included behind simd_ISA.h. Maximum, average and global average of a window. */
#include "eval/pool_rows_template.h"

enum { PART_CHUNKS };

/* Pieces of work to aim at: enough that two to four threads finish together, few enough to cost nothing. */
#define WANTED_ITEMS 16

static bool pool_prepare(struct sqz_layer *layer) {
    if (layer->op != SQZ_OP_MAX_POOL && layer->op != SQZ_OP_AVERAGE_POOL && layer->op != SQZ_OP_GLOBAL_AVERAGE_POOL)
        return false;
    size_t blocks = sqz_divide_up(layer->in_c, LANES), chunks = sqz_divide_up(WANTED_ITEMS, blocks);
    layer->part[PART_CHUNKS] = chunks < layer->out_h ? chunks : layer->out_h;
    layer->n_phases = 1;
    layer->items[0] = blocks * layer->part[PART_CHUNKS];
    layer->local_count = layer->in_w * LANES;
    layer->cost = (double)blocks * (double)(layer->in_h * layer->in_w);
    return true;
}

static void pool_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                     float *local) {
    (void)phase;
    struct sqz_pooling pooling = sqz_pooling_of(layer);
    size_t chunks = layer->part[PART_CHUNKS], block = item / chunks, chunk = item % chunks;
    const float *in = io->in[0] + block * layer->in_h * layer->in_w * LANES;
    size_t y = sqz_part_begin(layer->out_h, chunks, chunk), end = sqz_part_begin(layer->out_h, chunks, chunk + 1);
    float *out = io->out + (block * layer->out_h + y) * layer->out_w * LANES;
    for (; y < end; y++, out += layer->out_w * LANES) {
        if (pooling.is_max)
            pool_row(&pooling, in, layer->in_w * LANES, layer->in_h, y, true, out, local);
        else
            pool_row(&pooling, in, layer->in_w * LANES, layer->in_h, y, false, out, local);
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
