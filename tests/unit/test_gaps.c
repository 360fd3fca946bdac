/* test_gaps.c - the relative index with its fillers. */
#include <check.h>
#include <string.h>

#include "lib/gaps.h"
#include "lib/memory.h"
#include "tests/unit/packed_samples.h"

/* Encode `symbols`, compare with the expected fields (a filler is marked by value 0), and decode again. */
static void expect_fields(const uint16_t *symbols, size_t n, unsigned width, const int *fields, const int *fillers,
                          size_t n_entries) {
    uint16_t got_fields[256], got_values[256], back[256] = {0};
    ck_assert_uint_eq(sqz_gaps_encode(symbols, n, width, NULL, NULL), n_entries);
    ck_assert_uint_eq(sqz_gaps_encode(symbols, n, width, got_fields, got_values), n_entries);
    for (size_t i = 0; i < n_entries; i++) {
        ck_assert_uint_eq(got_fields[i], fields[i]);
        ck_assert_int_eq(got_values[i] == 0, fillers[i]);
    }
    ck_assert(sqz_gaps_decode(got_fields, got_values, n_entries, back, n));
    ck_assert_int_eq(memcmp(symbols, back, n * sizeof *symbols), 0);
}

/* Readers of the published 4-bit format put weights one off, or lost the last, where a gap overflows. */
START_TEST(four_bit_fields_and_fillers) {
    uint16_t symbols[64] = {0};
    symbols[0] = symbols[16] = symbols[33] = symbols[63] = 7;
    expect_fields(symbols, 64, 4, (int[]){0, 15, 15, 0, 15, 13}, (int[]){0, 0, 1, 0, 1, 0}, 6);
    memset(symbols, 0, sizeof symbols);
    symbols[40] = 1;
    expect_fields(symbols, 64, 4, (int[]){15, 15, 8}, (int[]){1, 1, 0}, 3);
    memset(symbols, 0, sizeof symbols);
    expect_fields(symbols, 64, 4, NULL, NULL, 0);
    symbols[63] = 1;
    expect_fields(symbols, 64, 4, (int[]){15, 15, 15, 15}, (int[]){1, 1, 1, 0}, 4);
    expect_fields(symbols, 64, 5, (int[]){31, 31}, (int[]){1, 0}, 2);
    expect_fields(symbols, 64, 8, (int[]){63}, (int[]){0}, 1);
    expect_fields(symbols, 0, 4, NULL, NULL, 0);
}
END_TEST

START_TEST(every_width_round_trips) {
    enum { N = 5000 };
    static uint16_t symbols[N], fields[N], values[N], back[N];
    static const double densities[] = {0, 0.0005, 0.01, 0.1, 0.5, 0.97, 1};
    uint64_t state = 5, counts[1 << SQZ_GAPS_MAX_WIDTH];
    for (size_t d = 0; d < sizeof densities / sizeof *densities; d++) {
        struct sqz_gap_runs runs = {0};
        for (size_t i = 0; i < N; i++)
            symbols[i] = sample_unit(&state) < densities[d] ? (uint16_t)(1 + sample_random(&state) % 300) : 0;
        ck_assert_int_eq(sqz_gap_runs_add(&runs, symbols, N, NULL), SQZ_OK);
        for (unsigned width = 1; width <= SQZ_GAPS_MAX_WIDTH; width++) {
            size_t n = sqz_gaps_encode(symbols, N, width, fields, values), n_fillers = 0;
            memset(back, 0, sizeof back);
            ck_assert(sqz_gaps_decode(fields, values, n, back, N));
            ck_assert_int_eq(memcmp(symbols, back, sizeof back), 0);
            /* The histogram made from runs alone is that of the fields. */
            for (size_t i = 0; i < n; i++) n_fillers += values[i] == 0;
            ck_assert_uint_eq(sqz_gap_runs_fields(&runs, width, counts), n_fillers);
            for (size_t i = 0; i < n; i++) counts[fields[i]]--;
            for (size_t i = 0; i < (size_t)1 << width; i++) ck_assert_uint_eq(counts[i], 0);
        }
        sqz_gap_runs_free(&runs);
    }
}
END_TEST

START_TEST(entries_past_the_end_are_refused) {
    uint16_t fields[3] = {3, 3, 3}, values[3] = {1, 1, 1}, symbols[16] = {0};
    ck_assert(sqz_gaps_decode(fields, values, 3, symbols, 12));
    ck_assert(!sqz_gaps_decode(fields, values, 3, symbols, 11));
    ck_assert(!sqz_gaps_decode(fields, values, 1, symbols, 0));
    ck_assert(sqz_gaps_decode(fields, values, 0, symbols, 0));
}
END_TEST

START_TEST(short_of_memory) {
    uint16_t symbols[4] = {0, 0, 1, 0};
    struct sqz_gap_runs runs = {0};
    sqz_alloc_fail_after(0);
    ck_assert_int_eq(sqz_gap_runs_add(&runs, symbols, 4, NULL), SQZ_OUT_OF_MEMORY);
    sqz_alloc_fail_after(-1);
    sqz_gap_runs_free(&runs);
}
END_TEST

Suite *test_gaps(void);

Suite *test_gaps(void) {
    Suite *suite = suite_create("gaps");
    TCase *tcase = tcase_create("gaps");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, four_bit_fields_and_fillers);
    tcase_add_test(tcase, every_width_round_trips);
    tcase_add_test(tcase, entries_past_the_end_are_refused);
    tcase_add_test(tcase, short_of_memory);
    suite_add_tcase(suite, tcase);
    return suite;
}
