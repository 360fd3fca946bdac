/* container_file.h - the frame of a .sqz file: header, index, graph. Private to the container. */
#ifndef SQZ_LIB_CONTAINER_FILE_H
#define SQZ_LIB_CONTAINER_FILE_H

#include "lib/bytes.h"
#include "lib/container.h"

#define SQZ_CONTAINER_MAGIC "SQZ\x1a"
#define SQZ_CONTAINER_MAGIC_NBYTES 4
#define SQZ_CONTAINER_VERSION 1

/* A graph is some tens of bytes for each node and class; this is far above SQZ_MAX_NODES of them. */
#define SQZ_CONTAINER_MAX_GRAPH ((size_t)64 << 20)

/* No deflate stream expands by more (a match of 258 bytes takes two bits). */
#define SQZ_DEFLATE_MAX_RATIO 1032

struct sqz_section {
    const uint8_t *data;
    size_t nbytes;
    uint32_t crc;
};

/* A file whose header has been verified; sections are in place but not yet checked. */
struct sqz_container_file {
    size_t graph_nbytes;     /* inflated */
    const uint8_t *deflated; /* the graph */
    size_t deflated_nbytes;
    size_t n_sections;
    struct sqz_section *sections; /* owned */
};

/* SQZ_UNKNOWN_FORMAT, SQZ_VERSION, SQZ_TRUNCATED, SQZ_CHECKSUM, SQZ_LIMIT, SQZ_MALFORMED. Close it in every case. */
enum sqz_status sqz_container_file_open(struct sqz_container_file *file, const void *data, size_t nbytes,
                                        struct sqz_error *err);
void sqz_container_file_close(struct sqz_container_file *file);

/* The inflated graph into out. */
enum sqz_status sqz_container_inflate(const struct sqz_container_file *file, struct sqz_buffer *out,
                                      struct sqz_error *err);

/* Raw deflate of data appended to out. */
enum sqz_status sqz_container_deflate(const void *data, size_t nbytes, struct sqz_buffer *out, struct sqz_error *err);

/* CRC-32 as in zlib and PNG, of any length. */
uint32_t sqz_crc32(const void *data, size_t nbytes);

#endif
