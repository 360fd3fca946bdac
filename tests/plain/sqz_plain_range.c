/* sqz_plain_range.c - the plain decoder: section 8 of formats/SQZ.md, range-coded lanes. */
#include <stdlib.h>

#include "tests/plain/sqz_plain_section.h"

static unsigned bit_length(uint64_t x) {
    unsigned n = 0;
    for (; x > 0; x >>= 1) n++;
    return n;
}

/* Division by 2^n of a number that may be negative, rounding down. */
static int64_t shift_right(int64_t x, unsigned n) {
    return x >= 0 ? x >> n : -((-x + ((int64_t)1 << n) - 1) >> n);
}

/* ---- 8. Range-coded lanes ---- */

/* 8.1 */
struct modelled {
    uint32_t p, n;
};

static unsigned modelled_bit(struct decoder *d, struct modelled *state) {
    uint64_t s = (1 << 17) / (2 * state->n + 3);
    unsigned bit = plain_decode(d, state->p >> 6);
    if (bit) {
        uint64_t q = (1 << 22) - 1 - state->p;
        q -= q * s >> 16;
        state->p = (uint32_t)((1 << 22) - 1 - q);
    } else {
        state->p -= (uint32_t)(state->p * s >> 16);
    }
    if (state->n < 255) state->n++;
    return bit;
}

/* 8.2, 8.3 */
enum { CHUNK = 32, N_CLASSES = 2 * 16, N_LEANS = 8, N_MAGNITUDES = 3 * N_CLASSES };

struct lane_decoder {
    struct section *s;
    struct decoder d;
    uint64_t n_outputs, n_inputs, n_positions, kernel_w; /* R, I, P, W */
    uint64_t n_channels;                                 /* N */
    int64_t *value, *mean;                               /* [P][N] */
    int64_t *channel_mean, *leaning;                     /* [N] */
    int64_t row_mean;
    uint8_t *state; /* [P][N] of the trellis */

    struct modelled nonzero[N_CLASSES][N_LEANS];
    struct modelled negative[2 * N_LEANS + 1];
    struct modelled larger[12][N_MAGNITUDES];
    struct modelled second[N_MAGNITUDES];
    struct modelled below[13][8]; /* [bucket][magnitude so far] */
};

static void statistics_start(struct modelled *states, size_t n) {
    for (size_t i = 0; i < n; i++) states[i] = (struct modelled){1 << 21, 0};
}

static struct lane_decoder *lane_start(struct section *s, const struct lane *lane) {
    struct lane_decoder *l = plain_alloc(s->p, 1, sizeof *l);
    l->s = s;
    l->d = plain_start(s->p, lane->data, lane->nbytes);
    const struct plain_weight *weight = s->weight;
    l->n_positions = 1;
    l->kernel_w = 1;
    for (uint32_t i = 2; i < weight->rank; i++) {
        l->n_positions *= weight->dim[i];
        l->kernel_w = weight->dim[i];
    }
    if (l->n_positions > 1024 || weight->count == 0) l->n_positions = l->kernel_w = 1;
    l->n_outputs = lane->n_rows;
    l->n_inputs = s->row / l->n_positions;
    l->n_channels = s->scan == 0 ? l->n_inputs : l->n_outputs;

    int64_t a = 2 * s->activity;
    l->value = plain_alloc(s->p, l->n_positions * l->n_channels, sizeof *l->value);
    l->mean = plain_alloc(s->p, l->n_positions * l->n_channels, sizeof *l->mean);
    l->channel_mean = plain_alloc(s->p, l->n_channels, sizeof *l->channel_mean);
    l->leaning = plain_alloc(s->p, l->n_channels, sizeof *l->leaning);
    for (uint64_t i = 0; i < l->n_positions * l->n_channels; i++) l->mean[i] = 4 * a;
    for (uint64_t i = 0; i < l->n_channels; i++) l->channel_mean[i] = 4 * a;
    l->row_mean = 256 * a;
    l->state = plain_alloc(s->p, l->n_positions * l->n_channels, 1);
    for (uint64_t i = 0; i < l->n_positions * l->n_channels; i++) l->state[i] = 0;

