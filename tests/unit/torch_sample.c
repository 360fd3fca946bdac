/* torch_sample.c - small PyTorch files for the tests, written opcode by opcode and zipped in memory. */
#include "tests/unit/torch_sample.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include <zip.h>

void sample_text(struct sqz_buffer *b, const char *text) {
    sqz_put_u8(b, 'X');
    sqz_put_u32(b, (uint32_t)strlen(text));
    sqz_put_bytes(b, text, strlen(text));
}

void sample_integer(struct sqz_buffer *b, int64_t value) {
    sqz_put_u8(b, 0x8a);
    sqz_put_u8(b, 8);
    sqz_put_u64(b, (uint64_t)value);
}

void sample_global(struct sqz_buffer *b, const char *module, const char *name) {
    sqz_put_u8(b, 'c');
    sqz_put_bytes(b, module, strlen(module));
    sqz_put_u8(b, '\n');
    sqz_put_bytes(b, name, strlen(name));
    sqz_put_u8(b, '\n');
}

static void put_tuple(struct sqz_buffer *b, const int64_t *values, int n) {
    sqz_put_u8(b, '(');
    for (int i = 0; i < n; i++) sample_integer(b, values[i]);
    sqz_put_u8(b, 't');
}

void sample_tensor(struct sqz_buffer *b, const struct sample_tensor *tensor) {
    int64_t contiguous[7];
    uint64_t step = 1; /* may wrap around for shapes that are meant to */
    for (int i = tensor->rank; i-- > 0;) {
        contiguous[i] = (int64_t)step;
        step *= (uint64_t)tensor->shape[i];
    }
    sample_global(b, "torch._utils", "_rebuild_tensor_v2");
    sqz_put_bytes(b, "((", 2);
    sample_text(b, "storage");
    sample_global(b, "torch", tensor->storage);
    sample_text(b, tensor->key);
    sample_text(b, "cpu");
    sample_integer(b, tensor->n_elements);
    sqz_put_bytes(b, "tQ", 2);
    sample_integer(b, tensor->offset);
    put_tuple(b, tensor->shape, tensor->rank);
    put_tuple(b, tensor->stride ? tensor->stride : contiguous, tensor->rank);
    sqz_put_u8(b, 0x89);
    sample_global(b, "collections", "OrderedDict");
    sqz_put_bytes(b, ")RtR", 4);
}

void sample_float(struct sqz_buffer *b, const char *key, int rank, int64_t d0, int64_t d1, int64_t d2, int64_t d3) {
    struct sample_tensor tensor = {"FloatStorage", key, 1, 0, rank, {d0, d1, d2, d3}, NULL};
    for (int i = 0; i < rank; i++) tensor.n_elements *= tensor.shape[i];
    sample_tensor(b, &tensor);
}

struct sqz_buffer sample_floats(size_t n, const float *values) {
    struct sqz_buffer b = {0};
    for (size_t i = 0; i < n; i++) sqz_put_f32(&b, values[i]);
    return b;
}

struct sqz_source sample_zip(const struct sample_entry *entries, size_t n, bool deflate) {
    zip_source_t *archive = zip_source_buffer_create(NULL, 0, 0, NULL);
    ck_assert_ptr_nonnull(archive);
    zip_source_keep(archive);
    zip_t *zip = zip_open_from_source(archive, ZIP_TRUNCATE, NULL);
    ck_assert_ptr_nonnull(zip);
    for (size_t i = 0; i < n; i++) {
        zip_source_t *entry = zip_source_buffer(zip, entries[i].data, entries[i].nbytes, 0);
        zip_int64_t index = zip_file_add(zip, entries[i].name, entry, ZIP_FL_ENC_UTF_8);
        ck_assert_int_ge(index, 0);
        ck_assert_int_eq(zip_set_file_compression(zip, (zip_uint64_t)index, deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0),
                         0);
    }
    ck_assert_int_eq(zip_close(zip), 0);
    zip_stat_t stat;
    zip_stat_init(&stat);
    ck_assert_int_eq(zip_source_stat(archive, &stat), 0);
    uint8_t *data = malloc(stat.size);
    ck_assert_int_eq(zip_source_open(archive), 0);
    ck_assert_int_eq(zip_source_read(archive, data, stat.size), (zip_int64_t)stat.size);
    zip_source_close(archive);
    zip_source_free(archive);
    return (struct sqz_source){.path = "sample", .data = data, .nbytes = stat.size};
}

static const float six[] = {1, 2, 3, 4, 5, 6};

static struct sqz_buffer six_floats(bool big_endian) {
    struct sqz_buffer b = {0};
    for (int i = 0; i < 6; i++) {
        uint32_t bits;
        memcpy(&bits, &six[i], sizeof bits);
        sqz_put_u32(&b, big_endian ? __builtin_bswap32(bits) : bits);
    }
    return b;
}

struct sqz_source sample_file(const struct sqz_buffer *pickle, const char *byteorder, bool deflate) {
    struct sqz_buffer storage = six_floats(byteorder && strcmp(byteorder, "big") == 0);
    struct sample_entry entries[] = {
        {"archive/data.pkl", pickle->data, pickle->nbytes},
        {"archive/data/0", storage.data, storage.nbytes},
        {"archive/version", "3\n", 2},
        {"archive/byteorder", byteorder, byteorder ? strlen(byteorder) : 0},
    };
    struct sqz_source source = sample_zip(entries, byteorder ? 4 : 3, deflate);
    sqz_buffer_free(&storage);
    return source;
}

struct sqz_source sample_legacy(const struct sqz_buffer *pickle, bool big_endian) {
    static const char preamble[] = "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19."
                                   "\x80\x02M\xe9\x03."
                                   "\x80\x02}.";
    struct sqz_buffer b = {0}, storage = six_floats(big_endian);
    sqz_put_bytes(&b, preamble, sizeof preamble - 1);
    sqz_put_bytes(&b, pickle->data, pickle->nbytes);
    sqz_put_bytes(&b, "\x80\x02](", 4);
    sample_text(&b, "0");
    sqz_put_bytes(&b, "e.", 2);
    sqz_put_u64(&b, big_endian ? __builtin_bswap64(6) : 6);
    sqz_put_bytes(&b, storage.data, storage.nbytes);
    sqz_buffer_free(&storage);
    struct sqz_source whole = {.path = "sample", .data = b.data, .nbytes = b.nbytes};
    struct sqz_source source = sample_cut(&whole, whole.nbytes);
    sqz_buffer_free(&b);
    return source;
}

struct sqz_source sample_cut(const struct sqz_source *source, size_t nbytes) {
    uint8_t *data = malloc(nbytes ? nbytes : 1);
    if (nbytes) memcpy(data, source->data, nbytes);
    return (struct sqz_source){.path = "sample", .data = data, .nbytes = nbytes};
}

void sample_free(struct sqz_source *source) {
    free((void *)source->data);
    source->data = NULL;
}

enum sqz_status sample_read(const struct sqz_source *source, struct sqz_torch_weights *out, struct sqz_error *err) {
    struct sqz_read_options options = {.max_nbytes = 1 << 20};
    return sqz_torch_read_weights(source, &options, out, err);
}
