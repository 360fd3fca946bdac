/* image_samples.c - images that the tests encode themselves, and a scratch folder to put them into. */
#include "tests/unit/image_samples.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jpeglib.h>
#include <png.h>

/* ---- EXIF ---------------------------------------------------------------- */

/* A big-endian TIFF block with one directory that holds only the orientation. */
static void make_exif(unsigned orientation, uint8_t block[26]) {
    static const uint8_t head[] = {'M', 'M', 0, '*', 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1};
    memset(block, 0, 26);
    memcpy(block, head, sizeof head);
    block[19] = (uint8_t)orientation;
}

/* ---- PNG ----------------------------------------------------------------- */

static void png_to_buffer(png_structp png, png_bytep data, size_t n) {
    sqz_put_bytes(png_get_io_ptr(png), data, n);
}

static void png_no_flush(png_structp png) {
    (void)png;
}

static void png_add_palette(png_structp png, png_infop info, const struct sample_png *sample) {
    png_color palette[256];
    png_byte alphas[256];
    for (int i = 0; i < sample->n_palette; i++) {
        palette[i] = (png_color){(png_byte)i, (png_byte)(255 - i), (png_byte)(2 * i)};
        alphas[i] = (png_byte)(i * 40);
    }
    png_color_16 grey = {.red = 1, .green = 2, .blue = 3, .gray = 1};
    if (sample->n_palette) png_set_PLTE(png, info, palette, sample->n_palette);
    if (sample->transparent)
        png_set_tRNS(png, info, sample->n_palette ? alphas : NULL, sample->n_palette, sample->n_palette ? NULL : &grey);
}

void sample_png_encode(const struct sample_png *sample, const uint8_t *rows, struct sqz_buffer *out) {
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    ck_assert(png && info);
    png_set_write_fn(png, out, png_to_buffer, png_no_flush);
    png_set_check_for_invalid_index(png, -1); /* some tests want an index without a palette entry */
    png_set_IHDR(png, info, sample->width, sample->height, sample->depth, sample->color_type,
                 sample->interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_add_palette(png, info, sample);
    uint8_t exif[26];
    make_exif(sample->orientation, exif);
    if (sample->orientation) png_set_eXIf_1(png, info, sizeof exif, exif);
    png_write_info(png, info);
    int n_passes = png_set_interlace_handling(png);
    size_t row_nbytes = png_get_rowbytes(png, info);
    for (int pass = 0; pass < n_passes; pass++)
        for (uint32_t y = 0; y < sample->height; y++) png_write_row(png, rows + y * row_nbytes);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    ck_assert(!out->failed);
}

/* ---- JPEG ---------------------------------------------------------------- */

static void set_color_space(struct jpeg_compress_struct *codec, const struct sample_jpeg *sample) {
    static const J_COLOR_SPACE spaces[] = {[1] = JCS_GRAYSCALE, [3] = JCS_RGB, [4] = JCS_CMYK};
    codec->in_color_space = spaces[sample->components];
    jpeg_set_defaults(codec);
    if (sample->components == 4) jpeg_set_colorspace(codec, sample->ycck ? JCS_YCCK : JCS_CMYK);
}

void sample_jpeg_encode(const struct sample_jpeg *sample, const uint8_t *samples, struct sqz_buffer *out) {
    struct jpeg_compress_struct codec;
    struct jpeg_error_mgr errors;
    unsigned char *data = NULL;
    unsigned long nbytes = 0;
    codec.err = jpeg_std_error(&errors);
    jpeg_create_compress(&codec);
    jpeg_mem_dest(&codec, &data, &nbytes);
    codec.image_width = sample->width;
    codec.image_height = sample->height;
    codec.input_components = sample->components;
    set_color_space(&codec, sample);
    jpeg_set_quality(&codec, sample->quality, TRUE);
    if (sample->progressive) jpeg_simple_progression(&codec);
    jpeg_start_compress(&codec, TRUE);
    if (sample->orientation) {
        uint8_t marker[32] = "Exif\0";
        make_exif(sample->orientation, marker + 6);
        jpeg_write_marker(&codec, JPEG_APP0 + 1, marker, sizeof marker);
    }
    while (codec.next_scanline < sample->height) {
        size_t row_nbytes = (size_t)sample->width * (size_t)sample->components;
        JSAMPROW row = (JSAMPROW)(samples + codec.next_scanline * row_nbytes);
        jpeg_write_scanlines(&codec, &row, 1);
    }
    jpeg_finish_compress(&codec);
    jpeg_destroy_compress(&codec);
    sqz_put_bytes(out, data, nbytes);
    free(data);
    ck_assert(!out->failed);
}

/* ---- pictures ------------------------------------------------------------ */

uint8_t *sample_pixels(uint32_t width, uint32_t height, uint32_t channels) {
    uint8_t *pixels = malloc((size_t)width * height * channels), *p = pixels;
    ck_assert_ptr_nonnull(pixels);
    for (uint32_t y = 0; y < height; y++)
        for (uint32_t x = 0; x < width; x++)
            for (uint32_t c = 0; c < channels; c++) *p++ = (uint8_t)(x * 7 + y * 13 + c * 31 + x * y % 17 * 5);
    return pixels;
}

void sample_rgb_png(uint32_t width, uint32_t height, struct sqz_buffer *out) {
    uint8_t *pixels = sample_pixels(width, height, 3);
    sample_png_encode(
        &(struct sample_png){.width = width, .height = height, .color_type = PNG_COLOR_TYPE_RGB, .depth = 8}, pixels,
        out);
    free(pixels);
}

void sample_rgb_jpeg(uint32_t width, uint32_t height, bool progressive, struct sqz_buffer *out) {
    uint8_t *pixels = sample_pixels(width, height, 3);
    sample_jpeg_encode(
        &(struct sample_jpeg){
            .width = width, .height = height, .components = 3, .quality = 90, .progressive = progressive},
        pixels, out);
    free(pixels);
}

/* ---- files --------------------------------------------------------------- */

static char scratch[] = "/tmp/sqz-test-XXXXXX";

void scratch_make(void) {
    strcpy(scratch + sizeof scratch - 7, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(scratch));
}

void scratch_remove(void) {
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    ck_assert_int_eq(system(command), 0);
}

const char *scratch_path(const char *name) {
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s%s%s", scratch, *name ? "/" : "", name);
    return path;
}

void scratch_folder(const char *name) {
    ck_assert_int_eq(mkdir(scratch_path(name), 0777), 0);
}

void scratch_write(const char *name, const void *data, size_t nbytes) {
    FILE *file = fopen(scratch_path(name), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, nbytes, file), nbytes);
    ck_assert_int_eq(fclose(file), 0);
}

void scratch_text(const char *name, const char *text) {
    scratch_write(name, text, strlen(text));
}

const char *shared_path(const char *name) {
    static char path[1024];
    const char *shared = getenv("SQZ_SHARED");
    snprintf(path, sizeof path, "%s/%s", shared ? shared : "../shared", name);
    if (access(path, R_OK) == 0) return path;
    fprintf(stderr, "SKIPPED test of %s (SQZ_SHARED not found)\n", name);
    return NULL;
}
