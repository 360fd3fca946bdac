/* conv_layout.c - how convolution kernels cut their weights into panels. */
#include "eval/conv_layout.h"

size_t sqz_panel_count(const struct sqz_layer *layer, size_t lanes) {
    return sqz_divide_up(layer->out_c, lanes * SQZ_GEMM_BLOCKS);
}

struct sqz_panel sqz_panel_at(const struct sqz_layer *layer, size_t lanes, size_t index) {
    struct sqz_panel panel = {.first_out = index * SQZ_GEMM_BLOCKS};
    size_t blocks = sqz_divide_up(layer->out_c, lanes), groups = sqz_layer_groups(layer);
    panel.n_out = blocks - panel.first_out < SQZ_GEMM_BLOCKS ? blocks - panel.first_out : SQZ_GEMM_BLOCKS;
    size_t first = panel.first_out * lanes, last = (panel.first_out + panel.n_out) * lanes - 1;
    if (last >= layer->out_c) last = layer->out_c - 1;
    size_t group_out = layer->out_c / groups, group_in = layer->in_c / groups;
    size_t in_begin = first / group_out * group_in, in_end = (last / group_out + 1) * group_in;
    panel.first_in = in_begin / lanes;
    panel.n_in = sqz_divide_up(in_end, lanes) - panel.first_in;
    size_t left = layer->in_c - (panel.first_in + panel.n_in - 1) * lanes;
    panel.last_run = left < lanes ? left : lanes;
    return panel;
}

size_t sqz_panel_channels(const struct sqz_layer *layer, size_t lanes) {
    if (sqz_layer_groups(layer) == 1) return layer->in_c;
    size_t most = 0, n = sqz_panel_count(layer, lanes);
    for (size_t i = 0; i < n; i++) {
        struct sqz_panel panel = sqz_panel_at(layer, lanes, i);
        size_t channels = (panel.n_in - 1) * lanes + panel.last_run;
        if (channels > most) most = channels;
    }
    return most;
}
