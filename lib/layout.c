/* layout.c - a lane of symbols as a stream of positions and a stream of values. */
#include "lib/layout.h"

#include <string.h>

#include "lib/gaps.h"

static void split_bitmap(unsigned width, const uint16_t *symbols, size_t n, struct sqz_tokens *tokens) {
    size_t n_words = 0, n_values = 0;
    for (size_t i = 0; i < n; i += width) {
        size_t end = n - i < width ? n - i : width;
        unsigned word = 0;
        for (size_t j = 0; j < end; j++) {
            unsigned set = symbols[i + j] != 0;
            word |= set << j;
            tokens->values[n_values] = (uint16_t)(symbols[i + j] - 1);
            n_values += set;
        }
        tokens->positions[n_words++] = (uint16_t)word;
    }
    tokens->n_positions = n_words;
    tokens->n_values = n_values;
}

void sqz_layout_split(enum sqz_layout layout, unsigned width, const uint16_t *symbols, size_t n,
                      struct sqz_tokens *tokens) {
    switch (layout) {
    case SQZ_LAYOUT_BITMAP:
        split_bitmap(width, symbols, n, tokens);
        break;
    case SQZ_LAYOUT_GAPS:
        tokens->n_positions = sqz_gaps_encode(symbols, n, width, tokens->positions, tokens->values);
        tokens->n_values = tokens->n_positions;
        break;
    default:
        if (n) memcpy(tokens->values, symbols, n * sizeof *symbols);
        tokens->n_positions = 0;
        tokens->n_values = n;
        break;
    }
}

bool sqz_bitmap_count(const uint16_t *words, unsigned width, size_t n, size_t *n_set) {
    size_t n_words = n / width, set = 0;
    for (size_t i = 0; i < n_words; i++) set += (size_t)__builtin_popcount(words[i]);
    if (n % width) {
        if (words[n_words] >> (n % width)) return false;
        set += (size_t)__builtin_popcount(words[n_words]);
    }
    *n_set = set;
    return true;
}

void sqz_bitmap_place(const uint16_t *words, unsigned width, const uint16_t *values, uint16_t *symbols, size_t n) {
    /* No branch depends on a bit: half of them would be guessed wrong. */
    size_t used = 0;
    for (size_t i = 0, word = 0; i < n; i += width, word++) {
        size_t length = n - i < width ? n - i : width;
        unsigned bits = words[word];
        for (size_t j = 0; j < length; j++, bits >>= 1) {
            unsigned set = bits & 1;
            symbols[i + j] = (uint16_t)((values[used] + 1u) & -set);
            used += set;
        }
    }
}

size_t sqz_tuple_pack(uint16_t *values, size_t n, unsigned base, unsigned tuple) {
    if (tuple == 1) return n;
    size_t n_tuples = 0;
    for (size_t i = 0; i < n; i += tuple) {
        size_t end = n - i < tuple ? n - i : tuple;
        unsigned packed = 0;
        for (size_t j = end; j-- > 0;) packed = packed * base + values[i + j];
        values[n_tuples++] = (uint16_t)packed;
    }
    return n_tuples;
}

void sqz_tuple_digits(unsigned base, unsigned tuple, uint8_t *digits) {
    size_t n = sqz_tuple_symbols(base, tuple);
    for (size_t i = 0; i < n; i++) {
        size_t rest = i;
        for (unsigned j = 0; j < tuple; j++) {
            digits[i * tuple + j] = (uint8_t)(rest % base);
            rest /= base;
        }
    }
}

void sqz_tuple_unpack(const uint16_t *tuples, const uint8_t *digits, unsigned tuple, uint16_t *values, size_t n) {
    size_t i = 0;
    for (; n - i >= tuple; i += tuple, tuples++)
        for (unsigned j = 0; j < tuple; j++) values[i + j] = digits[(size_t)*tuples * tuple + j];
    for (unsigned j = 0; i + j < n; j++) values[i + j] = digits[(size_t)*tuples * tuple + j];
}

size_t sqz_tuple_symbols(size_t base, unsigned tuple) {
    size_t n = base;
    for (unsigned i = 1; i < tuple; i++) {
        n *= base;
        if (n > SQZ_TUPLE_MAX_SYMBOLS) return 0;
    }
    return n;
}
