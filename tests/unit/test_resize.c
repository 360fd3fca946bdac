/* test_resize.c - resizing, cropping and normalising against Pillow, OpenCV and torchvision to the bit. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval/image.h"
#include "eval/image_parts.h"
#include "lib/files.h"
#include "lib/sha256.h"
#include "tests/unit/image_samples.h"

static struct sqz_image sample_image(uint32_t width, uint32_t height, uint32_t channels) {
    return (struct sqz_image){width, height, channels, sample_pixels(width, height, channels)};
}

static void assert_hash(const struct sqz_image *image, const char *expected) {
    uint8_t digest[SQZ_SHA256_NBYTES];
    char text[SQZ_SHA256_TEXT];
    sqz_sha256(image->pixels, (size_t)image->width * image->height * image->channels, digest);
    ck_assert_str_eq(sqz_sha256_format(digest, text), expected);
}

struct resize_case {
    uint32_t width, height, channels, new_width, new_height;
    const char *hash;
};

/* SHA-256 of Image.resize((new_width, new_height), Image.BILINEAR) in Pillow 9.4, of the sample picture. */
static const struct resize_case pillow_cases[] = {
    {97, 61, 3, 40, 23, "e87dba6006c202fb779e4a3979b315ed31911168c9c6dad88e695dce97333d23"},
    {97, 61, 3, 200, 131, "4e87b8f1c03b10501e5310fde492505322fcf3c6eae086d7ac7d147442c43047"},
    {33, 200, 1, 200, 33, "41145537482a05ca88761869531c1849fa3a600d76a5b8c8380b5590e4fadac9"},
    {5, 1, 3, 2, 1, "681fb5a10a419d5831bd4692bc3f2153ef62df3592c5301e4a656801b5180952"},
    {1, 1, 3, 9, 9, "45ca7aa29f7c6c6951f5acd91c8a733e4064431b05b70d31778bdd50ccb03ee0"},
    {640, 480, 3, 341, 256, "0e9b1d04505f646dbecb5042ad67936e3c4527ce4fa9a2a7c1fb452e5aa0e436"},
    {300, 20, 1, 30, 20, "266664312df4fc1d079a1e5f09de89dcc8f65bdb420b8a63ee6d46bd6b2edb9e"},
};

/* The same of cv2.resize(..., interpolation=cv2.INTER_LINEAR) in OpenCV 4.11. */
static const struct resize_case opencv_cases[] = {
    {97, 61, 3, 40, 23, "ce68541c57f29b32da93c4809e2355f3755c462ea17728088dc08c54abbf19cf"},
    {97, 61, 3, 200, 131, "f4602c98adeb9d60dc652d2a5e70158488b2a7d1f30840a7b66824f238dc0de1"},
    {33, 200, 1, 200, 33, "4764ef1fc27ebec2b19ba596bc65f1a340e9f70dea22b4349da49243e9c2be52"},
    {5, 1, 3, 2, 1, "7c54eb4d844a16be25c19212365438337e1e68a6fe70a458c33d41dc2f7f2e03"},
    {1, 1, 3, 9, 9, "45ca7aa29f7c6c6951f5acd91c8a733e4064431b05b70d31778bdd50ccb03ee0"},
    {640, 480, 3, 341, 256, "dfd649ecb7dadf49e6f6b566ce8e975d2b4dd4fa56055d832a320b9e3acbf455"},
    {300, 20, 1, 30, 20, "0b0416b7a98a0bb3bfe234ee1e830187d1f092b9b3b026afcb6e339e40496285"},
};

static void check_resize(const struct resize_case *c, enum sqz_resize_filter filter) {
    struct sqz_error err = {0};
    struct sqz_image in = sample_image(c->width, c->height, c->channels), out;
    ck_assert_int_eq(sqz_image_resize(&in, c->new_width, c->new_height, filter, &out, &err), SQZ_OK);
    ck_assert_uint_eq(out.width, c->new_width);
    ck_assert_uint_eq(out.height, c->new_height);
    assert_hash(&out, c->hash);
    sqz_image_free(&out);
    free(in.pixels);
}

START_TEST(resize_equals_pillow) {
    check_resize(&pillow_cases[_i], SQZ_RESIZE_PIL_BILINEAR);
}
END_TEST

START_TEST(resize_equals_opencv) {
    check_resize(&opencv_cases[_i], SQZ_RESIZE_BILINEAR);
}
END_TEST

