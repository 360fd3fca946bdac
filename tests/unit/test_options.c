/* test_options.c - command lines: every kind of option, its limits, help and manual pages from the same table. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd/options.h"
#include "cmd/preprocess_options.h"
#include "cmd/rules_text.h"

struct values {
    struct cmd_common common;
    bool flag, real_given;
    const char *text;
    int choice;
    long integer;
    double real;
    struct cmd_reals reals;
    struct cmd_rules rules;
    struct cmd_preprocess preprocess;
    char **operands;
    size_t n_operands;
};

static char message[4096]; /* what the last parse() wrote to standard output and standard error together */

/* Parse a line of words separated by spaces. */
static int parse(struct values *v, const char *line) {
    static char words[1024];
    static char *argv[64]; /* the operands stay in it */
    int argc = 0;
    *v = (struct values){.real = 0.5};
    snprintf(words, sizeof words, "%s", line);
    argv[argc++] = words;
    for (char *p = words; *p; p++)
        if (*p == ' ') {
            *p = '\0';
            argv[argc++] = p + 1;
        }
    argv[argc] = NULL;
    const struct cmd_option options[] = {
        {.name = "flag", .letter = 'f', .kind = CMD_FLAG, .help = "A flag.", .target = &v->flag},
        {.name = "text", .letter = 't', .kind = CMD_TEXT, .value = "FILE", .help = "A text.", .target = &v->text},
        {.name = "choice",
         .kind = CMD_CHOICE,
         .value = "C",
         .help = "A choice.",
         .target = &v->choice,
         .choices = "red dark-green blue"},
        {.name = "integer",
         .kind = CMD_INTEGER,
         .value = "N",
         .help = "A number.",
         .target = &v->integer,
         .low = -2,
         .high = 9},
        {.name = "real",
         .kind = CMD_REAL,
         .value = "X",
         .help = "A part.",
         .target = &v->real,
         .high = 1,
         .open_low = true,
         .given = &v->real_given},
        {.name = "reals", .kind = CMD_REALS, .value = "A,B", .help = "A list.", .target = &v->reals},
        {.name = "bits",
         .kind = CMD_RULES,
         .value = "[PATTERN=]B",
         .help = "Bits.",
         .target = &v->rules,
         .low = 1,
         .high = 8,
         .whole = true},
        CMD_PREPROCESS_OPTIONS(v->preprocess),
        {0},
    };
    const struct cmd_page page = {.command = "sqz-test",
                                  .summary = "Test",
                                  .operands = "A [B]",
                                  .min_operands = 1,
                                  .max_operands = 2,
                                  .shared = CMD_HAS_OUTPUT | CMD_HAS_JSON | CMD_HAS_THREADS | CMD_HAS_PROGRESS,
                                  .output_help = "The output.",
                                  .description = "First.\n\nSecond 'quoted'.",
                                  .example = "sqz-test a\nsqz-test b",
                                  .options = options};
    FILE *capture = tmpfile();
    fflush(stdout);
    int out = dup(STDOUT_FILENO), error = dup(STDERR_FILENO);
    dup2(fileno(capture), STDOUT_FILENO);
    dup2(fileno(capture), STDERR_FILENO);
    int code = cmd_parse(&page, argc, argv, &v->common, &v->operands, &v->n_operands);
    fflush(stdout);
    dup2(out, STDOUT_FILENO);
    dup2(error, STDERR_FILENO);
    close(out);
    close(error);
    rewind(capture);
    message[fread(message, 1, sizeof message - 1, capture)] = '\0';
    fclose(capture);
    return code;
}

START_TEST(every_kind_is_parsed) {
    struct values v;
    ck_assert_int_eq(parse(&v, "sqz-test in -f --text=x --choice dark-green --integer -2 --real 1 --reals 1,-2.5,3e1 "
                               "--bits 5 --bits fire*=8 -o out --json --threads 3 --progress never -q -v - "),
                     CMD_USAGE); /* the empty third operand */
    ck_assert_int_eq(parse(&v, "sqz-test in -f --text=x --choice dark-green --integer -2 --real 1 --reals 1,-2.5,3e1 "
                               "--bits 5 --bits fire*=8 -o out --json --threads 3 --progress never -q -v -"),
                     CMD_CONTINUE);
    ck_assert(v.flag && v.real_given && v.common.json && v.common.quiet && v.common.verbose);
    ck_assert_str_eq(v.text, "x");
    ck_assert_int_eq(v.choice, 1);
    ck_assert_int_eq(v.integer, -2);
    ck_assert_double_eq(v.real, 1);
    ck_assert_uint_eq(v.reals.n, 3);
    ck_assert_float_eq(v.reals.value[1], -2.5f);
    ck_assert_uint_eq(v.rules.n, 2);
    ck_assert_ptr_null(v.rules.rule[0].pattern);
    ck_assert_str_eq(v.rules.rule[1].pattern, "fire*");
    ck_assert_double_eq(v.rules.rule[1].value, 8);
    ck_assert_str_eq(v.common.output, "out");
    ck_assert_int_eq(v.common.threads, 3);
    ck_assert_int_eq(v.common.progress, CMD_PROGRESS_NEVER);
    ck_assert_uint_eq(v.n_operands, 2);
    ck_assert_str_eq(v.operands[0], "in");
    ck_assert_str_eq(v.operands[1], "-");
}
END_TEST

