/* codebook.h - from float weights and cluster limits to the levels of a codebook. */
#ifndef SQZ_LIB_CODEBOOK_H
#define SQZ_LIB_CODEBOOK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/packed.h"

/* Entries of the largest codebook. */
#define SQZ_MAX_CODEBOOK ((uint32_t)1 << SQZ_MAX_BITS)

/*
 * The distinct non-zero values among weights[n], ascending, into values[limit]
 * (limit at most SQZ_MAX_CODEBOOK). false, soon after the start of most
 * arrays, when there are more than `limit` or when one is not finite.
 */
bool sqz_codebook_distinct(const float *weights, size_t n, uint32_t limit, float *values, uint32_t *n_values);

/*
 * Pack weights[n]: a weight takes the last of the k clusters whose lower limit
 * is not above it, zero takes level 0. lower[k] is ascending, lower[0] not
 * above any non-zero weight; codebook[k] is copied. The caller answers for
 * every cluster having a member. *out is owned by the caller.
 * SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_codebook_pack(const float *weights, size_t n, const float *lower, const float *codebook, uint32_t k,
                                  struct sqz_packed **out, struct sqz_error *err);

/* Drop the entries that no level uses and renumber the levels. */
void sqz_codebook_drop_unused(struct sqz_packed *packed);

#endif
