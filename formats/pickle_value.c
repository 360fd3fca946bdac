/* pickle_value.c - making and looking into the values of a pickle. */
#include "formats/pickle.h"

#include <string.h>

struct sqz_pickle_value *sqz_pickle_new(struct sqz_arena *arena, enum sqz_pickle_kind kind) {
    struct sqz_pickle_value *value = sqz_arena_alloc(arena, 1, sizeof *value);
    if (value) value->kind = kind;
    return value;
}

bool sqz_pickle_append(struct sqz_arena *arena, struct sqz_pickle_value *list, struct sqz_pickle_value *item) {
    if (list->as.list.n_items == list->as.list.capacity) {
        size_t capacity = list->as.list.capacity ? list->as.list.capacity * 2 : 4;
        struct sqz_pickle_value **items = sqz_arena_alloc(arena, capacity, sizeof *items);
        if (!items) return false;
        if (list->as.list.n_items) memcpy(items, list->as.list.items, list->as.list.n_items * sizeof *items);
        list->as.list.items = items;
        list->as.list.capacity = capacity;
    }
    list->as.list.items[list->as.list.n_items++] = item;
    return true;
}

bool sqz_pickle_text_is(const struct sqz_pickle_value *value, const char *text) {
    size_t nbytes = strlen(text);
    return value && value->kind == SQZ_PICKLE_TEXT && value->as.text.nbytes == nbytes &&
           memcmp(value->as.text.data, text, nbytes) == 0;
}

const struct sqz_pickle_value *sqz_pickle_item(const struct sqz_pickle_value *tuple, size_t i) {
    if (!tuple || tuple->kind != SQZ_PICKLE_TUPLE || i >= tuple->as.list.n_items) return NULL;
    return tuple->as.list.items[i];
}

const struct sqz_pickle_value *sqz_pickle_get(const struct sqz_pickle_value *dict, const char *key) {
    if (!dict || dict->kind != SQZ_PICKLE_DICT) return NULL;
    for (size_t i = dict->as.list.n_items; i >= 2; i -= 2)
        if (sqz_pickle_text_is(dict->as.list.items[i - 2], key)) return dict->as.list.items[i - 1];
    return NULL;
}

const char *sqz_pickle_kind_text(const struct sqz_pickle_value *value) {
    switch (value->kind) {
    case SQZ_PICKLE_NONE:
        return "None";
    case SQZ_PICKLE_BOOL:
        return "a truth value";
    case SQZ_PICKLE_INTEGER:
    case SQZ_PICKLE_BIG_INTEGER:
        return "an integer";
    case SQZ_PICKLE_REAL:
        return "a number";
    case SQZ_PICKLE_TEXT:
        return "a text";
    case SQZ_PICKLE_BYTES:
        return "a byte string";
    case SQZ_PICKLE_TUPLE:
        return "a tuple";
    case SQZ_PICKLE_LIST:
        return "a list";
    case SQZ_PICKLE_SET:
        return "a set";
    case SQZ_PICKLE_DICT:
        return "a dictionary";
    case SQZ_PICKLE_GLOBAL:
        return "a class or function";
    case SQZ_PICKLE_PERSISTENT:
        return "a storage";
    default:
        return "an object";
    }
}
