/* formats.h - reading and writing model files of any kind. */
#ifndef SQZ_FORMATS_FORMATS_H
#define SQZ_FORMATS_FORMATS_H

#include "lib/files.h"
#include "lib/model.h"

struct sqz_format;

struct sqz_read_options {
    const char *arch;      /* architecture for files that hold only weights; NULL: find it from names and shapes */
    const char *companion; /* the second file: ncnn .bin, Caffe prototxt; NULL: the one beside the first */
    size_t max_nbytes;     /* bound on all weights together as float32; 0: 8 GiB */
    void (*warn)(void *context, const char *text); /* may be NULL: what the user should know but that stops nothing */
    void *warn_context;
    const char *state_dict; /* key of the dictionary to take where a checkpoint holds several; NULL: the only one */
    size_t *file_nbytes;   /* may be NULL: bytes of the file; a reader adds those of its companions */
    const struct sqz_format **format; /* may be NULL: the row that read the file */
};

/*
 * One row per format. Readers get the whole file as bytes plus its path (to
 * find companions, and for error texts); they never look at extensions except
 * to break a tie. They must end with sqz_model_check().
 */
struct sqz_format {
    const char *name;       /* "pytorch", "onnx", "ncnn", "deep-compression", "hdf5", "sqz", "npz" */
    const char *extensions; /* space-separated, for help and for choosing a writer: ".pth .pt" */
    bool (*probe)(const struct sqz_source *source); /* cheap look at the content; NULL: cannot be read */
    enum sqz_status (*read)(const struct sqz_source *source, const struct sqz_read_options *options,
                            struct sqz_model **out, struct sqz_error *err);
    enum sqz_status (*write)(const struct sqz_model *model, const char *path, size_t *out_nbytes,
                             struct sqz_error *err); /* NULL: cannot be written */
};

/* The table of formats, ended by a row with a NULL name. */
extern const struct sqz_format sqz_formats[];

/*
 * Read a model of any format; "-" is standard input. The error's file is
 * set. SQZ_UNKNOWN_FORMAT for content that nobody recognises.
 */
enum sqz_status sqz_model_read(const char *path, const struct sqz_read_options *options, struct sqz_model **out,
                               struct sqz_error *err);

/* The same from bytes that are already in memory; names no file in the error. */
enum sqz_status sqz_model_read_source(const struct sqz_source *source, const struct sqz_read_options *options,
                                      struct sqz_model **out, struct sqz_error *err);

/* Row by name or, with name NULL, by the extension of path; NULL when there is none. */
const struct sqz_format *sqz_format_find(const char *name, const char *path);

/* Readers and writers of the single rooms, for the table. */
bool sqz_pytorch_probe(const struct sqz_source *source);
enum sqz_status sqz_pytorch_read(const struct sqz_source *, const struct sqz_read_options *, struct sqz_model **,
                                 struct sqz_error *);
bool sqz_onnx_probe(const struct sqz_source *source);
enum sqz_status sqz_onnx_read(const struct sqz_source *, const struct sqz_read_options *, struct sqz_model **,
                              struct sqz_error *);
enum sqz_status sqz_onnx_write(const struct sqz_model *, const char *path, size_t *out_nbytes, struct sqz_error *);
bool sqz_ncnn_probe(const struct sqz_source *source);
enum sqz_status sqz_ncnn_read(const struct sqz_source *, const struct sqz_read_options *, struct sqz_model **,
                              struct sqz_error *);
bool sqz_han_probe(const struct sqz_source *source);
enum sqz_status sqz_han_read(const struct sqz_source *, const struct sqz_read_options *, struct sqz_model **,
                             struct sqz_error *);
bool sqz_hdf5_probe(const struct sqz_source *source);
enum sqz_status sqz_hdf5_read(const struct sqz_source *, const struct sqz_read_options *, struct sqz_model **,
                              struct sqz_error *);
enum sqz_status sqz_hdf5_write(const struct sqz_model *, const char *path, size_t *out_nbytes, struct sqz_error *);
enum sqz_status sqz_npz_write(const struct sqz_model *, const char *path, size_t *out_nbytes, struct sqz_error *);

#endif
