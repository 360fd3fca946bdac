/* archs.h - graphs of the known architectures, for files that hold only weights. */
#ifndef SQZ_FORMATS_ARCHS_H
#define SQZ_FORMATS_ARCHS_H

#include "lib/model.h"

/* A weight as found in a file, under its PyTorch name ("features.0.weight"). */
struct sqz_named_tensor {
    const char *name;
    struct sqz_shape shape;
    float *data; /* sqz_alloc()ed; the builder takes it over and sets it to NULL */
};

/*
 * Build the model of architecture `arch` (NULL: found from names and shapes)
 * from n tensors. The number of classes comes from the last layer's shape.
 * SQZ_MISSING_WEIGHT names a layer left without weights; SQZ_UNSUPPORTED names
 * a tensor that fits nowhere, or the nearest architecture when none matches.
 * Weights must end up under their PyTorch names, nodes under the module's
 * ("features.3.expand1x1").
 */
enum sqz_status sqz_arch_build(const char *arch, struct sqz_named_tensor *tensors, size_t n, struct sqz_model **out,
                               struct sqz_error *err);

/*
 * The first half of sqz_arch_build(): find the architecture from names and
 * shapes alone (data is not looked at), with the same errors, so that a
 * reader can refuse a file before it reads the weights. *out lives for ever.
 */
enum sqz_status sqz_arch_match(const char *arch, const struct sqz_named_tensor *tensors, size_t n, const char **out,
                               struct sqz_error *err);

/* Name of the known architecture that a finished model's layer shapes match, or "custom". */
const char *sqz_arch_name(const struct sqz_model *model);

/* Comma-separated list of the known names, for messages. */
const char *sqz_arch_list(void);

#endif
