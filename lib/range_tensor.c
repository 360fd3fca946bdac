/* range_tensor.c - a lane of levels as adaptive binary decisions. Normative text: formats/SQZ.md, "Range-coded lanes".
 */
#include "lib/range_tensor.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"
#include "lib/range_coder.h"
#include "lib/range_model.h"
#include "lib/trellis.h"

/* ---- parameters ---------------------------------------------------------------------- */

struct sqz_range_geometry sqz_range_geometry_of(const struct sqz_shape *shape, size_t n_rows, size_t row,
                                                enum sqz_range_scan scan) {
    size_t n_positions = 1, width = 1;
    for (uint32_t i = 2; i < shape->rank; i++) n_positions *= (size_t)shape->dim[i];
    if (shape->rank > 2) width = (size_t)shape->dim[shape->rank - 1];
    if (row == 0 || n_positions > SQZ_RANGE_MAX_POSITIONS) n_positions = width = 1;
    size_t n_inputs = row / n_positions;
    struct sqz_range_geometry geometry = {n_rows, n_inputs, n_positions, width, row, n_positions};
    if (scan == SQZ_SCAN_BY_INPUT) {
        geometry.n_rows = n_inputs;
        geometry.n_channels = n_rows;
        geometry.row_stride = n_positions;
        geometry.channel_stride = row;
    }
    return geometry;
}

static unsigned bit_length(uint32_t v) {
    return v ? 32 - (unsigned)__builtin_clz(v) : 0;
}

void sqz_range_params_of(struct sqz_range_params *params, const int16_t *levels, size_t count) {
    int low = 0, high = 0;
    uint64_t sum = 0;
    params->has_zero = false;
    for (size_t i = 0; i < count; i++) {
        if (levels[i] < low) low = levels[i];
        if (levels[i] > high) high = levels[i];
        if (levels[i] == 0) params->has_zero = true;
        sum += (uint64_t)abs(levels[i]);
    }
    if (params->trellis_states) {
        low = sqz_trellis_index(low);
        high = sqz_trellis_index(high);
        sum /= 2;
    }
    params->max_negative = (uint32_t)-low;
    params->max_positive = (uint32_t)high;
    /* The shift brings the mean magnitude below 2. */
    uint64_t mean = count ? sum / count : 0;
    params->shift = mean > 1 ? bit_length((uint32_t)mean) - 1 : 0;
    uint64_t activity = count ? (sum * 128 >> params->shift) / count : 0;
    const uint64_t most = (1u << SQZ_RANGE_ACTIVITY_NBITS) - 1;
    params->activity = (unsigned)(activity < most ? activity : most);
}

/* ---- contexts -------------------------------------------------------------------------- */

/*
 * Magnitudes of neighbours are in units of 1/256 level after the shift
 * ("scaled"), at most SCALED_MAX. Running means of them have two more bits.
 */
#define SCALED_MAX 8191
#define MEAN_NBITS 2

/* The running mean of signed values has four more bits; outliers are cut so that they do not outvote the rest. */
#define LEANING_CUT 768
#define LEANING_NBITS 4

/* Upper limits of the classes but the last, scaled; about a third of an octave apart where most weights are. */
static const uint16_t class_limits[SQZ_RANGE_CLASSES - 1] = {24,  40,  64,  96,  128,  168,  216, 280,
                                                             360, 480, 664, 920, 1408, 2304, 4096};
static const uint16_t leaning_limits[SQZ_RANGE_LEANINGS - 1] = {24, 64, 128, 224, 384, 640, 1024};

/* Limits are multiples of 8, so tables by eighths give the classes. */
#define CLASS_TABLE (4096 / 8 + 1)
#define LEANING_TABLE (1024 / 8 + 1)

struct classes {
    uint8_t magnitude[CLASS_TABLE];
    uint8_t leaning[LEANING_TABLE];
};

static void fill_classes(struct classes *classes, enum sqz_range_detail detail) {
    for (unsigned i = 0; i < CLASS_TABLE; i++) {
        unsigned class = 0;
        while (class < SQZ_RANGE_CLASSES - 1 && 8 * i >= class_limits[class]) class ++;
        classes->magnitude[i] = (uint8_t)(detail == SQZ_DETAIL_NONE ? 0 : class >> detail);
    }
    for (unsigned i = 0; i < LEANING_TABLE; i++) {
        unsigned class = 0;
        while (class < SQZ_RANGE_LEANINGS - 1 && 8 * i >= leaning_limits[class]) class ++;
        classes->leaning[i] = (uint8_t)(detail == SQZ_DETAIL_NONE ? 0 : class);
    }
}

