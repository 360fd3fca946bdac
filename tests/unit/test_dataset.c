/* test_dataset.c - labelled images in files: lists, class folders, ILSVRC's layout, one image. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <png.h>

#include "eval/dataset.h"
#include "lib/memory.h"
#include "tests/unit/image_samples.h"

static struct sqz_error err;
static const struct sqz_dataset_options plain;

static struct sqz_dataset *open_set(const char *path, struct sqz_dataset_options options) {
    struct sqz_dataset *set = NULL;
    memset(&err, 0, sizeof err);
    enum sqz_status status = sqz_dataset_open(path, &options, &set, &err);
    ck_assert_msg(status == SQZ_OK, "%s: %s", err.file, err.text);
    return set;
}

static void assert_fails(const char *path, struct sqz_dataset_options options, enum sqz_status expected,
                         const char *says) {
    struct sqz_dataset *set = NULL;
    memset(&err, 0, sizeof err);
    ck_assert_int_eq(sqz_dataset_open(path, &options, &set, &err), expected);
    ck_assert_ptr_null(set);
    ck_assert_msg(strstr(err.text, says) != NULL, "\"%s\" does not say \"%s\"", err.text, says);
    ck_assert_str_ne(err.file, "");
}

/* One grey value for each image, so that a pixel says which file was loaded. */
static void write_grey_png(const char *name, uint8_t value) {
    struct sqz_buffer file = {0};
    sample_png_encode(&(struct sample_png){.width = 1, .height = 1, .color_type = PNG_COLOR_TYPE_GRAY, .depth = 8},
                      &value, &file);
    scratch_write(name, file.data, file.nbytes);
    sqz_buffer_free(&file);
}

static float load_value(const struct sqz_dataset *set, size_t i) {
    struct sqz_input input = {.channels = 1, .width = 1, .height = 1, .scale = 1, .std = {1, 1, 1, 1}};
    float value = -1;
    ck_assert_int_eq(sqz_dataset_load(set, i, &input, &value, &err), SQZ_OK);
    return value;
}

static void assert_entry(const struct sqz_dataset *set, size_t i, const char *name, int label, float value) {
    ck_assert_str_eq(sqz_dataset_name(set, i), name);
    ck_assert_int_eq(sqz_dataset_label(set, i), label);
    ck_assert_float_eq(load_value(set, i), value);
}

/* ---- lists --------------------------------------------------------------- */

START_TEST(labels_txt_names_files) {
    write_grey_png("b.png", 11);
    write_grey_png("a with space.JPEG", 22);
    scratch_folder("deep");
    write_grey_png("deep/c.png", 33);
    write_grey_png("unlisted.png", 44);
    scratch_text("labels.txt", "\xef\xbb\xbf"
                               "b.png 7\r\n\n a with space.JPEG\t 0 \ndeep/c.png 3");
    struct sqz_dataset *set =
        open_set(scratch_path(""), (struct sqz_dataset_options){.need_labels = true, .n_classes = 8});
    ck_assert_uint_eq(sqz_dataset_count(set), 3);
    assert_entry(set, 0, "b.png", 7, 11);
    assert_entry(set, 1, "a with space.JPEG", 0, 22);
    assert_entry(set, 2, "deep/c.png", 3, 33);
    ck_assert_str_eq(sqz_dataset_description(set), "folder with labels.txt, 3 images, labels 0 to 7");
    sqz_dataset_close(set);
}
END_TEST

START_TEST(a_list_without_labels) {
    write_grey_png("x.png", 5);
    scratch_text("labels.txt", "x.png\n");
    struct sqz_dataset *set = open_set(scratch_path(""), plain);
    assert_entry(set, 0, "x.png", -1, 5);
    sqz_dataset_close(set);
    assert_fails(scratch_path(""), (struct sqz_dataset_options){.need_labels = true}, SQZ_BAD_LABEL, "line 1");
}
END_TEST

