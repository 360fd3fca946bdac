/* test_range.c - the binary range coder, the side information and the range-coded levels. */
#include <check.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"
#include "lib/parallel.h"
#include "lib/range_model.h"
#include "lib/side_code.h"
#include "lib/tensor_code.h"
#include "tests/unit/packed_samples.h"

/* ---- bits ------------------------------------------------------------------------------ */

START_TEST(bits_round_trip_at_any_odds) {
    enum { N = 60000 };
    static uint16_t odds[N];
    static uint8_t bits[N];
    static const uint16_t fixed[] = {1, 65535, 32768, 3, 65000};
    for (int kind = 0; kind < 7; kind++) {
        uint64_t state = 11 + (uint64_t)kind;
        struct sqz_buffer bytes = {0};
        struct sqz_range_encoder encoder;
        double entropy = 0;
        sqz_range_encoder_start(&encoder, &bytes);
        for (int i = 0; i < N; i++) {
            odds[i] = kind < 5 ? fixed[kind] : (uint16_t)(1 + sample_random(&state) % 65535);
            /* The last kind always takes the unlikely side, which makes carries run through long strings of 0xff. */
            bits[i] = kind == 6 ? odds[i] < 32768 : sample_unit(&state) * 65536 < odds[i];
            entropy -= log2((bits[i] ? odds[i] : 65536 - odds[i]) / 65536.0);
            sqz_range_encode(&encoder, odds[i], bits[i]);
        }
        sqz_range_encoder_finish(&encoder);
        ck_assert_int_eq(sqz_buffer_status(&bytes, NULL), SQZ_OK);
        ck_assert_msg((double)bytes.nbytes <= entropy / 8 * 1.0002 + 3, "%zu bytes for %.1f", bytes.nbytes,
                      entropy / 8);
        struct sqz_range_decoder decoder;
        sqz_range_decoder_start(&decoder, bytes.data, bytes.nbytes);
        for (int i = 0; i < N; i++) ck_assert_uint_eq(sqz_range_decode(&decoder, odds[i]), bits[i]);
        ck_assert_ptr_eq(decoder.next, decoder.end);
        sqz_buffer_free(&bytes);
    }
}
END_TEST

START_TEST(short_streams_round_trip) {
    for (unsigned n = 0; n <= 12; n++)
        for (unsigned word = 0; word < 1u << n; word++) {
            struct sqz_buffer bytes = {0};
            struct sqz_range_encoder encoder;
            struct sqz_range_decoder decoder;
            sqz_range_encoder_start(&encoder, &bytes);
            for (unsigned i = 0; i < n; i++) sqz_range_encode(&encoder, 20000 + 3000 * i, word >> i & 1);
            sqz_range_encoder_finish(&encoder);
            sqz_range_decoder_start(&decoder, bytes.data, bytes.nbytes);
            for (unsigned i = 0; i < n; i++)
                ck_assert_uint_eq(sqz_range_decode(&decoder, 20000 + 3000 * i), word >> i & 1);
            sqz_buffer_free(&bytes);
        }
}
END_TEST

/* A probability that reached 0 or 1 would make the other bit impossible to write. */
START_TEST(probabilities_stay_inside) {
    uint32_t steps[SQZ_PROBABILITY_MAX_COUNT + 1];
    sqz_probability_fill_steps(steps);
    for (unsigned bit = 0; bit < 2; bit++) {
        sqz_probability state = SQZ_PROBABILITY_START;
        struct sqz_adaptive_bit adaptive = SQZ_ADAPTIVE_BIT_START;
        for (int i = 0; i < 100000; i++) {
            state = sqz_probability_learn(state, bit, steps);
            sqz_adaptive_bit_learn(&adaptive, bit);
            ck_assert(state >> 16 >= 1 && state >> 16 <= 65535);
            ck_assert(adaptive.p_one >= 1);
        }
        /* And yet they learn. */
        ck_assert(bit ? state >> 16 > 65000 : state >> 16 < 500);
    }
    sqz_probability state = SQZ_PROBABILITY_START;
    for (int i = 0; i < 30000; i++) state = sqz_probability_learn(state, i % 10 < 3, steps);
    ck_assert_int_lt(abs((int)(state >> 16) - 19660), 1500);
}
END_TEST

/* ---- side information -------------------------------------------------------------------- */

