/* huffman.c - code lengths and canonical codes. */
#include "lib/huffman.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"

struct leaf {
    uint64_t count;
    uint32_t symbol;
};

static int by_count_then_symbol(const void *a, const void *b) {
    const struct leaf *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? -1 : 1;
    return x->symbol < y->symbol ? -1 : x->symbol > y->symbol;
}

/*
 * One level of package-merge: merge the leaves with the pairs of the level
 * below, cheapest first, and note which items are leaves. Returns the number of items.
 */
static size_t merge_level(const struct leaf *leaves, size_t n_leaves, const uint64_t *below, size_t n_below,
                          uint64_t *items, uint8_t *is_leaf) {
    size_t n_pairs = n_below / 2, leaf = 0, pair = 0, n = 0;
    while (leaf < n_leaves || pair < n_pairs) {
        uint64_t pair_count = pair < n_pairs ? below[2 * pair] + below[2 * pair + 1] : 0;
        is_leaf[n] = leaf < n_leaves && (pair == n_pairs || leaves[leaf].count <= pair_count);
        if (is_leaf[n])
            items[n++] = leaves[leaf++].count;
        else {
            items[n++] = pair_count;
            pair++;
        }
    }
    return n;
}

/* The 2(n-1) cheapest items of the last level are the code; count how often each leaf is among them and below them. */
static enum sqz_status package_merge(const struct leaf *leaves, size_t n_leaves, unsigned limit, uint8_t *lengths,
                                     struct sqz_error *err) {
    size_t row = 2 * n_leaves;
    uint64_t *items = sqz_alloc(2 * row, sizeof *items);
    uint8_t *is_leaf = sqz_alloc(limit * row, 1);
    if (!items || !is_leaf) {
        sqz_free(items);
        sqz_free(is_leaf);
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    }
    uint64_t *below = items, *here = items + row;
    size_t n_below = 0;
    for (unsigned level = 0; level < limit; level++) {
        n_below = merge_level(leaves, n_leaves, below, n_below, here, is_leaf + level * row);
        uint64_t *swap = below;
        below = here;
        here = swap;
    }
    size_t active = 2 * (n_leaves - 1);
    for (unsigned level = limit; level-- > 0 && active > 0;) {
        size_t n_taken = 0;
        for (size_t i = 0; i < active; i++) n_taken += is_leaf[level * row + i];
        for (size_t i = 0; i < n_taken; i++) lengths[leaves[i].symbol]++;
        active = 2 * (active - n_taken);
    }
    sqz_free(items);
    sqz_free(is_leaf);
    return SQZ_OK;
}

enum sqz_status sqz_huffman_lengths(const uint64_t *counts, size_t n, unsigned limit, uint8_t *lengths,
                                    struct sqz_error *err) {
    memset(lengths, 0, n);
    struct leaf *leaves = sqz_alloc(n, sizeof *leaves);
    if (!leaves) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    size_t n_leaves = 0;
    for (size_t i = 0; i < n; i++)
        if (counts[i]) leaves[n_leaves++] = (struct leaf){counts[i], (uint32_t)i};
    enum sqz_status status = SQZ_OK;
    if (n_leaves == 1) {
        lengths[leaves[0].symbol] = 1;
    } else if (n_leaves > 1) {
        qsort(leaves, n_leaves, sizeof *leaves, by_count_then_symbol);
        status = package_merge(leaves, n_leaves, limit, lengths, err);
    }
    sqz_free(leaves);
    return status;
}

unsigned sqz_huffman_limit(size_t n) {
    unsigned fixed = 0;
    while (((size_t)1 << fixed) < n) fixed++;
    unsigned limit = fixed + 3 > 12 ? fixed + 3 : 12;
    return limit < SQZ_HUFFMAN_MAX_LENGTH ? limit : SQZ_HUFFMAN_MAX_LENGTH;
}

uint64_t sqz_huffman_cost(const uint64_t *counts, const uint8_t *lengths, size_t n) {
    uint64_t n_bits = 0;
    size_t n_used = 0;
    for (size_t i = 0; i < n; i++) {
        n_bits += counts[i] * lengths[i];
        n_used += lengths[i] != 0;
    }
    return n_used > 1 ? n_bits : 0;
}

