/* report.c - what commands print: failure lines, notes, tables and JSON. */
#include "cmd/report.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "lib/memory.h"

/* Names from hostile files must not steer a terminal. */
static void make_printable(char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

int cmd_failure(const struct cmd_common *common, const struct sqz_error *err) {
    const char *text = err->text[0] ? err->text : sqz_status_text(err->status);
    const char *file = strcmp(err->file, "-") == 0 ? "standard input" : err->file;
    if (file[0])
        fprintf(stderr, "%s: %s: %s\n", common->command, file, text);
    else
        fprintf(stderr, "%s: %s\n", common->command, text);
    if (err->status == SQZ_GATE) return CMD_GATE;
    return err->status == SQZ_ARGUMENT ? CMD_USAGE : CMD_FAILED;
}

static void print_note(const struct cmd_common *common, const char *kind, const char *format, va_list args) {
    char text[2048];
    vsnprintf(text, sizeof text, format, args);
    make_printable(text);
    fprintf(stderr, "%s: %s%s\n", common->command, kind, text);
}

int cmd_write_failure(const struct cmd_common *common, struct sqz_error *err) {
    if (strcmp(err->file, "-") == 0) strcpy(err->file, "standard output");
    return cmd_failure(common, err);
}

void cmd_note(const struct cmd_common *common, const char *format, ...) {
    if (common->quiet) return;
    va_list args;
    va_start(args, format);
    print_note(common, "", format, args);
    va_end(args);
}

void cmd_warn(const struct cmd_common *common, const char *format, ...) {
    va_list args;
    va_start(args, format);
    print_note(common, "warning: ", format, args);
    va_end(args);
}

/* ---- tables ------------------------------------------------------------- */

void cmd_table_begin(struct cmd_table *table, const char *const *titles, size_t n) {
    *table = (struct cmd_table){.n_columns = n};
    for (size_t i = 0; i < n; i++) table->titles[i] = titles[i];
}

void cmd_table_cell(struct cmd_table *table, const char *format, ...) {
    if (table->failed) return;
    if (table->n_cells == table->capacity) {
        size_t capacity = table->capacity ? table->capacity * 2 : 16 * table->n_columns;
        void *larger = sqz_realloc(table->cells, capacity, CMD_CELL_NBYTES);
        if (!larger) {
            table->failed = true;
            return;
        }
        table->cells = larger;
        table->capacity = capacity;
    }
    char *cell = table->cells[table->n_cells++];
    va_list args;
    va_start(args, format);
    vsnprintf(cell, CMD_CELL_NBYTES, format, args);
    va_end(args);
    make_printable(cell);
}

static void print_cell(FILE *stream, const char *text, int width, bool left, bool last) {
    if (left && last)
        fputs(text, stream);
    else
        fprintf(stream, "%*s", left ? -width : width, text);
    fputs(last ? "\n" : "  ", stream);
}

void cmd_table_print(const struct cmd_table *table, FILE *stream) {
    if (table->failed) {
        fprintf(stream, "(not enough memory for the table)\n");
        return;
    }
    int widths[CMD_TABLE_COLUMNS] = {0};
    for (size_t c = 0; c < table->n_columns; c++)
        widths[c] = (int)strlen(table->titles[c]) - (table->titles[c][0] == '<');
    for (size_t i = 0; i < table->n_cells; i++) {
        int length = (int)strlen(table->cells[i]);
        if (length > widths[i % table->n_columns]) widths[i % table->n_columns] = length;
    }
    for (size_t c = 0; c < table->n_columns; c++) {
        bool left = table->titles[c][0] == '<';
        print_cell(stream, table->titles[c] + left, widths[c], left, c + 1 == table->n_columns);
    }
    for (size_t i = 0; i < table->n_cells; i++) {
        size_t c = i % table->n_columns;
        print_cell(stream, table->cells[i], widths[c], table->titles[c][0] == '<', c + 1 == table->n_columns);
    }
}

static void print_csv_cell(FILE *stream, const char *text, bool last) {
    bool quoted = strpbrk(text, ",\"") != NULL;
    if (quoted) fputc('"', stream);
    for (; *text; text++) {
        if (*text == '"') fputc('"', stream);
        fputc(*text, stream);
    }
    if (quoted) fputc('"', stream);
    fputc(last ? '\n' : ',', stream);
}

void cmd_table_print_csv(const struct cmd_table *table, FILE *stream) {
    for (size_t c = 0; c < table->n_columns; c++)
        print_csv_cell(stream, table->titles[c] + (table->titles[c][0] == '<'), c + 1 == table->n_columns);
    for (size_t i = 0; i < table->n_cells; i++)
        print_csv_cell(stream, table->cells[i], (i + 1) % table->n_columns == 0);
}

void cmd_table_free(struct cmd_table *table) {
    sqz_free(table->cells);
    *table = (struct cmd_table){0};
}

/* ---- JSON --------------------------------------------------------------- */

json_t *cmd_json_text(const char *text) {
    json_t *value = json_string(text);
    if (value) return value;
    size_t n = strlen(text);
    char *copy = sqz_alloc(n + 1, 1);
    if (!copy) return NULL;
    memcpy(copy, text, n + 1);
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p >= 0x80) *p = '?';
    value = json_string(copy);
    sqz_free(copy);
    return value;
}

json_t *cmd_json_real(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

json_t *cmd_json_size(size_t v) {
    return json_integer((json_int_t)v);
}

int cmd_json_print(const struct cmd_common *common, json_t *object, FILE *stream) {
    /* Nine digits tell any two float32 values apart; more would show the noise of their conversion. */
    int code =
        object && json_dumpf(object, stream, JSON_INDENT(2) | JSON_REAL_PRECISION(9)) == 0 ? CMD_DONE : CMD_FAILED;
    json_decref(object);
    if (code == CMD_DONE)
        fputc('\n', stream);
    else
        fprintf(stderr, "%s: cannot print the result\n", common->command);
    return code;
}
