/* moments.h - second moments of a layer's inputs: what calibrated compression knows about the data. */
#ifndef SQZ_LIB_MOMENTS_H
#define SQZ_LIB_MOMENTS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/status.h"

/*
 * Inputs are the im2col columns of a Conv or Dense node, in the order of its
 * kernel's [in/groups][kh][kw]: n_inputs of them for each group. X is a column
 * in the float net, X~ the same column in the compressed net.
 *
 * Up to SQZ_MOMENTS_MAX_INPUTS inputs the matrices are full. Beyond, a group's
 * inputs are cut into n_blocks blocks of consecutive inputs of nearly equal
 * size, and moments between blocks are not known (taken as zero). Memory is
 * 16 bytes for each entry of a block (8 without cross moments).
 */
#define SQZ_MOMENTS_MAX_INPUTS 4608 /* 512 channels of 3x3, the largest convolution of the VGG nets: 170 MB a matrix   \
                                     */

struct sqz_moments_block {
    size_t begin, n; /* inputs [begin, begin + n) of the group */
    double *own;     /* [n][n] E[(X~ - mean)(X~ - mean)^T]; symmetric, both triangles filled */
    double *cross;   /* [n][n] E[(X - mean_float)(X~ - mean)^T]; NULL when X~ is X */
};

struct sqz_moments {
    size_t n_groups;
    size_t n_inputs;                  /* of one group */
    size_t n_blocks;                  /* of one group: 1 means that the matrices are full */
    size_t n_positions;               /* columns seen */
    struct sqz_moments_block *blocks; /* [n_groups][n_blocks] */
    double *mean;                     /* [n_groups][n_inputs] E[X~] */
    double *mean_float;               /* [n_groups][n_inputs] E[X]; NULL when X~ is X */
    bool finished;
    double *shift; /* private: origin of the sums, near the means; [2][n_groups][n_inputs] */
};

/*
 * Empty moments. `paired`: X and X~ differ, cross moments are kept as well.
 * max_inputs 0: SQZ_MOMENTS_MAX_INPUTS. SQZ_OUT_OF_MEMORY, SQZ_ARGUMENT for no inputs.
 */
enum sqz_status sqz_moments_new(size_t n_groups, size_t n_inputs, bool paired, size_t max_inputs,
                                struct sqz_moments **out, struct sqz_error *err);

/*
 * Add n_positions columns of every group: columns[n_positions][n_groups * n_inputs]
 * from the compressed net, and from the float net (NULL unless paired). The
 * result depends on the order and the sizes of the calls, not on the thread
 * count; a few thousand positions a call are best. SQZ_NONFINITE for a NaN or
 * an infinity, SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_moments_add(struct sqz_moments *moments, const float *columns, const float *columns_float,
                                size_t n_positions, struct sqz_error *err);

/* Turn the sums into centred means; SQZ_ARGUMENT when there were no positions. */
enum sqz_status sqz_moments_finish(struct sqz_moments *moments, struct sqz_error *err);

/* Bytes held; and bytes that moments of this size would hold. */
size_t sqz_moments_nbytes(const struct sqz_moments *moments);
size_t sqz_moments_estimate_nbytes(size_t n_groups, size_t n_inputs, bool paired, size_t max_inputs);

void sqz_moments_free(struct sqz_moments *moments);

#endif