/* Every fourth column white: antialiasing sees a quarter of white, plain bilinear falls between the white columns. */
START_TEST(filters_differ_where_they_should) {
    enum { SIDE = 1024, SMALL = 256 };
    struct sqz_error err = {0};
    struct sqz_image in = {SIDE, SIDE, 1, calloc(SIDE, SIDE)}, smooth, plain;
    for (size_t i = 0; i < (size_t)SIDE * SIDE; i += 4) in.pixels[i] = 255;
    ck_assert_int_eq(sqz_image_resize(&in, SMALL, SMALL, SQZ_RESIZE_PIL_BILINEAR, &smooth, &err), SQZ_OK);
    ck_assert_int_eq(sqz_image_resize(&in, SMALL, SMALL, SQZ_RESIZE_BILINEAR, &plain, &err), SQZ_OK);
    for (size_t y = 0; y < SMALL; y++)
        for (size_t x = 0; x < SMALL; x++) {
            ck_assert_uint_eq(plain.pixels[y * SMALL + x], 0);
            if (x == 0 || x == SMALL - 1) continue;
            ck_assert_int_le(abs(smooth.pixels[y * SMALL + x] - 64), 1);
        }
    sqz_image_free(&smooth);
    sqz_image_free(&plain);
    free(in.pixels);
}
END_TEST

START_TEST(plain_bilinear_is_half_pixel) {
    struct sqz_error err = {0};
    uint8_t ramp[] = {0, 10, 20, 30};
    struct sqz_image in = {4, 1, 1, ramp}, out;
    ck_assert_int_eq(sqz_image_resize(&in, 2, 1, SQZ_RESIZE_BILINEAR, &out, &err), SQZ_OK);
    ck_assert_uint_eq(out.pixels[0], 5);
    ck_assert_uint_eq(out.pixels[1], 25);
    sqz_image_free(&out);
    ck_assert_int_eq(sqz_image_resize(&in, 2, 1, SQZ_RESIZE_PIL_BILINEAR, &out, &err), SQZ_OK);
    ck_assert_uint_eq(out.pixels[0], 7); /* antialiased: (3 * 0 + 3 * 10 + 1 * 20) / 7 */
    ck_assert_uint_eq(out.pixels[1], 23);
    sqz_image_free(&out);
}
END_TEST

START_TEST(part_equals_crop_of_the_whole) {
    struct sqz_error err = {0};
    enum sqz_resize_filter filters[] = {SQZ_RESIZE_PIL_BILINEAR, SQZ_RESIZE_BILINEAR};
    struct sqz_image in = sample_image(90, 70, 3), whole, part;
    const struct sqz_resize_part parts[] = {{41, 33, 7, 5, 11, 13}, {200, 155, 199, 154, 1, 1}, {90, 70, 3, 4, 50, 60}};
    for (size_t f = 0; f < 2; f++)
        for (size_t p = 0; p < 3; p++) {
            const struct sqz_resize_part *want = &parts[p];
            ck_assert_int_eq(sqz_image_resize(&in, want->full_width, want->full_height, filters[f], &whole, &err),
                             SQZ_OK);
            ck_assert_int_eq(sqz_image_resize_part(&in, want, filters[f], &part, &err), SQZ_OK);
            for (uint32_t y = 0; y < want->height; y++)
                ck_assert_mem_eq(part.pixels + (size_t)y * want->width * 3,
                                 whole.pixels + ((size_t)(want->top + y) * whole.width + want->left) * 3,
                                 want->width * 3);
            sqz_image_free(&whole);
            sqz_image_free(&part);
        }
    free(in.pixels);
}
END_TEST

