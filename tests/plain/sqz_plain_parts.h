/* sqz_plain_parts.h - what the two halves of the plain decoder share: its memory, refusal, and reading of bytes. */
#ifndef SQZ_TESTS_PLAIN_SQZ_PLAIN_PARTS_H
#define SQZ_TESTS_PLAIN_SQZ_PLAIN_PARTS_H

#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include "tests/plain/sqz_plain.h"

/* All memory of one decoding is in one list, so that a refusal, which jumps to the start, loses none of it. */
struct plain_block {
    struct plain_block *next;
};

struct plain {
    jmp_buf refusal;
    const char *reason;
    struct plain_block *blocks;
};

_Noreturn void plain_refuse(struct plain *p, const char *reason);

/* Zeroed memory for n objects of the given size, which lives as long as the model. */
void *plain_alloc(struct plain *p, uint64_t n, size_t size);

/* A string of bytes that is read from its start. */
struct plain_bytes {
    struct plain *p;
    const uint8_t *data;
    uint64_t nbytes, at;
};

uint64_t plain_left(const struct plain_bytes *bytes);
const uint8_t *plain_take(struct plain_bytes *bytes, uint64_t n);
unsigned plain_u8(struct plain_bytes *bytes);
uint32_t plain_u32(struct plain_bytes *bytes);
float plain_f32(struct plain_bytes *bytes);
uint64_t plain_varint(struct plain_bytes *bytes);

/* Sections 4 to 8: one section into the values of its weight, whose shape is known. */
void plain_section(struct plain *p, const uint8_t *data, uint64_t nbytes, struct plain_weight *weight);

#endif
