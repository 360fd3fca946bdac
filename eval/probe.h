/* probe.h - how far a changed net's results are from the float net's, on a fixed set of images. */
#ifndef SQZ_EVAL_PROBE_H
#define SQZ_EVAL_PROBE_H

#include "eval/engine.h"

struct sqz_probe;

/* What a changed net does differently, over the probe's images. */
struct sqz_divergence {
    double kl;        /* mean of D(float net || changed net), nats; infinite when a result is not finite */
    double agreement; /* part of the images with the same best class */
};

/*
 * Run `model` (float; borrowed for the probe's life) on n images, inputs
 * [n][c][h][w] (borrowed as well), and keep its results. The net must end in a
 * classifier. SQZ_UNSUPPORTED otherwise, SQZ_NONFINITE when a result is not
 * finite; errors of sqz_session_new().
 */
enum sqz_status sqz_probe_new(const struct sqz_model *model, const float *inputs, size_t n, struct sqz_probe **out,
                              struct sqz_error *err);
void sqz_probe_free(struct sqz_probe *probe);

size_t sqz_probe_count(const struct sqz_probe *probe);

/*
 * From now on nothing before node `node` will change: sqz_probe_measure()
 * then starts at the last node that all paths from there to the result pass
 * through, with values computed once here by the float net. Node 0 is the
 * state after sqz_probe_new(). Memory: one value of the net for each image.
 */
enum sqz_status sqz_probe_start_at(struct sqz_probe *probe, uint32_t node, struct sqz_error *err);

/*
 * Run a changed net: the same graph, other weights (float or packed). The
 * result depends neither on the thread count nor on where it starts.
 */
enum sqz_status sqz_probe_measure(struct sqz_probe *probe, const struct sqz_model *changed,
                                  struct sqz_divergence *out, struct sqz_error *err);

/* The float net's results, [n][n_classes], borrowed. */
const float *sqz_probe_results(const struct sqz_probe *probe, size_t *n_classes);

#endif
