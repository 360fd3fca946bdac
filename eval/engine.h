/* engine.h - inference: a session plans a model once and then runs batches without allocating. */
#ifndef SQZ_EVAL_ENGINE_H
#define SQZ_EVAL_ENGINE_H

#include "lib/model.h"

enum sqz_isa { SQZ_ISA_SCALAR, SQZ_ISA_AVX2, SQZ_ISA_AVX512 };

/* The best level this processor has, lowered by the environment variable SQZ_CPU=scalar|avx2|avx512. */
enum sqz_isa sqz_isa_detect(void);
const char *sqz_isa_name(enum sqz_isa isa);

struct sqz_session_options {
    uint32_t max_batch;      /* 0: 1 */
    uint32_t height, width;  /* 0: those of model->input */
    bool reference;          /* plain loops only: the oracle */
};

struct sqz_session;

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

size_t sqz_session_nbytes(const struct sqz_session *session); /* weights and activations held */
void sqz_session_free(struct sqz_session *session);

#endif
