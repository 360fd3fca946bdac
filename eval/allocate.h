/* allocate.h - how coarse each layer may be: one point on each layer's curve, the best for a number of bits. */
#ifndef SQZ_EVAL_ALLOCATE_H
#define SQZ_EVAL_ALLOCATE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/status.h"

/* One measurement of one layer, the others left alone. */
struct sqz_curve_point {
    double setting; /* what is varied, above 0: a step, a number of bits, a density */
    double nbits;   /* coded size of the layer */
    double kl;      /* divergence of the whole net's result, in nats; 0 or less counts as very small */
    double error;   /* squared error of the layer's output relative to its variance; 0 or less: not known */
};

/*
 * The measurements of one layer, ascending or descending in `setting`. On a
 * smooth curve any setting within (and a little beyond, see SQZ_CURVE_MARGIN)
 * the measured ones may be chosen; on another only the measured ones.
 */
struct sqz_curve {
    size_t n_points; /* at least 1 */
    const struct sqz_curve_point *points;
    bool smooth;
};

/* How far a smooth curve is continued at each end: by a factor of 2, one more of the sweep's usual intervals. */
#define SQZ_CURVE_MARGIN 2.0

/* The choice for one layer. */
struct sqz_choice {
    double setting;
    double nbits; /* as the curve says */
    double kl;
};

/* A lambda at or below this means that bits cost nothing: every layer has its finest point. */
#define SQZ_ALLOCATION_FREE 1e-18

struct sqz_allocation {
    double nbits;  /* sum over the layers */
    double kl;     /* the same; see sqz_allocate() */
    double lambda; /* nats one would pay for a bit less */
};

/*
 * Choose one point for each of n layers so that the sum of kl is smallest
 * among all choices of at most target_nbits (Lagrange multiplier, found by
 * bisection: Shoham & Gersho 1988; so exact on the convex hull of the curves).
 * When even the smallest choice is larger it is returned, and
 * out->nbits > target_nbits says so.
 *
 * Where all points of a curve have an error, kl is taken to be in proportion
 * to it, with a factor that grows exponentially with the error and is fitted to the
 * points: a divergence over a hundred images has a noise of some 20%, an
 * error over all positions of hundreds of images has none to speak of. On
 * SqueezeNet's layers the factor is constant within that noise up to errors of 0.1.
 * Otherwise log kl is a parabola in log setting on a smooth curve. Errors and
 * nbits are interpolated linearly in log setting. The sum of kl overestimates
 * what the layers cost together when later layers are fitted to the errors
 * of earlier ones; the ratio is nearly constant, so the choice is sound, and the
 * caller who wants the value must measure the ratio once.
 * SQZ_OUT_OF_MEMORY, SQZ_ARGUMENT for an empty curve.
 */
enum sqz_status sqz_allocate(const struct sqz_curve *curves, size_t n, double target_nbits, struct sqz_choice *choices,
                             struct sqz_allocation *out, struct sqz_error *err);

/* The point of a curve at a setting, clamped to the curve's ends. */
enum sqz_status sqz_curve_at(const struct sqz_curve *curve, double setting, struct sqz_choice *out,
                             struct sqz_error *err);

#endif
