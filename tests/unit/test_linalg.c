/* test_linalg.c - Cholesky, triangles and products against plain loops, over sizes around the tiles. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/linalg.h"
#include "lib/parallel.h"
#include "tests/unit/random_nets.h"

Suite *test_linalg(void);

static const size_t sizes[] = {1, 2, 7, 127, 128, 129, 200, 257, 300};
#define N_SIZES (sizeof sizes / sizeof *sizes)

static double *random_matrix(size_t rows, size_t columns, uint64_t seed) {
    double *a = malloc(rows * columns * sizeof *a);
    for (size_t i = 0; i < rows * columns; i++) a[i] = (double)random_unit(&seed);
    return a;
}

static double *naive_product(const double *a, const double *b, size_t m, size_t n, size_t k) {
    double *c = calloc(m * n, sizeof *c);
    for (size_t i = 0; i < m; i++)
        for (size_t p = 0; p < k; p++)
            for (size_t j = 0; j < n; j++) c[i * n + j] += a[i * k + p] * b[p * n + j];
    return c;
}

static double largest_difference(const double *a, const double *b, size_t n) {
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(a[i] - b[i]));
    return largest;
}

/* A well-conditioned symmetric positive definite matrix. */
static double *positive_matrix(size_t n, uint64_t seed) {
    double *b = random_matrix(n, n, seed), *t = calloc(n * n, sizeof *t);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) t[i * n + j] = b[j * n + i];
    double *a = naive_product(b, t, n, n, n);
    for (size_t i = 0; i < n; i++) a[i * n + i] += (double)n / 10 + 1;
    free(b);
    free(t);
    return a;
}

static void load(void) {
    ck_assert_int_eq(sqz_linalg_load(NULL), SQZ_OK);
}

START_TEST(cholesky_and_what_follows_from_it) {
    size_t n = sizes[_i];
    double *a = positive_matrix(n, 1), *l = malloc(n * n * sizeof *l);
    memcpy(l, a, n * n * sizeof *l);
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) l[i * n + j] = 12345; /* must be neither read nor written */
    ck_assert(sqz_linalg_cholesky(l, n));
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) ck_assert_double_eq(l[i * n + j], 12345);
    double *inverse = malloc(n * n * sizeof *inverse);
    sqz_linalg_triangle_inverse(l, n, inverse);
    double *t = calloc(n * n, sizeof *t);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) t[j * n + i] = l[i * n + j];
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++) {
            ck_assert_double_eq(inverse[i * n + j], 0);
            l[i * n + j] = 0;
        }
    double *back = naive_product(l, t, n, n, n);
    ck_assert_double_lt(largest_difference(back, a, n * n), 1e-10 * (double)n);
    double *one = naive_product(l, inverse, n, n, n);
    for (size_t i = 0; i < n; i++) one[i * n + i] -= 1;
    for (size_t i = 0; i < n * n; i++) ck_assert_double_lt(fabs(one[i]), 1e-10);
    double *rows = random_matrix(70, n, 3), *solved = malloc(70 * n * sizeof *solved);
    memcpy(solved, rows, 70 * n * sizeof *solved);
    sqz_linalg_solve_rows(l, n, solved, 70);
    double *again = naive_product(solved, a, 70, n, n);
    ck_assert_double_lt(largest_difference(again, rows, 70 * n), 1e-9);
    free(a), free(l), free(t), free(inverse), free(back), free(one), free(rows), free(solved), free(again);
}
END_TEST

START_TEST(what_is_not_positive_definite_is_refused) {
    double indefinite[4] = {1, 0, 2, 1};
    ck_assert(!sqz_linalg_cholesky(indefinite, 2));
    double singular[4] = {1, 0, 1, 1};
    ck_assert(!sqz_linalg_cholesky(singular, 2));
    double nan[1] = {NAN};
    ck_assert(!sqz_linalg_cholesky(nan, 1));
    double *late = positive_matrix(200, 5);
    late[180 * 200 + 180] = -1;
    ck_assert(!sqz_linalg_cholesky(late, 200));
    free(late);
}
END_TEST

