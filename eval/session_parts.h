/* session_parts.h - an inference session from the inside; shared by its sources. */
#ifndef SQZ_EVAL_SESSION_PARTS_H
#define SQZ_EVAL_SESSION_PARTS_H

#include "eval/plan.h"

struct sqz_session {
    struct sqz_plan plan;
    struct sqz_shape output_shape;
    size_t input_count, output_count, weights_nbytes;
    size_t threads, slots;
    float *weights;         /* of all steps */
    float *slot_memory;     /* [slots][slot_count] */
    float *batch_memory;    /* [batch_count] */
    float *local_memory;    /* [threads][local_stride] */
    const float **pointers; /* [threads][max_inputs] */
    size_t slot_stride, local_stride;
    double *seconds; /* [threads][n_steps] spent in each step; NULL without a profile */
};

/* Bring the weights of every step into its kernel's order. SQZ_OUT_OF_MEMORY names the layer. */
enum sqz_status sqz_session_pack(struct sqz_session *session, const struct sqz_model *model, struct sqz_error *err);

#endif
