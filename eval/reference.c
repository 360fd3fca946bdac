/* reference.c - every operator as plain loops on plain layout, sums in double: the oracle and the last resort. */
#include <math.h>
#include <string.h>

#include "eval/elementwise.h"
#include "eval/pool_window.h"

static float clamp(const struct sqz_layer *layer, double x) {
    float y = (float)x;
    y = y < layer->low ? layer->low : y;
    return y > layer->high ? layer->high : y;
}

static size_t count_of(const struct sqz_shape *shape) {
    size_t count = 1;
    sqz_shape_count(shape, &count); /* cannot fail: shape inference has bounded it */
    return count;
}

/* ---- convolution and dense ------------------------------------------------------ */

/* One output channel. Weights are [out][in/groups][kh][kw], then the bias [out]. */
static void conv_channel(const struct sqz_layer *layer, const struct sqz_io *io, size_t o) {
    const struct sqz_window *w = &layer->params.conv.window;
    size_t groups = layer->params.conv.groups, group_in = layer->in_c / groups;
    size_t taps = (size_t)w->kernel_h * w->kernel_w;
    const float *kernel = io->weights + o * group_in * taps;
    const float *in = io->in[0] + o / (layer->out_c / groups) * group_in * layer->in_h * layer->in_w;
    double bias = io->weights[layer->out_c * group_in * taps + o];
    float *out = io->out + o * layer->out_h * layer->out_w;
    for (size_t oy = 0; oy < layer->out_h; oy++) {
        for (size_t ox = 0; ox < layer->out_w; ox++) {
            double sum = bias;
            for (size_t c = 0; c < group_in; c++)
                for (size_t ky = 0; ky < w->kernel_h; ky++) {
                    size_t y = oy * w->stride_h + ky * w->dilation_h - w->pad_top; /* wraps round above the image */
                    if (y >= layer->in_h) continue;
                    const float *row = in + (c * layer->in_h + y) * layer->in_w;
                    const float *taps_of_row = kernel + (c * w->kernel_h + ky) * w->kernel_w;
                    for (size_t kx = 0; kx < w->kernel_w; kx++) {
                        size_t x = ox * w->stride_w + kx * w->dilation_w - w->pad_left;
                        if (x < layer->in_w) sum += (double)row[x] * (double)taps_of_row[kx];
                    }
                }
            *out++ = clamp(layer, sum);
        }
    }
}

static void dense_output(const struct sqz_layer *layer, const struct sqz_io *io, size_t o) {
    size_t n = layer->in_c * layer->in_h * layer->in_w;
    const float *kernel = io->weights + o * n;
    double sum = io->weights[layer->out_c * n + o];
    for (size_t i = 0; i < n; i++) sum += (double)io->in[0][i] * (double)kernel[i];
    io->out[o] = clamp(layer, sum);
}

/* ---- pooling and normalisation ----------------------------------------------------- */

static void pool_channel(const struct sqz_layer *layer, const struct sqz_io *io, size_t c) {
    const float *in = io->in[0] + c * layer->in_h * layer->in_w;
    float *out = io->out + c * layer->out_h * layer->out_w;
    struct sqz_pooling pooling = sqz_pooling_of(layer);
    for (size_t oy = 0; oy < layer->out_h; oy++)
        for (size_t ox = 0; ox < layer->out_w; ox++) {
            struct sqz_cell cell = sqz_pool_cell(&pooling, oy, ox);
            double sum = 0;
            float most = -INFINITY;
            for (size_t y = cell.y_begin; y < cell.y_end; y += cell.y_step)
                for (size_t x = cell.x_begin; x < cell.x_end; x += cell.x_step) {
                    float value = in[y * layer->in_w + x];
                    sum += (double)value;
                    most = value > most || isnan(value) ? value : most;
                }
            *out++ = layer->op == SQZ_OP_MAX_POOL ? most : (float)(sum / (double)cell.divisor);
        }
}

