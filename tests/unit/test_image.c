/* test_image.c - decoding JPEG, PNG and PNM: every kind of pixel, and orientation. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

#include "eval/image.h"
#include "lib/files.h"
#include "lib/sha256.h"
#include "tests/unit/image_samples.h"

static struct sqz_error err;

static struct sqz_image decode(const struct sqz_buffer *file, bool apply_exif) {
    struct sqz_image image = {0};
    enum sqz_status status = sqz_image_decode(file->data, file->nbytes, apply_exif, &image, &err);
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    return image;
}

/* ---- PNG ----------------------------------------------------------------- */

static void check_png(struct sample_png png, const uint8_t *rows, uint32_t channels, const uint8_t *expected) {
    for (int interlaced = 0; interlaced < 2; interlaced++)
        for (int transparent = 0; transparent < (png.color_type & PNG_COLOR_MASK_ALPHA ? 1 : 2); transparent++) {
            struct sqz_buffer file = {0};
            png.interlaced = interlaced;
            png.transparent = transparent;
            sample_png_encode(&png, rows, &file);
            struct sqz_image image = decode(&file, false);
            ck_assert_uint_eq(image.width, png.width);
            ck_assert_uint_eq(image.height, png.height);
            ck_assert_uint_eq(image.channels, channels);
            ck_assert_mem_eq(image.pixels, expected, (size_t)png.width * png.height * channels);
            sqz_image_free(&image);
            sqz_buffer_free(&file);
        }
}

START_TEST(png_of_every_color_type) {
    uint8_t *samples = sample_pixels(13, 9, 4);
    uint8_t expected[13 * 9 * 3];
    check_png((struct sample_png){.width = 13, .height = 9, .color_type = PNG_COLOR_TYPE_RGB, .depth = 8}, samples, 3,
              samples);
    check_png((struct sample_png){.width = 13, .height = 9, .color_type = PNG_COLOR_TYPE_GRAY, .depth = 8}, samples, 1,
              samples);
    for (size_t i = 0; i < 13 * 9; i++) memcpy(expected + 3 * i, samples + 4 * i, 3);
    check_png((struct sample_png){.width = 13, .height = 9, .color_type = PNG_COLOR_TYPE_RGB_ALPHA, .depth = 8},
              samples, 3, expected);
    for (size_t i = 0; i < 13 * 9; i++) expected[i] = samples[2 * i];
    check_png((struct sample_png){.width = 13, .height = 9, .color_type = PNG_COLOR_TYPE_GRAY_ALPHA, .depth = 8},
              samples, 1, expected);
    free(samples);
}
END_TEST

START_TEST(png_of_16_bits_keeps_the_high_byte) {
    uint8_t *samples = sample_pixels(7, 5, 8), expected[7 * 5 * 3];
    for (size_t i = 0; i < 7 * 5; i++) expected[i] = samples[2 * i];
    check_png((struct sample_png){.width = 7, .height = 5, .color_type = PNG_COLOR_TYPE_GRAY, .depth = 16}, samples, 1,
              expected);
    for (size_t i = 0; i < 7 * 5 * 3; i++) expected[i] = samples[2 * i];
    check_png((struct sample_png){.width = 7, .height = 5, .color_type = PNG_COLOR_TYPE_RGB, .depth = 16}, samples, 3,
              expected);
    for (size_t i = 0; i < 7 * 5 * 3; i++) expected[i] = samples[i / 3 * 8 + i % 3 * 2];
    check_png((struct sample_png){.width = 7, .height = 5, .color_type = PNG_COLOR_TYPE_RGB_ALPHA, .depth = 16},
              samples, 3, expected);
    free(samples);
}
END_TEST

START_TEST(png_of_few_bits) {
    const uint8_t rows[] = {0x1b, 0xe4}; /* two rows; at 2 bits 0 1 2 3 and 3 2 1 0 */
    const uint8_t one[] = {0, 0, 0, 255, 255, 0, 255, 255, 255, 255, 255, 0, 0, 255, 0, 0};
    const uint8_t two[] = {0, 85, 170, 255, 255, 170, 85, 0}, four[] = {17, 187, 238, 68};
    check_png((struct sample_png){.width = 8, .height = 2, .color_type = PNG_COLOR_TYPE_GRAY, .depth = 1}, rows, 1,
              one);
    check_png((struct sample_png){.width = 4, .height = 2, .color_type = PNG_COLOR_TYPE_GRAY, .depth = 2}, rows, 1,
              two);
    check_png((struct sample_png){.width = 2, .height = 2, .color_type = PNG_COLOR_TYPE_GRAY, .depth = 4}, rows, 1,
              four);
}
END_TEST