/* SHA-256 of torchvision's Resize(short) and CenterCrop over Pillow 9.4; short 0 is no Resize. */
static const struct {
    uint32_t width, height, channels, resize_short, crop_width, crop_height;
    const char *hash;
} fit_cases[] = {
    {301, 227, 3, 64, 51, 51, "56218288473595253ad94d9476557c50e83fb39e8cb782cfcf80ddd98b5d776d"},
    {227, 301, 3, 64, 51, 51, "340967802a227464ccb40b7b11bc94e6656a35fda961c79d2565b89f8f3fef0c"},
    {60, 60, 3, 0, 57, 55, "6a9f09e00e47928575e52b3dcab79a617f4ea4c1397afc637cda98748cbb74c6"},
    {60, 60, 1, 0, 55, 57, "66e746a3a040024efe7715077d54916690aa744366e32d51b3b3d6777a1302c9"},
    {20, 40, 3, 0, 31, 31, "24bc1f240698e25b724e993ad89f21e4c104136ce0124bc6f08aed679074dd3d"},
    {20, 20, 3, 0, 31, 40, "dda6a28be49c0041feac3d7aa12676585bebe9a7d2017e9b868c0a924956c57c"},
    {500, 3, 3, 256, 224, 224, "d61b546403515fd3b266eeeac6a7803aa9dd18c01007afb5a7b6e88907bcc1de"},
    {100, 90, 3, 90, 90, 90, "f6a9e8cb80d518e52f8f7c2c68d11078bc1a7367fd9a1183e767a0298dc04673"},
    {33, 90, 1, 11, 14, 14, "40a7615bb335a45d6787f20b827cfc6d970e75b984f89211a73201f3f7d42928"},
};

START_TEST(fit_equals_torchvision) {
    struct sqz_error err = {0};
    struct sqz_image in = sample_image(fit_cases[_i].width, fit_cases[_i].height, fit_cases[_i].channels), out;
    struct sqz_input input = {.channels = 3,
                              .width = fit_cases[_i].crop_width,
                              .height = fit_cases[_i].crop_height,
                              .resize_short = fit_cases[_i].resize_short};
    ck_assert_int_eq(sqz_image_fit(&in, &input, &out, &err), SQZ_OK);
    ck_assert_uint_eq(out.width, input.width);
    ck_assert_uint_eq(out.height, input.height);
    assert_hash(&out, fit_cases[_i].hash);
    sqz_image_free(&out);
    free(in.pixels);
}
END_TEST

START_TEST(squash_ignores_the_aspect_ratio) {
    struct sqz_error err = {0};
    struct sqz_image in = sample_image(97, 61, 3), out;
    struct sqz_input input = {.channels = 3, .width = 40, .height = 23, .resize_short = 99, .squash = true};
    ck_assert_int_eq(sqz_image_fit(&in, &input, &out, &err), SQZ_OK);
    assert_hash(&out, pillow_cases[0].hash);
    sqz_image_free(&out);
    free(in.pixels);
}
END_TEST

/* A strip of one pixel by many thousand would be gigabytes when its short side is resized to 256. */
START_TEST(a_strip_does_not_explode) {
    struct sqz_error err = {0};
    struct sqz_image in = {1, 60000, 1, calloc(60000, 1)}, out;
    struct sqz_input input = {.channels = 3, .width = 224, .height = 224, .resize_short = 256};
    memset(in.pixels, 77, 60000);
    ck_assert_int_eq(sqz_image_fit(&in, &input, &out, &err), SQZ_OK);
    for (size_t i = 0; i < 224 * 224; i++) ck_assert_uint_eq(out.pixels[i], 77);
    sqz_image_free(&out);
    input.resize_short = 1u << 20;
    ck_assert_int_eq(sqz_image_fit(&in, &input, &out, &err), SQZ_LIMIT);
    input = (struct sqz_input){.channels = 3, .width = 70000, .height = 2};
    ck_assert_int_eq(sqz_image_fit(&in, &input, &out, &err), SQZ_LIMIT);
    input = (struct sqz_input){.channels = 3, .width = 0, .height = 2};
    ck_assert_int_eq(sqz_image_fit(&in, &input, &out, &err), SQZ_BAD_IMAGE);
    input = (struct sqz_input){.channels = 4, .width = 2, .height = 2};
    ck_assert_int_eq(sqz_image_fit(&in, &input, &out, &err), SQZ_SHAPE);
    free(in.pixels);
}
END_TEST

START_TEST(no_memory_is_an_error) {
    struct sqz_error err = {0};
    struct sqz_image in = sample_image(50, 40, 3), out;
    for (int kind = 0; kind < 3; kind++) {
        struct sqz_input input = {.channels = 3, .width = 30, .height = kind == 1 ? 60 : 30, .resize_short = 35};
        if (kind == 2) input.filter = SQZ_RESIZE_BILINEAR;
        enum sqz_status status = SQZ_OUT_OF_MEMORY;
        int n = 0;
        for (; status != SQZ_OK && n < 50; n++) {
            sqz_alloc_fail_after(n);
            status = sqz_image_fit(&in, &input, &out, &err);
            sqz_alloc_fail_after(-1);
            if (status != SQZ_OK) ck_assert_int_eq(status, SQZ_OUT_OF_MEMORY);
        }
        ck_assert_int_eq(status, SQZ_OK);
        ck_assert_int_gt(n, 5);
        sqz_image_free(&out);
    }
    free(in.pixels);
}
END_TEST

