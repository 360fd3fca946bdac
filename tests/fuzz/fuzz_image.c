/* fuzz_image.c - libFuzzer target: any bytes as an image. */
#include <stddef.h>
#include <stdint.h>

#include "eval/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t nbytes) {
    struct sqz_image image;
    if (sqz_image_decode(data, nbytes, true, &image, NULL) == SQZ_OK) sqz_image_free(&image);
    return 0;
}
