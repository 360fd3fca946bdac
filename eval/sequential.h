/* sequential.h - compresses a whole model layer after layer, each calibrated on the net as compressed so far. */
#ifndef SQZ_EVAL_SEQUENTIAL_H
#define SQZ_EVAL_SEQUENTIAL_H

#include "eval/calibrate.h"
#include "lib/compensate.h"
#include "lib/model_clone.h"

enum sqz_layer_method {
    SQZ_LAYER_SKIP,     /* left as it is */
    SQZ_LAYER_UNIFORM,  /* uniform levels */
    SQZ_LAYER_CODEBOOK, /* weight sharing */
    SQZ_LAYER_PRUNE,    /* zeros, the rest stays float */
};

/* What to do with one layer. All zero but method and its size parameter is a good start. */
struct sqz_layer_setting {
    enum sqz_layer_method method;
    double step;             /* uniform: in units of the standard deviation of the layer's float weights */
    unsigned bits;           /* codebook; uniform with step 0: the step with which max |W| takes level 2^(bits-1) - 1 */
    double density;          /* prune */
    double lambda;           /* uniform and codebook, relative: see compensate.h */
    bool per_channel;        /* uniform */
    bool may_prune;          /* codebook: weights may round to zero */
    uint32_t trellis_states; /* uniform: 0 or 4, 8, ... 256, see struct sqz_uniform_options */
};

/* One compressed layer. */
struct sqz_layer_result {
    size_t node, weight; /* indices into the model */
    struct sqz_layer_setting setting;
    bool reached;              /* the result depends on it; a layer that is not reached is rounded plainly */
    size_t n_inputs, n_blocks; /* of the moments, one group; n_blocks 1: full matrices */
    size_t n_positions;
    double damping; /* that was used */
    struct sqz_compensate_stats stats;
};

struct sqz_sequential_options {
    const struct sqz_layer_setting *settings; /* [model->n_weights], by the kernel's weight index */
    double damping;                           /* relative; 0: SQZ_DEFAULT_DAMPING */
    bool one_pass;    /* statistics of the float net for all layers, instead of the net as compressed so far */
    bool keep_target; /* no least-squares target */
    bool keep_bias;   /* no bias correction */
    struct sqz_collector_options collector;
    /* Called after each layer; false stops the run with SQZ_OK and the layers behind it untouched. May be NULL. */
    bool (*progress)(void *context, size_t done, size_t total, const struct sqz_layer_result *result);
    void *progress_context;
};

/*
 * Compress `model` in place. `reference` holds the float weights (a separate
 * copy, see sqz_model_clone()); both have the same graph. A kernel shared by
 * several nodes is calibrated on the first that is reached. Zeros of
 * the reference's kernels stay zero. Nodes without a bias get one where the
 * correction is not zero. results[model->n_weights at most]; *n_results layers in topological order.
 * The record of calibration images and one line of history are the caller's to add.
 * SQZ_NONFINITE, SQZ_ARGUMENT, SQZ_OUT_OF_MEMORY, errors of sqz_session_new();
 * on error the model holds a mixture and is only good for sqz_model_free().
 */
enum sqz_status sqz_sequential_compress(struct sqz_model *model, const struct sqz_model *reference,
                                        const struct sqz_calibration *calibration,
                                        const struct sqz_sequential_options *options, struct sqz_layer_result *results,
                                        size_t *n_results, struct sqz_error *err);

/*
 * The model's results for calibration images: outputs[n_images][output_count],
 * from sqz_alloc(). For divergences and agreement on calibration images.
 */
enum sqz_status sqz_calibration_outputs(const struct sqz_calibration *calibration, const struct sqz_model *model,
                                        float **outputs, size_t *output_count, struct sqz_error *err);

/* Mean D(reference || model) in nats and agreement of the best class between two such outputs. */
struct sqz_output_distance {
    double mean_kl, agreement;
};
struct sqz_output_distance sqz_output_distance(const float *reference, const float *outputs, size_t n_images,
                                               size_t output_count, bool probabilities);

#endif
