/*
 * bench_kernels.c - GFLOP/s of every kernel on layers of SqueezeNet v1.1 and AlexNet, as a share of the measured peak
 * of one core, and milliseconds for both whole nets with random weights. Usage: bench-kernels [ROUNDS]
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "eval/kernels.h"
#include "lib/infer.h"
#include "lib/memory.h"
#include "lib/parallel.h"
#include "tests/unit/random_nets.h"

static int rounds = 50;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- peak of one core --------------------------------------------------------------- */

/* Twelve independent chains hide a latency of four cycles on two units with room to spare. */
#define CHAINS 12
#define PEAK_REPEATS 200000

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx512f"))) static double peak_avx512(void) {
    __m512 sum[CHAINS], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_set1_ps((float)i);
    double start = now();
    for (long r = 0; r < PEAK_REPEATS; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) sum[i] = _mm512_fmadd_ps(sum[i], a, b);
    }
    double time = now() - start;
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : : "v"(sum[i])); /* all sums are wanted */
    return 2.0 * 16 * CHAINS * PEAK_REPEATS / time * 1e-9;
}

__attribute__((target("avx2,fma"))) static double peak_avx2(void) {
    __m256 sum[CHAINS], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_set1_ps((float)i);
    double start = now();
    for (long r = 0; r < PEAK_REPEATS; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) sum[i] = _mm256_fmadd_ps(sum[i], a, b);
    }
    double time = now() - start;
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++) __asm__ volatile("" : : "x"(sum[i])); /* all sums are wanted */
    return 2.0 * 8 * CHAINS * PEAK_REPEATS / time * 1e-9;
}
#endif

/* GFLOP/s of one core at each level; 0 where there is no such unit or no vector code. */
static double peaks[3];

/* The best of many short tries, spread over the whole run since other work comes and goes. */
static void measure_peaks(void) {
#if defined(__x86_64__)
    for (int i = 0; i < 10; i++) {
        if (sqz_isa_detect() >= SQZ_ISA_AVX2) peaks[SQZ_ISA_AVX2] = fmax(peaks[SQZ_ISA_AVX2], peak_avx2());
        if (sqz_isa_detect() >= SQZ_ISA_AVX512) peaks[SQZ_ISA_AVX512] = fmax(peaks[SQZ_ISA_AVX512], peak_avx512());
    }
#endif
}

/* ---- single kernels ------------------------------------------------------------------ */

struct sample {
    const char *name;
    size_t in_c, out_c, size;
    struct sqz_window window;
    uint32_t groups; /* 0: a dense layer of in_c * size * size features */
};

static const struct sample samples[] = {
    {"squeezenet conv1", 3, 64, 224, {3, 3, 2, 2, 1, 1, 0, 0, 0, 0}, 1},
    {"fire2 squeeze", 64, 16, 55, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, 1},
    {"fire2 expand 3x3", 16, 64, 55, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, 1},
    {"fire5 expand 1x1", 32, 128, 27, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, 1},
    {"fire5 expand 3x3", 32, 128, 27, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, 1},
    {"fire9 expand 3x3", 64, 256, 13, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, 1},
    {"squeezenet conv10", 512, 1000, 13, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, 1},
    {"alexnet conv1", 3, 64, 224, {11, 11, 4, 4, 1, 1, 2, 2, 2, 2}, 1},
    {"alexnet conv2", 64, 192, 27, {5, 5, 1, 1, 1, 1, 2, 2, 2, 2}, 1},
    {"alexnet conv2, 2 groups", 96, 256, 27, {5, 5, 1, 1, 1, 1, 2, 2, 2, 2}, 2},
    {"alexnet conv3", 192, 384, 13, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, 1},
    {"depthwise 3x3", 128, 128, 28, {3, 3, 1, 1, 1, 1, 1, 1, 1, 1}, 128},
    {"alexnet fc8", 4096, 1000, 1, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0}, 0},
};

#define N_SAMPLES (sizeof samples / sizeof *samples)

static float *random_floats(size_t n) {
    static uint64_t random = 1;
    float *p = sqz_alloc_aligned(n ? n : 1, sizeof *p);
    if (!p) abort();
    for (size_t i = 0; i < n; i++) p[i] = random_unit(&random);
    return p;
}

static double time_kernel(const struct sqz_kernel *kernel, const struct sqz_layer *layer, size_t kernel_count) {
    size_t lanes = kernel->lanes;
    float *values = random_floats(sqz_round_up(layer->in_c, lanes) * layer->in_h * layer->in_w);
    float *weights = random_floats(kernel_count), *packed = random_floats(layer->weight_count);
    float *shared = random_floats(layer->shared_count), *local = random_floats(layer->local_count);
    float *out = random_floats(sqz_round_up(layer->out_c, lanes) * layer->out_h * layer->out_w);
    const float *in[1] = {values};
    struct sqz_io io = {.in = in, .out = out, .weights = packed, .shared = shared, .images = 1};
    for (size_t i = 0; i < layer->pack_items; i++) kernel->pack(layer, weights, NULL, packed, i);
    double best = INFINITY;
    for (int r = 0; r < rounds; r++) {
        double start = now();
        for (unsigned phase = 0; phase < layer->n_phases; phase++)
            for (size_t i = 0; i < layer->items[phase]; i++) kernel->run(layer, &io, phase, i, local);
        best = fmin(best, now() - start);
    }
    sqz_free(values);
    sqz_free(weights);
    sqz_free(packed);
    sqz_free(shared);
    sqz_free(local);
    sqz_free(out);
    return best;
}

