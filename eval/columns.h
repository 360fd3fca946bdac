/* columns.h - im2col columns of a layer's inputs at a few output positions. */
#ifndef SQZ_EVAL_COLUMNS_H
#define SQZ_EVAL_COLUMNS_H

#include "lib/model.h"

/* Where the columns of one Conv or Dense node lie in its input. */
struct sqz_columns {
    size_t n_groups, n_inputs;      /* n_inputs of one group, in the kernel's order */
    size_t out_h, out_w;            /* output positions; 1x1 for Dense */
    size_t channels, height, width; /* of the input; a Dense input counts as channels of one pixel */
    struct sqz_window window;
};

/* For node `node` with the shapes of all nodes for one image. SQZ_ARGUMENT when it is neither Conv nor Dense. */
enum sqz_status sqz_columns_of(const struct sqz_model *model, const struct sqz_shape *shapes, size_t node,
                               struct sqz_columns *out, struct sqz_error *err);

/*
 * n different output positions (n at most out_h * out_w), spread evenly: one
 * at random from each of n equal parts of the map. The same seed gives the same positions.
 */
void sqz_columns_sample(const struct sqz_columns *columns, uint64_t seed, size_t n, size_t *positions);

/* The columns of one image at n positions: out[n][n_groups * n_inputs], zero where the window hangs over the border. */
void sqz_columns_gather(const struct sqz_columns *columns, const float *value, const size_t *positions, size_t n,
                        float *out);

#endif
