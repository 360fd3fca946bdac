/* test_trellis.c - levels that obey a trellis: the machines, the search for them, their sections. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/memory.h"
#include "lib/side_code.h"
#include "lib/tensor_code.h"
#include "lib/trellis_search.h"
#include "tests/unit/effort.h"
#include "tests/unit/packed_samples.h"

Suite *test_trellis(void);

/* ---- machines ------------------------------------------------------------------------ */

START_TEST(indices_and_levels_belong_together) {
    for (unsigned state = 0; state < 2; state++)
        for (int index = -SQZ_TRELLIS_MAX_INDEX; index <= SQZ_TRELLIS_MAX_INDEX; index++) {
            int level = sqz_trellis_level(state, index);
            ck_assert_int_eq(sqz_trellis_index(level), index);
            ck_assert_int_le(abs(level), SQZ_TRELLIS_MAX_LEVEL);
            ck_assert(level == 0 ? index == 0 : (level & 1) == (int)state);
            ck_assert((level > 0) == (index > 0) && (level < 0) == (index < 0));
        }
}
END_TEST

START_TEST(every_state_is_reached_from_two) {
    for (uint32_t n_states = 0; n_states < 600; n_states++) {
        bool power = n_states && (n_states & (n_states - 1)) == 0;
        ck_assert_int_eq(sqz_trellis_is_valid(n_states), power && n_states >= 4 && n_states <= 256);
        if (!sqz_trellis_is_valid(n_states)) continue;
        struct sqz_trellis trellis = sqz_trellis_of(n_states);
        unsigned reached[SQZ_TRELLIS_MAX_STATES] = {0};
        for (unsigned s = 0; s < n_states; s++)
            for (int index = -1; index <= 0; index++) {
                unsigned next = sqz_trellis_next(trellis, s, index);
                ck_assert_uint_lt(next, n_states);
                reached[next]++;
            }
        for (unsigned s = 0; s < n_states; s++) ck_assert_uint_eq(reached[s], 2);
    }
}
END_TEST

START_TEST(walks_restart_at_lanes) {
    const struct sqz_shape shapes[] = {sqz_shape2(700, 513), sqz_shape4(9, 30, 3, 3), sqz_shape2(3, 100001)};
    for (size_t s = 0; s < 3; s++) {
        struct sqz_packed *packed = sample_trellis(&shapes[s], 16, false, 1, 3 + s);
        size_t rows = (size_t)shapes[s].dim[0], row = packed->n_levels / rows;
        struct sqz_lanes lanes = sqz_lanes_of(&shapes[s], packed->n_levels, SQZ_STREAM_RANGE);
        int16_t *indices = malloc(packed->n_levels * sizeof *indices);
        uint8_t *quantisers = malloc(packed->n_levels);
        sqz_trellis_describe(16, &lanes, packed->levels, indices, quantisers);
        for (size_t c = 0; c < row; c += 101)
            for (size_t lane = 0; lane < lanes.n_lanes; lane++) {
                unsigned state = 0;
                for (size_t r = sqz_lane_first_row(&lanes, lane); r < sqz_lane_first_row(&lanes, lane + 1); r++) {
                    size_t at = r * row + c;
                    ck_assert_uint_eq(quantisers[at], state & 1);
                    ck_assert_int_eq(packed->levels[at], sqz_trellis_level(state, indices[at]));
                    state = state >> 1 ^ (state & 1 ? 12 : 0) ^ (indices[at] & 1 ? 7 : 0);
                }
            }
        sqz_trellis_restore(16, &lanes, indices);
        ck_assert_mem_eq(indices, packed->levels, packed->n_levels * sizeof *indices);
        free(indices);
        free(quantisers);
        sqz_packed_free(packed);
    }
}
END_TEST

