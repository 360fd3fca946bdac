/* image.h - decoding images and turning them into a network's input. */
#ifndef SQZ_EVAL_IMAGE_H
#define SQZ_EVAL_IMAGE_H

#include "lib/model.h"

/* 8-bit pixels [height][width][channels], channels 1 (grey) or 3 (RGB). */
struct sqz_image {
    uint32_t width, height, channels;
    uint8_t *pixels; /* sqz_alloc()ed */
};

/* Largest side and pixel count that a decoder accepts: a 178-megapixel bomb is refused, as Pillow refuses it. */
#define SQZ_IMAGE_MAX_SIDE 65500u
#define SQZ_IMAGE_MAX_PIXELS (178956970u)

/*
 * Decode a JPEG, PNG, PPM or PGM file in memory, told apart by content, to
 * what Pillow's convert("RGB") gives: CMYK and YCCK inverted as Adobe writes
 * them, palettes expanded, alpha dropped, 16 bits reduced to 8. EXIF
 * orientation is applied only when asked. SQZ_BAD_IMAGE (also for a truncated
 * file), SQZ_LIMIT, SQZ_OUT_OF_MEMORY.
 *
 * It differs from Pillow 9.4 on purpose in these: 16-bit grey keeps its high
 * byte in PNG and is scaled in PGM, where Pillow clips at 255; a PNG with a
 * wrong checksum or corrupt pixel data is refused; PNG text chunks are never
 * unpacked, so damage or bombs in them go unnoticed; orientation is taken from
 * EXIF blocks but not from XMP or text chunks; no side exceeds SQZ_IMAGE_MAX_SIDE.
 */
enum sqz_status sqz_image_decode(const void *data, size_t nbytes, bool apply_exif, struct sqz_image *out,
                                 struct sqz_error *err);
void sqz_image_free(struct sqz_image *image);

/* Resize to width x height; the filters are described at enum sqz_resize_filter. */
enum sqz_status sqz_image_resize(const struct sqz_image *in, uint32_t width, uint32_t height,
                                 enum sqz_resize_filter filter, struct sqz_image *out, struct sqz_error *err);

/* Resize the short side as `input` says, crop the centre (torchvision's rounding); the result has input's size. */
enum sqz_status sqz_image_fit(const struct sqz_image *in, const struct sqz_input *input, struct sqz_image *out,
                              struct sqz_error *err);

/* A fitted image to floats [channels][height][width] in the net's channel order, mean, std and scale. */
void sqz_image_normalize(const struct sqz_image *fitted, const struct sqz_input *input, float *out);

/* decode + fit + normalize in one. */
enum sqz_status sqz_image_load(const void *data, size_t nbytes, const struct sqz_input *input, bool apply_exif,
                               float *out, struct sqz_error *err);

#endif
