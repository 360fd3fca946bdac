/*
 * bench_decode.c - milliseconds from the bytes of .sqz files to a session that is ready to run, step by step.
 *
 * usage: bench-decode FILE.sqz... : for each file the best and the median of several rounds, on one thread and on two.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "eval/engine.h"
#include "lib/container.h"
#include "lib/files.h"
#include "lib/memory.h"
#include "lib/parallel.h"

/* Enough for a median; the whole of SqueezeNet takes a quarter of a second, AlexNet ten. */
#define ROUNDS 21

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_times(const char *what, double *times) {
    qsort(times, ROUNDS, sizeof *times, ascending);
    printf("  %-22s %9.2f %9.2f\n", what, times[0], times[ROUNDS / 2]);
}

/* Decode and plan ROUNDS times; false, with a line, when the file cannot be used. */
static bool measure(const struct sqz_source *source, int threads) {
    double decode[ROUNDS], session[ROUNDS], both[ROUNDS];
    sqz_set_threads(threads);
    for (int round = 0; round < ROUNDS; round++) {
        struct sqz_model *model = NULL;
        struct sqz_session *ready = NULL;
        struct sqz_error err = {0};
        double start = now_ms();
        enum sqz_status status = sqz_container_decode(source->data, source->nbytes, 0, &model, &err);
        double decoded = now_ms();
        if (status == SQZ_OK) status = sqz_session_new(model, NULL, &ready, &err);
        double planned = now_ms();
        sqz_session_free(ready);
        sqz_model_free(model);
        if (status != SQZ_OK) {
            fprintf(stderr, "bench-decode: %s: %s\n", source->path, err.text);
            return false;
        }
        decode[round] = decoded - start;
        session[round] = planned - decoded;
        both[round] = planned - start;
    }
    printf(" %d thread%s\n", threads, threads == 1 ? "" : "s");
    print_times("decode", decode);
    print_times("plan and pack", session);
    print_times("ready to run", both);
    return true;
}

int main(int argc, char **argv) {
    int code = 0;
    for (int i = 1; i < argc; i++) {
        struct sqz_source source;
        struct sqz_error err = {0};
        if (sqz_source_open(argv[i], SQZ_SOURCE_LIMIT, &source, &err) != SQZ_OK) {
            fprintf(stderr, "bench-decode: %s: %s\n", argv[i], err.text);
            return 1;
        }
        printf("%s, %zu bytes           best    median, ms\n", argv[i], source.nbytes);
        if (!measure(&source, 1) || !measure(&source, 2)) code = 1;
        sqz_source_close(&source);
    }
    return code;
}
