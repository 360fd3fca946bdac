/* session.c - an inference session: memory for the plan, and the run over threads and images. */
#include <string.h>
#include <time.h>

#include "eval/session_parts.h"
#include "lib/infer.h"
#include "lib/parallel.h"

/* ---- making a session -------------------------------------------------------------- */

static enum sqz_status allocate_memory(struct sqz_session *session, bool profile, struct sqz_error *err) {
    const struct sqz_plan *plan = &session->plan;
    session->threads = (size_t)sqz_threads();
    session->slots = plan->max_batch < session->threads ? plan->max_batch : session->threads;
    session->slot_stride = sqz_round_up(plan->slot_count, 16);
    session->local_stride = sqz_round_up(plan->local_count, 16);
    size_t slots, locals, pointers, times;
    if (!sqz_mul_size(session->slots, session->slot_stride, &slots) ||
        !sqz_mul_size(session->threads, session->local_stride, &locals) ||
        !sqz_mul_size(session->threads, plan->max_inputs, &pointers) ||
        !sqz_mul_size(session->threads, plan->n_steps, &times))
        return sqz_fail(err, SQZ_LIMIT, "the activations are too large");
    session->slot_memory = sqz_alloc_aligned(slots, sizeof(float));
    session->batch_memory = sqz_alloc_aligned(plan->batch_count, sizeof(float));
    session->local_memory = sqz_alloc_aligned(locals, sizeof(float));
    session->pointers = sqz_alloc(pointers, sizeof *session->pointers);
    if (profile) session->seconds = sqz_alloc0(times, sizeof *session->seconds);
    if (!session->slot_memory || !session->batch_memory || !session->local_memory || !session->pointers ||
        (profile && !session->seconds))
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for the activations of %zu images", plan->max_batch);
    return SQZ_OK;
}

/* Names outlive the model. */
static enum sqz_status name_steps(struct sqz_session *session, const struct sqz_model *model, struct sqz_error *err) {
    struct sqz_plan *plan = &session->plan;
    for (size_t i = 0; i < plan->n_steps; i++) {
        plan->steps[i].name = sqz_arena_strdup(&plan->arena, model->nodes[plan->steps[i].node].name);
        if (!plan->steps[i].name) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for the names of the steps");
    }
    return SQZ_OK;
}

static enum sqz_status fill_session(struct sqz_session *session, const struct sqz_model *model,
                                    const struct sqz_session_options *options, struct sqz_shape *shapes,
                                    struct sqz_error *err) {
    size_t max_batch = options->max_batch ? options->max_batch : 1;
    struct sqz_wish wish = {sqz_isa_detect(), options->engine, options->resident};
    if (options->reference) wish.engine = SQZ_ENGINE_REFERENCE;
    if (wish.engine == SQZ_ENGINE_REFERENCE) wish.isa = SQZ_ISA_SCALAR;
    SQZ_TRY(sqz_infer_shapes(model, 1, options->height, options->width, shapes, err));
    SQZ_TRY(sqz_plan_make(&session->plan, model, shapes, max_batch, &wish, err));
    const struct sqz_shape *out = &shapes[model->output];
    sqz_shape_count(&shapes[0], &session->input_count);
    sqz_shape_count(out, &session->output_count);
    session->output_shape.rank = out->rank - 1;
    for (uint32_t d = 1; d < out->rank; d++) session->output_shape.dim[d - 1] = out->dim[d];
    SQZ_TRY(sqz_session_pack(session, model, err));
    SQZ_TRY(name_steps(session, model, err));
    return allocate_memory(session, options->profile, err);
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
    sqz_free(session->weights);
    sqz_free(session->slot_memory);
    sqz_free(session->batch_memory);
    sqz_free(session->local_memory);
    sqz_free(session->pointers);
    sqz_free(session->seconds);
    sqz_plan_free(&session->plan);
    sqz_free(session);
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

/* ---- profile --------------------------------------------------------------------------- */

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* When a step begins; 0 without a profile. */
static double step_begins(const struct sqz_session *session) {
    return session->seconds ? seconds_now() : 0;
}

static void step_ends(const struct sqz_session *session, size_t step, size_t thread, double begin) {
    if (session->seconds) session->seconds[thread * session->plan.n_steps + step] += seconds_now() - begin;
}

/* All steps of the stage for one image, by one thread. */
static void run_image(void *context, size_t index, int thread) {
    const struct run *run = context;
    const struct sqz_session *session = run->session;
    float *local = session->local_memory + (size_t)thread * session->local_stride;
    for (size_t i = run->stage->begin; i < run->stage->end; i++) {
        const struct sqz_step *step = &session->plan.steps[i];
        double begin = step_begins(session);
        struct sqz_io io = make_io(run, step, run->first_image + index, (size_t)thread, (size_t)thread);
        for (unsigned phase = 0; phase < step->layer.n_phases; phase++)
            for (size_t item = 0; item < step->layer.items[phase]; item++)
                step->kernel->run(&step->layer, &io, phase, item, local);
        step_ends(session, i, (size_t)thread, begin);
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
        double begin = thread == 0 ? step_begins(run->session) : 0;
        struct phase phase = {.session = run->session, .step = step};
        phase.io = make_io(run, step, image, 0, (size_t)thread);
        for (; phase.index < step->layer.n_phases; phase.index++)
            sqz_team_for(team, thread, step->layer.items[phase.index], run_item, &phase);
        if (thread == 0) step_ends(run->session, i, 0, begin);
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