/* First canonical code of each length, most significant bit first. */
static void first_codes(const uint8_t *lengths, size_t n, uint32_t first[SQZ_HUFFMAN_MAX_LENGTH + 2]) {
    uint32_t n_of_length[SQZ_HUFFMAN_MAX_LENGTH + 1] = {0};
    for (size_t i = 0; i < n; i++) n_of_length[lengths[i]]++;
    n_of_length[0] = 0;
    uint32_t code = 0;
    for (unsigned length = 1; length <= SQZ_HUFFMAN_MAX_LENGTH; length++) {
        code = (code + n_of_length[length - 1]) << 1;
        first[length] = code;
    }
}

static uint32_t reverse_bits(uint32_t code, unsigned length) {
    uint32_t reversed = 0;
    for (unsigned i = 0; i < length; i++) reversed |= (code >> i & 1) << (length - 1 - i);
    return reversed;
}

static size_t count_used(const uint8_t *lengths, size_t n) {
    size_t n_used = 0;
    for (size_t i = 0; i < n; i++) n_used += lengths[i] != 0;
    return n_used;
}

void sqz_huffman_codes(const uint8_t *lengths, size_t n, uint16_t *codes, uint8_t *emit_lengths) {
    uint32_t next[SQZ_HUFFMAN_MAX_LENGTH + 2];
    first_codes(lengths, n, next);
    for (size_t i = 0; i < n; i++) {
        codes[i] = lengths[i] ? (uint16_t)reverse_bits(next[lengths[i]]++, lengths[i]) : 0;
        emit_lengths[i] = lengths[i];
    }
    if (count_used(lengths, n) == 1) {
        memset(emit_lengths, 0, n);
        memset(codes, 0, n * sizeof *codes);
    }
}

/* Kraft's sum must be exactly 1. */
static enum sqz_status check_lengths(const uint8_t *lengths, size_t n, size_t n_used, const char *what,
                                     struct sqz_error *err) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (lengths[i] > SQZ_HUFFMAN_MAX_LENGTH)
            return sqz_fail(err, SQZ_MALFORMED, "the Huffman table of the %s has a code of %u bits", what, lengths[i]);
        if (lengths[i]) sum += (uint64_t)1 << (SQZ_HUFFMAN_MAX_LENGTH - lengths[i]);
    }
    const uint64_t full = (uint64_t)1 << SQZ_HUFFMAN_MAX_LENGTH;
    if (n_used == 0 || (n_used == 1 && sum == full / 2)) return SQZ_OK;
    if (sum > full) return sqz_fail(err, SQZ_MALFORMED, "the Huffman table of the %s is over-subscribed", what);
    if (sum < full) return sqz_fail(err, SQZ_MALFORMED, "the Huffman table of the %s is incomplete", what);
    return SQZ_OK;
}

enum sqz_status sqz_huffman_decoder_init(struct sqz_huffman_decoder *decoder, const uint8_t *lengths, size_t n,
                                         const char *what, struct sqz_error *err) {
    *decoder = (struct sqz_huffman_decoder){.n_used = count_used(lengths, n)};
    SQZ_TRY(check_lengths(lengths, n, decoder->n_used, what, err));
    if (decoder->n_used <= 1) {
        for (size_t i = 0; i < n; i++)
            if (lengths[i]) decoder->only = (uint16_t)i;
        return SQZ_OK;
    }
    for (size_t i = 0; i < n; i++)
        if (lengths[i] > decoder->n_bits) decoder->n_bits = lengths[i];
    uint32_t size = 1u << decoder->n_bits;
    decoder->table = sqz_alloc(size, sizeof *decoder->table);
    if (!decoder->table) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    uint32_t next[SQZ_HUFFMAN_MAX_LENGTH + 2];
    first_codes(lengths, n, next);
    for (size_t i = 0; i < n; i++) {
        if (!lengths[i]) continue;
        uint32_t entry = (uint32_t)i << 16 | lengths[i];
        for (uint32_t at = reverse_bits(next[lengths[i]]++, lengths[i]); at < size; at += 1u << lengths[i])
            decoder->table[at] = entry;
    }
    return SQZ_OK;
}

void sqz_huffman_decoder_free(struct sqz_huffman_decoder *decoder) {
    sqz_free(decoder->table);
    *decoder = (struct sqz_huffman_decoder){0};
}
