/* report.h - what commands print: failure lines, notes, tables and JSON. */
#ifndef SQZ_CMD_REPORT_H
#define SQZ_CMD_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "cmd/options.h"
#include "lib/status.h"

/* Print "COMMAND: FILE: TEXT" and return the exit code that the status calls for. */
int cmd_failure(const struct cmd_common *common, const struct sqz_error *err);

/* The same for a failed write: the file "-" is standard output. */
int cmd_write_failure(const struct cmd_common *common, struct sqz_error *err);

/* Print "COMMAND: TEXT" on standard error unless -q was given. */
void cmd_note(const struct cmd_common *common, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same with "warning: " in front; printed with -q as well. */
void cmd_warn(const struct cmd_common *common, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- tables ------------------------------------------------------------- */

#define CMD_TABLE_COLUMNS 16
#define CMD_CELL_NBYTES 96

/*
 * Cells are added row by row and printed in aligned columns. A column whose
 * title begins with '<' is set flush left, the others right. Adding never
 * fails; a table that ran out of memory says so when it is printed.
 */
struct cmd_table {
    size_t n_columns;
    const char *titles[CMD_TABLE_COLUMNS];
    char (*cells)[CMD_CELL_NBYTES];
    size_t n_cells, capacity;
    bool failed;
};

/* titles is a list of n column names that outlive the table. */
void cmd_table_begin(struct cmd_table *table, const char *const *titles, size_t n);
void cmd_table_cell(struct cmd_table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void cmd_table_print(const struct cmd_table *table, FILE *stream);
void cmd_table_print_csv(const struct cmd_table *table, FILE *stream);
void cmd_table_free(struct cmd_table *table);

/* ---- JSON --------------------------------------------------------------- */

/* Text of any bytes: those that are not UTF-8 become '?'. */
json_t *cmd_json_text(const char *text);

/* A number, or null for NaN and infinity. */
json_t *cmd_json_real(double v);

json_t *cmd_json_size(size_t v);

/* Print (with a newline) and release; a NULL object means that memory was short. */
int cmd_json_print(const struct cmd_common *common, json_t *object, FILE *stream);

#endif