/* Best time of every kernel on one sample; 0 where it does not apply. flops receives the plain loops' operations. */
static void bench_sample(const struct sample *sample, double *times, double *flops) {
    const struct sqz_window *w = &sample->window;
    size_t out_size = sqz_window_output(sample->size, w->kernel_h, w->stride_h, 1, w->pad_top, w->pad_bottom, false);
    struct sqz_shape in = sqz_shape4(1, sample->in_c, sample->size, sample->size);
    struct sqz_layer layer = {.n_inputs = 1, .in = &in, .low = 0, .high = INFINITY, .max_batch = 1};
    size_t kernel_count;
    if (sample->groups) {
        layer.op = SQZ_OP_CONV;
        layer.params.conv.window = *w;
        layer.params.conv.groups = sample->groups;
        layer.out = sqz_shape4(1, sample->out_c, out_size, out_size);
        kernel_count = sample->out_c * (sample->in_c / sample->groups) * w->kernel_h * w->kernel_w;
    } else {
        layer.op = SQZ_OP_DENSE;
        layer.out = sqz_shape2(1, sample->out_c);
        kernel_count = sample->out_c * sample->in_c;
    }
    sqz_layer_set_sizes(&layer);
    *flops = 2.0 * (double)kernel_count * (double)(layer.out_h * layer.out_w);
    for (size_t i = 0; i < sqz_n_kernels; i++) {
        const struct sqz_kernel *kernel = sqz_kernels[i];
        struct sqz_layer prepared = layer;
        if (kernel->isa == SQZ_ISA_SCALAR || kernel->isa > sqz_isa_detect() || kernel->pools) continue;
        if (!kernel->prepare(&prepared)) continue;
        times[i] = time_kernel(kernel, &prepared, kernel_count);
        measure_peaks();
    }
}

static void bench_kernels(void) {
    enum { MOST_KERNELS = 64 };
    static double times[N_SAMPLES][MOST_KERNELS], flops[N_SAMPLES];
    for (size_t s = 0; s < N_SAMPLES; s++) bench_sample(&samples[s], times[s], &flops[s]);
    printf("peak of one core: avx512 %.0f, avx2 %.0f GFLOP/s\n\n", peaks[SQZ_ISA_AVX512], peaks[SQZ_ISA_AVX2]);
    printf("%-24s %-22s %9s %9s %8s\n", "layer", "kernel", "us", "GFLOP/s", "of peak");
    for (size_t s = 0; s < N_SAMPLES; s++)
        for (size_t i = 0; i < sqz_n_kernels && i < MOST_KERNELS; i++) {
            if (times[s][i] == 0) continue;
            double speed = flops[s] / times[s][i] * 1e-9;
            printf("%-24s %-22s %9.1f %9.1f %6.0f %%\n", samples[s].name, sqz_kernels[i]->name, times[s][i] * 1e6,
                   speed, 100 * speed / peaks[sqz_kernels[i]->isa]);
        }
}

/* ---- whole nets -------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void bench_net(const char *name, const struct sqz_model *model, int threads, uint32_t batch) {
    struct sqz_session_options options = {.max_batch = batch};
    struct sqz_session *session;
    struct sqz_error err = {0};
    sqz_set_threads(threads);
    if (sqz_session_new(model, &options, &session, &err) != SQZ_OK) {
        fprintf(stderr, "bench-kernels: %s: %s\n", name, err.text);
        exit(EXIT_FAILURE);
    }
    float *input = random_floats(batch * sqz_session_input_count(session));
    float *output = random_floats(batch * sqz_session_output_count(session));
    int n = batch > 1 ? rounds / 4 + 1 : rounds;
    double *times = malloc((size_t)n * sizeof *times);
    if (!times) abort();
    sqz_session_run(session, input, batch, output); /* touches all memory */
    for (int r = 0; r < n; r++) {
        double start = now();
        sqz_session_run(session, input, batch, output);
        times[r] = now() - start;
    }
    qsort(times, (size_t)n, sizeof *times, ascending);
    printf("%-18s %7d %6u %10.3f %10.3f %12.3f\n", name, threads, batch, times[0] * 1e3, times[n / 2] * 1e3,
           times[0] * 1e3 / batch);
    free(times);
    sqz_free(input);
    sqz_free(output);
    sqz_session_free(session);
}

int main(int argc, char **argv) {
    if (argc > 1) rounds = atoi(argv[1]);
    if (argc > 2 || rounds < 1) {
        fprintf(stderr, "usage: bench-kernels [ROUNDS]\n");
        return 2;
    }
    bench_kernels();
    printf("\nGFLOP/s count the operations of the plain loops, so Winograd's method can exceed the peak.\n\n");
    printf("%-18s %7s %6s %10s %10s %12s\n", "net", "threads", "batch", "min ms", "median ms", "ms per image");
    struct sqz_model *squeezenet = random_squeezenet_1_1(224), *alexnet = random_alexnet();
    for (int threads = 1; threads <= 2; threads++)
        for (uint32_t batch = 1; batch <= 16; batch += 15) {
            bench_net("SqueezeNet v1.1", squeezenet, threads, batch);
            bench_net("AlexNet", alexnet, threads, batch);
        }
    sqz_model_free(squeezenet);
    sqz_model_free(alexnet);
    return EXIT_SUCCESS;
}
