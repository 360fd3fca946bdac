/* onnx_tensor.c - ONNX tensors to floats and integers, whichever field or file their values are in. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "formats/onnx_parts.h"
#include "lib/half.h"

/* Bound on the product of a tensor's dimensions that are not zero: strides and byte counts stay within 64 bits. */
#define MAX_COUNT ((size_t)1 << 56)

/*
 * Bound on the elements that folding produces: a file of a few bytes can ask
 * for any number. Twice VGG-19, whose weights some test files make this way.
 */
#define MAX_FOLDED_COUNT ((size_t)1 << 28)

/* Bytes of one element in raw data; 0 for the types that are not decoded. */
static size_t element_nbytes(int32_t type) {
    switch (type) {
    case ONNX_UINT8:
    case ONNX_INT8:
    case ONNX_BOOL:
        return 1;
    case ONNX_UINT16:
    case ONNX_INT16:
    case ONNX_FLOAT16:
    case ONNX_BFLOAT16:
        return 2;
    case ONNX_FLOAT:
    case ONNX_INT32:
    case ONNX_UINT32:
        return 4;
    case ONNX_INT64:
    case ONNX_UINT64:
    case ONNX_DOUBLE:
        return 8;
    default:
        return 0;
    }
}

bool sqz_onnx_type_is_real(int32_t type) {
    return type == ONNX_FLOAT || type == ONNX_FLOAT16 || type == ONNX_BFLOAT16 || type == ONNX_DOUBLE;
}

/* Number of values in the typed field that belongs to the type. */
static size_t typed_count(const Onnx__Tensor *proto) {
    switch (proto->data_type) {
    case ONNX_FLOAT:
        return proto->n_float_data;
    case ONNX_DOUBLE:
        return proto->n_double_data;
    case ONNX_INT64:
        return proto->n_int64_data;
    case ONNX_UINT32:
    case ONNX_UINT64:
        return proto->n_uint64_data;
    default:
        return proto->n_int32_data;
    }
}

static enum sqz_status read_dimensions(const Onnx__Tensor *proto, struct onnx_tensor *out, struct sqz_error *err) {
    const char *name = onnx_text(proto->name);
    if (proto->n_dims > ONNX_MAX_RANK)
        return sqz_fail(err, SQZ_UNSUPPORTED, "tensor %s has %zu dimensions", name, proto->n_dims);
    out->rank = (uint32_t)proto->n_dims;
    out->count = 1;
    bool empty = false;
    for (size_t i = 0; i < proto->n_dims; i++) {
        if (proto->dims[i] < 0)
            return sqz_fail(err, SQZ_MALFORMED, "dimension %zu of tensor %s is %" PRId64, i, name, proto->dims[i]);
        out->dim[i] = (uint64_t)proto->dims[i];
        if (out->dim[i] == 0)
            empty = true;
        else if (!sqz_mul_size(out->count, out->dim[i], &out->count) || out->count > MAX_COUNT)
            return sqz_fail(err, SQZ_LIMIT, "the dimensions of tensor %s have a product that overflows", name);
    }
    if (empty) out->count = 0;
    return SQZ_OK;
}

/* ---- external data ------------------------------------------------------ */

struct location {
    char path[PATH_MAX];
    size_t offset, nbytes;
};

static bool parse_decimal(const char *text, size_t *out) {
    size_t value = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        if (!sqz_mul_size(value, 10, &value) || !sqz_add_size(value, (size_t)(*text - '0'), &value)) return false;
    }
    *out = value;
    return true;
}

/* A relative path none of whose parts is "..". */
static bool stays_inside(const char *path) {
    if (path[0] == '\0' || path[0] == '/' || strchr(path, '\\')) return false;
    for (const char *part = path; *part;) {
        size_t length = strcspn(part, "/");
        if (length == 2 && part[0] == '.' && part[1] == '.') return false;
        part += length;
        part += *part == '/';
    }
    return true;
}