START_TEST(lists_that_start_at_one_only_by_option) {
    write_grey_png("x.png", 5);
    scratch_text("labels.txt", "x.png 20\n");
    struct sqz_dataset_options options = {.need_labels = true, .n_classes = 20};
    assert_fails(scratch_path(""), options, SQZ_BAD_LABEL, "do the labels start at 1?");
    options.one_based = true;
    struct sqz_dataset *set = open_set(scratch_path(""), options);
    ck_assert_int_eq(sqz_dataset_label(set, 0), 19);
    sqz_dataset_close(set);
    scratch_text("labels.txt", "x.png 0\n");
    assert_fails(scratch_path(""), options, SQZ_BAD_LABEL, "line 1");
}
END_TEST

START_TEST(labels_out_of_range) {
    static const char *const bad[] = {"x.png -1\n", "x.png 20\n", "x.png 21\n", "x.png 4294967296\n",
                                      "x.png 99999999999999999999\n"};
    write_grey_png("x.png", 5);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scratch_text("labels.txt", bad[i]);
        assert_fails(scratch_path(""), (struct sqz_dataset_options){.n_classes = 20}, SQZ_BAD_LABEL, "out of range");
    }
    scratch_text("labels.txt", "");
    assert_fails(scratch_path(""), plain, SQZ_BAD_LABEL, "empty");
}
END_TEST

/* ILSVRC: one ground-truth index per line, for the sorted names of a flat folder. */
START_TEST(flat_folder_with_a_ground_truth_list) {
    scratch_folder("val");
    write_grey_png("val/ILSVRC2012_val_00000002.JPEG", 2);
    write_grey_png("val/ILSVRC2012_val_00000001.JPEG", 1);
    write_grey_png("val/ILSVRC2012_val_00000010.JPEG", 10);
    scratch_text("truth.txt", "490\n361\n171\n");
    struct sqz_dataset_options options = {
        .labels = scratch_path("truth.txt"), .need_labels = true, .one_based = true, .n_classes = 1000};
    struct sqz_dataset *set = open_set(scratch_path("val"), options);
    assert_entry(set, 0, "ILSVRC2012_val_00000001.JPEG", 489, 1);
    assert_entry(set, 1, "ILSVRC2012_val_00000002.JPEG", 360, 2);
    assert_entry(set, 2, "ILSVRC2012_val_00000010.JPEG", 170, 10);
    sqz_dataset_close(set);
    scratch_text("truth.txt", "490\n361\n");
    assert_fails(scratch_path("val"), options, SQZ_BAD_LABEL, "2 labels for 3 images");
    scratch_text("truth.txt", "490\nnonsense\n");
    assert_fails(scratch_path("val"), options, SQZ_BAD_LABEL, "line 2");
    options.labels = scratch_path("nowhere.txt");
    assert_fails(scratch_path("val"), options, SQZ_NOT_FOUND, "cannot open");
    /* Caffe's list names the files; it is given by option as well. */
    scratch_text("truth.txt", "ILSVRC2012_val_00000010.JPEG 5\n");
    options.labels = scratch_path("truth.txt");
    options.one_based = false;
    set = open_set(scratch_path("val"), options);
    ck_assert_uint_eq(sqz_dataset_count(set), 1);
    assert_entry(set, 0, "ILSVRC2012_val_00000010.JPEG", 5, 10);
    sqz_dataset_close(set);
}
END_TEST

START_TEST(synset_ids_need_their_list) {
    scratch_folder("val");
    write_grey_png("val/1.png", 1);
    write_grey_png("val/2.png", 2);
    scratch_text("truth.txt", "n01443537\nn01440764\n");
    struct sqz_dataset_options options = {.labels = scratch_path("truth.txt")};
    assert_fails(scratch_path("val"), options, SQZ_BAD_LABEL, "synset_words.txt");
    scratch_text("synset_words.txt", "n01440764 tench\nn01443537 goldfish, Carassius auratus\nn01484850\n");
    struct sqz_dataset *set = open_set(scratch_path("val"), options);
    assert_entry(set, 0, "1.png", 1, 1);
    assert_entry(set, 1, "2.png", 0, 2);
    sqz_dataset_close(set);
    scratch_text("truth.txt", "n01443537\nn99999999\n");
    assert_fails(scratch_path("val"), options, SQZ_BAD_LABEL, "n99999999");
    scratch_text("synset_words.txt", "n01440764 tench\ngoldfish\n");
    assert_fails(scratch_path("val"), options, SQZ_BAD_LABEL, "line 2");
}
END_TEST

