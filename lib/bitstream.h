/* bitstream.h - bits packed into bytes, least significant bit first. */
#ifndef SQZ_LIB_BITSTREAM_H
#define SQZ_LIB_BITSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Writes into memory that the caller has reserved: sqz_bit_bytes(total bits) plus SQZ_BIT_SLACK. */
struct sqz_bit_writer {
    uint8_t *start;
    uint8_t *next;
    uint64_t bits; /* not yet written, in the low n_bits */
    unsigned n_bits;
};

/* A flush stores a whole word, of which fewer bytes may count. */
#define SQZ_BIT_SLACK 8

static inline size_t sqz_bit_bytes(uint64_t n_bits) {
    return (size_t)(n_bits / 8 + (n_bits % 8 != 0));
}

static inline uint64_t sqz_load_le64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline void sqz_store_le64(uint8_t *p, uint64_t v) {
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(p, &v, sizeof v);
}

static inline struct sqz_bit_writer sqz_bit_writer_make(uint8_t *memory) {
    return (struct sqz_bit_writer){.start = memory, .next = memory};
}

/* Append the low n bits of value (n at most 32; higher bits of value are zero). */
static inline void sqz_bit_put(struct sqz_bit_writer *w, uint32_t value, unsigned n) {
    w->bits |= (uint64_t)value << w->n_bits;
    w->n_bits += n;
    if (w->n_bits >= 32) {
        sqz_store_le64(w->next, w->bits);
        w->next += 4;
        w->bits >>= 32;
        w->n_bits -= 32;
    }
}

/* Pad the last byte with zeros; the number of bytes written. */
static inline size_t sqz_bit_finish(struct sqz_bit_writer *w) {
    sqz_store_le64(w->next, w->bits);
    w->next += sqz_bit_bytes(w->n_bits);
    return (size_t)(w->next - w->start);
}

/*
 * Reads data[0..nbytes); behind the end there are zeros, whose number is
 * counted, so that the caller asks once, at the end, whether all was right.
 */
struct sqz_bit_reader {
    const uint8_t *next;
    const uint8_t *end;
    uint64_t bits;
    unsigned n_bits;   /* valid in `bits` */
    size_t n_invented; /* bytes of zeros supplied behind the end */
};

static inline struct sqz_bit_reader sqz_bit_reader_make(const uint8_t *data, size_t nbytes) {
    return (struct sqz_bit_reader){.next = data, .end = data + nbytes};
}

/* Afterwards at least 56 bits are valid. */
static inline void sqz_bit_refill(struct sqz_bit_reader *r) {
    if (r->end - r->next >= 8) {
        r->bits |= sqz_load_le64(r->next) << r->n_bits;
        r->next += (63 - r->n_bits) >> 3;
        r->n_bits |= 56;
        return;
    }
    while (r->n_bits < 56) {
        if (r->next < r->end)
            r->bits |= (uint64_t)*r->next++ << r->n_bits;
        else
            r->n_invented++;
        r->n_bits += 8;
    }
}

/* True when exactly the given bytes were read and the padding of the last one is zero. */
static inline bool sqz_bit_at_end(const struct sqz_bit_reader *r) {
    if (r->next != r->end || r->n_invented > r->n_bits / 8) return false;
    unsigned left = r->n_bits - 8 * (unsigned)r->n_invented;
    return left < 8 && (r->bits & ((1u << left) - 1)) == 0;
}

#endif
