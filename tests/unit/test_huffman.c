/* test_huffman.c - code lengths, canonical codes, and the decoder of several lanes. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "lib/huffman.h"
#include "lib/memory.h"
#include "tests/unit/packed_samples.h"

static void lengths_of(const uint64_t *counts, size_t n, unsigned limit, uint8_t *lengths) {
    ck_assert_int_eq(sqz_huffman_lengths(counts, n, limit, lengths, NULL), SQZ_OK);
}

/* Kraft's sum in units of 2^-15; 2^15 is a complete code. */
static uint32_t kraft(const uint8_t *lengths, size_t n) {
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        if (lengths[i]) sum += 1u << (SQZ_HUFFMAN_MAX_LENGTH - lengths[i]);
    return sum;
}

/* Cost of the code without a limit: the sum of all merged counts. */
static uint64_t unlimited_cost(const uint64_t *counts, size_t n) {
    uint64_t heap[64], cost = 0;
    memcpy(heap, counts, n * sizeof *heap);
    while (n > 1) {
        for (int round = 0; round < 2; round++)
            for (size_t i = round; i < n; i++)
                if (heap[i] < heap[round]) {
                    uint64_t swap = heap[i];
                    heap[i] = heap[round];
                    heap[round] = swap;
                }
        heap[1] += heap[0];
        cost += heap[1];
        memmove(heap, heap + 1, --n * sizeof *heap);
    }
    return cost;
}

/* Fibonacci counts make the deepest trees: 18 symbols need 17 bits, 26 need 25. */
START_TEST(fibonacci_counts_stay_within_the_limit) {
    static const size_t sizes[] = {18, 26, 34};
    for (size_t s = 0; s < 3; s++) {
        uint64_t counts[34] = {1, 1};
        uint8_t lengths[34];
        size_t n = sizes[s];
        for (size_t i = 2; i < n; i++) counts[i] = counts[i - 1] + counts[i - 2];
        for (unsigned limit = 12; limit <= SQZ_HUFFMAN_MAX_LENGTH; limit++) {
            lengths_of(counts, n, limit, lengths);
            for (size_t i = 0; i < n; i++) ck_assert(lengths[i] >= 1 && lengths[i] <= limit);
            ck_assert_uint_eq(kraft(lengths, n), 1u << SQZ_HUFFMAN_MAX_LENGTH);
            uint64_t cost = sqz_huffman_cost(counts, lengths, n), bound = unlimited_cost(counts, n);
            ck_assert_uint_ge(cost, bound);
            ck_assert_msg(cost * 100 <= bound * 101, "%zu symbols in %u bits: %lu against %lu", n, limit,
                          (unsigned long)cost, (unsigned long)bound);
        }
    }
}
END_TEST

/* Every complete code of up to five symbols within the limit, by trial. */
static uint64_t best_cost_by_trial(const uint64_t *counts, size_t n, unsigned limit) {
    uint8_t lengths[5];
    uint64_t best = UINT64_MAX, combinations = 1;
    for (size_t i = 0; i < n; i++) combinations *= limit;
    for (uint64_t c = 0; c < combinations; c++) {
        uint64_t rest = c;
        for (size_t i = 0; i < n; i++, rest /= limit) lengths[i] = (uint8_t)(1 + rest % limit);
        if (kraft(lengths, n) > 1u << SQZ_HUFFMAN_MAX_LENGTH) continue;
        uint64_t cost = 0;
        for (size_t i = 0; i < n; i++) cost += counts[i] * lengths[i];
        if (cost < best) best = cost;
    }
    return best;
}

START_TEST(lengths_are_optimal) {
    uint64_t state = 7;
    for (int trial = 0; trial < 300; trial++) {
        uint64_t counts[5];
        uint8_t lengths[5];
        size_t n = 2 + trial % 4;
        unsigned limit = n > 4 ? 3 : 2 + trial % 3;
        for (size_t i = 0; i < n; i++) counts[i] = 1 + sample_random(&state) % (1u << (sample_random(&state) % 12));
        lengths_of(counts, n, limit, lengths);
        ck_assert_uint_eq(sqz_huffman_cost(counts, lengths, n), best_cost_by_trial(counts, n, limit));
        ck_assert_uint_eq(kraft(lengths, n), 1u << SQZ_HUFFMAN_MAX_LENGTH);
    }
}
END_TEST

