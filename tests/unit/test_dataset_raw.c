/* test_dataset_raw.c - images packed into IDX files and CIFAR batches. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zlib.h>

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

/* ---- IDX ----------------------------------------------------------------- */

enum { IDX_IMAGES = 5, IDX_NBYTES = 16 + IDX_IMAGES * 6 };

/* Five images of two rows by three; the first pixel of image i is 10 i. */
static void make_idx(uint8_t images[IDX_NBYTES], uint8_t labels[8 + IDX_IMAGES]) {
    static const uint8_t head[16] = {0, 0, 8, 3, 0, 0, 0, IDX_IMAGES, 0, 0, 0, 2, 0, 0, 0, 3};
    static const uint8_t label_head[8] = {0, 0, 8, 1, 0, 0, 0, IDX_IMAGES};
    memcpy(images, head, sizeof head);
    memcpy(labels, label_head, sizeof label_head);
    for (int i = 0; i < IDX_IMAGES * 6; i++) images[16 + i] = (uint8_t)(i / 6 * 10 + i % 6);
    for (int i = 0; i < IDX_IMAGES; i++) labels[8 + i] = (uint8_t)((i + 3) % IDX_IMAGES);
}

static void write_gzip(const char *name, const void *data, size_t nbytes) {
    gzFile file = gzopen(scratch_path(name), "wb");
    ck_assert_int_eq(gzwrite(file, data, (unsigned)nbytes), (int)nbytes);
    ck_assert_int_eq(gzclose(file), Z_OK);
}

static void check_idx(const char *path, const char *first_name) {
    struct sqz_dataset *set =
        open_set(path, (struct sqz_dataset_options){.need_labels = true, .n_classes = IDX_IMAGES});
    struct sqz_input input = {.channels = 1, .width = 3, .height = 2, .scale = 1, .std = {1, 1, 1, 1}};
    ck_assert_uint_eq(sqz_dataset_count(set), IDX_IMAGES);
    ck_assert_str_eq(sqz_dataset_name(set, 0), first_name);
    for (int i = 0; i < IDX_IMAGES; i++) {
        float out[6];
        uint8_t *bytes;
        size_t nbytes;
        ck_assert_int_eq(sqz_dataset_label(set, (size_t)i), (i + 3) % IDX_IMAGES);
        ck_assert_int_eq(sqz_dataset_load(set, (size_t)i, &input, out, &err), SQZ_OK);
        for (int p = 0; p < 6; p++) ck_assert_float_eq(out[p], (float)(10 * i + p));
        ck_assert_int_eq(sqz_dataset_bytes(set, (size_t)i, &bytes, &nbytes, &err), SQZ_OK);
        ck_assert_uint_eq(nbytes, 6);
        ck_assert_uint_eq(bytes[5], 10 * i + 5);
        sqz_free(bytes);
    }
    sqz_dataset_close(set);
}

START_TEST(idx_plain_and_gzip) {
    uint8_t images[IDX_NBYTES], labels[8 + IDX_IMAGES];
    make_idx(images, labels);
    scratch_write("train-images-idx3-ubyte", images, sizeof images);
    scratch_write("train-labels-idx1-ubyte", labels, sizeof labels);
    check_idx(scratch_path(""), "train-images-idx3-ubyte#0");
    check_idx(scratch_path("train-images-idx3-ubyte"), "train-images-idx3-ubyte#0");
    /* Beside a training split the test split is taken; images and labels may differ in their packing. */
    write_gzip("t10k-images.idx3-ubyte.gz", images, sizeof images);
    scratch_write("t10k-labels.idx1-ubyte", labels, sizeof labels);
    scratch_write("train-labels-idx1-ubyte", labels, 3);
    check_idx(scratch_path(""), "t10k-images.idx3-ubyte.gz#0");
    write_gzip("train-labels-idx1-ubyte.gz", labels, sizeof labels);
    ck_assert_int_eq(unlink(scratch_path("train-labels-idx1-ubyte")), 0);
    check_idx(scratch_path("train-images-idx3-ubyte"), "train-images-idx3-ubyte#0");
    scratch_write("other-images-idx3-ubyte", images, sizeof images);
    ck_assert_int_eq(unlink(scratch_path("t10k-images.idx3-ubyte.gz")), 0);
    assert_fails(scratch_path(""), plain, SQZ_ARGUMENT, "2 IDX image files");
}
END_TEST