static enum sqz_status find_external(const struct onnx_import *import, const Onnx__Tensor *proto, size_t nbytes,
                                     struct location *out, struct sqz_error *err) {
    const char *name = onnx_text(proto->name), *where = NULL;
    size_t length = nbytes;
    out->offset = 0;
    out->nbytes = nbytes;
    for (size_t i = 0; i < proto->n_external_data; i++) {
        const char *key = onnx_text(proto->external_data[i]->key), *value = onnx_text(proto->external_data[i]->value);
        bool valid = true;
        if (strcmp(key, "location") == 0) where = value;
        if (strcmp(key, "offset") == 0) valid = parse_decimal(value, &out->offset);
        if (strcmp(key, "length") == 0) valid = parse_decimal(value, &length);
        if (!valid) return sqz_fail(err, SQZ_MALFORMED, "the external %s of tensor %s is '%s'", key, name, value);
    }
    if (!where) return sqz_fail(err, SQZ_MALFORMED, "the external data of tensor %s has no location", name);
    if (!stays_inside(where))
        return sqz_fail(err, SQZ_UNSAFE, "the external data of tensor %s lies outside the model's folder: '%s'", name,
                        where);
    if (strcmp(import->source->path, "-") == 0)
        return sqz_fail(err, SQZ_UNSUPPORTED, "tensor %s has external data, which standard input cannot bring", name);
    if (length != nbytes)
        return sqz_fail(err, SQZ_MALFORMED, "the external data of tensor %s has %zu bytes where its shape needs %zu",
                        name, length, nbytes);
    SQZ_TRY(sqz_path_beside(import->source->path, where, out->path, sizeof out->path, err));
    struct stat st;
    if (stat(out->path, &st) != 0)
        return sqz_fail(err, errno == ENOENT ? SQZ_NOT_FOUND : SQZ_IO, "cannot open '%s', the data of tensor %s: %s",
                        where, name, strerror(errno));
    if (!S_ISREG(st.st_mode)) return sqz_fail(err, SQZ_UNSAFE, "'%s', the data of tensor %s, is no file", where, name);
    size_t size = (size_t)st.st_size;
    if (out->offset > size || nbytes > size - out->offset)
        return sqz_fail(err, SQZ_TRUNCATED, "'%s' ends before the data of tensor %s (%zu bytes at offset %zu)", where,
                        name, nbytes, out->offset);
    return SQZ_OK;
}

/* ---- checking ------------------------------------------------------------ */

static bool is_external(const Onnx__Tensor *proto) {
    return proto->data_location == 1 || proto->n_external_data > 0;
}

enum sqz_status sqz_onnx_tensor_check(const struct onnx_import *import, const Onnx__Tensor *proto,
                                      struct sqz_error *err) {
    const char *name = onnx_text(proto->name);
    if (proto->data_type < 1 || proto->data_type > ONNX_TYPE_LAST)
        return sqz_fail(err, SQZ_MALFORMED, "tensor %s has data type %" PRId32, name, proto->data_type);
    struct onnx_tensor shape = {0};
    SQZ_TRY(read_dimensions(proto, &shape, err));
    if (proto->has_segment) return sqz_fail(err, SQZ_UNSUPPORTED, "tensor %s is stored in segments", name);
    bool raw = proto->has_raw_data && (proto->raw_data.len || shape.count == 0);
    size_t all = proto->n_float_data + proto->n_int32_data + proto->n_int64_data + proto->n_double_data +
                 proto->n_uint64_data + proto->n_string_data;
    if ((raw && proto->raw_data.len) + (all > 0) + is_external(proto) > 1)
        return sqz_fail(err, SQZ_MALFORMED, "tensor %s has its values in more than one place", name);
    size_t size = element_nbytes(proto->data_type), nbytes;
    if (size == 0) return SQZ_OK; /* refused when it is used */
    if (!sqz_mul_size(shape.count, size, &nbytes)) return sqz_fail(err, SQZ_LIMIT, "tensor %s is too large", name);
    if (is_external(proto)) {
        struct location location;
        return find_external(import, proto, nbytes, &location, err);
    }
    if (raw) {
        if (proto->raw_data.len != nbytes)
            return sqz_fail(err, SQZ_MALFORMED, "tensor %s has %zu bytes where its shape needs %zu", name,
                            proto->raw_data.len, nbytes);
        return SQZ_OK;
    }
    if (typed_count(proto) != shape.count || all != shape.count)
        return sqz_fail(err, SQZ_MALFORMED, "tensor %s has %zu values where its shape needs %zu", name, all,
                        shape.count);
    return SQZ_OK;
}

