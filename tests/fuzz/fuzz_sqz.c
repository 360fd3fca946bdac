/* fuzz_sqz.c - libFuzzer target: a .sqz that decodes must encode to a file that decodes to the same bytes. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/container.h"

#define FUZZ_MAX_NBYTES ((size_t)16 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
    struct sqz_encode_options options = {.coder = SQZ_CODER_AUTO, .bias = SQZ_BIAS_FP32};
    struct sqz_model *model, *again;
    if (sqz_container_decode(data, nbytes, FUZZ_MAX_NBYTES, &model, NULL) != SQZ_OK) return 0;
    struct sqz_buffer first = {0}, second = {0};
    if (sqz_container_encode(model, &options, &first, NULL) == SQZ_OK) {
        enum sqz_status status = sqz_container_decode(first.data, first.nbytes, 0, &again, NULL);
        assert(status == SQZ_OK);
        status = sqz_container_encode(again, &options, &second, NULL);
        assert(status == SQZ_OK && first.nbytes == second.nbytes && !memcmp(first.data, second.data, first.nbytes));
        sqz_model_free(again);
    }
    sqz_buffer_free(&first);
    sqz_buffer_free(&second);
    sqz_model_free(model);
    return 0;
}
