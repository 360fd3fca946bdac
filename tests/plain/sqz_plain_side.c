/* sqz_plain_side.c - the plain decoder: sections 5 and 6 of formats/SQZ.md, the side information of a tensor. */
#include <math.h>
#include <string.h>

#include "tests/plain/sqz_plain_section.h"

enum { MAX_LEVEL = 8191, INFINITE = 0x7F800000 };

/* ---- 5. The binary range decoder ---- */

static unsigned next_byte(struct decoder *d) {
    uint64_t at = d->at++;
    return at < d->nbytes ? d->data[at] : 0;
}

struct decoder plain_start(struct plain *p, const uint8_t *data, uint64_t nbytes) {
    struct decoder d = {.p = p, .data = data, .nbytes = nbytes, .range = ((uint64_t)1 << 63) - 1};
    for (int i = 0; i < 8; i++) d.code = d.code << 8 | next_byte(&d);
    if (d.code >= d.range) plain_refuse(p, "range-coded bits start with a number out of range");
    return d;
}

unsigned plain_decode(struct decoder *d, uint32_t probability) {
    uint64_t bound = (d->range >> 16) * probability;
    unsigned bit = d->code < bound;
    if (bit) {
        d->range = bound;
    } else {
        d->code -= bound;
        d->range -= bound;
    }
    if (d->range < (uint64_t)1 << 31) {
        d->range <<= 32;
        for (int i = 0; i < 4; i++) d->code = (d->code & 0x00FFFFFFFFFFFFFF) << 8 | next_byte(d);
    }
    return bit;
}

static uint64_t raw(struct decoder *d, unsigned n) {
    uint64_t value = 0;
    while (n-- > 0) value = value << 1 | plain_decode(d, 32768);
    return value;
}

static void adaptive_start(struct adaptive *bits, size_t n) {
    for (size_t i = 0; i < n; i++) bits[i] = (struct adaptive){32768, 2};
}

static unsigned adaptive_bit(struct decoder *d, struct adaptive *state) {
    unsigned bit = plain_decode(d, state->p);
    if (bit)
        state->p += (65536 - state->p) / state->d;
    else
        state->p -= state->p / state->d;
    if (state->d < 32) state->d++;
    return bit;
}

/* ---- 6. Side information ---- */

/* 6.1 */
static uint64_t number(struct section *s, enum kind kind) {
    unsigned node = 1;
    for (int i = 0; i < 6; i++) node = 2 * node + adaptive_bit(&s->side, &s->class[kind][node]);
    unsigned length = node - 64;
    if (length < 1 || length > 62) plain_refuse(s->p, "the length of a number is out of range");
    return ((uint64_t)1 << (length - 1)) + raw(&s->side, length - 1) - 1;
}

static int64_t signed_number(struct section *s, enum kind kind) {
    uint64_t u = number(s, kind);
    return u % 2 == 0 ? (int64_t)(u / 2) : -(int64_t)(u / 2) - 1;
}