/* What one kernel position looks at. Arrays are by channel. */
struct position {
    int16_t *here;           /* signed scaled values of this row */
    const int16_t *near;     /* of the position to the left, or above where there is none, or zeros */
    const int16_t *above;    /* of the one above when there is one to the left as well, or zeros */
    const int16_t *diagonal; /* left of the one above, or zeros */
    uint16_t *mean;          /* running mean magnitude at this place over the rows */
    int channel_weight, mean_weight, row_weight, near_weight; /* of the expected magnitude, in 1/32 */
    int leaning_shift;                                        /* how much the channel's leaning counts */
};

struct lane {
    struct sqz_range_models models;
    struct classes classes;
    uint32_t steps[SQZ_PROBABILITY_MAX_COUNT + 1];
    struct position *positions; /* [n_positions] */
    int16_t *values;            /* [n_positions + 1][n_channels], the last all zero */
    uint16_t *means;            /* [n_positions][n_channels] */
    uint16_t *channels;         /* [n_channels] running mean magnitude of the channel */
    int16_t *leanings;          /* [n_channels] running mean value */
    uint8_t *states;            /* [n_positions][n_channels] of the trellis, or NULL */
    struct sqz_trellis trellis;
    int32_t row; /* running mean magnitude of the last weights, in 1/2^16 */
    bool has_zero;
    int sign_known;        /* 0, or the only sign there is */
    unsigned shift;        /* of magnitudes */
    unsigned top_bucket;   /* bucket of the largest magnitude */
    unsigned channel_rate; /* a mean moves by 2^-rate */
};

#define MEAN_RATE 3
#define ROW_RATE 6
#define LEANING_RATE 4

static void position_start(struct lane *lane, const struct sqz_range_geometry *geometry, size_t k) {
    struct position *position = &lane->positions[k];
    const size_t n = geometry->n_channels;
    const int16_t *zeros = lane->values + geometry->n_positions * n;
    bool left = k % geometry->width > 0, above = k >= geometry->width;
    *position = (struct position){.here = lane->values + k * n,
                                  .near = zeros,
                                  .above = zeros,
                                  .diagonal = zeros,
                                  .mean = lane->means + k * n,
                                  .leaning_shift = 0};
    if (geometry->n_positions == 1) {
        position->channel_weight = position->row_weight = 16;
        return;
    }
    if (!left && !above) {
        position->channel_weight = position->row_weight = 12;
        position->mean_weight = 8;
        return;
    }
    position->channel_weight = position->row_weight = 8;
    position->mean_weight = 6;
    position->near_weight = left && above ? 5 : 10;
    position->leaning_shift = 3;
    position->near = position->here - (left ? n : geometry->width * n);
    if (left && above) {
        position->above = position->here - geometry->width * n;
        position->diagonal = position->above - n;
    }
}

static enum sqz_status lane_start(struct lane *lane, const struct sqz_range_params *params,
                                  const struct sqz_range_geometry *geometry, struct sqz_error *err) {
    size_t n = geometry->n_channels, n_positions = geometry->n_positions, total;
    *lane = (struct lane){.has_zero = params->has_zero, .shift = params->shift};
    if (!sqz_mul_size(n, n_positions + 1, &total)) return sqz_fail(err, SQZ_LIMIT, "a row of weights is too long");
    lane->positions = sqz_alloc(n_positions, sizeof *lane->positions);
    lane->values = sqz_alloc0(total, sizeof *lane->values);
    lane->means = sqz_alloc(total, sizeof *lane->means);
    lane->channels = sqz_alloc(n, sizeof *lane->channels);
    lane->leanings = sqz_alloc0(n, sizeof *lane->leanings);
    if (params->trellis_states) {
        lane->trellis = sqz_trellis_of(params->trellis_states);
        lane->states = sqz_alloc0(total, sizeof *lane->states);
        if (!lane->states) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    }
    if (!lane->positions || !lane->values || !lane->means || !lane->channels || !lane->leanings)
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    sqz_probability *models = (sqz_probability *)&lane->models;
    for (size_t i = 0; i < sizeof lane->models / sizeof *models; i++) models[i] = SQZ_PROBABILITY_START;
    fill_classes(&lane->classes, params->detail);
    sqz_probability_fill_steps(lane->steps);
    int activity = (int)params->activity * 2;
    for (size_t i = 0; i < total; i++) lane->means[i] = (uint16_t)(activity << MEAN_NBITS);
    for (size_t i = 0; i < n; i++) lane->channels[i] = (uint16_t)(activity << MEAN_NBITS);
    lane->row = activity << 8;
    for (size_t k = 0; k < n_positions; k++) position_start(lane, geometry, k);
    lane->channel_rate = n_positions == 1 ? 4 : 5;
    uint32_t largest = params->max_negative > params->max_positive ? params->max_negative : params->max_positive;
    lane->top_bucket = largest ? bit_length(largest) - 1 : 0;
    lane->sign_known = params->max_negative == 0 ? 1 : params->max_positive == 0 ? -1 : 0;
    return SQZ_OK;
}