START_TEST(check_knows_the_trellis) {
    struct sqz_shape shape = sqz_shape2(40, 3);
    struct sqz_error err = {0};
    struct sqz_packed *packed = sample_trellis(&shape, 8, true, 2, 1);
    ck_assert_int_eq(sqz_packed_check(packed, &shape, "w", &err), SQZ_OK);
    packed->levels[119] ^= packed->levels[119] ? 1 : 5;
    ck_assert_int_eq(sqz_packed_check(packed, &shape, "w", &err), SQZ_MALFORMED);
    ck_assert_str_eq(err.text, "the levels of weight w do not obey its trellis of 8 states");
    packed->levels[0] = 8192 - 1;
    ck_assert_int_eq(sqz_packed_check(packed, &shape, "w", &err), SQZ_MALFORMED);
    ck_assert_ptr_nonnull(strstr(err.text, "outside -8190..8190 of a trellis"));
    packed->trellis_states = 12;
    ck_assert_int_eq(sqz_packed_check(packed, &shape, "w", &err), SQZ_MALFORMED);
    ck_assert_ptr_nonnull(strstr(err.text, "a trellis of 12 states"));
    packed->trellis_states = 0;
    ck_assert_int_eq(sqz_packed_check(packed, &shape, "w", &err), SQZ_OK);
    sqz_packed_free(packed);
    packed = sample_codebook(120, 3, 1, 1);
    packed->trellis_states = 8;
    ck_assert_int_eq(sqz_packed_check(packed, &shape, "w", &err), SQZ_MALFORMED);
    sqz_packed_free(packed);
}
END_TEST

/* ---- search -------------------------------------------------------------------------- */

enum { ROWS = 5, REACH = 2 };

static double path_cost(const struct sqz_trellis_search *search, const struct sqz_trellis_column *column,
                        const int16_t *levels) {
    double cost = 0;
    unsigned state = column->start;
    for (size_t r = 0; r < column->n_rows; r++) {
        int index = sqz_trellis_index(levels[r]);
        if (sqz_trellis_level(state, index) != levels[r]) return INFINITY;
        if (column->zero && column->zero[r] && levels[r] != 0) return INFINITY;
        double error = column->targets[r] - (double)levels[r] * (double)column->steps[r];
        cost += column->weight * error * error;
        if (search->lambda > 0) cost += search->lambda * (double)sqz_rate_bits(&search->rate[state & 1], index);
        state = sqz_trellis_next(search->trellis, state, index);
    }
    return column->end >= 0 && state != (unsigned)column->end ? INFINITY : cost;
}

/* The least cost of all columns of indices up to REACH. */
static double best_by_trial(const struct sqz_trellis_search *search, const struct sqz_trellis_column *column) {
    double best = INFINITY;
    for (int trial = 0; trial < 3125; trial++) {
        int16_t levels[ROWS];
        unsigned state = column->start;
        for (int r = 0, rest = trial; r < ROWS; r++, rest /= 5) {
            int index = rest % 5 - REACH;
            levels[r] = (int16_t)sqz_trellis_level(state, index);
            state = sqz_trellis_next(search->trellis, state, index);
        }
        best = fmin(best, path_cost(search, column, levels));
    }
    return best;
}

START_TEST(search_finds_the_best) {
    uint64_t random = 5;
    struct sqz_rate_model rate[2];
    uint32_t decisions[ROWS][SQZ_TRELLIS_DECISION_WORDS];
    int16_t indices[ROWS][4], levels[ROWS];
    sqz_rate_model_geometric(&rate[0], 0.4);
    sqz_rate_model_geometric(&rate[1], 0.9);
    for (int round = 0; round < EFFORT(300, 60); round++) {
        unsigned n_states = 4u << round % 7;
        struct sqz_trellis_search search = {.trellis = sqz_trellis_of(n_states),
                                            .n_states = n_states,
                                            .step = sqz_trellis_step_for(n_states),
                                            .lambda = round % 3 ? 0.2 : 0,
                                            .rate = rate,
                                            .decisions = decisions,
                                            .indices = indices};
        double targets[ROWS];
        float steps[ROWS];
        bool zero[ROWS];
        for (int r = 0; r < ROWS; r++) {
            targets[r] = 3 * sample_unit(&random) - 1.5;
            steps[r] = (float)(0.5 + 0.1 * r);
            zero[r] = sample_random(&random) % 4 == 0;
        }
        struct sqz_trellis_column column = {
            ROWS, targets, steps, 1.5, round % 2 ? zero : NULL, (unsigned)sample_random(&random) % n_states, -1};
        unsigned end = sqz_trellis_search(&search, &column, levels);
        double cost = path_cost(&search, &column, levels), best = best_by_trial(&search, &column);
        ck_assert_msg(cost <= best + 1e-5, "round %d, %u states: %g, best %g", round, n_states, cost, best);
        column.end = (int)end;
        ck_assert(isfinite(path_cost(&search, &column, levels)));
        column.end = (int)(end ^ n_states / 2);
        best = best_by_trial(&search, &column);
        if (!isfinite(best)) continue; /* no path leads there */
        ck_assert_uint_eq(sqz_trellis_search(&search, &column, levels), (unsigned)column.end);
        ck_assert_double_le(path_cost(&search, &column, levels), best + 1e-5);
    }
}
END_TEST

