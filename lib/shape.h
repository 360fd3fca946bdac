/* shape.h - tensor shapes. */
#ifndef SQZ_LIB_SHAPE_H
#define SQZ_LIB_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQZ_MAX_RANK 6

/* Row-major: the last dimension is contiguous. Rank 0 is a scalar of one element. */
struct sqz_shape {
    uint32_t rank;
    uint64_t dim[SQZ_MAX_RANK];
};

static inline struct sqz_shape sqz_shape1(uint64_t a) {
    return (struct sqz_shape){1, {a}};
}

static inline struct sqz_shape sqz_shape2(uint64_t a, uint64_t b) {
    return (struct sqz_shape){2, {a, b}};
}

static inline struct sqz_shape sqz_shape4(uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return (struct sqz_shape){4, {a, b, c, d}};
}

/* Number of elements; false when the product overflows size_t. */
bool sqz_shape_count(const struct sqz_shape *shape, size_t *out);

bool sqz_shape_equal(const struct sqz_shape *a, const struct sqz_shape *b);

/* "64x3x3x3" ("scalar" for rank 0) in buffer; always terminated. Returns buffer. */
#define SQZ_SHAPE_TEXT 128
char *sqz_shape_format(const struct sqz_shape *shape, char buffer[SQZ_SHAPE_TEXT]);

#endif
