/* pytorch_zip.c - the zip layout of torch.save() since PyTorch 1.6: ROOT/data.pkl, ROOT/data/KEY, ROOT/byteorder. */
#include "formats/pytorch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zip.h>
#include <zlib.h>

/* A larger inflated pickle is no checkpoint; pickles that are merely stored need no bound. */
#define MAX_INFLATED_PICKLE ((size_t)64 << 20)

/* DEFLATE cannot shrink data by more than this (RFC 1951: 258 bytes from two bits, and rounding up). */
#define MAX_DEFLATE_RATIO 1040

/* Checksummed at a time before pages are released. */
#define CRC_CHUNK_NBYTES ((size_t)1 << 20)

/* Keys are small decimal numbers; some longer names occur in other tools' files. */
#define MAX_KEY_NBYTES 256

/* "/data/KEY" and a NUL. */
#define MAX_ENTRY_NBYTES (MAX_KEY_NBYTES + 16)

/* The mapped file as libzip sees it. The place of the last read tells where an entry's bytes lie. */
struct mapped_input {
    const struct sqz_source *source;
    uint64_t position, last_read;
    zip_error_t error;
};

struct zip_layout {
    struct mapped_input input;
    zip_t *zip;
    const char *root; /* in the archive's names, up to the slash; not terminated */
    size_t root_nbytes;
    char *path; /* [root_nbytes + MAX_ENTRY_NBYTES] where names of entries are put together */
    bool big_endian;
    uint8_t *pickle_copy; /* of an inflated data.pkl */
    uint8_t *inflated;    /* the one inflated record that is held */
    size_t inflated_nbytes;
    zip_uint64_t inflated_index;
    bool any_checked;           /* whether checked_index is set */
    zip_uint64_t checked_index; /* the stored entry whose checksum was compared last: many tensors may share it */
};

/* ---- libzip's view on the file ------------------------------------------ */

static zip_int64_t input_read(struct mapped_input *input, void *data, zip_uint64_t nbytes) {
    uint64_t left = input->source->nbytes - input->position;
    if (nbytes > left) nbytes = left;
    if (nbytes) memcpy(data, input->source->data + input->position, nbytes);
    input->last_read = input->position;
    input->position += nbytes;
    return (zip_int64_t)nbytes;
}

static zip_int64_t input_callback(void *user, void *data, zip_uint64_t nbytes, zip_source_cmd_t command) {
    struct mapped_input *input = user;
    zip_int64_t position;
    zip_stat_t *stat = data;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        input->position = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return input_read(input, data, nbytes);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_STAT:
        zip_stat_init(stat);
        stat->size = input->source->nbytes;
        stat->valid = ZIP_STAT_SIZE;
        return sizeof *stat;
    case ZIP_SOURCE_SEEK:
        position = zip_source_seek_compute_offset(input->position, input->source->nbytes, data, nbytes, &input->error);
        if (position < 0) return -1;
        input->position = (uint64_t)position;
        return 0;
    case ZIP_SOURCE_TELL:
        return (zip_int64_t)input->position;
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&input->error, data, nbytes);
    case ZIP_SOURCE_SUPPORTS:
        return zip_source_make_command_bitmap(ZIP_SOURCE_OPEN, ZIP_SOURCE_READ, ZIP_SOURCE_CLOSE, ZIP_SOURCE_STAT,
                                              ZIP_SOURCE_ERROR, ZIP_SOURCE_FREE, ZIP_SOURCE_SEEK, ZIP_SOURCE_TELL,
                                              ZIP_SOURCE_SUPPORTS, -1);
    default:
        zip_error_set(&input->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

static enum sqz_status fail_zip(zip_error_t *error, const char *what, struct sqz_error *err) {
    int code = zip_error_code_zip(error);
    enum sqz_status status = SQZ_MALFORMED;
    if (code == ZIP_ER_MEMORY) status = SQZ_OUT_OF_MEMORY;
    if (code == ZIP_ER_NOZIP || code == ZIP_ER_EOF) status = SQZ_TRUNCATED;
    if (code == ZIP_ER_CRC) status = SQZ_CHECKSUM;
    if (code == ZIP_ER_COMPNOTSUPP || code == ZIP_ER_ENCRNOTSUPP || code == ZIP_ER_NOPASSWD) status = SQZ_UNSUPPORTED;
    return sqz_fail(err, status, "%s: %s", what, zip_error_strerror(error));
}

static enum sqz_status open_zip(struct zip_layout *layout, struct sqz_error *err) {
    zip_error_t error;
    zip_error_init(&error);
    zip_error_init(&layout->input.error);
    zip_source_t *source = zip_source_function_create(input_callback, &layout->input, &error);
    if (source) layout->zip = zip_open_from_source(source, ZIP_RDONLY, &error);
    if (source && !layout->zip) zip_source_free(source);
    enum sqz_status status = SQZ_OK;
    if (!layout->zip) status = fail_zip(&error, "the zip archive cannot be opened (is the file complete?)", err);
    zip_error_fini(&error);
    return status;
}

/* ---- names -------------------------------------------------------------- */

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static bool leaves_archive(const char *name) {
    if (*name == '/' || strchr(name, '\\')) return true;
    for (const char *p = name; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == 0)) return true;
    return false;
}