/* ---- normalising --------------------------------------------------------- */

static void normalize_one(const uint8_t *rgb, uint32_t channels, const struct sqz_input *input, float *out) {
    struct sqz_image pixel = {1, 1, channels, (uint8_t *)rgb};
    sqz_image_normalize(&pixel, input, out);
}

static struct sqz_input preset(const char *name, uint32_t channels) {
    struct sqz_input input = {.channels = channels, .height = 1, .width = 1};
    ck_assert(sqz_input_preset(name, &input));
    return input;
}

START_TEST(presets_give_the_known_numbers) {
    const uint8_t mean_color[] = {124, 117, 104};
    struct sqz_input caffe = preset("caffe", 3), torchvision = preset("torchvision", 3);
    float out[3];
    normalize_one(mean_color, 3, &caffe, out); /* means 104, 117, 123 in the order blue, green, red */
    ck_assert_float_eq(out[0], 0);
    ck_assert_float_eq(out[1], 0);
    ck_assert_float_eq(out[2], 1);
    normalize_one(mean_color, 3, &torchvision, out);
    ck_assert_float_eq_tol(out[0], 0.0056f, 5e-5f);
    ck_assert_float_eq_tol(out[1], 0.0126f, 5e-5f);
    ck_assert_float_eq_tol(out[2], 0.0082f, 5e-5f);
}
END_TEST

/* A net whose first channel is blue must not see pure red there: a swap done twice or not at all is easy to miss. */
START_TEST(channel_order_is_the_nets) {
    const uint8_t red[] = {255, 0, 0}, blue[] = {0, 0, 255}, grey[] = {77};
    struct sqz_input bgr = {.channels = 3, .order = SQZ_CHANNELS_BGR, .scale = 1, .std = {1, 1, 1, 1}}, rgb = bgr;
    rgb.order = SQZ_CHANNELS_RGB;
    float out[3];
    normalize_one(red, 3, &bgr, out);
    ck_assert(out[0] == 0 && out[1] == 0 && out[2] == 255);
    normalize_one(blue, 3, &bgr, out);
    ck_assert(out[0] == 255 && out[1] == 0 && out[2] == 0);
    normalize_one(red, 3, &rgb, out);
    ck_assert(out[0] == 255 && out[1] == 0 && out[2] == 0);
    normalize_one(grey, 1, &bgr, out);
    ck_assert(out[0] == 77 && out[1] == 77 && out[2] == 77);
}
END_TEST

START_TEST(grey_nets_get_luma) {
    const uint8_t colors[][3] = {{255, 0, 0}, {0, 255, 0}, {0, 0, 255}, {255, 255, 255}, {10, 200, 90}};
    const float expected[] = {76, 150, 29, 255, 131}; /* Pillow's convert("L") */
    struct sqz_input input = {.channels = 1, .order = SQZ_CHANNELS_GREY, .scale = 1, .std = {1, 1, 1, 1}};
    for (int i = 0; i < 5; i++) {
        float out;
        normalize_one(colors[i], 3, &input, &out);
        ck_assert_float_eq(out, expected[i]);
    }
    struct sqz_input fashion = preset("fashion-mnist", 1);
    float out;
    normalize_one((const uint8_t[]){255}, 1, &fashion, &out);
    ck_assert_float_eq_tol(out, (1 - 0.2860f) / 0.3530f, 1e-6f);
}
END_TEST

START_TEST(planes_follow_each_other) {
    struct sqz_error err = {0};
    struct sqz_buffer png = {0};
    uint8_t *pixels = sample_pixels(5, 4, 3);
    struct sqz_input input = {.channels = 3, .width = 5, .height = 4, .scale = 1, .std = {1, 1, 1, 1}};
    float out[60];
    sample_rgb_png(5, 4, &png);
    ck_assert_int_eq(sqz_image_load(png.data, png.nbytes, &input, false, out, &err), SQZ_OK);
    for (int i = 0; i < 20; i++)
        for (int c = 0; c < 3; c++) ck_assert_float_eq(out[c * 20 + i], pixels[i * 3 + c]);
    free(pixels);
    sqz_buffer_free(&png);
}
END_TEST

