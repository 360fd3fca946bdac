/* hdf5_write.c - writes a model as an HDF5 working file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "formats/hdf5_library.h"
#include "formats/hdf5_parts.h"
#include "lib/graph_code.h"

/* An attribute of an old-style object header holds less than 64 KiB; the graph has the whole history. */
#define HISTORY_ATTRIBUTE_NBYTES 60000u

static enum sqz_status write_failed(struct sqz_error *err, const char *what) {
    return sqz_fail(err, SQZ_IO, "cannot write %s (is the disk full?)", what);
}

static bool write_text(hid_t file, const char *name, const char *text) {
    hid_t type = hdf5.Tcopy(hdf5.T_C_S1), space = hdf5.Screate(H5S_SCALAR);
    size_t length = strlen(text);
    hdf5.Tset_size(type, length ? length : 1);
    hdf5.Tset_strpad(type, H5T_STR_NULLPAD);
    hdf5.Tset_cset(type, H5T_CSET_UTF8);
    hid_t attribute = hdf5.Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 && hdf5.Awrite(attribute, type, text) >= 0;
    if (attribute >= 0) good &= hdf5.Aclose(attribute) >= 0;
    hdf5.Sclose(space);
    hdf5.Tclose(type);
    return good;
}

static bool write_integer(hid_t object, const char *name, int value) {
    hid_t space = hdf5.Screate(H5S_SCALAR);
    hid_t attribute = hdf5.Acreate2(object, name, hdf5.T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT);
    bool good = attribute >= 0 && hdf5.Awrite(attribute, hdf5.T_NATIVE_INT, &value) >= 0;
    if (attribute >= 0) good &= hdf5.Aclose(attribute) >= 0;
    hdf5.Sclose(space);
    return good;
}

/* The history as lines; cut after a whole line when it is too long for an attribute. */
static char *history_text(const struct sqz_model *model) {
    char *text = sqz_alloc(HISTORY_ATTRIBUTE_NBYTES, 1);
    if (!text) return NULL;
    size_t used = 0;
    for (size_t i = 0; i < model->n_history; i++) {
        size_t length = strlen(model->history[i]);
        if (length + 2 > HISTORY_ATTRIBUTE_NBYTES - used) break;
        memcpy(text + used, model->history[i], length);
        used += length;
        text[used++] = '\n';
    }
    text[used] = '\0';
    return text;
}

static enum sqz_status write_attributes(hid_t file, const struct sqz_model *model, struct sqz_error *err) {
    char *history = history_text(model);
    if (!history) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    bool good = write_text(file, "sqz_format", SQZ_HDF5_FORMAT) && write_integer(file, "version", SQZ_HDF5_VERSION) &&
                write_text(file, "arch", model->arch) && write_text(file, "source", model->source) &&
                write_text(file, "history", history);
    sqz_free(history);
    return good ? SQZ_OK : write_failed(err, "the attributes");
}

/* Object headers without times: the same model gives the same bytes. */
static hid_t dataset_properties(void) {
    hid_t properties = hdf5.Pcreate(hdf5.P_DATASET_CREATE);
    hdf5.Pset_obj_track_times(properties, 0);
    hdf5.Pset_layout(properties, H5D_CONTIGUOUS);
    /* Every byte is about to be written. */
    hdf5.Pset_fill_time(properties, H5D_FILL_TIME_NEVER);
    return properties;
}

