/* image.c - tells image files apart by content and hands them to their decoder. */
#include <string.h>

#include "eval/image_parts.h"

static const struct {
    enum sqz_image_kind kind;
    size_t offset; /* where the signature starts */
    const char *signature;
    size_t length;
    const char *name;
} signatures[] = {
    {SQZ_IMAGE_JPEG, 0, "\xff\xd8\xff", 3, "JPEG"},
    {SQZ_IMAGE_PNG, 0, "\x89PNG\r\n\x1a\n", 8, "PNG"},
    {SQZ_IMAGE_FOREIGN, 0, "GIF8", 4, "GIF"},
    {SQZ_IMAGE_FOREIGN, 0, "BM", 2, "BMP"},
    {SQZ_IMAGE_FOREIGN, 8, "WEBP", 4, "WebP"},
    {SQZ_IMAGE_FOREIGN, 0, "II*\0", 4, "TIFF"},
    {SQZ_IMAGE_FOREIGN, 0, "MM\0*", 4, "TIFF"},
    {SQZ_IMAGE_FOREIGN, 4, "ftyp", 4, "HEIF or AVIF"},
    {SQZ_IMAGE_FOREIGN, 0, "\0\0\0\x0cjP  ", 8, "JPEG 2000"},
    {SQZ_IMAGE_FOREIGN, 0, "\xff\x4f\xff\x51", 4, "JPEG 2000"},
    {SQZ_IMAGE_FOREIGN, 0, "\xff\x0a", 2, "JPEG XL"},
    {SQZ_IMAGE_FOREIGN, 0, "8BPS", 4, "Photoshop"},
    {SQZ_IMAGE_FOREIGN, 0, "P7\n", 3, "PAM"},
    {SQZ_IMAGE_FOREIGN, 0, "\0\0\1\0", 4, "icon"},
};

static bool is_pnm(const uint8_t *data, size_t nbytes) {
    return nbytes >= 3 && data[0] == 'P' && data[1] >= '1' && data[1] <= '6' &&
           (data[2] == '#' || data[2] == ' ' || (data[2] >= '\t' && data[2] <= '\r'));
}

enum sqz_image_kind sqz_image_detect(const uint8_t *data, size_t nbytes, const char **name) {
    for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++) {
        size_t end = signatures[i].offset + signatures[i].length;
        if (nbytes >= end && memcmp(data + signatures[i].offset, signatures[i].signature, signatures[i].length) == 0) {
            *name = signatures[i].name;
            return signatures[i].kind;
        }
    }
    bool pnm = is_pnm(data, nbytes);
    *name = pnm ? "PNM" : "text or unknown data";
    return pnm ? SQZ_IMAGE_PNM : SQZ_IMAGE_UNKNOWN;
}

enum sqz_status sqz_image_check_size(uint64_t width, uint64_t height, struct sqz_error *err) {
    unsigned long long w = width, h = height;
    if (width == 0 || height == 0)
        return sqz_fail(err, SQZ_BAD_IMAGE, "the image is empty: it measures %llu x %llu pixels", w, h);
    if (width > SQZ_IMAGE_MAX_SIDE || height > SQZ_IMAGE_MAX_SIDE)
        return sqz_fail(err, SQZ_LIMIT, "the image measures %llu x %llu pixels, more than the limit of %u a side", w, h,
                        SQZ_IMAGE_MAX_SIDE);
    if (width * height > SQZ_IMAGE_MAX_PIXELS)
        return sqz_fail(err, SQZ_LIMIT, "the image measures %llu x %llu pixels, more than the limit of %u pixels", w, h,
                        SQZ_IMAGE_MAX_PIXELS);
    return SQZ_OK;
}

enum sqz_status sqz_image_new(uint64_t width, uint64_t height, uint32_t channels, struct sqz_image *out,
                              struct sqz_error *err) {
    SQZ_TRY(sqz_image_check_size(width, height, err));
    uint8_t *pixels = sqz_alloc((size_t)width * (size_t)height, channels);
    if (!pixels)
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for an image of %u x %u pixels", (unsigned)width,
                        (unsigned)height);
    *out = (struct sqz_image){(uint32_t)width, (uint32_t)height, channels, pixels};
    return SQZ_OK;
}

void sqz_image_free(struct sqz_image *image) {
    sqz_free(image->pixels);
    *image = (struct sqz_image){0};
}

enum sqz_status sqz_image_decode(const void *data, size_t nbytes, bool apply_exif, struct sqz_image *out,
                                 struct sqz_error *err) {
    const char *name;
    unsigned orientation = 1, *wanted = apply_exif ? &orientation : NULL;
    struct sqz_image image = {0};
    if (nbytes == 0) return sqz_fail(err, SQZ_BAD_IMAGE, "the image file is empty (0 bytes)");
    switch (sqz_image_detect(data, nbytes, &name)) {
    case SQZ_IMAGE_JPEG:
        SQZ_TRY(sqz_jpeg_decode(data, nbytes, &image, wanted, err));
        break;
    case SQZ_IMAGE_PNG:
        SQZ_TRY(sqz_png_decode(data, nbytes, &image, wanted, err));
        break;
    case SQZ_IMAGE_PNM:
        SQZ_TRY(sqz_pnm_decode(data, nbytes, &image, err));
        break;
    default:
        return sqz_fail(err, SQZ_BAD_IMAGE, "the content is %s, not a JPEG, PNG or PPM/PGM/PBM image", name);
    }
    enum sqz_status status = sqz_image_orient(&image, orientation, err);
    if (status != SQZ_OK) {
        sqz_image_free(&image);
        return status;
    }
    *out = image;
    return SQZ_OK;
}
