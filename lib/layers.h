/* layers.h - choosing layers by shell patterns: the per-layer values of the commands. */
#ifndef SQZ_LIB_LAYERS_H
#define SQZ_LIB_LAYERS_H

#include "lib/model.h"

/* One "PATTERN=VALUE" or plain "VALUE" (pattern NULL: every layer). The last match wins. */
struct sqz_layer_value {
    const char *pattern;
    double value;
};

/* Value for one layer name: the last rule that matches (fnmatch), else `fallback`. */
double sqz_layer_value_get(const struct sqz_layer_value *rules, size_t n, const char *layer, double fallback);

/* SQZ_UNKNOWN_LAYER, with a list of the layers that have kernels, when a pattern matches none of them. */
enum sqz_status sqz_layer_value_check(const struct sqz_layer_value *rules, size_t n, const struct sqz_model *model,
                                      struct sqz_error *err);

#endif