START_TEST(idx_labels_by_option) {
    uint8_t images[IDX_NBYTES], labels[8 + IDX_IMAGES];
    make_idx(images, labels);
    scratch_write("pictures.dat", images, sizeof images);
    scratch_write("answers.dat", labels, sizeof labels);
    assert_fails(scratch_path("pictures.dat"), (struct sqz_dataset_options){.need_labels = true}, SQZ_BAD_LABEL,
                 "no label");
    struct sqz_dataset *set =
        open_set(scratch_path("pictures.dat"), (struct sqz_dataset_options){.labels = scratch_path("answers.dat")});
    ck_assert_int_eq(sqz_dataset_label(set, 0), 3);
    sqz_dataset_close(set);
    scratch_text("answers.txt", "9\n8\n7\n6\n5\n");
    set = open_set(scratch_path("pictures.dat"), (struct sqz_dataset_options){.labels = scratch_path("answers.txt")});
    ck_assert_int_eq(sqz_dataset_label(set, 4), 5);
    sqz_dataset_close(set);
    assert_fails(scratch_path("pictures.dat"),
                 (struct sqz_dataset_options){.labels = scratch_path("answers.txt"), .n_classes = 9}, SQZ_BAD_LABEL,
                 "out of range");
    labels[7] = 4;
    scratch_write("answers.dat", labels, sizeof labels - 1);
    assert_fails(scratch_path("pictures.dat"), (struct sqz_dataset_options){.labels = scratch_path("answers.dat")},
                 SQZ_BAD_LABEL, "4 labels for 5 images");
}
END_TEST

START_TEST(bad_idx_is_refused) {
    uint8_t images[IDX_NBYTES], labels[8 + IDX_IMAGES], bad[IDX_NBYTES + 1];
    make_idx(images, labels);
    for (size_t part = 1; part < 16; part++) { /* 0: an empty file is an empty image, whose loading fails */
        scratch_write("images-idx3", images, sizeof images * part / 16);
        struct sqz_dataset *set;
        ck_assert_int_ne(sqz_dataset_open(scratch_path(""), &plain, &set, &err), SQZ_OK);
    }
    memcpy(bad, images, sizeof images);
    scratch_write("images-idx3", bad, sizeof bad);
    assert_fails(scratch_path(""), plain, SQZ_MALFORMED, "holds 31 values and promises 30");
    static const struct {
        size_t offset;
        uint8_t value;
        enum sqz_status status;
    } changes[] = {{2, 0x0d, SQZ_UNSUPPORTED}, {3, 2, SQZ_MALFORMED}, {0, 1, SQZ_MALFORMED}, {7, 0, SQZ_MALFORMED},
                   {7, 6, SQZ_TRUNCATED},      {4, 0xff, SQZ_LIMIT},  {8, 0xff, SQZ_LIMIT}};
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        memcpy(bad, images, sizeof images);
        bad[changes[i].offset] = changes[i].value;
        scratch_write("images-idx3", bad, sizeof images);
        assert_fails(scratch_path(""), plain, changes[i].status, "IDX");
    }
    memset(images + 4, 0, 4); /* no images, consistently */
    scratch_write("images-idx3", images, 16);
    assert_fails(scratch_path(""), plain, SQZ_BAD_IMAGE, "no images");
}
END_TEST

START_TEST(bad_gzip_is_refused) {
    uint8_t images[IDX_NBYTES], labels[8 + IDX_IMAGES], packed[200];
    make_idx(images, labels);
    write_gzip("images-idx3.gz", images, sizeof images);
    FILE *file = fopen(scratch_path("images-idx3.gz"), "rb");
    size_t nbytes = fread(packed, 1, sizeof packed, file);
    fclose(file);
    struct sqz_dataset *set;
    for (size_t part = 1; part < 16; part++) {
        scratch_write("images-idx3.gz", packed, nbytes * part / 16);
        ck_assert_int_ne(sqz_dataset_open(scratch_path(""), &plain, &set, &err), SQZ_OK);
    }
    for (size_t i = 10; i < nbytes; i++) { /* behind the ten bytes of gzip's header everything is checked */
        packed[i] ^= 0x55;
        scratch_write("images-idx3.gz", packed, nbytes);
        ck_assert_int_ne(sqz_dataset_open(scratch_path(""), &plain, &set, &err), SQZ_OK);
        packed[i] ^= 0x55;
    }
    memcpy(images + 4, "\x00\x10\x00\x00", 4); /* a million images, which no hundred bytes can hold */
    write_gzip("images-idx3.gz", images, sizeof images);
    assert_fails(scratch_path(""), plain, SQZ_TRUNCATED, "compressed bytes can hold");
    memcpy(images + 4, "\x00\x00\x00\x04", 4);
    write_gzip("images-idx3.gz", images, sizeof images);
    assert_fails(scratch_path(""), plain, SQZ_MALFORMED, "more than the 24 values");
}
END_TEST