START_TEST(versions_of_a_step_agree) {
#if defined(__x86_64__)
    if (!__builtin_cpu_supports("avx2")) {
        fprintf(stderr, "SKIPPED versions_of_a_step_agree (no AVX2)\n");
        return;
    }
    uint64_t random = 9;
    for (int round = 0; round < 200; round++) {
        unsigned n_states = 16u << round % 5;
        struct sqz_trellis_costs from, one = {0}, other = {0};
        uint32_t decisions[2][SQZ_TRELLIS_DECISION_WORDS];
        float branch[4];
        for (unsigned s = 0; s < n_states / 2; s++) {
            from.even[s] = sample_random(&random) % 5 ? (float)(sample_random(&random) % 8) : INFINITY;
            from.odd[s] = sample_random(&random) % 5 ? (float)sample_unit(&random) : INFINITY;
        }
        for (int i = 0; i < 4; i++) branch[i] = i == round % 9 ? INFINITY : (float)(sample_random(&random) % 4);
        struct sqz_trellis trellis = sqz_trellis_of(n_states);
        sqz_trellis_step_scalar(trellis, n_states, &from, branch, &one, decisions[0]);
        sqz_trellis_step_avx2(trellis, n_states, &from, branch, &other, decisions[1]);
        ck_assert_mem_eq(one.even, other.even, n_states / 2 * sizeof(float));
        ck_assert_mem_eq(one.odd, other.odd, n_states / 2 * sizeof(float));
        ck_assert_mem_eq(decisions[0], decisions[1], (n_states + 31) / 32 * sizeof(uint32_t));
    }
#else
    fprintf(stderr, "SKIPPED versions_of_a_step_agree (no AVX2)\n");
#endif
}
END_TEST

/* ---- sections ------------------------------------------------------------------------ */

static const enum sqz_coder coders[] = {SQZ_CODER_HUFFMAN, SQZ_CODER_RANGE};

static size_t encoded_nbytes(const struct sqz_packed *packed, const struct sqz_shape *shape, enum sqz_coder coder) {
    struct sqz_buffer section = {0};
    struct sqz_packed *back = NULL;
    struct sqz_error err = {0};
    ck_assert_msg(sqz_tensor_encode(packed, shape, packed->n_levels, coder, "w", &section, &err) == SQZ_OK, "%s",
                  err.text);
    ck_assert_msg(sqz_tensor_decode(section.data, section.nbytes, shape, packed->n_levels, "w", &back, &err) == SQZ_OK,
                  "%s", err.text);
    ck_assert(sample_equal(packed, back));
    size_t nbytes = section.nbytes;
    sqz_packed_free(back);
    sqz_buffer_free(&section);
    return nbytes;
}