START_TEST(defaults_stay) {
    struct values v;
    ck_assert_int_eq(parse(&v, "sqz-test in"), CMD_CONTINUE);
    ck_assert(!v.flag && !v.real_given && !v.common.output);
    ck_assert_double_eq(v.real, 0.5);
    /* Behind --, everything is an operand. */
    ck_assert_int_eq(parse(&v, "sqz-test -- --flag"), CMD_CONTINUE);
    ck_assert_str_eq(v.operands[0], "--flag");
}
END_TEST

static const struct {
    const char *line, *text;
} mistakes[] = {
    {"sqz-test", "expected A [B]"},
    {"sqz-test a b c", "unexpected operand c"},
    {"sqz-test a --nonsense", "unknown or ambiguous option --nonsense"},
    {"sqz-test a -x", "unknown option -x"},
    {"sqz-test a --re 1", "ambiguous"},
    {"sqz-test a --text", "--text needs a value"},
    {"sqz-test a --text=", "--text '': empty"},
    {"sqz-test a -o", "-o needs a value"},
    {"sqz-test a --choice green", "must be one of: red dark-green blue"},
    {"sqz-test a --choice dark", "must be one of"},
    {"sqz-test a --integer 10", "must be from -2 to 9"},
    {"sqz-test a --integer -3", "must be from -2 to 9"},
    {"sqz-test a --integer 1.5", "not a whole number"},
    {"sqz-test a --integer 99999999999999999999", "must be from -2 to 9"},
    {"sqz-test a --real 0", "must be greater than 0 and at most 1"},
    {"sqz-test a --real 1.5", "must be greater than 0 and at most 1"},
    {"sqz-test a --real nan", "not a number"},
    {"sqz-test a --real inf", "must be greater than 0"},
    {"sqz-test a --real 0.5x", "not a number"},
    {"sqz-test a --reals 1,,2", "not a list of numbers"},
    {"sqz-test a --reals 1,2,3,4,5", "more than four"},
    {"sqz-test a --reals inf", "not a list of numbers"},
    {"sqz-test a --bits 0", "must be from 1 to 8"},
    {"sqz-test a --bits 9", "must be from 1 to 8"},
    {"sqz-test a --bits fire*=9", "--bits fire*=9: must be from 1 to 8"},
    {"sqz-test a --bits 2.5", "whole number"},
    {"sqz-test a --bits =5", "pattern before '=' is empty"},
    {"sqz-test a --bits fire*=", "not a number"},
    {"sqz-test a --threads -1", "must be from 0 to 1024"},
    {"sqz-test a --flag=1", "unknown or ambiguous option --flag=1"},
};

START_TEST(mistakes_are_one_line_and_code_2) {
    struct values v;
    ck_assert_int_eq(parse(&v, mistakes[_i].line), CMD_USAGE);
    ck_assert_msg(strstr(message, mistakes[_i].text) != NULL, "%s", message);
    ck_assert_msg(strncmp(message, "sqz-test: ", 10) == 0, "%s", message);
    ck_assert_ptr_eq(strchr(message, '\n'), message + strlen(message) - 1);
}
END_TEST

START_TEST(help_and_manual_name_every_option) {
    static const char *const names[] = {"flag",     "text",  "choice",  "integer", "real",
                                        "reals",    "bits",  "output",  "json",    "threads",
                                        "progress", "quiet", "verbose", "help",    "version"};
    struct values v;
    ck_assert_int_eq(parse(&v, "sqz-test --help"), CMD_DONE);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[64];
        snprintf(text, sizeof text, "--%s", names[i]);
        ck_assert_msg(strstr(message, text) != NULL, "%s", text);
    }
    for (const char *line = message; *line; line += strcspn(line, "\n") + 1) ck_assert_uint_le(strcspn(line, "\n"), 80);
    ck_assert_int_eq(parse(&v, "sqz-test --help-man"), CMD_DONE);
    ck_assert(strncmp(message, ".TH \"SQZ-TEST\" 1", 16) == 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[64];
        snprintf(text, sizeof text, "\\-\\-%s", names[i]);
        ck_assert_msg(strstr(message, text) != NULL, "%s", text);
    }
    ck_assert_int_eq(parse(&v, "sqz-test --version"), CMD_DONE);
    ck_assert(strncmp(message, "sqz-test (sqz) ", 15) == 0);
}
END_TEST

