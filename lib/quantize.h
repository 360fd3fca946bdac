/* quantize.h - weight sharing by one-dimensional k-means (arXiv 1510.00149 section 3). */
#ifndef SQZ_LIB_QUANTIZE_H
#define SQZ_LIB_QUANTIZE_H

#include "lib/layers.h"

enum sqz_kmeans_method {
    SQZ_KMEANS_LLOYD,   /* Lloyd's iteration from an initialisation */
    SQZ_KMEANS_OPTIMAL, /* the exact one-dimensional optimum */
};

enum sqz_kmeans_init {
    SQZ_INIT_LINEAR,   /* evenly over [min, max]: the paper's best */
    SQZ_INIT_DENSITY,  /* evenly over the cumulative distribution */
    SQZ_INIT_KMEANSPP, /* k-means++ (Arthur & Vassilvitskii 2007), seeded */
};

struct sqz_quantize_options {
    const struct sqz_layer_value *bits; /* n_bits rules, 1..8; default 8 for Conv and 5 for Dense */
    size_t n_bits;
    enum sqz_kmeans_method method;
    enum sqz_kmeans_init init;
    uint64_t seed;
    uint32_t max_iterations; /* of Lloyd; 0: until nothing moves (at most 1000) */
    double rate_weight; /* above 0: then weigh error against code length, see sqz_kmeans_entropy(); 0: error alone */
    void (*progress)(void *context, size_t done, size_t total); /* weights; may be NULL */
    void *progress_context;
};

struct sqz_quantize_stats {
    size_t weight; /* index into model->weights */
    size_t count, nonzero;
    unsigned bits;       /* asked for */
    uint32_t n_codebook; /* centroids in use */
    double mse;          /* mean squared error over the survivors */
    float max_change;    /* max |delta w| */
};

/*
 * Replace every kernel by a codebook of at most 2^bits centroids over its
 * non-zero weights; zero stays exactly zero, and no other weight becomes
 * zero: a cluster of both signs whose mean is exactly 0 takes its member of
 * smallest magnitude as the centroid. Float data of a kernel is freed as soon as it is packed. A kernel with
 * at most 2^bits distinct non-zero values keeps them bit for bit. stats has
 * one entry per kernel. SQZ_NONFINITE, SQZ_ARGUMENT, SQZ_UNKNOWN_LAYER.
 */
enum sqz_status sqz_quantize(struct sqz_model *model, const struct sqz_quantize_options *options,
                             struct sqz_quantize_stats *stats, size_t *n_stats, struct sqz_error *err);

#endif
