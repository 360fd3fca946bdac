/* session_tools.h - what the tests of the engine share. */
#ifndef SQZ_TESTS_SESSION_TOOLS_H
#define SQZ_TESTS_SESSION_TOOLS_H

#include "eval/engine.h"

/* Values of SQZ_CPU. */
#define N_LEVELS 3
extern const char *const levels[N_LEVELS];

/* A session; a failure fails the test. */
struct sqz_session *session_of(const struct sqz_model *model, uint32_t max_batch, bool reference);

/* n images of random numbers, the same for the same seed; free() it. */
float *random_input(const struct sqz_session *session, size_t n, uint64_t seed);

/* Run n images; free() the result. */
float *run_images(struct sqz_session *session, const float *input, size_t n);

#endif
