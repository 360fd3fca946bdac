/* session.c - an inference session: packed weights, memory for the plan, and the run over threads and images. */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "eval/plan.h"
#include "lib/infer.h"
#include "lib/parallel.h"

struct sqz_session {
    struct sqz_plan plan;
    struct sqz_shape output_shape;
    size_t input_count, output_count, weights_nbytes;
    size_t threads, slots;
    float *slot_memory;     /* [slots][slot_count] */
    float *batch_memory;    /* [batch_count] */
    float *local_memory;    /* [threads][local_stride] */
    const float **pointers; /* [threads][max_inputs] */
    size_t slot_stride, local_stride;
};

/* ---- weights -------------------------------------------------------------------- */

/* A weight's values: the model's own, or restored or copied into *owned when it is packed or `writable` is set. */
static const float *weight_values(const struct sqz_model *model, uint32_t index, bool writable, float **owned) {
    const struct sqz_weight *weight = &model->weights[index];
    if (weight->data && !writable) return weight->data;
    float *values = *owned = sqz_alloc(weight->count, sizeof *values);
    if (!values) return NULL;
    if (weight->data)
        memcpy(values, weight->data, weight->count * sizeof *values);
    else
        sqz_packed_unpack(weight->packed, weight->shape.rank ? (size_t)weight->shape.dim[0] : 1, values);
    return values;
}

/* Multiply a Scale node into kernel and bias. */
static bool fold_scale(const struct sqz_model *model, const struct sqz_node *node, size_t channels, size_t count,
                       float *kernel, float *bias) {
    float *owned_scale = NULL, *owned_shift = NULL;
    const float *scale = weight_values(model, node->kernel, false, &owned_scale), *shift = NULL;
    if (node->bias != SQZ_NO_WEIGHT) shift = weight_values(model, node->bias, false, &owned_shift);
    bool done = scale && (shift || node->bias == SQZ_NO_WEIGHT);
    for (size_t c = 0; done && c < channels; c++) {
        for (size_t i = 0; i < count / channels; i++) kernel[c * (count / channels) + i] *= scale[c];
        bias[c] = bias[c] * scale[c] + (shift ? shift[c] : 0);
    }
    sqz_free(owned_scale);
    sqz_free(owned_shift);
    return done;
}

/* Pages of 2 MiB for large weights: streaming them took a tenth less time than with pages of 4 KiB. */
static float *alloc_weights(size_t count) {
    float *weights = sqz_alloc_aligned(count, sizeof *weights);
#ifdef MADV_HUGEPAGE
    const uintptr_t page = (uintptr_t)2 << 20;
    uintptr_t begin = ((uintptr_t)weights + page - 1) & ~(page - 1), end = (uintptr_t)(weights + count) & ~(page - 1);
    /* Only advice: where it cannot be followed nothing changes. */
    if (weights && begin < end) (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#endif
    return weights;
}

struct packing {
    const struct sqz_step *step;
    const float *kernel, *bias;
};

static void pack_item(void *context, size_t item, int thread) {
    (void)thread;
    const struct packing *packing = context;
    const struct sqz_step *step = packing->step;
    step->kernel->pack(&step->layer, packing->kernel, packing->bias, step->weights, item);
}

static bool pack_with(const struct sqz_model *model, struct sqz_step *step, float **owned_kernel, float **owned_bias) {
    const struct sqz_node *node = &model->nodes[step->node];
    size_t channels = step->layer.out_c;
    bool folds = step->n_scales > 0;
    struct packing packing = {.step = step};
    packing.kernel = weight_values(model, node->kernel, folds, owned_kernel);
    if (!packing.kernel) return false;
    if (node->bias != SQZ_NO_WEIGHT) {
        packing.bias = weight_values(model, node->bias, folds, owned_bias);
        if (!packing.bias) return false;
    } else if (folds) {
        packing.bias = *owned_bias = sqz_alloc0(channels, sizeof **owned_bias);
        if (!packing.bias) return false;
    }
    for (uint32_t i = 0; i < step->n_scales; i++)
        if (!fold_scale(model, &model->nodes[step->scales[i]], channels, model->weights[node->kernel].count,
                        *owned_kernel, *owned_bias))
            return false;
    step->weights = alloc_weights(step->layer.weight_count);
    if (!step->weights) return false;
    sqz_parallel_for(step->layer.pack_items, pack_item, &packing);
    return true;
}

static enum sqz_status pack_weights(struct sqz_session *session, const struct sqz_model *model, struct sqz_error *err) {
    for (size_t i = 0; i < session->plan.n_steps; i++) {
        struct sqz_step *step = &session->plan.steps[i];
        if (!sqz_op_is_packed(step->layer.op)) continue;
        float *owned_kernel = NULL, *owned_bias = NULL;
        bool packed = pack_with(model, step, &owned_kernel, &owned_bias);
        sqz_free(owned_kernel);
        sqz_free(owned_bias);
        if (!packed)
            return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for the weights of layer %s",
                            model->nodes[step->node].name);
        session->weights_nbytes += step->layer.weight_count * sizeof *step->weights;
    }
    return SQZ_OK;
}

