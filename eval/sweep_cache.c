/* sweep_cache.c - the finished part of a sensitivity sweep on disk. */
#include "eval/sweep_cache.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "lib/files.h"

#define TITLE "sqz sensitivity sweep 1"

static bool read_point(FILE *file, struct sqz_sensitivity_point *point) {
    double v[6];
    for (int i = 0; i < 6; i++)
        if (fscanf(file, "%lf", &v[i]) != 1 || isnan(v[i]) || v[i] < 0) return false;
    point->nbits = v[0];
    point->density = v[1];
    point->kl = v[2];
    point->agreement = v[3];
    point->error = v[4];
    point->output_power = v[5];
    return true;
}

static bool read_layer(FILE *file, struct sqz_layer_sensitivity *layer) {
    size_t weight, n_points;
    if (fscanf(file, "%zu %zu", &weight, &n_points) != 2 || weight != layer->weight || n_points != layer->n_points)
        return false;
    for (size_t i = 0; i < n_points; i++)
        if (!read_point(file, &layer->points[i])) return false;
    return true;
}

size_t sqz_sweep_cache_read(const char *path, const uint8_t key[SQZ_SHA256_NBYTES], struct sqz_sensitivity *sweep) {
    char title[64], digits[SQZ_SHA256_TEXT], wanted[SQZ_SHA256_TEXT];
    size_t n_layers = 0, done = 0;
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    sqz_sha256_format(key, wanted);
    if (fgets(title, sizeof title, file) && strcmp(title, TITLE "\n") == 0 &&
        fscanf(file, "%64s %zu", digits, &n_layers) == 2 && strcmp(digits, wanted) == 0 && n_layers <= sweep->n_layers)
        while (done < n_layers && read_layer(file, &sweep->layers[done])) done++;
    fclose(file);
    return done;
}

enum sqz_status sqz_sweep_cache_write(const char *path, const uint8_t key[SQZ_SHA256_NBYTES],
                                      const struct sqz_sensitivity *sweep, size_t n_layers, struct sqz_error *err) {
    struct sqz_output out;
    char digits[SQZ_SHA256_TEXT];
    SQZ_TRY(sqz_output_begin(path, &out, err));
    fprintf(out.stream, TITLE "\n%s %zu\n", sqz_sha256_format(key, digits), n_layers);
    for (size_t i = 0; i < n_layers; i++) {
        const struct sqz_layer_sensitivity *layer = &sweep->layers[i];
        fprintf(out.stream, "%zu %zu\n", layer->weight, layer->n_points);
        for (size_t k = 0; k < layer->n_points; k++) {
            const struct sqz_sensitivity_point *p = &layer->points[k];
            fprintf(out.stream, "%.17g %.17g %.17g %.17g %.17g %.17g\n", p->nbits, p->density, p->kl, p->agreement,
                    p->error, p->output_power);
        }
    }
    return sqz_output_commit(&out, NULL, err);
}
