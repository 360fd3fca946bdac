/* side_code.h - small numbers, codebooks and Huffman tables as adaptive binary range codes: a tensor's side
 * information. */
#ifndef SQZ_LIB_SIDE_CODE_H
#define SQZ_LIB_SIDE_CODE_H

#include "lib/range_coder.h"

/* Kinds of numbers, each with statistics of its own. */
enum sqz_side_number {
    SQZ_SIDE_CODEBOOK, /* first entry, then distances between codebook entries */
    SQZ_SIDE_STEP,     /* uniform steps */
    SQZ_SIDE_VALUE,    /* uniform levels in use */
    SQZ_SIDE_ENTRIES,  /* entries of a lane */
    SQZ_SIDE_LANE,     /* bytes of a lane */
    SQZ_SIDE_NUMBER_COUNT,
};

/* Bit lengths of numbers, as a binary tree of adaptive bits. */
#define SQZ_SIDE_CLASS_NBITS 6
#define SQZ_SIDE_MAX_CLASS 62 /* sums of two numbers stay within int64_t */

struct sqz_side_models {
    struct sqz_adaptive_bit number_class[SQZ_SIDE_NUMBER_COUNT][1 << SQZ_SIDE_CLASS_NBITS];
    struct sqz_adaptive_bit used[2][2];    /* Huffman: symbol occurs; by the two symbols before */
    struct sqz_adaptive_bit changed[3][3]; /* length differs from the last; by the signs of the last two differences */
    struct sqz_adaptive_bit falls[3];      /* ... and is smaller; by the sign of the last difference */
    struct sqz_adaptive_bit more[4];       /* ... by more than 1, 2, 3, 4 or more */
};

/* One coder for both directions, so that reader and writer cannot drift apart. */
struct sqz_side_coder {
    struct sqz_range_encoder *encoder; /* NULL when reading */
    struct sqz_range_decoder *decoder; /* NULL when writing */
    struct sqz_side_models models;
    bool failed; /* a number was out of its range; the reader's caller reports it */
};

void sqz_side_writer_start(struct sqz_side_coder *side, struct sqz_range_encoder *encoder, struct sqz_buffer *out);
void sqz_side_reader_start(struct sqz_side_coder *side, struct sqz_range_decoder *decoder, const uint8_t *data,
                           size_t nbytes);

/* n (0..32) bits at even odds, highest first. Every function here codes *v when writing and sets it when reading. */
void sqz_side_raw(struct sqz_side_coder *side, unsigned n, uint32_t *v);

/* A number below 2^62 - 1: the bit length of *v + 1 by its tree, then the bits below the highest. */
void sqz_side_number(struct sqz_side_coder *side, enum sqz_side_number kind, uint64_t *v);

/* A signed number in zigzag form (0, -1, 1, -2, 2, ...). */
void sqz_side_signed(struct sqz_side_coder *side, enum sqz_side_number kind, int64_t *v);

/* n ascending, distinct, finite floats other than zero. Reading anything else sets `failed`. */
void sqz_side_codebook(struct sqz_side_coder *side, float *entries, size_t n);

/* n finite floats above zero. */
void sqz_side_steps(struct sqz_side_coder *side, float *steps, size_t n);

/* n ascending, distinct integers other than zero in [-limit, limit]. */
void sqz_side_values(struct sqz_side_coder *side, int16_t *values, size_t n, int limit);

/* Huffman code lengths, 0..SQZ_HUFFMAN_MAX_LENGTH. */
void sqz_side_lengths(struct sqz_side_coder *side, uint8_t *lengths, size_t n);

#endif
