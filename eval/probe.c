/* probe.c - how far a changed net's results are from the float net's, on a fixed set of images. */
#include "eval/probe.h"

#include <math.h>

#include "eval/evaluate.h"
#include "eval/model_part.h"
#include "lib/infer.h"

/* Images for each run of the engine: enough for all threads, few enough that activations stay in the cache. */
#define BATCH 16

struct sqz_probe {
    const struct sqz_model *model;
    const float *images;
    size_t n, n_classes;
    bool probabilities;
    float *results;           /* [n][n_classes] of the float net */
    struct sqz_shape *shapes; /* of every node, for one image */
    uint32_t start;           /* node whose values are at hand */
    float *values;            /* [n][value_count]; NULL while start is 0 */
    float *scratch;           /* [BATCH][n_classes] */
};

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory to compare two nets");
}

/* ---- running -------------------------------------------------------------- */

struct run {
    struct sqz_session *session;
    size_t input_count, output_count;
};

static enum sqz_status run_begin(const struct sqz_model *model, const struct sqz_shape *shapes, uint32_t start,
                                 uint32_t end, struct run *run, struct sqz_error *err) {
    struct sqz_model *part = NULL;
    const struct sqz_session_options options = {.max_batch = BATCH};
    SQZ_TRY(sqz_part_new(model, shapes, start, end, &part, err));
    enum sqz_status status = sqz_session_new(part, &options, &run->session, err);
    sqz_part_free(part);
    if (status != SQZ_OK) return status;
    run->input_count = sqz_session_input_count(run->session);
    run->output_count = sqz_session_output_count(run->session);
    return SQZ_OK;
}

/* All values of node `end`, from images. */
static enum sqz_status run_all(const struct sqz_probe *probe, uint32_t end, float **out, size_t *count,
                               struct sqz_error *err) {
    struct run run;
    SQZ_TRY(run_begin(probe->model, probe->shapes, 0, end, &run, err));
    size_t total;
    float *values = NULL;
    if (sqz_mul_size(probe->n, run.output_count, &total)) values = sqz_alloc_aligned(total, sizeof *values);
    for (size_t i = 0; values && i < probe->n; i += BATCH) {
        size_t n = probe->n - i < BATCH ? probe->n - i : BATCH;
        sqz_session_run(run.session, probe->images + i * run.input_count, n, values + i * run.output_count);
    }
    sqz_session_free(run.session);
    if (!values) return no_memory(err);
    *out = values;
    *count = run.output_count;
    return SQZ_OK;
}

static bool all_finite(const float *values, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(values[i])) return false;
    return true;
}

static enum sqz_status prepare(struct sqz_probe *probe, struct sqz_error *err) {
    const struct sqz_model *model = probe->model;
    probe->shapes = sqz_alloc(model->n_nodes, sizeof *probe->shapes);
    if (!probe->shapes) return no_memory(err);
    SQZ_TRY(sqz_infer_shapes(model, 1, 0, 0, probe->shapes, err));
    SQZ_TRY(run_all(probe, model->output, &probe->results, &probe->n_classes, err));
    const struct sqz_shape *shape = &probe->shapes[model->output];
    if (probe->n_classes < 2 || probe->n_classes != shape->dim[1])
        return sqz_fail(err, SQZ_UNSUPPORTED, "the net does not end in a classifier");
    if (!all_finite(probe->results, probe->n * probe->n_classes))
        return sqz_fail(err, SQZ_NONFINITE, "the net's result on the calibration images is not finite");
    probe->probabilities = sqz_model_ends_in_softmax(model);
    probe->scratch = sqz_alloc_aligned(BATCH * probe->n_classes, sizeof *probe->scratch);
    return probe->scratch ? SQZ_OK : no_memory(err);
}

enum sqz_status sqz_probe_new(const struct sqz_model *model, const float *inputs, size_t n, struct sqz_probe **out,
                              struct sqz_error *err) {
    struct sqz_probe *probe = sqz_alloc0(1, sizeof *probe);
    if (!probe) return no_memory(err);
    probe->model = model;
    probe->images = inputs;
    probe->n = n;
    enum sqz_status status = prepare(probe, err);
    if (status != SQZ_OK) {
        sqz_probe_free(probe);
        return status;
    }
    *out = probe;
    return SQZ_OK;
}

void sqz_probe_free(struct sqz_probe *probe) {
    if (!probe) return;
    sqz_free(probe->results);
    sqz_free(probe->shapes);
    sqz_free(probe->values);
    sqz_free(probe->scratch);
    sqz_free(probe);
}

size_t sqz_probe_count(const struct sqz_probe *probe) {
    return probe->n;
}

const float *sqz_probe_results(const struct sqz_probe *probe, size_t *n_classes) {
    *n_classes = probe->n_classes;
    return probe->results;
}

/* The last cut before `node`. */
static enum sqz_status last_cut(const struct sqz_probe *probe, uint32_t node, uint32_t *out, struct sqz_error *err) {
    size_t n = probe->model->n_nodes;
    bool *flags = sqz_alloc(2 * n, sizeof *flags);
    if (!flags) return no_memory(err);
    sqz_part_cuts(probe->model, probe->shapes, flags, flags + n);
    *out = node > 0 ? node - 1 : 0;
    while (*out > 0 && !(flags[*out] && flags[n + *out])) --*out;
    sqz_free(flags);
    return SQZ_OK;
}

enum sqz_status sqz_probe_start_at(struct sqz_probe *probe, uint32_t node, struct sqz_error *err) {
    uint32_t cut = 0;
    SQZ_TRY(last_cut(probe, node, &cut, err));
    if (cut == probe->start) return SQZ_OK;
    sqz_free(probe->values);
    probe->values = NULL;
    probe->start = 0;
    if (cut == 0) return SQZ_OK;
    size_t count;
    SQZ_TRY(run_all(probe, cut, &probe->values, &count, err));
    probe->start = cut;
    return SQZ_OK;
}

enum sqz_status sqz_probe_measure(struct sqz_probe *probe, const struct sqz_model *changed,
                                  struct sqz_divergence *out, struct sqz_error *err) {
    struct run run;
    SQZ_TRY(run_begin(changed, probe->shapes, probe->start, changed->output, &run, err));
    const float *values = probe->values ? probe->values : probe->images;
    double sum = 0;
    size_t same = 0;
    for (size_t i = 0; i < probe->n; i += BATCH) {
        size_t n = probe->n - i < BATCH ? probe->n - i : BATCH;
        sqz_session_run(run.session, values + i * run.input_count, n, probe->scratch);
        for (size_t k = 0; k < n; k++) {
            const float *reference = probe->results + (i + k) * probe->n_classes;
            const float *row = probe->scratch + k * probe->n_classes;
            double kl = sqz_kl_divergence(reference, row, probe->n_classes, probe->probabilities);
            sum += isfinite(kl) ? kl : INFINITY;
            uint32_t best = sqz_best_class(row, probe->n_classes);
            same += best != SQZ_NO_CLASS && best == sqz_best_class(reference, probe->n_classes);
        }
    }
    sqz_session_free(run.session);
    out->kl = sum / (double)probe->n;
    out->agreement = (double)same / (double)probe->n;
    return SQZ_OK;
}
