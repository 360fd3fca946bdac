/* elementwise.c - operators that treat each number alone, on any layout. */
#include <math.h>

#include "eval/elementwise.h"

float sqz_unary(const struct sqz_layer *layer, float x) {
    switch (layer->op) {
    case SQZ_OP_RELU:
        return x < 0 ? 0 : x;
    case SQZ_OP_LEAKY_RELU:
        return x < 0 ? layer->params.leaky_relu.slope * x : x;
    case SQZ_OP_SIGMOID:
        return 1 / (1 + expf(-x));
    case SQZ_OP_TANH:
        return tanhf(x);
    case SQZ_OP_HARD_SWISH: {
        float gate = x / 6 + 0.5f;
        return x * (gate < 0 ? 0 : gate > 1 ? 1 : gate);
    }
    case SQZ_OP_CLIP:
        x = x < layer->params.clip.low ? layer->params.clip.low : x;
        return x > layer->params.clip.high ? layer->params.clip.high : x;
    default:
        return x;
    }
}

bool sqz_op_is_unary(enum sqz_op op) {
    return op == SQZ_OP_RELU || op == SQZ_OP_LEAKY_RELU || op == SQZ_OP_SIGMOID || op == SQZ_OP_TANH ||
           op == SQZ_OP_HARD_SWISH || op == SQZ_OP_CLIP;
}

static bool elementwise_prepare(struct sqz_layer *layer) {
    bool binary = layer->op == SQZ_OP_ADD || layer->op == SQZ_OP_MUL;
    if (!sqz_op_is_unary(layer->op) && !(binary && sqz_shape_equal(&layer->in[0], &layer->in[1]))) return false;
    layer->n_phases = 1;
    layer->items[0] = 8; /* pieces, enough for a few threads */
    layer->cost = (double)(layer->out_c * layer->out_h * layer->out_w) * 0.5;
    return true;
}

static void elementwise_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                            float *local) {
    (void)phase, (void)local;
    size_t i = sqz_part_begin(layer->flat_count, layer->items[0], item);
    size_t end = sqz_part_begin(layer->flat_count, layer->items[0], item + 1);
    const float *a = io->in[0], *b = layer->n_inputs > 1 ? io->in[1] : NULL;
    float *out = io->out;
    switch (layer->op) {
    case SQZ_OP_ADD:
        for (; i < end; i++) out[i] = a[i] + b[i];
        break;
    case SQZ_OP_MUL:
        for (; i < end; i++) out[i] = a[i] * b[i];
        break;
    case SQZ_OP_RELU:
        for (; i < end; i++) out[i] = a[i] < 0 ? 0 : a[i];
        break;
    default:
        for (; i < end; i++) out[i] = sqz_unary(layer, a[i]);
    }
}

const struct sqz_kernel sqz_kernel_elementwise_scalar = {
    .name = "elementwise_scalar",
    .isa = SQZ_ISA_SCALAR,
    .in = SQZ_LAYOUT_ANY,
    .out = SQZ_LAYOUT_ANY,
    .lanes = 1,
    .prepare = elementwise_prepare,
    .run = elementwise_run,
};