START_TEST(sections_round_trip) {
    const struct sqz_shape shapes[] = {{.rank = 0},
                                       sqz_shape1(1),
                                       sqz_shape1(40),
                                       sqz_shape2(1, 300),
                                       sqz_shape2(300, 1),
                                       sqz_shape2(33, 65),
                                       sqz_shape2(0, 5),
                                       sqz_shape4(40, 33, 3, 3),
                                       sqz_shape4(7, 3, 1, 5),
                                       sqz_shape4(9, 1, 5, 5),
                                       sqz_shape2(300, 1200)};
    static const double means[] = {0, 0.1, 1, 30, 3000};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (size_t m = 0; m < 5; m++) {
            uint32_t n_states = 4u << (s + m) % 7;
            size_t count;
            ck_assert(sqz_shape_count(&shapes[s], &count));
            if (count > 100000 && m != 2) continue;
            struct sqz_packed *packed = sample_trellis(&shapes[s], n_states, m % 2 == 1, means[m], 10 * s + m);
            encoded_nbytes(packed, &shapes[s], SQZ_CODER_HUFFMAN);
            encoded_nbytes(packed, &shapes[s], SQZ_CODER_RANGE);
            sqz_packed_free(packed);
        }
}
END_TEST

/* Indices of half the range: a coder that did not know of the trellis would spend nearly a bit more on each weight. */
START_TEST(coders_make_use_of_the_trellis) {
    struct sqz_shape shape = sqz_shape4(64, 64, 3, 3);
    struct sqz_packed *packed = sample_trellis(&shape, 8, false, 2, 4);
    for (int c = 0; c < 2; c++) {
        packed->trellis_states = 8;
        size_t with = encoded_nbytes(packed, &shape, coders[c]);
        packed->trellis_states = 0;
        ck_assert_uint_lt(with * 6, encoded_nbytes(packed, &shape, coders[c]) * 5);
    }
    sqz_packed_free(packed);
}
END_TEST

/* The n-th allocation fails, for every n, in either direction. */
START_TEST(short_memory_is_survived) {
    struct sqz_shape shape = sqz_shape2(30, 20);
    struct sqz_packed *packed = sample_trellis(&shape, 32, true, 1, 4);
    for (int c = 0; c < 2; c++) {
        enum sqz_status status = SQZ_OUT_OF_MEMORY;
        for (long n = 0; status != SQZ_OK; n++) {
            struct sqz_buffer section = {0};
            struct sqz_packed *back = NULL;
            ck_assert_int_lt(n, 1000);
            sqz_alloc_fail_after(n);
            status = sqz_tensor_encode(packed, &shape, 600, coders[c], "w", &section, NULL);
            if (status == SQZ_OK)
                status = sqz_tensor_decode(section.data, section.nbytes, &shape, 600, "w", &back, NULL);
            sqz_alloc_fail_after(-1);
            ck_assert(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY);
            if (status == SQZ_OK) ck_assert(sample_equal(packed, back));
            if (status == SQZ_OK) sqz_packed_free(back);
            sqz_buffer_free(&section);
        }
    }
    sqz_packed_free(packed);
}
END_TEST

START_TEST(damaged_sections_are_survived) {
    struct sqz_shape shape = sqz_shape4(160, 12, 3, 3);
    uint64_t random = 21;
    for (int which = 0; which < 4; which++) {
        struct sqz_packed *packed = sample_trellis(&shape, which % 2 ? 256 : 8, which / 2, 1.2, 7);
        struct sqz_buffer section = {0};
        ck_assert_int_eq(sqz_tensor_encode(packed, &shape, packed->n_levels, coders[which % 2], "w", &section, NULL),
                         SQZ_OK);
        for (int round = 0; round < EFFORT(400, 100); round++) {
            size_t nbytes = round % 4 ? section.nbytes : sample_random(&random) % section.nbytes;
            uint8_t *copy = malloc(nbytes + 1);
            memcpy(copy, section.data, nbytes);
            /* Most of them near the front, where the side information is. */
            for (int flips = 0; nbytes && round % 4 && flips <= round % 3; flips++)
                copy[sample_random(&random) % (round % 2 && nbytes > 24 ? 24 : nbytes)] ^=
                    1 << sample_random(&random) % 8;
            struct sqz_packed *back;
            if (sqz_tensor_decode(copy, nbytes, &shape, packed->n_levels, "w", &back, NULL) == SQZ_OK) {
                /* An unused entry of a codebook is for the container to find. */
                if (back->kind == SQZ_LEVELS_UNIFORM)
                    ck_assert_int_eq(sqz_packed_check(back, &shape, "w", NULL), SQZ_OK);
                sqz_packed_free(back);
            }
            free(copy);
        }
        sqz_buffer_free(&section);
        sqz_packed_free(packed);
    }
}
END_TEST

