/* image_png.c - PNG decoding through libpng. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <png.h>

#include "eval/image_parts.h"

/* Deflate's best: a match of 258 bytes in two bits. */
#define MAX_DEFLATE_RATIO 1032u

/* One decoding. Lives outside the function that calls setjmp(), so its fields survive longjmp(). */
struct png_job {
    png_structp png;
    png_infop info;
    jmp_buf escape;
    const uint8_t *data;
    size_t nbytes, offset;
    bool truncated, out_of_memory;
    struct sqz_image image;
    unsigned *orientation;
    struct sqz_error *err;
    enum sqz_status status;
};

_Noreturn static void escape_with(struct png_job *job, enum sqz_status status) {
    job->status = status;
    longjmp(job->escape, 1);
}

_Noreturn static void on_error(png_structp png, png_const_charp text) {
    struct png_job *job = png_get_error_ptr(png);
    if (job->out_of_memory)
        escape_with(job, sqz_fail(job->err, SQZ_OUT_OF_MEMORY, "no memory for decoding a PNG image"));
    if (job->truncated)
        escape_with(job, sqz_fail(job->err, SQZ_BAD_IMAGE,
                                  "the PNG file is truncated: it ends at byte %zu before its image is complete",
                                  job->nbytes));
    escape_with(
        job, sqz_fail(job->err, SQZ_BAD_IMAGE, "the PNG data cannot be decoded: %s near byte %zu", text, job->offset));
}

static void on_warning(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t nbytes) {
    struct png_job *job = png_get_mem_ptr(png);
    void *p = sqz_alloc(nbytes, 1);
    if (!p) job->out_of_memory = true;
    return p;
}

static void on_free(png_structp png, png_voidp p) {
    (void)png;
    sqz_free(p);
}

static void on_read(png_structp png, png_bytep out, size_t n) {
    struct png_job *job = png_get_io_ptr(png);
    if (n > job->nbytes - job->offset) {
        job->truncated = true;
        png_error(png, "truncated");
    }
    memcpy(out, job->data + job->offset, n);
    job->offset += n;
}

static uint32_t big_endian_u32(const uint8_t *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Hold the size in IHDR against the limits before libpng sees it, so that the message is ours. */
static enum sqz_status check_header(const struct png_job *job) {
    enum { WIDTH_OFFSET = 16, HEIGHT_OFFSET = 20, END = 24 };
    if (job->nbytes < END)
        return sqz_fail(job->err, SQZ_BAD_IMAGE,
                        "the PNG file is truncated: it ends at byte %zu before its image is complete", job->nbytes);
    if (memcmp(job->data + 12, "IHDR", 4) != 0)
        return sqz_fail(job->err, SQZ_BAD_IMAGE, "the PNG file does not start with an IHDR chunk");
    return sqz_image_check_size(big_endian_u32(job->data + WIDTH_OFFSET), big_endian_u32(job->data + HEIGHT_OFFSET),
                                job->err);
}

/* Pixels are not allocated on the word of a header that the file's own length refutes. */
static void check_promise(struct png_job *job) {
    uint64_t width = png_get_image_width(job->png, job->info), height = png_get_image_height(job->png, job->info);
    uint64_t nbits = (uint64_t)png_get_channels(job->png, job->info) * png_get_bit_depth(job->png, job->info);
    uint64_t raw = (width * nbits + 7) / 8 * height;
    if (raw / MAX_DEFLATE_RATIO > job->nbytes)
        escape_with(job,
                    sqz_fail(job->err, SQZ_BAD_IMAGE,
                             "the PNG file is truncated: %zu bytes cannot hold the %u x %u pixels that it promises",
                             job->nbytes, (unsigned)width, (unsigned)height));
}

static void set_up(struct png_job *job) {
    png_structp png = job->png;
    png_set_read_fn(png, job, on_read);
    png_set_benign_errors(png, 1);
    png_set_user_limits(png, SQZ_IMAGE_MAX_SIDE, SQZ_IMAGE_MAX_SIDE);
    /* No ancillary chunk changes the pixels that Pillow gives, and compressed text in them may be a bomb. */
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    if (job->orientation) png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_AS_DEFAULT, (png_const_bytep) "eXIf", 1);
}

