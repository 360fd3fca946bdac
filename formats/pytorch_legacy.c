/* pytorch_legacy.c - the layout of torch.save() before PyTorch 1.6: five pickles in a row, then raw storages. */
#include "formats/pytorch.h"

#include <stdlib.h>
#include <string.h>

#include "lib/bytes.h"

/* 0x1950a86a20f9469cfc6c, as the opcodes LONG1 and (in pickle protocols 0 and 1) LONG carry it. */
static const uint8_t magic[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
static const char magic_digits[] = "119547037146038801333356";

/* Number of the layout, the second pickle. */
#define LEGACY_PROTOCOL 1001

/* The magic stands in the first pickle behind at most PROTO, FRAME and LONG1. */
#define MAGIC_WINDOW 40

struct legacy_storage {
    const struct sqz_pickle_value *key;
    uint64_t n_elements;
    size_t element_nbytes;
    const uint8_t *data; /* NULL until its place in the file is known */
    bool big_endian;
};

struct legacy_layout {
    struct legacy_storage *storages; /* [n] sorted by key, keys distinct */
    size_t n;
};

bool sqz_torch_legacy_probe(const struct sqz_source *source) {
    size_t window = source->nbytes < MAGIC_WINDOW ? source->nbytes : MAGIC_WINDOW;
    return window && (memmem(source->data, window, magic, sizeof magic) ||
                      memmem(source->data, window, magic_digits, strlen(magic_digits)));
}

static int compare_keys(const struct sqz_pickle_value *a, const struct sqz_pickle_value *b) {
    size_t n = a->as.text.nbytes < b->as.text.nbytes ? a->as.text.nbytes : b->as.text.nbytes;
    int order = n ? memcmp(a->as.text.data, b->as.text.data, n) : 0;
    return order ? order : (a->as.text.nbytes > b->as.text.nbytes) - (a->as.text.nbytes < b->as.text.nbytes);
}

static int compare_storages(const void *a, const void *b) {
    return compare_keys(((const struct legacy_storage *)a)->key, ((const struct legacy_storage *)b)->key);
}

/* List the distinct storages that the main pickle names. */
static enum sqz_status collect(const struct sqz_pickle *pickle, struct legacy_layout *layout, struct sqz_error *err) {
    layout->storages = sqz_alloc0(pickle->n_persistent, sizeof *layout->storages);
    if (!layout->storages) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the list of storages");
    for (size_t i = 0; i < pickle->n_persistent; i++) {
        struct sqz_torch_storage storage;
        SQZ_TRY(sqz_torch_storage_parse(pickle->persistent[i], &storage, err));
        layout->storages[i] = (struct legacy_storage){.key = storage.key,
                                                      .n_elements = storage.n_elements,
                                                      .element_nbytes = storage.dtype ? storage.dtype->nbytes : 1};
    }
    if (pickle->n_persistent) qsort(layout->storages, pickle->n_persistent, sizeof *layout->storages, compare_storages);
    for (size_t i = 0; i < pickle->n_persistent; i++) {
        struct legacy_storage *storage = &layout->storages[i];
        struct legacy_storage *last = layout->n ? &layout->storages[layout->n - 1] : NULL;
        if (!last || compare_keys(last->key, storage->key) != 0) {
            layout->storages[layout->n++] = *storage;
        } else if (last->element_nbytes != storage->element_nbytes || last->n_elements != storage->n_elements) {
            return sqz_fail(err, SQZ_MALFORMED,
                            "one storage (number %zu in the order of keys) is described in two ways", layout->n);
        }
    }
    return SQZ_OK;
}

static struct legacy_storage *lookup(const struct legacy_layout *layout, const struct sqz_pickle_value *key) {
    struct legacy_storage wanted = {.key = key};
    if (layout->n == 0) return NULL;
    return bsearch(&wanted, layout->storages, layout->n, sizeof wanted, compare_storages);
}

/*
 * One storage: a 64-bit count of elements, then the elements. Which byte
 * order the writer used shows in the count, since the pickle names it too.
 */
static enum sqz_status place_storage(struct sqz_reader *in, struct legacy_storage *storage, struct sqz_error *err) {
    size_t offset = in->offset, nbytes;
    uint64_t count = sqz_read_u64(in);
    storage->big_endian = count != storage->n_elements && __builtin_bswap64(count) == storage->n_elements;
    if (!in->failed && count != storage->n_elements && !storage->big_endian)
        return sqz_fail(err, SQZ_MALFORMED, "the storage at byte %zu has %llu elements instead of %llu", offset,
                        (unsigned long long)count, (unsigned long long)storage->n_elements);
    if (storage->n_elements > SIZE_MAX || !sqz_mul_size((size_t)storage->n_elements, storage->element_nbytes, &nbytes))
        return sqz_fail(err, SQZ_LIMIT, "the storage at byte %zu is too large", offset);
    storage->data = sqz_read_bytes(in, nbytes);
    if (!storage->data)
        return sqz_fail(err, SQZ_TRUNCATED, "the storage at byte %zu of %zu bytes is longer than the file", offset,
                        nbytes);
    return SQZ_OK;
}

static enum sqz_status place_all(const struct sqz_pickle_value *keys, struct sqz_reader *in,
                                 struct legacy_layout *layout, struct sqz_error *err) {
    if (keys->kind != SQZ_PICKLE_LIST) return sqz_fail(err, SQZ_MALFORMED, "the list of storage keys is not a list");
    for (size_t i = 0; i < keys->as.list.n_items; i++) {
        const struct sqz_pickle_value *key = keys->as.list.items[i];
        struct legacy_storage *storage = key->kind == SQZ_PICKLE_TEXT ? lookup(layout, key) : NULL;
        if (!storage || storage->data)
            return sqz_fail(err, SQZ_MALFORMED, "storage key %zu of %zu is unknown or occurs twice", i + 1,
                            keys->as.list.n_items);
        SQZ_TRY(place_storage(in, storage, err));
    }
    return SQZ_OK;
}

static enum sqz_status find_record(struct sqz_torch_archive *archive, const struct sqz_pickle_value *key, size_t nbytes,
                                   const char *name, struct sqz_torch_record *out, struct sqz_error *err) {
    const struct legacy_storage *storage = lookup(archive->layout, key);
    if (!storage || !storage->data) return sqz_fail(err, SQZ_MALFORMED, "the storage of %s is missing", name);
    if (nbytes != storage->n_elements * storage->element_nbytes)
        return sqz_fail(err, SQZ_MALFORMED, "the storage of %s does not have %zu bytes", name, nbytes);
    *out = (struct sqz_torch_record){storage->data, nbytes, storage->big_endian, true};
    return SQZ_OK;
}

static void close_archive(struct sqz_torch_archive *archive) {
    struct legacy_layout *layout = archive->layout;
    sqz_free(layout->storages);
    sqz_free(layout);
}

/* Read the pickle at the cursor and move behind it. */
static enum sqz_status next_pickle(struct sqz_reader *in, struct sqz_pickle *out, struct sqz_error *err) {
    SQZ_TRY(sqz_pickle_load(in->data + in->offset, sqz_reader_left(in), sqz_torch_admit, out, err));
    in->offset += out->nbytes;
    return SQZ_OK;
}

static bool is_magic(const struct sqz_pickle_value *value) {
    if (value->kind != SQZ_PICKLE_BIG_INTEGER) return false;
    size_t nbytes = value->as.text.nbytes;
    return (nbytes == sizeof magic && memcmp(value->as.text.data, magic, nbytes) == 0) ||
           (nbytes == strlen(magic_digits) && memcmp(value->as.text.data, magic_digits, nbytes) == 0);
}

/* Magic, protocol and a description of the writing machine, whose byte order the storages show themselves. */
static enum sqz_status read_preamble(struct sqz_reader *in, struct sqz_error *err) {
    struct sqz_pickle pickle;
    SQZ_TRY(next_pickle(in, &pickle, err));
    bool good = is_magic(pickle.root);
    sqz_pickle_free(&pickle);
    if (!good) return sqz_fail(err, SQZ_MALFORMED, "the file does not begin with PyTorch's magic number");
    SQZ_TRY(next_pickle(in, &pickle, err));
    int64_t protocol = pickle.root->kind == SQZ_PICKLE_INTEGER ? pickle.root->as.integer : 0;
    sqz_pickle_free(&pickle);
    if (protocol != LEGACY_PROTOCOL)
        return sqz_fail(err, SQZ_VERSION, "version %lld of PyTorch's old layout is not known", (long long)protocol);
    SQZ_TRY(next_pickle(in, &pickle, err));
    sqz_pickle_free(&pickle);
    return SQZ_OK;
}

static enum sqz_status read_storages(struct sqz_reader *in, const struct sqz_pickle *main_pickle,
                                     struct legacy_layout *layout, struct sqz_error *err) {
    struct sqz_pickle keys;
    SQZ_TRY(collect(main_pickle, layout, err));
    SQZ_TRY(next_pickle(in, &keys, err));
    enum sqz_status status = place_all(keys.root, in, layout, err);
    sqz_pickle_free(&keys);
    return status;
}

enum sqz_status sqz_torch_legacy_open(const struct sqz_source *source, struct sqz_torch_archive *out,
                                      struct sqz_error *err) {
    struct sqz_reader in = sqz_reader_make(source->data, source->nbytes);
    struct legacy_layout *layout = sqz_alloc0(1, sizeof *layout);
    if (!layout) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    *out = (struct sqz_torch_archive){.source = source, .layout = layout, .find = find_record, .close = close_archive};
    enum sqz_status status = read_preamble(&in, err);
    if (status == SQZ_OK) status = next_pickle(&in, &out->pickle, err);
    if (status == SQZ_OK) status = read_storages(&in, &out->pickle, layout, err);
    if (status != SQZ_OK) {
        sqz_pickle_free(&out->pickle);
        close_archive(out);
    }
    return status;
}
