/* side_code.c - small numbers, codebooks and Huffman tables as adaptive binary range codes. */
#include "lib/side_code.h"

#include <stdlib.h>

#include "lib/huffman.h"

static void start(struct sqz_side_coder *side) {
    struct sqz_adaptive_bit *bits = (struct sqz_adaptive_bit *)&side->models;
    for (size_t i = 0; i < sizeof side->models / sizeof *bits; i++) bits[i] = SQZ_ADAPTIVE_BIT_START;
    side->failed = false;
}

void sqz_side_writer_start(struct sqz_side_coder *side, struct sqz_range_encoder *encoder, struct sqz_buffer *out) {
    side->encoder = encoder;
    side->decoder = NULL;
    start(side);
    sqz_range_encoder_start(encoder, out);
}

void sqz_side_reader_start(struct sqz_side_coder *side, struct sqz_range_decoder *decoder, const uint8_t *data,
                           size_t nbytes) {
    side->encoder = NULL;
    side->decoder = decoder;
    start(side);
    side->failed = !sqz_range_decoder_start(decoder, data, nbytes);
}

static unsigned code_bit(struct sqz_side_coder *side, struct sqz_adaptive_bit *model, unsigned bit) {
    if (side->encoder)
        sqz_range_encode(side->encoder, model->p_one, bit);
    else
        bit = sqz_range_decode(side->decoder, model->p_one);
    sqz_adaptive_bit_learn(model, bit);
    return bit;
}

static uint64_t code_even(struct sqz_side_coder *side, unsigned n, uint64_t v) {
    uint64_t coded = 0;
    for (unsigned i = n; i-- > 0;) {
        unsigned bit = (unsigned)(v >> i & 1);
        if (side->encoder)
            sqz_range_encode(side->encoder, 32768, bit);
        else
            bit = sqz_range_decode(side->decoder, 32768);
        coded = coded << 1 | bit;
    }
    return coded;
}

void sqz_side_raw(struct sqz_side_coder *side, unsigned n, uint32_t *v) {
    *v = (uint32_t)code_even(side, n, *v);
}

void sqz_side_number(struct sqz_side_coder *side, enum sqz_side_number kind, uint64_t *v) {
    uint64_t shifted = *v + 1;
    unsigned length = side->encoder ? 64 - (unsigned)__builtin_clzll(shifted) : 0;
    unsigned node = 1;
    for (unsigned i = SQZ_SIDE_CLASS_NBITS; i-- > 0;)
        node = node << 1 | code_bit(side, &side->models.number_class[kind][node], length >> i & 1);
    length = node - (1u << SQZ_SIDE_CLASS_NBITS);
    if (length == 0 || length > SQZ_SIDE_MAX_CLASS) {
        side->failed = true;
        length = 1;
    }
    uint64_t top = (uint64_t)1 << (length - 1);
    *v = (top | code_even(side, length - 1, shifted & (top - 1))) - 1;
}

void sqz_side_signed(struct sqz_side_coder *side, enum sqz_side_number kind, int64_t *v) {
    uint64_t zigzag = *v < 0 ? ((uint64_t)(-(*v + 1)) << 1 | 1) : (uint64_t)*v << 1;
    sqz_side_number(side, kind, &zigzag);
    *v = zigzag & 1 ? -(int64_t)(zigzag >> 1) - 1 : (int64_t)(zigzag >> 1);
}

/* ---- floats --------------------------------------------------------------- */

/* Floats in their own order as integers: the sign applied to the magnitude's bits, so that -x is minus x. */
static int64_t ordered_from_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    int64_t magnitude = bits & 0x7fffffff;
    return bits >> 31 ? -magnitude : magnitude;
}

