/* fuzz_model.c - libFuzzer target: any bytes as a model file of any format. */
#include <stdint.h>
#include <stddef.h>

#include "formats/formats.h"

/* Small enough that a bomb shows as a refusal and not as a slow run. */
#define FUZZ_MAX_NBYTES ((size_t)64 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
    struct sqz_source source = {.path = "fuzz", .data = data, .nbytes = nbytes};
    struct sqz_read_options options = {.max_nbytes = FUZZ_MAX_NBYTES};
    for (const struct sqz_format *format = sqz_formats; format->name; format++) {
        struct sqz_model *model;
        struct sqz_error err = {0};
        if (!format->probe || !format->probe(&source)) continue;
        if (format->read(&source, &options, &model, &err) == SQZ_OK) sqz_model_free(model);
    }
    return 0;
}