static bool write_dataset(hid_t parent, const char *name, hid_t file_type, hid_t memory_type,
                          const struct sqz_shape *shape, const void *data) {
    hsize_t dims[SQZ_MAX_RANK];
    for (uint32_t d = 0; d < shape->rank; d++) dims[d] = shape->dim[d];
    hid_t space = shape->rank ? hdf5.Screate_simple((int)shape->rank, dims, NULL) : hdf5.Screate(H5S_SCALAR);
    hid_t properties = dataset_properties();
    hid_t dataset = hdf5.Dcreate2(parent, name, file_type, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    bool good = dataset >= 0;
    if (good && hdf5.Sget_simple_extent_npoints(space) > 0)
        good = hdf5.Dwrite(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    if (dataset >= 0) good &= hdf5.Dclose(dataset) >= 0;
    hdf5.Pclose(properties);
    hdf5.Sclose(space);
    return good;
}

static hid_t create_group(hid_t parent, const char *name) {
    hid_t properties = hdf5.Pcreate(hdf5.P_GROUP_CREATE);
    hdf5.Pset_obj_track_times(properties, 0);
    hid_t group = hdf5.Gcreate2(parent, name, H5P_DEFAULT, properties, H5P_DEFAULT);
    hdf5.Pclose(properties);
    return group;
}

static bool fits_uint8(const struct sqz_packed *packed) {
    for (size_t i = 0; i < packed->n_levels; i++)
        if (packed->levels[i] < 0 || packed->levels[i] > UINT8_MAX) return false;
    return true;
}

static bool write_packed(hid_t parent, const char *name, const struct sqz_weight *weight) {
    const struct sqz_packed *packed = weight->packed;
    hid_t group = create_group(parent, name);
    if (group < 0) return false;
    hid_t level_type = fits_uint8(packed) ? hdf5.T_STD_U8LE : hdf5.T_STD_I16LE;
    bool good = write_dataset(group, "levels", level_type, hdf5.T_NATIVE_INT16, &weight->shape, packed->levels);
    bool codebook = packed->kind == SQZ_LEVELS_CODEBOOK;
    struct sqz_shape shape = sqz_shape1(codebook ? packed->n_codebook : packed->n_steps);
    good = good && write_dataset(group, codebook ? "codebook" : "steps", hdf5.T_IEEE_F32LE, hdf5.T_NATIVE_FLOAT, &shape,
                                 codebook ? packed->codebook : packed->steps);
    if (packed->trellis_states) good = good && write_integer(group, SQZ_HDF5_TRELLIS, (int)packed->trellis_states);
    good &= hdf5.Gclose(group) >= 0;
    return good;
}

static enum sqz_status write_weight(hid_t weights, hid_t packed, const struct sqz_weight *weight,
                                    struct sqz_error *err) {
    char *name = sqz_hdf5_escape(weight->name);
    if (!name) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    bool good = weight->packed ? write_packed(packed, name, weight)
                               : write_dataset(weights, name, hdf5.T_IEEE_F32LE, hdf5.T_NATIVE_FLOAT, &weight->shape,
                                               weight->data);
    sqz_free(name);
    return good ? SQZ_OK : write_failed(err, weight->name);
}

static enum sqz_status write_graph(hid_t file, const struct sqz_model *model, struct sqz_error *err) {
    struct sqz_buffer graph = {0};
    enum sqz_status status = sqz_graph_encode(model, true, &graph, err);
    struct sqz_shape shape = sqz_shape1(graph.nbytes);
    if (status == SQZ_OK && !write_dataset(file, "graph", hdf5.T_STD_U8LE, hdf5.T_NATIVE_UINT8, &shape, graph.data))
        status = write_failed(err, "the graph");
    sqz_buffer_free(&graph);
    return status;
}

static enum sqz_status write_weights(hid_t file, const struct sqz_model *model, struct sqz_error *err) {
    hid_t weights = create_group(file, "weights"), packed = create_group(file, "packed");
    enum sqz_status status = weights < 0 || packed < 0 ? write_failed(err, "the groups") : SQZ_OK;
    for (size_t i = 0; status == SQZ_OK && i < model->n_weights; i++)
        status = write_weight(weights, packed, &model->weights[i], err);
    if (weights >= 0) hdf5.Gclose(weights);
    if (packed >= 0) hdf5.Gclose(packed);
    return status;
}

static hid_t create_file(const char *path) {
    hid_t creation = hdf5.Pcreate(hdf5.P_FILE_CREATE), access = hdf5.Pcreate(hdf5.P_FILE_ACCESS);
    hdf5.Pset_obj_track_times(creation, 0);
    hdf5.Pset_libver_bounds(access, H5F_LIBVER_V18, H5F_LIBVER_V18);
    hdf5.Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    hid_t file = hdf5.Fcreate(path, H5F_ACC_TRUNC, creation, access);
    hdf5.Pclose(access);
    hdf5.Pclose(creation);
    return file;
}

/* Room for the object headers of one weight and for the attributes; both take less than half of it. */
#define HEADER_NBYTES_PER_WEIGHT 2048u
#define HEADER_NBYTES ((size_t)256 << 10)

/*
 * Find a full disk before the HDF5 library does, which neither recovers from
 * it nor frees its memory: claim the blocks, and let them go again.
 */
static enum sqz_status reserve(const struct sqz_model *model, const char *path, struct sqz_error *err) {
    size_t nbytes = HEADER_NBYTES;
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct sqz_weight *weight = &model->weights[i];
        size_t element = !weight->packed ? sizeof(float) : fits_uint8(weight->packed) ? 1 : sizeof(int16_t);
        nbytes += weight->count * element + HEADER_NBYTES_PER_WEIGHT;
    }
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return sqz_fail(err, SQZ_IO, "cannot create the file: %s", strerror(errno));
    int failure = posix_fallocate(fd, 0, (off_t)nbytes);
    (void)!ftruncate(fd, 0);
    close(fd);
    if (failure) return sqz_fail(err, SQZ_IO, "cannot write %zu bytes: %s", nbytes, strerror(failure));
    return SQZ_OK;
}

static enum sqz_status append_trailer(const char *path, struct sqz_error *err) {
    struct sqz_source source;
    SQZ_TRY(sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, err));
    struct sqz_buffer trailer = {0};
    sqz_put_bytes(&trailer, SQZ_HDF5_TRAILER_MAGIC, sizeof SQZ_HDF5_TRAILER_MAGIC - 1);
    sqz_put_u32(&trailer, sqz_hdf5_checksum(&source, source.nbytes));
    sqz_put_u32(&trailer, 0);
    sqz_source_close(&source);
    enum sqz_status status = sqz_buffer_status(&trailer, err);
    int fd = status == SQZ_OK ? open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    if (status == SQZ_OK && (fd < 0 || write(fd, trailer.data, trailer.nbytes) != (ssize_t)trailer.nbytes))
        status = write_failed(err, "the checksum");
    if (fd >= 0) close(fd);
    sqz_buffer_free(&trailer);
    return status;
}

