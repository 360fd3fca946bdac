/* hdf5_file.c - reads the HDF5 working file, by name or from bytes. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "formats/hdf5_library.h"
#include "formats/hdf5_parts.h"
#include "lib/graph_code.h"

/* Superblock (HDF5 file format specification 3.0, II.A): signature, version, sizes, flags, then four addresses. */
static const uint8_t signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
#define SUPERBLOCK_NBYTES 48
#define SUPERBLOCK_EOF_OFFSET 28

/* Graphs are kilobytes; class names and history may add some. Far below what could hurt. */
#define MAX_GRAPH_NBYTES ((size_t)64 << 20)

bool sqz_hdf5_probe(const struct sqz_source *source) {
    return source->nbytes >= sizeof signature && memcmp(source->data, signature, sizeof signature) == 0;
}

static enum sqz_status not_ours(struct sqz_error *err) {
    return sqz_fail(err, SQZ_UNKNOWN_FORMAT, "is an HDF5 file, but not a working file of sqz");
}

/*
 * Look at the superblock before the HDF5 library does: older versions have no
 * checksums, and no working file has one, so the library never parses
 * unprotected metadata here.
 */
static enum sqz_status check_superblock(const struct sqz_source *source, struct sqz_error *err) {
    if (source->nbytes < SUPERBLOCK_NBYTES)
        return sqz_fail(err, SQZ_TRUNCATED, "the HDF5 file ends after %zu bytes, within its header", source->nbytes);
    uint8_t version = source->data[8], offset_nbytes = source->data[9];
    if (version < 2) return not_ours(err);
    if (version > 3) return sqz_fail(err, SQZ_VERSION, "the HDF5 superblock has unknown version %u", version);
    if (offset_nbytes != 8) return sqz_fail(err, SQZ_MALFORMED, "the HDF5 superblock is damaged at byte 9");
    struct sqz_reader r = sqz_reader_make(source->data, source->nbytes);
    r.offset = SUPERBLOCK_EOF_OFFSET;
    uint64_t end = sqz_read_u64(&r);
    if (end > source->nbytes)
        return sqz_fail(err, SQZ_TRUNCATED, "the HDF5 file has %zu bytes where its header promises %llu",
                        source->nbytes, (unsigned long long)end);
    return SQZ_OK;
}

/* Compare the checksum behind the HDF5 data, if there is one, before the HDF5 library sees any of it. */
static enum sqz_status check_trailer(const struct sqz_source *source, struct sqz_error *err) {
    struct sqz_reader r = sqz_reader_make(source->data, source->nbytes);
    r.offset = SUPERBLOCK_EOF_OFFSET;
    uint64_t end = sqz_read_u64(&r);
    if (end == source->nbytes) return SQZ_OK;
    r.offset = (size_t)end;
    const uint8_t *magic = sqz_read_bytes(&r, sizeof SQZ_HDF5_TRAILER_MAGIC - 1);
    if (source->nbytes - end != SQZ_HDF5_TRAILER_NBYTES || memcmp(magic, SQZ_HDF5_TRAILER_MAGIC, 8) != 0)
        return sqz_fail(err, SQZ_MALFORMED, "%llu unknown bytes follow the HDF5 data at byte %llu",
                        (unsigned long long)(source->nbytes - end), (unsigned long long)end);
    uint32_t stored = sqz_read_u32(&r);
    if (sqz_read_u32(&r) != 0 || stored != sqz_hdf5_checksum(source, (size_t)end))
        return sqz_fail(err, SQZ_CHECKSUM, "the checksum does not match: the working file is damaged");
    return SQZ_OK;
}

/* ---- opening ------------------------------------------------------------ */

static hid_t open_path(const char *path) {
    hid_t access = hdf5.Pcreate(hdf5.P_FILE_ACCESS);
    hdf5.Pset_fclose_degree(access, H5F_CLOSE_STRONG);
    hdf5.Pset_file_locking(access, 0, 1);
    hid_t file = hdf5.Fopen(path, H5F_ACC_RDONLY, access);
    hdf5.Pclose(access);
    return file;
}

