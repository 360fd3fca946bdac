/* weight_facts.h - what kernels are chosen by: how many values a layer's weights have, and how many are zero. */
#ifndef SQZ_EVAL_WEIGHT_FACTS_H
#define SQZ_EVAL_WEIGHT_FACTS_H

#include "eval/kernels.h"

/* The most values that packed weights of a CODEBOOK kernel can have: their numbers fit into a byte. */
#define SQZ_MOST_VALUES 256

/* Facts of a weight's packed levels, or of its data when it has none. */
struct sqz_weight_facts sqz_weight_facts_of(const struct sqz_weight *weight);

/* The values of packed levels whose facts have n_values > 0: values[n_values]. */
void sqz_weight_table(const struct sqz_packed *packed, const struct sqz_weight_facts *facts,
                      float values[SQZ_MOST_VALUES]);

#endif
