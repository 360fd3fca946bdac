/* pickle.c - the pickle machine: containers and the loop over opcodes, which only build values. */
#include "formats/pickle_machine.h"

#include <string.h>

enum sqz_status sqz_pickle_push_list(struct sqz_pickle_machine *m, enum sqz_pickle_kind kind,
                                     struct sqz_pickle_value **items, size_t n) {
    if (kind == SQZ_PICKLE_DICT && n % 2) return sqz_pickle_malformed(m, "a dictionary has a key without a value");
    struct sqz_pickle_value *list = sqz_pickle_new(&m->out->arena, kind);
    if (!list) return sqz_pickle_no_memory(m);
    if (n) {
        list->as.list.items = sqz_arena_alloc(&m->out->arena, n, sizeof *items);
        if (!list->as.list.items) return sqz_pickle_no_memory(m);
        memcpy(list->as.list.items, items, n * sizeof *items);
        list->as.list.n_items = list->as.list.capacity = n;
    }
    return sqz_pickle_push(m, list);
}

static enum sqz_status push_list_to_mark(struct sqz_pickle_machine *m, enum sqz_pickle_kind kind) {
    struct sqz_pickle_value **items;
    size_t n;
    SQZ_TRY(sqz_pickle_pop_to_mark(m, &items, &n));
    return sqz_pickle_push_list(m, kind, items, n);
}

/* TUPLE1 to TUPLE3. */
static enum sqz_status push_tuple(struct sqz_pickle_machine *m, size_t n) {
    struct sqz_pickle_value *items[3];
    for (size_t i = n; i-- > 0;) SQZ_TRY(sqz_pickle_pop(m, &items[i]));
    return sqz_pickle_push_list(m, SQZ_PICKLE_TUPLE, items, n);
}

/* APPEND(S), ADDITEMS and SETITEM(S): what an opaque object is given is of no interest. */
static enum sqz_status extend(struct sqz_pickle_machine *m, struct sqz_pickle_value *target,
                              struct sqz_pickle_value **items, size_t n, bool pairs) {
    if (target->kind == SQZ_PICKLE_CALL) return SQZ_OK;
    bool fits =
        pairs ? target->kind == SQZ_PICKLE_DICT : target->kind == SQZ_PICKLE_LIST || target->kind == SQZ_PICKLE_SET;
    if (!fits || (pairs && n % 2)) return sqz_pickle_malformed(m, "items are added to a value that cannot take them");
    for (size_t i = 0; i < n; i++)
        if (!sqz_pickle_append(&m->out->arena, target, items[i])) return sqz_pickle_no_memory(m);
    return SQZ_OK;
}

static enum sqz_status extend_to_mark(struct sqz_pickle_machine *m, bool pairs) {
    struct sqz_pickle_value **items, *target;
    size_t n;
    SQZ_TRY(sqz_pickle_pop_to_mark(m, &items, &n));
    SQZ_TRY(sqz_pickle_top(m, &target));
    return extend(m, target, items, n, pairs);
}

static enum sqz_status extend_by_few(struct sqz_pickle_machine *m, size_t n, bool pairs) {
    struct sqz_pickle_value *items[2], *target;
    for (size_t i = n; i-- > 0;) SQZ_TRY(sqz_pickle_pop(m, &items[i]));
    SQZ_TRY(sqz_pickle_top(m, &target));
    return extend(m, target, items, n, pairs);
}

static enum sqz_status drop_top(struct sqz_pickle_machine *m) {
    if (m->depth == 0) return sqz_pickle_malformed(m, "an opcode finds too few values");
    m->depth--;
    return SQZ_OK;
}

static enum sqz_status drop_to_mark(struct sqz_pickle_machine *m) {
    struct sqz_pickle_value **items;
    size_t n;
    return sqz_pickle_pop_to_mark(m, &items, &n);
}

static enum sqz_status duplicate(struct sqz_pickle_machine *m) {
    struct sqz_pickle_value *value;
    SQZ_TRY(sqz_pickle_top(m, &value));
    return sqz_pickle_push(m, value);
}

static enum sqz_status step_container(struct sqz_pickle_machine *m, unsigned opcode, bool *known) {
    *known = true;
    switch (opcode) {
    case OP_MARK:
        return sqz_pickle_push(m, &sqz_pickle_mark);
    case OP_EMPTY_TUPLE:
        return sqz_pickle_push_list(m, SQZ_PICKLE_TUPLE, NULL, 0);
    case OP_EMPTY_LIST:
        return sqz_pickle_push_list(m, SQZ_PICKLE_LIST, NULL, 0);
    case OP_EMPTY_DICT:
        return sqz_pickle_push_list(m, SQZ_PICKLE_DICT, NULL, 0);
    case OP_EMPTY_SET:
        return sqz_pickle_push_list(m, SQZ_PICKLE_SET, NULL, 0);
    case OP_TUPLE:
        return push_list_to_mark(m, SQZ_PICKLE_TUPLE);
    case OP_LIST:
        return push_list_to_mark(m, SQZ_PICKLE_LIST);
    case OP_DICT:
        return push_list_to_mark(m, SQZ_PICKLE_DICT);
    case OP_FROZENSET:
        return push_list_to_mark(m, SQZ_PICKLE_SET);
    case OP_TUPLE1:
    case OP_TUPLE2:
    case OP_TUPLE3:
        return push_tuple(m, opcode - OP_TUPLE1 + 1);
    case OP_APPEND:
        return extend_by_few(m, 1, false);
    case OP_SETITEM:
        return extend_by_few(m, 2, true);
    case OP_APPENDS:
    case OP_ADDITEMS:
        return extend_to_mark(m, false);
    case OP_SETITEMS:
        return extend_to_mark(m, true);
    case OP_POP:
        return drop_top(m);
    case OP_POP_MARK:
        return drop_to_mark(m);
    case OP_DUP:
        return duplicate(m);
    default:
        *known = false;
        return SQZ_OK;
    }
}

static enum sqz_status run(struct sqz_pickle_machine *m) {
    for (;;) {
        m->opcode_offset = m->in.offset;
        unsigned opcode = sqz_read_u8(&m->in);
        if (m->in.failed)
            return sqz_fail(m->err, SQZ_TRUNCATED, "pickle: the data ends at byte %zu without a STOP", m->in.nbytes);
        if (opcode == OP_STOP) break;
        bool known;
        SQZ_TRY(sqz_pickle_step_scalar(m, opcode, &known));
        if (!known) SQZ_TRY(step_container(m, opcode, &known));
        if (!known) SQZ_TRY(sqz_pickle_step_object(m, opcode));
    }
    struct sqz_pickle_value *root;
    SQZ_TRY(sqz_pickle_pop(m, &root));
    m->out->root = root;
    m->out->nbytes = m->in.offset;
    return SQZ_OK;
}

enum sqz_status sqz_pickle_load(const uint8_t *data, size_t nbytes, sqz_pickle_admit admit, struct sqz_pickle *out,
                                struct sqz_error *err) {
    *out = (struct sqz_pickle){0};
    struct sqz_pickle_machine m = {.in = sqz_reader_make(data, nbytes), .out = out, .admit = admit, .err = err};
    enum sqz_status status = run(&m);
    sqz_free(m.stack);
    sqz_free(m.memo);
    if (status != SQZ_OK) sqz_pickle_free(out);
    return status;
}

void sqz_pickle_free(struct sqz_pickle *pickle) {
    sqz_arena_free(&pickle->arena);
    *pickle = (struct sqz_pickle){0};
}
