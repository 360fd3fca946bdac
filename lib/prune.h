/* prune.h - magnitude pruning (Han et al., arXiv 1506.02626 and 1510.00149 section 2). */
#ifndef SQZ_LIB_PRUNE_H
#define SQZ_LIB_PRUNE_H

#include "lib/layers.h"

enum sqz_prune_rule {
    SQZ_PRUNE_DENSITY,     /* keep this fraction of the weights, in (0, 1] */
    SQZ_PRUNE_THRESHOLD,   /* keep |w| > t (and every |w| > 0 for t = 0) */
    SQZ_PRUNE_SENSITIVITY, /* keep |w| > s * standard deviation of the layer's weights */
};

struct sqz_prune_options {
    enum sqz_prune_rule rule;
    const struct sqz_layer_value *values; /* n_values rules; a layer that matches none is left alone */
    size_t n_values;
    bool global;  /* density over all kernels together; layers with a per-layer density are taken out of the pool */
    size_t min_per_layer; /* global scope never leaves a layer fewer than this many weights (of those it had) */
};

struct sqz_prune_stats {
    size_t weight;            /* index into model->weights */
    size_t count;
    size_t nonzero_before, nonzero_after;
    float threshold;          /* largest magnitude removed, 0 when none was */
    float max_change;         /* the same as threshold: max |delta w| */
    bool floored;             /* the global threshold alone would have left fewer than min_per_layer */
};

/*
 * Prune every kernel in place. Exactly floor(n * (1 - density) + 0.5) weights
 * of a layer (or of the pool) are zero afterwards, unless more were zero
 * before; ties in magnitude go by index: the later weight is removed first. A
 * packed kernel keeps its codebook: the removed weights take level 0 and
 * entries that no weight uses any more are dropped. Biases and scales are
 * never touched. stats has one entry per kernel; *n_stats is set.
 * SQZ_NONFINITE, SQZ_ARGUMENT, SQZ_UNKNOWN_LAYER.
 */
enum sqz_status sqz_prune(struct sqz_model *model, const struct sqz_prune_options *options,
                          struct sqz_prune_stats *stats, size_t *n_stats, struct sqz_error *err);

#endif
