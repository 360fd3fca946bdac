/* resize.c - Pillow's antialiased bilinear resize to the bit, and plain half-pixel bilinear as OpenCV's. */
#include <math.h>
#include <string.h>

#include "eval/image_parts.h"

/* Pillow's: a weight is a fixed-point number whose products with 8-bit pixels, summed, stay within 31 bits. */
#define PIL_PRECISION_BITS (32 - 8 - 2)

/* OpenCV's: weights of 11 bits in each direction. */
#define PLAIN_PRECISION_BITS 11

/* For n output positions along one axis: output i is the sum over k < count[i] of weights[i * capacity + k] times
 * the input at first[i] + k. */
struct taps {
    uint32_t n, capacity;
    uint32_t *first, *count;
    int32_t *weights;
};

static void taps_free(struct taps *taps) {
    sqz_free(taps->first);
    sqz_free(taps->count);
    sqz_free(taps->weights);
}

static bool taps_alloc(struct taps *taps, uint32_t n, uint32_t capacity) {
    size_t n_weights;
    *taps = (struct taps){.n = n, .capacity = capacity};
    if (!sqz_mul_size(n, capacity, &n_weights)) return false;
    taps->first = sqz_alloc(n, sizeof *taps->first);
    taps->count = sqz_alloc(n, sizeof *taps->count);
    taps->weights = sqz_alloc(n_weights, sizeof *taps->weights);
    return taps->first && taps->count && taps->weights;
}

static double triangle(double x) {
    return fabs(x) < 1.0 ? 1.0 - fabs(x) : 0.0;
}

/* One output position of Pillow's filter: a triangle as wide as `widening` input pixels on either side. */
static void pil_tap(uint32_t n_in, double center, double widening, double *exact, struct taps *taps, uint32_t i) {
    /* The conversions truncate towards zero, as Pillow's do. */
    int64_t low = (int64_t)(center - widening + 0.5), high = (int64_t)(center + widening + 0.5);
    if (low < 0) low = 0;
    if (high > n_in) high = n_in;
    double total = 0.0, per_pixel = 1.0 / widening;
    for (int64_t x = low; x < high; x++) {
        exact[x - low] = triangle(((double)x - center + 0.5) * per_pixel);
        total += exact[x - low];
    }
    int32_t *weights = taps->weights + (size_t)i * taps->capacity;
    for (int64_t k = 0; k < high - low; k++)
        weights[k] = (int32_t)(0.5 + (total != 0.0 ? exact[k] / total : exact[k]) * (1 << PIL_PRECISION_BITS));
    taps->first[i] = (uint32_t)low;
    taps->count[i] = (uint32_t)(high - low);
}

/* Taps for outputs [start, start + n) of n_out in all; false when memory is short. */
static bool pil_taps(uint32_t n_in, uint32_t n_out, uint32_t start, uint32_t n, struct taps *taps) {
    double scale = (double)n_in / n_out, widening = scale < 1.0 ? 1.0 : scale;
    uint32_t capacity = (uint32_t)ceil(widening) * 2 + 1;
    bool ok = taps_alloc(taps, n, capacity);
    double *exact = sqz_alloc(capacity, sizeof *exact);
    if (ok && exact)
        for (uint32_t i = 0; i < n; i++) pil_tap(n_in, (start + i + 0.5) * scale, widening, exact, taps, i);
    sqz_free(exact);
    return ok && exact;
}

static bool plain_taps(uint32_t n_in, uint32_t n_out, uint32_t start, uint32_t n, struct taps *taps) {
    if (!taps_alloc(taps, n, 2)) return false;
    double scale = (double)n_in / n_out;
    for (uint32_t i = 0; i < n; i++) {
        float x = (float)((start + i + 0.5) * scale - 0.5), whole = floorf(x), fraction = x - whole;
        bool before = whole < 0, last = whole >= (float)(n_in - 1);
        taps->first[i] = before ? 0 : last ? n_in - 1 : (uint32_t)whole;
        taps->count[i] = before || last ? 1 : 2; /* 1: both weights fall on the same pixel, the outermost */
        taps->weights[2 * i] = (int32_t)rintf((1 - fraction) * (1 << PLAIN_PRECISION_BITS));
        taps->weights[2 * i + 1] = (int32_t)rintf(fraction * (1 << PLAIN_PRECISION_BITS));
    }
    return true;
}

