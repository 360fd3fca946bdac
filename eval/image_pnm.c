/* image_pnm.c - PBM, PGM and PPM (P1 to P6), plain and raw, with any maximum value up to 65535. */
#include <math.h>
#include <string.h>

#include "eval/image_parts.h"

struct pnm {
    const uint8_t *data;
    size_t nbytes, offset;
    struct sqz_error *err;
    uint32_t width, height, channels, max_value;
    bool bitmap, plain;
    size_t n_samples; /* width * height * channels */
};

static bool is_space(uint8_t c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_comment(struct pnm *p) {
    while (p->offset < p->nbytes && p->data[p->offset] != '\n' && p->data[p->offset] != '\r') p->offset++;
}

/* Move to the next character that is neither white space nor part of a comment; false at the end. */
static bool skip_space(struct pnm *p) {
    for (; p->offset < p->nbytes; p->offset++) {
        if (p->data[p->offset] == '#')
            skip_comment(p);
        else if (!is_space(p->data[p->offset]))
            return true;
    }
    p->offset = p->nbytes;
    return false;
}

static enum sqz_status fail_truncated(const struct pnm *p) {
    return sqz_fail(p->err, SQZ_BAD_IMAGE,
                    "the PNM file is truncated: it ends at byte %zu before its image is complete", p->nbytes);
}

/* A decimal number; `what` names it in errors. Nine digits are more than any valid field needs. */
static enum sqz_status read_number(struct pnm *p, const char *what, uint32_t *out) {
    if (!skip_space(p)) return fail_truncated(p);
    uint32_t value = 0;
    size_t start = p->offset;
    for (; p->offset < p->nbytes && p->data[p->offset] >= '0' && p->data[p->offset] <= '9'; p->offset++) {
        if (p->offset - start == 9)
            return sqz_fail(p->err, SQZ_LIMIT, "the %s of the PNM file at byte %zu has more than 9 digits", what,
                            start);
        value = value * 10 + (p->data[p->offset] - '0');
    }
    if (p->offset == start || (p->offset < p->nbytes && !is_space(p->data[p->offset]) && p->data[p->offset] != '#'))
        return sqz_fail(p->err, SQZ_BAD_IMAGE, "the %s of the PNM file at byte %zu is not a number", what, start);
    *out = value;
    return SQZ_OK;
}

static enum sqz_status read_header(struct pnm *p) {
    unsigned variant = p->data[1] - '0';
    p->bitmap = variant == 1 || variant == 4;
    p->plain = variant <= 3;
    p->channels = variant == 3 || variant == 6 ? 3 : 1;
    p->max_value = 1;
    p->offset = 2;
    SQZ_TRY(read_number(p, "width", &p->width));
    SQZ_TRY(read_number(p, "height", &p->height));
    if (!p->bitmap) SQZ_TRY(read_number(p, "maximum value", &p->max_value));
    if (p->max_value == 0 || p->max_value > 65535)
        return sqz_fail(p->err, SQZ_BAD_IMAGE, "the maximum value of the PNM file is %u, not 1 to 65535", p->max_value);
    SQZ_TRY(sqz_image_check_size(p->width, p->height, p->err));
    p->n_samples = (size_t)p->width * p->height * p->channels;
    if (p->plain) return SQZ_OK;
    if (p->offset < p->nbytes && p->data[p->offset] == '#') skip_comment(p);
    p->offset++; /* exactly one white space, or the raster's first byte could be taken for one */
    return SQZ_OK;
}

/* Bytes of a raw raster, or the fewest that a plain one can take. */
static size_t least_raster_nbytes(const struct pnm *p) {
    if (p->bitmap) return p->plain ? p->n_samples : ((size_t)p->width + 7) / 8 * p->height;
    if (p->plain) return 2 * p->n_samples - 1;
    return p->n_samples * (p->max_value > 255 ? 2 : 1);
}

/* levels[v] = v scaled to 0..255, rounded half to even, which is Pillow's rule; 16-bit samples follow it as well. */
static uint8_t *make_levels(const struct pnm *p) {
    uint8_t *levels = sqz_alloc((size_t)p->max_value + 1, 1);
    if (levels)
        for (uint32_t v = 0; v <= p->max_value; v++) levels[v] = (uint8_t)rint((double)v / p->max_value * 255.0);
    return levels;
}

static enum sqz_status read_plain_bits(struct pnm *p, uint8_t *pixels) {
    for (size_t i = 0; i < p->n_samples; i++) {
        if (!skip_space(p)) return fail_truncated(p);
        uint8_t c = p->data[p->offset];
        if (c != '0' && c != '1')
            return sqz_fail(p->err, SQZ_BAD_IMAGE, "the PBM file has a pixel at byte %zu that is not 0 or 1",
                            p->offset);
        pixels[i] = c == '0' ? 255 : 0;
        p->offset++;
    }
    return SQZ_OK;
}

static void read_raw_bits(const struct pnm *p, uint8_t *pixels) {
    const uint8_t *row = p->data + p->offset;
    for (uint32_t y = 0; y < p->height; y++, row += (p->width + 7) / 8)
        for (uint32_t x = 0; x < p->width; x++) *pixels++ = row[x / 8] >> (7 - x % 8) & 1 ? 0 : 255;
}

static enum sqz_status read_plain_samples(struct pnm *p, const uint8_t *levels, uint8_t *pixels) {
    for (size_t i = 0; i < p->n_samples; i++) {
        uint32_t v;
        SQZ_TRY(read_number(p, "sample", &v));
        if (v > p->max_value)
            return sqz_fail(p->err, SQZ_BAD_IMAGE,
                            "the PNM file has a sample before byte %zu that exceeds its maximum %u", p->offset,
                            p->max_value);
        pixels[i] = levels[v];
    }
    return SQZ_OK;
}

static void read_raw_samples(const struct pnm *p, const uint8_t *levels, uint8_t *pixels) {
    const uint8_t *in = p->data + p->offset;
    bool wide = p->max_value > 255;
    for (size_t i = 0; i < p->n_samples; i++) {
        uint32_t v = wide ? (uint32_t)in[2 * i] << 8 | in[2 * i + 1] : in[i];
        pixels[i] = levels[v < p->max_value ? v : p->max_value]; /* Pillow clips here, unlike in plain files */
    }
}

static enum sqz_status read_raster(struct pnm *p, uint8_t *pixels) {
    if (p->bitmap && p->plain) return read_plain_bits(p, pixels);
    if (p->bitmap) {
        read_raw_bits(p, pixels);
        return SQZ_OK;
    }
    uint8_t *levels = make_levels(p);
    if (!levels) return sqz_fail(p->err, SQZ_OUT_OF_MEMORY, "no memory for decoding a PNM image");
    enum sqz_status status = SQZ_OK;
    if (p->plain)
        status = read_plain_samples(p, levels, pixels);
    else
        read_raw_samples(p, levels, pixels);
    sqz_free(levels);
    return status;
}

enum sqz_status sqz_pnm_decode(const uint8_t *data, size_t nbytes, struct sqz_image *out, struct sqz_error *err) {
    struct pnm p = {.data = data, .nbytes = nbytes, .err = err};
    SQZ_TRY(read_header(&p));
    if (p.offset > nbytes || least_raster_nbytes(&p) > nbytes - p.offset) return fail_truncated(&p);
    struct sqz_image image;
    SQZ_TRY(sqz_image_new(p.width, p.height, p.channels, &image, err));
    enum sqz_status status = read_raster(&p, image.pixels);
    if (status == SQZ_OK)
        *out = image;
    else
        sqz_image_free(&image);
    return status;
}