static void lane_free(struct lane *lane) {
    sqz_free(lane->positions);
    sqz_free(lane->values);
    sqz_free(lane->means);
    sqz_free(lane->channels);
    sqz_free(lane->leanings);
    sqz_free(lane->states);
}

/* ---- a chunk: some channels at one position ----------------------------------------------------- */

/*
 * Decisions of one kind are made for the whole chunk before those of the next
 * kind, so that the loops have no branch that depends on a decision just made.
 */
#define CHUNK 32

struct chunk {
    size_t n;
    int level[CHUNK];
    uint8_t class[CHUNK];
    uint8_t lean[CHUNK];
    uint8_t expects_negative[CHUNK];
};

/* Where a bit comes from or goes to; exactly one of the two is used. */
struct bit_coder {
    struct sqz_range_decoder decoder;
    struct sqz_range_encoder *encoder;
    double *flag_nbits; /* when encoding: adds up what zero flags take; may be NULL */
};

/* Bits of information written so far. */
static double written_nbits(const struct sqz_range_encoder *encoder) {
    return 8 * (double)(encoder->out->nbytes - encoder->start) - log2((double)encoder->range);
}

#define ALWAYS_INLINE static inline __attribute__((always_inline))

static void find_contexts(const struct lane *lane, const struct position *position, size_t first, struct chunk *chunk) {
    const int16_t *near = position->near + first, *above = position->above + first;
    const int16_t *diagonal = position->diagonal + first, *leanings = lane->leanings + first;
    const uint16_t *channels = lane->channels + first, *means = position->mean + first;
    const struct position p = *position;
    const int row_part = p.row_weight * (lane->row >> 6), leaning_shift = LEANING_NBITS + p.leaning_shift;
    for (size_t j = 0; j < chunk->n; j++) {
        int around = p.near_weight * (abs(near[j]) + abs(above[j]));
        int expected =
            (p.channel_weight * channels[j] + p.mean_weight * means[j] + row_part + (around << MEAN_NBITS)) >>
            (5 + MEAN_NBITS);
        int leaning = near[j] + above[j] - (diagonal[j] >> 1) + (leanings[j] >> leaning_shift);
        unsigned eighths = (unsigned)expected / 8, leaning_eighths = (unsigned)abs(leaning) / 8;
        chunk->class[j] = lane->classes.magnitude[eighths < CLASS_TABLE ? eighths : CLASS_TABLE - 1];
        chunk->lean[j] = lane->classes.leaning[leaning_eighths < LEANING_TABLE ? leaning_eighths : LEANING_TABLE - 1];
        chunk->expects_negative[j] = leaning < 0;
    }
}

/* Contexts of quantiser 1 stand behind those of quantiser 0. */
static void add_quantisers(const uint8_t *states, struct chunk *chunk) {
    for (size_t j = 0; j < chunk->n; j++) chunk->class[j] += (uint8_t)((states[j] & 1) * SQZ_RANGE_CLASSES);
}

static void levels_to_indices(struct chunk *chunk) {
    for (size_t j = 0; j < chunk->n; j++) chunk->level[j] = sqz_trellis_index(chunk->level[j]);
}

