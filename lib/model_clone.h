/* model_clone.h - deep copies of a model. */
#ifndef SQZ_LIB_MODEL_CLONE_H
#define SQZ_LIB_MODEL_CLONE_H

#include "lib/model.h"

/* A deep copy: graph, weights (float and packed), input description, names, history and record. SQZ_OUT_OF_MEMORY. */
enum sqz_status sqz_model_clone(const struct sqz_model *model, struct sqz_model **out, struct sqz_error *err);

/* A deep copy of packed levels; NULL when memory is short. */
struct sqz_packed *sqz_packed_clone(const struct sqz_packed *packed);

#endif