/* ---- decoding ------------------------------------------------------------ */

static uint64_t load(const uint8_t *p, size_t nbytes) {
    uint64_t value = 0;
    for (size_t i = 0; i < nbytes; i++) value |= (uint64_t)p[i] << (8 * i);
    return value;
}

static float real_from_bits(int32_t type, uint64_t bits) {
    if (type == ONNX_FLOAT16) return sqz_half_to_float((uint16_t)bits);
    if (type == ONNX_BFLOAT16) return sqz_bfloat16_to_float((uint16_t)bits);
    if (type == ONNX_DOUBLE) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return (float)value;
    }
    uint32_t word = (uint32_t)bits;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

static int64_t whole_from_bits(int32_t type, uint64_t bits) {
    switch (type) {
    case ONNX_INT8:
        return (int8_t)bits;
    case ONNX_INT16:
        return (int16_t)bits;
    case ONNX_INT32:
        return (int32_t)bits;
    case ONNX_BOOL:
        return bits != 0;
    default: /* unsigned, or 64 bits wide */
        return (int64_t)bits;
    }
}

static void decode_bytes(int32_t type, const uint8_t *bytes, struct onnx_tensor *out) {
    size_t size = element_nbytes(type);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (type == ONNX_FLOAT) {
        memcpy(out->real, bytes, out->count * size);
        return;
    }
#endif
    for (size_t i = 0; i < out->count; i++) {
        uint64_t bits = load(bytes + i * size, size);
        if (out->is_real)
            out->real[i] = real_from_bits(type, bits);
        else
            out->whole[i] = whole_from_bits(type, bits);
    }
}

static void decode_typed(const Onnx__Tensor *proto, struct onnx_tensor *out) {
    int32_t type = proto->data_type;
    for (size_t i = 0; i < out->count; i++) {
        if (type == ONNX_FLOAT)
            out->real[i] = proto->float_data[i];
        else if (type == ONNX_DOUBLE)
            out->real[i] = (float)proto->double_data[i];
        else if (out->is_real)
            out->real[i] = real_from_bits(type, (uint64_t)proto->int32_data[i]);
        else if (type == ONNX_INT64)
            out->whole[i] = proto->int64_data[i];
        else if (type == ONNX_UINT32 || type == ONNX_UINT64)
            out->whole[i] = (int64_t)proto->uint64_data[i];
        else
            out->whole[i] = whole_from_bits(type, (uint64_t)(int64_t)proto->int32_data[i]);
    }
}

static enum sqz_status decode_external(const struct onnx_import *import, const Onnx__Tensor *proto,
                                       struct onnx_tensor *out, struct sqz_error *err) {
    struct location location;
    struct sqz_source file;
    SQZ_TRY(find_external(import, proto, out->count * element_nbytes(proto->data_type), &location, err));
    if (out->count == 0) return SQZ_OK;
    SQZ_TRY(sqz_source_open(location.path, SQZ_SOURCE_LIMIT, &file, err));
    enum sqz_status status = SQZ_OK;
    if (location.offset > file.nbytes || location.nbytes > file.nbytes - location.offset)
        status = sqz_fail(err, SQZ_TRUNCATED, "'%s' became shorter while it was read", location.path);
    else
        decode_bytes(proto->data_type, file.data + location.offset, out);
    if (import->options->file_nbytes) *import->options->file_nbytes += location.nbytes;
    sqz_source_close(&file);
    return status;
}

