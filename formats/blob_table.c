/* blob_table.c - from the blob names of a model file to numbers. */
#include "formats/blob_table.h"

#include <string.h>

/* FNV-1a, 64 bits. */
static uint64_t hash_name(const char *name) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

/* The entry of `name`, or the free one where it belongs. The capacity is a power of two and never full. */
static struct sqz_blob_entry *find_entry(const struct sqz_blob_table *table, const char *name) {
    size_t mask = table->capacity - 1;
    size_t i = (size_t)hash_name(name) & mask;
    while (table->entries[i].name && strcmp(table->entries[i].name, name) != 0) i = (i + 1) & mask;
    return &table->entries[i];
}

/* Double the table; the old entries stay in the arena until it goes. */
static bool grow(struct sqz_blob_table *table) {
    struct sqz_blob_table larger = *table;
    larger.capacity = table->capacity ? table->capacity * 2 : 64;
    larger.entries = sqz_arena_alloc(table->arena, larger.capacity, sizeof *larger.entries);
    if (!larger.entries) return false;
    for (size_t i = 0; i < table->capacity; i++)
        if (table->entries[i].name) *find_entry(&larger, table->entries[i].name) = table->entries[i];
    *table = larger;
    return true;
}

bool sqz_blob_table_set(struct sqz_blob_table *table, const char *name, uint32_t value) {
    if (2 * (table->count + 1) > table->capacity && !grow(table)) return false;
    struct sqz_blob_entry *entry = find_entry(table, name);
    table->count += entry->name == NULL;
    *entry = (struct sqz_blob_entry){name, value};
    return true;
}

bool sqz_blob_table_get(const struct sqz_blob_table *table, const char *name, uint32_t *out) {
    if (table->capacity == 0) return false;
    const struct sqz_blob_entry *entry = find_entry(table, name);
    if (!entry->name) return false;
    *out = entry->value;
    return true;
}