/* Ask for 8-bit grey, RGB, or palette indices, one byte for each; returns bytes per pixel. */
static uint32_t choose_transforms(png_structp png, png_infop info) {
    int type = png_get_color_type(png, info);
    if (png_get_bit_depth(png, info) == 16) png_set_strip_16(png); /* keeps the high byte */
    if (type & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(png);
    if (type == PNG_COLOR_TYPE_PALETTE)
        png_set_packing(png);
    else if (png_get_bit_depth(png, info) < 8)
        png_set_expand_gray_1_2_4_to_8(png);
    return type == PNG_COLOR_TYPE_RGB || type == PNG_COLOR_TYPE_RGB_ALPHA ? 3 : 1;
}

static void read_orientation(struct png_job *job) {
    png_bytep exif = NULL;
    png_uint_32 nbytes = 0;
    *job->orientation = 1;
    if (png_get_eXIf_1(job->png, job->info, &nbytes, &exif) && exif)
        *job->orientation = sqz_exif_orientation(exif, nbytes);
}

/* Replace indices by their colours. An index without one is a shade of grey, as in Pillow's initial palette. */
static void expand_palette(struct png_job *job) {
    uint8_t colors[256][3];
    for (size_t i = 0; i < 256; i++) memset(colors[i], (int)i, 3);
    png_colorp palette;
    int n = 0;
    png_get_PLTE(job->png, job->info, &palette, &n);
    for (int i = 0; i < n; i++) {
        colors[i][0] = palette[i].red;
        colors[i][1] = palette[i].green;
        colors[i][2] = palette[i].blue;
    }
    struct sqz_image expanded;
    enum sqz_status status = sqz_image_new(job->image.width, job->image.height, 3, &expanded, job->err);
    if (status != SQZ_OK) escape_with(job, status);
    size_t n_pixels = (size_t)expanded.width * expanded.height;
    for (size_t i = 0; i < n_pixels; i++) memcpy(expanded.pixels + 3 * i, colors[job->image.pixels[i]], 3);
    sqz_image_free(&job->image);
    job->image = expanded;
}

static void read_image(struct png_job *job) {
    png_read_info(job->png, job->info);
    check_promise(job);
    if (job->orientation) read_orientation(job);
    uint32_t channels = choose_transforms(job->png, job->info);
    bool palette = png_get_color_type(job->png, job->info) == PNG_COLOR_TYPE_PALETTE;
    int n_passes = png_set_interlace_handling(job->png);
    png_read_update_info(job->png, job->info);
    uint32_t width = png_get_image_width(job->png, job->info), height = png_get_image_height(job->png, job->info);
    enum sqz_status status = sqz_image_new(width, height, channels, &job->image, job->err);
    if (status != SQZ_OK) escape_with(job, status);
    size_t row_nbytes = (size_t)width * channels;
    if (png_get_rowbytes(job->png, job->info) != row_nbytes) png_error(job->png, "unexpected row size");
    for (int pass = 0; pass < n_passes; pass++)
        for (uint32_t y = 0; y < height; y++) png_read_row(job->png, job->image.pixels + y * row_nbytes, NULL);
    if (palette) expand_palette(job);
}

static enum sqz_status run(struct png_job *job) {
    if (setjmp(job->escape)) return job->status;
    job->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, on_error, on_warning, job, on_malloc, on_free);
    if (job->png) job->info = png_create_info_struct(job->png);
    if (!job->info) return sqz_fail(job->err, SQZ_OUT_OF_MEMORY, "no memory for decoding a PNG image");
    set_up(job);
    read_image(job);
    return SQZ_OK;
}

enum sqz_status sqz_png_decode(const uint8_t *data, size_t nbytes, struct sqz_image *out, unsigned *orientation,
                               struct sqz_error *err) {
    struct png_job job = {.data = data, .nbytes = nbytes, .orientation = orientation, .err = err};
    SQZ_TRY(check_header(&job));
    enum sqz_status status = run(&job);
    png_destroy_read_struct(&job.png, &job.info, NULL);
    if (status == SQZ_OK)
        *out = job.image;
    else
        sqz_image_free(&job.image);
    return status;
}
