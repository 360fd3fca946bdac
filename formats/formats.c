/* formats.c - the table of model formats and the one way in. */
#include "formats/formats.h"

#include <string.h>

#include "lib/container.h"

static bool probe_sqz(const struct sqz_source *source) {
    return sqz_container_probe(source->data, source->nbytes);
}

static enum sqz_status read_sqz(const struct sqz_source *source, const struct sqz_read_options *options,
                                struct sqz_model **out, struct sqz_error *err) {
    return sqz_container_decode(source->data, source->nbytes, options->max_nbytes, out, err);
}

static enum sqz_status write_sqz(const struct sqz_model *model, const char *path, size_t *out_nbytes,
                                 struct sqz_error *err) {
    struct sqz_encode_options options = {.coder = SQZ_CODER_AUTO, .bias = SQZ_BIAS_FP16};
    struct sqz_buffer buffer = {0};
    enum sqz_status status = sqz_container_encode(model, &options, &buffer, err);
    if (status == SQZ_OK) status = sqz_write_file(path, buffer.data, buffer.nbytes, err);
    if (status == SQZ_OK && out_nbytes) *out_nbytes = buffer.nbytes;
    sqz_buffer_free(&buffer);
    return status;
}

/* Formats with a magic number come first; the Deep Compression file has none and is asked last. */
const struct sqz_format sqz_formats[] = {
    {"sqz", ".sqz", probe_sqz, read_sqz, write_sqz},
    {"hdf5", ".h5 .hdf5", sqz_hdf5_probe, sqz_hdf5_read, sqz_hdf5_write},
    {"pytorch", ".pth .pt", sqz_pytorch_probe, sqz_pytorch_read, NULL},
    {"ncnn", ".param .bin", sqz_ncnn_probe, sqz_ncnn_read, NULL},
    {"onnx", ".onnx", sqz_onnx_probe, sqz_onnx_read, sqz_onnx_write},
    {"npz", ".npz", NULL, NULL, sqz_npz_write},
    {"deep-compression", ".net", sqz_han_probe, sqz_han_read, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* Default bound on the weights of one model as float32: eight times VGG-16, the largest supported architecture. */
#define DEFAULT_MAX_NBYTES ((size_t)8 << 30)

enum sqz_status sqz_model_read_source(const struct sqz_source *source, const struct sqz_read_options *options,
                                      struct sqz_model **out, struct sqz_error *err) {
    struct sqz_read_options defaults = {0};
    struct sqz_read_options effective = options ? *options : defaults;
    if (effective.max_nbytes == 0) effective.max_nbytes = DEFAULT_MAX_NBYTES;
    if (effective.file_nbytes) *effective.file_nbytes = source->nbytes;
    if (source->nbytes == 0) return sqz_fail(err, SQZ_TRUNCATED, "the file is empty");
    for (const struct sqz_format *format = sqz_formats; format->name; format++) {
        if (!format->probe || !format->probe(source)) continue;
        if (effective.format) *effective.format = format;
        return format->read(source, &effective, out, err);
    }
    return sqz_fail(err, SQZ_UNKNOWN_FORMAT,
                    "not a model file: expected PyTorch, ONNX, ncnn, Deep Compression .net, HDF5 working file or .sqz");
}

enum sqz_status sqz_model_read(const char *path, const struct sqz_read_options *options, struct sqz_model **out,
                               struct sqz_error *err) {
    struct sqz_source source;
    enum sqz_status status = sqz_source_open(path, SQZ_SOURCE_LIMIT, &source, err);
    if (status == SQZ_OK) {
        status = sqz_model_read_source(&source, options, out, err);
        sqz_source_close(&source);
    }
    if (status != SQZ_OK) sqz_error_set_file(err, path);
    return status;
}

/* Whether `path` ends in one of the space-separated extensions. */
static bool has_extension(const char *path, const char *extensions) {
    size_t length = strlen(path);
    for (const char *p = extensions; *p;) {
        size_t n = strcspn(p, " ");
        if (length > n && strncmp(path + length - n, p, n) == 0) return true;
        p += n;
        p += *p == ' ';
    }
    return false;
}

const struct sqz_format *sqz_format_find(const char *name, const char *path) {
    for (const struct sqz_format *format = sqz_formats; format->name; format++) {
        if (name ? strcmp(name, format->name) == 0 : has_extension(path, format->extensions)) return format;
    }
    return NULL;
}
