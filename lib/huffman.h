/* huffman.h - canonical, length-limited Huffman codes (Larmore and Hirschberg's package-merge, J. ACM 37(3), 1990). */
#ifndef SQZ_LIB_HUFFMAN_H
#define SQZ_LIB_HUFFMAN_H

#include <stddef.h>
#include <stdint.h>

#include "lib/bitstream.h"
#include "lib/status.h"

/* Longest code: a decoding table of 2^15 entries still fits in a second-level cache. */
#define SQZ_HUFFMAN_MAX_LENGTH 15

/* Enough for every uniform level (2 * SQZ_MAX_LEVEL + 1). */
#define SQZ_HUFFMAN_MAX_SYMBOLS 16384

/*
 * Optimal code lengths of at most `limit` bits for counts[n]. A symbol that
 * does not occur gets 0. With a single symbol in use it gets 1, though it
 * costs no bits. At most 2^limit counts may be other than 0.
 * SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_huffman_lengths(const uint64_t *counts, size_t n, unsigned limit, uint8_t *lengths,
                                    struct sqz_error *err);

/*
 * The limit that encoders use for n symbols: 12 keeps the decoding table in a
 * first-level cache, and three bits above a fixed-length code cost well under
 * 1% on any histogram.
 */
unsigned sqz_huffman_limit(size_t n);

/* Bits that counts[n] take with these lengths; none when a single symbol is in use. */
uint64_t sqz_huffman_cost(const uint64_t *counts, const uint8_t *lengths, size_t n);

/*
 * Canonical codes: shorter before longer, equal lengths in symbol order. The
 * first bit of a code is bit 0 of codes[i]. A single symbol gets the code of
 * zero bits: its length is set to 0 in `emit_lengths`, otherwise a copy of lengths.
 */
void sqz_huffman_codes(const uint8_t *lengths, size_t n, uint16_t *codes, uint8_t *emit_lengths);

struct sqz_huffman_decoder {
    uint32_t *table; /* [2^n_bits]: symbol << 16 | length */
    unsigned n_bits; /* longest code */
    size_t n_used;   /* symbols with a code */
    uint16_t only;   /* the symbol, when n_used is 1 */
};

/*
 * Table for lengths[n]. SQZ_MALFORMED when they over-subscribe or do not fill
 * the code space (a single symbol of length 1 and no symbol at all are the two
 * exceptions), SQZ_OUT_OF_MEMORY. `what` names the table in messages.
 */
enum sqz_status sqz_huffman_decoder_init(struct sqz_huffman_decoder *decoder, const uint8_t *lengths, size_t n,
                                         const char *what, struct sqz_error *err);
void sqz_huffman_decoder_free(struct sqz_huffman_decoder *decoder);

#define SQZ_HUFFMAN_LANES 4

/*
 * Decode counts[k] symbols from each of n_lanes (1..SQZ_HUFFMAN_LANES)
 * readers into out[k]. Lanes are worked on at the same time because each is a
 * chain of dependent loads. The decoder must not be empty unless all counts are 0.
 */
void sqz_huffman_decode(const struct sqz_huffman_decoder *decoder, struct sqz_bit_reader *readers, const size_t *counts,
                        uint16_t *const *out, size_t n_lanes);

#endif
