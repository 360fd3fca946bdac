/* main.c - `sqz NAME ...`, or the same through a link called sqz-NAME. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/options.h"
#include "cmd/process_clock.h"
#include "cmd/version.h"
#include "lib/memory.h"

static const struct command {
    const char *name, *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
#define X(name, summary) {#name, summary, cmd_##name},
    CMD_LIST(X)
#undef X
};

static const struct command *find_command(const char *name) {
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static void print_commands(void) {
    printf("Usage: sqz COMMAND [OPTION]... (or sqz-COMMAND [OPTION]...)\n"
           "Make trained convolutional classifiers small, and measure what that costs.\n\nCommands:\n");
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        printf("  %-11s %s\n", commands[i].name, commands[i].summary);
    printf("\nsqz COMMAND --help explains one of them. A model may be of any format that sqz-import\n"
           "reads; - stands for standard input or output.\n");
}

/* Output that did not reach its file is a failure even when all else went well. */
static int close_output(const char *name, int code) {
    bool failed = ferror(stdout) != 0;
    errno = 0;
    failed |= fclose(stdout) != 0;
    if (!failed || code != CMD_DONE) return code;
    fprintf(stderr, "%s: standard output: cannot write: %s\n", name, strerror(errno ? errno : EIO));
    return CMD_FAILED;
}

static void *json_alloc(size_t nbytes) {
    return sqz_alloc(nbytes, 1);
}

static int run_command(const char *name, int argc, char **argv) {
    const struct command *command = find_command(name);
    if (!command) {
        fprintf(stderr, "sqz: there is no command %s (sqz --help lists them)\n", name);
        return CMD_USAGE;
    }
    char full_name[64];
    snprintf(full_name, sizeof full_name, "sqz-%s", command->name);
    argv[0] = full_name;
    return close_output(full_name, command->run(argc, argv));
}

int main(int argc, char **argv) {
    cmd_process_clock_start();
    json_set_alloc_funcs(json_alloc, sqz_free);
    const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const char *name = slash ? slash + 1 : argc > 0 ? argv[0] : "sqz";
    if (strncmp(name, "sqz-", 4) == 0) return run_command(name + 4, argc, argv);
    if (argc < 2) {
        fprintf(stderr, "sqz: expected a command (sqz --help lists them)\n");
        return CMD_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_commands();
        return close_output("sqz", CMD_DONE);
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("sqz %s\n", SQZ_VERSION_TEXT);
        return close_output("sqz", CMD_DONE);
    }
    return run_command(argv[1], argc - 1, argv + 1);
}
