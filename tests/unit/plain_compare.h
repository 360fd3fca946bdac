/* plain_compare.h - holds what the product decoded against what the plain decoder decoded. */
#ifndef SQZ_TESTS_UNIT_PLAIN_COMPARE_H
#define SQZ_TESTS_UNIT_PLAIN_COMPARE_H

#include "lib/model.h"
#include "tests/plain/sqz_plain.h"

/* The first difference, as a short text, or NULL: every field of the graph, and the weights bit for bit. */
const char *plain_difference(struct sqz_model *model, const struct plain_model *plain);

/* CRC-32 of every field and weight, by which tests/golden/contents.txt remembers what a file holds. */
uint32_t plain_digest(const struct plain_model *plain);

#endif