/* 6.3 */
static float from_order(struct section *s, int64_t order, unsigned shift) {
    int64_t magnitude = order < 0 ? -order : order;
    if (magnitude >= INFINITE || magnitude << shift >= INFINITE) plain_refuse(s->p, "a shared value is not finite");
    if (magnitude == 0) plain_refuse(s->p, "a shared value is 0");
    uint32_t bits = (uint32_t)(magnitude << shift) | (order < 0 ? 0x80000000u : 0);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int64_t further(struct section *s, enum kind kind, int64_t before) {
    uint64_t d = number(s, kind);
    /* Far above the distance between any two order numbers or levels. */
    if (d > (uint64_t)1 << 33) plain_refuse(s->p, "a distance is out of range");
    return before + 1 + (int64_t)d;
}

static void codebook(struct section *s) {
    if (s->n_values == 0) return;
    unsigned shift = (unsigned)raw(&s->side, 5);
    int64_t order = 0;
    for (uint32_t i = 0; i < s->n_values; i++) {
        order = i == 0 ? signed_number(s, KIND_CODEBOOK) : further(s, KIND_CODEBOOK, order);
        s->codebook[i] = from_order(s, order, shift);
        if (order < 0) s->n_negative++;
    }
}

static void steps(struct section *s) {
    bool per_row = raw(&s->side, 1);
    if (per_row && s->n_rows > 1 << 24) plain_refuse(s->p, "there are too many rows for steps of their own");
    s->n_steps = per_row ? s->n_rows : 1;
    s->steps = plain_alloc(s->p, s->n_steps, sizeof *s->steps);
    unsigned shift = (unsigned)raw(&s->side, 5);
    int64_t order = 0;
    for (uint64_t i = 0; i < s->n_steps; i++) {
        order += signed_number(s, KIND_STEP);
        if (order <= 0) plain_refuse(s->p, "a step is not above 0");
        s->steps[i] = from_order(s, order, shift);
        if (isinf(s->steps[i] * MAX_LEVEL)) plain_refuse(s->p, "a step is too large");
    }
}

/* Of what is coded: levels, or indices of a trellis. */
static int64_t highest_level(const struct section *s) {
    return s->trellis ? 4095 : MAX_LEVEL;
}

static void levels_in_use(struct section *s) {
    s->levels_in_use = plain_alloc(s->p, s->n_values, sizeof *s->levels_in_use);
    int64_t level = 0;
    for (uint32_t i = 0; i < s->n_values; i++) {
        level = i == 0 ? signed_number(s, KIND_VALUE) : further(s, KIND_VALUE, level);
        if (level == 0 || level > highest_level(s) || level < -highest_level(s))
            plain_refuse(s->p, "a level in use is out of range");
        s->levels_in_use[i] = (int32_t)level;
    }
}

/* 6.4 */
static int sign(int x) {
    return x < 0 ? -1 : x > 0;
}

static uint8_t *code_lengths(struct section *s, uint32_t n) {
    uint8_t *lengths = plain_alloc(s->p, n, 1);
    int last = 8, d1 = 0, d2 = 0;
    unsigned u1 = 1, u2 = 1;
    for (uint32_t symbol = 0; symbol < n; symbol++) {
        unsigned used = adaptive_bit(&s->side, &s->used[u2][u1]);
        u2 = u1;
        u1 = used;
        if (!used) continue;
        int d = 0;
        if (adaptive_bit(&s->side, &s->changed[sign(d2) + 1][sign(d1) + 1])) {
            unsigned falls = adaptive_bit(&s->side, &s->falls[sign(d1) + 1]);
            int m = 1;
            while (m < 16 && adaptive_bit(&s->side, &s->more[m - 1 < 3 ? m - 1 : 3])) m++;
            d = falls ? -m : m;
        }
        last += d;
        if (last < 1 || last > 15) plain_refuse(s->p, "a code length is out of range");
        lengths[symbol] = (uint8_t)last;
        d2 = d1;
        d1 = d;
    }
    return lengths;
}

/* 6.5 */
static uint64_t lane_number(struct section *s, enum kind kind, uint64_t before, uint64_t highest) {
    int64_t value = (int64_t)before + signed_number(s, kind);
    if (value < 0 || (uint64_t)value > highest) plain_refuse(s->p, "a lane has too many entries or bytes");
    return (uint64_t)value;
}

static void lane_numbers(struct section *s, struct plain_bytes *bytes) {
    if (s->coder == HUFFMAN && s->layout == GAPS)
        for (uint64_t i = 0; i < s->n_lanes; i++)
            s->lanes[i].n_entries = lane_number(s, KIND_ENTRIES, i ? s->lanes[i - 1].n_entries : 0, s->lanes[i].n);
    for (uint64_t i = 0; i < s->n_lanes; i++) {
        s->lanes[i].nbytes = i == s->n_lanes - 1
                                 ? plain_left(bytes)
                                 : lane_number(s, KIND_LANE, i ? s->lanes[i - 1].nbytes : 0, plain_left(bytes));
        s->lanes[i].data = plain_take(bytes, s->lanes[i].nbytes);
    }
}

/* 6.2 */
static uint32_t number_up_to(struct section *s, enum kind kind, uint64_t highest) {
    uint64_t value = number(s, kind);
    if (value > highest) plain_refuse(s->p, "a number in the side information is out of range");
    return (uint32_t)value;
}

static void huffman_side(struct section *s) {
    if (s->layout != DENSE) {
        s->width = (unsigned)raw(&s->side, 4);
        if (s->width < 1 || s->width > 12) plain_refuse(s->p, "the width of positions is out of range");
        s->n_positions = 1u << s->width;
    }
    s->tuple = 1 + (unsigned)raw(&s->side, 4);
    if (s->tuple > 12) plain_refuse(s->p, "the length of tuples is out of range");
    s->base = s->layout != BITMAP ? s->n_values + 1 : s->n_values == 0 ? 1 : s->n_values;
    uint64_t n_symbols = 1;
    for (unsigned i = 0; i < s->tuple; i++) {
        n_symbols *= s->base;
        if (s->tuple > 1 && n_symbols > 4096) plain_refuse(s->p, "there are too many tuples");
    }
    s->n_symbols = (uint32_t)n_symbols;
    if (s->layout != DENSE) s->position_lengths = code_lengths(s, s->n_positions);
    s->value_lengths = code_lengths(s, s->n_symbols);
}

static void range_side(struct section *s) {
    if (s->storage == UNIFORM) {
        s->max_negative = number_up_to(s, KIND_VALUE, (uint64_t)highest_level(s));
        s->max_positive = number_up_to(s, KIND_VALUE, (uint64_t)highest_level(s));
    } else {
        s->max_negative = s->n_negative;
        s->max_positive = s->n_values - s->n_negative;
    }
    s->has_zero = raw(&s->side, 1);
    s->scan = (unsigned)raw(&s->side, 1);
    if (s->trellis && s->scan != 0) plain_refuse(s->p, "a trellis cannot be scanned by input");
    s->detail = (unsigned)raw(&s->side, 2);
    if (s->detail > 2) plain_refuse(s->p, "the detail is out of range");
    s->shift = (unsigned)raw(&s->side, 4);
    s->activity = (unsigned)raw(&s->side, 8);
}

void plain_side_information(struct section *s, struct plain_bytes *bytes) {
    uint64_t side_nbytes = plain_varint(bytes);
    s->side = plain_start(s->p, plain_take(bytes, side_nbytes), side_nbytes);
    adaptive_start(&s->class[0][0], N_KINDS * 64);
    adaptive_start(&s->used[0][0], 4);
    adaptive_start(&s->changed[0][0], 9);
    adaptive_start(s->falls, 3);
    adaptive_start(s->more, 4);

    if (s->storage == CODEBOOK) {
        s->n_values = (uint32_t)raw(&s->side, 9);
        if (s->n_values > 256) plain_refuse(s->p, "a codebook has more than 256 entries");
        codebook(s);
    } else {
        steps(s);
        if (s->trellis) {
            uint32_t more = (uint32_t)raw(&s->side, 3);
            if (more > 6) plain_refuse(s->p, "the number of states is out of range");
            s->n_states = 4u << more;
        }
        if (s->coder == HUFFMAN) {
            s->n_values = (uint32_t)raw(&s->side, 14);
            if (s->n_values > 16382) plain_refuse(s->p, "there are too many levels in use");
            levels_in_use(s);
        }
    }
    if (s->coder == HUFFMAN)
        huffman_side(s);
    else
        range_side(s);
    lane_numbers(s, bytes);
    if (s->side.at < s->side.nbytes) plain_refuse(s->p, "bytes remain behind the side information");
}
