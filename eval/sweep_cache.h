/* sweep_cache.h - the finished part of a sensitivity sweep on disk, so that an interrupted search goes on. */
#ifndef SQZ_EVAL_SWEEP_CACHE_H
#define SQZ_EVAL_SWEEP_CACHE_H

#include "eval/sensitivity.h"

/*
 * A text file: a line with the key, then one line of numbers for each point
 * of each finished layer, in order. Fill the layers of `sweep` that are there
 * (their settings are the caller's) and return how many; 0 when the file is
 * missing, belongs to another key or number of points, or is damaged.
 */
size_t sqz_sweep_cache_read(const char *path, const uint8_t key[SQZ_SHA256_NBYTES], struct sqz_sensitivity *sweep);

/* Replace the file by the first n_layers layers, all at once. SQZ_IO. */
enum sqz_status sqz_sweep_cache_write(const char *path, const uint8_t key[SQZ_SHA256_NBYTES],
                                      const struct sqz_sensitivity *sweep, size_t n_layers, struct sqz_error *err);

#endif
