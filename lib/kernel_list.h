/* kernel_list.h - the weights of a model that compression works on. */
#ifndef SQZ_LIB_KERNEL_LIST_H
#define SQZ_LIB_KERNEL_LIST_H

#include "lib/model.h"

/* Indices of the weights with role SQZ_ROLE_KERNEL into indices[n_weights] (may be NULL); returns their number. */
size_t sqz_kernel_indices(const struct sqz_model *model, size_t *indices);

/* SQZ_NONFINITE with layer and index when the float data of a weight (if it has any) holds NaN or infinity. */
enum sqz_status sqz_kernel_check_finite(const struct sqz_model *model, size_t weight, struct sqz_error *err);

#endif