/* Indices become levels, and each machine takes its step. */
static void indices_to_levels(struct sqz_trellis trellis, uint8_t *restrict states, struct chunk *chunk) {
    for (size_t j = 0; j < chunk->n; j++) {
        int index = chunk->level[j];
        chunk->level[j] = sqz_trellis_level(states[j], index);
        states[j] = sqz_trellis_next(trellis, states[j], index);
    }
}

/* Let the running means follow the levels of the chunk. */
static void learn_levels(struct lane *lane, const struct position *position, size_t first, const struct chunk *chunk) {
    int16_t *restrict here = position->here + first, *restrict leanings = lane->leanings + first;
    uint16_t *restrict means = position->mean + first, *restrict channels = lane->channels + first;
    const unsigned shift = lane->shift + (lane->states != NULL), channel_rate = lane->channel_rate;
    int sum = 0;
    for (size_t j = 0; j < chunk->n; j++) {
        int level = chunk->level[j];
        int scaled = abs(level) << 8 >> shift;
        scaled = scaled < SCALED_MAX ? scaled : SCALED_MAX;
        int value = level < 0 ? -scaled : scaled, magnitude = scaled << MEAN_NBITS;
        int cut = value > LEANING_CUT ? LEANING_CUT : value < -LEANING_CUT ? -LEANING_CUT : value;
        here[j] = (int16_t)value;
        means[j] = (uint16_t)(means[j] + ((magnitude - means[j]) >> MEAN_RATE));
        channels[j] = (uint16_t)(channels[j] + ((magnitude - channels[j]) >> channel_rate));
        leanings[j] = (int16_t)(leanings[j] + ((cut * (1 << LEANING_NBITS) - leanings[j]) >> LEANING_RATE));
        sum += scaled;
    }
    lane->row += (sum * 256 - (int)chunk->n * lane->row) >> ROW_RATE;
}

/* `decoding` is a constant wherever these are inlined, so each direction gets code of its own from one text. */
ALWAYS_INLINE unsigned code_bit(const struct lane *lane, struct bit_coder *coder, bool decoding, sqz_probability *model,
                                unsigned bit) {
    sqz_probability state = *model;
    if (decoding)
        bit = sqz_range_decode(&coder->decoder, state >> 16);
    else
        sqz_range_encode(coder->encoder, state >> 16, bit);
    *model = sqz_probability_learn(state, bit, lane->steps);
    return bit;
}

ALWAYS_INLINE unsigned code_even(struct bit_coder *coder, bool decoding, unsigned bit) {
    if (decoding) return sqz_range_decode(&coder->decoder, 32768);
    sqz_range_encode(coder->encoder, 32768, bit);
    return bit;
}

/* The bits of a magnitude below its highest one, in bucket 2 and above. */
ALWAYS_INLINE uint32_t code_below(struct lane *lane, struct bit_coder *coder, bool decoding, unsigned bucket,
                                  uint32_t magnitude) {
    uint32_t coded = 1;
    for (unsigned i = bucket; i-- > 0;) {
        unsigned bit = magnitude >> i & 1;
        if (bucket - i <= SQZ_RANGE_MODELLED_BITS)
            bit = code_bit(lane, coder, decoding, &lane->models.below[bucket][coded], bit);
        else
            bit = code_even(coder, decoding, bit);
        coded = coded << 1 | bit;
    }
    return coded;
}

/* A weight that is not zero, on its way to a level. */
struct survivors {
    size_t n;
    uint8_t place[CHUNK]; /* in the chunk */
    uint8_t negative[CHUNK];
    uint8_t context[CHUNK]; /* of its magnitude: 3 * class + agreement of its sign */
    uint8_t bucket[CHUNK];
};

