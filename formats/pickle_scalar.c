/* pickle_scalar.c - opcodes of the pickle machine that push a number or a text. */
#include "formats/pickle_machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static enum sqz_status push_integer(struct sqz_pickle_machine *m, enum sqz_pickle_kind kind, int64_t integer) {
    SQZ_TRY(sqz_pickle_check_read(m));
    struct sqz_pickle_value *value = sqz_pickle_new(&m->out->arena, kind);
    if (value) value->as.integer = integer;
    return sqz_pickle_push(m, value);
}

static enum sqz_status push_real(struct sqz_pickle_machine *m, double real) {
    struct sqz_pickle_value *value = sqz_pickle_new(&m->out->arena, SQZ_PICKLE_REAL);
    if (value) value->as.real = real;
    return sqz_pickle_push(m, value);
}

static enum sqz_status push_bytes(struct sqz_pickle_machine *m, enum sqz_pickle_kind kind, uint64_t nbytes) {
    const uint8_t *data = nbytes <= SIZE_MAX ? sqz_read_bytes(&m->in, (size_t)nbytes) : NULL;
    m->in.failed |= !data;
    SQZ_TRY(sqz_pickle_check_read(m));
    struct sqz_pickle_value *value = sqz_pickle_new(&m->out->arena, kind);
    if (value) {
        value->as.text.data = (const char *)data;
        value->as.text.nbytes = (size_t)nbytes;
    }
    return sqz_pickle_push(m, value);
}

/* LONG1 and LONG4: a little-endian two's complement number of any length. */
static enum sqz_status push_long(struct sqz_pickle_machine *m, uint32_t nbytes) {
    if (m->in.failed || nbytes > 8) return push_bytes(m, SQZ_PICKLE_BIG_INTEGER, nbytes);
    const uint8_t *data = sqz_read_bytes(&m->in, nbytes);
    uint64_t bits = data && nbytes && (data[nbytes - 1] & 0x80) ? UINT64_MAX : 0;
    for (uint32_t i = 0; data && i < nbytes; i++)
        bits = (bits & ~((uint64_t)0xff << 8 * i)) | ((uint64_t)data[i] << 8 * i);
    return push_integer(m, SQZ_PICKLE_INTEGER, (int64_t)bits);
}

static enum sqz_status push_binary_float(struct sqz_pickle_machine *m) {
    const uint8_t *data = sqz_read_bytes(&m->in, 8);
    SQZ_TRY(sqz_pickle_check_read(m));
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) bits = bits << 8 | data[i];
    double real;
    memcpy(&real, &bits, sizeof real);
    return push_real(m, real);
}

enum sqz_status sqz_pickle_read_line(struct sqz_pickle_machine *m, const char **line, size_t *nbytes) {
    const uint8_t *begin = m->in.data + m->in.offset;
    size_t left = sqz_reader_left(&m->in);
    const uint8_t *end = left ? memchr(begin, '\n', left) : NULL;
    if (!end) m->in.failed = true;
    SQZ_TRY(sqz_pickle_check_read(m));
    *line = (const char *)begin;
    *nbytes = (size_t)(end - begin);
    m->in.offset += *nbytes + 1;
    return SQZ_OK;
}

/* A line that holds a number, as a terminated string. */
static enum sqz_status read_number(struct sqz_pickle_machine *m, char number[SQZ_PICKLE_MAX_LINE]) {
    const char *line;
    size_t nbytes;
    SQZ_TRY(sqz_pickle_read_line(m, &line, &nbytes));
    if (nbytes == 0 || nbytes >= SQZ_PICKLE_MAX_LINE)
        return sqz_pickle_malformed(m, "a number has no digits or too many");
    memcpy(number, line, nbytes);
    number[nbytes] = 0;
    return SQZ_OK;
}

/* False when the text is no integer; *fits tells whether it has at most 64 bits. */
static bool parse_integer(const char *text, int64_t *out, bool *fits) {
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    *fits = errno == 0;
    return end != text && (*end == 0 || strcmp(end, "L") == 0);
}

enum sqz_status sqz_pickle_read_text_integer(struct sqz_pickle_machine *m, int64_t *out,
                                             char number[SQZ_PICKLE_MAX_LINE]) {
    bool fits;
    SQZ_TRY(read_number(m, number));
    if (!parse_integer(number, out, &fits) || !fits) return sqz_pickle_malformed(m, "a number is not readable");
    return SQZ_OK;
}

