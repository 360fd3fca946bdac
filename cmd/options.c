/* options.c - parses a command line against its table, on top of getopt_long. */
#include "cmd/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/help.h"
#include "cmd/version.h"
#include "lib/parallel.h"

int cmd_usage(const char *command, const char *format, ...) {
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?';
    fprintf(stderr, "%s: %s (see %s --help)\n", command, text, command);
    return CMD_USAGE;
}

/* ---- one value ---------------------------------------------------------- */

struct value_parser {
    const char *command;
    const struct cmd_option *option;
};

static int bad_value(const struct value_parser *parser, const char *text, const char *reason) {
    return cmd_usage(parser->command, "--%s %s: %s", parser->option->name, text, reason);
}

static void describe_range(const struct cmd_option *option, char *buffer, size_t capacity) {
    if (isinf(option->high))
        snprintf(buffer, capacity, "must be %s %g", option->open_low ? "greater than" : "at least", option->low);
    else if (option->open_low)
        snprintf(buffer, capacity, "must be greater than %g and at most %g", option->low, option->high);
    else
        snprintf(buffer, capacity, "must be from %.10g to %.10g", option->low, option->high);
}

static int parse_real(const struct value_parser *parser, const char *whole_text, const char *text, double *out) {
    char *end;
    errno = 0;
    double v = strtod(text, &end);
    if (end == text || *end != '\0' || isspace((unsigned char)*text) || isnan(v))
        return bad_value(parser, whole_text, "not a number");
    const struct cmd_option *option = parser->option;
    if (v < option->low || v > option->high || (option->open_low && v == option->low) || isinf(v)) {
        char range[128];
        describe_range(option, range, sizeof range);
        return bad_value(parser, whole_text, range);
    }
    if (option->whole && v != floor(v)) return bad_value(parser, whole_text, "must be a whole number");
    *out = v;
    return CMD_CONTINUE;
}

static int parse_integer(const struct value_parser *parser, const char *text) {
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (end == text || *end != '\0' || isspace((unsigned char)*text))
        return bad_value(parser, text, "not a whole number");
    if (errno == ERANGE || (double)v < parser->option->low || (double)v > parser->option->high) {
        char range[128];
        describe_range(parser->option, range, sizeof range);
        return bad_value(parser, text, range);
    }
    *(long *)parser->option->target = v;
    return CMD_CONTINUE;
}

static int parse_reals(const struct value_parser *parser, const char *text) {
    struct cmd_reals reals = {0};
    const char *p = text;
    for (;;) {
        char *end;
        float v = strtof(p, &end);
        if (end == p || !isfinite(v) || (*end != ',' && *end != '\0'))
            return bad_value(parser, text, "not a list of numbers separated by commas");
        if (reals.n == 4) return bad_value(parser, text, "more than four numbers");
        reals.value[reals.n++] = v;
        if (*end == '\0') break;
        p = end + 1;
    }
    *(struct cmd_reals *)parser->option->target = reals;
    return CMD_CONTINUE;
}

static int parse_rule(const struct value_parser *parser, char *text) {
    struct cmd_rules *rules = parser->option->target;
    if (rules->n == CMD_MAX_RULES) return bad_value(parser, text, "too many values");
    char *equals = strrchr(text, '=');
    struct sqz_layer_value rule = {0};
    int code = parse_real(parser, text, equals ? equals + 1 : text, &rule.value);
    if (code != CMD_CONTINUE) return code;
    if (equals == text) return bad_value(parser, text, "the pattern before '=' is empty");
    if (equals) {
        *equals = '\0';
        rule.pattern = text;
    }
    rules->rule[rules->n++] = rule;
    return CMD_CONTINUE;
}

static int parse_choice(const struct value_parser *parser, const char *text) {
    int position = 0;
    size_t length = strlen(text);
    for (const char *p = parser->option->choices; *p; position++) {
        size_t n = strcspn(p, " ");
        if (n == length && strncmp(p, text, n) == 0) {
            *(int *)parser->option->target = position;
            return CMD_CONTINUE;
        }
        p += n;
        p += *p == ' ';
    }
    char reason[256];
    snprintf(reason, sizeof reason, "must be one of: %s", parser->option->choices);
    return bad_value(parser, text, reason);
}

static int parse_value(const struct value_parser *parser, char *text) {
    const struct cmd_option *option = parser->option;
    if (option->given) *option->given = true;
    switch (option->kind) {
    case CMD_FLAG:
        *(bool *)option->target = true;
        return CMD_CONTINUE;
    case CMD_TEXT:
        if (*text == '\0') return bad_value(parser, "''", "empty");
        *(const char **)option->target = text;
        return CMD_CONTINUE;
    case CMD_CHOICE:
        return parse_choice(parser, text);
    case CMD_INTEGER:
        return parse_integer(parser, text);
    case CMD_REAL:
        return parse_real(parser, text, text, option->target);
    case CMD_REALS:
        return parse_reals(parser, text);
    case CMD_RULES:
        return parse_rule(parser, text);
    }
    return CMD_CONTINUE;
}

/* ---- the whole line ----------------------------------------------------- */

/* Own options, shared ones and the answers such as --help; the longest table has thirty. */
#define MAX_OPTIONS 64

enum answer { ANSWER_HELP = 1000, ANSWER_VERSION, ANSWER_MAN };