ALWAYS_INLINE void code_survivors(struct lane *lane, struct bit_coder *coder, bool decoding, const struct chunk *chunk,
                                  struct survivors *s) {
    size_t n = 0;
    double before = !decoding && coder->flag_nbits ? written_nbits(coder->encoder) : 0;
    for (size_t j = 0; j < chunk->n; j++) {
        unsigned nonzero = 1;
        if (lane->has_zero)
            nonzero = code_bit(lane, coder, decoding, &lane->models.nonzero[chunk->class[j]][chunk->lean[j]],
                               chunk->level[j] != 0);
        s->place[n] = (uint8_t)j;
        n += nonzero;
    }
    s->n = n;
    if (!decoding && coder->flag_nbits) *coder->flag_nbits += written_nbits(coder->encoder) - before;
    for (size_t m = 0; m < n; m++) {
        size_t j = s->place[m];
        unsigned negative = lane->sign_known < 0, lean = chunk->lean[j], expected = chunk->expects_negative[j];
        if (lane->sign_known == 0) {
            unsigned signed_lean = expected ? SQZ_RANGE_LEANINGS - lean : SQZ_RANGE_LEANINGS + lean;
            negative = code_bit(lane, coder, decoding, &lane->models.negative[signed_lean], chunk->level[j] < 0);
        }
        unsigned agreement = lean == 0 ? 0 : 1 + (negative ^ expected);
        s->negative[m] = (uint8_t)negative;
        s->context[m] = (uint8_t)(3 * chunk->class[j] + agreement);
    }
}

/* Buckets of all survivors; those beyond bucket 0 are listed in `large`, their number is returned. */
ALWAYS_INLINE size_t code_buckets(struct lane *lane, struct bit_coder *coder, bool decoding, const struct chunk *chunk,
                                  struct survivors *s, uint8_t *large) {
    uint8_t active[CHUNK], actual[CHUNK];
    size_t n_active = s->n, n_large = 0;
    for (size_t m = 0; m < s->n; m++) {
        active[m] = (uint8_t)m;
        s->bucket[m] = 0;
        if (!decoding) actual[m] = (uint8_t)(bit_length((uint32_t)abs(chunk->level[s->place[m]])) - 1);
    }
    for (unsigned bucket = 0; bucket < lane->top_bucket && n_active; bucket++) {
        size_t n_left = 0;
        for (size_t a = 0; a < n_active; a++) {
            size_t m = active[a];
            unsigned larger = code_bit(lane, coder, decoding, &lane->models.larger[bucket][s->context[m]],
                                       decoding ? 0 : bucket < actual[m]);
            s->bucket[m] = (uint8_t)(s->bucket[m] + larger);
            active[n_left] = (uint8_t)m;
            n_left += larger;
        }
        n_active = n_left;
        if (bucket == 0)
            for (; n_large < n_active; n_large++) large[n_large] = active[n_large];
    }
    return n_large;
}

ALWAYS_INLINE void code_chunk(struct lane *lane, struct bit_coder *coder, bool decoding, struct chunk *chunk) {
    struct survivors s;
    uint8_t large[CHUNK], second[CHUNK], rest[CHUNK];
    uint32_t magnitude[CHUNK];
    code_survivors(lane, coder, decoding, chunk, &s);
    size_t n_large = code_buckets(lane, coder, decoding, chunk, &s, large), n_second = 0, n_rest = 0;
    for (size_t m = 0; m < s.n; m++) magnitude[m] = decoding ? 1 : (uint32_t)abs(chunk->level[s.place[m]]);
    for (size_t a = 0; a < n_large; a++) {
        unsigned is_second = s.bucket[large[a]] == 1;
        second[n_second] = rest[n_rest] = large[a];
        n_second += is_second;
        n_rest += !is_second;
    }
    for (size_t a = 0; a < n_second; a++) {
        size_t m = second[a];
        magnitude[m] = 2 | code_bit(lane, coder, decoding, &lane->models.second[s.context[m]], magnitude[m] & 1);
    }
    for (size_t a = 0; a < n_rest; a++)
        magnitude[rest[a]] = code_below(lane, coder, decoding, s.bucket[rest[a]], magnitude[rest[a]]);
    if (!decoding) return;
    for (size_t j = 0; j < chunk->n; j++) chunk->level[j] = 0;
    for (size_t m = 0; m < s.n; m++) chunk->level[s.place[m]] = s.negative[m] ? -(int)magnitude[m] : (int)magnitude[m];
}