/* INT and LONG of protocol 0; "00" and "01" stand for the truth values. */
static enum sqz_status push_text_integer(struct sqz_pickle_machine *m) {
    char number[SQZ_PICKLE_MAX_LINE];
    int64_t integer;
    bool fits;
    size_t begin = m->in.offset;
    SQZ_TRY(read_number(m, number));
    if (!parse_integer(number, &integer, &fits)) return sqz_pickle_malformed(m, "a number is not readable");
    if (!fits) {
        struct sqz_pickle_value *value = sqz_pickle_new(&m->out->arena, SQZ_PICKLE_BIG_INTEGER);
        if (value) {
            value->as.text.data = (const char *)m->in.data + begin;
            value->as.text.nbytes = strspn(number, "-0123456789");
        }
        return sqz_pickle_push(m, value);
    }
    bool truth = strcmp(number, "00") == 0 || strcmp(number, "01") == 0;
    return push_integer(m, truth ? SQZ_PICKLE_BOOL : SQZ_PICKLE_INTEGER, integer);
}

static enum sqz_status push_text_float(struct sqz_pickle_machine *m) {
    char number[SQZ_PICKLE_MAX_LINE], *end;
    SQZ_TRY(read_number(m, number));
    double real = strtod(number, &end);
    if (*end) return sqz_pickle_malformed(m, "a number is not readable");
    return push_real(m, real);
}

enum sqz_status sqz_pickle_push_text_line(struct sqz_pickle_machine *m, bool quoted) {
    const char *line;
    size_t nbytes;
    SQZ_TRY(sqz_pickle_read_line(m, &line, &nbytes));
    if (quoted) {
        if (nbytes < 2 || (line[0] != '\'' && line[0] != '"') || line[nbytes - 1] != line[0])
            return sqz_pickle_malformed(m, "a string is not quoted");
        line++;
        nbytes -= 2;
    }
    struct sqz_pickle_value *value = sqz_pickle_new(&m->out->arena, SQZ_PICKLE_TEXT);
    if (value) {
        value->as.text.data = line;
        value->as.text.nbytes = nbytes;
    }
    return sqz_pickle_push(m, value);
}

enum sqz_status sqz_pickle_step_scalar(struct sqz_pickle_machine *m, unsigned opcode, bool *known) {
    *known = true;
    switch (opcode) {
    case OP_NONE:
        return sqz_pickle_push(m, sqz_pickle_new(&m->out->arena, SQZ_PICKLE_NONE));
    case OP_NEWTRUE:
    case OP_NEWFALSE:
        return push_integer(m, SQZ_PICKLE_BOOL, opcode == OP_NEWTRUE);
    case OP_BININT:
        return push_integer(m, SQZ_PICKLE_INTEGER, (int32_t)sqz_read_u32(&m->in));
    case OP_BININT1:
        return push_integer(m, SQZ_PICKLE_INTEGER, sqz_read_u8(&m->in));
    case OP_BININT2:
        return push_integer(m, SQZ_PICKLE_INTEGER, sqz_read_u16(&m->in));
    case OP_LONG1:
        return push_long(m, sqz_read_u8(&m->in));
    case OP_LONG4:
        return push_long(m, sqz_read_u32(&m->in));
    case OP_INT:
    case OP_LONG:
        return push_text_integer(m);
    case OP_FLOAT:
        return push_text_float(m);
    case OP_BINFLOAT:
        return push_binary_float(m);
    case OP_STRING:
    case OP_UNICODE:
        return sqz_pickle_push_text_line(m, opcode == OP_STRING);
    case OP_SHORT_BINSTRING:
    case OP_SHORT_BINUNICODE:
        return push_bytes(m, SQZ_PICKLE_TEXT, sqz_read_u8(&m->in));
    case OP_BINSTRING:
    case OP_BINUNICODE:
        return push_bytes(m, SQZ_PICKLE_TEXT, sqz_read_u32(&m->in));
    case OP_BINUNICODE8:
        return push_bytes(m, SQZ_PICKLE_TEXT, sqz_read_u64(&m->in));
    case OP_SHORT_BINBYTES:
        return push_bytes(m, SQZ_PICKLE_BYTES, sqz_read_u8(&m->in));
    case OP_BINBYTES:
        return push_bytes(m, SQZ_PICKLE_BYTES, sqz_read_u32(&m->in));
    case OP_BINBYTES8:
    case OP_BYTEARRAY8:
        return push_bytes(m, SQZ_PICKLE_BYTES, sqz_read_u64(&m->in));
    default:
        *known = false;
        return SQZ_OK;
    }
}
