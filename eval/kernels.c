/* kernels.c - the table of kernels and the choice among them. */
#include "eval/kernels.h"

#define X(name, level) extern const struct sqz_kernel sqz_kernel_##name##_##level;
SQZ_KERNEL_LIST(X)
#undef X

/* Where the build has no vector kernels at all, the list shrinks to the scalar ones. */
#if defined(SQZ_HAVE_X86_KERNELS)
#define IF_avx512(...) __VA_ARGS__
#define IF_avx2(...) __VA_ARGS__
#else
#define IF_avx512(...)
#define IF_avx2(...)
#endif
#define IF_scalar(...) __VA_ARGS__

const struct sqz_kernel *const sqz_kernels[] = {
#define X(name, level) IF_##level(&sqz_kernel_##name##_##level, )
    SQZ_KERNEL_LIST(X)
#undef X
};

const size_t sqz_n_kernels = sizeof sqz_kernels / sizeof *sqz_kernels;

size_t sqz_isa_lanes(enum sqz_isa isa) {
    static const size_t lanes[] = {1, 8, 16};
    return lanes[isa];
}

void sqz_layer_set_sizes(struct sqz_layer *layer) {
    const struct sqz_shape *in = &layer->in[0], *out = &layer->out;
    bool in_image = in->rank == 4, out_image = out->rank == 4;
    layer->in_c = in->rank > 1 ? in->dim[1] : 1;
    layer->in_h = in_image ? in->dim[2] : 1;
    layer->in_w = in_image ? in->dim[3] : 1;
    layer->out_c = out->rank > 1 ? out->dim[1] : 1;
    layer->out_h = out_image ? out->dim[2] : 1;
    layer->out_w = out_image ? out->dim[3] : 1;
    layer->conv_h = layer->out_h;
    layer->conv_w = layer->out_w;
}

const struct sqz_kernel *sqz_kernel_choose(struct sqz_layer *layer, enum sqz_isa isa, bool reference) {
    const struct sqz_kernel *best = NULL;
    struct sqz_layer chosen = *layer;
    for (size_t i = 0; i < sqz_n_kernels; i++) {
        const struct sqz_kernel *kernel = sqz_kernels[i];
        if (kernel->isa != SQZ_ISA_SCALAR && kernel->isa != isa) continue;
        if (kernel->pools != layer->pooled) continue;
        if (reference && kernel != &sqz_kernel_reference_scalar) continue;
        struct sqz_layer candidate = *layer;
        if (!kernel->prepare(&candidate)) continue;
        if (best && candidate.cost >= chosen.cost) continue;
        best = kernel;
        chosen = candidate;
    }
    *layer = chosen;
    return best;
}
