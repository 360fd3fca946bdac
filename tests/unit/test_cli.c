/* test_cli.c - runs every case of tests/cli against the commands in SQZ_BIN (build/release by default). */
#include <check.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Under the sanitizers the slowest case, the one that kills forty commands, takes a minute on a busy machine. */
#define CASE_SECONDS 300

static glob_t cases;

/* Name of a case: "tests/cli/usage.sh" is "usage"; the driver itself is none. */
static const char *case_name(size_t i, char buffer[64]) {
    const char *slash = strrchr(cases.gl_pathv[i], '/');
    snprintf(buffer, 64, "%s", slash ? slash + 1 : cases.gl_pathv[i]);
    char *dot = strrchr(buffer, '.');
    if (dot) *dot = '\0';
    return buffer;
}

START_TEST(case_matches_its_golden_text) {
    char name[64];
    case_name((size_t)_i, name);
    if (strcmp(name, "run") == 0) return;
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        execl("tests/cli/run.sh", "tests/cli/run.sh", name, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "case %s failed", name);
}
END_TEST

START_TEST(cases_are_there) {
    ck_assert_msg(cases.gl_pathc > 5, "run the tests from the root of the source tree");
}
END_TEST

Suite *test_cli(void) {
    Suite *suite = suite_create("cli");
    TCase *tc = tcase_create("cli");
    glob("tests/cli/*.sh", 0, NULL, &cases);
    tcase_set_timeout(tc, CASE_SECONDS);
    tcase_add_test(tc, cases_are_there);
    tcase_add_loop_test(tc, case_matches_its_golden_text, 0, (int)cases.gl_pathc);
    suite_add_tcase(suite, tc);
    return suite;
}
