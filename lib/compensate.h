/* compensate.h - pruning and quantising a layer so that the remaining weights make up for each one's error. */
#ifndef SQZ_LIB_COMPENSATE_H
#define SQZ_LIB_COMPENSATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/moments.h"
#include "lib/packed.h"

/*
 * For one layer with float weights W [rows][n_inputs] (rows: output channels;
 * group g owns rows [g rows/n_groups, (g + 1) rows/n_groups)), inputs X in the
 * float net and X~ in the compressed one, all methods minimise
 *
 *     E |W X + b - Wq X~ - b'|^2     over the calibration columns.
 *
 * With b' = b + W mean(X) - Wq mean(X~) the means drop out, and with A, C the
 * centred moments of moments.h (A = own + damping, C = cross + damping) the
 * error is a constant plus tr (W* - Wq) A (W* - Wq)^T with the least-squares
 * target W* = W C A^-1. Columns are rounded one after the other in descending
 * order of A's diagonal, the error of each spread over those still float by
 * the upper Cholesky factor U of A^-1 (GPTQ, Frantar et al., arXiv 2210.17323;
 * Optimal Brain Compression, arXiv 2208.11580): rounding w to q costs exactly
 * ((w - q) / U_jj)^2. Inputs with no variance weigh only as much as the damping.
 *
 * Results do not depend on the thread count.
 */
struct sqz_compensator_options {
    double damping;   /* added to the diagonal, relative to its mean; 0 stands for SQZ_DEFAULT_DAMPING */
    bool keep_zeros;  /* weights of W that are zero stay zero (a mask from earlier pruning) */
    bool keep_target; /* W itself is the target: no least squares on the compressed net's inputs */
};

#define SQZ_DEFAULT_DAMPING 0.01

struct sqz_compensator;

/*
 * Prepare a layer: target, order and factors, which depend on neither step nor
 * bits, so one compensator serves a whole sweep. moments must be finished;
 * they are needed again by every method and must outlive the compensator.
 * weights[rows][n_inputs] are copied. When a block cannot be factored the damping grows
 * tenfold until it can (sqz_compensator_damping() tells).
 * SQZ_NONFINITE, SQZ_ARGUMENT (rows not a multiple of the groups, damping
 * negative or not finite), SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_compensator_new(const struct sqz_moments *moments, const float *weights, size_t rows,
                                    const struct sqz_compensator_options *options, struct sqz_compensator **out,
                                    struct sqz_error *err);
void sqz_compensator_free(struct sqz_compensator *compensator);

/* The largest relative damping that was needed. */
double sqz_compensator_damping(const struct sqz_compensator *compensator);

/*
 * Mean over the inputs of 1 / U_jj^2: the output error per position that a
 * squared weight error of 1 causes after compensation. A relative lambda is
 * an absolute one divided by step^2 times this.
 */
double sqz_compensator_sensitivity(const struct sqz_compensator *compensator);

/* Standard deviation (around zero) of the float weights that are not kept at zero: the unit of relative steps. */
double sqz_compensator_weight_std(const struct sqz_compensator *compensator);

/*
 * What a method did. Errors are sums over output channels per position,
 * without the part that no Wq could avoid; for layers of more than a few million weights and
 * thousands of inputs they are estimated from an eighth of the channels.
 */
struct sqz_compensate_stats {
    size_t count, nonzero;
    double error;        /* tr (W* - Wq) A (W* - Wq)^T */
    double plain_error;  /* the same with W rounded to nearest (pruned by magnitude) without compensation */
    double output_power; /* tr W cross W^T, the variance of the output: the scale of both */
    double nbits;        /* order-0 entropy of the levels, without tables; 0 for pruning */
    double step;         /* uniform levels: the step, or the mean of the steps */
    double lambda;       /* absolute: squared output error per position and bit */
    size_t n_dead;       /* inputs without variance */
};