/* ---- class folders ------------------------------------------------------- */

/* Folders "0" to "19" read as text come as 0, 1, 10, 11, ...: top-1 of a good net fell to a few per mille. */
START_TEST(numeric_folders_are_classes_by_value) {
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d", i);
        scratch_folder(name);
        snprintf(name, sizeof name, "%d/image.png", i);
        write_grey_png(name, (uint8_t)(10 * i));
    }
    struct sqz_dataset_options options = {.need_labels = true, .n_classes = 20};
    struct sqz_dataset *set = open_set(scratch_path(""), options);
    ck_assert_uint_eq(sqz_dataset_count(set), 20);
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d/image.png", i);
        assert_entry(set, (size_t)i, name, i, (float)(10 * i));
    }
    ck_assert_ptr_nonnull(strstr(sqz_dataset_description(set), "number is the class"));
    sqz_dataset_close(set);
    options.n_classes = 10;
    assert_fails(scratch_path(""), options, SQZ_BAD_LABEL, "out of range");
    options.n_classes = 20;
    options.one_based = true;
    assert_fails(scratch_path(""), options, SQZ_BAD_LABEL, "start at 1");
}
END_TEST

START_TEST(named_folders_are_classes_by_rank) {
    static const char *const folders[] = {"n01440764", "n01443537", "Zebra", "empty", ".hidden"};
    for (size_t i = 0; i < 5; i++) scratch_folder(folders[i]);
    write_grey_png("n01440764/a.png", 1);
    write_grey_png("n01443537/b.png", 2);
    scratch_folder("n01443537/images");
    write_grey_png("n01443537/images/c.PNG", 3);
    write_grey_png("Zebra/d.png", 4);
    write_grey_png(".hidden/e.png", 5);
    scratch_text("n01440764/notes.txt", "not an image");
    ck_assert_int_eq(symlink("..", scratch_path("Zebra/loop")), 0);
    struct sqz_dataset *set = open_set(scratch_path(""), plain);
    ck_assert_uint_eq(sqz_dataset_count(set), 4);
    assert_entry(set, 0, "Zebra/d.png", 0, 4);
    assert_entry(set, 1, "n01440764/a.png", 2, 1);
    assert_entry(set, 2, "n01443537/b.png", 3, 2);
    assert_entry(set, 3, "n01443537/images/c.PNG", 3, 3);
    sqz_dataset_close(set);
}
END_TEST

/* Ten classes of ImageNet's thousand are not classes 0 to 9: with the list of synsets each keeps its own number. */
START_TEST(synset_folders_follow_their_list) {
    scratch_folder("n01484850");
    scratch_folder("n01440764");
    write_grey_png("n01484850/a.png", 1);
    write_grey_png("n01440764/b.png", 2);
    scratch_text("synset_words.txt", "n01440764 tench\nn01443537 goldfish\nn01484850 shark\n");
    struct sqz_dataset *set = open_set(scratch_path(""), plain);
    assert_entry(set, 0, "n01440764/b.png", 0, 2);
    assert_entry(set, 1, "n01484850/a.png", 2, 1);
    sqz_dataset_close(set);
    scratch_folder("n09999999");
    assert_fails(scratch_path(""), plain, SQZ_BAD_LABEL, "n09999999");
}
END_TEST

/* ---- images as they come ------------------------------------------------- */

/* Ten files, three of them unusable: all are counted, the type is found by content, and each failure is one sentence.
 */