/* A range-coded section of four levels with this code of states, scan and bound, and whatever lane. */
static enum sqz_status decode_made(uint32_t states_code, uint32_t scan, uint64_t bound, char *text) {
    struct sqz_buffer side_bytes = {0}, section = {0};
    struct sqz_range_encoder encoder;
    struct sqz_side_coder side;
    struct sqz_shape shape = sqz_shape2(4, 1);
    struct sqz_packed *back;
    struct sqz_error err = {0};
    float step = 0.5f;
    uint32_t zero = 0, one = 1;
    uint64_t negative = 0;
    sqz_side_writer_start(&side, &encoder, &side_bytes);
    sqz_side_raw(&side, 1, &zero); /* one step */
    sqz_side_steps(&side, &step, 1);
    sqz_side_raw(&side, 3, &states_code);
    sqz_side_number(&side, SQZ_SIDE_VALUE, &negative);
    sqz_side_number(&side, SQZ_SIDE_VALUE, &bound);
    sqz_side_raw(&side, 1, &one); /* has zero */
    sqz_side_raw(&side, 1, &scan);
    sqz_side_raw(&side, 2, &zero);
    sqz_side_raw(&side, 4, &zero);
    sqz_side_raw(&side, 8, &zero);
    sqz_range_encoder_finish(&encoder);
    sqz_put_u8(&section, 3 | 1 << 4 | 1 << 6);
    sqz_put_varint(&section, side_bytes.nbytes);
    sqz_put_bytes(&section, side_bytes.data, side_bytes.nbytes);
    /* All ones of a range coder are zero bytes: every level takes the largest bucket. */
    enum sqz_status status = sqz_tensor_decode(section.data, section.nbytes, &shape, 4, "w", &back, &err);
    if (status == SQZ_OK) sqz_packed_free(back);
    snprintf(text, sizeof err.text, "%s", err.text);
    sqz_buffer_free(&side_bytes);
    sqz_buffer_free(&section);
    return status;
}

START_TEST(bad_side_information_is_refused) {
    char text[sizeof((struct sqz_error *)0)->text];
    ck_assert_msg(decode_made(0, 0, 1, text) == SQZ_OK, "%s", text);
    ck_assert_msg(decode_made(6, 0, 4095, text) == SQZ_OK, "%s", text);
    static const char invalid[] = "weight w: the side information is not valid";
    ck_assert_int_eq(decode_made(7, 0, 1, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, invalid);
    ck_assert_int_eq(decode_made(0, 1, 1, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, invalid);
    ck_assert_int_eq(decode_made(0, 0, 4096, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, invalid);
    ck_assert_int_eq(decode_made(0, 0, 4094, text), SQZ_MALFORMED);
    ck_assert_str_eq(text, "weight w: a level lies outside the bounds of the tensor");
}
END_TEST

Suite *test_trellis(void) {
    Suite *suite = suite_create("trellis");
    TCase *tcase = tcase_create("trellis");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, indices_and_levels_belong_together);
    tcase_add_test(tcase, every_state_is_reached_from_two);
    tcase_add_test(tcase, walks_restart_at_lanes);
    tcase_add_test(tcase, check_knows_the_trellis);
    tcase_add_test(tcase, search_finds_the_best);
    tcase_add_test(tcase, versions_of_a_step_agree);
    tcase_add_test(tcase, sections_round_trip);
    tcase_add_test(tcase, coders_make_use_of_the_trellis);
    tcase_add_test(tcase, short_memory_is_survived);
    tcase_add_test(tcase, damaged_sections_are_survived);
    tcase_add_test(tcase, bad_side_information_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
