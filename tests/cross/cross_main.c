/*
 * cross_main.c - runs the tests of the kernels on a processor that Check is not installed for; see check.h.
 *
 * usage: kernels [SUITE...] : all of them without names.
 */
#include <check.h>
#include <stdbool.h>

#define SUITES(X) X(test_kernels) X(test_codebook_kernels) X(test_sparse_kernels) X(test_engine) X(test_session)

#define X(suite) Suite *suite(void);
SUITES(X)
#undef X

static bool is_wanted(const Suite *suite, int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], suite->name) == 0) return true;
    return argc == 1;
}

static int run_suite(const Suite *suite) {
    int n = 0;
    for (int t = 0; t < suite->n_tests; t++)
        for (int i = suite->tests[t].begin; i < suite->tests[t].end; i++, n++) suite->tests[t].run(i);
    return n;
}

int main(int argc, char **argv) {
    Suite *suites[] = {
#define X(suite) suite(),
        SUITES(X)
#undef X
    };
    for (size_t s = 0; s < sizeof suites / sizeof *suites; s++) {
        if (is_wanted(suites[s], argc, argv)) printf("%s: %d checks\n", suites[s]->name, run_suite(suites[s]));
        fflush(stdout);
        free(suites[s]);
    }
    return 0;
}
