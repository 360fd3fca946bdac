/* sqz_plain_section.h - what the decoders of sections 4 to 8 of formats/SQZ.md share: one tensor that is being read. */
#ifndef SQZ_TESTS_PLAIN_SQZ_PLAIN_SECTION_H
#define SQZ_TESTS_PLAIN_SQZ_PLAIN_SECTION_H

#include <stdbool.h>

#include "tests/plain/sqz_plain_parts.h"

/* Section 5. */
struct decoder {
    struct plain *p;
    const uint8_t *data;
    uint64_t nbytes, at; /* `at` also counts what was read behind the end */
    uint64_t range, code;
};

struct adaptive {
    uint32_t p, d;
};

struct decoder plain_start(struct plain *p, const uint8_t *data, uint64_t nbytes);
unsigned plain_decode(struct decoder *d, uint32_t probability);

enum kind { KIND_CODEBOOK, KIND_STEP, KIND_VALUE, KIND_ENTRIES, KIND_LANE, N_KINDS };

enum { CODEBOOK = 2, UNIFORM = 3 }; /* storage */
enum { DENSE, BITMAP, GAPS };       /* layout */
enum { HUFFMAN, RANGE };            /* coder */

struct lane {
    uint64_t first_row, n_rows;
    uint64_t first, n; /* weights */
    uint64_t n_entries;
    const uint8_t *data;
    uint64_t nbytes;
};

struct section {
    struct plain *p;
    struct plain_weight *weight;
    unsigned storage, layout, coder;
    bool trellis;

    struct decoder side;
    struct adaptive class[N_KINDS][64];
    struct adaptive used[2][2], changed[3][3], falls[3], more[4];

    uint32_t n_values;
    float codebook[256];
    uint32_t n_negative;
    uint64_t n_steps;
    float *steps;
    uint32_t n_states; /* of the trellis */
    int32_t *levels_in_use;

    unsigned width, tuple;
    uint32_t base;
    uint32_t n_positions;
    uint8_t *position_lengths;
    uint32_t n_symbols;
    uint8_t *value_lengths;

    int64_t max_negative, max_positive;
    bool has_zero;
    unsigned scan, detail, shift, activity;

    uint64_t n_rows, row;
    uint64_t n_lanes;
    struct lane *lanes;

    int32_t *levels; /* Huffman: symbols, range: signed levels; afterwards the levels (or indices) */
};

/* Section 4.1. */
int32_t plain_trellis_level(unsigned state, int32_t index);
unsigned plain_trellis_next(const struct section *s, unsigned state, int32_t index);

/* Section 6, with the lanes' bytes; section 7.1; the rest of section 7; section 8. */
void plain_side_information(struct section *s, struct plain_bytes *bytes);
void plain_cut(struct section *s);
void plain_huffman_lanes(struct section *s);
void plain_range_lanes(struct section *s);

#endif