START_TEST(numbers_round_trip) {
    struct sqz_buffer bytes = {0};
    struct sqz_range_encoder encoder;
    struct sqz_range_decoder decoder;
    static struct sqz_side_coder side;
    static const uint64_t numbers[] = {0, 1, 2, 3, 7, 8, 255, 65535, 4294967295u, ((uint64_t)1 << 62) - 2};
    static const int64_t signed_numbers[] = {0, -1, 1, -2, 2, 1000, -1000, INT64_MAX / 4, -(INT64_MAX / 4)};
    sqz_side_writer_start(&side, &encoder, &bytes);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint64_t v = numbers[i];
        sqz_side_number(&side, SQZ_SIDE_LANE, &v);
    }
    for (size_t i = 0; i < sizeof signed_numbers / sizeof *signed_numbers; i++) {
        int64_t v = signed_numbers[i];
        sqz_side_signed(&side, SQZ_SIDE_STEP, &v);
    }
    sqz_range_encoder_finish(&encoder);
    sqz_side_reader_start(&side, &decoder, bytes.data, bytes.nbytes);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uint64_t v = 0;
        sqz_side_number(&side, SQZ_SIDE_LANE, &v);
        ck_assert_uint_eq(v, numbers[i]);
    }
    for (size_t i = 0; i < sizeof signed_numbers / sizeof *signed_numbers; i++) {
        int64_t v = 0;
        sqz_side_signed(&side, SQZ_SIDE_STEP, &v);
        ck_assert_int_eq(v, signed_numbers[i]);
    }
    ck_assert(!side.failed);
    sqz_buffer_free(&bytes);
}
END_TEST

static void codebook_round_trip(const float *entries, size_t n) {
    struct sqz_buffer bytes = {0};
    struct sqz_range_encoder encoder;
    struct sqz_range_decoder decoder;
    static struct sqz_side_coder side;
    float back[256];
    sqz_side_writer_start(&side, &encoder, &bytes);
    sqz_side_codebook(&side, (float *)(uintptr_t)entries, n);
    sqz_range_encoder_finish(&encoder);
    sqz_side_reader_start(&side, &decoder, bytes.data, bytes.nbytes);
    sqz_side_codebook(&side, back, n);
    ck_assert(!side.failed);
    ck_assert(n == 0 || memcmp(back, entries, n * sizeof *back) == 0);
    sqz_buffer_free(&bytes);
}

/* Bit for bit, whatever the magnitudes: denormals, the largest floats, neighbours. */
START_TEST(codebooks_are_exact) {
    static const float extremes[] = {-FLT_MAX, -1, -FLT_MIN, -1e-45f, 1e-45f, 3e-45f, 1e-40f, 1, FLT_MAX};
    codebook_round_trip(extremes, sizeof extremes / sizeof *extremes);
    codebook_round_trip(NULL, 0);
    for (size_t i = 0; i < sizeof extremes / sizeof *extremes; i++) codebook_round_trip(&extremes[i], 1);
    float dense[256];
    dense[0] = 0.5f;
    for (size_t i = 1; i < 256; i++) dense[i] = nextafterf(dense[i - 1], 1);
    codebook_round_trip(dense, 256);
}
END_TEST

START_TEST(steps_and_values_are_exact) {
    struct sqz_buffer bytes = {0};
    struct sqz_range_encoder encoder;
    struct sqz_range_decoder decoder;
    static struct sqz_side_coder side;
    float steps[] = {0.01f, 1e-45f, FLT_MAX, 0.25f, 0.25f}, steps_back[5];
    int16_t values[] = {-SQZ_MAX_LEVEL, -3, -1, 1, 2, 3, 900, SQZ_MAX_LEVEL}, values_back[8];
    sqz_side_writer_start(&side, &encoder, &bytes);
    sqz_side_steps(&side, steps, 5);
    sqz_side_values(&side, values, 8, SQZ_MAX_LEVEL);
    sqz_range_encoder_finish(&encoder);
    sqz_side_reader_start(&side, &decoder, bytes.data, bytes.nbytes);
    sqz_side_steps(&side, steps_back, 5);
    sqz_side_values(&side, values_back, 8, SQZ_MAX_LEVEL);
    ck_assert(!side.failed);
    ck_assert_int_eq(memcmp(steps, steps_back, sizeof steps), 0);
    ck_assert_int_eq(memcmp(values, values_back, sizeof values), 0);
    sqz_buffer_free(&bytes);
}
END_TEST

/* ---- levels ---------------------------------------------------------------------------------- */

static size_t encoded_size(const struct sqz_packed *packed, const struct sqz_shape *shape, enum sqz_coder coder) {
    struct sqz_buffer section = {0};
    ck_assert_int_eq(sqz_tensor_encode(packed, shape, packed->n_levels, coder, "w", &section, NULL), SQZ_OK);
    size_t nbytes = section.nbytes;
    sqz_buffer_free(&section);
    return nbytes;
}

