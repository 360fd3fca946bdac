/* test_tensor_code.c - one packed tensor to bytes and back, in every layout, and hostile bytes. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"
#include "lib/parallel.h"
#include "lib/tensor_code.h"
#include "tests/unit/effort.h"
#include "tests/unit/packed_samples.h"

static const enum sqz_coder coders[] = {SQZ_CODER_HUFFMAN, SQZ_CODER_RANGE};
#define N_CODERS (sizeof coders / sizeof *coders)

static void encode(const struct sqz_packed *packed, const struct sqz_shape *shape, enum sqz_coder coder,
                   struct sqz_buffer *out) {
    struct sqz_error err = {0};
    ck_assert_msg(sqz_tensor_encode(packed, shape, packed->n_levels, coder, "w", out, &err) == SQZ_OK, "%s", err.text);
}

static enum sqz_layout layout_of(const struct sqz_buffer *section) {
    return (enum sqz_layout)(section->data[0] >> 2 & 3);
}

/* Encode, decode, compare; frees packed and returns the section's size. */
static size_t round_trip(struct sqz_packed *packed, const struct sqz_shape *shape, enum sqz_coder coder) {
    struct sqz_buffer section = {0};
    struct sqz_error err = {0};
    struct sqz_packed *back;
    encode(packed, shape, coder, &section);
    uint8_t *exact = malloc(section.nbytes); /* so that a sanitizer sees any read beyond */
    memcpy(exact, section.data, section.nbytes);
    ck_assert_msg(sqz_tensor_decode(exact, section.nbytes, shape, packed->n_levels, "w", &back, &err) == SQZ_OK, "%s",
                  err.text);
    ck_assert(sample_equal(packed, back));
    size_t nbytes = section.nbytes;
    free(exact);
    sqz_buffer_free(&section);
    sqz_packed_free(back);
    sqz_packed_free(packed);
    return nbytes;
}

static const struct sqz_shape shapes[] = {
    {4, {64, 16, 3, 3}}, {4, {20, 7, 5, 5}},  {2, {10, 37}},   {1, {257}}, {4, {3, 1, 1, 1}},   {4, {130, 150, 1, 1}},
    {2, {2, 20000}},     {4, {9, 3, 11, 11}}, {2, {1, 17000}}, {0, {0}},   {4, {48, 48, 3, 4}},
};
#define N_SHAPES (sizeof shapes / sizeof *shapes)

START_TEST(codebooks_round_trip) {
    static const double densities[] = {0, 0.003, 0.05, 0.3, 0.6, 0.95, 1};
    static const uint32_t sizes[] = {0, 1, 2, 3, 4, 16, 31, 255, 256};
    for (size_t s = 0; s < N_SHAPES; s++)
        for (size_t d = 0; d < sizeof densities / sizeof *densities; d++)
            for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
                size_t count;
                ck_assert(sqz_shape_count(&shapes[s], &count));
                if (sizes[k] > count) continue;
                round_trip(sample_codebook(count, sizes[k], densities[d], s + 10 * d + 100 * k + 1), &shapes[s],
                           coders[_i]);
            }
}
END_TEST

START_TEST(uniform_levels_round_trip) {
    static const double means[] = {0, 0.1, 0.5, 2, 30, 3000};
    for (size_t s = 0; s < N_SHAPES; s++)
        for (size_t m = 0; m < sizeof means / sizeof *means; m++)
            for (int per_row = 0; per_row < 2; per_row++) {
                size_t count;
                ck_assert(sqz_shape_count(&shapes[s], &count));
                uint32_t n_steps = per_row && shapes[s].rank ? (uint32_t)shapes[s].dim[0] : 1;
                round_trip(sample_uniform(count, n_steps, means[m], s + 10 * m + 1), &shapes[s], coders[_i]);
            }
}
END_TEST

START_TEST(an_empty_tensor_round_trips) {
    struct sqz_shape shape = sqz_shape2(0, 5);
    round_trip(sample_codebook(0, 0, 1, 1), &shape, coders[_i]);
}
END_TEST