START_TEST(full_and_large_alphabets) {
    static uint64_t counts[SQZ_HUFFMAN_MAX_SYMBOLS];
    static uint8_t lengths[SQZ_HUFFMAN_MAX_SYMBOLS];
    for (size_t i = 0; i < SQZ_HUFFMAN_MAX_SYMBOLS; i++) counts[i] = 1 + i * i;
    lengths_of(counts, SQZ_HUFFMAN_MAX_SYMBOLS, sqz_huffman_limit(SQZ_HUFFMAN_MAX_SYMBOLS), lengths);
    ck_assert_uint_eq(kraft(lengths, SQZ_HUFFMAN_MAX_SYMBOLS), 1u << SQZ_HUFFMAN_MAX_LENGTH);
    lengths_of(counts, 4096, 12, lengths); /* no freedom is left: all are 12 */
    for (size_t i = 0; i < 4096; i++) ck_assert_uint_eq(lengths[i], 12);
    ck_assert_uint_eq(sqz_huffman_limit(0), 12);
    ck_assert_uint_eq(sqz_huffman_limit(512), 12);
    ck_assert_uint_eq(sqz_huffman_limit(513), 13);
    ck_assert_uint_eq(sqz_huffman_limit(SQZ_HUFFMAN_MAX_SYMBOLS), SQZ_HUFFMAN_MAX_LENGTH);
}
END_TEST

/* Encode `counts` symbols into lanes and decode them again. */
static void round_trip(size_t n_symbols, size_t n_lanes, const size_t *counts, uint64_t seed) {
    uint64_t state = seed, histogram[600] = {0};
    uint8_t lengths[600], emit[600];
    uint16_t codes[600];
    uint16_t *symbols[4], *decoded[4];
    uint8_t *bytes[4];
    struct sqz_bit_reader readers[4];
    for (size_t k = 0; k < n_lanes; k++) {
        symbols[k] = malloc((counts[k] + 1) * sizeof **symbols);
        decoded[k] = malloc((counts[k] + 1) * sizeof **decoded);
        for (size_t i = 0; i < counts[k]; i++) {
            double skew = sample_unit(&state);
            symbols[k][i] = (uint16_t)(skew * skew * skew * (double)n_symbols);
            histogram[symbols[k][i]]++;
        }
    }
    lengths_of(histogram, n_symbols, sqz_huffman_limit(n_symbols), lengths);
    sqz_huffman_codes(lengths, n_symbols, codes, emit);
    for (size_t k = 0; k < n_lanes; k++) {
        bytes[k] = malloc(2 * counts[k] + SQZ_BIT_SLACK);
        struct sqz_bit_writer writer = sqz_bit_writer_make(bytes[k]);
        for (size_t i = 0; i < counts[k]; i++) sqz_bit_put(&writer, codes[symbols[k][i]], emit[symbols[k][i]]);
        size_t nbytes = sqz_bit_finish(&writer);
        bytes[k] = realloc(bytes[k], nbytes ? nbytes : 1); /* exact, so that a sanitizer sees any read beyond */
        readers[k] = sqz_bit_reader_make(bytes[k], nbytes);
    }
    struct sqz_huffman_decoder decoder;
    ck_assert_int_eq(sqz_huffman_decoder_init(&decoder, lengths, n_symbols, "test", NULL), SQZ_OK);
    sqz_huffman_decode(&decoder, readers, counts, decoded, n_lanes);
    for (size_t k = 0; k < n_lanes; k++) {
        ck_assert(counts[k] == 0 || memcmp(symbols[k], decoded[k], counts[k] * sizeof **symbols) == 0);
        ck_assert(sqz_bit_at_end(&readers[k]));
        free(symbols[k]);
        free(decoded[k]);
        free(bytes[k]);
    }
    sqz_huffman_decoder_free(&decoder);
}

