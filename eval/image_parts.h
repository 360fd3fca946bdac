/* image_parts.h - what the files of the image reader share; private to them. */
#ifndef SQZ_EVAL_IMAGE_PARTS_H
#define SQZ_EVAL_IMAGE_PARTS_H

#include "eval/image.h"

enum sqz_image_kind {
    SQZ_IMAGE_UNKNOWN,
    SQZ_IMAGE_JPEG,
    SQZ_IMAGE_PNG,
    SQZ_IMAGE_PNM,
    SQZ_IMAGE_FOREIGN, /* an image format that is recognised only to be refused by name */
};

/* Kind of a file by its first bytes; *name is what to call it ("JPEG", "GIF", "text or unknown data"). */
enum sqz_image_kind sqz_image_detect(const uint8_t *data, size_t nbytes, const char **name);

/* Hold a size against 0 and the limits of image.h, before anything is allocated. SQZ_BAD_IMAGE, SQZ_LIMIT. */
enum sqz_status sqz_image_check_size(uint64_t width, uint64_t height, struct sqz_error *err);

/* check_size, then allocate uninitialised pixels. */
enum sqz_status sqz_image_new(uint64_t width, uint64_t height, uint32_t channels, struct sqz_image *out,
                              struct sqz_error *err);

/*
 * The decoders. *orientation is the EXIF orientation (1..8, 1 when there is
 * none); NULL when it is not wanted. On failure *out is untouched.
 */
enum sqz_status sqz_jpeg_decode(const uint8_t *data, size_t nbytes, struct sqz_image *out, unsigned *orientation,
                                struct sqz_error *err);
enum sqz_status sqz_png_decode(const uint8_t *data, size_t nbytes, struct sqz_image *out, unsigned *orientation,
                               struct sqz_error *err);
enum sqz_status sqz_pnm_decode(const uint8_t *data, size_t nbytes, struct sqz_image *out, struct sqz_error *err);

/* Orientation (1..8) in an EXIF block that starts with its TIFF header; 1 when absent or damaged. */
unsigned sqz_exif_orientation(const uint8_t *tiff, size_t nbytes);

/* Turn and mirror an image in place so that it appears as its EXIF orientation intends. */
enum sqz_status sqz_image_orient(struct sqz_image *image, unsigned orientation, struct sqz_error *err);

/*
 * The part [left, left + width) x [top, top + height) of `in` resized to
 * full_width x full_height, computed without the rest of it: the same pixels
 * as resizing all and cropping, in memory that depends on `in` and the part only.
 */
struct sqz_resize_part {
    uint32_t full_width, full_height;
    uint32_t left, top, width, height;
};

enum sqz_status sqz_image_resize_part(const struct sqz_image *in, const struct sqz_resize_part *part,
                                      enum sqz_resize_filter filter, struct sqz_image *out, struct sqz_error *err);

#endif