    statistics_start(&l->nonzero[0][0], N_CLASSES * N_LEANS);
    statistics_start(l->negative, 2 * N_LEANS + 1);
    statistics_start(&l->larger[0][0], 12 * N_MAGNITUDES);
    statistics_start(l->second, N_MAGNITUDES);
    statistics_start(&l->below[0][0], 13 * 8);
    return l;
}

struct context {
    unsigned class, l, opposed;
};

static struct context context(const struct lane_decoder *l, uint64_t k, uint64_t c) {
    static const int64_t class_limits[] = {24, 40, 64, 96, 128, 168, 216, 280, 360, 480, 664, 920, 1408, 2304, 4096};
    static const int64_t lean_limits[] = {24, 64, 128, 224, 384, 640, 1024};
    uint64_t n = l->n_channels, w = l->kernel_w;
    bool left = l->n_positions > 1 && k % w > 0, up = l->n_positions > 1 && k >= w;
    int64_t near = 0, above = 0, diagonal = 0;
    int64_t wc = 8, wm = 6, wr = 8, wn = 10;
    unsigned ls = 3;
    if (l->n_positions == 1) {
        wc = wr = 16, wm = wn = 0, ls = 0;
    } else if (!left && !up) {
        wc = wr = 12, wm = 8, wn = 0, ls = 0;
    } else if (left && up) {
        near = l->value[(k - 1) * n + c];
        above = l->value[(k - w) * n + c];
        diagonal = l->value[(k - w - 1) * n + c];
        wn = 5;
    } else {
        near = l->value[(left ? k - 1 : k - w) * n + c];
    }

    int64_t expected = shift_right(wc * l->channel_mean[c] + wm * l->mean[k * n + c] +
                                       wr * shift_right(l->row_mean, 6) + 4 * wn * (llabs(near) + llabs(above)),
                                   7);
    int64_t lean = near + above - shift_right(diagonal, 1) + shift_right(l->leaning[c], 4 + ls);
    struct context context = {.opposed = lean < 0};
    for (int i = 0; i < 15; i++) context.class += class_limits[i] <= expected;
    for (int i = 0; i < 7; i++) context.l += lean_limits[i] <= llabs(lean);
    if (l->s->detail == 1) context.class /= 2;
    if (l->s->detail == 2) context.class = context.l = 0;
    if (l->s->trellis) context.class += 16 * (l->state[k * n + c] & 1);
    return context;
}

/* 8.4: channels first .. first + n at position k into level[n]. */
static void decisions(struct lane_decoder *l, uint64_t k, uint64_t first, unsigned n, int64_t level[CHUNK]) {
    struct section *s = l->s;
    struct decoder *d = &l->d;
    struct context at[CHUNK];
    bool nonzero[CHUNK], negative[CHUNK];
    unsigned m[CHUNK], bucket[CHUNK];
    for (unsigned i = 0; i < n; i++) at[i] = context(l, k, first + i);

    for (unsigned i = 0; i < n; i++) nonzero[i] = s->has_zero ? modelled_bit(d, &l->nonzero[at[i].class][at[i].l]) : 1;

    for (unsigned i = 0; i < n; i++) {
        if (!nonzero[i]) continue;
        negative[i] = s->max_negative > 0;
        if (s->max_negative > 0 && s->max_positive > 0)
            negative[i] = modelled_bit(d, &l->negative[at[i].opposed ? 8 - at[i].l : 8 + at[i].l]);
        unsigned a = at[i].l == 0 ? 0 : negative[i] == at[i].opposed ? 1 : 2;
        m[i] = 3 * at[i].class + a;
        bucket[i] = 0;
    }

    int64_t largest = s->max_negative > s->max_positive ? s->max_negative : s->max_positive;
    unsigned t = bit_length((uint64_t)largest) - 1;
    for (unsigned b = 0; b < t; b++)
        for (unsigned i = 0; i < n; i++)
            if (nonzero[i] && bucket[i] == b && modelled_bit(d, &l->larger[b][m[i]])) bucket[i] = b + 1;

    uint32_t magnitude[CHUNK];
    for (unsigned i = 0; i < n; i++) {
        magnitude[i] = nonzero[i];
        if (nonzero[i] && bucket[i] == 1) magnitude[i] = 2 + modelled_bit(d, &l->second[m[i]]);
    }

    for (unsigned i = 0; i < n; i++) {
        if (!nonzero[i] || bucket[i] < 2) continue;
        for (unsigned b = 0; b < bucket[i]; b++)
            magnitude[i] = 2 * magnitude[i] +
                           (b < 3 ? modelled_bit(d, &l->below[bucket[i]][magnitude[i]]) : plain_decode(d, 32768));
    }

    for (unsigned i = 0; i < n; i++) {
        level[i] = nonzero[i] && negative[i] ? -(int64_t)magnitude[i] : magnitude[i];
        if (level[i] < -s->max_negative || level[i] > s->max_positive) plain_refuse(s->p, "a level is out of range");
    }
}