/* ---- real photographs ---------------------------------------------------- */

static void add_fitted(const char *path, struct sqz_sha256 *hash) {
    struct sqz_error err = {0};
    struct sqz_source source;
    struct sqz_image image, fitted;
    struct sqz_input input = {.channels = 3, .width = 224, .height = 224, .resize_short = 256};
    ck_assert_int_eq(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, &err), SQZ_OK);
    ck_assert_int_eq(sqz_image_decode(source.data, source.nbytes, false, &image, &err), SQZ_OK);
    ck_assert_int_eq(sqz_image_fit(&image, &input, &fitted, &err), SQZ_OK);
    uint8_t rgb[3];
    for (size_t i = 0; i < 224 * 224 && fitted.channels == 1; i++) {
        memset(rgb, fitted.pixels[i], 3);
        sqz_sha256_add(hash, rgb, 3);
    }
    if (fitted.channels == 3) sqz_sha256_add(hash, fitted.pixels, 224 * 224 * 3);
    sqz_image_free(&image);
    sqz_image_free(&fitted);
    sqz_source_close(&source);
}

/* One hash over the fitted pixels of the first images of a labels.txt, in its order, from Pillow 9.4. */
static const struct {
    const char *folder;
    int n_images;
    const char *hash;
} photographs[] = {
    {"data/eval", 600, "117365903effc8dcfc7cca8204b034ddb8e72acf40070ef39a89e3e481abe156"},
    {"data/calib", 200, "b96e67e60b94a33a85b4cebc40852576fa85e6a1a37633df095def09c8e4fc31"},
};

START_TEST(photographs_equal_pillow) {
    char name[1300], file[200], folder[1024];
    const char *shared = shared_path(photographs[_i].folder);
    if (!shared) return;
    snprintf(folder, sizeof folder, "%s", shared);
    snprintf(name, sizeof name, "%s/labels.txt", folder);
    FILE *list = fopen(name, "r");
    ck_assert_ptr_nonnull(list);
    struct sqz_sha256 hash;
    uint8_t digest[SQZ_SHA256_NBYTES];
    char text[SQZ_SHA256_TEXT];
    sqz_sha256_begin(&hash);
    for (int i = 0; i < photographs[_i].n_images; i++) {
        ck_assert_int_eq(fscanf(list, "%199s %*d", file), 1);
        snprintf(name, sizeof name, "%s/%s", folder, file);
        add_fitted(name, &hash);
    }
    fclose(list);
    sqz_sha256_end(&hash, digest);
    ck_assert_str_eq(sqz_sha256_format(digest, text), photographs[_i].hash);
}
END_TEST

Suite *test_resize(void);

Suite *test_resize(void) {
    Suite *suite = suite_create("resize");
    TCase *tests = tcase_create("resize");
    tcase_add_loop_test(tests, resize_equals_pillow, 0, sizeof pillow_cases / sizeof *pillow_cases);
    tcase_add_loop_test(tests, resize_equals_opencv, 0, sizeof opencv_cases / sizeof *opencv_cases);
    tcase_add_test(tests, filters_differ_where_they_should);
    tcase_add_test(tests, plain_bilinear_is_half_pixel);
    tcase_add_test(tests, part_equals_crop_of_the_whole);
    tcase_add_loop_test(tests, fit_equals_torchvision, 0, sizeof fit_cases / sizeof *fit_cases);
    tcase_add_test(tests, squash_ignores_the_aspect_ratio);
    tcase_add_test(tests, a_strip_does_not_explode);
    tcase_add_test(tests, no_memory_is_an_error);
    tcase_add_test(tests, presets_give_the_known_numbers);
    tcase_add_test(tests, channel_order_is_the_nets);
    tcase_add_test(tests, grey_nets_get_luma);
    tcase_add_test(tests, planes_follow_each_other);
    suite_add_tcase(suite, tests);
    TCase *shared = tcase_create("shared");
    tcase_set_timeout(shared, 120);
    tcase_add_loop_test(shared, photographs_equal_pillow, 0, sizeof photographs / sizeof *photographs);
    suite_add_tcase(suite, shared);
    return suite;
}
