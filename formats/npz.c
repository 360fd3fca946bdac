/* npz.c - writing weights as NumPy's .npz: a zip of float32 .npy files, stored without compression. */
#include "formats/formats.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <zip.h>

/* The earliest date a zip entry can have (1 January 1980, MS-DOS form), so that equal models give equal files. */
#define DOS_DATE ((0 << 9) | (1 << 5) | 1)
#define DOS_TIME 0

/* Magic, version 1.0, length of the rest; the whole padded to a multiple of 64 (NumPy's NEP 1). */
#define NPY_PREFIX_NBYTES 10
#define NPY_ALIGNMENT 64
#define NPY_MAX_HEADER 256

/* ---- one weight as the bytes of a .npy file ----------------------------- */

struct npy_source {
    const struct sqz_weight *weight;
    char header[NPY_MAX_HEADER];
    size_t header_nbytes, nbytes;
    const float *data; /* the weight's, or the unpacked ones */
    float *unpacked;   /* only while the entry is being written */
    size_t position;
    zip_error_t error;
};

static void make_header(struct npy_source *npy) {
    char shape[SQZ_MAX_RANK * 24] = "";
    const struct sqz_shape *dims = &npy->weight->shape;
    for (uint32_t i = 0; i < dims->rank; i++) {
        size_t used = strlen(shape);
        /* A tuple of one has a comma. */
        snprintf(shape + used, sizeof shape - used, "%s%llu%s", i ? " " : "", (unsigned long long)dims->dim[i],
                 i + 1 < dims->rank || dims->rank == 1 ? "," : "");
    }
    const char *descr = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? ">f4" : "<f4";
    char *text = npy->header + NPY_PREFIX_NBYTES;
    int n = snprintf(text, sizeof npy->header - NPY_PREFIX_NBYTES,
                     "{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, shape);
    size_t nbytes = NPY_PREFIX_NBYTES + (size_t)n + 1;
    nbytes = (nbytes + NPY_ALIGNMENT - 1) / NPY_ALIGNMENT * NPY_ALIGNMENT;
    memset(text + n, ' ', nbytes - NPY_PREFIX_NBYTES - (size_t)n);
    npy->header[nbytes - 1] = '\n';
    memcpy(npy->header, "\x93NUMPY\x01\x00", 8);
    npy->header[8] = (char)((nbytes - NPY_PREFIX_NBYTES) & 0xff);
    npy->header[9] = (char)((nbytes - NPY_PREFIX_NBYTES) >> 8);
    npy->header_nbytes = nbytes;
    npy->nbytes = nbytes + npy->weight->count * sizeof(float);
}

static int npy_open(struct npy_source *npy) {
    npy->position = 0;
    npy->data = npy->weight->data;
    if (npy->data) return 0;
    npy->unpacked = sqz_alloc(npy->weight->count, sizeof(float));
    if (!npy->unpacked) {
        zip_error_set(&npy->error, ZIP_ER_MEMORY, 0);
        return -1;
    }
    const struct sqz_shape *shape = &npy->weight->shape;
    sqz_packed_unpack(npy->weight->packed, shape->rank ? (size_t)shape->dim[0] : 1, npy->unpacked);
    npy->data = npy->unpacked;
    return 0;
}

static void npy_close(struct npy_source *npy) {
    sqz_free(npy->unpacked);
    npy->unpacked = NULL;
}

static size_t npy_read(struct npy_source *npy, char *to, size_t capacity) {
    size_t left = npy->nbytes - npy->position, done = 0;
    size_t n = capacity < left ? capacity : left;
    if (npy->position < npy->header_nbytes) {
        done = npy->header_nbytes - npy->position < n ? npy->header_nbytes - npy->position : n;
        memcpy(to, npy->header + npy->position, done);
    }
    if (done < n) memcpy(to + done, (const char *)npy->data + (npy->position + done - npy->header_nbytes), n - done);
    npy->position += n;
    return n;
}

static zip_int64_t npy_callback(void *user, void *data, zip_uint64_t nbytes, zip_source_cmd_t command) {
    struct npy_source *npy = user;
    zip_stat_t *stat = data;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        return npy_open(npy);
    case ZIP_SOURCE_READ:
        return (zip_int64_t)npy_read(npy, data, nbytes);
    case ZIP_SOURCE_CLOSE:
        npy_close(npy);
        return 0;
    case ZIP_SOURCE_STAT:
        zip_stat_init(stat);
        stat->size = npy->nbytes;
        stat->valid = ZIP_STAT_SIZE;
        return sizeof *stat;
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&npy->error, data, nbytes);
    case ZIP_SOURCE_FREE:
        npy_close(npy);
        return 0;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                              ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, -1);
    default:
        zip_error_set(&npy->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

/* ---- the archive as libzip writes it into the output's stream ----------- */

struct stream_sink {
    FILE *stream;
    zip_error_t error;
};

static zip_int64_t sink_fail(struct stream_sink *sink, int code) {
    zip_error_set(&sink->error, code, errno ? errno : EIO);
    return -1;
}

static zip_int64_t sink_seek(struct stream_sink *sink, void *data, zip_uint64_t nbytes) {
    const zip_source_args_seek_t *args = ZIP_SOURCE_GET_ARGS(zip_source_args_seek_t, data, nbytes, &sink->error);
    if (!args) return -1;
    return fseeko(sink->stream, (off_t)args->offset, args->whence) == 0 ? 0 : sink_fail(sink, ZIP_ER_SEEK);
}

static zip_int64_t sink_callback(void *user, void *data, zip_uint64_t nbytes, zip_source_cmd_t command) {
    struct stream_sink *sink = user;
    zip_stat_t *stat = data;
    off_t position;
    switch (command) {
    case ZIP_SOURCE_OPEN: /* the old content is empty */
    case ZIP_SOURCE_READ:
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_SEEK:
    case ZIP_SOURCE_TELL:
    case ZIP_SOURCE_FREE:
    case ZIP_SOURCE_BEGIN_WRITE:
    case ZIP_SOURCE_ROLLBACK_WRITE:
    case ZIP_SOURCE_REMOVE:
        return 0;
    case ZIP_SOURCE_STAT:
        zip_stat_init(stat);
        stat->size = 0;
        stat->valid = ZIP_STAT_SIZE;
        return sizeof *stat;
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&sink->error, data, nbytes);
    case ZIP_SOURCE_WRITE:
        if (fwrite(data, 1, nbytes, sink->stream) == nbytes) return (zip_int64_t)nbytes;
        return sink_fail(sink, ZIP_ER_WRITE);
    case ZIP_SOURCE_COMMIT_WRITE:
        return fflush(sink->stream) == 0 ? 0 : sink_fail(sink, ZIP_ER_WRITE);
    case ZIP_SOURCE_SEEK_WRITE:
        return sink_seek(sink, data, nbytes);
    case ZIP_SOURCE_TELL_WRITE:
        position = ftello(sink->stream);
        return position < 0 ? sink_fail(sink, ZIP_ER_TELL) : (zip_int64_t)position;
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                              ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL,
                                              ZIP_SOURCE_BEGIN_WRITE, ZIP_SOURCE_COMMIT_WRITE,
                                              ZIP_SOURCE_ROLLBACK_WRITE, ZIP_SOURCE_WRITE, ZIP_SOURCE_SEEK_WRITE,
                                              ZIP_SOURCE_TELL_WRITE, ZIP_SOURCE_REMOVE, ZIP_SOURCE_SUPPORTS, -1);
    default:
        zip_error_set(&sink->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

static enum sqz_status fail_zip(zip_error_t *error, struct sqz_error *err) {
    enum sqz_status status = zip_error_code_zip(error) == ZIP_ER_MEMORY ? SQZ_OUT_OF_MEMORY : SQZ_IO;
    return sqz_fail(err, status, "cannot write the zip archive: %s", zip_error_strerror(error));
}

/* ---- models ------------------------------------------------------------- */

static enum sqz_status add_weight(zip_t *zip, struct npy_source *npy, struct sqz_error *err) {
    size_t capacity = strlen(npy->weight->name) + sizeof ".npy";
    char *name = sqz_alloc(capacity, 1);
    if (!name) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    snprintf(name, capacity, "%s.npy", npy->weight->name);
    make_header(npy);
    zip_source_t *source = zip_source_function(zip, npy_callback, npy);
    zip_int64_t index = source ? zip_file_add(zip, name, source, ZIP_FL_ENC_GUESS) : -1;
    sqz_free(name);
    if (index < 0) {
        enum sqz_status status = fail_zip(zip_get_error(zip), err);
        if (source) zip_source_free(source);
        return status;
    }
    if (zip_set_file_compression(zip, (zip_uint64_t)index, ZIP_CM_STORE, 0) != 0 ||
        zip_file_set_dostime(zip, (zip_uint64_t)index, DOS_TIME, DOS_DATE, 0) != 0)
        return fail_zip(zip_get_error(zip), err);
    return SQZ_OK;
}

static enum sqz_status write_zip(zip_t *zip, const struct sqz_model *model, struct npy_source *sources,
                                 struct sqz_error *err) {
    enum sqz_status status = SQZ_OK;
    for (size_t i = 0; i < model->n_weights && status == SQZ_OK; i++) {
        sources[i].weight = &model->weights[i];
        zip_error_init(&sources[i].error);
        status = add_weight(zip, &sources[i], err);
    }
    if (status == SQZ_OK && zip_close(zip) == 0) return SQZ_OK;
    if (status == SQZ_OK) status = fail_zip(zip_get_error(zip), err);
    zip_discard(zip);
    return status;
}

static enum sqz_status write_stream(const struct sqz_model *model, FILE *stream, struct sqz_error *err) {
    struct stream_sink sink = {.stream = stream};
    zip_error_t error;
    zip_error_init(&sink.error);
    zip_error_init(&error);
    struct npy_source *sources = sqz_alloc0(model->n_weights, sizeof *sources);
    enum sqz_status status = SQZ_OK;
    zip_source_t *target = sources ? zip_source_function_create(sink_callback, &sink, &error) : NULL;
    zip_t *zip = target ? zip_open_from_source(target, ZIP_TRUNCATE, &error) : NULL;
    if (target && !zip) zip_source_free(target);
    if (!sources)
        status = sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    else if (!zip)
        status = fail_zip(&error, err);
    else
        status = write_zip(zip, model, sources, err);
    zip_error_fini(&error);
    zip_error_fini(&sink.error);
    sqz_free(sources);
    return status;
}

enum sqz_status sqz_npz_write(const struct sqz_model *model, const char *path, size_t *out_nbytes,
                              struct sqz_error *err) {
    struct sqz_output output;
    SQZ_TRY(sqz_output_begin(path, &output, err));
    enum sqz_status status = write_stream(model, output.stream, err);
    if (status != SQZ_OK) {
        sqz_output_abandon(&output);
        sqz_error_set_file(err, path);
        return status;
    }
    return sqz_output_commit(&output, out_nbytes, err);
}
