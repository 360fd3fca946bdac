/* range_coder.h - a binary range coder (Martin 1979, carries propagated into the bytes written) and adaptive bits. */
#ifndef SQZ_LIB_RANGE_CODER_H
#define SQZ_LIB_RANGE_CODER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lib/bytes.h"

/*
 * Probabilities are those of a one bit in 1/65536, from 1 to 65535. The
 * encoder holds an interval [low, low + range) of 64-bit fractions and keeps
 * range in [2^31, 2^63): the split then loses less than 2^-14 of a bit, and
 * the decoder can compare by the sign of a difference.
 */
#define SQZ_RANGE_START (((uint64_t)1 << 63) - 1)
#define SQZ_RANGE_MIN_NBITS 31

struct sqz_range_encoder {
    struct sqz_buffer *out;
    size_t start; /* of this stream in out */
    uint64_t low, range;
};

void sqz_range_encoder_start(struct sqz_range_encoder *encoder, struct sqz_buffer *out);

/* Write the fewest bytes that lie in the interval, and drop zeros at the end: a decoder invents them again. */
void sqz_range_encoder_finish(struct sqz_range_encoder *encoder);

/* Add one to the number that the bytes written so far spell. */
void sqz_range_encoder_carry(struct sqz_range_encoder *encoder);

/* Move the upper half of low to the output. */
void sqz_range_encoder_shift(struct sqz_range_encoder *encoder);

static inline void sqz_range_encode(struct sqz_range_encoder *encoder, uint32_t p_one, unsigned bit) {
    uint64_t bound = (encoder->range >> 16) * p_one;
    if (bit) {
        encoder->range = bound;
    } else {
        if (__builtin_add_overflow(encoder->low, bound, &encoder->low)) sqz_range_encoder_carry(encoder);
        encoder->range -= bound;
    }
    if (encoder->range >> SQZ_RANGE_MIN_NBITS == 0) sqz_range_encoder_shift(encoder);
}

struct sqz_range_decoder {
    uint64_t code, range; /* code is relative to the interval's low end */
    const uint8_t *next, *end;
};

/* Four bytes, the first one highest; zeros behind the end. */
static inline uint32_t sqz_range_decoder_word(struct sqz_range_decoder *decoder) {
    uint32_t word = 0;
    if (decoder->end - decoder->next >= 4) {
        memcpy(&word, decoder->next, 4);
        decoder->next += 4;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        word = __builtin_bswap32(word);
#endif
        return word;
    }
    for (int i = 0; i < 4; i++) word = word << 8 | (decoder->next < decoder->end ? *decoder->next++ : 0u);
    return word;
}

/* False when the bytes begin with a number outside the interval, which no encoder writes; then decoding is void. */
static inline bool sqz_range_decoder_start(struct sqz_range_decoder *decoder, const uint8_t *data, size_t nbytes) {
    decoder->next = data;
    decoder->end = data + nbytes;
    decoder->range = SQZ_RANGE_START;
    decoder->code = (uint64_t)sqz_range_decoder_word(decoder) << 32;
    decoder->code |= sqz_range_decoder_word(decoder);
    return decoder->code < SQZ_RANGE_START;
}

static inline unsigned sqz_range_decode(struct sqz_range_decoder *decoder, uint32_t p_one) {
    uint64_t bound = (decoder->range >> 16) * p_one, rest = decoder->range - bound, above = decoder->code - bound;
    /* All ones when the bit is 1. Masks, because compilers make branches of conditions, and these cannot be predicted.
     */
    uint64_t one = (uint64_t)((int64_t)above >> 63);
    decoder->code = above + (bound & one);
    decoder->range = rest ^ ((rest ^ bound) & one);
    if (decoder->range >> SQZ_RANGE_MIN_NBITS == 0) {
        decoder->range <<= 32;
        decoder->code = decoder->code << 32 | sqz_range_decoder_word(decoder);
    }
    return (unsigned)(one & 1);
}

/* Bits of information taken from the stream so far, to within one. */
uint64_t sqz_range_decoder_nbits(const struct sqz_range_decoder *decoder, const uint8_t *start);

/* A probability that learns: the step is 1/(times seen + 2), at the least 1/32. Starts at one half. */
struct sqz_adaptive_bit {
    uint16_t p_one;
    uint16_t divisor;
};

#define SQZ_ADAPTIVE_BIT_START ((struct sqz_adaptive_bit){32768, 2})
#define SQZ_ADAPTIVE_BIT_SLOWEST 32

static inline void sqz_adaptive_bit_learn(struct sqz_adaptive_bit *a, unsigned bit) {
    if (bit)
        a->p_one = (uint16_t)(a->p_one + (65536u - a->p_one) / a->divisor);
    else
        a->p_one = (uint16_t)(a->p_one - a->p_one / a->divisor);
    if (a->divisor < SQZ_ADAPTIVE_BIT_SLOWEST) a->divisor++;
}

#endif
