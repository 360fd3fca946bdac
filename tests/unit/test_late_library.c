/* test_late_library.c - libraries that are loaded when needed: found, missing, and without a symbol. */
#include <check.h>
#include <string.h>

#include "lib/late_library.h"

START_TEST(a_symbol_is_found) {
    double (*cosine)(double) = NULL;
    const struct sqz_late_symbol symbols[] = {{"cos", &cosine}};
    ck_assert_int_eq(sqz_library_load("libm.so.6", symbols, 1, "the test needs", NULL), SQZ_OK);
    ck_assert(cosine(0) == 1);
}
END_TEST

START_TEST(a_missing_library_is_named) {
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_library_load("libsqz-is-not-there.so.1", NULL, 0, "the test needs", &err), SQZ_UNSUPPORTED);
    ck_assert(strncmp(err.text, "the test needs a library that cannot be loaded: ", 48) == 0);
    ck_assert(strstr(err.text, "libsqz-is-not-there.so.1"));
}
END_TEST

START_TEST(a_missing_symbol_is_named) {
    void *nothing = NULL;
    const struct sqz_late_symbol symbols[] = {{"sqz_is_not_there", &nothing}};
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_library_load("libm.so.6", symbols, 1, "the test needs", &err), SQZ_UNSUPPORTED);
    ck_assert_str_eq(err.text, "the test needs libm.so.6 with sqz_is_not_there, which it lacks");
}
END_TEST

Suite *test_late_library(void) {
    Suite *suite = suite_create("late_library");
    TCase *tests = tcase_create("late_library");
    tcase_add_test(tests, a_symbol_is_found);
    tcase_add_test(tests, a_missing_library_is_named);
    tcase_add_test(tests, a_missing_symbol_is_named);
    suite_add_tcase(suite, tests);
    return suite;
}
