/* preprocess.c - from a decoded image to a network's input: short side, centre crop, colours, mean and std. */
#include <string.h>

#include "eval/image_parts.h"

/* How one axis is cropped or padded: `count` pixels from `from` of the resized image go to `to` of the result. */
struct placement {
    uint32_t from, to, count;
};

/* torchvision's CenterCrop: the offset is (size - crop) / 2 rounded half to even, padding puts the odd pixel last. */
static struct placement place(uint32_t size, uint32_t crop) {
    if (size <= crop) return (struct placement){0, (crop - size) / 2, size};
    uint32_t excess = size - crop, half = excess / 2;
    return (struct placement){excess % 2 ? half + half % 2 : half, 0, crop};
}

/* Size after resizing. torchvision's Resize: the short side as asked, the long one int(short * long / short before). */
static enum sqz_status resized_size(const struct sqz_image *in, const struct sqz_input *input, uint32_t *width,
                                    uint32_t *height, struct sqz_error *err) {
    *width = in->width;
    *height = in->height;
    if (input->squash) {
        *width = input->width;
        *height = input->height;
    } else if (input->resize_short > 0) {
        uint32_t *shorter = in->width <= in->height ? width : height, *longer = shorter == width ? height : width;
        uint64_t scaled = (uint64_t)input->resize_short * *longer / *shorter;
        if (scaled > UINT32_MAX)
            return sqz_fail(err, SQZ_LIMIT, "an image of %u x %u pixels with its short side resized to %u is too long",
                            in->width, in->height, input->resize_short);
        *longer = (uint32_t)scaled;
        *shorter = input->resize_short;
    }
    return SQZ_OK;
}

/* Put the resized part on a black canvas of the net's size. Frees the part. */
static enum sqz_status pad(struct sqz_image *part, const struct sqz_input *input, const struct placement *x,
                           const struct placement *y, struct sqz_image *out, struct sqz_error *err) {
    struct sqz_image canvas;
    enum sqz_status status = sqz_image_new(input->width, input->height, part->channels, &canvas, err);
    if (status == SQZ_OK) {
        size_t pixel = part->channels, row_nbytes = x->count * pixel;
        memset(canvas.pixels, 0, (size_t)canvas.width * canvas.height * pixel);
        for (size_t row = 0; row < y->count; row++)
            memcpy(canvas.pixels + ((y->to + row) * canvas.width + x->to) * pixel, part->pixels + row * row_nbytes,
                   row_nbytes);
        *out = canvas;
    }
    sqz_image_free(part);
    return status;
}

enum sqz_status sqz_image_fit(const struct sqz_image *in, const struct sqz_input *input, struct sqz_image *out,
                              struct sqz_error *err) {
    uint32_t width, height;
    if (input->channels != 1 && input->channels != 3)
        return sqz_fail(err, SQZ_SHAPE, "the net's input has %u channels, but an image gives 1 or 3", input->channels);
    SQZ_TRY(sqz_image_check_size(input->width, input->height, err));
    SQZ_TRY(resized_size(in, input, &width, &height, err));
    struct placement x = place(width, input->width), y = place(height, input->height);
    struct sqz_resize_part part = {width, height, x.from, y.from, x.count, y.count};
    struct sqz_image image;
    SQZ_TRY(sqz_image_resize_part(in, &part, input->filter, &image, err));
    if (x.count < input->width || y.count < input->height) return pad(&image, input, &x, &y, out, err);
    *out = image;
    return SQZ_OK;
}

/* ITU-R 601 luma in Pillow's fixed point: the weights 0.299, 0.587, 0.114 times 65536 add up to 65536. */
static uint8_t luma(const uint8_t *rgb) {
    return (uint8_t)((rgb[0] * 19595u + rgb[1] * 38470u + rgb[2] * 7471u + 0x8000u) >> 16);
}

void sqz_image_normalize(const struct sqz_image *fitted, const struct sqz_input *input, float *out) {
    size_t n_pixels = (size_t)fitted->width * fitted->height;
    bool color = fitted->channels == 3;
    bool grey = input->channels == 1 || input->order == SQZ_CHANNELS_GREY;
    for (uint32_t c = 0; c < input->channels; c++, out += n_pixels) {
        float values[256];
        for (int v = 0; v < 256; v++) values[v] = ((float)v * input->scale - input->mean[c]) / input->std[c];
        const uint8_t *pixel = fitted->pixels;
        if (color && grey) {
            for (size_t i = 0; i < n_pixels; i++, pixel += 3) out[i] = values[luma(pixel)];
            continue;
        }
        if (color) pixel += input->order == SQZ_CHANNELS_BGR ? 2 - c : c;
        for (size_t i = 0; i < n_pixels; i++, pixel += fitted->channels) out[i] = values[*pixel];
    }
}

enum sqz_status sqz_image_load(const void *data, size_t nbytes, const struct sqz_input *input, bool apply_exif,
                               float *out, struct sqz_error *err) {
    struct sqz_image image, fitted;
    SQZ_TRY(sqz_image_decode(data, nbytes, apply_exif, &image, err));
    enum sqz_status status = sqz_image_fit(&image, input, &fitted, err);
    sqz_image_free(&image);
    if (status != SQZ_OK) return status;
    sqz_image_normalize(&fitted, input, out);
    sqz_image_free(&fitted);
    return SQZ_OK;
}