/* Huffman coders that people wrote fell over one symbol, no symbol, or a symbol whose number is 0. */
START_TEST(degenerate_alphabets) {
    struct sqz_shape square = sqz_shape2(10, 10), one = sqz_shape4(1, 1, 1, 1), large = sqz_shape2(1000, 1000);
    size_t nbytes = round_trip(sample_histogram((uint64_t[]){0, 100}, 2, 1), &square, coders[_i]);
    ck_assert_uint_le(nbytes, 12);
    nbytes = round_trip(sample_histogram((uint64_t[]){0, 1000000}, 2, 1), &large, coders[_i]);
    ck_assert_uint_le(nbytes, 64); /* not a bit for each weight */
    nbytes = round_trip(sample_histogram((uint64_t[]){100}, 1, 1), &square, coders[_i]);
    ck_assert_uint_le(nbytes, 10);
    round_trip(sample_histogram((uint64_t[]){0, 1}, 2, 1), &one, coders[_i]);
    round_trip(sample_histogram((uint64_t[]){1}, 1, 1), &one, coders[_i]);
    nbytes = round_trip(sample_histogram((uint64_t[]){0, 50, 50}, 3, 1), &square, coders[_i]);
    ck_assert_uint_le(nbytes, 13 + 20); /* a bit for each weight and little else */
}
END_TEST

/* Histograms whose Huffman trees without a limit are 17 and 25 deep. */
START_TEST(fibonacci_histograms) {
    static const size_t sizes[] = {18, 26};
    for (size_t s = 0; s < 2; s++) {
        uint64_t counts[27] = {0, 1, 1};
        double n_bits = 0, total = 0;
        for (size_t i = 3; i <= sizes[s]; i++) counts[i] = counts[i - 1] + counts[i - 2];
        for (size_t i = 1; i <= sizes[s]; i++) total += (double)counts[i];
        for (size_t i = 1; i <= sizes[s]; i++) n_bits += (double)counts[i] * log2(total / (double)counts[i]);
        struct sqz_shape shape = sqz_shape2(s ? 10 : 4, s ? (uint64_t)total / 10 : (uint64_t)total / 4);
        ck_assert_uint_eq(shape.dim[0] * shape.dim[1], (uint64_t)total);
        size_t nbytes = round_trip(sample_histogram(counts, sizes[s] + 1, 3), &shape, SQZ_CODER_HUFFMAN);
        ck_assert_msg((double)nbytes < n_bits / 8 * 1.03 + 200, "%zu bytes for an entropy of %.0f", nbytes, n_bits / 8);
    }
}
END_TEST

/* The layout with the fewest bytes: none of the three wins everywhere. */
START_TEST(each_layout_has_its_place) {
    struct sqz_shape shape = sqz_shape4(64, 64, 3, 3);
    static const struct {
        double density;
        uint32_t n_codebook;
        enum sqz_layout layout;
    } expected[] = {
        {1, 32, SQZ_LAYOUT_DENSE},    {0.97, 64, SQZ_LAYOUT_DENSE},  {0.02, 32, SQZ_LAYOUT_GAPS},
        {0.15, 255, SQZ_LAYOUT_GAPS}, {0.5, 255, SQZ_LAYOUT_BITMAP},
    };
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        struct sqz_packed *packed = sample_codebook(36864, expected[i].n_codebook, expected[i].density, 4);
        if (expected[i].layout == SQZ_LAYOUT_BITMAP) /* whole windows are zero or not, which only words can see */
            for (size_t k = 0; k < 36864; k++) packed->levels[k] = (int16_t)(k / 9 % 2 ? 0 : 1 + k * 2654435761u % 255);
        struct sqz_buffer section = {0};
        encode(packed, &shape, SQZ_CODER_HUFFMAN, &section);
        ck_assert_int_eq(layout_of(&section), expected[i].layout);
        sqz_buffer_free(&section);
        sqz_packed_free(packed);
    }
}
END_TEST