ALWAYS_INLINE void code_row(struct lane *lane, struct bit_coder *coder, bool decoding, bool trellis,
                            const struct sqz_range_geometry *geometry, int16_t *levels) {
    const size_t stride = geometry->channel_stride;
    for (size_t k = 0; k < geometry->n_positions; k++) {
        const struct position *position = &lane->positions[k];
        for (size_t first = 0; first < geometry->n_channels; first += CHUNK) {
            struct chunk chunk;
            chunk.n = geometry->n_channels - first < CHUNK ? geometry->n_channels - first : CHUNK;
            int16_t *at = levels + first * stride + k;
            if (!decoding)
                for (size_t j = 0; j < chunk.n; j++) chunk.level[j] = at[j * stride];
            uint8_t *states = trellis ? lane->states + k * geometry->n_channels + first : NULL;
            find_contexts(lane, position, first, &chunk);
            if (trellis) add_quantisers(states, &chunk);
            if (trellis && !decoding) levels_to_indices(&chunk);
            code_chunk(lane, coder, decoding, &chunk);
            if (trellis) indices_to_levels(lane->trellis, states, &chunk);
            learn_levels(lane, position, first, &chunk);
            if (decoding)
                for (size_t j = 0; j < chunk.n; j++) at[j * stride] = (int16_t)chunk.level[j];
        }
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* A tensor of zeros has no decisions at all. */
static bool is_all_zero(const struct sqz_range_params *params) {
    return params->max_negative == 0 && params->max_positive == 0;
}

enum sqz_status sqz_range_encode_rows(const struct sqz_range_params *params, const struct sqz_range_geometry *geometry,
                                      const int16_t *levels, struct sqz_buffer *out, double *flag_nbits,
                                      struct sqz_error *err) {
    if (is_all_zero(params)) return SQZ_OK;
    struct lane lane;
    enum sqz_status status = lane_start(&lane, params, geometry, err);
    if (status == SQZ_OK) {
        struct sqz_range_encoder encoder;
        struct bit_coder coder = {.encoder = &encoder, .flag_nbits = flag_nbits};
        sqz_range_encoder_start(&encoder, out);
        int16_t *unchanged = (int16_t *)(uintptr_t)levels; /* only the decoder writes */
        for (size_t i = 0; i < geometry->n_rows; i++)
            if (params->trellis_states)
                code_row(&lane, &coder, false, true, geometry, unchanged + i * geometry->row_stride);
            else
                code_row(&lane, &coder, false, false, geometry, unchanged + i * geometry->row_stride);
        sqz_range_encoder_finish(&encoder);
        status = sqz_buffer_status(out, err);
    }
    lane_free(&lane);
    return status;
}

static bool within(const struct sqz_range_params *params, const int16_t *levels, size_t n) {
    const int low = -(int)params->max_negative, high = (int)params->max_positive;
    bool outside = false;
    if (params->trellis_states)
        for (size_t i = 0; i < n; i++)
            outside |= sqz_trellis_index(levels[i]) < low || sqz_trellis_index(levels[i]) > high;
    else
        for (size_t i = 0; i < n; i++) outside |= levels[i] < low || levels[i] > high;
    return !outside;
}

enum sqz_status sqz_range_decode_rows(const struct sqz_range_params *params, const struct sqz_range_geometry *geometry,
                                      const uint8_t *data, size_t nbytes, int16_t *levels, const char *name,
                                      struct sqz_error *err) {
    size_t count = geometry->n_rows * geometry->n_channels * geometry->n_positions;
    if (is_all_zero(params)) {
        if (nbytes) return sqz_fail(err, SQZ_MALFORMED, "weight %s: a lane of zeros has bytes", name);
        memset(levels, 0, count * sizeof *levels);
        return SQZ_OK;
    }
    struct lane lane;
    enum sqz_status status = lane_start(&lane, params, geometry, err);
    if (status == SQZ_OK) {
        struct bit_coder coder = {.encoder = NULL};
        bool started = sqz_range_decoder_start(&coder.decoder, data, nbytes);
        for (size_t i = 0; started && i < geometry->n_rows; i++)
            if (params->trellis_states)
                code_row(&lane, &coder, true, true, geometry, levels + i * geometry->row_stride);
            else
                code_row(&lane, &coder, true, false, geometry, levels + i * geometry->row_stride);
        if (!started)
            status = sqz_fail(err, SQZ_MALFORMED, "weight %s: a lane begins with a number out of range", name);
        else if (coder.decoder.next < coder.decoder.end)
            status = sqz_fail(err, SQZ_MALFORMED, "weight %s: bytes are left over behind the levels of a lane", name);
        else if (!within(params, levels, count))
            status = sqz_fail(err, SQZ_MALFORMED, "weight %s: a level lies outside the bounds of the tensor", name);
    }
    lane_free(&lane);
    return status;
}
