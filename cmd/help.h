/* help.h - the help text and the manual page of a command, from its option table. */
#ifndef SQZ_CMD_HELP_H
#define SQZ_CMD_HELP_H

#include "cmd/options.h"

/* --help on standard output: usage, description, options wrapped at 80 columns, example. */
void cmd_print_help(const struct cmd_page *page, const struct cmd_option *rows, size_t n_rows);

/* The same as a troff page for man(1). */
void cmd_print_man(const struct cmd_page *page, const struct cmd_option *rows, size_t n_rows);

#endif
