/*
 * bench_serve.c - runs a model whenever it is told to, so that a benchmark can take turns with other runtimes.
 *
 * usage: bench-serve MODEL BATCH THREADS [ENGINE [RESIDENT]]
 *
 * Prints "ready WEIGHT_NBYTES INPUT_COUNT OUTPUT_COUNT". Then, for each line "run N" on standard input: N runs, one
 * line of N times in milliseconds. For "result": a run and what comes out, one line of numbers. The input is
 * input[i] = ((i * 2654435761 mod 2^32) / 2^32 - 1/2) * 4, which other programs can make as well.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eval/engine.h"
#include "formats/formats.h"
#include "lib/memory.h"
#include "lib/parallel.h"

struct server {
    struct sqz_session *session;
    size_t batch;
    float *input, *output;
};

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static bool start(struct server *server, char **argv, int argc) {
    struct sqz_model *model;
    struct sqz_error err = {0};
    struct sqz_session_options options = {.max_batch = (uint32_t)strtoul(argv[2], NULL, 10)};
    sqz_set_threads((int)strtol(argv[3], NULL, 10));
    if ((argc > 4 && !sqz_engine_by_name(argv[4], &options.engine)) ||
        (argc > 5 && !sqz_resident_by_name(argv[5], &options.resident))) {
        fputs("bench-serve: unknown ENGINE or RESIDENT\n", stderr);
        return false;
    }
    if (sqz_model_read(argv[1], NULL, &model, &err) != SQZ_OK ||
        sqz_session_new(model, &options, &server->session, &err) != SQZ_OK) {
        fprintf(stderr, "bench-serve: %s: %s\n", argv[1], err.text);
        return false;
    }
    sqz_model_free(model);
    server->batch = options.max_batch ? options.max_batch : 1;
    size_t n = server->batch * sqz_session_input_count(server->session);
    server->input = sqz_alloc_aligned(n, sizeof *server->input);
    server->output = sqz_alloc_aligned(server->batch * sqz_session_output_count(server->session), sizeof(float));
    if (!server->input || !server->output) return false;
    for (size_t i = 0; i < n; i++) server->input[i] = ((float)((uint32_t)i * 2654435761u) * 0x1p-32f - 0.5f) * 4;
    printf("ready %zu %zu %zu\n", sqz_session_weight_nbytes(server->session), sqz_session_input_count(server->session),
           sqz_session_output_count(server->session));
    return true;
}

static void run(struct server *server, long n) {
    for (long i = 0; i < n; i++) {
        double begin = now_ms();
        sqz_session_run(server->session, server->input, server->batch, server->output);
        printf("%.4f ", now_ms() - begin);
    }
    printf("\n");
}

static void print_result(const struct server *server) {
    sqz_session_run(server->session, server->input, server->batch, server->output);
    size_t n = server->batch * sqz_session_output_count(server->session);
    for (size_t i = 0; i < n; i++) printf("%.8g ", (double)server->output[i]);
    printf("\n");
}

int main(int argc, char **argv) {
    struct server server;
    if (argc < 4 || argc > 6) {
        fputs("usage: bench-serve MODEL BATCH THREADS [ENGINE [RESIDENT]]\n", stderr);
        return 2;
    }
    if (!start(&server, argv, argc)) return 1;
    fflush(stdout);
    char line[64];
    long n;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "run %ld", &n) == 1) run(&server, n);
        if (strcmp(line, "result\n") == 0) print_result(&server);
        fflush(stdout);
    }
    sqz_free(server.input);
    sqz_free(server.output);
    sqz_session_free(server.session);
    return 0;
}