/* Product of the dimensions into tensor->count, and memory for the elements while *total stays within limit. */
static enum sqz_status allocate(struct onnx_tensor *tensor, size_t *total, size_t limit, struct sqz_error *err) {
    bool empty = false;
    tensor->count = 1;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        if (tensor->dim[i] == 0)
            empty = true;
        else if (!sqz_mul_size(tensor->count, tensor->dim[i], &tensor->count) || tensor->count > MAX_COUNT)
            return sqz_fail(err, SQZ_LIMIT, "the dimensions of a constant have a product that overflows");
    }
    if (empty) tensor->count = 0;
    if (tensor->count > limit - *total)
        return sqz_fail(err, SQZ_LIMIT, "the constants of the graph have more than %zu elements", limit);
    *total += tensor->count;
    if (tensor->is_real)
        tensor->real = sqz_alloc(tensor->count, sizeof *tensor->real);
    else
        tensor->whole = sqz_alloc(tensor->count, sizeof *tensor->whole);
    if (!tensor->real && !tensor->whole) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    return SQZ_OK;
}

enum sqz_status sqz_onnx_tensor_allocate(struct onnx_import *import, struct onnx_tensor *tensor,
                                         struct sqz_error *err) {
    size_t limit = import->max_count < MAX_FOLDED_COUNT ? import->max_count : MAX_FOLDED_COUNT;
    return allocate(tensor, &import->n_folded, limit, err);
}

/* Take the message's own buffer of little-endian floats, so that large weights exist once. */
static bool take_raw_floats(struct onnx_import *import, Onnx__Tensor *proto, struct onnx_tensor *out) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (proto->data_type != ONNX_FLOAT || !proto->has_raw_data || out->count == 0) return false;
    if (out->count > import->max_count - import->n_decoded) return false;
    import->n_decoded += out->count;
    out->real = (float *)(void *)proto->raw_data.data; /* aligned: it came from sqz_alloc() */
    proto->raw_data = (ProtobufCBinaryData){0};
    proto->has_raw_data = 0;
    return true;
#else
    (void)import, (void)proto, (void)out;
    return false;
#endif
}

enum sqz_status sqz_onnx_tensor_decode(struct onnx_import *import, Onnx__Tensor *proto, struct onnx_tensor *out,
                                       struct sqz_error *err) {
    *out = (struct onnx_tensor){0};
    SQZ_TRY(sqz_onnx_tensor_check(import, proto, err));
    if (element_nbytes(proto->data_type) == 0)
        return sqz_fail(err, SQZ_UNSUPPORTED, "tensor %s has data type %" PRId32 ", which is not supported",
                        onnx_text(proto->name), proto->data_type);
    SQZ_TRY(read_dimensions(proto, out, err));
    out->is_real = sqz_onnx_type_is_real(proto->data_type);
    bool raw = proto->has_raw_data && proto->raw_data.len > 0;
    if (raw && take_raw_floats(import, proto, out)) return SQZ_OK;
    SQZ_TRY(allocate(out, &import->n_decoded, import->max_count, err));
    if (is_external(proto)) return decode_external(import, proto, out, err);
    if (raw)
        decode_bytes(proto->data_type, proto->raw_data.data, out);
    else
        decode_typed(proto, out);
    return SQZ_OK;
}

void sqz_onnx_tensor_free(struct onnx_tensor *tensor) {
    if (!tensor->borrowed) sqz_free(tensor->real);
    sqz_free(tensor->whole);
    *tensor = (struct onnx_tensor){0};
}

enum sqz_status sqz_onnx_constant(struct onnx_import *import, struct onnx_value *value, const struct onnx_tensor **out,
                                  struct sqz_error *err) {
    if (value->proto) {
        enum sqz_status status = sqz_onnx_tensor_decode(import, value->proto, &value->tensor, err);
        if (status != SQZ_OK) {
            sqz_onnx_tensor_free(&value->tensor);
            return status;
        }
        value->proto = NULL;
    }
    *out = &value->tensor;
    return SQZ_OK;
}