/* ---- making a session -------------------------------------------------------------- */

static enum sqz_status allocate_memory(struct sqz_session *session, struct sqz_error *err) {
    const struct sqz_plan *plan = &session->plan;
    session->threads = (size_t)sqz_threads();
    session->slots = plan->max_batch < session->threads ? plan->max_batch : session->threads;
    session->slot_stride = sqz_round_up(plan->slot_count, 16);
    session->local_stride = sqz_round_up(plan->local_count, 16);
    size_t slots, locals, pointers;
    if (!sqz_mul_size(session->slots, session->slot_stride, &slots) ||
        !sqz_mul_size(session->threads, session->local_stride, &locals) ||
        !sqz_mul_size(session->threads, plan->max_inputs, &pointers))
        return sqz_fail(err, SQZ_LIMIT, "the activations are too large");
    session->slot_memory = sqz_alloc_aligned(slots, sizeof(float));
    session->batch_memory = sqz_alloc_aligned(plan->batch_count, sizeof(float));
    session->local_memory = sqz_alloc_aligned(locals, sizeof(float));
    session->pointers = sqz_alloc(pointers, sizeof *session->pointers);
    if (!session->slot_memory || !session->batch_memory || !session->local_memory || !session->pointers)
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for the activations of %zu images", plan->max_batch);
    return SQZ_OK;
}

static enum sqz_status fill_session(struct sqz_session *session, const struct sqz_model *model,
                                    const struct sqz_session_options *options, struct sqz_shape *shapes,
                                    struct sqz_error *err) {
    size_t max_batch = options->max_batch ? options->max_batch : 1;
    SQZ_TRY(sqz_infer_shapes(model, 1, options->height, options->width, shapes, err));
    SQZ_TRY(sqz_plan_make(&session->plan, model, shapes, max_batch, options->reference, err));
    const struct sqz_shape *out = &shapes[model->output];
    sqz_shape_count(&shapes[0], &session->input_count);
    sqz_shape_count(out, &session->output_count);
    session->output_shape.rank = out->rank - 1;
    for (uint32_t d = 1; d < out->rank; d++) session->output_shape.dim[d - 1] = out->dim[d];
    SQZ_TRY(pack_weights(session, model, err));
    return allocate_memory(session, err);
}

enum sqz_status sqz_session_new(const struct sqz_model *model, const struct sqz_session_options *options,
                                struct sqz_session **out, struct sqz_error *err) {
    static const struct sqz_session_options defaults = {0};
    *out = NULL;
    struct sqz_session *session = sqz_alloc0(1, sizeof *session);
    struct sqz_shape *shapes = sqz_alloc(model->n_nodes, sizeof *shapes);
    enum sqz_status status = session && shapes
                                 ? fill_session(session, model, options ? options : &defaults, shapes, err)
                                 : sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for a session");
    sqz_free(shapes);
    if (status == SQZ_OK)
        *out = session;
    else
        sqz_session_free(session);
    return status;
}

void sqz_session_free(struct sqz_session *session) {
    if (!session) return;
    for (size_t i = 0; i < session->plan.n_steps; i++) sqz_free(session->plan.steps[i].weights);
    sqz_free(session->slot_memory);
    sqz_free(session->batch_memory);
    sqz_free(session->local_memory);
    sqz_free(session->pointers);
    sqz_plan_free(&session->plan);
    sqz_free(session);
}

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

/* ---- running ------------------------------------------------------------------------- */

struct run {
    struct sqz_session *session;
    const float *input;
    float *output;
    size_t n; /* images */
    /* the work that the team shares at the moment */
    const struct sqz_stage *stage;
    size_t first_image;
};

