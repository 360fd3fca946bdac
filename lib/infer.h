/* infer.h - shape inference over a model's graph. */
#ifndef SQZ_LIB_INFER_H
#define SQZ_LIB_INFER_H

#include "lib/model.h"

/*
 * The shape of every node's value for a batch of n images of the given
 * height and width (0: those of model->input). shapes has model->n_nodes
 * entries. SQZ_SHAPE names the node and the sizes that do not fit (a kernel
 * larger than its padded input, channels that differ from the weight's, a
 * Concat of different heights, ...).
 */
enum sqz_status sqz_infer_shapes(const struct sqz_model *model, uint64_t n, uint64_t height, uint64_t width,
                                 struct sqz_shape *shapes, struct sqz_error *err);

/*
 * The shape of node `index` alone, from the shapes of the nodes before it (and
 * of shapes[index] itself for the input): for readers that need sizes while
 * they build the graph. The errors are the same.
 */
enum sqz_status sqz_infer_node(const struct sqz_model *model, size_t index, struct sqz_shape *shapes,
                               struct sqz_error *err);

/* Output size of one window dimension, in the formula of struct sqz_window and ceil_mode; 0 when nothing fits. */
uint64_t sqz_window_output(uint64_t in, uint32_t kernel, uint32_t stride, uint32_t dilation, uint32_t pad_begin,
                           uint32_t pad_end, bool ceil_mode);

#endif
