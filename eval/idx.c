/* idx.c - MNIST's IDX files (http://yann.lecun.com/exdb/mnist/), plain or gzip. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <zlib.h>

#include "eval/dataset_parts.h"
#include "eval/image_parts.h"
#include "lib/bytes.h"

/* Deflate's best: a match of 258 bytes in two bits. */
#define MAX_DEFLATE_RATIO 1032u

/* Two zero bytes, the element type, the number of dimensions, then each dimension in four bytes, big-endian. */
enum { TYPE_UNSIGNED_BYTE = 8, MAX_RANK = 3, MAX_HEADER_NBYTES = 4 + 4 * MAX_RANK };

struct idx {
    uint32_t dim[MAX_RANK];
    size_t n_values;
    const uint8_t *values;
};

static bool is_gzip(const uint8_t *data, size_t nbytes) {
    return nbytes >= 2 && data[0] == 0x1f && data[1] == 0x8b;
}

bool sqz_is_idx(const uint8_t *data, size_t nbytes) {
    return is_gzip(data, nbytes) || (nbytes >= 4 && data[0] == 0 && data[1] == 0 && data[2] >= TYPE_UNSIGNED_BYTE &&
                                     data[2] <= 0x0e && data[3] >= 1 && data[3] <= 4);
}

static uint32_t read_big_endian(struct sqz_reader *r) {
    return __builtin_bswap32(sqz_read_u32(r));
}

/* Parse the header of an array of `rank` dimensions; the values are not looked at. */
static enum sqz_status parse_header(const uint8_t *data, size_t nbytes, uint32_t rank, struct idx *out,
                                    struct sqz_error *err) {
    struct sqz_reader r = sqz_reader_make(data, nbytes);
    uint32_t magic = read_big_endian(&r);
    *out = (struct idx){.n_values = 1};
    if (r.failed) return sqz_fail(err, SQZ_TRUNCATED, "the IDX file ends at byte %zu, within its header", nbytes);
    if (magic >> 16 != 0)
        return sqz_fail(err, SQZ_MALFORMED, "the file is not an IDX file: it starts with 0x%08x", magic);
    if ((magic >> 8 & 0xff) != TYPE_UNSIGNED_BYTE)
        return sqz_fail(err, SQZ_UNSUPPORTED, "the IDX file holds elements of type 0x%02x, not bytes (0x08)",
                        magic >> 8 & 0xff);
    if ((magic & 0xff) != rank)
        return sqz_fail(err, SQZ_MALFORMED, "the IDX file is of rank %u, not %u", magic & 0xff, rank);
    for (uint32_t i = 0; i < rank; i++) {
        out->dim[i] = read_big_endian(&r);
        if (!sqz_mul_size(out->n_values, out->dim[i], &out->n_values) || out->n_values > SQZ_SOURCE_LIMIT)
            return sqz_fail(err, SQZ_LIMIT, "the IDX file promises more than %zu values", SQZ_SOURCE_LIMIT);
    }
    if (r.failed) return sqz_fail(err, SQZ_TRUNCATED, "the IDX file ends at byte %zu, within its header", nbytes);
    return SQZ_OK;
}

/* ---- gzip ---------------------------------------------------------------- */

static voidpf zlib_alloc(voidpf opaque, uInt count, uInt size) {
    (void)opaque;
    return sqz_alloc(count, size);
}

static void zlib_free(voidpf opaque, voidpf p) {
    (void)opaque;
    sqz_free(p);
}

struct gzip {
    z_stream stream;
    const uint8_t *data;
    size_t nbytes;
    bool ended;
};