START_TEST(lanes_cover_every_weight_once) {
    const enum sqz_stream_coder coder = _i ? SQZ_STREAM_RANGE : SQZ_STREAM_HUFFMAN;
    for (size_t s = 0; s < N_SHAPES; s++) {
        size_t count;
        ck_assert(sqz_shape_count(&shapes[s], &count));
        struct sqz_lanes lanes = sqz_lanes_of(&shapes[s], count, coder);
        ck_assert_uint_eq(sqz_lane_start(&lanes, 0), 0);
        ck_assert_uint_eq(sqz_lane_start(&lanes, lanes.n_lanes), count);
        for (size_t i = 0; i < lanes.n_lanes; i++) {
            ck_assert_uint_le(sqz_lane_count(&lanes, i), sqz_lane_capacity(&lanes));
            ck_assert(lanes.row == 0 || sqz_lane_count(&lanes, i) % lanes.row == 0);
        }
    }
    struct sqz_shape fc6 = sqz_shape2(4096, 9216);
    ck_assert_uint_eq(sqz_lanes_of(&fc6, 4096 * 9216, coder).n_lanes, _i ? 144 : 576);
}
END_TEST

/* Whatever the bytes, decoding ends with a status and within its memory. */
static void decode_damaged(const uint8_t *data, size_t nbytes, const struct sqz_shape *shape, size_t count) {
    struct sqz_packed *back = NULL;
    struct sqz_error err = {0};
    uint8_t *exact = malloc(nbytes ? nbytes : 1);
    memcpy(exact, data, nbytes);
    enum sqz_status status = sqz_tensor_decode(exact, nbytes, shape, count, "w", &back, &err);
    if (status == SQZ_OK) {
        ck_assert_uint_eq(back->n_levels, count);
        for (size_t i = 0; i < count && back->kind == SQZ_LEVELS_CODEBOOK; i++)
            ck_assert(back->levels[i] >= 0 && (uint32_t)back->levels[i] <= back->n_codebook);
        sqz_packed_free(back);
    } else {
        ck_assert(status == SQZ_MALFORMED || status == SQZ_TRUNCATED || status == SQZ_UNSUPPORTED);
        ck_assert_ptr_nonnull(strstr(err.text, "weight w"));
    }
    free(exact);
}

static struct sqz_packed *damage_sample(size_t which, size_t count) {
    switch (which) {
    case 0:
        return sample_codebook(count, 31, 1, 1);
    case 1:
        return sample_codebook(count, 31, 0.1, 2);
    case 2:
        return sample_codebook(count, 3, 0.5, 3);
    case 3:
        return sample_uniform(count, 1, 1, 4);
    default:
        return sample_uniform(count, 160, 40, 5);
    }
}

START_TEST(damaged_sections_are_survived) {
    struct sqz_shape shape = sqz_shape4(160, 12, 3, 3);
    const size_t count = 160 * 12 * 9;
    uint64_t state = 77;
    for (size_t which = 0; which < 5; which++) {
        struct sqz_packed *packed = damage_sample(which, count);
        struct sqz_buffer section = {0};
        encode(packed, &shape, coders[_i], &section);
        for (size_t i = 0; i < 16; i++) decode_damaged(section.data, section.nbytes * i / 16, &shape, count);
        for (size_t i = 0; i < EFFORT(200, 50); i++) {
            /* The side information comes first and is where damage does most. */
            size_t at = sample_random(&state) % (i % 3 ? 120 : section.nbytes);
            uint8_t flip = (uint8_t)(1u << sample_random(&state) % 8);
            section.data[at] ^= flip;
            decode_damaged(section.data, section.nbytes, &shape, count);
            section.data[at] ^= flip;
        }
        sqz_buffer_free(&section);
        sqz_packed_free(packed);
    }
}
END_TEST

/* A form with two levels of which only the parts under test are broken. */
struct hostile {
    struct sqz_tensor_form form;
    float codebook[2];
    uint8_t value_lengths[9], position_lengths[16];
    size_t entries[1], lane_nbytes[1];
    uint8_t lane[4];
};

static void hostile_init(struct hostile *h) {
    *h = (struct hostile){.codebook = {-1, 1}, .value_lengths = {1, 2, 2}};
    h->form = (struct sqz_tensor_form){.storage = SQZ_STORAGE_CODEBOOK,
                                       .layout = SQZ_LAYOUT_DENSE,
                                       .n_values = 2,
                                       .tuple = 1,
                                       .lanes = {4, 1, 1},
                                       .codebook = h->codebook,
                                       .position_lengths = h->position_lengths,
                                       .value_lengths = h->value_lengths,
                                       .entries = h->entries,
                                       .lane_nbytes = h->lane_nbytes};
}