START_TEST(range_is_never_much_larger_than_huffman) {
    struct sqz_shape shape = sqz_shape4(40, 30, 3, 3);
    for (uint64_t seed = 1; seed <= 12; seed++) {
        static const double densities[] = {0.02, 0.3, 0.7, 1};
        uint32_t n = 1u << seed % 9;
        struct sqz_packed *packed = seed % 3 ? sample_codebook(10800, n, densities[seed % 4], seed)
                                             : sample_uniform(10800, 1, 0.3 * (double)seed, seed);
        size_t huffman = encoded_size(packed, &shape, SQZ_CODER_HUFFMAN);
        size_t range = encoded_size(packed, &shape, SQZ_CODER_RANGE);
        size_t smaller = encoded_size(packed, &shape, SQZ_CODER_AUTO);
        ck_assert_msg((double)range <= 1.005 * (double)huffman, "%zu against %zu", range, huffman);
        ck_assert_uint_eq(smaller, range < huffman ? range : huffman);
        sqz_packed_free(packed);
    }
}
END_TEST

/* Smooth kernels of filters of different strength: neighbours tell signs and magnitudes, which Huffman cannot see. */
START_TEST(neighbours_are_used) {
    struct sqz_shape shape = sqz_shape4(48, 32, 3, 3);
    struct sqz_packed *packed = sample_uniform(48 * 32 * 9, 1, 0, 1);
    uint64_t state = 3;
    for (size_t o = 0; o < 48; o++)
        for (size_t i = 0; i < 32; i++) {
            double level = (sample_unit(&state) - 0.5) * (o % 4 == 0 ? 30 : 6);
            for (size_t k = 0; k < 9; k++)
                packed->levels[(o * 32 + i) * 9 + k] = (int16_t)lround(level + 2 * (sample_unit(&state) - 0.5));
        }
    size_t huffman = encoded_size(packed, &shape, SQZ_CODER_HUFFMAN);
    size_t range = encoded_size(packed, &shape, SQZ_CODER_RANGE);
    ck_assert_msg((double)range < 0.85 * (double)huffman, "%zu against %zu", range, huffman);
    sqz_packed_free(packed);
}
END_TEST

static void lane_round_trip(const struct sqz_shape *shape, const int16_t *levels, size_t count,
                            enum sqz_range_scan scan, enum sqz_range_detail detail) {
    struct sqz_range_params params = {.scan = scan, .detail = detail};
    size_t n_rows = (size_t)shape->dim[0];
    struct sqz_range_geometry geometry = sqz_range_geometry_of(shape, n_rows, count / n_rows, scan);
    struct sqz_buffer bytes = {0};
    int16_t *back = malloc(count * sizeof *back);
    memset(back, 0x55, count * sizeof *back);
    sqz_range_params_of(&params, levels, count);
    ck_assert_int_eq(sqz_range_encode_rows(&params, &geometry, levels, &bytes, NULL, NULL), SQZ_OK);
    ck_assert_int_eq(sqz_range_decode_rows(&params, &geometry, bytes.data, bytes.nbytes, back, "w", NULL), SQZ_OK);
    ck_assert_int_eq(memcmp(levels, back, count * sizeof *back), 0);
    free(back);
    sqz_buffer_free(&bytes);
}

/* Awkward shapes: channels around the chunk size, tall and wide windows, more positions than contexts are kept for. */
START_TEST(every_scan_and_detail_round_trips) {
    static const struct sqz_shape shapes[] = {
        {4, {3, 31, 1, 1}}, {4, {5, 33, 3, 3}},   {4, {2, 64, 1, 7}},  {4, {7, 1, 5, 1}}, {2, {33, 65}},
        {3, {4, 9, 6}},     {5, {2, 3, 2, 3, 2}}, {4, {1, 2, 33, 32}}, {1, {77}},         {4, {32, 3, 11, 11}},
    };
    static const double means[] = {0.3, 2, 700};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t m = 0; m < 3; m++) {
            size_t count;
            ck_assert(sqz_shape_count(&shapes[s], &count));
            struct sqz_packed *packed = sample_uniform(count, 1, means[m], 5 + s);
            if (m == 1)
                for (size_t i = 0; i < count; i++) packed->levels[i] = (int16_t)(1 + abs(packed->levels[i]));
            for (int scan = 0; scan < 2; scan++)
                for (int detail = 0; detail < SQZ_DETAIL_COUNT; detail++)
                    lane_round_trip(&shapes[s], packed->levels, count, (enum sqz_range_scan)scan,
                                    (enum sqz_range_detail)detail);
            sqz_packed_free(packed);
        }
}
END_TEST

