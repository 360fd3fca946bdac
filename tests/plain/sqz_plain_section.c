/* sqz_plain_section.c - the plain decoder: section 4 of formats/SQZ.md, one tensor. */
#include <math.h>
#include <string.h>

#include "tests/plain/sqz_plain_section.h"

/* ---- 4. Sections ---- */

static float from_half(unsigned bits) {
    unsigned exponent = bits >> 10 & 31, fraction = bits & 1023;
    float magnitude = exponent == 0 ? (float)fraction * 0x1p-24f : (float)(1024 + fraction) * 0x1p-25f;
    for (unsigned i = 0; i < exponent; i++) magnitude *= 2;
    if (exponent == 31) {
        uint32_t nonfinite = 0x7F800000 | fraction << 13;
        memcpy(&magnitude, &nonfinite, sizeof magnitude);
    }
    return bits >> 15 ? -magnitude : magnitude;
}

static void floats(struct plain_bytes *bytes, struct plain_weight *weight, bool half) {
    uint64_t size = half ? 2 : 4;
    if (plain_left(bytes) % size != 0 || plain_left(bytes) / size != weight->count)
        plain_refuse(bytes->p, "a section of floats does not have the size of its tensor");
    for (uint64_t i = 0; i < weight->count; i++) {
        if (half) {
            const uint8_t *b = plain_take(bytes, 2);
            weight->values[i] = from_half(b[0] | (unsigned)b[1] << 8);
        } else {
            weight->values[i] = plain_f32(bytes);
        }
        if (!isfinite(weight->values[i])) plain_refuse(bytes->p, "a weight is not finite");
    }
}

static void codebook_weights(struct section *s) {
    bool used[257] = {false};
    for (uint64_t i = 0; i < s->weight->count; i++) {
        int32_t level = s->levels[i];
        s->weight->values[i] = level == 0 ? 0 : s->codebook[level - 1];
        used[level] = true;
    }
    for (uint32_t i = 1; i <= s->n_values; i++)
        if (!used[i]) plain_refuse(s->p, "an entry of a codebook is not used");
}

static void uniform_weights(struct section *s) {
    for (uint64_t i = 0; i < s->weight->count; i++)
        s->weight->values[i] = (float)s->levels[i] * s->steps[s->n_steps == 1 ? 0 : i / s->row];
}

/* ---- 4.1 Trellis ---- */

int32_t plain_trellis_level(unsigned state, int32_t index) {
    int32_t q = state & 1;
    if (index == 0) return 0;
    return index > 0 ? 2 * index - q : 2 * index + q;
}

unsigned plain_trellis_next(const struct section *s, unsigned state, int32_t index) {
    static const unsigned f[] = {2, 5, 12, 23, 59, 121, 234}, g[] = {1, 2, 7, 9, 11, 55, 103};
    unsigned code = 0;
    while (4u << code < s->n_states) code++;
    unsigned next = state >> 1;
    if (state % 2 != 0) next ^= f[code];
    if (index % 2 != 0) next ^= g[code];
    return next;
}

/* From indices to levels, one column after the other. */
static void trellis_levels(struct section *s) {
    uint64_t g = s->weight->count == 0 ? 1 : (s->weight->count - 1) / 262144 + 1;
    uint64_t n_lanes = g < s->n_rows ? g : s->n_rows, each = s->n_rows / n_lanes, more = s->n_rows % n_lanes;
    for (uint64_t place = 0; place < s->row; place++) {
        uint64_t r = 0;
        for (uint64_t lane = 0; lane < n_lanes; lane++) {
            unsigned state = 0;
            for (uint64_t end = r + each + (lane < more); r < end; r++) {
                int32_t *level = &s->levels[r * s->row + place], index = *level;
                *level = plain_trellis_level(state, index);
                state = plain_trellis_next(s, state, index);
            }
        }
    }
}

void plain_section(struct plain *p, const uint8_t *data, uint64_t nbytes, struct plain_weight *weight) {
    struct plain_bytes bytes = {p, data, nbytes, 0};
    unsigned form = plain_u8(&bytes);
    struct section *s = plain_alloc(p, 1, sizeof *s);
    *s = (struct section){.p = p, .weight = weight};
    s->storage = form & 3;
    s->layout = form >> 2 & 3;
    s->coder = form >> 4 & 3;
    s->trellis = form >> 6 & 1;
    if (form >> 7 != 0 || s->layout > GAPS || s->coder > RANGE || (s->trellis && s->storage != UNIFORM))
        plain_refuse(p, "a section is stored in an unknown way");
    if (s->coder == RANGE && s->layout != 0) plain_refuse(p, "a range-coded section has a layout");
    if (s->storage < CODEBOOK && form >> 2 != 0) plain_refuse(p, "a section of floats has a layout or a coder");

    weight->values = plain_alloc(p, weight->count, sizeof *weight->values);
    if (s->storage < CODEBOOK) {
        floats(&bytes, weight, s->storage == 1);
        return;
    }
    s->levels = plain_alloc(p, weight->count, sizeof *s->levels);
    plain_cut(s);
    plain_side_information(s, &bytes);
    if (s->coder == HUFFMAN)
        plain_huffman_lanes(s);
    else
        plain_range_lanes(s);
    if (s->trellis) trellis_levels(s);
    if (s->storage == CODEBOOK)
        codebook_weights(s);
    else
        uniform_weights(s);
}