/* Write the form and `n` bytes of lane, and decode it as 4 weights. */
static enum sqz_status hostile_decode(const struct hostile *h, size_t n, char *text) {
    struct sqz_buffer section = {0};
    struct sqz_packed *back = NULL;
    struct sqz_error err = {0};
    struct sqz_shape shape = sqz_shape2(4, 1);
    ck_assert_int_eq(sqz_form_write(&h->form, &section, NULL), SQZ_OK);
    sqz_put_bytes(&section, h->lane, n);
    enum sqz_status status = sqz_tensor_decode(section.data, section.nbytes, &shape, 4, "w", &back, &err);
    strcpy(text, err.text);
    sqz_packed_free(back);
    sqz_buffer_free(&section);
    return status;
}

START_TEST(hostile_forms_are_refused) {
    struct hostile h;
    char text[sizeof((struct sqz_error *)0)->text];
    hostile_init(&h);
    ck_assert_msg(hostile_decode(&h, 1, text) == SQZ_OK, "%s", text);
    h.value_lengths[0] = 2; /* three codes of two bits */
    ck_assert_int_eq(hostile_decode(&h, 1, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, "the Huffman table of the values of weight w is incomplete");
    h.value_lengths[0] = h.value_lengths[1] = 1;
    ck_assert_int_eq(hostile_decode(&h, 1, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, "the Huffman table of the values of weight w is over-subscribed");
    memset(h.value_lengths, 0, sizeof h.value_lengths);
    ck_assert_int_eq(hostile_decode(&h, 0, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, "weight w: symbols without a Huffman table");
    hostile_init(&h);
    ck_assert_int_eq(hostile_decode(&h, 0, text), SQZ_MALFORMED); /* four symbols need four bits */
    ck_assert_int_eq(hostile_decode(&h, 2, text), SQZ_MALFORMED); /* and not more than eight */
    ck_assert_str_eq(text, "weight w: lane 0 does not end where its codes end");
    h.lane[0] = 0x10; /* padding */
    ck_assert_int_eq(hostile_decode(&h, 1, text), SQZ_MALFORMED);
    hostile_init(&h);
    h.codebook[1] = INFINITY;
    ck_assert_int_eq(hostile_decode(&h, 1, text), SQZ_MALFORMED);
    h.codebook[1] = NAN;
    ck_assert_int_eq(hostile_decode(&h, 1, text), SQZ_MALFORMED);
    h.codebook[1] = 0;
    ck_assert_int_eq(hostile_decode(&h, 1, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, "weight w: the side information is not valid");
}
END_TEST

START_TEST(hostile_positions_are_refused) {
    struct hostile h;
    char text[sizeof((struct sqz_error *)0)->text];
    hostile_init(&h);
    h.form.layout = SQZ_LAYOUT_GAPS;
    h.form.width = 2;
    memcpy(h.position_lengths, (uint8_t[]){2, 2, 2, 2}, 4);
    h.entries[0] = 2; /* fields 0 0, values 0 0 */
    ck_assert_msg(hostile_decode(&h, 1, text) == SQZ_OK, "%s", text);
    h.lane[0] = 0x03 | 0x0c; /* fields 3 3: position 7 of 4 */
    ck_assert_int_eq(hostile_decode(&h, 1, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, "weight w: the gaps of lane 0 run past its end");
    h.entries[0] = 5;
    ck_assert_int_eq(hostile_decode(&h, 2, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, "weight w: lane 0 has more entries than weights");
    hostile_init(&h);
    h.form.layout = SQZ_LAYOUT_BITMAP;
    h.form.width = 3;
    memcpy(h.position_lengths, (uint8_t[]){3, 3, 3, 3, 3, 3, 3, 3}, 8);
    memcpy(h.value_lengths, (uint8_t[]){1, 1}, 2);
    ck_assert_msg(hostile_decode(&h, 1, text) == SQZ_OK, "%s", text);
    h.lane[0] = 0x3f; /* two words of ones for four weights */
    ck_assert_int_eq(hostile_decode(&h, 1, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, "weight w: the bitmap of lane 0 is longer than the lane");
}
END_TEST

/* A bitmap over a tensor without any level in use once made the decoder read from the empty list of them. */
START_TEST(weights_without_values_are_refused) {
    struct hostile h;
    char text[sizeof((struct sqz_error *)0)->text];
    float step = 1;
    hostile_init(&h);
    h.form.storage = SQZ_STORAGE_UNIFORM;
    h.form.layout = SQZ_LAYOUT_BITMAP;
    h.form.codebook = NULL;
    h.form.n_steps = 1;
    h.form.steps = &step;
    h.form.n_values = 0;
    h.form.width = 4;
    memcpy(h.value_lengths, (uint8_t[]){1, 0, 0}, 3);
    h.position_lengths[0] = 1; /* no bit set */
    ck_assert_msg(hostile_decode(&h, 0, text) == SQZ_OK, "%s", text);
    h.position_lengths[0] = 0;
    h.position_lengths[15] = 1; /* every bit set */
    ck_assert_int_eq(hostile_decode(&h, 0, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, "weight w: lane 0 has weights but there are no values");
}
END_TEST

/* Bytes that no encoder writes and that decoders took in different ways, or not at all. */
START_TEST(ambiguous_bytes_are_refused) {
    struct hostile h;
    char text[sizeof((struct sqz_error *)0)->text];
    struct sqz_buffer section = {0}, longer = {0};
    struct sqz_packed *back = NULL;
    struct sqz_shape shape = sqz_shape2(4, 1);
    struct sqz_error err = {0};
    hostile_init(&h);
    ck_assert_msg(hostile_decode(&h, 1, text) == SQZ_OK, "%s", text);
    ck_assert_int_eq(sqz_form_write(&h.form, &section, NULL), SQZ_OK);
    const size_t side_nbytes = section.data[1];
    /* Side information that goes on behind its last field. */
    sqz_put_u8(&longer, section.data[0]);
    sqz_put_u8(&longer, (uint8_t)(side_nbytes + 40));
    sqz_put_bytes(&longer, section.data + 2, side_nbytes);
    for (int i = 0; i < 40; i++) sqz_put_u8(&longer, 0);
    sqz_put_u8(&longer, h.lane[0]);
    ck_assert_int_eq(sqz_tensor_decode(longer.data, longer.nbytes, &shape, 4, "w", &back, &err), SQZ_MALFORMED);
    ck_assert_str_eq(err.text, "weight w: the side information is not valid");
    /* Side information that begins with a number outside the coder's interval. */
    sqz_put_u8(&section, h.lane[0]);
    section.data[2] |= 0x80;
    ck_assert_int_eq(sqz_tensor_decode(section.data, section.nbytes, &shape, 4, "w", &back, &err), SQZ_MALFORMED);
    ck_assert_str_eq(err.text, "weight w: the side information is not valid");
    /* The same of a lane, and a lane of zeros with bytes. */
    struct sqz_range_params params = {.max_positive = 1, .has_zero = true};
    struct sqz_range_geometry geometry = sqz_range_geometry_of(&shape, 4, 1, SQZ_SCAN_BY_OUTPUT);
    const uint8_t high[8] = {0x80}, some[8] = {0x20};
    int16_t levels[4];
    ck_assert_int_eq(sqz_range_decode_rows(&params, &geometry, some, 8, levels, "w", &err), SQZ_OK);
    ck_assert_int_eq(sqz_range_decode_rows(&params, &geometry, high, 8, levels, "w", &err), SQZ_MALFORMED);
    ck_assert_str_eq(err.text, "weight w: a lane begins with a number out of range");
    params.max_positive = 0;
    ck_assert_int_eq(sqz_range_decode_rows(&params, &geometry, some, 0, levels, "w", &err), SQZ_OK);
    ck_assert_int_eq(sqz_range_decode_rows(&params, &geometry, some, 1, levels, "w", &err), SQZ_MALFORMED);
    sqz_buffer_free(&section);
    sqz_buffer_free(&longer);
}
END_TEST

START_TEST(first_byte_is_checked) {
    struct sqz_shape shape = sqz_shape2(10, 10);
    struct sqz_packed *packed = sample_codebook(100, 4, 1, 1), *back;
    struct sqz_buffer section = {0};
    encode(packed, &shape, SQZ_CODER_HUFFMAN, &section);
    for (unsigned first = 0; first < 256; first++) {
        if (first == section.data[0]) continue;
        uint8_t kept = section.data[0];
        section.data[0] = (uint8_t)first;
        enum sqz_status status = sqz_tensor_decode(section.data, section.nbytes, &shape, 100, "w", &back, NULL);
        bool known = first >> 7 == 0 && (first & 3) >= SQZ_STORAGE_CODEBOOK && (first >> 2 & 3) < SQZ_LAYOUT_COUNT;
        if (first >> 6 == 1 && (first & 3) != SQZ_STORAGE_UNIFORM) known = false;
        if (!known) ck_assert_int_eq(status, SQZ_MALFORMED);
        if (known && (first >> 4 & 3) > SQZ_STREAM_RANGE) ck_assert_int_eq(status, SQZ_UNSUPPORTED);
        if (status == SQZ_OK) sqz_packed_free(back);
        section.data[0] = kept;
    }
    sqz_buffer_free(&section);
    sqz_packed_free(packed);
}
END_TEST

START_TEST(broken_promises_are_refused) {
    struct sqz_shape shape = sqz_shape2(10, 10);
    struct sqz_packed *packed = sample_codebook(100, 4, 1, 1);
    struct sqz_buffer section = {0};
    packed->levels[50] = 5;
    ck_assert_int_eq(sqz_tensor_encode(packed, &shape, 100, SQZ_CODER_AUTO, "w", &section, NULL), SQZ_MALFORMED);
    packed->levels[50] = -1;
    ck_assert_int_eq(sqz_tensor_encode(packed, &shape, 100, SQZ_CODER_AUTO, "w", &section, NULL), SQZ_MALFORMED);
    sqz_buffer_free(&section);
    sqz_packed_free(packed);
}
END_TEST

/* The n-th allocation fails, for every n until none does. */
START_TEST(short_of_memory) {
    struct sqz_shape shape = sqz_shape4(160, 12, 3, 3);
    const size_t count = 160 * 12 * 9;
    sqz_set_threads(1);
    for (size_t which = 0; which < 5; which++) {
        struct sqz_packed *packed = damage_sample(which, count);
        enum sqz_status status = SQZ_OUT_OF_MEMORY;
        struct sqz_buffer section = {0};
        for (long n = 0; status != SQZ_OK; n++) {
            sqz_buffer_free(&section);
            sqz_alloc_fail_after(n);
            status = sqz_tensor_encode(packed, &shape, count, coders[_i], "w", &section, NULL);
            sqz_alloc_fail_after(-1);
            ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
        }
        status = SQZ_OUT_OF_MEMORY;
        struct sqz_packed *back = NULL;
        for (long n = 0; status != SQZ_OK; n++) {
            sqz_alloc_fail_after(n);
            status = sqz_tensor_decode(section.data, section.nbytes, &shape, count, "w", &back, NULL);
            sqz_alloc_fail_after(-1);
            ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
        }
        ck_assert(sample_equal(packed, back));
        sqz_packed_free(back);
        sqz_packed_free(packed);
        sqz_buffer_free(&section);
    }
}
END_TEST

Suite *test_tensor_code(void);

Suite *test_tensor_code(void) {
    Suite *suite = suite_create("tensor_code");
    TCase *tcase = tcase_create("tensor_code");
    tcase_set_timeout(tcase, 240);
    tcase_add_loop_test(tcase, codebooks_round_trip, 0, N_CODERS);
    tcase_add_loop_test(tcase, uniform_levels_round_trip, 0, N_CODERS);
    tcase_add_loop_test(tcase, an_empty_tensor_round_trips, 0, N_CODERS);
    tcase_add_loop_test(tcase, degenerate_alphabets, 0, N_CODERS);
    tcase_add_test(tcase, fibonacci_histograms);
    tcase_add_test(tcase, each_layout_has_its_place);
    tcase_add_loop_test(tcase, lanes_cover_every_weight_once, 0, 2);
    tcase_add_loop_test(tcase, damaged_sections_are_survived, 0, N_CODERS);
    tcase_add_test(tcase, hostile_forms_are_refused);
    tcase_add_test(tcase, hostile_positions_are_refused);
    tcase_add_test(tcase, weights_without_values_are_refused);
    tcase_add_test(tcase, ambiguous_bytes_are_refused);
    tcase_add_test(tcase, first_byte_is_checked);
    tcase_add_test(tcase, broken_promises_are_refused);
    tcase_add_loop_test(tcase, short_of_memory, 0, N_CODERS);
    suite_add_tcase(suite, tcase);
    return suite;
}
