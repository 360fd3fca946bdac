/* bytes.c - a bounded read cursor and a growing write buffer, little-endian. */
#include "lib/bytes.h"

#include <string.h>

#include "lib/memory.h"

const uint8_t *sqz_read_bytes(struct sqz_reader *r, size_t n) {
    if (r->failed || n > r->nbytes - r->offset) {
        r->failed = true;
        return NULL;
    }
    const uint8_t *p = r->data + r->offset;
    r->offset += n;
    return p;
}

static uint64_t read_le(struct sqz_reader *r, size_t n) {
    const uint8_t *p = sqz_read_bytes(r, n);
    uint64_t v = 0;
    if (p)
        for (size_t i = 0; i < n; i++) v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t sqz_read_u8(struct sqz_reader *r) {
    return (uint8_t)read_le(r, 1);
}

uint16_t sqz_read_u16(struct sqz_reader *r) {
    return (uint16_t)read_le(r, 2);
}

uint32_t sqz_read_u32(struct sqz_reader *r) {
    return (uint32_t)read_le(r, 4);
}

uint64_t sqz_read_u64(struct sqz_reader *r) {
    return read_le(r, 8);
}

float sqz_read_f32(struct sqz_reader *r) {
    uint32_t bits = sqz_read_u32(r);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

uint64_t sqz_read_varint(struct sqz_reader *r) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = sqz_read_u8(r);
        if (r->failed) return 0;
        if (shift == 63 && byte > 1) break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return v;
    }
    r->failed = true;
    return 0;
}

uint8_t *sqz_buffer_reserve(struct sqz_buffer *b, size_t n) {
    if (b->failed) return NULL;
    if (b->capacity - b->nbytes >= n && b->data) return b->data + b->nbytes;
    size_t need, capacity = b->capacity < 256 ? 256 : b->capacity;
    if (!sqz_add_size(b->nbytes, n, &need)) {
        b->failed = true;
        return NULL;
    }
    while (capacity < need) {
        if (!sqz_add_size(capacity, capacity / 2, &capacity)) {
            b->failed = true;
            return NULL;
        }
    }
    uint8_t *data = sqz_realloc(b->data, capacity, 1);
    if (!data) {
        b->failed = true;
        return NULL;
    }
    b->data = data;
    b->capacity = capacity;
    return b->data + b->nbytes;
}

void sqz_put_bytes(struct sqz_buffer *b, const void *data, size_t nbytes) {
    uint8_t *p = sqz_buffer_reserve(b, nbytes);
    if (!p) return;
    if (nbytes) memcpy(p, data, nbytes);
    b->nbytes += nbytes;
}

static void put_le(struct sqz_buffer *b, uint64_t v, size_t n) {
    uint8_t *p = sqz_buffer_reserve(b, n);
    if (!p) return;
    for (size_t i = 0; i < n; i++) p[i] = (uint8_t)(v >> (8 * i));
    b->nbytes += n;
}

void sqz_put_u8(struct sqz_buffer *b, uint8_t v) {
    put_le(b, v, 1);
}

void sqz_put_u16(struct sqz_buffer *b, uint16_t v) {
    put_le(b, v, 2);
}

void sqz_put_u32(struct sqz_buffer *b, uint32_t v) {
    put_le(b, v, 4);
}

void sqz_put_u64(struct sqz_buffer *b, uint64_t v) {
    put_le(b, v, 8);
}

void sqz_put_f32(struct sqz_buffer *b, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    sqz_put_u32(b, bits);
}

void sqz_put_varint(struct sqz_buffer *b, uint64_t v) {
    while (v >= 0x80) {
        sqz_put_u8(b, (uint8_t)(v | 0x80));
        v >>= 7;
    }
    sqz_put_u8(b, (uint8_t)v);
}

enum sqz_status sqz_buffer_status(const struct sqz_buffer *b, struct sqz_error *err) {
    if (b->failed) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    return SQZ_OK;
}

void sqz_buffer_free(struct sqz_buffer *b) {
    sqz_free(b->data);
    *b = (struct sqz_buffer){0};
}