/* Inflate up to n bytes; *out_n is how many there were before the end of the stream. */
static enum sqz_status gzip_read(struct gzip *gzip, uint8_t *out, size_t n, size_t *out_n, struct sqz_error *err) {
    z_stream *stream = &gzip->stream;
    size_t done = 0;
    while (done < n && !gzip->ended) {
        size_t left = gzip->nbytes - (size_t)(stream->next_in - gzip->data), want = n - done;
        stream->avail_in = (uInt)(left < UINT_MAX ? left : UINT_MAX);
        stream->next_out = out + done;
        stream->avail_out = (uInt)(want < UINT_MAX ? want : UINT_MAX);
        int code = inflate(stream, Z_NO_FLUSH);
        done = (size_t)(stream->next_out - out);
        if (code == Z_STREAM_END)
            gzip->ended = true;
        else if (code == Z_MEM_ERROR)
            return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for inflating a gzip file");
        else if (code == Z_BUF_ERROR)
            return sqz_fail(err, SQZ_TRUNCATED, "the gzip file ends at byte %zu, within its data", gzip->nbytes);
        else if (code != Z_OK)
            return sqz_fail(err, SQZ_MALFORMED, "the gzip data is corrupt near byte %zu (%s)",
                            (size_t)(stream->next_in - gzip->data), stream->msg ? stream->msg : "no details");
    }
    *out_n = done;
    return SQZ_OK;
}

/* The header says how much to allocate, and the file's length whether to believe it. */
static enum sqz_status inflate_values(struct gzip *gzip, uint32_t rank, struct idx *idx, uint8_t **out,
                                      struct sqz_error *err) {
    uint8_t header[MAX_HEADER_NBYTES], beyond;
    size_t n, n_beyond = 0;
    SQZ_TRY(gzip_read(gzip, header, 4 + 4 * (size_t)rank, &n, err));
    SQZ_TRY(parse_header(header, n, rank, idx, err));
    if (idx->n_values / MAX_DEFLATE_RATIO > gzip->nbytes)
        return sqz_fail(err, SQZ_TRUNCATED,
                        "the IDX file promises %zu values, more than its %zu compressed bytes can hold", idx->n_values,
                        gzip->nbytes);
    *out = sqz_alloc(idx->n_values, 1);
    if (!*out) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for %zu values of an IDX file", idx->n_values);
    SQZ_TRY(gzip_read(gzip, *out, idx->n_values, &n, err));
    if (n < idx->n_values)
        return sqz_fail(err, SQZ_TRUNCATED, "the IDX file holds %zu of the %zu values that it promises", n,
                        idx->n_values);
    SQZ_TRY(gzip_read(gzip, &beyond, 1, &n_beyond, err)); /* also lets zlib check the stored checksum */
    if (n_beyond > 0)
        return sqz_fail(err, SQZ_MALFORMED, "the IDX file holds more than the %zu values that it promises",
                        idx->n_values);
    return SQZ_OK;
}

static enum sqz_status read_gzip(const struct sqz_source *source, uint32_t rank, struct idx *idx, uint8_t **out,
                                 struct sqz_error *err) {
    enum { GZIP_WINDOW = 16 + MAX_WBITS }; /* zlib: expect a gzip header and trailer */
    struct gzip gzip = {.data = source->data, .nbytes = source->nbytes};
    gzip.stream = (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free, .next_in = (z_const Bytef *)source->data};
    if (inflateInit2(&gzip.stream, GZIP_WINDOW) != Z_OK)
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "no memory for inflating a gzip file");
    *out = NULL;
    enum sqz_status status = inflate_values(&gzip, rank, idx, out, err);
    inflateEnd(&gzip.stream);
    if (status != SQZ_OK) {
        sqz_free(*out);
        *out = NULL;
    }
    return status;
}

/* ---- files --------------------------------------------------------------- */

/* Values are in *inflated (owned by the caller) when the file was compressed, else in the source. */
static enum sqz_status read_idx(const struct sqz_source *source, uint32_t rank, struct idx *idx, uint8_t **inflated,
                                struct sqz_error *err) {
    *inflated = NULL;
    if (is_gzip(source->data, source->nbytes)) {
        SQZ_TRY(read_gzip(source, rank, idx, inflated, err));
        idx->values = *inflated;
        return SQZ_OK;
    }
    SQZ_TRY(parse_header(source->data, source->nbytes, rank, idx, err));
    size_t header = 4 + 4 * (size_t)rank, held = source->nbytes - header;
    if (held != idx->n_values)
        return sqz_fail(err, held < idx->n_values ? SQZ_TRUNCATED : SQZ_MALFORMED,
                        "the IDX file holds %zu values and promises %zu", held, idx->n_values);
    idx->values = source->data + header;
    return SQZ_OK;
}

