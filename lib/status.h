/* status.h - error codes and the error record every fallible function fills. */
#ifndef SQZ_LIB_STATUS_H
#define SQZ_LIB_STATUS_H

/*
 * One code per cause. X(CODE, "short-name", "what it means").
 * The short name is stable and appears in --json output and in tests.
 */
#define SQZ_STATUS_LIST(X)                                                          \
    X(OK, "ok", "no error")                                                         \
    X(OUT_OF_MEMORY, "out-of-memory", "an allocation failed")                       \
    X(IO, "io", "the operating system refused a read or a write")                   \
    X(NOT_FOUND, "not-found", "a file or folder does not exist")                    \
    X(UNKNOWN_FORMAT, "unknown-format", "no reader recognises the content")         \
    X(TRUNCATED, "truncated", "the data ends before the structure it promises")     \
    X(MALFORMED, "malformed", "a field contradicts the format")                     \
    X(UNSAFE, "unsafe", "the file asks for something that must not be done")        \
    X(VERSION, "version", "a format version this build does not read")              \
    X(CHECKSUM, "checksum", "the stored checksum does not match the data")          \
    X(LIMIT, "limit", "a size exceeds the configured or absolute limit")            \
    X(UNSUPPORTED, "unsupported", "valid, but outside what this build implements")  \
    X(MISSING_WEIGHT, "missing-weight", "a layer is left without its weights")      \
    X(SHAPE, "shape", "tensor shapes do not fit together")                          \
    X(NONFINITE, "nonfinite", "a weight or activation is NaN or infinite")          \
    X(ARGUMENT, "argument", "an option or parameter is out of its range")           \
    X(UNKNOWN_LAYER, "unknown-layer", "a pattern matches no layer")                 \
    X(BAD_LABEL, "bad-label", "a label is missing or out of range")                 \
    X(BAD_IMAGE, "bad-image", "an image cannot be decoded")                         \
    X(GATE, "gate", "a quality limit set by the user was not met")

enum sqz_status {
#define X(code, name, text) SQZ_##code,
    SQZ_STATUS_LIST(X)
#undef X
};

/*
 * What went wrong. `text` is one full sentence without a trailing period that
 * says what and where (layer, element or byte offset); `file` names the file
 * when it is known, so that a command can print "sqz-x: FILE: TEXT".
 */
struct sqz_error {
    enum sqz_status status;
    char file[512];
    char text[768];
};

/* Stable short name of a status, for example "truncated". */
const char *sqz_status_name(enum sqz_status status);

/* One-line meaning of a status. */
const char *sqz_status_text(enum sqz_status status);

/*
 * Record an error and return its status, so that callers can write
 * `return sqz_fail(err, SQZ_TRUNCATED, "...", ...)`. `err` may be NULL.
 * Control characters in the formatted text are replaced by '?', because names
 * from hostile files end up in terminals.
 */
enum sqz_status sqz_fail(struct sqz_error *err, enum sqz_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Name the file of an error if no inner function has named one yet; returns err's status. */
enum sqz_status sqz_error_set_file(struct sqz_error *err, const char *file);

/* Run `expr`, and return its status from the calling function unless it is SQZ_OK. */
#define SQZ_TRY(expr)                                                               \
    do {                                                                            \
        enum sqz_status sqz_try_status = (expr);                                    \
        if (sqz_try_status != SQZ_OK) return sqz_try_status;                        \
    } while (0)

#endif