START_TEST(png_palette_is_expanded) {
    const uint8_t rows[] = {0x1b, 0xe4}, bytes[] = {5, 0, 1, 2};
    /* Entry i is (i, 255 - i, 2 i); an index without an entry is the grey of its number, as Pillow gives it. */
    const uint8_t two[] = {0, 255, 0, 1, 254, 2, 2, 253, 4, 3, 252, 6, 3, 252, 6, 2, 253, 4, 1, 254, 2, 0, 255, 0};
    const uint8_t eight[] = {5, 5, 5, 0, 255, 0, 1, 254, 2, 2, 253, 4};
    check_png(
        (struct sample_png){.width = 4, .height = 2, .color_type = PNG_COLOR_TYPE_PALETTE, .depth = 2, .n_palette = 4},
        rows, 3, two);
    check_png(
        (struct sample_png){.width = 4, .height = 1, .color_type = PNG_COLOR_TYPE_PALETTE, .depth = 8, .n_palette = 3},
        bytes, 3, eight);
}
END_TEST

START_TEST(one_pixel_is_an_image) {
    struct sqz_buffer png = {0}, jpeg = {0};
    sample_rgb_png(1, 1, &png);
    sample_rgb_jpeg(1, 1, false, &jpeg);
    struct sqz_image a = decode(&png, false), b = decode(&jpeg, false);
    ck_assert(a.width == 1 && a.height == 1 && a.channels == 3);
    ck_assert(b.width == 1 && b.height == 1 && b.channels == 3);
    ck_assert_int_lt(abs(a.pixels[0] - b.pixels[0]), 12);
    sqz_image_free(&a);
    sqz_image_free(&b);
    sqz_buffer_free(&png);
    sqz_buffer_free(&jpeg);
}
END_TEST

/* ---- JPEG ---------------------------------------------------------------- */

START_TEST(progressive_equals_baseline) {
    struct sqz_buffer baseline = {0}, progressive = {0};
    sample_rgb_jpeg(123, 77, false, &baseline);
    sample_rgb_jpeg(123, 77, true, &progressive);
    struct sqz_image a = decode(&baseline, false), b = decode(&progressive, false);
    ck_assert(a.width == 123 && a.height == 77 && a.channels == 3);
    ck_assert_mem_eq(a.pixels, b.pixels, 123 * 77 * 3);
    sqz_image_free(&a);
    sqz_image_free(&b);
    sqz_buffer_free(&baseline);
    sqz_buffer_free(&progressive);
}
END_TEST

START_TEST(grey_jpeg_has_one_channel) {
    struct sqz_buffer file = {0};
    uint8_t pixels[64];
    memset(pixels, 93, sizeof pixels);
    sample_jpeg_encode(&(struct sample_jpeg){.width = 8, .height = 8, .components = 1, .quality = 95}, pixels, &file);
    struct sqz_image image = decode(&file, false);
    ck_assert_uint_eq(image.channels, 1);
    for (int i = 0; i < 64; i++) ck_assert_int_le(abs(image.pixels[i] - 93), 1);
    sqz_image_free(&image);
    sqz_buffer_free(&file);
}
END_TEST

START_TEST(cmyk_is_read_as_adobe_writes_it) {
    /* Inverted inks (255: none) and the RGB they stand for. */
    static const uint8_t inks[][4] = {{255, 255, 255, 255}, {0, 255, 255, 255}, {255, 0, 0, 255}, {200, 100, 50, 128}};
    static const uint8_t colors[][3] = {{255, 255, 255}, {0, 255, 255}, {255, 0, 0}, {100, 50, 25}};
    for (int i = 0; i < 4; i++)
        for (int ycck = 0; ycck < 2; ycck++) {
            struct sqz_buffer file = {0};
            uint8_t pixels[8 * 8 * 4];
            for (int p = 0; p < 64; p++) memcpy(pixels + 4 * p, inks[i], 4);
            sample_jpeg_encode(
                &(struct sample_jpeg){.width = 8, .height = 8, .components = 4, .quality = 100, .ycck = ycck}, pixels,
                &file);
            struct sqz_image image = decode(&file, false);
            ck_assert_uint_eq(image.channels, 3);
            for (int p = 0; p < 64 * 3; p++) ck_assert_int_le(abs(image.pixels[p] - colors[i][p % 3]), 3);
            sqz_image_free(&image);
            sqz_buffer_free(&file);
        }
}
END_TEST

/* ---- EXIF ---------------------------------------------------------------- */

