/* model_facts.h - the figures of a model that several commands print. */
#ifndef SQZ_CMD_MODEL_FACTS_H
#define SQZ_CMD_MODEL_FACTS_H

#include "lib/model.h"

struct cmd_facts {
    size_t weights;                        /* all parameters, biases and scales included */
    size_t nonzero;                        /* those of them that are not zero (-0 is zero) */
    size_t kernel_weights, kernel_nonzero; /* of convolutions and dense layers alone */
    double density;             /* kernel_nonzero / kernel_weights: what pruning sets; 1 for a model without kernels */
    size_t n_kernels, n_packed; /* kernels, and how many of them hold shared values or levels */
    const char *stage;          /* "float", "pruned" or "quantized" */
};

struct cmd_facts cmd_model_facts(const struct sqz_model *model);

/* Weights of one tensor that are not zero. */
size_t cmd_weight_nonzero(const struct sqz_weight *weight);

/* Compression ratio as people write it; 0 for an empty file. */
double cmd_ratio(size_t float_nbytes, size_t file_nbytes);

/*
 * Number of classes of a classifier: the elements of its result for one image when that has no height or width left. 0
 * for a net without a classifier at its end.
 */
size_t cmd_model_classes(const struct sqz_model *model);

/* Name of class i, or NULL. */
const char *cmd_class_name(const struct sqz_model *model, size_t i);

/* "3x224x224 RGB, short side 256 (pil), ..." in buffer. */
#define CMD_INPUT_TEXT 256
const char *cmd_input_text(const struct sqz_input *input, char buffer[CMD_INPUT_TEXT]);

#endif
