/* codebook_lookup_neon.h - the part of codebook_lookup.h for four lanes: bytes of a table in registers, by TBL. */
#ifndef SQZ_EVAL_CODEBOOK_LOOKUP_NEON_H
#define SQZ_EVAL_CODEBOOK_LOOKUP_NEON_H

typedef uint32x4_t word_vec;

/* The part of a table that lookup() wants in registers: none where it fetches from memory. */
INLINE void table_load(const float *entries, vec *table, const int bits) {
    const int n = bits <= 2 ? 1 : bits == 3 ? 2 : bits == 4 ? 4 : 8;
#pragma GCC unroll 8
    for (int i = 0; bits <= 5 && i < n; i++) table[i] = vec_load(entries + i * LANES);
}

INLINE word_vec words_load(const float *p) {
    return vreinterpretq_u32_f32(vld1q_f32(p));
}

INLINE word_vec words_shift(word_vec words, size_t nbits) {
    return vshlq_u32(words, vdupq_n_s32(-(int)nbits));
}

INLINE uint8x16x4_t table_bytes(const vec *table) {
    return (uint8x16x4_t){{vreinterpretq_u8_f32(table[0]), vreinterpretq_u8_f32(table[1]),
                           vreinterpretq_u8_f32(table[2]), vreinterpretq_u8_f32(table[3])}};
}

/* Number `k` of each word. TBL looks up single bytes, so an index becomes those of the four bytes of its float. */
INLINE vec lookup(const float *entries, const vec *table, word_vec words, const int bits, const int k) {
    word_vec index = vandq_u32(words_shift(words, (size_t)(k * bits)), vdupq_n_u32((1u << bits) - 1));
    if (bits > 5) {
        vec values = vld1q_dup_f32(entries + vgetq_lane_u32(index, 0));
        values = vld1q_lane_f32(entries + vgetq_lane_u32(index, 1), values, 1);
        values = vld1q_lane_f32(entries + vgetq_lane_u32(index, 2), values, 2);
        return vld1q_lane_f32(entries + vgetq_lane_u32(index, 3), values, 3);
    }
    uint8x16_t bytes = vreinterpretq_u8_u32(vmlaq_u32(vdupq_n_u32(0x03020100), index, vdupq_n_u32(0x04040404)));
    if (bits <= 2) return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(table[0]), bytes));
    if (bits == 3) {
        uint8x16x2_t pair = {{vreinterpretq_u8_f32(table[0]), vreinterpretq_u8_f32(table[1])}};
        return vreinterpretq_f32_u8(vqtbl2q_u8(pair, bytes));
    }
    uint8x16_t values = vqtbl4q_u8(table_bytes(table), bytes);
    /* Bytes from 64 on leave what the first half of the table gave, and those below find nothing in the second. */
    if (bits == 5) values = vqtbx4q_u8(values, table_bytes(table + 4), vsubq_u8(bytes, vdupq_n_u8(64)));
    return vreinterpretq_f32_u8(values);
}

#endif