static void adaptive_pool_channel(const struct sqz_layer *layer, const struct sqz_io *io, size_t c) {
    const float *in = io->in[0] + c * layer->in_h * layer->in_w;
    float *out = io->out + c * layer->out_h * layer->out_w;
    for (size_t oy = 0; oy < layer->out_h; oy++) {
        size_t y0 = oy * layer->in_h / layer->out_h, y1 = sqz_divide_up((oy + 1) * layer->in_h, layer->out_h);
        for (size_t ox = 0; ox < layer->out_w; ox++) {
            size_t x0 = ox * layer->in_w / layer->out_w, x1 = sqz_divide_up((ox + 1) * layer->in_w, layer->out_w);
            double sum = 0;
            for (size_t y = y0; y < y1; y++)
                for (size_t x = x0; x < x1; x++) sum += (double)in[y * layer->in_w + x];
            *out++ = (float)(sum / (double)((y1 - y0) * (x1 - x0)));
        }
    }
}

static void lrn_row(const struct sqz_layer *layer, const struct sqz_io *io, size_t y) {
    size_t area = layer->in_h * layer->in_w, size = layer->params.lrn.size, below = (size - 1) / 2, above = size / 2;
    for (size_t at = y * layer->in_w; at < (y + 1) * layer->in_w; at++)
        for (size_t c = 0; c < layer->in_c; c++) {
            size_t first = c < below ? 0 : c - below, last = c + above < layer->in_c ? c + above : layer->in_c - 1;
            double sum = 0;
            for (size_t i = first; i <= last; i++)
                sum += (double)io->in[0][i * area + at] * (double)io->in[0][i * area + at];
            double base = (double)layer->params.lrn.k + (double)layer->params.lrn.alpha / (double)size * sum;
            io->out[c * area + at] =
                (float)((double)io->in[0][c * area + at] * pow(base, -(double)layer->params.lrn.beta));
        }
}

static void scale_channel(const struct sqz_layer *layer, const struct sqz_io *io, size_t c) {
    size_t area = count_of(&layer->out) / layer->out_c;
    float scale = io->weights[c], shift = io->weights[layer->out_c + c];
    for (size_t i = c * area; i < (c + 1) * area; i++) io->out[i] = io->in[0][i] * scale + shift;
}

/* ---- moving and joining --------------------------------------------------------------- */

static void concat(const struct sqz_layer *layer, const struct sqz_io *io) {
    size_t outer = 1, inner = 1, axis = layer->params.concat.axis, offset = 0;
    for (size_t d = 0; d < axis; d++) outer *= layer->out.dim[d];
    for (size_t d = axis + 1; d < layer->out.rank; d++) inner *= layer->out.dim[d];
    size_t row = layer->out.dim[axis] * inner;
    for (size_t i = 0; i < layer->n_inputs; i++) {
        size_t part = layer->in[i].dim[axis] * inner;
        for (size_t o = 0; o < outer; o++)
            memcpy(io->out + o * row + offset, io->in[i] + o * part, part * sizeof(float));
        offset += part;
    }
}

/* An operand [c][1][1] beside one of [c][h][w] is repeated over h and w. */
static void add_or_mul(const struct sqz_layer *layer, const struct sqz_io *io) {
    size_t n = count_of(&layer->out), area = n / layer->out_c;
    size_t divide_a = count_of(&layer->in[0]) == n ? 1 : area, divide_b = count_of(&layer->in[1]) == n ? 1 : area;
    for (size_t i = 0; i < n; i++) {
        float a = io->in[0][i / divide_a], b = io->in[1][i / divide_b];
        io->out[i] = layer->op == SQZ_OP_ADD ? a + b : a * b;
    }
}

static void softmax(const struct sqz_layer *layer, const struct sqz_io *io) {
    size_t inner = 1, axis = layer->params.softmax.axis, length = layer->out.dim[axis], n = count_of(&layer->out);
    for (size_t d = axis + 1; d < layer->out.rank; d++) inner *= layer->out.dim[d];
    for (size_t begin = 0; begin < n; begin += length * inner)
        for (size_t i = begin; i < begin + inner; i++) {
            float most = -INFINITY;
            double sum = 0;
            for (size_t k = 0; k < length; k++) most = fmaxf(most, io->in[0][i + k * inner]);
            for (size_t k = 0; k < length; k++) sum += exp((double)io->in[0][i + k * inner] - (double)most);
            for (size_t k = 0; k < length; k++)
                io->out[i + k * inner] = (float)(exp((double)io->in[0][i + k * inner] - (double)most) / sum);
        }
}

