/* memory.h - the one allocation hook, checked size products, and arenas. */
#ifndef SQZ_LIB_MEMORY_H
#define SQZ_LIB_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/*
 * All heap memory of sqz goes through these three. They return NULL when
 * memory is short, when the size product overflows, or when a test asked for
 * the n-th allocation to fail. Memory comes back with sqz_free().
 */
void *sqz_alloc(size_t count, size_t size);   /* uninitialised */
void *sqz_alloc0(size_t count, size_t size);  /* zeroed */
void *sqz_realloc(void *p, size_t count, size_t size);
void sqz_free(void *p);

/* Uninitialised memory aligned to 64 bytes (a cache line, an AVX-512 register); sqz_free() frees it. */
void *sqz_alloc_aligned(size_t count, size_t size);

/*
 * Test hook: let `n` more allocations succeed and every later one fail; a
 * negative n switches the failures off.
 */
void sqz_alloc_fail_after(long n);

/* *out = a * b; false (and *out untouched) when the product overflows. */
static inline bool sqz_mul_size(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}

/* *out = a + b; false when the sum overflows. */
static inline bool sqz_add_size(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

/* A bump allocator: many small objects with one lifetime. All zero is a valid empty arena. */
struct sqz_arena {
    struct sqz_arena_block *head;
};

/* Zeroed memory aligned for any type that lives until sqz_arena_free(); NULL when short. */
void *sqz_arena_alloc(struct sqz_arena *arena, size_t count, size_t size);

/* A copy of the first `length` bytes of s plus a NUL; NULL when memory is short. */
char *sqz_arena_strndup(struct sqz_arena *arena, const char *s, size_t length);
char *sqz_arena_strdup(struct sqz_arena *arena, const char *s);

void sqz_arena_free(struct sqz_arena *arena);

#endif
