/* memory.c - the one allocation hook, checked size products, and arenas. */
#include "lib/memory.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static atomic_long allocations_left = -1;

static bool may_allocate(void) {
    long left = atomic_load_explicit(&allocations_left, memory_order_relaxed);
    if (left < 0) return true;
    if (left == 0) return false;
    atomic_fetch_sub_explicit(&allocations_left, 1, memory_order_relaxed);
    return true;
}

void sqz_alloc_fail_after(long n) {
    atomic_store(&allocations_left, n < 0 ? -1 : n);
}

void *sqz_alloc(size_t count, size_t size) {
    size_t nbytes;
    if (!sqz_mul_size(count, size, &nbytes) || !may_allocate()) return NULL;
    return malloc(nbytes ? nbytes : 1);
}

void *sqz_alloc0(size_t count, size_t size) {
    size_t nbytes;
    if (!sqz_mul_size(count, size, &nbytes) || !may_allocate()) return NULL;
    return calloc(nbytes ? nbytes : 1, 1);
}

void *sqz_realloc(void *p, size_t count, size_t size) {
    size_t nbytes;
    if (!sqz_mul_size(count, size, &nbytes) || !may_allocate()) return NULL;
    return realloc(p, nbytes ? nbytes : 1);
}

void *sqz_alloc_aligned(size_t count, size_t size) {
    size_t nbytes;
    if (!sqz_mul_size(count, size, &nbytes) || !may_allocate()) return NULL;
    if (nbytes > SIZE_MAX - 63) return NULL;
    nbytes = (nbytes + 63) & ~(size_t)63;
    return aligned_alloc(64, nbytes ? nbytes : 64);
}

void sqz_free(void *p) {
    free(p);
}

struct sqz_arena_block {
    struct sqz_arena_block *next;
    size_t used, capacity;
    max_align_t data[];
};

/* Large enough that a SqueezeNet graph fits in one block. */
#define ARENA_BLOCK_NBYTES (32u << 10)

void *sqz_arena_alloc(struct sqz_arena *arena, size_t count, size_t size) {
    size_t nbytes;
    if (!sqz_mul_size(count, size, &nbytes)) return NULL;
    if (nbytes > SIZE_MAX / 2) return NULL;
    nbytes = (nbytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    struct sqz_arena_block *block = arena->head;
    if (!block || block->capacity - block->used < nbytes) {
        size_t capacity = nbytes > ARENA_BLOCK_NBYTES ? nbytes : ARENA_BLOCK_NBYTES;
        block = sqz_alloc(1, sizeof *block + capacity);
        if (!block) return NULL;
        block->used = 0;
        block->capacity = capacity;
        block->next = arena->head;
        arena->head = block;
    }
    void *p = (char *)block->data + block->used;
    block->used += nbytes;
    memset(p, 0, nbytes);
    return p;
}

char *sqz_arena_strndup(struct sqz_arena *arena, const char *s, size_t length) {
    if (length == SIZE_MAX) return NULL;
    char *copy = sqz_arena_alloc(arena, length + 1, 1);
    if (copy) memcpy(copy, s, length);
    return copy;
}

char *sqz_arena_strdup(struct sqz_arena *arena, const char *s) {
    return sqz_arena_strndup(arena, s, strlen(s));
}

void sqz_arena_free(struct sqz_arena *arena) {
    struct sqz_arena_block *block = arena->head;
    while (block) {
        struct sqz_arena_block *next = block->next;
        sqz_free(block);
        block = next;
    }
    arena->head = NULL;
}
