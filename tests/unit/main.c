/* main.c - runs every unit suite, or only those named on the command line, in one Check runner. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/suites.h"

#define X(name) Suite *name(void);
SUITES(X)
#undef X

static const struct {
    const char *name;
    Suite *(*make)(void);
} suites[] = {
#define X(name) {#name, name},
    SUITES(X)
#undef X
};

int main(int argc, char **argv) {
    SRunner *runner = srunner_create(NULL);
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++) {
        int wanted = argc == 1;
        for (int a = 1; a < argc; a++) wanted |= strcmp(argv[a], suites[i].name) == 0;
        if (wanted) srunner_add_suite(runner, suites[i].make());
    }
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner), run = srunner_ntests_run(runner);
    srunner_free(runner);
    return failed == 0 && run > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