/* Nothing is ever unpacked to disk, but a file with such names was not written by torch.save(). */
static enum sqz_status check_names(const char **names, size_t n, struct sqz_error *err) {
    for (size_t i = 0; i < n; i++)
        if (leaves_archive(names[i]))
            return sqz_fail(err, SQZ_UNSAFE, "the zip entry %s points outside the archive", names[i]);
    qsort(names, n, sizeof *names, compare_names);
    for (size_t i = 1; i < n; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            return sqz_fail(err, SQZ_MALFORMED, "two zip entries are named %s", names[i]);
    return SQZ_OK;
}

/* Find the folder that holds data.pkl. */
static enum sqz_status find_root(struct zip_layout *layout, const char **names, size_t n, struct sqz_error *err) {
    bool exported = false;
    for (size_t i = 0; i < n; i++) {
        const char *slash = strchr(names[i], '/');
        if (!slash) continue;
        exported |= strcmp(slash, "/archive_format") == 0;
        if (strcmp(slash, "/data.pkl") != 0) continue;
        if (layout->root) return sqz_fail(err, SQZ_MALFORMED, "the zip archive holds two entries data.pkl");
        layout->root = names[i];
        layout->root_nbytes = (size_t)(slash - names[i]);
    }
    if (layout->root) return SQZ_OK;
    if (exported)
        return sqz_fail(err, SQZ_UNSUPPORTED,
                        "a torch.export archive (.pt2), not a state_dict: save model.state_dict() instead");
    return sqz_fail(err, SQZ_UNSUPPORTED, "a zip archive without data.pkl: not written by torch.save()");
}

/* Code beside the weights marks TorchScript. */
static enum sqz_status refuse_script(struct zip_layout *layout, const char **names, size_t n, struct sqz_error *err) {
    for (size_t i = 0; i < n; i++) {
        if (strncmp(names[i], layout->root, layout->root_nbytes + 1) != 0) continue;
        const char *rest = names[i] + layout->root_nbytes + 1;
        if (strcmp(rest, "constants.pkl") == 0 || strncmp(rest, "code/", 5) == 0)
            return sqz_fail(err, SQZ_UNSUPPORTED,
                            "a TorchScript archive (it holds %s), not a state_dict: save model.state_dict() instead",
                            names[i]);
    }
    return SQZ_OK;
}

static enum sqz_status read_names(struct zip_layout *layout, struct sqz_error *err) {
    zip_int64_t count = zip_get_num_entries(layout->zip, 0);
    size_t n = count > 0 ? (size_t)count : 0;
    const char **names = sqz_alloc(n, sizeof *names);
    if (!names) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for %zu zip entries", n);
    enum sqz_status status = SQZ_OK;
    for (size_t i = 0; i < n && status == SQZ_OK; i++) {
        names[i] = zip_get_name(layout->zip, i, ZIP_FL_ENC_RAW);
        if (!names[i]) status = fail_zip(zip_get_error(layout->zip), "a zip entry has no readable name", err);
    }
    if (status == SQZ_OK) status = check_names(names, n, err);
    if (status == SQZ_OK) status = find_root(layout, names, n, err);
    if (status == SQZ_OK) status = refuse_script(layout, names, n, err);
    sqz_free(names);
    if (status == SQZ_OK) layout->path = sqz_alloc(layout->root_nbytes + MAX_ENTRY_NBYTES, 1);
    if (status == SQZ_OK && !layout->path) status = sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    return status;
}

/* ---- entries ------------------------------------------------------------ */

/* ROOT/name; false when there is no such entry. */
static bool locate(struct zip_layout *layout, const char *name, zip_stat_t *stat) {
    snprintf(layout->path, layout->root_nbytes + MAX_ENTRY_NBYTES, "%.*s/%s", (int)layout->root_nbytes, layout->root,
             name);
    zip_int64_t index = zip_name_locate(layout->zip, layout->path, ZIP_FL_ENC_RAW);
    return index >= 0 && zip_stat_index(layout->zip, (zip_uint64_t)index, 0, stat) == 0;
}

/* Where the bytes of a stored entry lie: libzip follows the local header, and the input sees where it then reads. */
static enum sqz_status stored_bytes(struct zip_layout *layout, const zip_stat_t *stat, const uint8_t **out,
                                    struct sqz_error *err) {
    const struct sqz_source *source = layout->input.source;
    *out = source->data;
    if (stat->size == 0) return SQZ_OK;
    uint8_t first;
    zip_file_t *file = zip_fopen_index(layout->zip, stat->index, ZIP_FL_COMPRESSED);
    if (!file) return fail_zip(zip_get_error(layout->zip), stat->name, err);
    bool good = zip_fread(file, &first, 1) == 1;
    zip_fclose(file);
    uint64_t begin = layout->input.last_read;
    if (!good || stat->comp_size != stat->size || begin > source->nbytes || stat->size > source->nbytes - begin)
        return sqz_fail(err, SQZ_TRUNCATED, "the zip entry %s is longer than the file", stat->name);
    *out = source->data + begin;
    return SQZ_OK;
}

/* A zero checksum stands for none: PyTorch can be told not to compute them. */
static enum sqz_status check_crc(struct zip_layout *layout, const zip_stat_t *stat, const uint8_t *data,
                                 struct sqz_error *err) {
    if (!(stat->valid & ZIP_STAT_CRC) || stat->crc == 0) return SQZ_OK;
    if (layout->any_checked && layout->checked_index == stat->index) return SQZ_OK;
    uLong crc = crc32(0, NULL, 0);
    size_t nbytes = (size_t)stat->size;
    for (size_t done = 0; done < nbytes;) {
        size_t n = nbytes - done < CRC_CHUNK_NBYTES ? nbytes - done : CRC_CHUNK_NBYTES;
        crc = crc32(crc, data + done, (uInt)n);
        if (nbytes > CRC_CHUNK_NBYTES)
            sqz_source_release(layout->input.source, (size_t)(data - layout->input.source->data) + done, n);
        done += n;
    }
    layout->any_checked = crc == stat->crc;
    layout->checked_index = stat->index;
    if (layout->any_checked) return SQZ_OK;
    return sqz_fail(err, SQZ_CHECKSUM, "the checksum of the zip entry %s does not match its data", stat->name);
}

static enum sqz_status inflate_entry(struct zip_layout *layout, const zip_stat_t *stat, size_t limit, uint8_t **out,
                                     struct sqz_error *err) {
    *out = NULL;
    if (stat->size > limit || stat->comp_size > layout->input.source->nbytes ||
        stat->size / MAX_DEFLATE_RATIO > stat->comp_size)
        return sqz_fail(err, SQZ_LIMIT, "the zip entry %s promises %llu bytes, which cannot be", stat->name,
                        (unsigned long long)stat->size);
    uint8_t *data = sqz_alloc((size_t)stat->size, 1);
    if (!data) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the zip entry %s", stat->name);
    zip_file_t *file = zip_fopen_index(layout->zip, stat->index, 0);
    enum sqz_status status = SQZ_OK;
    if (!file) {
        status = fail_zip(zip_get_error(layout->zip), stat->name, err);
    } else {
        /* One byte more than promised makes libzip reach the end and compare the checksum. */
        uint8_t beyond;
        zip_int64_t n = stat->size ? zip_fread(file, data, stat->size) : 0;
        zip_int64_t more = n == (zip_int64_t)stat->size ? zip_fread(file, &beyond, 1) : 0;
        if (n < 0 || more < 0)
            status = fail_zip(zip_file_get_error(file), stat->name, err);
        else if (n != (zip_int64_t)stat->size || more != 0)
            status = sqz_fail(err, SQZ_MALFORMED, "the zip entry %s is not %llu bytes long", stat->name,
                              (unsigned long long)stat->size);
        zip_fclose(file);
    }
    if (status == SQZ_OK)
        *out = data;
    else
        sqz_free(data);
    return status;
}

static bool is_stored(const zip_stat_t *stat) {
    return stat->comp_method == ZIP_CM_STORE && stat->encryption_method == ZIP_EM_NONE;
}

static enum sqz_status find_record(struct sqz_torch_archive *archive, const struct sqz_pickle_value *key, size_t nbytes,
                                   const char *name, struct sqz_torch_record *out, struct sqz_error *err) {
    struct zip_layout *layout = archive->layout;
    char path[sizeof "data/" + MAX_KEY_NBYTES];
    zip_stat_t stat;
    if (key->as.text.nbytes > MAX_KEY_NBYTES || memchr(key->as.text.data, 0, key->as.text.nbytes))
        return sqz_fail(err, SQZ_MALFORMED, "the storage of %s has no readable key", name);
    snprintf(path, sizeof path, "data/%.*s", (int)key->as.text.nbytes, key->as.text.data);
    if (!locate(layout, path, &stat))
        return sqz_fail(err, SQZ_MALFORMED, "the zip entry %s, the storage of %s, is missing", path, name);
    if (stat.size != nbytes)
        return sqz_fail(err, SQZ_MALFORMED, "the zip entry %s holds %llu bytes, but %s needs %zu", path,
                        (unsigned long long)stat.size, name, nbytes);
    *out = (struct sqz_torch_record){.nbytes = nbytes, .big_endian = layout->big_endian};
    if (is_stored(&stat)) {
        out->in_source = true;
        SQZ_TRY(stored_bytes(layout, &stat, &out->data, err));
        return check_crc(layout, &stat, out->data, err);
    }
    if (!layout->inflated || layout->inflated_index != stat.index) {
        sqz_free(layout->inflated);
        layout->inflated = NULL;
        SQZ_TRY(inflate_entry(layout, &stat, nbytes, &layout->inflated, err));
        layout->inflated_index = stat.index;
    }
    out->data = layout->inflated;
    return SQZ_OK;
}

/* ---- opening ------------------------------------------------------------ */

static enum sqz_status read_byte_order(struct zip_layout *layout, struct sqz_error *err) {
    zip_stat_t stat;
    uint8_t *text;
    if (!locate(layout, "byteorder", &stat)) return SQZ_OK; /* before PyTorch 2.1: little-endian */
    SQZ_TRY(inflate_entry(layout, &stat, sizeof "little" - 1, &text, err));
    bool little = stat.size == 6 && memcmp(text, "little", 6) == 0;
    layout->big_endian = stat.size == 3 && memcmp(text, "big", 3) == 0;
    enum sqz_status status = SQZ_OK;
    if (!little && !layout->big_endian)
        status = sqz_fail(err, SQZ_MALFORMED, "the byteorder record says \"%.*s\", neither little nor big",
                          (int)stat.size, (const char *)text);
    sqz_free(text);
    return status;
}

static enum sqz_status read_pickle(struct zip_layout *layout, struct sqz_pickle *out, struct sqz_error *err) {
    zip_stat_t stat;
    const uint8_t *data;
    if (!locate(layout, "data.pkl", &stat))
        return sqz_fail(err, SQZ_MALFORMED, "the zip entry data.pkl is not readable");
    if (is_stored(&stat)) {
        SQZ_TRY(stored_bytes(layout, &stat, &data, err));
        SQZ_TRY(check_crc(layout, &stat, data, err));
    } else {
        SQZ_TRY(inflate_entry(layout, &stat, MAX_INFLATED_PICKLE, &layout->pickle_copy, err));
        data = layout->pickle_copy;
    }
    return sqz_pickle_load(data, (size_t)stat.size, sqz_torch_admit, out, err);
}

static void close_layout(struct zip_layout *layout) {
    if (layout->zip) zip_discard(layout->zip);
    zip_error_fini(&layout->input.error);
    sqz_free(layout->path);
    sqz_free(layout->pickle_copy);
    sqz_free(layout->inflated);
    sqz_free(layout);
}

static void close_archive(struct sqz_torch_archive *archive) {
    close_layout(archive->layout);
}

bool sqz_torch_zip_probe(const struct sqz_source *source) {
    return source->nbytes >= 4 && memcmp(source->data, "PK\003\004", 4) == 0;
}

enum sqz_status sqz_torch_zip_open(const struct sqz_source *source, struct sqz_torch_archive *out,
                                   struct sqz_error *err) {
    struct zip_layout *layout = sqz_alloc0(1, sizeof *layout);
    if (!layout) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    layout->input.source = source;
    *out = (struct sqz_torch_archive){.source = source, .layout = layout, .find = find_record, .close = close_archive};
    enum sqz_status status = open_zip(layout, err);
    if (status == SQZ_OK) status = read_names(layout, err);
    if (status == SQZ_OK) status = read_byte_order(layout, err);
    if (status == SQZ_OK) status = read_pickle(layout, &out->pickle, err);
    if (status != SQZ_OK) close_layout(layout);
    return status;
}
