/* caffe_text.c - the tree behind a protobuf text file (prototxt), without a schema. */
#include "formats/caffe_text.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    const char *text;
    size_t nbytes, offset;
    uint32_t line;
    struct sqz_arena *arena;
    struct sqz_error *err;
};

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

static bool at_end(const struct parser *p) {
    return p->offset >= p->nbytes;
}

/* The next character, or NUL at the end. */
static char peek(const struct parser *p) {
    return at_end(p) ? '\0' : p->text[p->offset];
}

static enum sqz_status bad_syntax(const struct parser *p, const char *expected) {
    if (at_end(p))
        return sqz_fail(p->err, SQZ_TRUNCATED, "line %u: the text ends where %s is expected", p->line, expected);
    unsigned char c = (unsigned char)peek(p);
    if (c < 0x20 || c > 0x7e)
        return sqz_fail(p->err, SQZ_MALFORMED, "line %u: byte 0x%02x where %s is expected", p->line, c, expected);
    return sqz_fail(p->err, SQZ_MALFORMED, "line %u: \"%c\" where %s is expected", p->line, c, expected);
}

static void skip_space(struct parser *p) {
    while (!at_end(p)) {
        char c = peek(p);
        if (c == '#') {
            while (!at_end(p) && peek(p) != '\n') p->offset++;
            continue;
        }
        if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return;
        p->line += c == '\n';
        p->offset++;
    }
}

/* Characters of names, numbers and enum values. */
static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' ||
           c == '-' || c == '+';
}

static enum sqz_status read_word(struct parser *p, const char *expected, const char **out) {
    size_t start = p->offset;
    while (!at_end(p) && is_word(peek(p))) p->offset++;
    if (p->offset == start) return bad_syntax(p, expected);
    *out = sqz_arena_strndup(p->arena, p->text + start, p->offset - start);
    return *out ? SQZ_OK : no_memory(p->err);
}

/* Value of a digit in base 8 or 16, or -1. */
static int digit_value(char c, int base) {
    int v = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : base;
    return v < base ? v : -1;
}

/* A numeric escape of at most `max_digits` digits behind the cursor. */
static char read_numeric_escape(struct parser *p, int base, int max_digits) {
    int value = 0;
    for (int n = 0; n < max_digits && !at_end(p) && digit_value(peek(p), base) >= 0; n++)
        value = value * base + digit_value(p->text[p->offset++], base);
    return (char)value;
}

static char read_escape(struct parser *p) {
    static const char codes[] = "abfnrtv", values[] = "\a\b\f\n\r\t\v";
    char c = peek(p);
    if (digit_value(c, 8) >= 0) return read_numeric_escape(p, 8, 3);
    p->offset++;
    if (c == 'x' || c == 'X') return read_numeric_escape(p, 16, 2);
    const char *found = c ? strchr(codes, c) : NULL;
    return found ? values[found - codes] : c;
}

/* One quoted string, appended to out[*length]; the result is never longer than its source. */
static enum sqz_status read_quoted(struct parser *p, char *out, size_t *length) {
    char quote = p->text[p->offset++];
    while (!at_end(p) && peek(p) != quote && peek(p) != '\n') {
        char c = p->text[p->offset++];
        if (c == '\\') {
            if (at_end(p)) break;
            c = read_escape(p);
        }
        if (c == '\0') return sqz_fail(p->err, SQZ_MALFORMED, "line %u: a string holds a NUL", p->line);
        out[(*length)++] = c;
    }
    if (peek(p) != quote) return bad_syntax(p, "the end of a string");
    p->offset++;
    return SQZ_OK;
}

/* Bytes up to the end of a run of adjacent strings: an upper bound for their joined length. */
static size_t measure_strings(const struct parser *p) {
    struct parser ahead = *p;
    while (peek(&ahead) == '"' || peek(&ahead) == '\'') {
        char quote = ahead.text[ahead.offset++];
        while (!at_end(&ahead) && peek(&ahead) != quote && peek(&ahead) != '\n')
            ahead.offset += peek(&ahead) == '\\' ? 2 : 1;
        ahead.offset++;
        skip_space(&ahead);
    }
    size_t end = ahead.offset < ahead.nbytes ? ahead.offset : ahead.nbytes;
    return end - p->offset;
}