static size_t shared_options(const struct cmd_page *page, struct cmd_common *common, struct cmd_option *rows) {
    const struct cmd_option all[] = {
        {.name = "output",
         .letter = 'o',
         .kind = CMD_TEXT,
         .value = "FILE",
         .help = page->output_help,
         .target = &common->output},
        {.name = "json",
         .kind = CMD_FLAG,
         .help = "Print the result as one JSON object on standard output.",
         .target = &common->json},
        {.name = "threads",
         .kind = CMD_INTEGER,
         .value = "N",
         .high = 1024,
         .target = &common->threads,
         .help = "Use N threads; 0, the default, means every processor. Results do not depend on it."},
        {.name = "progress",
         .kind = CMD_CHOICE,
         .value = "WHEN",
         .choices = "auto always never",
         .help = "Show a progress bar on standard error: auto (when it is a terminal), always or never.",
         .target = &common->progress},
        {.name = "quiet",
         .letter = 'q',
         .kind = CMD_FLAG,
         .help = "Print errors and asked-for results only.",
         .target = &common->quiet},
        {.name = "verbose",
         .letter = 'v',
         .kind = CMD_FLAG,
         .help = "Say more about what is done.",
         .target = &common->verbose},
    };
    static const unsigned needs[] = {CMD_HAS_OUTPUT, CMD_HAS_JSON, CMD_HAS_THREADS, CMD_HAS_PROGRESS, 0, 0};
    size_t n = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if ((page->shared & needs[i]) == needs[i]) rows[n++] = all[i];
    return n;
}

struct line_parser {
    const struct cmd_page *page;
    struct cmd_option rows[MAX_OPTIONS];
    size_t n_rows;
    struct option longs[MAX_OPTIONS + 4];
    char shorts[2 * MAX_OPTIONS + 4];
};

/* Letters and long names come to getopt_long from the same rows; `val` is a row's index plus one. */
static void build_tables(struct line_parser *line, struct cmd_common *common) {
    line->n_rows = 0;
    for (const struct cmd_option *o = line->page->options; o && o->name; o++) line->rows[line->n_rows++] = *o;
    line->n_rows += shared_options(line->page, common, line->rows + line->n_rows);
    char *shorts = line->shorts;
    *shorts++ = ':'; /* tells a missing value from an unknown option */
    for (size_t i = 0; i < line->n_rows; i++) {
        const struct cmd_option *row = &line->rows[i];
        bool takes_value = row->kind != CMD_FLAG;
        line->longs[i] = (struct option){row->name, takes_value ? required_argument : no_argument, NULL, (int)i + 1};
        if (!row->letter) continue;
        *shorts++ = row->letter;
        if (takes_value) *shorts++ = ':';
    }
    *shorts++ = 'h';
    *shorts = '\0';
    struct option *end = line->longs + line->n_rows;
    *end++ = (struct option){"help", no_argument, NULL, ANSWER_HELP};
    *end++ = (struct option){"version", no_argument, NULL, ANSWER_VERSION};
    *end++ = (struct option){"help-man", no_argument, NULL, ANSWER_MAN};
    *end = (struct option){0};
}

static const struct cmd_option *row_of(const struct line_parser *line, int code) {
    if (code >= 1 && code <= (int)line->n_rows) return &line->rows[code - 1];
    for (size_t i = 0; i < line->n_rows; i++)
        if (line->rows[i].letter == code) return &line->rows[i];
    return NULL;
}

static int answer(const struct line_parser *line, int code) {
    const struct cmd_page *page = line->page;
    if (code == ANSWER_VERSION)
        printf("%s (sqz) %s\n", page->command, SQZ_VERSION_TEXT);
    else if (code == ANSWER_MAN)
        cmd_print_man(page, line->rows, line->n_rows);
    else
        cmd_print_help(page, line->rows, line->n_rows);
    return CMD_DONE;
}

static int unknown_option(const struct line_parser *line, char **argv) {
    if (optopt && optopt < 256 && !row_of(line, optopt))
        return cmd_usage(line->page->command, "unknown option -%c", optopt);
    return cmd_usage(line->page->command, "unknown or ambiguous option %s", argv[optind - 1]);
}

static int parse_options(struct line_parser *line, int argc, char **argv) {
    optind = 0; /* GNU: start afresh, so that a process may parse more than one line */
    opterr = 0;
    int code, index;
    while ((code = getopt_long(argc, argv, line->shorts, line->longs, &index)) != -1) {
        if (code == 'h' || code >= ANSWER_HELP) return answer(line, code);
        if (code == '?') return unknown_option(line, argv);
        if (code == ':') return cmd_usage(line->page->command, "%s needs a value", argv[optind - 1]);
        const struct cmd_option *row = row_of(line, code);
        struct value_parser parser = {line->page->command, row};
        int result = parse_value(&parser, optarg);
        if (result != CMD_CONTINUE) return result;
    }
    return CMD_CONTINUE;
}

int cmd_parse(const struct cmd_page *page, int argc, char **argv, struct cmd_common *common, char ***operands,
              size_t *n_operands) {
    *common = (struct cmd_common){.command = page->command};
    struct line_parser line = {.page = page};
    build_tables(&line, common);
    int code = parse_options(&line, argc, argv);
    if (code != CMD_CONTINUE) return code;
    *operands = argv + optind;
    *n_operands = (size_t)(argc - optind);
    if (*n_operands < page->min_operands) return cmd_usage(page->command, "expected %s", page->operands);
    if (*n_operands > page->max_operands)
        return cmd_usage(page->command, "unexpected operand %s", (*operands)[page->max_operands]);
    for (size_t i = 0; i < *n_operands; i++)
        if (*(*operands)[i] == '\0') return cmd_usage(page->command, "an operand is empty");
    sqz_set_threads((int)common->threads);
    return CMD_CONTINUE;
}