static enum sqz_status write_hdf5(const struct sqz_model *model, const char *path, struct sqz_error *err) {
    SQZ_TRY(sqz_hdf5_load(err));
    SQZ_TRY(reserve(model, path, err));
    hid_t file = create_file(path);
    if (file < 0) return sqz_fail(err, SQZ_IO, "cannot create the file");
    enum sqz_status status = write_attributes(file, model, err);
    if (status == SQZ_OK) status = write_graph(file, model, err);
    if (status == SQZ_OK) status = write_weights(file, model, err);
    if (hdf5.Fclose(file) < 0 && status == SQZ_OK) status = write_failed(err, "the end of the file");
    return status == SQZ_OK ? append_trailer(path, err) : status;
}

/* Copy all of fd to a stream. */
static enum sqz_status copy_to_stream(int fd, FILE *stream, size_t *out_nbytes, struct sqz_error *err) {
    char chunk[1 << 14];
    ssize_t n;
    *out_nbytes = 0;
    while ((n = pread(fd, chunk, sizeof chunk, (off_t)*out_nbytes)) > 0) {
        if (fwrite(chunk, 1, (size_t)n, stream) != (size_t)n)
            return sqz_fail(err, SQZ_IO, "cannot write: %s", strerror(errno));
        *out_nbytes += (size_t)n;
    }
    return n < 0 ? sqz_fail(err, SQZ_IO, "cannot read a temporary file: %s", strerror(errno)) : SQZ_OK;
}

/* HDF5 seeks, which a device or a pipe cannot: write a temporary file, then copy it. */
static enum sqz_status write_through_temporary(const struct sqz_model *model, FILE *stream, size_t *out_nbytes,
                                               struct sqz_error *err) {
    int fd;
    char *path;
    SQZ_TRY(sqz_hdf5_temporary(&fd, &path, err));
    enum sqz_status status = write_hdf5(model, path, err);
    unlink(path);
    sqz_free(path);
    if (status == SQZ_OK) status = copy_to_stream(fd, stream, out_nbytes, err);
    close(fd);
    return status;
}

enum sqz_status sqz_hdf5_write(const struct sqz_model *model, const char *path, size_t *out_nbytes,
                               struct sqz_error *err) {
    struct sqz_output out;
    SQZ_TRY(sqz_output_begin(path, &out, err));
    bool special = out.temporary == out.target;
    size_t copied = 0;
    enum sqz_status status;
    if (special) {
        status = write_through_temporary(model, out.stream, &copied, err);
    } else {
        status = sqz_output_close_stream(&out, err);
        if (status == SQZ_OK) status = write_hdf5(model, out.temporary, err);
    }
    if (status != SQZ_OK) {
        sqz_error_set_file(err, path);
        sqz_output_abandon(&out);
        return status;
    }
    SQZ_TRY(sqz_output_commit(&out, out_nbytes, err));
    if (special && out_nbytes) *out_nbytes = copied;
    return SQZ_OK;
}
