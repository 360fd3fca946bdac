/* container_file.c - the frame of a .sqz file: header, index, deflated graph, checksums. */
#include "lib/container_file.h"

#include <string.h>
#include <zlib.h>

#include "lib/memory.h"

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

uint32_t sqz_crc32(const void *data, size_t nbytes) {
    return (uint32_t)crc32_z(crc32_z(0, NULL, 0), data, nbytes);
}

bool sqz_container_probe(const void *data, size_t nbytes) {
    return nbytes >= SQZ_CONTAINER_MAGIC_NBYTES && memcmp(data, SQZ_CONTAINER_MAGIC, SQZ_CONTAINER_MAGIC_NBYTES) == 0;
}

/* ---- deflate, with sqz's allocation hook ------------------------------------------ */

static void *zlib_alloc(void *context, unsigned items, unsigned size) {
    (void)context;
    return sqz_alloc0(items, size);
}

static void zlib_free(void *context, void *p) {
    (void)context;
    sqz_free(p);
}

/* Negative window bits: raw deflate without zlib's own header and checksum. */
#define RAW_WINDOW_BITS (-15)

enum sqz_status sqz_container_deflate(const void *data, size_t nbytes, struct sqz_buffer *out, struct sqz_error *err) {
    z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free};
    if (nbytes > SQZ_CONTAINER_MAX_GRAPH) return sqz_fail(err, SQZ_LIMIT, "the graph takes %zu bytes", nbytes);
    if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, RAW_WINDOW_BITS, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        return no_memory(err);
    uLong bound = deflateBound(&stream, (uLong)nbytes);
    uint8_t *memory = sqz_buffer_reserve(out, bound);
    if (!memory) {
        deflateEnd(&stream);
        return no_memory(err);
    }
    stream.next_in = (Bytef *)(uintptr_t)data;
    stream.avail_in = (uInt)nbytes;
    stream.next_out = memory;
    stream.avail_out = (uInt)bound;
    int result = deflate(&stream, Z_FINISH);
    out->nbytes += stream.total_out;
    deflateEnd(&stream);
    return result == Z_STREAM_END ? SQZ_OK : no_memory(err);
}

enum sqz_status sqz_container_inflate(const struct sqz_container_file *file, struct sqz_buffer *out,
                                      struct sqz_error *err) {
    z_stream stream = {.zalloc = zlib_alloc, .zfree = zlib_free};
    uint8_t *memory = sqz_buffer_reserve(out, file->graph_nbytes);
    if (!memory || inflateInit2(&stream, RAW_WINDOW_BITS) != Z_OK) return no_memory(err);
    stream.next_in = (Bytef *)(uintptr_t)file->deflated;
    stream.avail_in = (uInt)file->deflated_nbytes;
    stream.next_out = memory;
    stream.avail_out = (uInt)file->graph_nbytes;
    int result = inflate(&stream, Z_FINISH);
    bool complete = result == Z_STREAM_END && stream.avail_in == 0 && stream.avail_out == 0;
    inflateEnd(&stream);
    if (result == Z_MEM_ERROR) return no_memory(err);
    if (!complete) return sqz_fail(err, SQZ_MALFORMED, "the deflated graph is damaged or not of the size it states");
    out->nbytes += file->graph_nbytes;
    return SQZ_OK;
}

/* ---- the frame ----------------------------------------------------------------------- */

/* Lengths and checksums of the sections; their places follow once the header's end is known. */
static enum sqz_status read_index(struct sqz_container_file *file, struct sqz_reader *in, struct sqz_error *err) {
    uint64_t n = sqz_read_varint(in);
    if (n > SQZ_MAX_WEIGHTS) return sqz_fail(err, SQZ_LIMIT, "the index has more than %d tensors", SQZ_MAX_WEIGHTS);
    /* An index entry takes five bytes at the least. */
    if (in->failed || n > sqz_reader_left(in) / 5) return sqz_fail(err, SQZ_TRUNCATED, "the file ends in its index");
    file->sections = sqz_alloc0((size_t)n, sizeof *file->sections);
    if (!file->sections) return no_memory(err);
    file->n_sections = (size_t)n;
    for (size_t i = 0; i < file->n_sections; i++) {
        uint64_t nbytes = sqz_read_varint(in);
        file->sections[i].crc = sqz_read_u32(in);
        if (in->failed) return sqz_fail(err, SQZ_TRUNCATED, "the file ends in its index");
        if (nbytes > SIZE_MAX) return sqz_fail(err, SQZ_LIMIT, "section %zu is too large", i);
        file->sections[i].nbytes = (size_t)nbytes;
    }
    return SQZ_OK;
}

static enum sqz_status read_header(struct sqz_container_file *file, struct sqz_reader *in, struct sqz_error *err) {
    uint64_t graph_nbytes = sqz_read_varint(in), deflated_nbytes = sqz_read_varint(in);
    SQZ_TRY(read_index(file, in, err));
    file->deflated = deflated_nbytes <= SIZE_MAX ? sqz_read_bytes(in, (size_t)deflated_nbytes) : NULL;
    if (!file->deflated) return sqz_fail(err, SQZ_TRUNCATED, "the file ends in its graph");
    uint32_t computed = sqz_crc32(in->data, in->offset), stored = sqz_read_u32(in);
    if (in->failed) return sqz_fail(err, SQZ_TRUNCATED, "the file ends before its header's checksum");
    if (computed != stored) return sqz_fail(err, SQZ_CHECKSUM, "the checksum of the header does not match");
    file->deflated_nbytes = (size_t)deflated_nbytes;
    if (graph_nbytes > SQZ_CONTAINER_MAX_GRAPH || graph_nbytes / SQZ_DEFLATE_MAX_RATIO > deflated_nbytes)
        return sqz_fail(err, SQZ_LIMIT, "the graph claims to take %llu bytes", (unsigned long long)graph_nbytes);
    file->graph_nbytes = (size_t)graph_nbytes;
    return SQZ_OK;
}

enum sqz_status sqz_container_file_open(struct sqz_container_file *file, const void *data, size_t nbytes,
                                        struct sqz_error *err) {
    *file = (struct sqz_container_file){0};
    if (!sqz_container_probe(data, nbytes)) return sqz_fail(err, SQZ_UNKNOWN_FORMAT, "not a .sqz file");
    struct sqz_reader in = sqz_reader_make(data, nbytes);
    sqz_read_bytes(&in, SQZ_CONTAINER_MAGIC_NBYTES);
    unsigned version = sqz_read_u8(&in);
    if (in.failed) return sqz_fail(err, SQZ_TRUNCATED, "the file ends in its header");
    if (version != SQZ_CONTAINER_VERSION)
        return sqz_fail(err, SQZ_VERSION, "version %u of the .sqz format is not known", version);
    SQZ_TRY(read_header(file, &in, err));
    for (size_t i = 0; i < file->n_sections; i++) {
        file->sections[i].data = sqz_read_bytes(&in, file->sections[i].nbytes);
        if (!file->sections[i].data)
            return sqz_fail(err, SQZ_TRUNCATED, "section %zu of %zu runs past the end of the file at byte %zu", i,
                            file->n_sections, in.nbytes);
    }
    if (sqz_reader_left(&in))
        return sqz_fail(err, SQZ_MALFORMED, "%zu bytes follow the last section at byte %zu", sqz_reader_left(&in),
                        in.offset);
    return SQZ_OK;
}

void sqz_container_file_close(struct sqz_container_file *file) {
    sqz_free(file->sections);
    *file = (struct sqz_container_file){0};
}