static float *locate(const struct run *run, struct sqz_view view, size_t image, size_t slot) {
    const struct sqz_session *session = run->session;
    const struct sqz_plan *plan = &session->plan;
    view = sqz_view_root(plan, view);
    const struct sqz_activation *buffer = &plan->buffers[view.buffer];
    switch (buffer->place) {
    case SQZ_PLACE_INPUT: /* only ever read */
        return (float *)run->input + image * session->input_count + view.offset;
    case SQZ_PLACE_OUTPUT:
        return run->output + image * session->output_count + view.offset;
    case SQZ_PLACE_SLOT:
        return session->slot_memory + slot * session->slot_stride + buffer->offset + view.offset;
    case SQZ_PLACE_IMAGES:
        return session->batch_memory + buffer->offset + image * sqz_round_up(buffer->count, 16) + view.offset;
    default: /* SQZ_PLACE_BATCH; a change of layout writes or reads one image's lanes of each block */
        return session->batch_memory + buffer->offset + image * plan->lanes + view.offset;
    }
}

/* The pointers of one step, for one image in a slot (image 0 for a batch step). */
static struct sqz_io make_io(const struct run *run, const struct sqz_step *step, size_t image, size_t slot,
                             size_t thread) {
    const struct sqz_session *session = run->session;
    const float **in = session->pointers + thread * session->plan.max_inputs;
    for (size_t k = 0; k < step->layer.n_inputs; k++) in[k] = locate(run, step->in[k], image, slot);
    struct sqz_io io = {.in = in, .weights = step->weights, .images = step->batch ? run->n : 1};
    io.out = locate(run, step->out, image, slot);
    if (step->shared != SQZ_NO_INDEX) io.shared = locate(run, (struct sqz_view){step->shared, 0}, image, slot);
    return io;
}

/* All steps of the stage for one image, by one thread. */
static void run_image(void *context, size_t index, int thread) {
    const struct run *run = context;
    const struct sqz_session *session = run->session;
    float *local = session->local_memory + (size_t)thread * session->local_stride;
    for (size_t i = run->stage->begin; i < run->stage->end; i++) {
        const struct sqz_step *step = &session->plan.steps[i];
        struct sqz_io io = make_io(run, step, run->first_image + index, (size_t)thread, (size_t)thread);
        for (unsigned phase = 0; phase < step->layer.n_phases; phase++)
            for (size_t item = 0; item < step->layer.items[phase]; item++)
                step->kernel->run(&step->layer, &io, phase, item, local);
    }
}

/* One phase of a step that the whole team works on. */
struct phase {
    const struct sqz_session *session;
    const struct sqz_step *step;
    struct sqz_io io;
    unsigned index;
};

static void run_item(void *context, size_t item, int thread) {
    const struct phase *phase = context;
    const struct sqz_session *session = phase->session;
    float *local = session->local_memory + (size_t)thread * session->local_stride;
    phase->step->kernel->run(&phase->step->layer, &phase->io, phase->index, item, local);
}

static void run_together(const struct run *run, struct sqz_team *team, int thread, const struct sqz_stage *stage,
                         size_t image) {
    for (size_t i = stage->begin; i < stage->end; i++) {
        const struct sqz_step *step = &run->session->plan.steps[i];
        struct phase phase = {.session = run->session, .step = step};
        phase.io = make_io(run, step, image, 0, (size_t)thread);
        for (; phase.index < step->layer.n_phases; phase.index++)
            sqz_team_for(team, thread, step->layer.items[phase.index], run_item, &phase);
    }
}

/* What each thread of the team does: stage by stage, whole images as long as there is one for each thread. */
static void run_stages(void *context, struct sqz_team *team, int thread) {
    struct run run = *(const struct run *)context;
    const struct sqz_plan *plan = &run.session->plan;
    size_t threads = (size_t)sqz_team_size(team);
    for (size_t s = 0; s < plan->n_stages; s++) {
        run.stage = &plan->stages[s];
        if (run.stage->batch) {
            run_together(&run, team, thread, run.stage, 0);
            continue;
        }
        size_t alone = run.n / threads * threads; /* no more at a time than there are slots */
        run.first_image = 0;
        if (alone > 0) sqz_team_for(team, thread, alone, run_image, &run);
        for (size_t image = alone; image < run.n; image++) run_together(&run, team, thread, run.stage, image);
    }
}

void sqz_session_run(struct sqz_session *session, const float *input, size_t n, float *output) {
    struct run run = {.session = session, .input = input, .output = output, .n = n};
    sqz_team_run((int)session->threads, run_stages, &run);
}