static float float_from_ordered(int64_t ordered) {
    uint32_t bits = ordered < 0 ? (uint32_t)-ordered | 0x80000000u : (uint32_t)ordered;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

#define ORDERED_LIMIT 0x7f800000 /* infinity */

/* Zeros at the low end that all floats share: 13 when each of them is a normal fp16 number. */
static uint32_t shared_zeros(const float *floats, size_t n) {
    uint32_t any = 0;
    for (size_t i = 0; i < n; i++) any |= (uint32_t)llabs(ordered_from_float(floats[i]));
    return any ? (uint32_t)__builtin_ctz(any) : 0;
}

/* Checked, so that a hostile difference cannot overflow: |previous| < 2^31 and difference < 2^62. */
static bool ordered_valid(int64_t ordered, uint32_t shift) {
    int64_t limit = ((ORDERED_LIMIT - 1) >> shift) + 1; /* the first that is too large, also where bits are cut off */
    return ordered != 0 && ordered > -limit && ordered < limit;
}

void sqz_side_codebook(struct sqz_side_coder *side, float *entries, size_t n) {
    if (n == 0) return;
    uint32_t shift = side->encoder ? shared_zeros(entries, n) : 0;
    sqz_side_raw(side, 5, &shift);
    int64_t previous = 0;
    for (size_t i = 0; i < n && !side->failed; i++) {
        int64_t ordered = side->encoder ? ordered_from_float(entries[i]) / ((int64_t)1 << shift) : 0;
        if (i == 0) {
            sqz_side_signed(side, SQZ_SIDE_CODEBOOK, &ordered);
        } else {
            uint64_t distance = side->encoder ? (uint64_t)(ordered - previous - 1) : 0;
            sqz_side_number(side, SQZ_SIDE_CODEBOOK, &distance);
            ordered = previous + 1 + (int64_t)distance;
        }
        if (side->decoder) {
            if (!ordered_valid(ordered, shift)) {
                side->failed = true;
                return;
            }
            entries[i] = float_from_ordered(ordered * ((int64_t)1 << shift));
        }
        previous = ordered;
    }
}

void sqz_side_steps(struct sqz_side_coder *side, float *steps, size_t n) {
    if (n == 0) return;
    uint32_t shift = side->encoder ? shared_zeros(steps, n) : 0;
    sqz_side_raw(side, 5, &shift);
    int64_t previous = 0;
    for (size_t i = 0; i < n && !side->failed; i++) {
        int64_t difference = side->encoder ? (ordered_from_float(steps[i]) >> shift) - previous : 0;
        sqz_side_signed(side, SQZ_SIDE_STEP, &difference);
        int64_t ordered = previous + difference;
        if (side->decoder) {
            if (!ordered_valid(ordered, shift) || ordered < 0) {
                side->failed = true;
                return;
            }
            steps[i] = float_from_ordered(ordered * ((int64_t)1 << shift));
        }
        previous = ordered;
    }
}

void sqz_side_values(struct sqz_side_coder *side, int16_t *values, size_t n, int limit) {
    int64_t previous = 0;
    for (size_t i = 0; i < n && !side->failed; i++) {
        int64_t value = side->encoder ? values[i] : 0;
        if (i == 0) {
            sqz_side_signed(side, SQZ_SIDE_VALUE, &value);
        } else {
            uint64_t distance = side->encoder ? (uint64_t)(value - previous - 1) : 0;
            sqz_side_number(side, SQZ_SIDE_VALUE, &distance);
            value = previous + 1 + (int64_t)distance;
        }
        if (side->decoder) {
            if (value == 0 || value < -limit || value > limit) {
                side->failed = true;
                return;
            }
            values[i] = (int16_t)value;
        }
        previous = value;
    }
}

/* ---- Huffman tables --------------------------------------------------------- */

static int sign(int v) {
    return (v > 0) - (v < 0);
}

/* |difference| - 1 in unary; a reader gives up beyond the longest code. */
static int code_magnitude(struct sqz_side_coder *side, int above_one) {
    int coded = 0;
    while (coded < SQZ_HUFFMAN_MAX_LENGTH &&
           code_bit(side, &side->models.more[coded < 3 ? coded : 3], coded < above_one))
        coded++;
    return coded;
}

void sqz_side_lengths(struct sqz_side_coder *side, uint8_t *lengths, size_t n) {
    /* Tables differ in depth, but about as many symbols need longer codes than 8 bits as shorter ones. */
    int last = 8, difference_before = 0, difference_last = 0;
    unsigned used_before = 1, used_last = 1;
    struct sqz_side_models *models = &side->models;
    for (size_t i = 0; i < n; i++) {
        unsigned used = side->encoder ? lengths[i] != 0 : 0;
        used = code_bit(side, &models->used[used_before][used_last], used);
        used_before = used_last;
        used_last = used;
        if (!used) {
            lengths[i] = 0;
            continue;
        }
        int difference = side->encoder ? lengths[i] - last : 0;
        struct sqz_adaptive_bit *changed = &models->changed[sign(difference_before) + 1][sign(difference_last) + 1];
        if (code_bit(side, changed, difference != 0)) {
            unsigned falls = code_bit(side, &models->falls[sign(difference_last) + 1], difference < 0);
            int magnitude = code_magnitude(side, abs(difference) - 1) + 1;
            difference = falls ? -magnitude : magnitude;
        } else {
            difference = 0;
        }
        last += difference;
        if (last < 1 || last > SQZ_HUFFMAN_MAX_LENGTH) {
            side->failed = true;
            return;
        }
        lengths[i] = (uint8_t)last;
        difference_before = difference_last;
        difference_last = difference;
    }
}