/* Adjacent strings are one value. */
static enum sqz_status read_strings(struct parser *p, const char **out) {
    char *joined = sqz_arena_alloc(p->arena, measure_strings(p) + 1, 1);
    size_t length = 0;
    if (!joined) return no_memory(p->err);
    while (peek(p) == '"' || peek(p) == '\'') {
        SQZ_TRY(read_quoted(p, joined, &length));
        skip_space(p);
    }
    *out = joined;
    return SQZ_OK;
}

static enum sqz_status read_scalar(struct parser *p, struct sqz_caffe_field *field) {
    field->quoted = peek(p) == '"' || peek(p) == '\'';
    return field->quoted ? read_strings(p, &field->value) : read_word(p, "a value", &field->value);
}

static enum sqz_status read_message(struct parser *p, char close, unsigned depth, struct sqz_caffe_field *message);

static enum sqz_status read_braced(struct parser *p, unsigned depth, struct sqz_caffe_field *field) {
    char close = peek(p) == '{' ? '}' : '>';
    if (depth >= SQZ_CAFFE_MAX_DEPTH)
        return sqz_fail(p->err, SQZ_LIMIT, "line %u: messages nest deeper than %d", p->line, SQZ_CAFFE_MAX_DEPTH);
    p->offset++;
    return read_message(p, close, depth + 1, field);
}

static enum sqz_status append_field(struct parser *p, const char *name, struct sqz_caffe_field ***tail,
                                    struct sqz_caffe_field **out) {
    *out = sqz_arena_alloc(p->arena, 1, sizeof **out);
    if (!*out) return no_memory(p->err);
    (*out)->name = name;
    (*out)->line = p->line;
    **tail = *out;
    *tail = &(*out)->next;
    return SQZ_OK;
}

static enum sqz_status read_value(struct parser *p, unsigned depth, struct sqz_caffe_field *field) {
    if (peek(p) == '{' || peek(p) == '<') return read_braced(p, depth, field);
    return read_scalar(p, field);
}

/* "[a, b]": one field for each element, all of the same name. */
static enum sqz_status read_list(struct parser *p, const char *name, unsigned depth, struct sqz_caffe_field ***tail) {
    p->offset++;
    skip_space(p);
    while (peek(p) != ']') {
        struct sqz_caffe_field *field;
        SQZ_TRY(append_field(p, name, tail, &field));
        SQZ_TRY(read_value(p, depth, field));
        skip_space(p);
        if (peek(p) == ',') {
            p->offset++;
            skip_space(p);
        } else if (peek(p) != ']') {
            return bad_syntax(p, "\",\" or \"]\"");
        }
    }
    p->offset++;
    return SQZ_OK;
}

static enum sqz_status read_field(struct parser *p, unsigned depth, struct sqz_caffe_field ***tail) {
    const char *name;
    struct sqz_caffe_field *field;
    SQZ_TRY(read_word(p, "a field name", &name));
    skip_space(p);
    bool colon = peek(p) == ':';
    if (colon) {
        p->offset++;
        skip_space(p);
    }
    if (colon && peek(p) == '[') return read_list(p, name, depth, tail);
    if (!colon && peek(p) != '{' && peek(p) != '<') return bad_syntax(p, "\":\" or \"{\"");
    SQZ_TRY(append_field(p, name, tail, &field));
    return read_value(p, depth, field);
}

/* Fields up to the closing bracket (NUL: up to the end of the text). */
static enum sqz_status read_message(struct parser *p, char close, unsigned depth, struct sqz_caffe_field *message) {
    struct sqz_caffe_field **tail = &message->children;
    for (;;) {
        skip_space(p);
        if (at_end(p)) return close ? bad_syntax(p, "a closing bracket") : SQZ_OK;
        if (close && peek(p) == close) {
            p->offset++;
            return SQZ_OK;
        }
        SQZ_TRY(read_field(p, depth, &tail));
        skip_space(p);
        if (peek(p) == ',' || peek(p) == ';') p->offset++;
    }
}

