/* session_report.c - what a session tells about itself: shapes, sizes, and each step of its plan. */
#include <string.h>

#include "eval/session_parts.h"

const struct sqz_shape *sqz_session_output_shape(const struct sqz_session *session) {
    return &session->output_shape;
}

size_t sqz_session_output_count(const struct sqz_session *session) {
    return session->output_count;
}

size_t sqz_session_input_count(const struct sqz_session *session) {
    return session->input_count;
}

size_t sqz_session_nbytes(const struct sqz_session *session) {
    size_t floats =
        session->slots * session->slot_stride + session->threads * session->local_stride + session->plan.batch_count;
    return session->weights_nbytes + floats * sizeof(float);
}

size_t sqz_session_weight_nbytes(const struct sqz_session *session) {
    return session->weights_nbytes;
}

/* ---- steps ------------------------------------------------------------------------------ */

size_t sqz_session_step_count(const struct sqz_session *session) {
    return session->plan.n_steps;
}

static double count_of(const struct sqz_shape *shape) {
    size_t count;
    return sqz_shape_count(shape, &count) ? (double)count : 0;
}

/* Operations of the plain loops for one image, two for each multiply-add. */
static double operations_of(const struct sqz_layer *layer) {
    const struct sqz_window *conv = &layer->params.conv.window, *pool = &layer->params.pool.window;
    double inputs = count_of(&layer->in[0]), outputs = count_of(&layer->out);
    switch (layer->op) {
    case SQZ_OP_CONV: {
        double taps = (double)conv->kernel_h * conv->kernel_w;
        double products = (double)layer->conv_h * (double)layer->conv_w * (double)layer->out_c *
                          (double)(layer->in_c / layer->params.conv.groups) * taps;
        double pooled = layer->pooled ? outputs * layer->pool.kernel_h * layer->pool.kernel_w : 0;
        return 2 * products + pooled;
    }
    case SQZ_OP_DENSE:
        return 2 * inputs * outputs;
    case SQZ_OP_MAX_POOL:
    case SQZ_OP_AVERAGE_POOL:
        return outputs * pool->kernel_h * pool->kernel_w;
    case SQZ_OP_GLOBAL_AVERAGE_POOL:
    case SQZ_OP_ADAPTIVE_AVERAGE_POOL:
        return inputs;
    case SQZ_OP_LRN:
        return 2 * inputs * layer->params.lrn.size;
    case SQZ_OP_RESHAPE:
    case SQZ_OP_CONCAT:
    case SQZ_OP_PAD:
        return 0;
    default:
        return outputs;
    }
}

/* Is it a change of layout that the plan put in? */
static bool is_layout(const struct sqz_step *step) {
    return step->layer.op == SQZ_OP_RESHAPE;
}

void sqz_session_step(const struct sqz_session *session, size_t index, struct sqz_step_report *report) {
    const struct sqz_plan *plan = &session->plan;
    const struct sqz_step *step = &plan->steps[index];
    const struct sqz_layer *layer = &step->layer;
    double numbers = count_of(&layer->out);
    for (size_t k = 0; k < layer->n_inputs; k++) numbers += count_of(&layer->in[k]);
    *report = (struct sqz_step_report){
        .layer = step->name,
        .op = is_layout(step) ? "Layout" : sqz_op_name(layer->op),
        .kernel = step->kernel->name,
        .reason = step->reason,
        .batch = step->batch,
        .operations = operations_of(layer),
        .weight_nbytes = layer->weight_count * sizeof(float),
        .activation_nbytes = (size_t)numbers * sizeof(float),
        .density = sqz_op_is_packed(layer->op) ? layer->weights.density : 1,
        .n_values = step->kernel->form == SQZ_FORM_CODEBOOK ? (unsigned)layer->weights.n_values : 0,
    };
    for (size_t t = 0; session->seconds && t < session->threads; t++)
        report->seconds += session->seconds[t * plan->n_steps + index];
}

void sqz_session_reset_profile(struct sqz_session *session) {
    if (session->seconds)
        memset(session->seconds, 0, session->threads * session->plan.n_steps * sizeof *session->seconds);
}
