/* conv_layout.h - how convolution kernels cut their weights into panels; shared by every instruction set. */
#ifndef SQZ_EVAL_CONV_LAYOUT_H
#define SQZ_EVAL_CONV_LAYOUT_H

#include "eval/gemm.h"
#include "eval/kernels.h"

/*
 * A panel holds the weights of SQZ_GEMM_BLOCKS neighbouring blocks of output
 * channels (fewer in the last one). With groups it meets only the input blocks
 * that its groups read; channels of a foreign group in these have weight zero.
 */
struct sqz_panel {
    size_t first_out, n_out; /* in blocks */
    size_t first_in, n_in;   /* in blocks */
    size_t last_run;         /* channels that exist in the last input block */
};

struct sqz_panel sqz_panel_at(const struct sqz_layer *layer, size_t lanes, size_t index);
size_t sqz_panel_count(const struct sqz_layer *layer, size_t lanes);

/* The most input channels (not blocks) that one panel reads. */
size_t sqz_panel_channels(const struct sqz_layer *layer, size_t lanes);

/* Number of groups; a dense layer has one. */
static inline size_t sqz_layer_groups(const struct sqz_layer *layer) {
    return layer->op == SQZ_OP_CONV ? layer->params.conv.groups : 1;
}

/*
 * The weight that joins output channel `out` to input channel `in`, as the
 * kernel_h x kernel_w values of that pair; NULL when there is none because
 * the output does not exist or the two are of different groups.
 */
static inline const float *sqz_pair_weights(const struct sqz_layer *layer, const float *kernel, size_t kernel_size,
                                            size_t out, size_t in) {
    if (out >= layer->out_c) return NULL;
    size_t groups = sqz_layer_groups(layer);
    if (groups == 1) return kernel + (out * layer->in_c + in) * kernel_size;
    size_t group_in = layer->in_c / groups;
    if (out / (layer->out_c / groups) != in / group_in) return NULL;
    return kernel + (out * group_in + in % group_in) * kernel_size;
}

#endif