static enum sqz_status read_images(struct sqz_dataset *dataset, const char *path, struct sqz_error *err) {
    struct sqz_source source;
    struct idx idx;
    SQZ_TRY(sqz_dataset_keep(dataset, path, &source, err));
    SQZ_TRY(read_idx(&source, 3, &idx, &dataset->inflated, err));
    SQZ_TRY(sqz_image_check_size(idx.dim[2], idx.dim[1], err));
    if (idx.dim[0] == 0) return sqz_fail(err, SQZ_BAD_IMAGE, "the IDX file holds no images");
    dataset->raw_height = idx.dim[1];
    dataset->raw_width = idx.dim[2];
    dataset->raw_channels = 1;
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    for (uint32_t i = 0; i < idx.dim[0]; i++) {
        char name[96];
        snprintf(name, sizeof name, "%.80s#%u", base, i);
        SQZ_TRY(sqz_dataset_add(dataset, name, -1, idx.values + (size_t)i * idx.dim[1] * idx.dim[2], err));
    }
    snprintf(dataset->how, sizeof dataset->how, "IDX file %.100s of %u x %u pixels", base, dataset->raw_width,
             dataset->raw_height);
    return SQZ_OK;
}

/* ---- labels -------------------------------------------------------------- */

static enum sqz_status apply_labels(struct sqz_dataset *dataset, const struct sqz_source *source,
                                    const struct sqz_dataset_options *options, struct sqz_error *err) {
    struct idx idx;
    uint8_t *inflated;
    SQZ_TRY(read_idx(source, 1, &idx, &inflated, err));
    enum sqz_status status = SQZ_OK;
    if (idx.n_values != dataset->count)
        status =
            sqz_fail(err, SQZ_BAD_LABEL, "the IDX file has %zu labels for %zu images", idx.n_values, dataset->count);
    for (size_t i = 0; i < dataset->count && status == SQZ_OK; i++)
        status =
            sqz_dataset_base_label(options, idx.values[i], dataset->entries[i].name, &dataset->entries[i].label, err);
    sqz_free(inflated);
    return status;
}

/* Labels from an IDX file, or from a text list with one index per line. */
static enum sqz_status read_labels(struct sqz_dataset *dataset, const char *path,
                                   const struct sqz_dataset_options *options, struct sqz_error *err) {
    struct sqz_source source;
    SQZ_TRY(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, err));
    bool idx = sqz_is_idx(source.data, source.nbytes);
    enum sqz_status status = idx ? apply_labels(dataset, &source, options, err) : SQZ_OK;
    sqz_source_close(&source);
    return idx ? status : sqz_dataset_label_in_order(dataset, path, options, err);
}

/* In the file name, not in the folders above it. */
static bool replace_in_name(char *path, const char *from, const char *to) {
    char *slash = strrchr(path, '/'), *found = strstr(slash ? slash : path, from);
    if (found) memcpy(found, to, strlen(to)); /* callers replace by words of equal length */
    return found != NULL;
}

/* "...images...idx3...[.gz]" to "...labels...idx1...", with or without .gz, whichever exists. */
static bool find_labels(const char *images, char path[SQZ_DATASET_PATH]) {
    size_t length = strlen(images);
    if (length + 4 > SQZ_DATASET_PATH) return false;
    memcpy(path, images, length + 1);
    if (!replace_in_name(path, "images", "labels")) return false;
    replace_in_name(path, "idx3", "idx1");
    for (int attempt = 0; attempt < 2; attempt++) {
        struct sqz_source source;
        if (sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, NULL) == SQZ_OK) {
            sqz_source_close(&source);
            return true;
        }
        if (length > 3 && strcmp(path + length - 3, ".gz") == 0)
            path[length - 3] = '\0';
        else
            memcpy(path + length, ".gz", 4);
    }
    return false;
}

enum sqz_status sqz_dataset_open_idx(struct sqz_dataset *dataset, const char *images,
                                     const struct sqz_dataset_options *options, struct sqz_error *err) {
    char beside[SQZ_DATASET_PATH];
    const char *labels = options->labels;
    enum sqz_status status = read_images(dataset, images, err);
    if (status != SQZ_OK) {
        sqz_error_set_file(err, images);
        return status;
    }
    if (!labels && find_labels(images, beside)) labels = beside;
    if (!labels) return SQZ_OK;
    status = read_labels(dataset, labels, options, err);
    if (status != SQZ_OK) sqz_error_set_file(err, labels);
    return status;
}
