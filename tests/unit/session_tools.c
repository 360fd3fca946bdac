/* session_tools.c - what the tests of the engine share. */
#include "tests/unit/session_tools.h"

#include <check.h>
#include <stdlib.h>

#include "tests/unit/random_nets.h"

const char *const levels[N_LEVELS] = {"scalar", "avx2", "avx512"};

struct sqz_session *session_of(const struct sqz_model *model, uint32_t max_batch, bool reference) {
    struct sqz_session_options options = {.max_batch = max_batch, .reference = reference};
    struct sqz_session *session;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_session_new(model, &options, &session, &err) == SQZ_OK, "%s", err.text);
    return session;
}

float *random_input(const struct sqz_session *session, size_t n, uint64_t seed) {
    size_t count = sqz_session_input_count(session) * n;
    float *input = malloc(count * sizeof *input);
    for (size_t i = 0; i < count; i++) input[i] = random_unit(&seed);
    return input;
}

float *run_images(struct sqz_session *session, const float *input, size_t n) {
    float *output = malloc(sqz_session_output_count(session) * n * sizeof *output);
    sqz_session_run(session, input, n, output);
    return output;
}
