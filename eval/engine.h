/* engine.h - inference: a session plans a model once and then runs batches without allocating. */
#ifndef SQZ_EVAL_ENGINE_H
#define SQZ_EVAL_ENGINE_H

#include "lib/model.h"

enum sqz_isa { SQZ_ISA_SCALAR, SQZ_ISA_AVX2, SQZ_ISA_AVX512, SQZ_ISA_NEON };

/* The best level this processor has, lowered by the environment variable SQZ_CPU=scalar|avx2|avx512|neon. */
enum sqz_isa sqz_isa_detect(void);
const char *sqz_isa_name(enum sqz_isa isa);

/* Which form of the weights the kernels compute from: X(CODE, "name"). */
#define SQZ_ENGINE_LIST(X)                                                                                             \
    X(AUTO, "auto")           /* the fastest for each layer, by the plan's cost model */                               \
    X(DENSE, "dense")         /* floats */                                                                             \
    X(CODEBOOK, "codebook")   /* packed levels, wherever the weights are packed and a kernel can */                    \
    X(SPARSE, "sparse")       /* what pruning left, wherever something was pruned and a kernel can */                  \
    X(REFERENCE, "reference") /* plain loops only: the oracle */

enum sqz_engine {
#define X(code, name) SQZ_ENGINE_##code,
    SQZ_ENGINE_LIST(X)
#undef X
        SQZ_N_ENGINES
};

/* What of the weights stays in memory: X(CODE, "name"). */
#define SQZ_RESIDENT_LIST(X)                                                                                           \
    X(AUTO, "auto")     /* whatever the fastest kernel wants */                                                        \
    X(PACKED, "packed") /* the form with the fewest bytes, also where another one is faster */                         \
    X(DENSE, "dense")   /* floats, also where packed weights are faster */

enum sqz_resident {
#define X(code, name) SQZ_RESIDENT_##code,
    SQZ_RESIDENT_LIST(X)
#undef X
        SQZ_N_RESIDENTS
};

const char *sqz_engine_name(enum sqz_engine engine);
const char *sqz_resident_name(enum sqz_resident resident);

/* The value of a name; false when there is none of that name. */
bool sqz_engine_by_name(const char *name, enum sqz_engine *engine);
bool sqz_resident_by_name(const char *name, enum sqz_resident *resident);

/*
 * Multiply-add speed of one core at a level, in operations (two for each
 * multiply-add) per second, measured by a loop of a few milliseconds; 0 for
 * scalar or where the processor lacks the level.
 */
double sqz_isa_peak(enum sqz_isa isa);

struct sqz_session_options {
    uint32_t max_batch;     /* 0: 1 */
    uint32_t height, width; /* 0: those of model->input */
    bool reference;         /* the same as engine SQZ_ENGINE_REFERENCE */
    enum sqz_engine engine;
    enum sqz_resident resident;
    bool profile; /* keep the time of each step: costs two readings of the clock for each */
};

struct sqz_session;

/* One step of a session's plan: a layer with all that was fused into it, or a change of layout. */
struct sqz_step_report {
    const char *layer;  /* name of the node, valid as long as the session */
    const char *op;     /* sqz_op_name() of the layer; "Layout" for a change of layout */
    const char *kernel; /* "conv_winograd_avx512" */
    const char *reason; /* why this kernel: a clause for people */
    bool batch;         /* runs once for all images of a batch */
    double operations;  /* of the plain loops for one image, two for each multiply-add: Winograd and pruning do fewer */
    size_t weight_nbytes;     /* weights and bias as this kernel keeps them; each run reads them once or more */
    size_t activation_nbytes; /* inputs read and outputs written for one image */
    double density;           /* of the weights, 1 where nothing was pruned */
    unsigned n_values;        /* distinct values the packed weights can have; 0 for floats */
    double
        seconds; /* spent here since the session was made or the profile reset, summed over images; 0 without profile */
};

/*
 * Plan `model` (borrowed only during this call; the session keeps its own
 * packed copy of the weights). Packed weights are decoded one at a time
 * into the kernel's layout. SQZ_SHAPE, SQZ_UNSUPPORTED, SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_session_new(const struct sqz_model *model, const struct sqz_session_options *options,
                                struct sqz_session **out, struct sqz_error *err);

/* Shape of the result for one image, without the batch dimension: rank 1 for a classifier. */
const struct sqz_shape *sqz_session_output_shape(const struct sqz_session *session);
size_t sqz_session_output_count(const struct sqz_session *session); /* floats for each image */
size_t sqz_session_input_count(const struct sqz_session *session);  /* floats for each image */

/*
 * Run n <= max_batch images: input [n][c][h][w], output [n][output_count].
 * Uses sqz_threads() threads, but not more than there were when the session
 * was made, over images and within one. The result of an image depends neither
 * on the thread count nor on the other images. Allocates nothing. One session
 * runs one batch at a time.
 */
void sqz_session_run(struct sqz_session *session, const float *input, size_t n, float *output);

/* The steps in the order in which they run. */
size_t sqz_session_step_count(const struct sqz_session *session);
void sqz_session_step(const struct sqz_session *session, size_t index, struct sqz_step_report *report);
void sqz_session_reset_profile(struct sqz_session *session);

size_t sqz_session_nbytes(const struct sqz_session *session);        /* weights and activations held */
size_t sqz_session_weight_nbytes(const struct sqz_session *session); /* of these, the weights */
void sqz_session_free(struct sqz_session *session);

#endif
