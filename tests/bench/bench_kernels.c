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

/* GFLOP/s of one core at each level; 0 where there is no such unit or no vector code. */
static double peaks[3];

/* Measured again and again over the whole run, since other work comes and goes. */
static void measure_peaks(void) {
    for (int isa = SQZ_ISA_AVX2; isa <= SQZ_ISA_AVX512; isa++)
        peaks[isa] = fmax(peaks[isa], sqz_isa_peak((enum sqz_isa)isa) * 1e-9);
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

/* The weights that a kernel is measured with: so many values for the codebook form, so many zeros for the sparse one.
 */
struct variant {
    const char *name;
    enum sqz_form form;
    size_t n_values;
    double density;
};

static const struct variant variants[] = {
    {"floats", SQZ_FORM_FLOATS, 0, 1},          {"4 bits", SQZ_FORM_CODEBOOK, 16, 1},
    {"5 bits", SQZ_FORM_CODEBOOK, 32, 1},       {"6 bits", SQZ_FORM_CODEBOOK, 64, 1},
    {"8 bits", SQZ_FORM_CODEBOOK, 256, 1},      {"density 0.05", SQZ_FORM_SPARSE, 0, 0.05},
    {"density 0.1", SQZ_FORM_SPARSE, 0, 0.1},   {"density 0.2", SQZ_FORM_SPARSE, 0, 0.2},
    {"density 0.33", SQZ_FORM_SPARSE, 0, 0.33}, {"density 0.5", SQZ_FORM_SPARSE, 0, 0.5},
};

#define N_VARIANTS (sizeof variants / sizeof *variants)

/* Set weights to zero until the wanted share is left; returns how many are. */
static size_t prune(float *weights, size_t n, double density) {
    static uint64_t random = 2;
    size_t left = 0;
    for (size_t i = 0; i < n; i++) {
        if (((double)random_unit(&random) + 1) / 2 >= density) weights[i] = 0;
        left += weights[i] != 0;
    }
    return left;
}

static int16_t *random_levels(size_t n, size_t n_values) {
    static uint64_t random = 3;
    int16_t *levels = sqz_alloc(n, sizeof *levels);
    if (!levels) abort();
    for (size_t i = 0; i < n; i++) levels[i] = (int16_t)((double)(random_unit(&random) + 1) / 2 * (double)n_values);
    return levels;
}

/* Best time of the kernel on a prepared layer. */
static double time_kernel(const struct sqz_kernel *kernel, const struct sqz_layer *layer,
                          const struct sqz_weight_values *from) {
    size_t lanes = kernel->lanes;
    float *values = random_floats(sqz_round_up(layer->in_c, lanes) * layer->in_h * layer->in_w);
    float *packed = random_floats(layer->weight_count);
    float *shared = random_floats(layer->shared_count), *local = random_floats(layer->local_count);
    float *out = random_floats(sqz_round_up(layer->out_c, lanes) * layer->out_h * layer->out_w);
    const float *in[1] = {values};
    struct sqz_io io = {.in = in, .out = out, .weights = packed, .shared = shared, .images = 1};
    for (size_t i = 0; i < layer->pack_items; i++) kernel->pack(layer, from, packed, i);
    double best = INFINITY;
    for (int r = 0; r < rounds; r++) {
        double start = now();
        for (unsigned phase = 0; phase < layer->n_phases; phase++)
            for (size_t i = 0; i < layer->items[phase]; i++) kernel->run(layer, &io, phase, i, local);
        best = fmin(best, now() - start);
    }
    sqz_free(values);
    sqz_free(packed);
    sqz_free(shared);
    sqz_free(local);
    sqz_free(out);
    return best;
}

/* The layer of a sample, with what is known of its weights. */
static struct sqz_layer layer_of(const struct sample *sample, struct sqz_shape *in, size_t *kernel_count) {
    const struct sqz_window *w = &sample->window;
    size_t out_size = sqz_window_output(sample->size, w->kernel_h, w->stride_h, 1, w->pad_top, w->pad_bottom, false);
    *in = sqz_shape4(1, sample->in_c, sample->size, sample->size);
    struct sqz_layer layer = {.n_inputs = 1, .in = in, .low = 0, .high = INFINITY, .max_batch = 1};
    if (sample->groups) {
        layer.op = SQZ_OP_CONV;
        layer.params.conv.window = *w;
        layer.params.conv.groups = sample->groups;
        layer.out = sqz_shape4(1, sample->out_c, out_size, out_size);
        *kernel_count = sample->out_c * (sample->in_c / sample->groups) * w->kernel_h * w->kernel_w;
    } else {
        layer.op = SQZ_OP_DENSE;
        layer.out = sqz_shape2(1, sample->out_c);
        *kernel_count = sample->out_c * sample->in_c;
    }
    sqz_layer_set_sizes(&layer);
    return layer;
}

/* One line of the table. */
struct result {
    const struct sample *sample;
    const struct sqz_kernel *kernel;
    const struct variant *variant;
    double seconds, flops;
};

/* Every kernel that takes the sample with this kind of weights; returns the place behind the results. */
static struct result *bench_variant(const struct sample *sample, const struct variant *variant, struct result *result) {
    struct sqz_shape in;
    size_t count;
    struct sqz_layer layer = layer_of(sample, &in, &count);
    float *weights = random_floats(count), *values = random_floats(variant->n_values);
    int16_t *levels = random_levels(variant->n_values ? count : 1, variant->n_values);
    layer.weights.n_values = variant->n_values;
    layer.weights.density = variant->density;
    layer.weights.n_nonzero = prune(weights, count, variant->density);
    const struct sqz_weight_values from = {.kernel = weights, .levels = levels, .values = values};
    for (size_t i = 0; i < sqz_n_kernels; i++) {
        const struct sqz_kernel *kernel = sqz_kernels[i];
        struct sqz_layer prepared = layer;
        if (kernel->isa == SQZ_ISA_SCALAR || kernel->isa > sqz_isa_detect() || kernel->pools) continue;
        if (kernel->form != variant->form || !kernel->prepare(&prepared)) continue;
        double flops = 2.0 * (double)count * (double)(layer.out_h * layer.out_w);
        *result++ = (struct result){sample, kernel, variant, time_kernel(kernel, &prepared, &from), flops};
        measure_peaks();
    }
    sqz_free(weights);
    sqz_free(values);
    sqz_free(levels);
    return result;
}

static void bench_kernels(void) {
    enum { MOST_KERNELS = 64 };
    static struct result results[N_SAMPLES * N_VARIANTS * MOST_KERNELS];
    struct result *end = results;
    for (size_t s = 0; s < N_SAMPLES; s++)
        for (size_t v = 0; v < N_VARIANTS; v++) end = bench_variant(&samples[s], &variants[v], end);
    printf("peak of one core: avx512 %.0f, avx2 %.0f GFLOP/s\n\n", peaks[SQZ_ISA_AVX512], peaks[SQZ_ISA_AVX2]);
    printf("%-24s %-26s %-12s %9s %9s %8s\n", "layer", "kernel", "weights", "us", "GFLOP/s", "of peak");
    for (const struct result *r = results; r < end; r++) {
        double speed = r->flops / r->seconds * 1e-9;
        printf("%-24s %-26s %-12s %9.1f %9.1f %6.0f %%\n", r->sample->name, r->kernel->name, r->variant->name,
               r->seconds * 1e6, speed, 100 * speed / peaks[r->kernel->isa]);
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
    printf(
        "\nGFLOP/s count the operations of the plain loops, so Winograd's method and pruning can exceed the peak.\n\n");
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
