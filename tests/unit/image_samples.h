/* image_samples.h - images that the tests encode themselves, and a scratch folder to put them into. */
#ifndef SQZ_TESTS_IMAGE_SAMPLES_H
#define SQZ_TESTS_IMAGE_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/bytes.h"

/* A PNG as libpng writes it from rows of packed samples (16-bit ones big-endian). */
struct sample_png {
    uint32_t width, height;
    int color_type, depth;
    bool interlaced, transparent; /* transparent: adds a tRNS chunk */
    int n_palette;                /* entry i is (i, 255 - i, 2 i) */
    unsigned orientation;         /* 0: no eXIf chunk */
};

void sample_png_encode(const struct sample_png *png, const uint8_t *rows, struct sqz_buffer *out);

/* A JPEG from interleaved samples; components 1 grey, 3 RGB, 4 inverted CMYK (as YCCK when ycck is set). */
struct sample_jpeg {
    uint32_t width, height;
    int components, quality;
    bool progressive, ycck;
    unsigned orientation; /* 0: no EXIF block */
};

void sample_jpeg_encode(const struct sample_jpeg *jpeg, const uint8_t *samples, struct sqz_buffer *out);

/* A picture that no row or column repeats: [height][width][channels]; free() it. */
uint8_t *sample_pixels(uint32_t width, uint32_t height, uint32_t channels);

/* Two shorthands: an RGB picture as PNG or as baseline JPEG. */
void sample_rgb_png(uint32_t width, uint32_t height, struct sqz_buffer *out);
void sample_rgb_jpeg(uint32_t width, uint32_t height, bool progressive, struct sqz_buffer *out);

/* A fresh folder for this test; removed with all its content by scratch_remove(). */
void scratch_make(void);
void scratch_remove(void);
const char *scratch_path(const char *name); /* valid until the call after the next three */
void scratch_folder(const char *name);
void scratch_write(const char *name, const void *data, size_t nbytes);
void scratch_text(const char *name, const char *text);

/* Path of shared test data in a static buffer, or NULL, with one loud line on stderr, when it is not there. */
const char *shared_path(const char *name);

#endif
