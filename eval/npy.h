/* npy.h - NumPy's .npy arrays: floating point ones to float32, and float32 back. */
#ifndef SQZ_EVAL_NPY_H
#define SQZ_EVAL_NPY_H

#include <stdbool.h>

#include "lib/model.h"

struct sqz_npy {
    struct sqz_shape shape;
    size_t count;
    float *data; /* [count] in C order, sqz_alloc()ed */
};

/* Whether the bytes begin as a .npy file does. */
bool sqz_npy_probe(const void *data, size_t nbytes);

/*
 * Read format versions 1 to 3 (numpy.lib.format): float16, float32 and float64
 * of either byte order, C or Fortran order. SQZ_UNSUPPORTED for other types
 * (object arrays, which hold pickles, among them), SQZ_TRUNCATED,
 * SQZ_MALFORMED, SQZ_OUT_OF_MEMORY.
 */
enum sqz_status sqz_npy_read(const void *data, size_t nbytes, struct sqz_npy *out, struct sqz_error *err);
void sqz_npy_free(struct sqz_npy *npy);

/* Write float32 data of a shape, C order, as version 1; path as in sqz_write_file(). */
enum sqz_status sqz_npy_write(const char *path, const struct sqz_shape *shape, const float *data,
                              struct sqz_error *err);

#endif