START_TEST(lanes_round_trip) {
    static const size_t alphabets[] = {1, 2, 3, 17, 256, 257, 600};
    static const size_t counts[][4] = {{0, 0, 0, 0}, {1, 2, 3, 4}, {1000, 1000, 1000, 1000}, {5, 4000, 0, 77}};
    for (size_t a = 0; a < sizeof alphabets / sizeof *alphabets; a++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            for (size_t lanes = 1; lanes <= 4; lanes++)
                round_trip(alphabets[a], lanes, counts[c], 99 + a * 100 + c * 10 + lanes);
}
END_TEST

START_TEST(one_symbol_takes_no_bits) {
    uint64_t counts[4] = {0, 0, 5000, 0};
    uint8_t lengths[4], emit[4];
    uint16_t codes[4];
    lengths_of(counts, 4, 12, lengths);
    ck_assert_uint_eq(lengths[2], 1);
    ck_assert_uint_eq(sqz_huffman_cost(counts, lengths, 4), 0);
    sqz_huffman_codes(lengths, 4, codes, emit);
    ck_assert_uint_eq(emit[2], 0);
    struct sqz_huffman_decoder decoder;
    ck_assert_int_eq(sqz_huffman_decoder_init(&decoder, lengths, 4, "test", NULL), SQZ_OK);
    uint16_t symbols[3] = {9, 9, 9}, *out = symbols;
    struct sqz_bit_reader reader = sqz_bit_reader_make(NULL, 0);
    size_t n = 3;
    sqz_huffman_decode(&decoder, &reader, &n, &out, 1);
    for (int i = 0; i < 3; i++) ck_assert_uint_eq(symbols[i], 2);
    ck_assert(sqz_bit_at_end(&reader));
    sqz_huffman_decoder_free(&decoder);
    memset(counts, 0, sizeof counts);
    lengths_of(counts, 4, 12, lengths); /* and no symbol is a code, too */
    ck_assert_int_eq(sqz_huffman_decoder_init(&decoder, lengths, 4, "test", NULL), SQZ_OK);
    ck_assert_uint_eq(decoder.n_used, 0);
    sqz_huffman_decoder_free(&decoder);
}
END_TEST

START_TEST(bad_tables_are_refused) {
    static const struct {
        uint8_t lengths[4];
        const char *text;
    } bad[] = {
        {{1, 1, 1, 0}, "the Huffman table of the test is over-subscribed"},
        {{1, 2, 2, 15}, "the Huffman table of the test is over-subscribed"},
        {{1, 2, 3, 0}, "the Huffman table of the test is incomplete"},
        {{2, 0, 0, 0}, "the Huffman table of the test is incomplete"},
        {{1, 16, 0, 0}, "the Huffman table of the test has a code of 16 bits"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct sqz_huffman_decoder decoder;
        struct sqz_error err = {0};
        ck_assert_int_eq(sqz_huffman_decoder_init(&decoder, bad[i].lengths, 4, "test", &err), SQZ_MALFORMED);
        ck_assert_str_eq(err.text, bad[i].text);
        sqz_huffman_decoder_free(&decoder);
    }
}
END_TEST

/* A reader asked for more than there is supplies zeros and says so. */
START_TEST(reading_past_the_end_shows) {
    const uint8_t lengths[2] = {1, 1}, byte = 0xff;
    struct sqz_huffman_decoder decoder;
    ck_assert_int_eq(sqz_huffman_decoder_init(&decoder, lengths, 2, "test", NULL), SQZ_OK);
    uint16_t symbols[100], *out = symbols;
    for (size_t n = 1; n <= 100; n++) {
        struct sqz_bit_reader reader = sqz_bit_reader_make(&byte, 1);
        sqz_huffman_decode(&decoder, &reader, &n, &out, 1);
        ck_assert_int_eq(sqz_bit_at_end(&reader), n == 8);
    }
    sqz_huffman_decoder_free(&decoder);
}
END_TEST

START_TEST(short_of_memory) {
    uint64_t counts[20];
    uint8_t lengths[20];
    for (size_t i = 0; i < 20; i++) counts[i] = i + 1;
    for (long n = 0; n < 3; n++) {
        sqz_alloc_fail_after(n);
        ck_assert_int_eq(sqz_huffman_lengths(counts, 20, 12, lengths, NULL), SQZ_OUT_OF_MEMORY);
    }
    sqz_alloc_fail_after(-1);
    lengths_of(counts, 20, 12, lengths);
    struct sqz_huffman_decoder decoder;
    sqz_alloc_fail_after(0);
    ck_assert_int_eq(sqz_huffman_decoder_init(&decoder, lengths, 20, "test", NULL), SQZ_OUT_OF_MEMORY);
    sqz_alloc_fail_after(-1);
    sqz_huffman_decoder_free(&decoder);
}
END_TEST

Suite *test_huffman(void);

Suite *test_huffman(void) {
    Suite *suite = suite_create("huffman");
    TCase *tcase = tcase_create("huffman");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, fibonacci_counts_stay_within_the_limit);
    tcase_add_test(tcase, lengths_are_optimal);
    tcase_add_test(tcase, full_and_large_alphabets);
    tcase_add_test(tcase, lanes_round_trip);
    tcase_add_test(tcase, one_symbol_takes_no_bits);
    tcase_add_test(tcase, bad_tables_are_refused);
    tcase_add_test(tcase, reading_past_the_end_shows);
    tcase_add_test(tcase, short_of_memory);
    suite_add_tcase(suite, tcase);
    return suite;
}