static bool write_all(int fd, const uint8_t *data, size_t nbytes) {
    while (nbytes > 0) {
        ssize_t n = write(fd, data, nbytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        data += n;
        nbytes -= (size_t)n;
    }
    return true;
}

/* Bytes that came through a pipe go to a temporary file that has no name once it is open. */
static enum sqz_status open_bytes(const struct sqz_source *source, hid_t *out, struct sqz_error *err) {
    int fd;
    char *path;
    SQZ_TRY(sqz_hdf5_temporary(&fd, &path, err));
    enum sqz_status status = SQZ_OK;
    if (!write_all(fd, source->data, source->nbytes))
        status = sqz_fail(err, SQZ_IO, "cannot write the temporary file %s: %s", path, strerror(errno));
    else
        *out = open_path(path);
    unlink(path);
    sqz_free(path);
    close(fd);
    return status;
}

/* ---- reading ------------------------------------------------------------ */

/* One link of a group, by its own name; soft and external links lead elsewhere and are not followed. */
static bool is_hard_link(hid_t group, const char *name) {
    H5L_info_t info;
    return hdf5.Lexists(group, name, H5P_DEFAULT) > 0 && hdf5.Lget_info(group, name, &info, H5P_DEFAULT) >= 0 &&
           info.type == H5L_TYPE_HARD;
}

static hid_t open_group(hid_t parent, const char *name) {
    return is_hard_link(parent, name) ? hdf5.Gopen2(parent, name, H5P_DEFAULT) : -1;
}

static bool is_contiguous(hid_t dataset) {
    hid_t properties = hdf5.Dget_create_plist(dataset);
    if (properties < 0) return false;
    H5D_layout_t layout = hdf5.Pget_layout(properties);
    bool good = (layout == H5D_CONTIGUOUS || layout == H5D_COMPACT) && hdf5.Pget_external_count(properties) == 0;
    hdf5.Pclose(properties);
    return good;
}

static bool get_shape(hid_t dataset, struct sqz_shape *shape) {
    hid_t space = hdf5.Dget_space(dataset);
    if (space < 0) return false;
    int rank = hdf5.Sget_simple_extent_ndims(space);
    bool good = rank >= 0 && rank <= SQZ_MAX_RANK && hdf5.Sget_simple_extent_type(space) != H5S_NULL;
    hsize_t dims[SQZ_MAX_RANK] = {0};
    if (good) good = hdf5.Sget_simple_extent_dims(space, dims, NULL) >= 0;
    *shape = (struct sqz_shape){.rank = good ? (uint32_t)rank : 0};
    for (uint32_t d = 0; d < shape->rank; d++) shape->dim[d] = dims[d];
    hdf5.Sclose(space);
    return good;
}

/* Open a dataset whose layout cannot surprise and whose bytes are in this file. */
static enum sqz_status open_dataset(hid_t parent, const char *name, const char *label, hid_t *out,
                                    struct sqz_shape *shape, struct sqz_error *err) {
    if (!is_hard_link(parent, name)) return sqz_fail(err, SQZ_MALFORMED, "the working file has no dataset %s", label);
    hid_t dataset = hdf5.Dopen2(parent, name, H5P_DEFAULT);
    if (dataset < 0) return sqz_fail(err, SQZ_MALFORMED, "%s is not a readable dataset", label);
    if (!is_contiguous(dataset) || !get_shape(dataset, shape)) {
        hdf5.Dclose(dataset);
        return sqz_fail(err, SQZ_UNSUPPORTED, "dataset %s is chunked, filtered or stored outside of the file", label);
    }
    *out = dataset;
    return SQZ_OK;
}

static bool has_type(hid_t dataset, hid_t a, hid_t b) {
    hid_t type = hdf5.Dget_type(dataset);
    if (type < 0) return false;
    bool good = hdf5.Tequal(type, a) > 0 || hdf5.Tequal(type, b) > 0;
    hdf5.Tclose(type);
    return good;
}

/* Read a dataset of exactly `count` elements, after its stored size was compared with what it claims. */
static enum sqz_status read_elements(hid_t dataset, hid_t memory_type, size_t count, void *out, const char *label,
                                     struct sqz_error *err) {
    hid_t type = hdf5.Dget_type(dataset);
    size_t element = type < 0 ? 0 : hdf5.Tget_size(type), nbytes;
    if (type >= 0) hdf5.Tclose(type);
    if (element == 0 || !sqz_mul_size(count, element, &nbytes) || hdf5.Dget_storage_size(dataset) != nbytes)
        return sqz_fail(err, SQZ_MALFORMED, "dataset %s does not hold the bytes its shape needs", label);
    if (count > 0 && hdf5.Dread(dataset, memory_type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0)
        return sqz_fail(err, SQZ_MALFORMED, "dataset %s cannot be read", label);
    return SQZ_OK;
}

/* A float32 dataset as a new array: of shape `want`, or with want NULL a vector of at most `limit`. */
static enum sqz_status read_floats(hid_t parent, const char *name, const char *label, const struct sqz_shape *want,
                                   size_t limit, float **out, size_t *out_count, struct sqz_error *err) {
    struct sqz_shape shape;
    hid_t dataset;
    SQZ_TRY(open_dataset(parent, name, label, &dataset, &shape, err));
    enum sqz_status status = SQZ_OK;
    char found[SQZ_SHAPE_TEXT], wanted[SQZ_SHAPE_TEXT];
    if (!has_type(dataset, hdf5.T_IEEE_F32LE, hdf5.T_IEEE_F32BE))
        status = sqz_fail(err, SQZ_MALFORMED, "dataset %s is not float32", label);
    else if (want && !sqz_shape_equal(&shape, want))
        status = sqz_fail(err, SQZ_SHAPE, "dataset %s has shape %s where the graph says %s", label,
                          sqz_shape_format(&shape, found), sqz_shape_format(want, wanted));
    else if (!sqz_shape_count(&shape, out_count) || (!want && (shape.rank != 1 || *out_count > limit)))
        status = sqz_fail(err, SQZ_MALFORMED, "dataset %s has the impossible shape %s", label,
                          sqz_shape_format(&shape, found));
    if (status == SQZ_OK && !(*out = sqz_alloc(*out_count, sizeof **out)))
        status = sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for %s", label);
    if (status == SQZ_OK) status = read_elements(dataset, hdf5.T_NATIVE_FLOAT, *out_count, *out, label, err);
    hdf5.Dclose(dataset);
    return status;
}

static enum sqz_status read_levels(hid_t group, const struct sqz_weight *weight, struct sqz_packed *packed,
                                   struct sqz_error *err) {
    struct sqz_shape shape;
    hid_t dataset;
    SQZ_TRY(open_dataset(group, "levels", weight->name, &dataset, &shape, err));
    enum sqz_status status = SQZ_OK;
    char found[SQZ_SHAPE_TEXT], wanted[SQZ_SHAPE_TEXT];
    if (!has_type(dataset, hdf5.T_STD_U8LE, hdf5.T_STD_I16LE))
        status = sqz_fail(err, SQZ_MALFORMED, "the levels of %s are neither uint8 nor int16", weight->name);
    else if (!sqz_shape_equal(&shape, &weight->shape))
        status = sqz_fail(err, SQZ_SHAPE, "the levels of %s have shape %s where the graph says %s", weight->name,
                          sqz_shape_format(&shape, found), sqz_shape_format(&weight->shape, wanted));
    packed->n_levels = weight->count;
    if (status == SQZ_OK && !(packed->levels = sqz_alloc(weight->count, sizeof *packed->levels)))
        status = sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the levels of %s", weight->name);
    if (status == SQZ_OK)
        status = read_elements(dataset, hdf5.T_NATIVE_INT16, weight->count, packed->levels, weight->name, err);
    hdf5.Dclose(dataset);
    return status;
}

/* An attribute that is one integer. */
static bool read_integer(hid_t object, const char *name, int *value) {
    bool good = false;
    hid_t attribute = hdf5.Aopen(object, name, H5P_DEFAULT);
    hid_t space = hdf5.Aget_space(attribute), type = hdf5.Aget_type(attribute);
    if (hdf5.Sget_simple_extent_npoints(space) == 1 && hdf5.Tget_class(type) == H5T_INTEGER)
        good = hdf5.Aread(attribute, hdf5.T_NATIVE_INT, value) >= 0;
    if (type >= 0) hdf5.Tclose(type);
    if (space >= 0) hdf5.Sclose(space);
    if (attribute >= 0) hdf5.Aclose(attribute);
    return good;
}

/* States of the trellis that uniform levels obey; the attribute is only there when they do. */
static enum sqz_status read_trellis(hid_t group, const char *name, struct sqz_packed *packed, struct sqz_error *err) {
    if (hdf5.Aexists(group, SQZ_HDF5_TRELLIS) <= 0) return SQZ_OK;
    int n_states;
    if (!read_integer(group, SQZ_HDF5_TRELLIS, &n_states) || n_states <= 0)
        return sqz_fail(err, SQZ_MALFORMED, "the number of trellis states of %s is not a number above 0", name);
    packed->trellis_states = (uint32_t)n_states;
    return SQZ_OK;
}

/* Owned by the weight from the start, so that the model frees what was read before an error. */
static enum sqz_status read_packed(hid_t group, struct sqz_weight *weight, struct sqz_error *err) {
    struct sqz_packed *packed = sqz_alloc0(1, sizeof *packed);
    if (!packed) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    weight->packed = packed;
    SQZ_TRY(read_levels(group, weight, packed, err));
    size_t n = 0;
    if (is_hard_link(group, "steps")) {
        packed->kind = SQZ_LEVELS_UNIFORM;
        SQZ_TRY(read_floats(group, "steps", "steps", NULL, weight->count, &packed->steps, &n, err));
        packed->n_steps = (uint32_t)n;
        SQZ_TRY(read_trellis(group, weight->name, packed, err));
    } else {
        packed->kind = SQZ_LEVELS_CODEBOOK;
        SQZ_TRY(read_floats(group, "codebook", "codebook", NULL, 1u << SQZ_MAX_BITS, &packed->codebook, &n, err));
        packed->n_codebook = (uint32_t)n;
    }
    return sqz_packed_check(packed, &weight->shape, weight->name, err);
}

static enum sqz_status read_weight(hid_t weights, hid_t packed, struct sqz_weight *weight, struct sqz_error *err) {
    char *name = sqz_hdf5_escape(weight->name);
    if (!name) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    hid_t group = open_group(packed, name);
    enum sqz_status status;
    if (group >= 0) {
        status = read_packed(group, weight, err);
        hdf5.Gclose(group);
    } else {
        size_t count;
        status = read_floats(weights, name, weight->name, &weight->shape, 0, &weight->data, &count, err);
    }
    sqz_free(name);
    return status;
}

static enum sqz_status read_weights(hid_t file, struct sqz_model *model, struct sqz_error *err) {
    hid_t weights = open_group(file, "weights"), packed = open_group(file, "packed");
    enum sqz_status status = SQZ_OK;
    if (weights < 0 || packed < 0)
        status = sqz_fail(err, SQZ_MALFORMED, "the working file has no group weights or packed");
    for (size_t i = 0; status == SQZ_OK && i < model->n_weights; i++)
        status = read_weight(weights, packed, &model->weights[i], err);
    if (weights >= 0) hdf5.Gclose(weights);
    if (packed >= 0) hdf5.Gclose(packed);
    return status;
}

static enum sqz_status check_version(hid_t file, struct sqz_error *err) {
    if (hdf5.Aexists(file, "sqz_format") <= 0 || hdf5.Aexists(file, "version") <= 0) return not_ours(err);
    int version = 0;
    if (!read_integer(file, "version", &version))
        return sqz_fail(err, SQZ_MALFORMED, "the working file's version cannot be read");
    if (version != SQZ_HDF5_VERSION)
        return sqz_fail(err, SQZ_VERSION, "the working file has version %d; this build reads version %d", version,
                        SQZ_HDF5_VERSION);
    return SQZ_OK;
}

static enum sqz_status read_graph(hid_t file, size_t max_nbytes, struct sqz_model **out, struct sqz_error *err) {
    struct sqz_shape shape;
    hid_t dataset;
    SQZ_TRY(open_dataset(file, "graph", "graph", &dataset, &shape, err));
    enum sqz_status status = SQZ_OK;
    size_t count = 0;
    uint8_t *graph = NULL;
    if (shape.rank != 1 || !sqz_shape_count(&shape, &count) || count > MAX_GRAPH_NBYTES ||
        !has_type(dataset, hdf5.T_STD_U8LE, hdf5.T_STD_U8BE))
        status = sqz_fail(err, SQZ_MALFORMED, "dataset graph is not a vector of bytes");
    if (status == SQZ_OK && !(graph = sqz_alloc(count, 1)))
        status = sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the graph");
    if (status == SQZ_OK) status = read_elements(dataset, hdf5.T_NATIVE_UINT8, count, graph, "graph", err);
    if (status == SQZ_OK) status = sqz_graph_decode(graph, count, max_nbytes, out, err);
    sqz_free(graph);
    hdf5.Dclose(dataset);
    return status;
}

static enum sqz_status read_hdf5(hid_t file, size_t max_nbytes, struct sqz_model **out, struct sqz_error *err) {
    SQZ_TRY(check_version(file, err));
    struct sqz_model *model = NULL;
    SQZ_TRY(read_graph(file, max_nbytes, &model, err));
    enum sqz_status status = read_weights(file, model, err);
    if (status == SQZ_OK) status = sqz_model_check(model, err);
    if (status != SQZ_OK) {
        sqz_model_free(model);
        return status;
    }
    *out = model;
    return SQZ_OK;
}

enum sqz_status sqz_hdf5_read(const struct sqz_source *source, const struct sqz_read_options *options,
                              struct sqz_model **out, struct sqz_error *err) {
    SQZ_TRY(check_superblock(source, err));
    SQZ_TRY(check_trailer(source, err));
    SQZ_TRY(sqz_hdf5_load(err));
    hid_t file = -1;
    if (source->mapped)
        file = open_path(source->path);
    else
        SQZ_TRY(open_bytes(source, &file, err));
    if (file < 0) return sqz_fail(err, SQZ_MALFORMED, "the HDF5 file is damaged: its metadata cannot be read");
    enum sqz_status status = read_hdf5(file, options->max_nbytes, out, err);
    hdf5.Fclose(file);
    return status;
}
