/*
 * codebook_lookup.h - numbers of a few bits to the floats they stand for; included behind simd_ISA.h.
 *
 * A word of 32 bits holds 32 / bits numbers, the first in the lowest bits. A
 * permute instruction ignores all but the lowest bits of its index, so that
 * one shift brings a number into place and nothing needs to be masked off.
 */
#ifndef SQZ_EVAL_CODEBOOK_LOOKUP_H
#define SQZ_EVAL_CODEBOOK_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

/* Floats of a table in memory, whatever the bits; short ones are repeated as far as a permute can reach. */
#define SQZ_TABLE_COUNT 256

/* Bits that number n_values values: one of the widths that have code. */
static inline size_t codebook_bits(size_t n_values) {
    return n_values <= 4 ? 2 : n_values <= 8 ? 3 : n_values <= 16 ? 4 : n_values <= 32 ? 5 : n_values <= 64 ? 6 : 8;
}

/* X(bits) for each of them. */
#define FOR_CODEBOOK_BITS(X) X(2) X(3) X(4) X(5) X(6) X(8)

#endif

#if LANES == 16

typedef __m512i word_vec;
typedef uint32_t word_lanes __attribute__((vector_size(64)));

/* The part of a table that lookup() wants in registers. */
INLINE void table_load(const float *entries, vec *table, const int bits) {
    const int n = bits <= 4 ? 1 : bits == 5 ? 2 : bits == 6 ? 4 : 16;
#pragma GCC unroll 16
    for (int i = 0; i < n; i++) table[i] = vec_load(entries + i * LANES);
}

INLINE word_vec words_load(const float *p) {
    return _mm512_loadu_si512(p);
}

INLINE word_vec words_shift(word_vec words, size_t nbits) {
    return _mm512_srl_epi32(words, _mm_cvtsi32_si128((int)nbits));
}

/* Of 32 entries, by the lowest five bits. */
INLINE vec lookup_32(const vec *table, word_vec index) {
    return _mm512_permutex2var_ps(table[0], index, table[1]);
}

/* Of 64 entries, by the lowest six bits. */
INLINE vec lookup_64(const vec *table, word_vec index) {
    __mmask16 upper = _mm512_test_epi32_mask(index, _mm512_set1_epi32(32));
    return _mm512_mask_blend_ps(upper, lookup_32(table, index), lookup_32(table + 2, index));
}

/* Number `k` of each word. `entries` is the table in memory, `table` in registers. */
INLINE vec lookup(const float *entries, const vec *table, word_vec words, const int bits, const int k) {
    (void)entries;
    /* By the compiler's own operator: the intrinsic for it wants a literal number where nothing is optimised. */
    word_vec index = (word_vec)((word_lanes)words >> (unsigned)(k * bits));
    if (bits <= 4) return _mm512_permutexvar_ps(index, table[0]);
    if (bits == 5) return lookup_32(table, index);
    if (bits == 6) return lookup_64(table, index);
    __mmask16 bit6 = _mm512_test_epi32_mask(index, _mm512_set1_epi32(64));
    __mmask16 bit7 = _mm512_test_epi32_mask(index, _mm512_set1_epi32(128));
    vec low = _mm512_mask_blend_ps(bit6, lookup_64(table, index), lookup_64(table + 4, index));
    vec high = _mm512_mask_blend_ps(bit6, lookup_64(table + 8, index), lookup_64(table + 12, index));
    return _mm512_mask_blend_ps(bit7, low, high);
}

#elif LANES == 4

#include "eval/codebook_lookup_neon.h"

#else

typedef __m256i word_vec;

/* The part of a table that lookup() wants in registers: none where it fetches from memory. */
INLINE void table_load(const float *entries, vec *table, const int bits) {
    const int n = bits <= 3 ? 1 : bits == 4 ? 2 : 4;
    if (bits > 5) return;
#pragma GCC unroll 4
    for (int i = 0; i < n; i++) table[i] = vec_load(entries + i * LANES);
}

INLINE word_vec words_load(const float *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

INLINE word_vec words_shift(word_vec words, size_t nbits) {
    return _mm256_srl_epi32(words, _mm_cvtsi32_si128((int)nbits));
}

/* Of 16 entries, by the lowest four bits; bit 3 is the sign of `bit3`. */
INLINE vec lookup_16(const vec *table, word_vec index, vec bit3) {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(table[0], index), _mm256_permutevar8x32_ps(table[1], index), bit3);
}

/* Number `k` of each word. Beyond five bits the permutes and blends cost more than fetching from the table. */
INLINE vec lookup(const float *entries, const vec *table, word_vec words, const int bits, const int k) {
    word_vec index = _mm256_srli_epi32(words, k * bits);
    if (bits > 5) return _mm256_i32gather_ps(entries, _mm256_and_si256(index, _mm256_set1_epi32((1 << bits) - 1)), 4);
    if (bits <= 3) return _mm256_permutevar8x32_ps(table[0], index);
    vec bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 28));
    vec low = lookup_16(table, index, bit3);
    if (bits == 4) return low;
    vec bit4 = _mm256_castsi256_ps(_mm256_slli_epi32(index, 27));
    return _mm256_blendv_ps(low, lookup_16(table + 2, index, bit3), bit4);
}

#endif