static uint8_t pil_round(int32_t sum) {
    int32_t value = sum >> PIL_PRECISION_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Horizontal pass of one row; inlined for each channel count, so that the inner loop is unrolled. */
static inline void pil_row(const struct taps *taps, const uint8_t *in, uint32_t channels, uint8_t *out) {
    for (uint32_t i = 0; i < taps->n; i++) {
        const int32_t *weights = taps->weights + (size_t)i * taps->capacity;
        const uint8_t *pixel = in + (size_t)taps->first[i] * channels;
        int32_t sum[3] = {1 << (PIL_PRECISION_BITS - 1), 1 << (PIL_PRECISION_BITS - 1), 1 << (PIL_PRECISION_BITS - 1)};
        for (uint32_t k = 0; k < taps->count[i]; k++, pixel += channels)
            for (uint32_t c = 0; c < channels; c++) sum[c] += pixel[c] * weights[k];
        for (uint32_t c = 0; c < channels; c++) *out++ = pil_round(sum[c]);
    }
}

/* Rows of the input that the vertical taps touch. */
static uint32_t rows_end(const struct taps *down) {
    return down->first[down->n - 1] + down->count[down->n - 1];
}

static void pil_vertical(const struct taps *down, const uint8_t *rows, size_t row_nbytes, int32_t *sums, uint8_t *out) {
    for (uint32_t y = 0; y < down->n; y++, out += row_nbytes) {
        const uint8_t *row = rows + (size_t)(down->first[y] - down->first[0]) * row_nbytes;
        const int32_t *weights = down->weights + (size_t)y * down->capacity;
        for (size_t x = 0; x < row_nbytes; x++) sums[x] = 1 << (PIL_PRECISION_BITS - 1);
        for (uint32_t k = 0; k < down->count[y]; k++, row += row_nbytes)
            for (size_t x = 0; x < row_nbytes; x++) sums[x] += row[x] * weights[k];
        for (size_t x = 0; x < row_nbytes; x++) out[x] = pil_round(sums[x]);
    }
}

/* Both passes; false when memory is short. The rows between them are rounded to 8 bits, as in Pillow. */
static bool pil_resize(const struct sqz_image *in, const struct taps *across, const struct taps *down, uint8_t *out) {
    uint32_t channels = in->channels, first = down->first[0];
    size_t n_rows = rows_end(down) - first, row_nbytes = (size_t)across->n * channels;
    uint8_t *rows = sqz_alloc(n_rows, row_nbytes);
    int32_t *sums = sqz_alloc(row_nbytes, sizeof *sums);
    if (rows && sums) {
        for (size_t y = 0; y < n_rows; y++) {
            const uint8_t *from = in->pixels + (first + y) * in->width * channels;
            if (channels == 3)
                pil_row(across, from, 3, rows + y * row_nbytes);
            else
                pil_row(across, from, 1, rows + y * row_nbytes);
        }
        pil_vertical(down, rows, row_nbytes, sums, out);
    }
    sqz_free(rows);
    sqz_free(sums);
    return rows && sums;
}

/* OpenCV's vertical step on 8-bit images: each row's 19-bit sum loses 4 bits before its weight and 16 after it. */
static uint8_t plain_round(int32_t top, int32_t top_weight, int32_t bottom, int32_t bottom_weight) {
    return (uint8_t)((((top_weight * (top >> 4)) >> 16) + ((bottom_weight * (bottom >> 4)) >> 16) + 2) >> 2);
}

static void plain_resize(const struct sqz_image *in, const struct taps *across, const struct taps *down, uint8_t *out) {
    uint32_t channels = in->channels;
    size_t row_nbytes = (size_t)in->width * channels;
    for (uint32_t y = 0; y < down->n; y++) {
        const uint8_t *top = in->pixels + down->first[y] * row_nbytes;
        const uint8_t *bottom = down->count[y] == 2 ? top + row_nbytes : top;
        for (uint32_t x = 0; x < across->n; x++) {
            size_t left = (size_t)across->first[x] * channels, right = left + (across->count[x] == 2 ? channels : 0);
            const int32_t *w = across->weights + 2 * (size_t)x, *v = down->weights + 2 * (size_t)y;
            for (uint32_t c = 0; c < channels; c++)
                *out++ = plain_round(top[left + c] * w[0] + top[right + c] * w[1], v[0],
                                     bottom[left + c] * w[0] + bottom[right + c] * w[1], v[1]);
        }
    }
}

/* Nothing to resize: the part is copied. */
static void copy_part(const struct sqz_image *in, const struct sqz_resize_part *part, uint8_t *out) {
    size_t row_nbytes = (size_t)part->width * in->channels;
    for (size_t y = 0; y < part->height; y++)
        memcpy(out + y * row_nbytes, in->pixels + ((part->top + y) * in->width + part->left) * in->channels,
               row_nbytes);
}

static bool resize_with_taps(const struct sqz_image *in, const struct sqz_resize_part *part,
                             enum sqz_resize_filter filter, uint8_t *out) {
    bool (*make_taps)(uint32_t, uint32_t, uint32_t, uint32_t, struct taps *) =
        filter == SQZ_RESIZE_BILINEAR ? plain_taps : pil_taps;
    struct taps across = {0}, down = {0};
    bool ok = make_taps(in->width, part->full_width, part->left, part->width, &across) &&
              make_taps(in->height, part->full_height, part->top, part->height, &down);
    if (ok && filter == SQZ_RESIZE_BILINEAR)
        plain_resize(in, &across, &down, out);
    else if (ok)
        ok = pil_resize(in, &across, &down, out);
    taps_free(&across);
    taps_free(&down);
    return ok;
}

enum sqz_status sqz_image_resize_part(const struct sqz_image *in, const struct sqz_resize_part *part,
                                      enum sqz_resize_filter filter, struct sqz_image *out, struct sqz_error *err) {
    struct sqz_image image;
    SQZ_TRY(sqz_image_new(part->width, part->height, in->channels, &image, err));
    bool ok = true;
    if (part->full_width == in->width && part->full_height == in->height)
        copy_part(in, part, image.pixels);
    else
        ok = resize_with_taps(in, part, filter, image.pixels);
    if (!ok) {
        sqz_image_free(&image);
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for resizing an image to %u x %u pixels", part->full_width,
                        part->full_height);
    }
    *out = image;
    return SQZ_OK;
}

enum sqz_status sqz_image_resize(const struct sqz_image *in, uint32_t width, uint32_t height,
                                 enum sqz_resize_filter filter, struct sqz_image *out, struct sqz_error *err) {
    struct sqz_resize_part all = {width, height, 0, 0, width, height};
    return sqz_image_resize_part(in, &all, filter, out, err);
}
