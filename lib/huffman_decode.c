/* huffman_decode.c - table-driven decoding of several Huffman streams at once. */
#include "lib/huffman.h"

/* Symbols between two refills: 3 * SQZ_HUFFMAN_MAX_LENGTH fits in the 56 bits that a refill guarantees. */
#define SYMBOLS_PER_REFILL 3

static inline uint16_t decode_symbol(const uint32_t *table, uint64_t mask, struct sqz_bit_reader *reader) {
    uint32_t entry = table[reader->bits & mask];
    reader->bits >>= entry & 0xff;
    reader->n_bits -= entry & 0xff;
    return (uint16_t)(entry >> 16);
}

static void decode_lane(const struct sqz_huffman_decoder *decoder, struct sqz_bit_reader *reader, size_t count,
                        uint16_t *out) {
    const uint64_t mask = ((uint64_t)1 << decoder->n_bits) - 1;
    for (size_t i = 0; i < count; i++) {
        if (reader->n_bits < SQZ_HUFFMAN_MAX_LENGTH) sqz_bit_refill(reader);
        out[i] = decode_symbol(decoder->table, mask, reader);
    }
}

/* A refill by one unaligned load; the caller has made sure of 8 bytes. */
static inline void refill_inside(struct sqz_bit_reader *reader) {
    reader->bits |= sqz_load_le64(reader->next) << reader->n_bits;
    reader->next += (63 - reader->n_bits) >> 3;
    reader->n_bits |= 56;
}

static inline bool has_word(const struct sqz_bit_reader *reader) {
    return reader->end - reader->next >= 8;
}

/* Decode from all four lanes until one is short of symbols or bytes; returns the number of symbols of each. */
static size_t decode_four(const struct sqz_huffman_decoder *decoder, struct sqz_bit_reader *readers, size_t count,
                          uint16_t *const *out) {
    const uint32_t *table = decoder->table;
    const uint64_t mask = ((uint64_t)1 << decoder->n_bits) - 1;
    struct sqz_bit_reader a = readers[0], b = readers[1], c = readers[2], d = readers[3];
    uint16_t *out_a = out[0], *out_b = out[1], *out_c = out[2], *out_d = out[3];
    size_t done = 0;
    while (count - done >= SYMBOLS_PER_REFILL && has_word(&a) && has_word(&b) && has_word(&c) && has_word(&d)) {
        refill_inside(&a);
        refill_inside(&b);
        refill_inside(&c);
        refill_inside(&d);
        for (size_t i = done; i < done + SYMBOLS_PER_REFILL; i++) {
            out_a[i] = decode_symbol(table, mask, &a);
            out_b[i] = decode_symbol(table, mask, &b);
            out_c[i] = decode_symbol(table, mask, &c);
            out_d[i] = decode_symbol(table, mask, &d);
        }
        done += SYMBOLS_PER_REFILL;
    }
    readers[0] = a;
    readers[1] = b;
    readers[2] = c;
    readers[3] = d;
    return done;
}

void sqz_huffman_decode(const struct sqz_huffman_decoder *decoder, struct sqz_bit_reader *readers, const size_t *counts,
                        uint16_t *const *out, size_t n_lanes) {
    if (decoder->n_used <= 1) {
        for (size_t k = 0; k < n_lanes; k++)
            for (size_t i = 0; i < counts[k]; i++) out[k][i] = decoder->only;
        return;
    }
    size_t done = 0;
    if (n_lanes == SQZ_HUFFMAN_LANES) {
        size_t shortest = counts[0];
        for (size_t k = 1; k < n_lanes; k++)
            if (counts[k] < shortest) shortest = counts[k];
        done = decode_four(decoder, readers, shortest, out);
    }
    for (size_t k = 0; k < n_lanes; k++) decode_lane(decoder, &readers[k], counts[k] - done, out[k] + done);
}
