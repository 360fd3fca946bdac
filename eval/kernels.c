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
#if defined(SQZ_HAVE_NEON_KERNELS)
#define IF_neon(...) __VA_ARGS__
#else
#define IF_neon(...)
#endif
#define IF_scalar(...) __VA_ARGS__

const struct sqz_kernel *const sqz_kernels[] = {
#define X(name, level) IF_##level(&sqz_kernel_##name##_##level, )
    SQZ_KERNEL_LIST(X)
#undef X
};

const size_t sqz_n_kernels = sizeof sqz_kernels / sizeof *sqz_kernels;

size_t sqz_isa_lanes(enum sqz_isa isa) {
    static const size_t lanes[] = {1, 8, 16, 4};
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

/* May the kernel be chosen at all? */
static bool allowed(const struct sqz_kernel *kernel, const struct sqz_layer *layer, const struct sqz_wish *wish) {
    if (kernel->isa != SQZ_ISA_SCALAR && kernel->isa != wish->isa) return false;
    if (kernel->pools != layer->pooled) return false;
    if (wish->engine == SQZ_ENGINE_REFERENCE) return kernel == &sqz_kernel_reference_scalar;
    if (wish->resident == SQZ_RESIDENT_DENSE && kernel->form == SQZ_FORM_CODEBOOK) return false;
    return wish->engine != SQZ_ENGINE_DENSE || kernel->form == SQZ_FORM_FLOATS;
}

/* Has the kernel the form that the caller asked for above all others? */
static bool is_preferred(const struct sqz_kernel *kernel, const struct sqz_wish *wish) {
    return (wish->engine == SQZ_ENGINE_CODEBOOK && kernel->form == SQZ_FORM_CODEBOOK) ||
           (wish->engine == SQZ_ENGINE_SPARSE && kernel->form == SQZ_FORM_SPARSE);
}

/*
 * Cost of reading a vector of weights, in vector multiply-adds. Layers beyond FAR bytes come from memory in each run,
 * the others from a shared cache. Measured with bench-kernels on an EPYC 9005 (Zen 5): a dense layer of 37 million
 * floats takes 3.8 ms on one thread, 13 vector multiply-adds of that core for each vector; one of 4 MB takes 4.
 */
#define FAR_BYTES ((size_t)8 << 20)
#define FAR_COST 13
#define NEAR_COST 4

static double reading_cost(const struct sqz_layer *layer, size_t lanes) {
    /* Several images take the layers before the first dense one in turn, and find the weights still in the cache. */
    bool again = layer->op == SQZ_OP_CONV && layer->max_batch > 1;
    double cost = layer->weight_count > FAR_BYTES / sizeof(float) && !again ? FAR_COST : NEAR_COST;
    return cost * (double)layer->weight_count / (double)lanes;
}

/* A candidate and what it is judged by, in this order. */
struct candidate {
    const struct sqz_kernel *kernel;
    struct sqz_layer layer;
    bool preferred;
    size_t size; /* floats of weights, where they decide */
};

static bool is_better(const struct candidate *a, const struct candidate *b) {
    if (!b->kernel) return true;
    if (a->preferred != b->preferred) return a->preferred;
    if (a->size != b->size) return a->size < b->size;
    return a->layer.cost < b->layer.cost;
}

static const char *reason_of(const struct candidate *best, const struct sqz_wish *wish, size_t n) {
    static const char *const by_form[] = {"cheapest of all forms", "packed weights move fewest bytes",
                                          "density is below break-even"};
    if (wish->engine == SQZ_ENGINE_REFERENCE) return "the reference was asked for";
    if (best->preferred) return "its form was asked for";
    if (n == 1) return "the only one that takes it";
    if (wish->resident == SQZ_RESIDENT_PACKED && best->size) return "fewest bytes of weights";
    if (best->layer.weight_count == 0) return "cheapest";
    return by_form[best->kernel->form];
}

const struct sqz_kernel *sqz_kernel_choose(struct sqz_layer *layer, const struct sqz_wish *wish, const char **reason) {
    struct candidate best = {.layer = *layer};
    size_t n = 0;
    for (size_t i = 0; i < sqz_n_kernels; i++) {
        struct candidate candidate = {.kernel = sqz_kernels[i], .layer = *layer};
        if (!allowed(candidate.kernel, layer, wish) || !candidate.kernel->prepare(&candidate.layer)) continue;
        n++;
        candidate.layer.cost += reading_cost(&candidate.layer, candidate.kernel->lanes);
        candidate.preferred = is_preferred(candidate.kernel, wish);
        /* The reference is small as well, but too slow to save memory by. */
        if (wish->resident == SQZ_RESIDENT_PACKED)
            candidate.size = candidate.kernel == &sqz_kernel_reference_scalar ? SIZE_MAX : candidate.layer.weight_count;
        if (is_better(&candidate, &best)) best = candidate;
    }
    *layer = best.layer;
    if (reason && best.kernel) *reason = reason_of(&best, wish, n);
    return best.kernel;
}