/* A tensor of several lanes is coded in parallel, to the same bytes, and decoded lane by lane. */
START_TEST(large_tensors_have_entry_points) {
    struct sqz_shape shape = sqz_shape2(700, 1000);
    struct sqz_packed *packed = sample_uniform(700000, 700, 1.2, 8), *back;
    struct sqz_buffer first = {0}, again = {0};
    sqz_set_threads(1);
    ck_assert_int_eq(sqz_tensor_encode(packed, &shape, 700000, SQZ_CODER_RANGE, "w", &first, NULL), SQZ_OK);
    sqz_set_threads(3);
    ck_assert_int_eq(sqz_tensor_encode(packed, &shape, 700000, SQZ_CODER_RANGE, "w", &again, NULL), SQZ_OK);
    sqz_set_threads(0);
    ck_assert_uint_eq(first.nbytes, again.nbytes);
    ck_assert_int_eq(memcmp(first.data, again.data, first.nbytes), 0);
    struct sqz_tensor_decoder decoder;
    ck_assert_int_eq(sqz_tensor_open(&decoder, first.data, first.nbytes, &shape, 700000, "w", NULL), SQZ_OK);
    ck_assert_int_eq(decoder.form.coder, SQZ_STREAM_RANGE);
    ck_assert_uint_eq(sqz_tensor_groups(&decoder), 3);
    for (size_t i = 3; i-- > 0;) ck_assert_int_eq(sqz_tensor_decode_group(&decoder, i, NULL), SQZ_OK);
    back = sqz_tensor_take(&decoder);
    ck_assert(sample_equal(packed, back));
    sqz_tensor_close(&decoder);
    sqz_packed_free(back);
    sqz_packed_free(packed);
    sqz_buffer_free(&first);
    sqz_buffer_free(&again);
}
END_TEST

START_TEST(bad_lanes_are_refused) {
    struct sqz_shape shape = sqz_shape2(4, 50);
    struct sqz_packed *packed = sample_uniform(200, 1, 3, 2);
    struct sqz_range_params params = {.scan = SQZ_SCAN_BY_OUTPUT};
    struct sqz_range_geometry geometry = sqz_range_geometry_of(&shape, 4, 50, params.scan);
    struct sqz_buffer bytes = {0};
    struct sqz_error err = {0};
    int16_t back[200];
    packed->levels[7] = 11;
    packed->levels[8] = -11;
    sqz_range_params_of(&params, packed->levels, 200);
    ck_assert_int_eq(sqz_range_encode_rows(&params, &geometry, packed->levels, &bytes, NULL, NULL), SQZ_OK);
    struct sqz_range_params narrow = params;
    narrow.max_positive = 10; /* the same buckets, so the stream still decodes to an 11 */
    ck_assert_int_eq(sqz_range_decode_rows(&narrow, &geometry, bytes.data, bytes.nbytes, back, "w", &err),
                     SQZ_MALFORMED);
    ck_assert_str_eq(err.text, "weight w: a level lies outside the bounds of the tensor");
    for (int i = 0; i < 16; i++) sqz_put_u8(&bytes, 1);
    ck_assert_int_eq(sqz_range_decode_rows(&params, &geometry, bytes.data, bytes.nbytes, back, "w", &err),
                     SQZ_MALFORMED);
    ck_assert_str_eq(err.text, "weight w: bytes are left over behind the levels of a lane");
    sqz_buffer_free(&bytes);
    sqz_packed_free(packed);
}
END_TEST

Suite *test_range(void);

Suite *test_range(void) {
    Suite *suite = suite_create("range");
    TCase *tcase = tcase_create("range");
    tcase_set_timeout(tcase, 240);
    tcase_add_test(tcase, bits_round_trip_at_any_odds);
    tcase_add_test(tcase, short_streams_round_trip);
    tcase_add_test(tcase, probabilities_stay_inside);
    tcase_add_test(tcase, numbers_round_trip);
    tcase_add_test(tcase, codebooks_are_exact);
    tcase_add_test(tcase, steps_and_values_are_exact);
    tcase_add_test(tcase, range_is_never_much_larger_than_huffman);
    tcase_add_test(tcase, neighbours_are_used);
    tcase_add_test(tcase, every_scan_and_detail_round_trips);
    tcase_add_test(tcase, large_tensors_have_entry_points);
    tcase_add_test(tcase, bad_lanes_are_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