/* ---- CIFAR --------------------------------------------------------------- */

/* n records whose red plane is 100 + i, green 50, blue 0 but for its last pixel, 9. */
static void write_cifar(const char *name, size_t n_labels, size_t n, uint8_t first_label) {
    size_t record = n_labels + 3072;
    uint8_t *data = calloc(n, record);
    for (size_t i = 0; i < n; i++) {
        uint8_t *r = data + i * record;
        r[n_labels - 1] = (uint8_t)(first_label + i);
        memset(r + n_labels, (int)(100 + i), 1024);
        memset(r + n_labels + 1024, 50, 1024);
        r[record - 1] = 9;
    }
    scratch_write(name, data, n * record);
    free(data);
}

START_TEST(cifar_10_and_100) {
    struct sqz_input input = {.channels = 3, .width = 32, .height = 32, .scale = 1, .std = {1, 1, 1, 1}};
    static float out[3 * 1024];
    write_cifar("data_batch_1.bin", 1, 4, 2);
    write_cifar("data_batch_2.bin", 1, 3, 7);
    struct sqz_dataset *set =
        open_set(scratch_path(""), (struct sqz_dataset_options){.need_labels = true, .n_classes = 10});
    ck_assert_uint_eq(sqz_dataset_count(set), 7);
    ck_assert_str_eq(sqz_dataset_name(set, 5), "data_batch_2.bin#1");
    ck_assert_int_eq(sqz_dataset_label(set, 5), 8);
    ck_assert_int_eq(sqz_dataset_load(set, 5, &input, out, &err), SQZ_OK);
    ck_assert(out[0] == 101 && out[1023] == 101 && out[1024] == 50 && out[2048] == 0 && out[3071] == 9);
    sqz_dataset_close(set);
    write_cifar("test_batch.bin", 1, 2, 0);
    set = open_set(scratch_path(""), plain);
    ck_assert_uint_eq(sqz_dataset_count(set), 2); /* the test split alone */
    sqz_dataset_close(set);
    write_cifar("fine.bin", 2, 3, 97);
    set = open_set(scratch_path("fine.bin"), (struct sqz_dataset_options){.n_classes = 100});
    ck_assert_uint_eq(sqz_dataset_count(set), 3);
    ck_assert_int_eq(sqz_dataset_label(set, 2), 99);
    ck_assert_ptr_nonnull(strstr(sqz_dataset_description(set), "CIFAR-100"));
    sqz_dataset_close(set);
    write_cifar("wrong.bin", 1, 3, 8);
    assert_fails(scratch_path("wrong.bin"), plain, SQZ_BAD_LABEL, "out of range");
    write_cifar("wrong.bin", 2, 3, 98);
    assert_fails(scratch_path("wrong.bin"), plain, SQZ_BAD_LABEL, "out of range");
}
END_TEST

/* ---- memory -------------------------------------------------------------- */

START_TEST(no_memory_is_an_error) {
    uint8_t images[IDX_NBYTES], labels[8 + IDX_IMAGES];
    make_idx(images, labels);
    write_gzip("t-images-idx3.gz", images, sizeof images);
    write_gzip("t-labels-idx1.gz", labels, sizeof labels);
    write_cifar("a.bin", 1, 2, 0);
    static const char *const files[] = {"t-images-idx3.gz", "a.bin"};
    for (size_t i = 0; i < 2; i++) {
        struct sqz_dataset *set = NULL;
        enum sqz_status status = SQZ_OUT_OF_MEMORY;
        int n = 0;
        for (; status != SQZ_OK && n < 100; n++) {
            sqz_alloc_fail_after(n);
            status = sqz_dataset_open(scratch_path(files[i]), &plain, &set, &err);
            sqz_alloc_fail_after(-1);
            if (status != SQZ_OK) ck_assert_int_eq(status, SQZ_OUT_OF_MEMORY);
        }
        ck_assert_int_eq(status, SQZ_OK);
        ck_assert_int_gt(n, 3);
        sqz_dataset_close(set);
    }
}
END_TEST

Suite *test_dataset_raw(void);

Suite *test_dataset_raw(void) {
    Suite *suite = suite_create("dataset_raw");
    TCase *tests = tcase_create("dataset_raw");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, scratch_make, scratch_remove);
    tcase_add_test(tests, idx_plain_and_gzip);
    tcase_add_test(tests, idx_labels_by_option);
    tcase_add_test(tests, bad_idx_is_refused);
    tcase_add_test(tests, bad_gzip_is_refused);
    tcase_add_test(tests, cifar_10_and_100);
    tcase_add_test(tests, no_memory_is_an_error);
    suite_add_tcase(suite, tests);
    return suite;
}
