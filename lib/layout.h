/* layout.h - a lane of symbols as two streams, one of positions and one of values, in one of three layouts. */
#ifndef SQZ_LIB_LAYOUT_H
#define SQZ_LIB_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Symbol 0 is a zero weight in every layout. Codes are written into files. */
enum sqz_layout {
    SQZ_LAYOUT_DENSE,  /* no positions; a value for every weight */
    SQZ_LAYOUT_BITMAP, /* positions: words of `width` bits, set where a weight is not zero; values: symbol - 1 */
    SQZ_LAYOUT_GAPS,   /* positions: gap fields of `width` bits; values: symbols, 0 for a filler (see gaps.h) */
    SQZ_LAYOUT_COUNT,
};

#define SQZ_LAYOUT_MAX_WIDTH 12

/* Both streams of one lane. Arrays hold as many elements as the lane has symbols. */
struct sqz_tokens {
    uint16_t *positions;
    uint16_t *values;
    size_t n_positions;
    size_t n_values;
};

/* Split symbols[n]. */
void sqz_layout_split(enum sqz_layout layout, unsigned width, const uint16_t *symbols, size_t n,
                      struct sqz_tokens *tokens);

/* Number of survivors that bitmap words announce for n symbols; false when padding bits behind n are set. */
bool sqz_bitmap_count(const uint16_t *words, unsigned width, size_t n, size_t *n_set);

/* Place values (symbol - 1) at the set bits; symbols[n] is written completely. `values` has room for n as well. */
void sqz_bitmap_place(const uint16_t *words, unsigned width, const uint16_t *values, uint16_t *symbols, size_t n);

/*
 * `tuple` values at a time as one number, the first value least significant:
 * sum of value[i] * base^i. The last tuple is filled up with zeros. In place;
 * returns the number of tuples, ceil(n / tuple).
 */
size_t sqz_tuple_pack(uint16_t *values, size_t n, unsigned base, unsigned tuple);

/* digits[base^tuple][tuple], the inverse as a table; base^tuple is at most SQZ_TUPLE_MAX_SYMBOLS. */
void sqz_tuple_digits(unsigned base, unsigned tuple, uint8_t *digits);

/* values[n] from tuples[ceil(n / tuple)]. Surplus digits of the last tuple are ignored. */
void sqz_tuple_unpack(const uint16_t *tuples, const uint8_t *digits, unsigned tuple, uint16_t *values, size_t n);

#define SQZ_TUPLE_MAX 12
#define SQZ_TUPLE_MAX_SYMBOLS 4096

/* base^tuple, or 0 when that exceeds SQZ_TUPLE_MAX_SYMBOLS (a tuple of 1 has no such bound). */
size_t sqz_tuple_symbols(size_t base, unsigned tuple);

#endif
