/* pickle.h - a Python pickle as a tree of plain values. Nothing is imported, called or executed. */
#ifndef SQZ_FORMATS_PICKLE_H
#define SQZ_FORMATS_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/memory.h"
#include "lib/status.h"

enum sqz_pickle_kind {
    SQZ_PICKLE_NONE,
    SQZ_PICKLE_BOOL,
    SQZ_PICKLE_INTEGER,
    SQZ_PICKLE_BIG_INTEGER, /* beyond 64 bits, as written: little-endian bytes, or decimal digits in protocols 0 and 1
                             */
    SQZ_PICKLE_REAL,
    SQZ_PICKLE_TEXT,
    SQZ_PICKLE_BYTES,
    SQZ_PICKLE_TUPLE,
    SQZ_PICKLE_LIST,
    SQZ_PICKLE_SET,
    SQZ_PICKLE_DICT,
    SQZ_PICKLE_GLOBAL,
    SQZ_PICKLE_CALL,       /* what a function or class would have made of its arguments */
    SQZ_PICKLE_PERSISTENT, /* an object kept outside the pickle, named by an id */
    SQZ_PICKLE_MARK,       /* private to the machine */
};

/* One value. A value may be reachable on several ways, and in a hostile file from itself. */
struct sqz_pickle_value {
    enum sqz_pickle_kind kind;
    bool visited; /* free for the reader of the tree, false at first */
    union {
        int64_t integer; /* BOOL, INTEGER */
        double real;
        struct {
            const char *data; /* into the pickle's bytes; not terminated */
            size_t nbytes;
        } text; /* TEXT, BYTES, BIG_INTEGER */
        struct {
            struct sqz_pickle_value **items; /* DICT: key, value, key, value, ... */
            size_t n_items, capacity;
        } list; /* TUPLE, LIST, SET, DICT */
        struct {
            const char *module, *name; /* terminated */
        } global;
        struct {
            const struct sqz_pickle_value *function;  /* a GLOBAL */
            const struct sqz_pickle_value *arguments; /* a TUPLE */
        } call;
        const struct sqz_pickle_value *id; /* PERSISTENT */
    } as;
};

/* What calling an admitted global stands for. */
enum sqz_pickle_class {
    SQZ_PICKLE_CLASS_CALL, /* a CALL value that records function and arguments */
    SQZ_PICKLE_CLASS_DICT, /* a DICT, filled from a list of pairs when one is given */
    SQZ_PICKLE_CLASS_SET,  /* a SET of the items of the one argument */
};

/* Decides on a global; anything but SQZ_OK ends the reading with that status. */
typedef enum sqz_status (*sqz_pickle_admit)(const char *module, const char *name, enum sqz_pickle_class *out,
                                            struct sqz_error *err);

struct sqz_pickle {
    struct sqz_arena arena;
    const struct sqz_pickle_value *root;
    struct sqz_pickle_value **persistent; /* [n_persistent] in the order of the file */
    size_t n_persistent, persistent_capacity;
    size_t nbytes; /* length of the pickle; a file may hold several in a row */
};

/*
 * Bounds. A state_dict takes about 22 pushes and 8 memo entries for each
 * tensor, and pickle writes lists and dictionaries in batches of 1000 items.
 */
#define SQZ_PICKLE_MAX_PUSHES ((size_t)2 << 20)
#define SQZ_PICKLE_MAX_DEPTH ((size_t)64 << 10)
#define SQZ_PICKLE_MAX_MEMO ((size_t)1 << 20)

/*
 * Read one pickle of protocol 0 to 5 from the start of data. Texts point
 * into data, which must outlive *out. SQZ_TRUNCATED, SQZ_MALFORMED,
 * SQZ_UNSUPPORTED (extension registry, out-of-band buffers), SQZ_LIMIT,
 * SQZ_OUT_OF_MEMORY or the status of `admit`; *out is then empty.
 */
enum sqz_status sqz_pickle_load(const uint8_t *data, size_t nbytes, sqz_pickle_admit admit, struct sqz_pickle *out,
                                struct sqz_error *err);
void sqz_pickle_free(struct sqz_pickle *pickle);

/* Whether a TEXT value equals a C string. */
bool sqz_pickle_text_is(const struct sqz_pickle_value *value, const char *text);

/* Item i of a TUPLE, or NULL when the value is no tuple or shorter. */
const struct sqz_pickle_value *sqz_pickle_item(const struct sqz_pickle_value *tuple, size_t i);

/* Value under a text key of a DICT (the last one, as Python keeps it), or NULL. */
const struct sqz_pickle_value *sqz_pickle_get(const struct sqz_pickle_value *dict, const char *key);

/* Python's name of a value's kind, for messages: "a list", "an integer". */
const char *sqz_pickle_kind_text(const struct sqz_pickle_value *value);

/* ---- private to pickle.c and pickle_value.c ---- */

/* A zeroed value of the kind, or NULL when memory is short. */
struct sqz_pickle_value *sqz_pickle_new(struct sqz_arena *arena, enum sqz_pickle_kind kind);

/* Append an item to a LIST, SET, TUPLE or DICT; false when memory is short. */
bool sqz_pickle_append(struct sqz_arena *arena, struct sqz_pickle_value *list, struct sqz_pickle_value *item);

#endif
