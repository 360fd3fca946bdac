/* status.c - error codes and the error record. */
#include "lib/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *text;
} statuses[] = {
#define X(code, name, text) {name, text},
    SQZ_STATUS_LIST(X)
#undef X
};

const char *sqz_status_name(enum sqz_status status) {
    return statuses[status].name;
}

const char *sqz_status_text(enum sqz_status status) {
    return statuses[status].text;
}

static void make_printable(char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7f) *s = '?';
}

enum sqz_status sqz_fail(struct sqz_error *err, enum sqz_status status, const char *format, ...) {
    if (!err) return status;
    va_list args;
    va_start(args, format);
    char text[sizeof err->text];
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    make_printable(text);
    err->status = status;
    memcpy(err->text, text, sizeof text);
    return status;
}

enum sqz_status sqz_error_set_file(struct sqz_error *err, const char *file) {
    if (!err) return SQZ_OK;
    if (err->file[0] == '\0' && file) {
        snprintf(err->file, sizeof err->file, "%s", file);
        make_printable(err->file);
    }
    return err->status;
}
