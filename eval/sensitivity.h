/* sensitivity.h - what each layer alone costs the whole net, at a few sizes: the sweep that allocation works from. */
#ifndef SQZ_EVAL_SENSITIVITY_H
#define SQZ_EVAL_SENSITIVITY_H

#include "eval/probe.h"
#include "eval/sequential.h"

/* One layer compressed in one way, every other one float. */
struct sqz_sensitivity_point {
    struct sqz_layer_setting setting;
    double nbits;        /* order-0 entropy of the levels; for pruning that of the mask and 8 bits for each survivor */
    double density;      /* weights that are not zero */
    double kl;           /* mean divergence of the net's result on the probe's images, nats */
    double agreement;
    double error;        /* squared error of the layer's output for each position */
    double output_power; /* and its variance, for scale */
};

struct sqz_layer_sensitivity {
    size_t node, weight; /* indices into the model */
    size_t count;        /* weights */
    bool reached;        /* the result depends on it */
    size_t n_points;
    struct sqz_sensitivity_point *points; /* in the order of the settings asked for */
};

struct sqz_sensitivity {
    size_t n_layers; /* those with kernels that are nodes' first, in topological order */
    struct sqz_layer_sensitivity *layers;
    struct sqz_sensitivity_point *memory; /* private */
};

struct sqz_sensitivity_options {
    const struct sqz_layer_setting *settings; /* tried on each layer; what `lambda` means is in compensate.h */
    size_t n_settings;
    bool classic;     /* no compensation: weights rounded to nearest, codebooks by k-means, pruning by magnitude */
    double damping;   /* relative; 0: SQZ_DEFAULT_DAMPING */
    struct sqz_collector_options collector;
    void (*progress)(void *context, size_t done, size_t total); /* may be NULL; counts points */
    void *progress_context;
    const char *cache; /* file that is resumed from and kept up to date after each layer; NULL: none */
    const uint8_t *cache_key; /* [SQZ_SHA256_NBYTES] of everything the result depends on; needed with cache */
};

/*
 * Sweep all layers. `statistics` are the images whose moments compensation
 * works with, `probe` the images (better: others) on which the divergence is
 * measured. A layer that is not reached has no divergence. SQZ_NONFINITE when
 * activations are not finite; SQZ_OUT_OF_MEMORY; SQZ_IO for a cache that
 * cannot be written. A cache with another key, or a damaged one, is replaced;
 * *n_cached tells how many layers came from it.
 */
enum sqz_status sqz_sensitivity_measure(const struct sqz_model *model, const struct sqz_calibration *statistics,
                                        struct sqz_probe *probe, const struct sqz_sensitivity_options *options,
                                        struct sqz_sensitivity *out, size_t *n_cached, struct sqz_error *err);

void sqz_sensitivity_free(struct sqz_sensitivity *sensitivity);

/* A digest of a model's graph and weights, for cache keys; every weight must hold data. SQZ_OUT_OF_MEMORY. */
enum sqz_status sqz_model_digest(const struct sqz_model *model, uint8_t out[SQZ_SHA256_NBYTES], struct sqz_error *err);

/* Compress one layer without calibration, as `classic` does; *out is owned by the caller. */
enum sqz_status sqz_classic_layer(const struct sqz_weight *weight, const struct sqz_layer_setting *setting,
                                  struct sqz_packed **out, struct sqz_error *err);

#endif
