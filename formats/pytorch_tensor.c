/* pytorch_tensor.c - one tensor of a checkpoint: its description in the pickle and its values as float32. */
#include "formats/pytorch.h"

#include <string.h>

/* Copied at a time before pages are released: small against any large tensor, large against a page. */
#define CHUNK_ELEMENTS ((size_t)256 << 10)

/* Wrappers around a tensor (a Parameter around a subclass around the tensor) are at most this deep. */
#define MAX_WRAPPERS 4

/* ---- storages ----------------------------------------------------------- */

static bool read_size(const struct sqz_pickle_value *value, uint64_t *out) {
    if (!value || value->kind != SQZ_PICKLE_INTEGER || value->as.integer < 0) return false;
    *out = (uint64_t)value->as.integer;
    return true;
}

static enum sqz_status parse_storage_type(const struct sqz_pickle_value *type, struct sqz_torch_storage *out,
                                          struct sqz_error *err) {
    if (!type || type->kind != SQZ_PICKLE_GLOBAL)
        return sqz_fail(err, SQZ_MALFORMED, "the type of a storage is not readable");
    if (strcmp(type->as.global.name, "UntypedStorage") == 0) return SQZ_OK;
    out->dtype = sqz_torch_dtype_by_storage(type->as.global.name);
    if (out->dtype) return SQZ_OK;
    return sqz_fail(err, SQZ_UNSUPPORTED, "the storage type %s.%s is not known", type->as.global.module,
                    type->as.global.name);
}

/* ('storage', type, key, location, n_elements [, view]); view is None or (key, offset, n_elements). */
enum sqz_status sqz_torch_storage_parse(const struct sqz_pickle_value *value, struct sqz_torch_storage *out,
                                        struct sqz_error *err) {
    *out = (struct sqz_torch_storage){0};
    const struct sqz_pickle_value *id = value && value->kind == SQZ_PICKLE_PERSISTENT ? value->as.id : NULL;
    out->key = sqz_pickle_item(id, 2);
    if (!sqz_pickle_text_is(sqz_pickle_item(id, 0), "storage") || !out->key || out->key->kind != SQZ_PICKLE_TEXT ||
        !read_size(sqz_pickle_item(id, 4), &out->n_elements))
        return sqz_fail(err, SQZ_MALFORMED, "a storage is not described as PyTorch describes it");
    SQZ_TRY(parse_storage_type(sqz_pickle_item(id, 1), out, err));
    const struct sqz_pickle_value *view = sqz_pickle_item(id, 5);
    if (!view || view->kind == SQZ_PICKLE_NONE) return SQZ_OK;
    if (!read_size(sqz_pickle_item(view, 1), &out->view_offset))
        return sqz_fail(err, SQZ_MALFORMED, "the view on a storage is not readable");
    return SQZ_OK;
}

/* ---- descriptions ------------------------------------------------------- */

static bool calls(const struct sqz_pickle_value *value, const char *name) {
    return value && value->kind == SQZ_PICKLE_CALL && strcmp(value->as.call.function->as.global.name, name) == 0;
}

