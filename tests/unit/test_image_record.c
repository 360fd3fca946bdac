/* test_image_record.c - the record of the images that a model was calibrated on. */
#include <check.h>
#include <string.h>

#include "lib/graph_code.h"
#include "lib/image_record.h"
#include "lib/model.h"

Suite *test_image_record(void);

#define MOST 3000

static uint8_t digests[MOST][SQZ_SHA256_NBYTES];

/* Digests of the numbers first, first + 1, ... */
static const uint8_t (*numbers(uint32_t first, size_t n))[SQZ_SHA256_NBYTES] {
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = first + i;
        sqz_sha256(&v, sizeof v, digests[i]);
    }
    return (const uint8_t(*)[SQZ_SHA256_NBYTES])digests;
}

static void count(const struct sqz_image_record *record, uint32_t first, size_t n, size_t *present, size_t *sampled) {
    numbers(first, n);
    *present = *sampled = 0;
    for (size_t i = 0; i < n; i++) {
        enum sqz_record_answer answer = sqz_image_record_find(record, digests[i]);
        *sampled += answer != SQZ_RECORD_NOT_SAMPLED;
        *present += answer == SQZ_RECORD_PRESENT;
    }
}

static void check_record(size_t n) {
    struct sqz_arena arena = {0};
    struct sqz_image_record record = {0};
    ck_assert_int_eq(sqz_image_record_add(&record, numbers(0, n), n, &arena, NULL), SQZ_OK);
    size_t present, sampled;
    count(&record, 0, n, &present, &sampled);
    ck_assert_uint_eq(present, sampled);
    ck_assert_uint_gt(sampled, n < 60 ? n - 1 : 40);
    ck_assert(sqz_image_record_convicts(&record, present, sampled));
    count(&record, 100000, MOST, &present, &sampled);
    ck_assert(!sqz_image_record_convicts(&record, present, sampled));
    struct sqz_buffer bytes = {0};
    sqz_image_record_put(&record, &bytes);
    ck_assert_uint_le(bytes.nbytes, 195);
    struct sqz_reader r = sqz_reader_make(bytes.data, bytes.nbytes);
    struct sqz_image_record back;
    ck_assert_int_eq(sqz_image_record_read(&r, &arena, &back, NULL), SQZ_OK);
    ck_assert_uint_eq(sqz_reader_left(&r), 0);
    ck_assert_uint_eq(back.n_images, n);
    ck_assert_uint_eq(back.n_prefixes, record.n_prefixes);
    ck_assert_mem_eq(back.prefixes, record.prefixes, record.n_prefixes * sizeof *record.prefixes);
    sqz_buffer_free(&bytes);
    sqz_arena_free(&arena);
}

START_TEST(used_images_are_known_and_others_are_not) {
    static const size_t sizes[] = {1, 2, 8, 50, 127, 128, 129, 300, 1000, MOST};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) check_record(sizes[i]);
}
END_TEST

START_TEST(records_add_up) {
    struct sqz_arena arena = {0};
    struct sqz_image_record record = {0};
    size_t present, sampled;
    for (uint32_t k = 0; k < 5; k++)
        ck_assert_int_eq(sqz_image_record_add(&record, numbers(1000 * k, 300), 300, &arena, NULL), SQZ_OK);
    ck_assert_uint_eq(record.n_images, 1500);
    for (uint32_t k = 0; k < 5; k++) {
        count(&record, 1000 * k, 300, &present, &sampled);
        ck_assert_uint_eq(present, sampled);
        ck_assert(sqz_image_record_convicts(&record, present, sampled));
    }
    sqz_arena_free(&arena);
}
END_TEST

/* One of 600 images would be chance; a tenth of them would not. */
START_TEST(a_part_is_enough_to_convict) {
    struct sqz_arena arena = {0};
    struct sqz_image_record record = {0};
    ck_assert_int_eq(sqz_image_record_add(&record, numbers(0, 300), 300, &arena, NULL), SQZ_OK);
    size_t present, sampled;
    count(&record, 240, 600, &present, &sampled);
    ck_assert(sqz_image_record_convicts(&record, present, sampled));
    sqz_arena_free(&arena);
}
END_TEST

START_TEST(damaged_records_are_refused) {
    struct sqz_arena arena = {0};
    struct sqz_image_record record = {0}, back;
    ck_assert_int_eq(sqz_image_record_add(&record, numbers(0, 40), 40, &arena, NULL), SQZ_OK);
    struct sqz_buffer bytes = {0};
    sqz_image_record_put(&record, &bytes);
    for (size_t cut = 0; cut < bytes.nbytes; cut++) {
        struct sqz_reader r = sqz_reader_make(bytes.data, cut);
        ck_assert_int_eq(sqz_image_record_read(&r, &arena, &back, NULL), SQZ_MALFORMED);
    }
    static const uint8_t bad[][8] = {
        {0, 0, 10, 0},       /* no images */
        {9, 33, 10, 0},      /* sample out of range */
        {9, 0, 25, 0},       /* prefix out of range */
        {1, 0, 10, 2, 0, 0}, /* more prefixes than images */
        {9, 0, 2, 1, 0xff},  /* beyond the prefix */
        {9, 0, 9, 1, 0, 0xf0}, /* padding */
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sqz_reader r = sqz_reader_make(bad[i], sizeof bad[i]);
        ck_assert_msg(sqz_image_record_read(&r, &arena, &back, NULL) == SQZ_MALFORMED, "bad record %zu", i);
    }
    sqz_buffer_free(&bytes);
    sqz_arena_free(&arena);
}
END_TEST

START_TEST(it_travels_with_the_graph) {
    struct sqz_input input = {.channels = 1, .height = 1, .width = 1};
    struct sqz_model *model = sqz_model_new(&input), *back;
    ck_assert_ptr_nonnull(model);
    for (int with = 0; with < 2; with++) {
        if (with)
            ck_assert_int_eq(sqz_image_record_add(&model->calibrated_on, numbers(7, 20), 20, &model->arena, NULL), SQZ_OK);
        struct sqz_buffer bytes = {0};
        ck_assert_int_eq(sqz_graph_encode(model, false, &bytes, NULL), SQZ_OK);
        ck_assert_int_eq(sqz_graph_decode(bytes.data, bytes.nbytes, 1000, &back, NULL), SQZ_OK);
        ck_assert_uint_eq(back->calibrated_on.n_images, with ? 20 : 0);
        ck_assert_uint_eq(back->calibrated_on.n_prefixes, with ? 20 : 0);
        sqz_model_free(back);
        sqz_buffer_free(&bytes);
    }
    sqz_model_free(model);
}
END_TEST

Suite *test_image_record(void) {
    Suite *suite = suite_create("image_record");
    TCase *tcase = tcase_create("record");
    tcase_add_test(tcase, used_images_are_known_and_others_are_not);
    tcase_add_test(tcase, records_add_up);
    tcase_add_test(tcase, a_part_is_enough_to_convict);
    tcase_add_test(tcase, damaged_records_are_refused);
    tcase_add_test(tcase, it_travels_with_the_graph);
    suite_add_tcase(suite, tcase);
    return suite;
}