/* Result of a method. Everything is owned: sqz_compensated_free(). */
struct sqz_compensated {
    struct sqz_packed *packed; /* NULL after pruning */
    float *weights;            /* [rows][n_inputs] the values Wq */
    float *bias_change;        /* [rows] W mean(X) - Wq mean(X~), to be added to the layer's bias */
    struct sqz_compensate_stats stats;
};

void sqz_compensated_free(struct sqz_compensated *result);

/*
 * Uniform levels. All zero but `step` is a good start.
 *
 * With a trellis (trellis.h) levels lie 0.6 * step apart, and take about as many
 * bits as free levels of that step. At equal output error 8 states save 4.5% of the
 * bits, 32 states 5.4%, 256 states 6.3% (SqueezeNet, 2.4 bits for each weight). Layers (or
 * groups) of fewer than SQZ_TRELLIS_MIN_ROWS output channels get free levels.
 */
struct sqz_uniform_options {
    double step;      /* in the weights' own unit, > 0; it grows where a weight would exceed SQZ_MAX_LEVEL */
    bool per_channel; /* one step for each output channel: in proportion to the channel's standard deviation^(1/2) */
    double lambda;    /* price of a bit, in units of step^2 * sqz_compensator_sensitivity(); 0: plain rounding */
    uint32_t passes;  /* of fitting the rate model and rounding again; 0 stands for 2 (1 when lambda is 0) */
    uint32_t sweeps;  /* of coordinate descent after rounding; 0 stands for SQZ_DEFAULT_SWEEPS */
    bool no_sweeps;   /* GPTQ alone */
    bool keep_step;   /* do not refit the step by least squares at the end */
    uint32_t trellis_states; /* 0: levels are free of each other; 4, 8, 16, ... 256: they obey a trellis */
};

#define SQZ_DEFAULT_SWEEPS 4

/* Round to uniform levels. SQZ_ARGUMENT for a bad step or lambda, SQZ_OUT_OF_MEMORY. */
enum sqz_status sqz_compensate_uniform(const struct sqz_compensator *compensator,
                                       const struct sqz_uniform_options *options, struct sqz_compensated *out,
                                       struct sqz_error *err);

/* Weight sharing. All zero but `bits` is a good start. */
struct sqz_codebook_options {
    unsigned bits;   /* 1..SQZ_MAX_BITS: at most 2^bits centroids (zero is not one of them) */
    double lambda;   /* as above, with 12 times the mean squared rounding error of the float weights for step^2 */
    uint32_t passes; /* of rounding and refitting the centroids by least squares; 0 stands for 3 */
    uint32_t sweeps; /* as above */
    bool no_sweeps;
    bool prune; /* zero is one more centroid that weights may round to */
};

/* Share weights. The codebook keeps the promises of packed.h. SQZ_ARGUMENT, SQZ_OUT_OF_MEMORY. */
enum sqz_status sqz_compensate_codebook(const struct sqz_compensator *compensator,
                                        const struct sqz_codebook_options *options, struct sqz_compensated *out,
                                        struct sqz_error *err);

struct sqz_prune_target {
    double density; /* (0, 1]: floor(n (1 - density) + 0.5) weights are zero afterwards, unless more have to be */
    uint32_t block; /* inputs whose mask is chosen at a time; 0 stands for 16, or 128 in large layers */
};

/*
 * Choose the weights to remove by (w / U_jj)^2, what their removal costs when
 * the inputs still to come make up for it, a block of inputs at a time
 * (SparseGPT, Frantar & Alistarh, arXiv 2301.00774). How many each block
 * gives up follows from one threshold for the whole layer. The survivors are
 * updated by the compensation, and by coordinate descent at the end.
 */
enum sqz_status sqz_compensate_prune(const struct sqz_compensator *compensator, const struct sqz_prune_target *target,
                                     struct sqz_compensated *out, struct sqz_error *err);

#endif
