/* exif.c - the EXIF orientation of a photograph, and turning its pixels accordingly. */
#include <string.h>

#include "eval/image_parts.h"

/* A TIFF structure in memory, in either byte order. */
struct tiff {
    const uint8_t *data;
    size_t nbytes;
    bool big_endian;
};

/* An unsigned number of 2 or 4 bytes; false when it lies outside the block. */
static bool read_number(const struct tiff *tiff, size_t offset, size_t length, uint32_t *out) {
    if (offset > tiff->nbytes || length > tiff->nbytes - offset) return false;
    uint32_t value = 0;
    for (size_t i = 0; i < length; i++)
        value = value << 8 | tiff->data[offset + (tiff->big_endian ? i : length - 1 - i)];
    *out = value;
    return true;
}

unsigned sqz_exif_orientation(const uint8_t *data, size_t nbytes) {
    enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, ENTRY_NBYTES = 12 };
    if (nbytes < 8 || (memcmp(data, "II*\0", 4) != 0 && memcmp(data, "MM\0*", 4) != 0)) return 1;
    struct tiff tiff = {data, nbytes, data[0] == 'M'};
    uint32_t directory, n_entries;
    if (!read_number(&tiff, 4, 4, &directory) || !read_number(&tiff, directory, 2, &n_entries)) return 1;
    for (uint32_t i = 0; i < n_entries; i++) {
        size_t entry = (size_t)directory + 2 + (size_t)i * ENTRY_NBYTES;
        uint32_t tag, type, value;
        if (!read_number(&tiff, entry, 2, &tag) || !read_number(&tiff, entry + 2, 2, &type) ||
            !read_number(&tiff, entry + 8, 2, &value))
            return 1;
        if (tag == TAG_ORIENTATION) return type == TYPE_SHORT && value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}

enum sqz_status sqz_image_orient(struct sqz_image *image, unsigned orientation, struct sqz_error *err) {
    if (orientation <= 1 || orientation > 8) return SQZ_OK;
    /* The eight orientations are a transposition (5..8) followed by mirroring of either axis. */
    bool transposed = orientation >= 5;
    bool mirror_x = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    bool mirror_y = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    struct sqz_image turned;
    uint32_t width = transposed ? image->height : image->width, height = transposed ? image->width : image->height;
    SQZ_TRY(sqz_image_new(width, height, image->channels, &turned, err));
    uint8_t *to = turned.pixels;
    for (uint32_t y = 0; y < height; y++) {
        uint32_t from_y = mirror_y ? height - 1 - y : y;
        for (uint32_t x = 0; x < width; x++) {
            uint32_t from_x = mirror_x ? width - 1 - x : x;
            size_t pixel = transposed ? (size_t)from_x * image->width + from_y : (size_t)from_y * image->width + from_x;
            memcpy(to, image->pixels + pixel * image->channels, image->channels);
            to += image->channels;
        }
    }
    sqz_image_free(image);
    *image = turned;
    return SQZ_OK;
}