START_TEST(orientation_only_when_asked) {
    /* Two rows of three: 1 2 3 / 4 5 6, turned as the standard draws it. */
    static const uint8_t rows[] = {1, 2, 3, 4, 5, 6};
    static const struct {
        uint32_t width;
        uint8_t pixels[6];
    } turned[] = {[1] = {3, {1, 2, 3, 4, 5, 6}}, {3, {3, 2, 1, 6, 5, 4}}, {3, {6, 5, 4, 3, 2, 1}},
                  {3, {4, 5, 6, 1, 2, 3}},       {2, {1, 4, 2, 5, 3, 6}}, {2, {4, 1, 5, 2, 6, 3}},
                  {2, {6, 3, 5, 2, 4, 1}},       {2, {3, 6, 2, 5, 1, 4}}};
    for (unsigned orientation = 1; orientation <= 8; orientation++) {
        struct sqz_buffer file = {0};
        sample_png_encode(
            &(struct sample_png){
                .width = 3, .height = 2, .color_type = PNG_COLOR_TYPE_GRAY, .depth = 8, .orientation = orientation},
            rows, &file);
        struct sqz_image stored = decode(&file, false), image = decode(&file, true);
        ck_assert_uint_eq(stored.width, 3);
        ck_assert_mem_eq(stored.pixels, rows, 6);
        ck_assert_uint_eq(image.width, turned[orientation].width);
        ck_assert_uint_eq(image.height, 6 / turned[orientation].width);
        ck_assert_mem_eq(image.pixels, turned[orientation].pixels, 6);
        sqz_image_free(&stored);
        sqz_image_free(&image);
        sqz_buffer_free(&file);
    }
}
END_TEST

START_TEST(orientation_of_a_jpeg) {
    struct sqz_buffer file = {0}, plain = {0};
    uint8_t *pixels = sample_pixels(40, 16, 3);
    struct sample_jpeg jpeg = {.width = 40, .height = 16, .components = 3, .quality = 90};
    sample_jpeg_encode(&jpeg, pixels, &plain);
    jpeg.orientation = 6;
    sample_jpeg_encode(&jpeg, pixels, &file);
    struct sqz_image stored = decode(&file, false), turned = decode(&file, true), none = decode(&plain, true);
    ck_assert(stored.width == 40 && stored.height == 16 && none.width == 40);
    ck_assert(turned.width == 16 && turned.height == 40);
    ck_assert_mem_eq(turned.pixels, stored.pixels + 15 * 40 * 3, 3); /* bottom left goes to top left */
    sqz_image_free(&stored);
    sqz_image_free(&turned);
    sqz_image_free(&none);
    sqz_buffer_free(&file);
    sqz_buffer_free(&plain);
    free(pixels);
}
END_TEST

/* ---- PNM ----------------------------------------------------------------- */

static void check_pnm(const char *file, size_t nbytes, uint32_t width, uint32_t channels, const char *expected,
                      size_t n) {
    struct sqz_buffer data = {.data = (uint8_t *)file, .nbytes = nbytes};
    struct sqz_image image = decode(&data, false);
    ck_assert_uint_eq(image.width, width);
    ck_assert_uint_eq(image.channels, channels);
    ck_assert_uint_eq((size_t)image.width * image.height * channels, n);
    ck_assert_mem_eq(image.pixels, expected, n);
    sqz_image_free(&image);
}

#define CHECK_PNM(file, width, channels, expected)                                                                     \
    check_pnm(file, sizeof(file) - 1, width, channels, expected, sizeof(expected) - 1)

START_TEST(pnm_of_every_kind) {
    CHECK_PNM("P1 3 2\n1 0 1\n# not 1\n010", 3, 1, "\x00\xff\x00\xff\x00\xff");
    CHECK_PNM("P2\n# c\n2 #d\n1 # e\n100\n50 100", 2, 1, "\x80\xff"); /* 127.5 rounds to even */
    CHECK_PNM("P3 1 1 255 1 2 3", 1, 3, "\x01\x02\x03");
    CHECK_PNM("P4 9 2\n\x80\x80\x00\x00", 9, 1,
              "\x00\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff");
    CHECK_PNM("P5 2 1 255\n\n#", 2, 1, "\n#"); /* only one white space belongs to the header */
    CHECK_PNM("P5 2 1 3\n\x01\x09", 2, 1, "\x55\xff");
    CHECK_PNM("P5 2 1 65535\n\x80\x7f\xff\xff", 2, 1, "\x80\xff"); /* 32895 / 257 = 127.996 */
    CHECK_PNM("P6 1 1 255 abc", 1, 3, "abc");
    CHECK_PNM("P6 1 1 255#remark\nabc tail", 1, 3, "abc");
    CHECK_PNM("P6\r\n1 1\r\n1023\n\x03\xff\x00\x00\x01\xff", 1, 3, "\xff\x00\x7f");
}
END_TEST

