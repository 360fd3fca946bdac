/* test_moments.c - second moments against plain sums, blocks, and inputs that are hard on them. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"
#include "lib/moments.h"
#include "lib/parallel.h"
#include "tests/unit/random_nets.h"

Suite *test_moments(void);

#define POSITIONS 90

static void fill(float *columns, size_t n_all, uint64_t seed, float offset) {
    for (size_t i = 0; i < POSITIONS * n_all; i++) columns[i] = offset + random_unit(&seed);
}

static double mean_of(const float *columns, size_t n_all, size_t i) {
    double sum = 0;
    for (size_t p = 0; p < POSITIONS; p++) sum += (double)columns[p * n_all + i];
    return sum / POSITIONS;
}

static double covariance_of(const float *x, const float *y, size_t n_all, size_t i, size_t j) {
    double sum = 0, mean_x = mean_of(x, n_all, i), mean_y = mean_of(y, n_all, j);
    for (size_t p = 0; p < POSITIONS; p++)
        sum += ((double)x[p * n_all + i] - mean_x) * ((double)y[p * n_all + j] - mean_y);
    return sum / POSITIONS;
}

/* In three calls of different sizes. */
static struct sqz_moments *collect(size_t groups, size_t n, const float *own, const float *other, size_t max_inputs) {
    struct sqz_moments *moments;
    size_t n_all = groups * n;
    ck_assert_int_eq(sqz_moments_new(groups, n, other != NULL, max_inputs, &moments, NULL), SQZ_OK);
    static const size_t limits[] = {0, 10, 60, POSITIONS};
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(sqz_moments_add(moments, own + limits[i] * n_all, other ? other + limits[i] * n_all : NULL,
                                         limits[i + 1] - limits[i], NULL),
                         SQZ_OK);
    ck_assert_int_eq(sqz_moments_finish(moments, NULL), SQZ_OK);
    ck_assert_uint_eq(moments->n_positions, POSITIONS);
    ck_assert_uint_eq(sqz_moments_nbytes(moments), sqz_moments_estimate_nbytes(groups, n, other != NULL, max_inputs));
    return moments;
}

static void check_against_sums(size_t groups, size_t n, size_t max_inputs, float offset) {
    size_t n_all = groups * n;
    float *own = malloc(POSITIONS * n_all * sizeof *own), *other = malloc(POSITIONS * n_all * sizeof *other);
    fill(own, n_all, 1, offset);
    fill(other, n_all, 2, -offset);
    struct sqz_moments *moments = collect(groups, n, own, other, max_inputs);
    size_t covered = 0;
    for (size_t b = 0; b < groups * moments->n_blocks; b++) {
        const struct sqz_moments_block *block = &moments->blocks[b];
        size_t first = b / moments->n_blocks * n + block->begin;
        covered += block->n;
        for (size_t i = 0; i < block->n; i++)
            for (size_t j = 0; j < block->n; j++) {
                ck_assert_double_eq_tol(block->own[i * block->n + j],
                                        covariance_of(own, own, n_all, first + i, first + j), 1e-5);
                ck_assert_double_eq_tol(block->cross[i * block->n + j],
                                        covariance_of(other, own, n_all, first + i, first + j), 1e-5);
            }
    }
    ck_assert_uint_eq(covered, n_all);
    for (size_t i = 0; i < n_all; i++) {
        ck_assert_double_eq_tol(moments->mean[i], mean_of(own, n_all, i), 1e-6 + 1e-7 * (double)offset);
        ck_assert_double_eq_tol(moments->mean_float[i], mean_of(other, n_all, i), 1e-6 + 1e-7 * (double)offset);
    }
    sqz_moments_free(moments);
    free(own);
    free(other);
}

START_TEST(full_matrices_equal_plain_sums) {
    check_against_sums(1, 1, 0, 0);
    check_against_sums(1, 70, 0, 0);
    check_against_sums(4, 9, 0, 0.5f);
}
END_TEST

START_TEST(many_inputs_are_cut_into_blocks) {
    check_against_sums(1, 70, 32, 0);
    check_against_sums(2, 10, 3, 0);
    struct sqz_moments *moments;
    ck_assert_int_eq(sqz_moments_new(1, 10, false, 3, &moments, NULL), SQZ_OK);
    ck_assert_uint_eq(moments->n_blocks, 4);
    for (size_t b = 0; b < 4; b++) ck_assert_uint_le(moments->blocks[b].n, 3);
    sqz_moments_free(moments);
}
END_TEST