START_TEST(ten_odd_images_are_all_counted) {
    struct sqz_buffer file[6] = {0};
    uint8_t *pixels = sample_pixels(32, 24, 8);
    sample_rgb_jpeg(32, 24, false, &file[0]);
    sample_rgb_jpeg(32, 24, true, &file[1]);
    sample_jpeg_encode(&(struct sample_jpeg){.width = 32, .height = 24, .components = 1, .quality = 90}, pixels,
                       &file[2]);
    sample_jpeg_encode(
        &(struct sample_jpeg){.width = 32, .height = 24, .components = 3, .quality = 90, .orientation = 6}, pixels,
        &file[3]);
    sample_png_encode(
        &(struct sample_png){.width = 32, .height = 24, .color_type = PNG_COLOR_TYPE_RGB_ALPHA, .depth = 8}, pixels,
        &file[4]);
    sample_png_encode(&(struct sample_png){.width = 32, .height = 24, .color_type = PNG_COLOR_TYPE_RGB, .depth = 16},
                      pixels, &file[5]);
    scratch_write("0-baseline.jpg", file[0].data, file[0].nbytes);
    scratch_write("1-progressive.jpg", file[1].data, file[1].nbytes);
    scratch_write("2-grey.jpg", file[2].data, file[2].nbytes);
    scratch_write("3-rotated.jpg", file[3].data, file[3].nbytes);
    scratch_write("4-png.JPEG", file[4].data, file[4].nbytes);
    scratch_write("5-rgba.png", file[4].data, file[4].nbytes);
    scratch_write("6-16bit.png", file[5].data, file[5].nbytes);
    scratch_write("7-truncated.jpg", file[0].data, file[0].nbytes / 2);
    scratch_write("8-empty.jpg", "", 0);
    write_grey_png("9-one-pixel.png", 200);
    struct sqz_input input = {
        .channels = 3, .width = 16, .height = 16, .resize_short = 20, .scale = 1, .std = {1, 1, 1, 1}};
    struct sqz_dataset *set = open_set(scratch_path(""), plain);
    ck_assert_uint_eq(sqz_dataset_count(set), 10);
    static float out[10][3 * 256];
    for (size_t i = 0; i < 10; i++) {
        memset(&err, 0, sizeof err);
        enum sqz_status status = sqz_dataset_load(set, i, &input, out[i], &err);
        ck_assert_int_eq(status, i == 7 || i == 8 ? SQZ_BAD_IMAGE : SQZ_OK);
        if (status != SQZ_OK) ck_assert_ptr_nonnull(strstr(err.file, sqz_dataset_name(set, i)));
    }
    ck_assert_mem_eq(out[0], out[1], sizeof out[0]);
    ck_assert_mem_eq(out[2], out[2] + 256, 256 * sizeof(float));
    ck_assert_mem_eq(out[4], out[5], sizeof out[0]);
    for (int i = 0; i < 3 * 256; i++) ck_assert_float_eq(out[9][i], 200);
    float stored[3 * 256], turned[3 * 256];
    memcpy(stored, out[3], sizeof stored);
    sqz_dataset_close(set);
    set = open_set(scratch_path(""), (struct sqz_dataset_options){.apply_exif = true});
    ck_assert_int_eq(sqz_dataset_load(set, 3, &input, turned, &err), SQZ_OK);
    ck_assert_mem_ne(stored, turned, sizeof stored);
    sqz_dataset_close(set);
    for (int i = 0; i < 6; i++) sqz_buffer_free(&file[i]);
    free(pixels);
}
END_TEST

START_TEST(one_image_file_and_its_bytes) {
    write_grey_png("only.dat", 66);
    struct sqz_dataset *set = open_set(scratch_path("only.dat"), plain);
    ck_assert_uint_eq(sqz_dataset_count(set), 1);
    ck_assert_int_eq(sqz_dataset_label(set, 0), -1);
    ck_assert_float_eq(load_value(set, 0), 66);
    uint8_t *bytes;
    size_t nbytes;
    ck_assert_int_eq(sqz_dataset_bytes(set, 0, &bytes, &nbytes, &err), SQZ_OK);
    ck_assert_mem_eq(bytes, "\x89PNG", 4);
    sqz_free(bytes);
    ck_assert_int_eq(unlink(scratch_path("only.dat")), 0);
    ck_assert_int_eq(sqz_dataset_bytes(set, 0, &bytes, &nbytes, &err), SQZ_NOT_FOUND);
    float value;
    struct sqz_input input = {.channels = 1, .width = 1, .height = 1, .scale = 1, .std = {1, 1, 1, 1}};
    ck_assert_int_eq(sqz_dataset_load(set, 0, &input, &value, &err), SQZ_NOT_FOUND);
    sqz_dataset_close(set);
}
END_TEST

