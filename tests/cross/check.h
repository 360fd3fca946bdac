/*
 * check.h - as much of the Check library as the tests of the kernels use, for processors that it is not installed for.
 *
 * Found before the real one with -Itests/cross. Tests run in one process, one after the other; the first failure
 * prints its place and ends the program with 1.
 */
#ifndef SQZ_TESTS_CROSS_CHECK_H
#define SQZ_TESTS_CROSS_CHECK_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void cross_test(int i);

#define CROSS_MAX_TESTS 200

typedef struct {
    const char *name;
    int n_tests;
    struct {
        cross_test *run;
        const char *name;
        int begin, end;
    } tests[CROSS_MAX_TESTS];
} TCase, Suite;

#define START_TEST(test) static void test(int _i __attribute__((unused)))
#define END_TEST

#define ck_assert_msg(condition, ...)                                                                                  \
    do {                                                                                                               \
        if (condition) break;                                                                                          \
        fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #condition);                                                \
        fprintf(stderr, "" __VA_ARGS__);                                                                               \
        fprintf(stderr, "\n");                                                                                         \
        exit(1);                                                                                                       \
    } while (0)
#define ck_assert(condition) ck_assert_msg(condition, "failed")
#define ck_abort_msg(...) ck_assert_msg(0, __VA_ARGS__)

#define CROSS_COMPARE(type, format, a, operation, b)                                                                   \
    do {                                                                                                               \
        type cross_a = (a), cross_b = (b);                                                                             \
        ck_assert_msg(cross_a operation cross_b, "%" format " against %" format, cross_a, cross_b);                    \
    } while (0)
#define ck_assert_int_eq(a, b) CROSS_COMPARE(intmax_t, PRIdMAX, a, ==, b)
#define ck_assert_int_ne(a, b) CROSS_COMPARE(intmax_t, PRIdMAX, a, !=, b)
#define ck_assert_int_gt(a, b) CROSS_COMPARE(intmax_t, PRIdMAX, a, >, b)
#define ck_assert_int_ge(a, b) CROSS_COMPARE(intmax_t, PRIdMAX, a, >=, b)
#define ck_assert_int_lt(a, b) CROSS_COMPARE(intmax_t, PRIdMAX, a, <, b)
#define ck_assert_int_le(a, b) CROSS_COMPARE(intmax_t, PRIdMAX, a, <=, b)
#define ck_assert_uint_eq(a, b) CROSS_COMPARE(uintmax_t, PRIuMAX, a, ==, b)
#define ck_assert_uint_ne(a, b) CROSS_COMPARE(uintmax_t, PRIuMAX, a, !=, b)
#define ck_assert_uint_gt(a, b) CROSS_COMPARE(uintmax_t, PRIuMAX, a, >, b)
#define ck_assert_uint_ge(a, b) CROSS_COMPARE(uintmax_t, PRIuMAX, a, >=, b)
#define ck_assert_uint_lt(a, b) CROSS_COMPARE(uintmax_t, PRIuMAX, a, <, b)
#define ck_assert_uint_le(a, b) CROSS_COMPARE(uintmax_t, PRIuMAX, a, <=, b)
#define ck_assert_double_eq(a, b) CROSS_COMPARE(double, "g", a, ==, b)
#define ck_assert_double_gt(a, b) CROSS_COMPARE(double, "g", a, >, b)
#define ck_assert_float_eq_tol(a, b, tolerance)                                                                        \
    ck_assert_msg((a) - (b) <= (tolerance) && (b) - (a) <= (tolerance), "%g against %g", (double)(a), (double)(b))
#define ck_assert_ptr_nonnull(p) ck_assert_msg((p) != NULL, "a null pointer")
#define ck_assert_ptr_null(p) ck_assert_msg((p) == NULL, "not a null pointer")
#define ck_assert_str_eq(a, b) ck_assert_msg(strcmp(a, b) == 0, "%s against %s", a, b)
#define ck_assert_str_ne(a, b) ck_assert_msg(strcmp(a, b) != 0, "%s", a)
#define ck_assert_mem_eq(a, b, n) ck_assert_msg(memcmp(a, b, n) == 0, "the bytes differ")

static inline Suite *suite_create(const char *name) {
    Suite *suite = calloc(1, sizeof *suite);
    if (!suite) exit(2);
    suite->name = name;
    return suite;
}

static inline TCase *tcase_create(const char *name) {
    return suite_create(name);
}

static inline void tcase_set_timeout(TCase *tests, double seconds) {
    (void)tests;
    (void)seconds;
}

static inline void cross_add(TCase *tests, cross_test *run, const char *name, int begin, int end) {
    if (tests->n_tests == CROSS_MAX_TESTS) exit(2);
    tests->tests[tests->n_tests].run = run;
    tests->tests[tests->n_tests].name = name;
    tests->tests[tests->n_tests].begin = begin;
    tests->tests[tests->n_tests++].end = end;
}

#define tcase_add_test(tests, test) cross_add(tests, test, #test, 0, 1)
#define tcase_add_loop_test(tests, test, begin, end) cross_add(tests, test, #test, begin, end)

/* Suites of several cases become one list. */
static inline void suite_add_tcase(Suite *suite, TCase *tests) {
    for (int i = 0; i < tests->n_tests; i++)
        cross_add(suite, tests->tests[i].run, tests->tests[i].name, tests->tests[i].begin, tests->tests[i].end);
    free(tests);
}

#endif
