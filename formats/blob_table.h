/* blob_table.h - from the blob names of a model file to numbers, for the readers whose layers are tied by name. */
#ifndef SQZ_FORMATS_BLOB_TABLE_H
#define SQZ_FORMATS_BLOB_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/memory.h"

/* A hash table with borrowed names; its memory belongs to `arena`. Set the arena, leave the rest zero. */
struct sqz_blob_table {
    struct sqz_arena *arena;
    size_t count, capacity;
    struct sqz_blob_entry {
        const char *name; /* NULL: free */
        uint32_t value;
    } * entries;
};

/* Give `name` a value, replacing an earlier one; false when memory is short. */
bool sqz_blob_table_set(struct sqz_blob_table *table, const char *name, uint32_t value);

/* False when the name is unknown. */
bool sqz_blob_table_get(const struct sqz_blob_table *table, const char *name, uint32_t *out);

#endif