START_TEST(nothing_to_read) {
    assert_fails(scratch_path("nowhere"), plain, SQZ_NOT_FOUND, "cannot be opened");
    assert_fails(scratch_path(""), plain, SQZ_NOT_FOUND, "no images");
    scratch_text("readme.txt", "hello");
    assert_fails(scratch_path(""), plain, SQZ_NOT_FOUND, "1 other files");
    write_grey_png("x.png", 1);
    assert_fails(scratch_path(""), (struct sqz_dataset_options){.need_labels = true}, SQZ_BAD_LABEL, "no label");
    scratch_text("labels.txt", "missing.png 0\n");
    struct sqz_dataset *set = open_set(scratch_path(""), plain);
    struct sqz_input input = {.channels = 1, .width = 1, .height = 1, .scale = 1, .std = {1, 1, 1, 1}};
    float value;
    memset(&err, 0, sizeof err);
    ck_assert_int_eq(sqz_dataset_load(set, 0, &input, &value, &err), SQZ_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.file, "missing.png"));
    sqz_dataset_close(set);
}
END_TEST

/* ---- memory -------------------------------------------------------------- */

START_TEST(no_memory_is_an_error) {
    scratch_folder("classes");
    scratch_folder("classes/n01440764");
    write_grey_png("classes/n01440764/a.png", 1);
    scratch_text("classes/synset_words.txt", "n01440764 tench\n");
    scratch_folder("listed");
    write_grey_png("listed/a.png", 1);
    scratch_text("listed/labels.txt", "n01440764\n");
    scratch_text("listed/synset_words.txt", "n01440764 tench\n");
    static const char *const sets[] = {"classes", "listed"};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        struct sqz_dataset *set = NULL;
        enum sqz_status status = SQZ_OUT_OF_MEMORY;
        int n = 0;
        for (; status != SQZ_OK && n < 100; n++) {
            sqz_alloc_fail_after(n);
            status = sqz_dataset_open(scratch_path(sets[i]), &plain, &set, &err);
            sqz_alloc_fail_after(-1);
            if (status != SQZ_OK) ck_assert_int_eq(status, SQZ_OUT_OF_MEMORY);
        }
        ck_assert_int_eq(status, SQZ_OK);
        ck_assert_int_gt(n, 4);
        sqz_dataset_close(set);
    }
}
END_TEST

/* ---- shared data --------------------------------------------------------- */

START_TEST(the_shared_sets_are_understood) {
    const char *path = shared_path("data/eval");
    if (!path) return;
    struct sqz_dataset *set = open_set(path, (struct sqz_dataset_options){.need_labels = true, .n_classes = 1000});
    ck_assert_uint_eq(sqz_dataset_count(set), 600);
    ck_assert_str_eq(sqz_dataset_name(set, 0), "000b7d55b6184b08.png");
    ck_assert_int_eq(sqz_dataset_label(set, 0), 388);
    sqz_dataset_close(set);
}
END_TEST

Suite *test_dataset(void);

Suite *test_dataset(void) {
    Suite *suite = suite_create("dataset");
    TCase *tests = tcase_create("dataset");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, scratch_make, scratch_remove);
    tcase_add_test(tests, labels_txt_names_files);
    tcase_add_test(tests, a_list_without_labels);
    tcase_add_test(tests, lists_that_start_at_one_only_by_option);
    tcase_add_test(tests, labels_out_of_range);
    tcase_add_test(tests, flat_folder_with_a_ground_truth_list);
    tcase_add_test(tests, synset_ids_need_their_list);
    tcase_add_test(tests, numeric_folders_are_classes_by_value);
    tcase_add_test(tests, named_folders_are_classes_by_rank);
    tcase_add_test(tests, synset_folders_follow_their_list);
    tcase_add_test(tests, ten_odd_images_are_all_counted);
    tcase_add_test(tests, one_image_file_and_its_bytes);
    tcase_add_test(tests, nothing_to_read);
    tcase_add_test(tests, no_memory_is_an_error);
    tcase_add_test(tests, the_shared_sets_are_understood);
    suite_add_tcase(suite, tests);
    return suite;
}
