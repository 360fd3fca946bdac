/* gaps.c - positions of the survivors as the relative index of arXiv 1510.00149. */
#include "lib/gaps.h"

#include <string.h>

#include "lib/memory.h"

size_t sqz_gaps_encode(const uint16_t *symbols, size_t n, unsigned width, uint16_t *fields, uint16_t *values) {
    const size_t step = (size_t)1 << width;
    size_t n_entries = 0, next = 0; /* next: first position not yet covered */
    for (size_t i = 0; i < n; i++) {
        if (!symbols[i]) continue;
        for (; i - next >= step; next += step) {
            if (fields) {
                fields[n_entries] = (uint16_t)(step - 1);
                values[n_entries] = 0;
            }
            n_entries++;
        }
        if (fields) {
            fields[n_entries] = (uint16_t)(i - next);
            values[n_entries] = symbols[i];
        }
        n_entries++;
        next = i + 1;
    }
    return n_entries;
}

bool sqz_gaps_decode(const uint16_t *fields, const uint16_t *values, size_t n_entries, uint16_t *symbols, size_t n) {
    size_t next = 0;
    for (size_t i = 0; i < n_entries; i++) {
        next += fields[i];
        if (next >= n) return false;
        symbols[next++] = values[i];
    }
    return true;
}

static bool runs_reserve(struct sqz_gap_runs *runs, size_t run) {
    if (run < runs->capacity) return true;
    size_t capacity = runs->capacity ? runs->capacity : 256;
    while (capacity <= run) {
        if (!sqz_mul_size(capacity, 2, &capacity)) return false;
    }
    uint64_t *counts = sqz_realloc(runs->counts, capacity, sizeof *counts);
    if (!counts) return false;
    memset(counts + runs->capacity, 0, (capacity - runs->capacity) * sizeof *counts);
    runs->counts = counts;
    runs->capacity = capacity;
    return true;
}

enum sqz_status sqz_gap_runs_add(struct sqz_gap_runs *runs, const uint16_t *symbols, size_t n, struct sqz_error *err) {
    size_t next = 0;
    for (size_t i = 0; i < n; i++) {
        if (!symbols[i]) continue;
        if (!runs_reserve(runs, i - next)) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
        runs->counts[i - next]++;
        next = i + 1;
    }
    return SQZ_OK;
}

void sqz_gap_runs_free(struct sqz_gap_runs *runs) {
    sqz_free(runs->counts);
    *runs = (struct sqz_gap_runs){0};
}

uint64_t sqz_gap_runs_fields(const struct sqz_gap_runs *runs, unsigned width, uint64_t *fields) {
    const size_t step = (size_t)1 << width;
    uint64_t n_fillers = 0;
    memset(fields, 0, step * sizeof *fields);
    for (size_t run = 0; run < runs->capacity; run++) {
        fields[run & (step - 1)] += runs->counts[run];
        n_fillers += runs->counts[run] * (run >> width);
    }
    fields[step - 1] += n_fillers;
    return n_fillers;
}