/* ---- files of others ----------------------------------------------------- */

/* Where this reader means to differ from Pillow 9.4, whose answers the reference list gives. */
static const struct {
    const char *file;
    bool refused; /* by this reader; Pillow does the opposite */
} differences[] = {
    {"libjpeg-turbo/shira_bird8.bmp", true}, /* BMP is not read */
    {"libjpeg-turbo/vgl_6434_0018a.bmp", true},
    {"libjpeg-turbo/vgl_6548_0026a.bmp", true},
    {"pillow/broken_data_stream.png", true},          /* damaged pixel data */
    {"pngsuite/xcsn0g01.png", true},                  /* wrong checksum of the pixel data */
    {"pillow/png_decompression_dos.png", false},      /* the bomb is in a text chunk, which is skipped */
    {"pillow/unknown_compression_method.png", false}, /* likewise an unreadable text chunk */
};

static void check_foreign(const char *folder, const char *file, const char *pillow, const char *hash) {
    char path[1300], text[SQZ_SHA256_TEXT];
    struct sqz_source source;
    struct sqz_image image = {0};
    snprintf(path, sizeof path, "%s/%s", folder, file);
    ck_assert_int_eq(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, &err), SQZ_OK);
    bool refused = sqz_image_decode(source.data, source.nbytes, false, &image, &err) != SQZ_OK;
    sqz_source_close(&source);
    bool expected = strncmp(pillow, "ERR", 3) == 0, differs = false;
    for (size_t i = 0; i < sizeof differences / sizeof *differences; i++)
        if (strcmp(differences[i].file, file) == 0) {
            differs = true;
            expected = differences[i].refused;
        }
    ck_assert_msg(refused == expected, "%s: %s", file, refused ? err.text : "was accepted");
    if (!refused && !differs && strlen(hash) == 64) {
        uint8_t digest[SQZ_SHA256_NBYTES], rgb[3];
        struct sqz_sha256 sum;
        sqz_sha256_begin(&sum);
        for (size_t i = 0; i < (size_t)image.width * image.height; i++) {
            for (size_t c = 0; c < 3; c++) rgb[c] = image.pixels[i * image.channels + (image.channels == 3 ? c : 0)];
            sqz_sha256_add(&sum, rgb, 3);
        }
        sqz_sha256_end(&sum, digest);
        ck_assert_msg(strcmp(sqz_sha256_format(digest, text), hash) == 0, "%s: pixels differ from Pillow's", file);
    }
    sqz_image_free(&image);
}

START_TEST(files_of_others_equal_pillow) {
    char folder[1024], path[1100], line[2048];
    const char *shared = shared_path("fixtures/images");
    if (!shared) return;
    snprintf(folder, sizeof folder, "%s", shared);
    snprintf(path, sizeof path, "%s/REF.tsv", folder);
    FILE *list = fopen(path, "r");
    ck_assert_ptr_nonnull(list);
    int n = 0;
    ck_assert_ptr_nonnull(fgets(line, sizeof line, list)); /* column titles */
    for (; fgets(line, sizeof line, list); n++) {
        const char *fields[9];
        char *rest = line;
        line[strcspn(line, "\n")] = '\0';
        for (int i = 0; i < 9; i++) fields[i] = rest ? strsep(&rest, "\t") : "";
        check_foreign(folder, fields[0], fields[7], fields[8]);
    }
    fclose(list);
    ck_assert_int_eq(n, 247);
}
END_TEST

Suite *test_image(void);

Suite *test_image(void) {
    Suite *suite = suite_create("image");
    TCase *tests = tcase_create("image");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, png_of_every_color_type);
    tcase_add_test(tests, png_of_16_bits_keeps_the_high_byte);
    tcase_add_test(tests, png_of_few_bits);
    tcase_add_test(tests, png_palette_is_expanded);
    tcase_add_test(tests, one_pixel_is_an_image);
    tcase_add_test(tests, progressive_equals_baseline);
    tcase_add_test(tests, grey_jpeg_has_one_channel);
    tcase_add_test(tests, cmyk_is_read_as_adobe_writes_it);
    tcase_add_test(tests, orientation_only_when_asked);
    tcase_add_test(tests, orientation_of_a_jpeg);
    tcase_add_test(tests, pnm_of_every_kind);
    tcase_add_test(tests, files_of_others_equal_pillow);
    suite_add_tcase(suite, tests);
    return suite;
}