START_TEST(products) {
    size_t n = sizes[_i], m = 131, k = 37;
    double *a = random_matrix(m, k, 1), *b = random_matrix(k, n, 2), *c = random_matrix(m, n, 3);
    double *expected = naive_product(a, b, m, n, k);
    for (size_t i = 0; i < m * n; i++) expected[i] = 0.5 * expected[i] - 2 * c[i];
    sqz_linalg_product(m, n, k, 0.5, a, k, b, n, -2, c, n);
    ck_assert_double_lt(largest_difference(c, expected, m * n), 1e-12);
    free(a), free(b), free(c), free(expected);
}
END_TEST

static float *random_columns(size_t rows, size_t ld, uint64_t seed) {
    float *x = malloc(rows * ld * sizeof *x);
    for (size_t i = 0; i < rows * ld; i++) x[i] = random_unit(&seed);
    return x;
}

START_TEST(moment_sums) {
    size_t n = sizes[_i], rows = 50, ld = n + 3;
    float *x = random_columns(rows, ld, 1), *y = random_columns(rows, ld, 2);
    double *own = calloc(n * n, sizeof *own), *cross = calloc(n * n, sizeof *cross);
    for (int time = 0; time < 2; time++) {
        sqz_linalg_moment_add(x, NULL, rows, n, ld, own);
        sqz_linalg_moment_add(x, y, rows, n, ld, cross);
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double xx = 0, xy = 0;
            for (size_t p = 0; p < rows; p++) {
                xx += 2 * (double)x[p * ld + i] * (double)x[p * ld + j];
                xy += 2 * (double)x[p * ld + i] * (double)y[p * ld + j];
            }
            ck_assert_double_eq_tol(own[i * n + j], j <= i ? xx : 0, 1e-4);
            ck_assert_double_eq_tol(cross[i * n + j], xy, 1e-4);
        }
    free(x), free(y), free(own), free(cross);
}
END_TEST

/* Every function once with 1 and once with 3 threads: the same bits. */
START_TEST(threads_change_nothing) {
    size_t n = 300;
    double *results[2][4];
    for (int t = 0; t < 2; t++) {
        sqz_set_threads(t == 0 ? 1 : 3);
        double *l = positive_matrix(n, 1), *inverse = malloc(n * n * sizeof *inverse);
        ck_assert(sqz_linalg_cholesky(l, n));
        sqz_linalg_triangle_inverse(l, n, inverse);
        double *rows = random_matrix(300, n, 3), *product = calloc(n * n, sizeof *product);
        sqz_linalg_solve_rows(l, n, rows, 300);
        sqz_linalg_product(n, n, n, 1, l, n, inverse, n, 0, product, n);
        float *x = random_columns(500, n, 4);
        sqz_linalg_moment_add(x, NULL, 500, n, n, product);
        free(x);
        results[t][0] = l, results[t][1] = inverse, results[t][2] = rows, results[t][3] = product;
    }
    sqz_set_threads(0);
    for (int i = 0; i < 4; i++) {
        ck_assert_int_eq(memcmp(results[0][i], results[1][i], n * n * sizeof(double)), 0);
        free(results[0][i]);
        free(results[1][i]);
    }
}
END_TEST

Suite *test_linalg(void) {
    Suite *suite = suite_create("linalg");
    TCase *tests = tcase_create("linalg");
    tcase_add_checked_fixture(tests, load, NULL);
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, cholesky_and_what_follows_from_it, 0, N_SIZES);
    tcase_add_test(tests, what_is_not_positive_definite_is_refused);
    tcase_add_loop_test(tests, products, 0, N_SIZES);
    tcase_add_loop_test(tests, moment_sums, 0, N_SIZES);
    tcase_add_test(tests, threads_change_nothing);
    suite_add_tcase(suite, tests);
    return suite;
}
