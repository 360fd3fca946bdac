/*
 * make_alexnet.c - writes a synthetic AlexNet of 61 million parameters as ONNX, for measuring time and memory.
 *
 * usage: make-alexnet OUTPUT.onnx [SEED]
 *
 * Layout of torchvision's AlexNet (Krizhevsky, arXiv 1404.5997). Weights are Laplace-distributed with He et al.'s
 * variance 2 / fan-in (arXiv 1502.01852), biases zero; the same seed gives the same file.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/archs.h"
#include "formats/formats.h"
#include "lib/random.h"

static const struct {
    const char *layer;
    struct sqz_shape kernel;
} layers[] = {
    {"features.0", {4, {64, 3, 11, 11}}},   {"features.3", {4, {192, 64, 5, 5}}},  {"features.6", {4, {384, 192, 3, 3}}},
    {"features.8", {4, {256, 384, 3, 3}}},  {"features.10", {4, {256, 256, 3, 3}}}, {"classifier.1", {2, {4096, 9216}}},
    {"classifier.4", {2, {4096, 4096}}},    {"classifier.6", {2, {1000, 4096}}},
};

#define N_LAYERS (sizeof layers / sizeof *layers)

/* Laplace by inversion: u uniform in (-1/2, 1/2), x = -b sign(u) ln(1 - 2|u|), variance 2 b^2. */
static float laplace(struct sqz_random *random, double b) {
    double u = sqz_random_unit(random) - 0.5 + 0x1p-54;
    double magnitude = -b * log1p(-2 * fabs(u));
    return (float)(u < 0 ? -magnitude : magnitude);
}

static bool make_layer(size_t i, struct sqz_random *random, char names[2][64], struct sqz_named_tensor tensors[2]) {
    size_t count, fan_in = 1;
    const struct sqz_shape *kernel = &layers[i].kernel;
    if (!sqz_shape_count(kernel, &count)) return false;
    for (uint32_t d = 1; d < kernel->rank; d++) fan_in *= (size_t)kernel->dim[d];
    snprintf(names[0], 64, "%s.weight", layers[i].layer);
    snprintf(names[1], 64, "%s.bias", layers[i].layer);
    tensors[0] = (struct sqz_named_tensor){names[0], *kernel, sqz_alloc(count, sizeof(float))};
    tensors[1] = (struct sqz_named_tensor){names[1], sqz_shape1(kernel->dim[0]),
                                           sqz_alloc0((size_t)kernel->dim[0], sizeof(float))};
    if (!tensors[0].data || !tensors[1].data) return false;
    double b = sqrt(2.0 / (double)fan_in) / sqrt(2.0);
    for (size_t k = 0; k < count; k++) tensors[0].data[k] = laplace(random, b);
    return true;
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 3) {
        fputs("usage: make-alexnet OUTPUT.onnx [SEED]\n", stderr);
        return 2;
    }
    struct sqz_random random = sqz_random_seeded(argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
    struct sqz_named_tensor tensors[2 * N_LAYERS];
    static char names[N_LAYERS][2][64];
    struct sqz_error err = {0};
    struct sqz_model *model;
    for (size_t i = 0; i < N_LAYERS; i++) {
        if (!make_layer(i, &random, names[i], tensors + 2 * i)) {
            fputs("make-alexnet: not enough memory\n", stderr);
            return 1;
        }
    }
    if (sqz_arch_build("alexnet", tensors, 2 * N_LAYERS, &model, &err) != SQZ_OK ||
        sqz_onnx_write(model, argv[1], NULL, &err) != SQZ_OK) {
        fprintf(stderr, "make-alexnet: %s: %s\n", argv[1], err.text);
        return 1;
    }
    sqz_model_free(model);
    return 0;
}