/* ---- preprocessing ---------------------------------------------------------- */

static int apply(const char *line, struct sqz_input *input) {
    struct values v;
    ck_assert_int_eq(parse(&v, line), CMD_CONTINUE);
    *input = (struct sqz_input){
        .channels = 3, .height = 224, .width = 224, .resize_short = 256, .scale = 1, .std = {1, 1, 1, 1}};
    int error = dup(STDERR_FILENO);
    FILE *capture = tmpfile();
    dup2(fileno(capture), STDERR_FILENO);
    int code = cmd_preprocess_apply(&v.common, &v.preprocess, input);
    dup2(error, STDERR_FILENO);
    close(error);
    fclose(capture);
    return code;
}

START_TEST(preprocessing_overrides) {
    struct sqz_input input;
    ck_assert_int_eq(apply("sqz-test a", &input), CMD_CONTINUE);
    ck_assert_uint_eq(input.resize_short, 256);
    ck_assert_int_eq(apply("sqz-test a --preprocess caffe --crop 227 --std 2", &input), CMD_CONTINUE);
    ck_assert_int_eq(input.order, SQZ_CHANNELS_BGR);
    ck_assert_float_eq(input.mean[0], 104);
    ck_assert_float_eq(input.std[2], 2);
    ck_assert_uint_eq(input.width, 227);
    ck_assert_int_eq(apply("sqz-test a --mean 1,2,3 --scale 1/255 --order bgr --resize squash --crop 32x64 "
                           "--filter bilinear",
                           &input),
                     CMD_CONTINUE);
    ck_assert_float_eq(input.mean[2], 3);
    ck_assert_float_eq(input.scale, 1.0f / 255.0f);
    ck_assert(input.squash);
    ck_assert_uint_eq(input.height, 32);
    ck_assert_uint_eq(input.width, 64);
    ck_assert_int_eq(input.filter, SQZ_RESIZE_BILINEAR);
    ck_assert_int_eq(apply("sqz-test a --resize none", &input), CMD_CONTINUE);
    ck_assert_uint_eq(input.resize_short, 0);
}
END_TEST

static const char *const bad_preprocessing[] = {
    "sqz-test a --preprocess nonsense",
    "sqz-test a --mean 1,2",
    "sqz-test a --std 0",
    "sqz-test a --scale 1/0",
    "sqz-test a --scale x",
    "sqz-test a --scale 0",
    "sqz-test a --order grey",
    "sqz-test a --resize 0",
    "sqz-test a --resize -5",
    "sqz-test a --crop 1x",
    "sqz-test a --crop 1000000",
    "sqz-test a --crop 32x64x3",
};

START_TEST(bad_preprocessing_is_wrong_usage) {
    struct sqz_input input;
    ck_assert_int_eq(apply(bad_preprocessing[_i], &input), CMD_USAGE);
}
END_TEST

START_TEST(rules_as_text) {
    struct values v;
    char text[CMD_RULES_TEXT];
    ck_assert_int_eq(parse(&v, "sqz-test a --bits 5 --bits fire2/*=8"), CMD_CONTINUE);
    ck_assert_str_eq(cmd_rules_text(&v.rules, text), "5 fire2/*=8");
    v.rules.n = CMD_MAX_RULES;
    for (size_t i = 0; i < v.rules.n; i++) v.rules.rule[i] = v.rules.rule[1];
    cmd_rules_text(&v.rules, text);
    ck_assert_str_eq(text + strlen(text) - 4, " ...");
}
END_TEST

Suite *test_options(void) {
    Suite *suite = suite_create("options");
    TCase *tc = tcase_create("options");
    tcase_add_test(tc, every_kind_is_parsed);
    tcase_add_test(tc, defaults_stay);
    tcase_add_loop_test(tc, mistakes_are_one_line_and_code_2, 0, (int)(sizeof mistakes / sizeof *mistakes));
    tcase_add_test(tc, help_and_manual_name_every_option);
    tcase_add_test(tc, preprocessing_overrides);
    tcase_add_loop_test(tc, bad_preprocessing_is_wrong_usage, 0,
                        (int)(sizeof bad_preprocessing / sizeof *bad_preprocessing));
    tcase_add_test(tc, rules_as_text);
    suite_add_tcase(suite, tc);
    return suite;
}
