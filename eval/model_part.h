/* model_part.h - a part of a net, from one node's value to another's, as a net of its own. */
#ifndef SQZ_EVAL_MODEL_PART_H
#define SQZ_EVAL_MODEL_PART_H

#include "lib/model.h"

/*
 * The nodes behind `start` that node `end` needs, as a model whose Input
 * stands for the value of node `start` and whose output is node `end`. Weights
 * are borrowed: `model` must outlive the part, and its weights array must not move. `start`
 * must be a cut for `end` (see sqz_part_cut()). shapes are those of all nodes
 * for one image. SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_part_new(const struct sqz_model *model, const struct sqz_shape *shapes, uint32_t start,
                             uint32_t end, struct sqz_model **out, struct sqz_error *err);
void sqz_part_free(struct sqz_model *part);

/*
 * cut[n_nodes]: whether everything behind node i that the result depends on
 * needs, of the nodes up to i, only i itself. live[n_nodes]: whether the
 * result depends on the node. A value of rank 2 is no cut where a Reshape
 * follows, which might ask for its rank.
 */
void sqz_part_cuts(const struct sqz_model *model, const struct sqz_shape *shapes, bool *live, bool *cut);

#endif