static void remember(struct lane_decoder *l, uint64_t k, uint64_t first, unsigned n, const int64_t level[CHUNK]) {
    int64_t sum = 0;
    for (unsigned i = 0; i < n; i++) {
        uint64_t c = first + i, kc = k * l->n_channels + c;
        int64_t v = level[i];
        if (l->s->trellis) {
            v = plain_trellis_level(l->state[kc], (int32_t)level[i]);
            l->state[kc] = (uint8_t)plain_trellis_next(l->s, l->state[kc], (int32_t)level[i]);
        }
        int64_t s = llabs(v) * 256 >> (l->s->shift + l->s->trellis);
        if (s > 8191) s = 8191;
        int64_t u = v >= 0 ? s : -s;
        int64_t bounded = u < -768 ? -768 : u > 768 ? 768 : u;
        l->value[kc] = u;
        l->mean[kc] += shift_right(4 * s - l->mean[kc], 3);
        l->channel_mean[c] += shift_right(4 * s - l->channel_mean[c], l->n_positions == 1 ? 4 : 5);
        l->leaning[c] += shift_right(16 * bounded - l->leaning[c], 4);
        sum += s;
    }
    l->row_mean += shift_right(256 * sum - (int64_t)n * l->row_mean, 6);
}

static void range_lane(struct section *s, const struct lane *lane) {
    struct lane_decoder *l = lane_start(s, lane);
    int32_t *levels = s->levels + lane->first;
    uint64_t n_outer = s->scan == 0 ? l->n_outputs : l->n_inputs;
    for (uint64_t outer = 0; outer < n_outer; outer++)
        for (uint64_t k = 0; k < l->n_positions; k++)
            for (uint64_t first = 0; first < l->n_channels; first += CHUNK) {
                unsigned n = l->n_channels - first < CHUNK ? (unsigned)(l->n_channels - first) : CHUNK;
                int64_t level[CHUNK];
                decisions(l, k, first, n, level);
                remember(l, k, first, n, level);
                for (unsigned i = 0; i < n; i++) {
                    uint64_t o = s->scan == 0 ? outer : first + i, input = s->scan == 0 ? first + i : outer;
                    levels[(o * l->n_inputs + input) * l->n_positions + k] = (int32_t)level[i];
                }
            }
    if (l->d.at < lane->nbytes) plain_refuse(s->p, "bytes remain behind the levels of a lane");
}

void plain_range_lanes(struct section *s) {
    bool nothing = s->max_negative == 0 && s->max_positive == 0;
    for (uint64_t i = 0; i < s->n_lanes; i++) {
        if (!nothing)
            range_lane(s, &s->lanes[i]);
        else if (s->lanes[i].nbytes > 0)
            plain_refuse(s->p, "a lane without levels has bytes");
    }
    if (s->storage == UNIFORM) return;
    int32_t n = (int32_t)s->n_negative;
    for (uint64_t i = 0; i < s->weight->count; i++) {
        int32_t level = s->levels[i];
        s->levels[i] = level == 0 ? 0 : level < 0 ? level + n + 1 : level + n;
    }
}