static bool starts_with(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

bool sqz_torch_is_tensor(const struct sqz_pickle_value *value) {
    if (value->kind != SQZ_PICKLE_CALL) return false;
    const struct sqz_pickle_value *function = value->as.call.function;
    return starts_with(function->as.global.name, "_rebuild_") ||
           (starts_with(function->as.global.module, "numpy.") && strcmp(function->as.global.name, "_reconstruct") == 0);
}

/*
 * The function and arguments that rebuild the bare tensor: a parameter or a
 * subclass only wraps them.
 */
static bool unwrap(const struct sqz_pickle_value *value, const char **function,
                   const struct sqz_pickle_value **arguments) {
    for (int i = 0; i < MAX_WRAPPERS && value && value->kind == SQZ_PICKLE_CALL; i++) {
        *function = value->as.call.function->as.global.name;
        *arguments = value->as.call.arguments;
        if (calls(value, "_rebuild_from_type_v2")) {
            const struct sqz_pickle_value *inner = sqz_pickle_item(*arguments, 0);
            const struct sqz_pickle_value *inner_arguments = sqz_pickle_item(*arguments, 2);
            if (!inner || inner->kind != SQZ_PICKLE_GLOBAL || !inner_arguments) return false;
            *function = inner->as.global.name;
            *arguments = inner_arguments;
            return true;
        }
        if (!calls(value, "_rebuild_parameter") && !calls(value, "_rebuild_parameter_with_state")) return true;
        value = sqz_pickle_item(*arguments, 0);
    }
    return false;
}

static enum sqz_status refuse_kind(const char *function, const char *name, struct sqz_error *err) {
    static const struct {
        const char *function, *what;
    } kinds[] = {
        {"_rebuild_sparse_tensor", "is a sparse tensor"},
        {"_rebuild_qtensor", "is a quantised tensor"},
        {"_rebuild_meta_tensor_no_storage", "is on device meta: the file holds no data for it"},
        {"_reconstruct", "is a numpy array"},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(function, kinds[i].function) == 0)
            return sqz_fail(err, SQZ_UNSUPPORTED, "%s %s, which is not supported", name, kinds[i].what);
    return sqz_fail(err, SQZ_UNSUPPORTED, "%s is made by %s, which is not supported", name, function);
}

/* Shape and stride are tuples of integers, in a torch.Size or not. */
static enum sqz_status parse_sizes(const struct sqz_pickle_value *value, const char *name, uint64_t *sizes, size_t *n,
                                   struct sqz_error *err) {
    if (calls(value, "Size")) value = sqz_pickle_item(value->as.call.arguments, 0);
    if (!value || value->kind != SQZ_PICKLE_TUPLE)
        return sqz_fail(err, SQZ_MALFORMED, "%s has no readable shape or strides", name);
    *n = value->as.list.n_items;
    if (*n > SQZ_MAX_RANK)
        return sqz_fail(err, SQZ_UNSUPPORTED, "%s has %zu dimensions; at most %d are supported", name, *n,
                        SQZ_MAX_RANK);
    for (size_t i = 0; i < *n; i++)
        if (!read_size(value->as.list.items[i], &sizes[i]))
            return sqz_fail(err, SQZ_MALFORMED, "%s has a negative or unreadable dimension or stride", name);
    return SQZ_OK;
}

/* The last element must lie inside the storage. */
static enum sqz_status check_extent(struct sqz_torch_tensor *tensor, const char *name, struct sqz_error *err) {
    char text[SQZ_SHAPE_TEXT];
    size_t nbytes;
    if (!sqz_shape_count(&tensor->shape, &tensor->count) || !sqz_mul_size(tensor->count, sizeof(float), &nbytes))
        return sqz_fail(err, SQZ_LIMIT, "%s of shape %s is too large", name, sqz_shape_format(&tensor->shape, text));
    if (tensor->count == 0) return SQZ_OK;
    uint64_t last = tensor->offset, available = tensor->storage.n_elements;
    bool fits = !__builtin_add_overflow(last, tensor->storage.view_offset, &last);
    for (uint32_t i = 0; i < tensor->shape.rank && fits; i++) {
        uint64_t step;
        fits = !__builtin_mul_overflow(tensor->shape.dim[i] - 1, tensor->stride[i], &step) &&
               !__builtin_add_overflow(last, step, &last);
    }
    if (!tensor->storage.dtype) available /= tensor->dtype->nbytes;
    if (!fits || last >= available)
        return sqz_fail(err, SQZ_MALFORMED, "%s of shape %s reaches past its storage of %llu elements", name,
                        sqz_shape_format(&tensor->shape, text), (unsigned long long)available);
    return SQZ_OK;
}

static enum sqz_status parse_dtype(const struct sqz_pickle_value *arguments, bool named, const char *name,
                                   struct sqz_torch_tensor *out, struct sqz_error *err) {
    out->dtype = out->storage.dtype;
    if (named) {
        const struct sqz_pickle_value *dtype = sqz_pickle_item(arguments, 6);
        if (dtype && dtype->kind == SQZ_PICKLE_GLOBAL) out->dtype = sqz_torch_dtype_by_name(dtype->as.global.name);
    }
    if (!out->dtype) return sqz_fail(err, SQZ_UNSUPPORTED, "%s has no known element type", name);
    if (!out->dtype->widen)
        return sqz_fail(err, SQZ_UNSUPPORTED, "%s is %s, which is not supported", name, out->dtype->name);
    if (out->storage.dtype && out->storage.dtype != out->dtype)
        return sqz_fail(err, SQZ_MALFORMED, "%s is %s in a storage of %s", name, out->dtype->name,
                        out->storage.dtype->name);
    return SQZ_OK;
}

/* Metadata is None or a dictionary of two flags; a larger one is not looked through for every tensor that shares it. */
static bool is_negated(const struct sqz_pickle_value *metadata) {
    if (!metadata || metadata->kind != SQZ_PICKLE_DICT || metadata->as.list.n_items > 16) return false;
    const struct sqz_pickle_value *flag = sqz_pickle_get(metadata, "neg");
    return flag && flag->kind == SQZ_PICKLE_BOOL && flag->as.integer;
}

/* (storage, offset, shape, stride [, requires_grad, hooks [, dtype in v3] [, metadata]]). */
enum sqz_status sqz_torch_tensor_parse(const struct sqz_pickle_value *value, const char *name,
                                       struct sqz_torch_tensor *out, struct sqz_error *err) {
    const char *function;
    const struct sqz_pickle_value *arguments;
    *out = (struct sqz_torch_tensor){0};
    if (!unwrap(value, &function, &arguments)) return sqz_fail(err, SQZ_MALFORMED, "%s is not a readable tensor", name);
    bool v3 = strcmp(function, "_rebuild_tensor_v3") == 0;
    if (!v3 && strcmp(function, "_rebuild_tensor_v2") != 0 && strcmp(function, "_rebuild_tensor") != 0)
        return refuse_kind(function, name, err);
    SQZ_TRY(sqz_torch_storage_parse(sqz_pickle_item(arguments, 0), &out->storage, err));
    SQZ_TRY(parse_dtype(arguments, v3, name, out, err));
    if (is_negated(sqz_pickle_item(arguments, v3 ? 7 : 6)))
        return sqz_fail(err, SQZ_UNSUPPORTED, "%s is a negated view, which is not supported", name);
    size_t rank, n_strides;
    if (!read_size(sqz_pickle_item(arguments, 1), &out->offset))
        return sqz_fail(err, SQZ_MALFORMED, "%s has no readable offset into its storage", name);
    SQZ_TRY(parse_sizes(sqz_pickle_item(arguments, 2), name, out->shape.dim, &rank, err));
    SQZ_TRY(parse_sizes(sqz_pickle_item(arguments, 3), name, out->stride, &n_strides, err));
    if (rank != n_strides)
        return sqz_fail(err, SQZ_MALFORMED, "%s has %zu strides for %zu dimensions", name, n_strides, rank);
    out->shape.rank = (uint32_t)rank;
    return check_extent(out, name, err);
}

/* ---- values ------------------------------------------------------------- */

static uint64_t read_element(const uint8_t *p, size_t nbytes, bool big_endian) {
    uint64_t bits = 0;
    for (size_t i = 0; i < nbytes; i++) bits |= (uint64_t)p[i] << 8 * (big_endian ? nbytes - 1 - i : i);
    return bits;
}

#define HOST_IS_BIG_ENDIAN (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)

/* n elements that lie step bytes apart. */
static void widen_run(const struct sqz_torch_dtype *dtype, const uint8_t *from, size_t step, size_t n, bool big_endian,
                      float *to) {
    if (strcmp(dtype->name, "float32") == 0 && step == sizeof(float) && big_endian == HOST_IS_BIG_ENDIAN) {
        memcpy(to, from, n * sizeof(float));
        return;
    }
    for (size_t i = 0; i < n; i++) to[i] = dtype->widen(read_element(from + i * step, dtype->nbytes, big_endian));
}

static bool is_contiguous(const struct sqz_torch_tensor *tensor) {
    uint64_t expected = 1;
    for (uint32_t i = tensor->shape.rank; i-- > 0;) {
        if (tensor->shape.dim[i] == 1) continue;
        if (tensor->stride[i] != expected) return false;
        expected *= tensor->shape.dim[i];
    }
    return true;
}

static void release(const struct sqz_torch_archive *archive, const struct sqz_torch_record *record, const uint8_t *from,
                    size_t nbytes) {
    if (record->in_source) sqz_source_release(archive->source, (size_t)(from - archive->source->data), nbytes);
}

static void load_contiguous(const struct sqz_torch_archive *archive, const struct sqz_torch_tensor *tensor,
                            const struct sqz_torch_record *record, const uint8_t *from, float *to) {
    size_t size = tensor->dtype->nbytes;
    for (size_t done = 0; done < tensor->count;) {
        size_t n = tensor->count - done < CHUNK_ELEMENTS ? tensor->count - done : CHUNK_ELEMENTS;
        widen_run(tensor->dtype, from + done * size, size, n, record->big_endian, to + done);
        release(archive, record, from + done * size, n * size);
        done += n;
    }
}

static void load_strided(const struct sqz_torch_tensor *tensor, const struct sqz_torch_record *record,
                         const uint8_t *from, float *to) {
    uint32_t outer = tensor->shape.rank - 1;
    size_t size = tensor->dtype->nbytes, run = (size_t)tensor->shape.dim[outer];
    uint64_t index[SQZ_MAX_RANK] = {0};
    for (size_t done = 0; done < tensor->count; done += run) {
        uint64_t at = 0;
        for (uint32_t i = 0; i < outer; i++) at += index[i] * tensor->stride[i];
        widen_run(tensor->dtype, from + at * size, (size_t)tensor->stride[outer] * size, run, record->big_endian,
                  to + done);
        for (uint32_t i = outer; i-- > 0 && ++index[i] == tensor->shape.dim[i];) index[i] = 0;
    }
}

enum sqz_status sqz_torch_tensor_load(struct sqz_torch_archive *archive, const struct sqz_torch_tensor *tensor,
                                      const char *name, float **out, struct sqz_error *err) {
    size_t size = tensor->dtype->nbytes, storage_nbytes;
    uint64_t unit = tensor->storage.dtype ? size : 1;
    *out = NULL;
    if (tensor->storage.n_elements > SIZE_MAX ||
        !sqz_mul_size((size_t)tensor->storage.n_elements, unit, &storage_nbytes))
        return sqz_fail(err, SQZ_LIMIT, "the storage of %s is too large", name);
    struct sqz_torch_record record = {0};
    if (tensor->count) {
        enum sqz_status status = archive->find(archive, tensor->storage.key, storage_nbytes, name, &record, err);
        if (status != SQZ_OK) return status;
    }
    float *data = sqz_alloc(tensor->count, sizeof *data);
    if (!data) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for %s", name);
    *out = data;
    if (tensor->count == 0) return SQZ_OK;
    const uint8_t *from = record.data + (size_t)(tensor->offset + tensor->storage.view_offset) * size;
    if (is_contiguous(tensor)) {
        load_contiguous(archive, tensor, &record, from, data);
    } else {
        load_strided(tensor, &record, from, data);
        release(archive, &record, record.data, record.nbytes);
    }
    return SQZ_OK;
}
