/* shape.c - tensor shapes. */
#include "lib/shape.h"

#include <inttypes.h>
#include <stdio.h>

#include "lib/memory.h"

bool sqz_shape_count(const struct sqz_shape *shape, size_t *out) {
    size_t count = 1;
    for (uint32_t i = 0; i < shape->rank; i++) {
        if (shape->dim[i] > SIZE_MAX || !sqz_mul_size(count, (size_t)shape->dim[i], &count)) return false;
    }
    *out = count;
    return true;
}

bool sqz_shape_equal(const struct sqz_shape *a, const struct sqz_shape *b) {
    if (a->rank != b->rank) return false;
    for (uint32_t i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

char *sqz_shape_format(const struct sqz_shape *shape, char buffer[SQZ_SHAPE_TEXT]) {
    size_t used = 0;
    snprintf(buffer, SQZ_SHAPE_TEXT, "scalar");
    for (uint32_t i = 0; i < shape->rank && used < SQZ_SHAPE_TEXT; i++)
        used += (size_t)snprintf(buffer + used, SQZ_SHAPE_TEXT - used, "%s%" PRIu64, i ? "x" : "", shape->dim[i]);
    return buffer;
}
