/* plan.h - a model turned into steps: fused graph, kernels, layouts and memory, decided once for each session. */
#ifndef SQZ_EVAL_PLAN_H
#define SQZ_EVAL_PLAN_H

#include "eval/kernels.h"

#define SQZ_NO_INDEX UINT32_MAX

enum sqz_place {
    SQZ_PLACE_INPUT,  /* the caller's input, one image after the other */
    SQZ_PLACE_OUTPUT, /* the caller's output, the same */
    SQZ_PLACE_SLOT,   /* in the arena of one image in flight */
    SQZ_PLACE_IMAGES, /* in the arena that holds every image of the batch, one after the other */
    SQZ_PLACE_BATCH,  /* in that arena, in the BATCH layout */
};

/* Memory for one value, or a slice of another buffer's. Counts and offsets are floats. */
struct sqz_activation {
    enum sqz_place place;
    size_t count;    /* of one image */
    uint32_t parent; /* the buffer it is a slice of, or SQZ_NO_INDEX */
    size_t parent_offset;
    size_t first, last; /* steps between which it is in use */
    size_t offset;      /* in its arena */
};

struct sqz_view {
    uint32_t buffer;
    size_t offset;
};

struct sqz_step {
    const struct sqz_kernel *kernel;
    const char *reason; /* for the choice of the kernel */
    struct sqz_layer layer;
    const char *name;  /* of the node; in the plan's arena */
    uint32_t node;     /* of the model; a change of layout carries the node whose value it moves */
    uint32_t n_scales; /* Scale nodes folded into the weights, in order */
    uint32_t *scales;
    struct sqz_view *in; /* [layer.n_inputs] */
    struct sqz_view out;
    uint32_t shared; /* buffer of the phases' scratch, or SQZ_NO_INDEX */
    bool batch;      /* runs once for all images */
    float *weights;  /* packed; in the session's memory */
};

/* Steps [begin, end) that run image by image, or one step that takes the whole batch. */
struct sqz_stage {
    size_t begin, end;
    bool batch;
};

struct sqz_plan {
    struct sqz_arena arena; /* everything below */
    struct sqz_wish wish;
    size_t lanes, max_batch;
    size_t n_steps, n_buffers, n_stages;
    size_t steps_capacity, buffers_capacity;
    struct sqz_step *steps;
    struct sqz_activation *buffers;
    struct sqz_stage *stages;
    struct sqz_shape *shapes; /* of each node's value for one image */
    size_t slot_count;        /* floats of one image in flight */
    size_t batch_count;       /* floats that hold the whole batch */
    size_t local_count;       /* scratch of one thread */
    size_t max_inputs;        /* of any step */
};

/* Make the plan; sqz_plan_free() in every case. Errors as sqz_session_new(). */
enum sqz_status sqz_plan_make(struct sqz_plan *plan, const struct sqz_model *model, const struct sqz_shape *shapes,
                              size_t max_batch, const struct sqz_wish *wish, struct sqz_error *err);
void sqz_plan_free(struct sqz_plan *plan);

/* ---- parts of sqz_plan_make() ---------------------------------------------- */

/* What fusing found out about a node. */
struct sqz_fused {
    bool live;       /* the output depends on it */
    uint32_t source; /* node whose step computes this node's value; itself unless it was fused or is an identity */
    float low, high; /* clamp of a fused ReLU or Clip */
    uint32_t n_scales;
    uint32_t *scales; /* Scale nodes folded in, in order */
    uint32_t pool;    /* MaxPool that alone uses the value, or SQZ_NO_INDEX: a kernel may take it over */
};

/* fused[n_nodes], from the plan's arena; NULL when memory is short. */
struct sqz_fused *sqz_plan_fuse(struct sqz_plan *plan, const struct sqz_model *model);

/* Cut the steps into stages, and give each buffer its place and offset. */
enum sqz_status sqz_plan_place(struct sqz_plan *plan, struct sqz_error *err);

/* Changes of layout, and plain copies; not in the list since they belong to no operator. */
extern const struct sqz_kernel sqz_kernel_to_blocked, sqz_kernel_to_plain, sqz_kernel_to_batch, sqz_kernel_from_batch,
    sqz_kernel_copy;

/* The buffer that finally holds a view, and where in it. */
static inline struct sqz_view sqz_view_root(const struct sqz_plan *plan, struct sqz_view view) {
    while (plan->buffers[view.buffer].parent != SQZ_NO_INDEX) {
        const struct sqz_activation *buffer = &plan->buffers[view.buffer];
        view = (struct sqz_view){buffer->parent, view.offset + buffer->parent_offset};
    }
    return view;
}

#endif
