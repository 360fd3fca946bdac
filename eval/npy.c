/* npy.c - NumPy's .npy arrays. */
#include "eval/npy.h"

#include <stdio.h>
#include <string.h>

#include "lib/bytes.h"
#include "lib/files.h"
#include "lib/half.h"

static const char magic[6] = "\x93NUMPY";

bool sqz_npy_probe(const void *data, size_t nbytes) {
    return nbytes >= sizeof magic && memcmp(data, magic, sizeof magic) == 0;
}

/* ---- the header: a Python dictionary ------------------------------------ */

struct header {
    char descr[16];
    bool fortran_order;
    struct sqz_shape shape;
    bool has_descr, has_order, has_shape;
};

struct scanner {
    const char *p, *end;
};

static void skip_blanks(struct scanner *s) {
    while (s->p < s->end && strchr(" \t\r\n", *s->p) && *s->p) s->p++;
}

/* Take the character when it comes next. */
static bool take(struct scanner *s, char c) {
    skip_blanks(s);
    if (s->p == s->end || *s->p != c) return false;
    s->p++;
    return true;
}

static bool take_word(struct scanner *s, const char *word) {
    size_t n = strlen(word);
    skip_blanks(s);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0) return false;
    s->p += n;
    return true;
}

/* A quoted string without escapes; false also when it does not fit. */
static bool take_string(struct scanner *s, char *out, size_t capacity) {
    skip_blanks(s);
    if (s->p == s->end || (*s->p != '\'' && *s->p != '"')) return false;
    char quote = *s->p++;
    size_t n = 0;
    while (s->p < s->end && *s->p != quote) {
        if (n + 1 >= capacity || *s->p == '\\') return false;
        out[n++] = *s->p++;
    }
    out[n] = '\0';
    return take(s, quote);
}

static bool take_number(struct scanner *s, uint64_t *out) {
    skip_blanks(s);
    uint64_t v = 0;
    const char *start = s->p;
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*s->p - '0'), &v)) return false;
    if (s->p == start) return false;
    /* Python 2 wrote long integers with an L. */
    if (s->p < s->end && *s->p == 'L') s->p++;
    *out = v;
    return true;
}

static bool take_shape(struct scanner *s, struct sqz_shape *shape) {
    *shape = (struct sqz_shape){0};
    if (!take(s, '(')) return false;
    while (!take(s, ')')) {
        if (shape->rank == SQZ_MAX_RANK || !take_number(s, &shape->dim[shape->rank])) return false;
        shape->rank++;
        if (!take(s, ',')) return take(s, ')');
    }
    return true;
}

static bool take_bool(struct scanner *s, bool *out) {
    *out = take_word(s, "True");
    return *out || take_word(s, "False");
}

static enum sqz_status bad_header(struct sqz_error *err) {
    return sqz_fail(err, SQZ_MALFORMED, "the header of the .npy file is malformed");
}

static enum sqz_status parse_entry(struct scanner *s, struct header *header, struct sqz_error *err) {
    char key[16];
    if (!take_string(s, key, sizeof key) || !take(s, ':')) return bad_header(err);
    if (strcmp(key, "descr") == 0) {
        skip_blanks(s);
        if (s->p < s->end && *s->p == '[')
            return sqz_fail(err, SQZ_UNSUPPORTED, "the .npy file holds a structured array, not numbers");
        header->has_descr = take_string(s, header->descr, sizeof header->descr);
        return header->has_descr ? SQZ_OK : bad_header(err);
    }
    if (strcmp(key, "fortran_order") == 0) {
        header->has_order = take_bool(s, &header->fortran_order);
        return header->has_order ? SQZ_OK : bad_header(err);
    }
    if (strcmp(key, "shape") == 0) {
        header->has_shape = take_shape(s, &header->shape);
        return header->has_shape ? SQZ_OK : bad_header(err);
    }
    return bad_header(err);
}

static enum sqz_status parse_header(const uint8_t *text, size_t nbytes, struct header *header, struct sqz_error *err) {
    struct scanner s = {(const char *)text, (const char *)text + nbytes};
    if (!take(&s, '{')) return bad_header(err);
    while (!take(&s, '}')) {
        SQZ_TRY(parse_entry(&s, header, err));
        if (take(&s, ',')) continue;
        if (!take(&s, '}')) return bad_header(err);
        break;
    }
    skip_blanks(&s);
    bool complete = header->has_descr && header->has_order && header->has_shape;
    return complete && s.p == s.end ? SQZ_OK : bad_header(err);
}

/* ---- the elements ------------------------------------------------------- */

/* "<f4": byte order, kind and bytes of an element. */
static enum sqz_status parse_type(const char *descr, bool *big_endian, size_t *element, struct sqz_error *err) {
    if (descr[0] && descr[1] == 'O')
        return sqz_fail(err, SQZ_UNSUPPORTED, "the .npy file holds Python objects (a pickle), which are not read");
    const char *type = descr + 1;
    bool good = strchr("<>=|", descr[0]) && descr[0];
    if (good && strcmp(type, "f2") == 0)
        *element = 2;
    else if (good && strcmp(type, "f4") == 0)
        *element = 4;
    else if (good && strcmp(type, "f8") == 0)
        *element = 8;
    else
        return sqz_fail(err, SQZ_UNSUPPORTED, "the .npy file has element type %s, not a float of 2, 4 or 8 bytes",
                        descr);
    *big_endian = descr[0] == '>';
    return SQZ_OK;
}

