/* test_image_damage.c - images that are foreign, truncated, corrupt, or bombs: one clear error each. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "eval/image.h"
#include "tests/unit/image_samples.h"

static struct sqz_error err;

/* Decoding must fail with one clear sentence. */
static void assert_refused(const void *data, size_t nbytes, enum sqz_status expected, const char *says) {
    struct sqz_image image = {0};
    memset(&err, 0, sizeof err);
    ck_assert_int_eq(sqz_image_decode(data, nbytes, false, &image, &err), expected);
    ck_assert_ptr_null(image.pixels);
    ck_assert_msg(strstr(err.text, says) != NULL, "\"%s\" does not say \"%s\"", err.text, says);
}

START_TEST(bad_pnm_is_refused) {
    static const struct {
        const char *file, *says;
        enum sqz_status status;
        bool in_raster;
    } cases[] = {
        {"P6 100000 100000 255 ", "65500 a side", SQZ_LIMIT, false},
        {"P6 60000 60000 255 ", "pixels", SQZ_LIMIT, false},
        {"P6 60000 2000 255 x", "truncated", SQZ_BAD_IMAGE, false},
        {"P3 60000 2000 255 1", "truncated", SQZ_BAD_IMAGE, false},
        {"P1 60000 2000 1", "truncated", SQZ_BAD_IMAGE, false},
        {"P4 60000 2000 1", "truncated", SQZ_BAD_IMAGE, false},
        {"P6 0 5 255 ", "empty", SQZ_BAD_IMAGE, false},
        {"P6 5 0 255 ", "empty", SQZ_BAD_IMAGE, false},
        {"P6 9999999999 1 255 ", "9 digits", SQZ_LIMIT, false},
        {"P6 -4 1 255 ", "width", SQZ_BAD_IMAGE, false},
        {"P6 1 x 255 ", "height", SQZ_BAD_IMAGE, false},
        {"P5 1 1 0 a", "maximum", SQZ_BAD_IMAGE, false},
        {"P5 1 1 65536 aa", "maximum", SQZ_BAD_IMAGE, false},
        {"P5 1 1 255", "truncated", SQZ_BAD_IMAGE, false},
        {"P5 1 1 255\n", "truncated", SQZ_BAD_IMAGE, false},
        {"P5 1 1 1000\na", "truncated", SQZ_BAD_IMAGE, false},
        {"P2 1 1 9 10", "exceeds", SQZ_BAD_IMAGE, true},
        {"P2 2 1 9 1 x", "sample", SQZ_BAD_IMAGE, true},
        {"P1 2 1 12", "not 0 or 1", SQZ_BAD_IMAGE, true},
        {"P6 # only a comment", "truncated", SQZ_BAD_IMAGE, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sqz_alloc_fail_after(cases[i].in_raster ? -1 : 0); /* a bad header is refused before any allocation */
        assert_refused(cases[i].file, strlen(cases[i].file), cases[i].status, cases[i].says);
        sqz_alloc_fail_after(-1);
    }
}
END_TEST

/* ---- refusals ------------------------------------------------------------ */

START_TEST(other_content_is_refused_by_name) {
    assert_refused("", 0, SQZ_BAD_IMAGE, "empty");
    assert_refused("BM......", 8, SQZ_BAD_IMAGE, "BMP");
    assert_refused("GIF89a..", 8, SQZ_BAD_IMAGE, "GIF");
    assert_refused("RIFF....WEBPVP8 ", 16, SQZ_BAD_IMAGE, "WebP");
    assert_refused("II*\0....", 8, SQZ_BAD_IMAGE, "TIFF");
    assert_refused("\0\0\0\x1c"
                   "ftypheic",
                   12, SQZ_BAD_IMAGE, "HEIF");
    assert_refused("hello, world", 12, SQZ_BAD_IMAGE, "unknown");
    assert_refused("P", 1, SQZ_BAD_IMAGE, "unknown");
    assert_refused("P6", 2, SQZ_BAD_IMAGE, "unknown");
    assert_refused("\xff\xd8\xff", 3, SQZ_BAD_IMAGE, "truncated");
    assert_refused("\x89PNG\r\n\x1a\n", 8, SQZ_BAD_IMAGE, "truncated");
}
END_TEST

static void put_big_endian(uint8_t *at, uint32_t value) {
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Rewrite the size in a PNG's header, and the header's checksum with it. */
static void patch_png_size(struct sqz_buffer *file, uint32_t width, uint32_t height) {
    put_big_endian(file->data + 16, width);
    put_big_endian(file->data + 20, height);
    uint32_t crc = UINT32_MAX;
    for (size_t i = 12; i < 29; i++) {
        crc ^= file->data[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    put_big_endian(file->data + 29, ~crc);
}

static void patch_jpeg_size(struct sqz_buffer *file, uint32_t width, uint32_t height) {
    for (size_t i = 0; i + 9 < file->nbytes; i++)
        if (file->data[i] == 0xff && (file->data[i + 1] == 0xc0 || file->data[i + 1] == 0xc2)) {
            file->data[i + 5] = (uint8_t)(height >> 8);
            file->data[i + 6] = (uint8_t)height;
            file->data[i + 7] = (uint8_t)(width >> 8);
            file->data[i + 8] = (uint8_t)width;
            return;
        }
    ck_abort_msg("no frame header");
}

START_TEST(bombs_are_refused_before_pixels_are_allocated) {
    static const struct {
        uint32_t width, height;
        enum sqz_status status;
        const char *says;
    } cases[] = {{100000, 100000, SQZ_LIMIT, "65500 a side"},
                 {65000, 65000, SQZ_LIMIT, "178956970 pixels"},
                 {13000, 13000, SQZ_BAD_IMAGE, "cannot hold"},
                 {0, 10, SQZ_BAD_IMAGE, "empty"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int kind = 0; kind < 3; kind++) {
            struct sqz_buffer file = {0};
            if (kind == 0) sample_rgb_png(20, 20, &file);
            if (kind > 0) sample_rgb_jpeg(20, 20, kind == 2, &file);
            if (kind > 0 && (cases[i].width > 65535 || cases[i].width == 0)) {
                sqz_buffer_free(&file);
                continue; /* a JPEG header cannot say the first; libjpeg words the last */
            }
            (kind == 0 ? patch_png_size : patch_jpeg_size)(&file, cases[i].width, cases[i].height);
            if (kind > 0) sqz_alloc_fail_after(0); /* pixels would be the first allocation */
            assert_refused(file.data, file.nbytes, cases[i].status, cases[i].says);
            sqz_alloc_fail_after(-1);
            sqz_buffer_free(&file);
        }
}
END_TEST

START_TEST(empty_jpeg_frames_are_refused) {
    struct sqz_buffer file = {0};
    sample_rgb_jpeg(20, 20, false, &file);
    patch_jpeg_size(&file, 0, 20);
    assert_refused(file.data, file.nbytes, SQZ_BAD_IMAGE, "Empty");
    patch_jpeg_size(&file, 65535, 20);
    assert_refused(file.data, file.nbytes, SQZ_LIMIT, "65500");
    sqz_buffer_free(&file);
}
END_TEST

static void sample_file(int kind, struct sqz_buffer *file) {
    uint8_t *pixels = sample_pixels(40, 30, 4);
    if (kind == 0) sample_rgb_jpeg(40, 30, false, file);
    if (kind == 1) sample_rgb_jpeg(40, 30, true, file);
    if (kind == 2) sample_rgb_png(40, 30, file);
    if (kind == 3)
        sample_png_encode(&(struct sample_png){.width = 40,
                                               .height = 30,
                                               .color_type = PNG_COLOR_TYPE_RGB_ALPHA,
                                               .depth = 8,
                                               .interlaced = true,
                                               .orientation = 6},
                          pixels, file);
    if (kind == 4)
        sample_png_encode(&(struct sample_png){.width = 40,
                                               .height = 30,
                                               .color_type = PNG_COLOR_TYPE_PALETTE,
                                               .depth = 4,
                                               .n_palette = 16,
                                               .transparent = true},
                          pixels, file);
    if (kind == 5)
        sample_jpeg_encode(
            &(struct sample_jpeg){.width = 40, .height = 30, .components = 4, .quality = 80, .ycck = true}, pixels,
            file);
    if (kind == 6) {
        sqz_put_bytes(file, "P6 40 30 255\n", 13);
        sqz_put_bytes(file, pixels, 40 * 30 * 3);
    }
    free(pixels);
}

enum { N_SAMPLE_FILES = 7 };

START_TEST(truncated_files_are_refused) {
    struct sqz_buffer file = {0};
    sample_file(_i, &file);
    for (size_t part = 0; part < 16; part++) {
        size_t nbytes = file.nbytes * part / 16;
        uint8_t *copy = malloc(nbytes + 1); /* exact, so that AddressSanitizer sees a read beyond the end */
        struct sqz_image image = {0};
        memcpy(copy, file.data, nbytes);
        memset(&err, 0, sizeof err);
        ck_assert_int_eq(sqz_image_decode(copy, nbytes, true, &image, &err), SQZ_BAD_IMAGE);
        ck_assert_msg(err.text[0] != '\0', "no message at %zu", nbytes);
        free(copy);
    }
    sqz_buffer_free(&file);
}
END_TEST

/* All rows can be there and the file still be cut: Pillow asks for the end marker, and so do we. */
START_TEST(jpeg_without_its_end_marker_is_truncated) {
    for (int kind = 0; kind < 2; kind++) {
        struct sqz_buffer file = {0};
        sample_file(kind, &file);
        assert_refused(file.data, file.nbytes - 2, SQZ_BAD_IMAGE, "truncated");
        sqz_buffer_free(&file);
    }
}
END_TEST

/* A flipped byte may go unnoticed or be refused; either way nothing is read outside, leaked or left half done. */
START_TEST(flipped_bytes_do_no_harm) {
    struct sqz_buffer file = {0};
    int n_refused = 0;
    sample_file(_i, &file);
    for (size_t i = 0; i<file.nbytes; i += file.nbytes> 1000 && i > 300 ? 7 : 1) {
        static const uint8_t masks[] = {0x01, 0x80, 0xff};
        for (int m = 0; m < 3; m++) {
            struct sqz_image image = {0};
            file.data[i] ^= masks[m];
            enum sqz_status status = sqz_image_decode(file.data, file.nbytes, true, &image, &err);
            file.data[i] ^= masks[m];
            ck_assert(status == SQZ_OK || status == SQZ_BAD_IMAGE || status == SQZ_LIMIT);
            ck_assert_int_eq(status == SQZ_OK, image.pixels != NULL);
            n_refused += status != SQZ_OK;
            sqz_image_free(&image);
        }
    }
    ck_assert_int_gt(n_refused, 0);
    sqz_buffer_free(&file);
}
END_TEST

START_TEST(no_memory_is_an_error) {
    struct sqz_buffer file = {0};
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    struct sqz_image image = {0};
    sample_file(_i, &file);
    int n = 0;
    for (; status != SQZ_OK && n < 200; n++) {
        sqz_alloc_fail_after(n);
        status = sqz_image_decode(file.data, file.nbytes, true, &image, &err);
        sqz_alloc_fail_after(-1);
        if (status != SQZ_OK) ck_assert_int_eq(status, SQZ_OUT_OF_MEMORY);
    }
    ck_assert_int_eq(status, SQZ_OK);
    ck_assert_int_gt(n, 1);
    sqz_image_free(&image);
    sqz_buffer_free(&file);
}
END_TEST

Suite *test_image_damage(void);

Suite *test_image_damage(void) {
    Suite *suite = suite_create("image_damage");
    TCase *tests = tcase_create("image_damage");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, bad_pnm_is_refused);
    tcase_add_test(tests, other_content_is_refused_by_name);
    tcase_add_test(tests, bombs_are_refused_before_pixels_are_allocated);
    tcase_add_test(tests, empty_jpeg_frames_are_refused);
    tcase_add_loop_test(tests, truncated_files_are_refused, 0, N_SAMPLE_FILES);
    tcase_add_test(tests, jpeg_without_its_end_marker_is_truncated);
    tcase_add_loop_test(tests, flipped_bytes_do_no_harm, 0, N_SAMPLE_FILES);
    tcase_add_loop_test(tests, no_memory_is_an_error, 0, N_SAMPLE_FILES);
    suite_add_tcase(suite, tests);
    return suite;
}
