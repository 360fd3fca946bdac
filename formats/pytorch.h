/* pytorch.h - inside of the PyTorch room: archives, tensors and checkpoints as torch.save() writes them. */
#ifndef SQZ_FORMATS_PYTORCH_H
#define SQZ_FORMATS_PYTORCH_H

#include "formats/archs.h"
#include "formats/formats.h"
#include "formats/pickle.h"

/* ---- archives: pytorch_zip.c and pytorch_legacy.c ---- */

/* The raw bytes of one storage. */
struct sqz_torch_record {
    const uint8_t *data; /* in the source, or in the archive's one inflated record until the next is asked for */
    size_t nbytes;
    bool big_endian;
    bool in_source; /* pages may be released once they are copied */
};

/* An opened file: its object tree and a way to its storages. */
struct sqz_torch_archive {
    const struct sqz_source *source;
    struct sqz_pickle pickle; /* the main one */
    void *layout;             /* private to the layout's file */
    /* The storage of that key, which must have nbytes bytes; `name` is the tensor's, for messages. */
    enum sqz_status (*find)(struct sqz_torch_archive *archive, const struct sqz_pickle_value *key, size_t nbytes,
                            const char *name, struct sqz_torch_record *out, struct sqz_error *err);
    void (*close)(struct sqz_torch_archive *archive);
};

bool sqz_torch_zip_probe(const struct sqz_source *source);
bool sqz_torch_legacy_probe(const struct sqz_source *source);

/* Open and read the object tree; sqz_torch_close() afterwards when SQZ_OK. */
enum sqz_status sqz_torch_zip_open(const struct sqz_source *source, struct sqz_torch_archive *out,
                                   struct sqz_error *err);
enum sqz_status sqz_torch_legacy_open(const struct sqz_source *source, struct sqz_torch_archive *out,
                                      struct sqz_error *err);
enum sqz_status sqz_torch_open(const struct sqz_source *source, struct sqz_torch_archive *out, struct sqz_error *err);
void sqz_torch_close(struct sqz_torch_archive *archive);

/* The globals that torch.save() is known to write; every other one is refused by name. */
enum sqz_status sqz_torch_admit(const char *module, const char *name, enum sqz_pickle_class *out,
                                struct sqz_error *err);

/* ---- tensors: pytorch_dtype.c and pytorch_tensor.c ---- */

struct sqz_torch_dtype {
    const char *name;    /* "float32" */
    const char *storage; /* "FloatStorage"; NULL for a type that has no storage class of its own */
    size_t nbytes;       /* of one element; 0: known by name, but it holds no plain numbers */
    float (*widen)(uint64_t bits);
};

const struct sqz_torch_dtype *sqz_torch_dtype_by_name(const char *name);
const struct sqz_torch_dtype *sqz_torch_dtype_by_storage(const char *storage);

/* A storage as a persistent id names it. */
struct sqz_torch_storage {
    const struct sqz_pickle_value *key;  /* a text */
    const struct sqz_torch_dtype *dtype; /* NULL: untyped, counted in bytes */
    uint64_t n_elements;
    uint64_t view_offset; /* first element of a view on another storage (only before PyTorch 0.4) */
};

/* SQZ_MALFORMED unless the value is a persistent id that torch writes. */
enum sqz_status sqz_torch_storage_parse(const struct sqz_pickle_value *value, struct sqz_torch_storage *out,
                                        struct sqz_error *err);

struct sqz_torch_tensor {
    struct sqz_torch_storage storage;
    const struct sqz_torch_dtype *dtype;
    uint64_t offset; /* elements from the start of the storage */
    struct sqz_shape shape;
    uint64_t stride[SQZ_MAX_RANK]; /* in elements; 0 repeats one */
    size_t count;
};

/* Whether the value is a call that rebuilds a tensor of any kind, wrapped as a parameter or not. */
bool sqz_torch_is_tensor(const struct sqz_pickle_value *value);

/*
 * Read shape, strides and storage of a tensor and hold them against the
 * storage's length. `name` is for messages. SQZ_UNSUPPORTED for sparse,
 * quantised, complex and meta tensors and numpy arrays, SQZ_MALFORMED.
 */
enum sqz_status sqz_torch_tensor_parse(const struct sqz_pickle_value *value, const char *name,
                                       struct sqz_torch_tensor *out, struct sqz_error *err);

/* The tensor's values as float32 in row-major order; *out is sqz_alloc()ed. */
enum sqz_status sqz_torch_tensor_load(struct sqz_torch_archive *archive, const struct sqz_torch_tensor *tensor,
                                      const char *name, float **out, struct sqz_error *err);

/* ---- checkpoints: checkpoint.c and checkpoint_names.c ---- */

enum sqz_recipe {
    SQZ_RECIPE_PLAIN,
    SQZ_RECIPE_MASKED,      /* torch.nn.utils.prune: first * second, element by element */
    SQZ_RECIPE_WEIGHT_NORM, /* torch.nn.utils.weight_norm: first (g) * second (v) / |v| along all but dimension 0 */
};

/* One weight of a state_dict and how to compute it. */
struct sqz_checkpoint_entry {
    const char *name; /* after removal of prefixes; in the list's arena */
    enum sqz_recipe recipe;
    struct sqz_torch_tensor first, second; /* second: only for the recipes that have one */
    const char *joined_name;               /* private to sqz_checkpoint_merge() */
    bool dropped;                          /* private to sqz_checkpoint_merge() */
};

struct sqz_checkpoint {
    struct sqz_arena arena;
    struct sqz_checkpoint_entry *entries;
    size_t n_entries;
};

/* Name a state_dict's tensor has without wrappers' prefixes ("module.", "_orig_mod."), also inside; NULL: no memory. */
char *sqz_checkpoint_plain_name(struct sqz_arena *arena, const struct sqz_pickle_value *key);

/* Remove a prefix such as "model." that all kernels share, and drop entries outside it. */
void sqz_checkpoint_strip_common(struct sqz_checkpoint *checkpoint, const struct sqz_read_options *options);

/* Merge X_orig with X_mask, and X_g with X_v, into X. */
enum sqz_status sqz_checkpoint_merge(struct sqz_checkpoint *checkpoint, struct sqz_error *err);

/*
 * Find the one state_dict in a file's object tree and list its weights;
 * num_batches_tracked, optimizer state and values that are no tensors are
 * left out. SQZ_UNSUPPORTED for an object that is no state_dict and for
 * several candidates of which options->state_dict chooses none.
 */
enum sqz_status sqz_checkpoint_find(const struct sqz_pickle *pickle, const struct sqz_read_options *options,
                                    struct sqz_checkpoint *out, struct sqz_error *err);
void sqz_checkpoint_free(struct sqz_checkpoint *checkpoint);

/* ---- the reader's halves: pytorch.c ---- */

/* A checkpoint's weights as float32. The names live in the arena, the data until sqz_torch_weights_free(). */
struct sqz_torch_weights {
    struct sqz_arena arena;
    struct sqz_named_tensor *tensors;
    size_t n;
};

/* Every weight of the file; no architecture is asked for. */
enum sqz_status sqz_torch_read_weights(const struct sqz_source *source, const struct sqz_read_options *options,
                                       struct sqz_torch_weights *out, struct sqz_error *err);
void sqz_torch_weights_free(struct sqz_torch_weights *weights);

#endif
