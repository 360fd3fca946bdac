/* options.h - declarative command lines: one table is parsed, printed by --help and turned into the manual page. */
#ifndef SQZ_CMD_OPTIONS_H
#define SQZ_CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/layers.h"

/* Exit codes of every command. */
enum cmd_exit {
    CMD_DONE = 0,
    CMD_FAILED = 1, /* unreadable, malformed or unsupported input, disk full, ... */
    CMD_USAGE = 2,  /* wrong options or operands */
    CMD_GATE = 3,   /* a quality limit set by the user was not met */
};

/* What cmd_parse() returns when the command should go on. */
#define CMD_CONTINUE (-1)

enum cmd_kind {
    CMD_FLAG,    /* no value; target bool */
    CMD_TEXT,    /* target const char * */
    CMD_CHOICE,  /* one of the space-separated words in `choices`; target int, the word's position */
    CMD_INTEGER, /* decimal in [low, high]; target long */
    CMD_REAL,    /* in [low, high], or (low, high] with open_low; target double */
    CMD_REALS,   /* one to four comma-separated finite numbers; target struct cmd_reals */
    CMD_RULES,   /* VALUE or PATTERN=VALUE, repeatable, each value as CMD_REAL; target struct cmd_rules */
};

struct cmd_reals {
    size_t n; /* 0: not given */
    float value[4];
};

/* More per-layer values than any command line has had; a longer list is a usage error. */
#define CMD_MAX_RULES 256

struct cmd_rules {
    size_t n;
    struct sqz_layer_value rule[CMD_MAX_RULES]; /* patterns point into argv */
};

struct cmd_option {
    const char *name; /* long name without dashes; NULL ends a table */
    char letter;      /* short name, or 0 */
    enum cmd_kind kind;
    const char *value; /* how the value is called in the help; NULL for a flag */
    const char *help;  /* one or more sentences */
    void *target;      /* left alone when the option is absent */
    double low, high;
    bool open_low; /* low itself is not allowed */
    bool whole;    /* CMD_RULES: values are whole numbers */
    const char *choices;
    bool *given; /* set to true when the option appears; may be NULL */
};

enum cmd_progress_mode { CMD_PROGRESS_AUTO, CMD_PROGRESS_ALWAYS, CMD_PROGRESS_NEVER };

/* Values of the options that commands share. */
struct cmd_common {
    const char *command; /* "sqz-prune": begins every message */
    const char *output;  /* NULL when -o is absent */
    bool quiet, verbose, json;
    long threads;
    int progress; /* enum cmd_progress_mode */
};

/* Which shared options a command takes besides -h, --version, -q and -v. */
enum {
    CMD_HAS_OUTPUT = 1,
    CMD_HAS_JSON = 2,
    CMD_HAS_THREADS = 4,
    CMD_HAS_PROGRESS = 8,
};

struct cmd_page {
    const char *command;  /* "sqz-prune" */
    const char *summary;  /* one line, no period */
    const char *operands; /* "MODEL", "MODEL INPUT..." */
    size_t min_operands, max_operands;
    unsigned shared;         /* CMD_HAS_... */
    const char *output_help; /* what -o names; needed with CMD_HAS_OUTPUT */
    const char *description; /* paragraphs separated by empty lines */
    const char *example;     /* command lines, one each */
    const struct cmd_option *options;
};

/*
 * Parse argv. Returns CMD_CONTINUE with common and operands filled
 * (operands point into argv, which is reordered), or the exit code when
 * --help, --version or --help-man was answered (0) or the usage is wrong (2,
 * one line on stderr).
 */
int cmd_parse(const struct cmd_page *page, int argc, char **argv, struct cmd_common *common, char ***operands,
              size_t *n_operands);

/* One line on stderr, "COMMAND: what is wrong (see COMMAND --help)"; returns CMD_USAGE. */
int cmd_usage(const char *command, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