static void pad_channel(const struct sqz_layer *layer, const struct sqz_io *io, size_t c) {
    size_t top = layer->params.pad.top, left = layer->params.pad.left;
    for (size_t y = 0; y < layer->out_h; y++)
        for (size_t x = 0; x < layer->out_w; x++) {
            bool inside = y >= top && y - top < layer->in_h && x >= left && x - left < layer->in_w;
            io->out[(c * layer->out_h + y) * layer->out_w + x] =
                inside ? io->in[0][(c * layer->in_h + y - top) * layer->in_w + x - left] : layer->params.pad.value;
        }
}

/* ---- the kernel ------------------------------------------------------------------------- */

static bool reference_prepare(struct sqz_layer *layer) {
    layer->n_phases = 1;
    layer->pack_items = 1;
    layer->items[0] = 1;
    layer->cost = 1e18; /* any other kernel is cheaper */
    switch (layer->op) {
    case SQZ_OP_CONV:
        layer->weight_count = layer->out_c * (layer->in_c / layer->params.conv.groups) *
                                  layer->params.conv.window.kernel_h * layer->params.conv.window.kernel_w +
                              layer->out_c;
        layer->items[0] = layer->out_c;
        break;
    case SQZ_OP_DENSE:
        layer->weight_count = layer->out_c * layer->in_c * layer->in_h * layer->in_w + layer->out_c;
        layer->items[0] = layer->out_c;
        break;
    case SQZ_OP_SCALE:
        layer->weight_count = 2 * layer->out_c;
        layer->items[0] = layer->out_c;
        break;
    case SQZ_OP_LRN:
        layer->items[0] = layer->in_h;
        break;
    case SQZ_OP_MAX_POOL:
    case SQZ_OP_AVERAGE_POOL:
    case SQZ_OP_GLOBAL_AVERAGE_POOL:
    case SQZ_OP_ADAPTIVE_AVERAGE_POOL:
    case SQZ_OP_PAD:
        layer->items[0] = layer->out_c;
        break;
    default:
        break;
    }
    return true;
}

static void reference_pack(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *packed,
                           size_t item) {
    const float *kernel = weights->kernel, *bias = weights->bias;
    (void)item;
    size_t n = layer->weight_count - layer->out_c;
    memcpy(packed, kernel, n * sizeof *packed);
    for (size_t o = 0; o < layer->out_c; o++) packed[n + o] = bias ? bias[o] : 0;
}

static void reference_run(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item,
                          float *local) {
    (void)phase, (void)local;
    switch (layer->op) {
    case SQZ_OP_CONV:
        conv_channel(layer, io, item);
        break;
    case SQZ_OP_DENSE:
        dense_output(layer, io, item);
        break;
    case SQZ_OP_MAX_POOL:
    case SQZ_OP_AVERAGE_POOL:
    case SQZ_OP_GLOBAL_AVERAGE_POOL:
        pool_channel(layer, io, item);
        break;
    case SQZ_OP_ADAPTIVE_AVERAGE_POOL:
        adaptive_pool_channel(layer, io, item);
        break;
    case SQZ_OP_LRN:
        lrn_row(layer, io, item);
        break;
    case SQZ_OP_SCALE:
        scale_channel(layer, io, item);
        break;
    case SQZ_OP_CONCAT:
        concat(layer, io);
        break;
    case SQZ_OP_ADD:
    case SQZ_OP_MUL:
        add_or_mul(layer, io);
        break;
    case SQZ_OP_SOFTMAX:
        softmax(layer, io);
        break;
    case SQZ_OP_PAD:
        pad_channel(layer, io, item);
        break;
    default: /* one number at a time, or moved as it is */
        for (size_t i = 0, n = count_of(&layer->out); i < n; i++) io->out[i] = sqz_unary(layer, io->in[0][i]);
    }
}

const struct sqz_kernel sqz_kernel_reference_scalar = {
    .name = "reference_scalar",
    .isa = SQZ_ISA_SCALAR,
    .in = SQZ_LAYOUT_PLAIN,
    .out = SQZ_LAYOUT_PLAIN,
    .lanes = 1,
    .prepare = reference_prepare,
    .pack = reference_pack,
    .run = reference_run,
};