enum sqz_status sqz_caffe_text_parse(const void *text, size_t nbytes, struct sqz_arena *arena,
                                     struct sqz_caffe_field **root, struct sqz_error *err) {
    struct parser parser = {.text = text, .nbytes = nbytes, .line = 1, .arena = arena, .err = err};
    struct sqz_caffe_field *message = sqz_arena_alloc(arena, 1, sizeof *message);
    if (!message) return no_memory(err);
    message->name = "";
    message->line = 1;
    SQZ_TRY(read_message(&parser, '\0', 0, message));
    *root = message;
    return SQZ_OK;
}

/* ---- reading fields ----------------------------------------------------- */

const struct sqz_caffe_field *sqz_caffe_find(const struct sqz_caffe_field *message, const char *name) {
    const struct sqz_caffe_field *field = message ? message->children : NULL;
    while (field && strcmp(field->name, name) != 0) field = field->next;
    return field;
}

const struct sqz_caffe_field *sqz_caffe_find_next(const struct sqz_caffe_field *field) {
    const struct sqz_caffe_field *next = field->next;
    while (next && strcmp(next->name, field->name) != 0) next = next->next;
    return next;
}

const char *sqz_caffe_text(const struct sqz_caffe_field *message, const char *name, const char *fallback) {
    const struct sqz_caffe_field *field = sqz_caffe_find(message, name);
    return field && field->value ? field->value : fallback;
}

static enum sqz_status bad_value(const struct sqz_caffe_field *field, const char *kind, struct sqz_error *err) {
    return sqz_fail(err, SQZ_MALFORMED, "line %u: %s is %.40s where %s is expected", field->line, field->name,
                    field->value ? field->value : "a message", kind);
}

enum sqz_status sqz_caffe_field_uint(const struct sqz_caffe_field *field, uint32_t *out, struct sqz_error *err) {
    const char *text = field->value;
    if (!text || field->quoted || text[0] < '0' || text[0] > '9') return bad_value(field, "a number", err);
    char *end;
    errno = 0;
    unsigned long value = strtoul(text, &end, 0);
    if (*end || errno || value > INT32_MAX) return bad_value(field, "a number below 2^31", err);
    *out = (uint32_t)value;
    return SQZ_OK;
}

enum sqz_status sqz_caffe_uint(const struct sqz_caffe_field *message, const char *name, uint32_t fallback,
                               uint32_t *out, struct sqz_error *err) {
    const struct sqz_caffe_field *field = sqz_caffe_find(message, name);
    *out = fallback;
    return field ? sqz_caffe_field_uint(field, out, err) : SQZ_OK;
}

enum sqz_status sqz_caffe_float(const struct sqz_caffe_field *message, const char *name, float fallback, float *out,
                                struct sqz_error *err) {
    const struct sqz_caffe_field *field = sqz_caffe_find(message, name);
    *out = fallback;
    if (!field) return SQZ_OK;
    char *end;
    float value = field->value ? strtof(field->value, &end) : 0;
    if (!field->value || field->quoted || end == field->value) return bad_value(field, "a number", err);
    if (*end && strcmp(end, "f") != 0) return bad_value(field, "a number", err);
    if (!isfinite(value)) return bad_value(field, "a finite number", err);
    *out = value;
    return SQZ_OK;
}

enum sqz_status sqz_caffe_bool(const struct sqz_caffe_field *message, const char *name, bool fallback, bool *out,
                               struct sqz_error *err) {
    const struct sqz_caffe_field *field = sqz_caffe_find(message, name);
    *out = fallback;
    if (!field) return SQZ_OK;
    const char *text = field->value ? field->value : "";
    if (strcmp(text, "true") == 0 || strcmp(text, "True") == 0 || strcmp(text, "t") == 0 || strcmp(text, "1") == 0)
        *out = true;
    else if (strcmp(text, "false") == 0 || strcmp(text, "False") == 0 || strcmp(text, "f") == 0 ||
             strcmp(text, "0") == 0)
        *out = false;
    else
        return bad_value(field, "true or false", err);
    return SQZ_OK;
}
