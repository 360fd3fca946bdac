/* bytes.h - a bounded read cursor and a growing write buffer, little-endian. */
#ifndef SQZ_LIB_BYTES_H
#define SQZ_LIB_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/status.h"

/*
 * Reads from data[0..nbytes). A read past the end sets `failed`, returns zero
 * and moves nothing, so a parser may read a whole header and check once.
 */
struct sqz_reader {
    const uint8_t *data;
    size_t nbytes;
    size_t offset;
    bool failed;
};

static inline struct sqz_reader sqz_reader_make(const void *data, size_t nbytes) {
    return (struct sqz_reader){.data = data, .nbytes = nbytes};
}

static inline size_t sqz_reader_left(const struct sqz_reader *r) {
    return r->nbytes - r->offset;
}

uint8_t sqz_read_u8(struct sqz_reader *r);
uint16_t sqz_read_u16(struct sqz_reader *r);
uint32_t sqz_read_u32(struct sqz_reader *r);
uint64_t sqz_read_u64(struct sqz_reader *r);
float sqz_read_f32(struct sqz_reader *r);

/* Unsigned LEB128 of at most 10 bytes; a longer or overflowing one fails the reader. */
uint64_t sqz_read_varint(struct sqz_reader *r);

/* The next n bytes in place, or NULL (and `failed`) when fewer are left. */
const uint8_t *sqz_read_bytes(struct sqz_reader *r, size_t n);

/* Growing output. All zero is a valid empty buffer; a failed allocation sets `failed` for good. */
struct sqz_buffer {
    uint8_t *data;
    size_t nbytes;
    size_t capacity;
    bool failed;
};

void sqz_put_u8(struct sqz_buffer *b, uint8_t v);
void sqz_put_u16(struct sqz_buffer *b, uint16_t v);
void sqz_put_u32(struct sqz_buffer *b, uint32_t v);
void sqz_put_u64(struct sqz_buffer *b, uint64_t v);
void sqz_put_f32(struct sqz_buffer *b, float v);
void sqz_put_varint(struct sqz_buffer *b, uint64_t v);
void sqz_put_bytes(struct sqz_buffer *b, const void *data, size_t nbytes);

/* Make room for n more bytes and return where they go (nbytes is not advanced), or NULL. */
uint8_t *sqz_buffer_reserve(struct sqz_buffer *b, size_t n);

/* SQZ_OK, or SQZ_OUT_OF_MEMORY when any earlier put failed. */
enum sqz_status sqz_buffer_status(const struct sqz_buffer *b, struct sqz_error *err);

void sqz_buffer_free(struct sqz_buffer *b);

#endif
