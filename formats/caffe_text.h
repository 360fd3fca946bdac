/* caffe_text.h - the tree behind a protobuf text file (prototxt), without a schema. */
#ifndef SQZ_FORMATS_CAFFE_TEXT_H
#define SQZ_FORMATS_CAFFE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/memory.h"
#include "lib/status.h"

/*
 * One field. A scalar has `value` (a string without its quotes, escapes
 * resolved) and no children; a message has value NULL. Repeated fields are
 * separate entries in file order; `name: [a, b]` becomes two of them.
 */
struct sqz_caffe_field {
    const char *name;
    const char *value;
    bool quoted; /* the scalar was a string, not a number or an enum name */
    uint32_t line;
    struct sqz_caffe_field *children; /* first field of a message */
    struct sqz_caffe_field *next;     /* next field of the same message */
};

/* Messages nest four deep in real files; the bound keeps hostile ones off the stack. */
#define SQZ_CAFFE_MAX_DEPTH 32

/*
 * Parse text[0..nbytes) (not terminated). *root is a message that holds the
 * top-level fields; everything lives in `arena`. SQZ_MALFORMED with the line,
 * SQZ_LIMIT when it nests too deep, SQZ_OUT_OF_MEMORY. Syntax: the text format
 * of protocol buffers (comments, both kinds of quotes, `{}` and `<>`, lists).
 */
enum sqz_status sqz_caffe_text_parse(const void *text, size_t nbytes, struct sqz_arena *arena,
                                     struct sqz_caffe_field **root, struct sqz_error *err);

/* First field of that name, or NULL. `message` may be NULL. */
const struct sqz_caffe_field *sqz_caffe_find(const struct sqz_caffe_field *message, const char *name);

/* The next field of the same name behind `field`, or NULL. */
const struct sqz_caffe_field *sqz_caffe_find_next(const struct sqz_caffe_field *field);

/* Scalar of that name, or `fallback` when it is absent or a message. */
const char *sqz_caffe_text(const struct sqz_caffe_field *message, const char *name, const char *fallback);

/* The same as a number or a truth value. SQZ_MALFORMED names field and line when the text is not one, or is out of
 * range. */
enum sqz_status sqz_caffe_uint(const struct sqz_caffe_field *message, const char *name, uint32_t fallback,
                               uint32_t *out, struct sqz_error *err);
enum sqz_status sqz_caffe_float(const struct sqz_caffe_field *message, const char *name, float fallback, float *out,
                                struct sqz_error *err);
enum sqz_status sqz_caffe_bool(const struct sqz_caffe_field *message, const char *name, bool fallback, bool *out,
                               struct sqz_error *err);

/* The value of one scalar field. */
enum sqz_status sqz_caffe_field_uint(const struct sqz_caffe_field *field, uint32_t *out, struct sqz_error *err);

#endif