static float element_value(const uint8_t *p, size_t element, bool big_endian) {
    uint64_t bits = 0;
    for (size_t i = 0; i < element; i++) bits |= (uint64_t)p[big_endian ? element - 1 - i : i] << (8 * i);
    if (element == 2) return sqz_half_to_float((uint16_t)bits);
    if (element == 4) {
        uint32_t bits32 = (uint32_t)bits;
        float v;
        memcpy(&v, &bits32, sizeof v);
        return v;
    }
    double v;
    memcpy(&v, &bits, sizeof v);
    return (float)v;
}

/* Index in the file (first dimension fastest) of each element in C order, one step at a time. */
static void advance_fortran(const struct sqz_shape *shape, const size_t *strides, uint64_t *position, size_t *index) {
    for (uint32_t d = shape->rank; d-- > 0;) {
        *index += strides[d];
        if (++position[d] < shape->dim[d]) return;
        *index -= strides[d] * (size_t)shape->dim[d];
        position[d] = 0;
    }
}

static void read_elements(const struct header *header, const uint8_t *bytes, size_t element, bool big_endian,
                          struct sqz_npy *out) {
    size_t strides[SQZ_MAX_RANK], index = 0, stride = 1;
    uint64_t position[SQZ_MAX_RANK] = {0};
    for (uint32_t d = 0; d < header->shape.rank; d++) {
        strides[d] = stride;
        stride *= (size_t)header->shape.dim[d];
    }
    for (size_t i = 0; i < out->count; i++) {
        size_t from = header->fortran_order ? index : i;
        out->data[i] = element_value(bytes + from * element, element, big_endian);
        if (header->fortran_order) advance_fortran(&header->shape, strides, position, &index);
    }
}

static enum sqz_status read_header(struct sqz_reader *r, struct header *header, struct sqz_error *err) {
    const uint8_t *start = sqz_read_bytes(r, sizeof magic);
    if (!start || !sqz_npy_probe(start, sizeof magic))
        return sqz_fail(err, SQZ_MALFORMED, "not a .npy file: the magic is missing");
    uint8_t major = sqz_read_u8(r);
    sqz_read_u8(r); /* the minor version has always been 0 and changes nothing */
    if (!r->failed && (major < 1 || major > 3))
        return sqz_fail(err, SQZ_VERSION, "the .npy file has version %u, not 1, 2 or 3", major);
    size_t nbytes = major == 1 ? sqz_read_u16(r) : sqz_read_u32(r);
    const uint8_t *text = sqz_read_bytes(r, nbytes);
    if (!text) return sqz_fail(err, SQZ_TRUNCATED, "the .npy file ends within its header");
    return parse_header(text, nbytes, header, err);
}

enum sqz_status sqz_npy_read(const void *data, size_t nbytes, struct sqz_npy *out, struct sqz_error *err) {
    struct sqz_reader r = sqz_reader_make(data, nbytes);
    struct header header = {0};
    bool big_endian = false;
    size_t element = 0, count, want;
    SQZ_TRY(read_header(&r, &header, err));
    SQZ_TRY(parse_type(header.descr, &big_endian, &element, err));
    if (!sqz_shape_count(&header.shape, &count) || !sqz_mul_size(count, element, &want))
        return sqz_fail(err, SQZ_LIMIT, "the shape of the .npy file overflows");
    if (want != sqz_reader_left(&r))
        return sqz_fail(err, want > sqz_reader_left(&r) ? SQZ_TRUNCATED : SQZ_MALFORMED,
                        "the .npy file has %zu bytes of data where its shape needs %zu", sqz_reader_left(&r), want);
    struct sqz_npy npy = {.shape = header.shape, .count = count, .data = sqz_alloc(count, sizeof(float))};
    if (!npy.data) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for %zu elements", count);
    read_elements(&header, sqz_read_bytes(&r, want), element, big_endian, &npy);
    *out = npy;
    return SQZ_OK;
}

void sqz_npy_free(struct sqz_npy *npy) {
    sqz_free(npy->data);
    *npy = (struct sqz_npy){0};
}

/* ---- writing ------------------------------------------------------------ */

/* The data begins at a multiple of this, as numpy aligns it. */
#define DATA_ALIGNMENT 64

enum sqz_status sqz_npy_write(const char *path, const struct sqz_shape *shape, const float *data,
                              struct sqz_error *err) {
    char header[256];
    size_t used = (size_t)snprintf(header, sizeof header, "{'descr': '<f4', 'fortran_order': False, 'shape': (");
    for (uint32_t d = 0; d < shape->rank; d++)
        used += (size_t)snprintf(header + used, sizeof header - used, "%s%llu", d ? ", " : "",
                                 (unsigned long long)shape->dim[d]);
    used += (size_t)snprintf(header + used, sizeof header - used, "%s), }", shape->rank == 1 ? "," : "");
    size_t count, before = sizeof magic + 4;
    size_t padded = (before + used + 1 + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT - before;
    if (!sqz_shape_count(shape, &count)) return sqz_fail(err, SQZ_LIMIT, "the shape to write overflows");
    struct sqz_buffer buffer = {0};
    sqz_put_bytes(&buffer, magic, sizeof magic);
    sqz_put_u16(&buffer, 1); /* version 1.0 */
    sqz_put_u16(&buffer, (uint16_t)padded);
    sqz_put_bytes(&buffer, header, used);
    while (used++ < padded - 1) sqz_put_u8(&buffer, ' ');
    sqz_put_u8(&buffer, '\n');
    for (size_t i = 0; i < count; i++) sqz_put_f32(&buffer, data[i]);
    enum sqz_status status = sqz_buffer_status(&buffer, err);
    if (status == SQZ_OK) status = sqz_write_file(path, buffer.data, buffer.nbytes, err);
    sqz_buffer_free(&buffer);
    return status;
}
