/* trellis.h - dependent quantisation: two quantisers, and a machine that says which of them a weight uses. */
#ifndef SQZ_LIB_TRELLIS_H
#define SQZ_LIB_TRELLIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/lanes.h"

/*
 * Uniform levels may obey a trellis: a weight is then free to take either only
 * even levels (quantiser 0), or only odd ones and zero (quantiser 1). What the coder
 * writes for it is the *index* of its level among those, and so half as many
 * values, although the steps between levels are half as wide: the levels of a
 * whole column are chosen together, and lie denser in space than any grid
 * does (trellis-coded quantisation, Marcellin & Fischer 1990; dependent
 * quantisation in ISO/IEC 15938-17).
 *
 * Which quantiser a weight has follows from the state of a machine, and the
 * next state from the parity of the index. There is a machine for each column,
 * that is for each place in a row (all weights of one output channel); it walks
 * down the rows and starts in state 0 at the first row of each range-coded lane
 * (lanes.h). So all machines of a row are independent, and their states are
 * known before the row is decoded.
 *
 * A machine is a systematic feedback encoder (Ungerboeck, IEEE Transactions on
 * Information Theory 28, 1982):
 *
 *     next state = state / 2  XOR  feedback if the state is odd  XOR  input if the index is odd
 *
 * and a state's lowest bit is the quantiser. `feedback` has the highest bit of a state, `input` has not.
 */
struct sqz_trellis {
    uint8_t feedback, input;
};

#define SQZ_TRELLIS_MAX_STATES 256

/* Codes are counted by the logarithm of their states, from this one on. */
#define SQZ_TRELLIS_MIN_LOG2 2
#define SQZ_TRELLIS_MAX_LOG2 8

/* Bounds of indices and levels: both quantisers reach as far. */
#define SQZ_TRELLIS_MAX_INDEX 4095
#define SQZ_TRELLIS_MAX_LEVEL (2 * SQZ_TRELLIS_MAX_INDEX)

/* Columns below which there is nothing to gain: the machine takes some rows to reach all of its states. */
#define SQZ_TRELLIS_MIN_ROWS 8

/* 4, 8, 16, ... SQZ_TRELLIS_MAX_STATES. */
bool sqz_trellis_is_valid(uint32_t n_states);

struct sqz_trellis sqz_trellis_of(uint32_t n_states);

/* Index of a level in its quantiser: half of it, rounded away from zero. */
static inline int sqz_trellis_index(int level) {
    return (level + (level > 0)) >> 1;
}

/* Level of an index in a state: of quantiser 0 twice the index, of quantiser 1 one less in magnitude. */
static inline int sqz_trellis_level(unsigned state, int index) {
    return 2 * index - (int)(state & 1) * ((index > 0) - (index < 0));
}

static inline uint8_t sqz_trellis_next(struct sqz_trellis trellis, unsigned state, int index) {
    return (uint8_t)(state >> 1 ^ (-(state & 1) & trellis.feedback) ^ (-((unsigned)index & 1) & trellis.input));
}

/* Whether levels[lanes->n_rows][lanes->row] obey the trellis; lanes are those of the range coder. */
bool sqz_trellis_obeyed(uint32_t n_states, const struct sqz_lanes *lanes, const int16_t *levels);

/* Replace indices by their levels, in place. */
void sqz_trellis_restore(uint32_t n_states, const struct sqz_lanes *lanes, int16_t *levels);

/* The index and the quantiser of each level, of levels that obey. */
void sqz_trellis_describe(uint32_t n_states, const struct sqz_lanes *lanes, const int16_t *levels, int16_t *indices,
                          uint8_t *quantisers);

#endif