/* Raw second moments in float32 would leave nothing of a variance of 1/3 beside a mean of 10000. */
START_TEST(a_large_mean_does_not_hide_the_variance) {
    float own[POSITIONS];
    for (int i = 0; i < POSITIONS; i++) own[i] = 10000 + (float)(i % 2);
    struct sqz_moments *moments = collect(1, 1, own, NULL, 0);
    ck_assert_double_eq_tol(moments->blocks[0].own[0], 0.25, 1e-6);
    ck_assert_double_eq_tol(moments->mean[0], 10000.5, 1e-6);
    ck_assert_ptr_null(moments->mean_float);
    ck_assert_ptr_null(moments->blocks[0].cross);
    sqz_moments_free(moments);
}
END_TEST

START_TEST(a_constant_input_has_no_variance_at_all) {
    float own[POSITIONS * 2];
    uint64_t seed = 1;
    for (int i = 0; i < POSITIONS; i++) {
        own[2 * i] = 0.1f;
        own[2 * i + 1] = random_unit(&seed);
    }
    struct sqz_moments *moments = collect(1, 2, own, NULL, 0);
    ck_assert_double_eq(moments->blocks[0].own[0], 0);
    ck_assert_double_eq_tol(moments->blocks[0].own[1], 0, 1e-18);
    ck_assert_double_eq(moments->mean[0], (double)0.1f);
    sqz_moments_free(moments);
}
END_TEST

START_TEST(what_is_not_finite_is_refused) {
    float own[POSITIONS] = {0}, good[POSITIONS] = {0};
    struct sqz_moments *moments;
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_moments_new(1, 1, true, 0, &moments, NULL), SQZ_OK);
    own[POSITIONS - 1] = NAN;
    ck_assert_int_eq(sqz_moments_add(moments, own, good, POSITIONS, &err), SQZ_NONFINITE);
    own[POSITIONS - 1] = INFINITY;
    ck_assert_int_eq(sqz_moments_add(moments, good, own, POSITIONS, &err), SQZ_NONFINITE);
    ck_assert_uint_eq(moments->n_positions, 0);
    ck_assert_int_eq(sqz_moments_finish(moments, &err), SQZ_ARGUMENT);
    sqz_moments_free(moments);
    ck_assert_int_eq(sqz_moments_new(1, 0, false, 0, &moments, &err), SQZ_ARGUMENT);
    ck_assert_ptr_null(moments);
}
END_TEST

START_TEST(threads_change_nothing) {
    size_t n = 150, n_all = 2 * n;
    float *own = malloc(POSITIONS * n_all * sizeof *own), *other = malloc(POSITIONS * n_all * sizeof *other);
    fill(own, n_all, 1, 0.3f);
    fill(other, n_all, 2, 0);
    sqz_set_threads(1);
    struct sqz_moments *a = collect(2, n, own, other, 0);
    sqz_set_threads(3);
    struct sqz_moments *b = collect(2, n, own, other, 0);
    sqz_set_threads(0);
    for (int i = 0; i < 2; i++) {
        ck_assert_mem_eq(a->blocks[i].own, b->blocks[i].own, n * n * sizeof(double));
        ck_assert_mem_eq(a->blocks[i].cross, b->blocks[i].cross, n * n * sizeof(double));
    }
    ck_assert_mem_eq(a->mean, b->mean, n_all * sizeof(double));
    sqz_moments_free(a);
    sqz_moments_free(b);
    free(own);
    free(other);
}
END_TEST

START_TEST(running_out_of_memory_is_clean) {
    float own[POSITIONS * 4], other[POSITIONS * 4];
    fill(own, 4, 1, 0);
    fill(other, 4, 2, 0);
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    for (long n = 0; status == SQZ_OUT_OF_MEMORY; n++) {
        ck_assert_int_lt(n, 100);
        struct sqz_moments *moments;
        sqz_alloc_fail_after(n);
        status = sqz_moments_new(2, 2, true, 0, &moments, NULL);
        if (status == SQZ_OK) status = sqz_moments_add(moments, own, other, POSITIONS, NULL);
        if (status == SQZ_OK) status = sqz_moments_finish(moments, NULL);
        sqz_alloc_fail_after(-1);
        sqz_moments_free(moments);
    }
    ck_assert_int_eq(status, SQZ_OK);
}
END_TEST

Suite *test_moments(void) {
    Suite *suite = suite_create("moments");
    TCase *tests = tcase_create("moments");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, full_matrices_equal_plain_sums);
    tcase_add_test(tests, many_inputs_are_cut_into_blocks);
    tcase_add_test(tests, a_large_mean_does_not_hide_the_variance);
    tcase_add_test(tests, a_constant_input_has_no_variance_at_all);
    tcase_add_test(tests, what_is_not_finite_is_refused);
    tcase_add_test(tests, threads_change_nothing);
    tcase_add_test(tests, running_out_of_memory_is_clean);
    suite_add_tcase(suite, tests);
    return suite;
}
