/* gaps.h - positions of the survivors as the relative index of arXiv 1510.00149, section 2. */
#ifndef SQZ_LIB_GAPS_H
#define SQZ_LIB_GAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/status.h"

/*
 * An entry is a field of `width` bits and a value. The field is the number of
 * zeros skipped before the entry's own position; a run of 2^width zeros or
 * more takes fillers, entries with the largest field and value 0, each of
 * which advances by 2^width. Zeros behind the last entry are not coded.
 * Values are symbols: 0 for a zero weight, others at the caller's choice.
 */
#define SQZ_GAPS_MAX_WIDTH 12

/* Entries of symbols[n] into fields and values (room for n each, or both NULL to count only); returns their number. */
size_t sqz_gaps_encode(const uint16_t *symbols, size_t n, unsigned width, uint16_t *fields, uint16_t *values);

/* The inverse. symbols[n] must be zeroed. False when the entries run past its end. */
bool sqz_gaps_decode(const uint16_t *fields, const uint16_t *values, size_t n_entries, uint16_t *symbols, size_t n);

/* Histogram of the runs of zeros before survivors. */
struct sqz_gap_runs {
    uint64_t *counts; /* [capacity], by length of the run */
    size_t capacity;
};

/* Add the runs of symbols[n], counted from its start. SQZ_OUT_OF_MEMORY. */
enum sqz_status sqz_gap_runs_add(struct sqz_gap_runs *runs, const uint16_t *symbols, size_t n, struct sqz_error *err);
void sqz_gap_runs_free(struct sqz_gap_runs *runs);

/* Histogram fields[2^width] that these runs give; returns the number of fillers. */
uint64_t sqz_gap_runs_fields(const struct sqz_gap_runs *runs, unsigned width, uint64_t *fields);

#endif
