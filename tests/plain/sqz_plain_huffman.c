/* sqz_plain_huffman.c - the plain decoder: section 7 of formats/SQZ.md, the cut into lanes and Huffman codes. */
#include "tests/plain/sqz_plain_section.h"

/* ---- 7. Lanes ---- */

/* 7.1 */
void plain_cut(struct section *s) {
    const struct plain_weight *weight = s->weight;
    s->n_rows = weight->rank == 0 ? 1 : weight->dim[0];
    if (weight->count == 0) {
        s->n_lanes = 1;
        s->lanes = plain_alloc(s->p, 1, sizeof *s->lanes);
        return;
    }
    s->row = weight->count / s->n_rows;
    uint64_t g = (weight->count - 1) / 262144 + 1;
    s->n_lanes = s->coder == RANGE ? g : weight->count < 16384 ? 1 : 4 * g;
    if (s->n_lanes > s->n_rows) s->n_lanes = s->n_rows;
    s->lanes = plain_alloc(s->p, s->n_lanes, sizeof *s->lanes);
    uint64_t q = s->n_rows / s->n_lanes, r = s->n_rows % s->n_lanes, row = 0;
    for (uint64_t i = 0; i < s->n_lanes; i++) {
        s->lanes[i].first_row = row;
        s->lanes[i].n_rows = i < r ? q + 1 : q;
        s->lanes[i].first = row * s->row;
        s->lanes[i].n = s->lanes[i].n_rows * s->row;
        row += s->lanes[i].n_rows;
    }
}

/* 7.2 */
struct bits {
    struct plain *p;
    const uint8_t *data;
    uint64_t n_bits, at;
};

static unsigned next_bit(struct bits *bits) {
    if (bits->at == bits->n_bits) plain_refuse(bits->p, "the codes of a lane end too early");
    unsigned bit = bits->data[bits->at / 8] >> bits->at % 8 & 1;
    bits->at++;
    return bit;
}

static void end_of_bits(struct bits *bits) {
    if (bits->n_bits - bits->at >= 8) plain_refuse(bits->p, "a byte remains behind the codes of a lane");
    while (bits->at < bits->n_bits)
        if (next_bit(bits)) plain_refuse(bits->p, "an unused bit of a lane is not 0");
}

/* 7.3 */
struct table {
    uint32_t n_used;
    uint32_t *symbols;  /* [n_used] sorted by (length, symbol) */
    uint32_t count[16]; /* symbols of each length */
    bool single;        /* one symbol, which takes no bits */
};

static struct table huffman_table(struct section *s, const uint8_t *lengths, uint32_t n) {
    struct table table = {.symbols = plain_alloc(s->p, n, sizeof *table.symbols)};
    uint32_t kraft = 0; /* in units of 2^-15 */
    for (unsigned length = 1; length <= 15; length++)
        for (uint32_t symbol = 0; symbol < n; symbol++) {
            if (lengths[symbol] != length) continue;
            table.symbols[table.n_used++] = symbol;
            table.count[length]++;
            kraft += 1u << (15 - length);
        }
    table.single = table.n_used == 1 && table.count[1] == 1;
    if (table.n_used > 0 && !table.single && kraft != 1u << 15) plain_refuse(s->p, "a code is not complete");
    return table;
}

static uint32_t next_symbol(const struct table *table, struct bits *bits) {
    if (table->n_used == 0) plain_refuse(bits->p, "a symbol is coded with an empty table");
    if (table->single) return table->symbols[0];
    /* `first` is the first code of a length, `index` its place among the sorted symbols. */
    uint32_t code = 0, first = 0, index = 0;
    for (unsigned length = 1; length <= 15; length++) {
        code = code << 1 | next_bit(bits);
        if (code - first < table->count[length]) return table->symbols[index + (code - first)];
        index += table->count[length];
        first = (first + table->count[length]) << 1;
    }
    plain_refuse(bits->p, "a code is not in its table");
}

/* 7.5 */
struct values {
    const struct section *s;
    const struct table *table;
    struct bits *bits;
    unsigned left; /* of the tuple that was read last */
    uint32_t tuple;
};

static uint32_t next_value(struct values *values) {
    if (values->left == 0) {
        values->tuple = next_symbol(values->table, values->bits);
        values->left = values->s->tuple;
    }
    uint32_t value = values->tuple % values->s->base;
    values->tuple /= values->s->base;
    values->left--;
    return value;
}

/* 7.4 */
static void huffman_lane(struct section *s, const struct table *positions, const struct table *value_table,
                         const struct lane *lane) {
    struct bits bits = {s->p, lane->data, lane->nbytes * 8, 0};
    struct values values = {s, value_table, &bits, 0, 0};
    int32_t *symbols = s->levels + lane->first;
    if (s->layout == DENSE) {
        for (uint64_t i = 0; i < lane->n; i++) symbols[i] = (int32_t)next_value(&values);
    } else if (s->layout == BITMAP) {
        for (uint64_t i = 0; i < lane->n; i += s->width) {
            uint32_t word = next_symbol(positions, &bits);
            for (unsigned j = 0; j < s->width; j++) {
                if (!(word >> j & 1)) continue;
                if (i + j >= lane->n) plain_refuse(s->p, "a bit behind the end of a lane is not 0");
                symbols[i + j] = 1;
            }
        }
        for (uint64_t i = 0; i < lane->n; i++)
            if (symbols[i] == 1) symbols[i] = 1 + (int32_t)next_value(&values);
    } else {
        uint32_t *gaps = plain_alloc(s->p, lane->n_entries, sizeof *gaps);
        for (uint64_t i = 0; i < lane->n_entries; i++) gaps[i] = next_symbol(positions, &bits);
        uint64_t place = 0;
        for (uint64_t i = 0; i < lane->n_entries; i++) {
            place += gaps[i];
            if (place >= lane->n) plain_refuse(s->p, "an entry falls behind the end of a lane");
            symbols[place] = (int32_t)next_value(&values);
            place++;
        }
    }
    end_of_bits(&bits);
}

void plain_huffman_lanes(struct section *s) {
    struct table positions = {0};
    if (s->layout != DENSE) positions = huffman_table(s, s->position_lengths, s->n_positions);
    struct table values = huffman_table(s, s->value_lengths, s->n_symbols);
    for (uint64_t i = 0; i < s->n_lanes; i++) huffman_lane(s, &positions, &values, &s->lanes[i]);
    for (uint64_t i = 0; i < s->weight->count; i++) {
        int32_t symbol = s->levels[i];
        if ((uint32_t)symbol > s->n_values) plain_refuse(s->p, "a symbol has no shared value");
        if (s->storage == UNIFORM && symbol != 0) s->levels[i] = s->levels_in_use[symbol - 1];
    }
}
