/* bench_coder.c - bits for each weight and weights decoded in a second on one core, Huffman against range coder. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/memory.h"
#include "lib/tensor_code.h"
#include "lib/trellis.h"

/* Processor time of this thread, so that other work on the machine counts little. */
static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double unit(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)(*state * 0x2545F4914F6CDD1DULL >> 11) * 0x1p-53;
}

/* Two-sided geometric levels of the given mean magnitude, independent of each other. */
static void fill(struct sqz_packed *packed, double mean, uint64_t seed) {
    for (size_t i = 0; i < packed->n_levels; i++) {
        int magnitude = (int)(-mean * log(1 - unit(&seed)) + 0.5);
        if (magnitude > SQZ_MAX_LEVEL) magnitude = SQZ_MAX_LEVEL;
        packed->levels[i] = (int16_t)(unit(&seed) < 0.5 ? magnitude : -magnitude);
    }
}

/* The fastest of some rounds; exits when decoding fails, which nothing here can cause. */
static double decode_seconds(const struct sqz_buffer *section, const struct sqz_shape *shape, size_t count) {
    enum { ROUNDS = 7 };
    double best = INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        struct sqz_packed *back;
        double start = seconds();
        if (sqz_tensor_decode(section->data, section->nbytes, shape, count, "bench", &back, NULL) != SQZ_OK) exit(1);
        double elapsed = seconds() - start;
        if (elapsed < best) best = elapsed;
        sqz_packed_free(back);
    }
    return best;
}

/* Use the levels as indices: those of a trellis of eight states. */
static void make_trellis(struct sqz_packed *packed, const struct sqz_shape *shape) {
    struct sqz_lanes lanes = sqz_lanes_of(shape, packed->n_levels, SQZ_STREAM_RANGE);
    sqz_trellis_restore(8, &lanes, packed->levels);
    packed->trellis_states = 8;
}

int main(void) {
    static const double means[] = {0.25, 0.5, 0.8, 1.2, 2, 4, 16};
    const struct sqz_shape shape = sqz_shape4(256, 256, 3, 3);
    const size_t count = 256 * 256 * 9;
    float step = 1;
    struct sqz_packed packed = {.kind = SQZ_LEVELS_UNIFORM, .n_levels = count, .n_steps = 1, .steps = &step};
    packed.levels = sqz_alloc(count, sizeof *packed.levels);
    if (!packed.levels) return 1;
    printf("levels     coder            bits/weight   decoded, M weights/s\n");
    for (size_t m = 0; m < sizeof means / sizeof *means; m++) {
        static const enum sqz_coder coders[] = {SQZ_CODER_HUFFMAN, SQZ_CODER_RANGE, SQZ_CODER_HUFFMAN, SQZ_CODER_RANGE};
        static const char *const names[] = {"huffman", "range", "huffman, trellis", "range, trellis"};
        packed.trellis_states = 0;
        fill(&packed, means[m], 88172645463325252ULL);
        for (int c = 0; c < 4; c++) {
            if (c == 2) make_trellis(&packed, &shape);
            struct sqz_buffer section = {0};
            if (sqz_tensor_encode(&packed, &shape, count, coders[c], "bench", &section, NULL) != SQZ_OK) return 1;
            double elapsed = decode_seconds(&section, &shape, count);
            printf("mean %-5g %-16s %8.3f %18.1f\n", means[m], names[c], 8.0 * (double)section.nbytes / (double)count,
                   (double)count / elapsed / 1e6);
            sqz_buffer_free(&section);
        }
    }
    sqz_free(packed.levels);
    return 0;
}
