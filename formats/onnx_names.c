/* onnx_names.c - values by name, and the attributes of a node. */
#include <stdio.h>
#include <string.h>

#include "formats/onnx_parts.h"

/* Ten values for each of the most nodes and weights that a model may have, rounded up. */
#define MAX_VALUES ((size_t)1 << 20)

/* FNV-1a, 64 bits (Fowler, Noll and Vo). */
static uint64_t hash_name(const char *name) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++) hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

static struct onnx_value **find_slot(const struct onnx_names *names, const char *name) {
    size_t mask = names->capacity - 1;
    for (size_t i = (size_t)hash_name(name) & mask;; i = (i + 1) & mask) {
        struct onnx_value **slot = &names->slots[i];
        if (!*slot || strcmp((*slot)->name, name) == 0) return slot;
    }
}

static bool grow(struct onnx_names *names) {
    struct onnx_names larger = {.capacity = names->capacity ? names->capacity * 2 : 256, .count = names->count};
    larger.slots = sqz_alloc0(larger.capacity, sizeof *larger.slots);
    if (!larger.slots) return false;
    for (size_t i = 0; i < names->capacity; i++)
        if (names->slots[i]) *find_slot(&larger, names->slots[i]->name) = names->slots[i];
    sqz_free(names->slots);
    *names = larger;
    return true;
}

struct onnx_value *sqz_onnx_find(const struct onnx_import *import, const char *name) {
    return import->names.capacity ? *find_slot(&import->names, name) : NULL;
}

enum sqz_status sqz_onnx_define(struct onnx_import *import, const char *name, struct onnx_value **out,
                                struct sqz_error *err) {
    struct onnx_names *names = &import->names;
    if (names->count >= MAX_VALUES) return sqz_fail(err, SQZ_LIMIT, "the graph has more than %zu values", MAX_VALUES);
    if (2 * (names->count + 1) > names->capacity && !grow(names))
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    struct onnx_value **slot = find_slot(names, name);
    if (*slot) return sqz_fail(err, SQZ_MALFORMED, "the name %s stands for two values", name);
    struct onnx_value *value = sqz_arena_alloc(&import->arena, 1, sizeof *value);
    if (!value) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    value->name = name;
    value->producer = UINT32_MAX;
    *slot = *out = value;
    names->count++;
    return SQZ_OK;
}

bool sqz_onnx_has_input(const Onnx__Node *node, size_t i) {
    return i < node->n_input && node->input[i][0] != '\0';
}

bool sqz_onnx_has_output(const Onnx__Node *node, size_t i) {
    return i < node->n_output && node->output[i][0] != '\0';
}

const char *sqz_onnx_where(const Onnx__Node *node, char buffer[ONNX_WHERE_TEXT]) {
    const char *name = onnx_text(node->name);
    if (*name)
        snprintf(buffer, ONNX_WHERE_TEXT, "%.40s node %.100s", onnx_text(node->op_type), name);
    else
        snprintf(buffer, ONNX_WHERE_TEXT, "%.40s node that computes %.90s", onnx_text(node->op_type),
                 node->n_output ? node->output[0] : "nothing");
    return buffer;
}

enum sqz_status sqz_onnx_unsupported(const Onnx__Node *node, const char *reason, struct sqz_error *err) {
    char where[ONNX_WHERE_TEXT];
    return sqz_fail(err, SQZ_UNSUPPORTED, "%s: %s", sqz_onnx_where(node, where), reason);
}

enum sqz_status sqz_onnx_malformed(const Onnx__Node *node, const char *reason, struct sqz_error *err) {
    char where[ONNX_WHERE_TEXT];
    return sqz_fail(err, SQZ_MALFORMED, "%s: %s", sqz_onnx_where(node, where), reason);
}

void sqz_onnx_warn(const struct onnx_import *import, const Onnx__Node *node, const char *text) {
    char where[ONNX_WHERE_TEXT], line[2 * ONNX_WHERE_TEXT];
    if (!import->options->warn) return;
    snprintf(line, sizeof line, "%s %s", sqz_onnx_where(node, where), text);
    import->options->warn(import->options->warn_context, line);
}

const Onnx__Attribute *sqz_onnx_attribute(const Onnx__Node *node, const char *name) {
    for (size_t i = 0; i < node->n_attribute; i++)
        if (strcmp(onnx_text(node->attribute[i]->name), name) == 0) return node->attribute[i];
    return NULL;
}

/* A writer in proto3 leaves zeros out, so an attribute without its value is zero, not the default. */
int64_t sqz_onnx_int(const Onnx__Node *node, const char *name, int64_t fallback) {
    const Onnx__Attribute *attribute = sqz_onnx_attribute(node, name);
    return attribute ? attribute->i : fallback;
}

float sqz_onnx_float(const Onnx__Node *node, const char *name, float fallback) {
    const Onnx__Attribute *attribute = sqz_onnx_attribute(node, name);
    return attribute ? attribute->f : fallback;
}

const int64_t *sqz_onnx_ints(const Onnx__Node *node, const char *name, size_t *n) {
    const Onnx__Attribute *attribute = sqz_onnx_attribute(node, name);
    *n = attribute ? attribute->n_ints : 0;
    return attribute ? attribute->ints : NULL;
}

bool sqz_onnx_string_is(const Onnx__Node *node, const char *name, const char *text, bool fallback) {
    const Onnx__Attribute *attribute = sqz_onnx_attribute(node, name);
    if (!attribute) return fallback;
    return attribute->s.len == strlen(text) &&
           (*text == '\0' || memcmp(attribute->s.data, text, attribute->s.len) == 0);
}
