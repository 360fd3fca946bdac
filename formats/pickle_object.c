/* pickle_object.c - opcodes of the pickle machine for globals, calls, persistent ids and the memo. */
#include "formats/pickle_machine.h"

#include <string.h>

/* The last protocol that exists. */
#define MAX_PROTOCOL 5

static enum sqz_status memo_by_text(struct sqz_pickle_machine *m, bool put) {
    char number[SQZ_PICKLE_MAX_LINE];
    int64_t index;
    SQZ_TRY(sqz_pickle_read_text_integer(m, &index, number));
    if (index < 0) return sqz_pickle_malformed(m, "a memo index is negative");
    return put ? sqz_pickle_memo_put(m, (uint64_t)index) : sqz_pickle_memo_get(m, (uint64_t)index);
}

static enum sqz_status make_global(struct sqz_pickle_machine *m, const char *module, size_t module_nbytes,
                                   const char *name, size_t name_nbytes, struct sqz_pickle_value **out) {
    if (module_nbytes >= SQZ_PICKLE_MAX_LINE || name_nbytes >= SQZ_PICKLE_MAX_LINE ||
        (module_nbytes && memchr(module, 0, module_nbytes)) || (name_nbytes && memchr(name, 0, name_nbytes)))
        return sqz_pickle_malformed(m, "the name of a global is not readable");
    struct sqz_pickle_value *value = sqz_pickle_new(&m->out->arena, SQZ_PICKLE_GLOBAL);
    if (!value) return sqz_pickle_no_memory(m);
    value->as.global.module = sqz_arena_strndup(&m->out->arena, module, module_nbytes);
    value->as.global.name = sqz_arena_strndup(&m->out->arena, name, name_nbytes);
    if (!value->as.global.module || !value->as.global.name) return sqz_pickle_no_memory(m);
    enum sqz_pickle_class unused;
    *out = value;
    return m->admit(value->as.global.module, value->as.global.name, &unused, m->err);
}

static enum sqz_status read_global(struct sqz_pickle_machine *m, struct sqz_pickle_value **out) {
    const char *module, *name;
    size_t module_nbytes, name_nbytes;
    SQZ_TRY(sqz_pickle_read_line(m, &module, &module_nbytes));
    SQZ_TRY(sqz_pickle_read_line(m, &name, &name_nbytes));
    return make_global(m, module, module_nbytes, name, name_nbytes, out);
}

static enum sqz_status push_global(struct sqz_pickle_machine *m) {
    struct sqz_pickle_value *value;
    SQZ_TRY(read_global(m, &value));
    return sqz_pickle_push(m, value);
}

static enum sqz_status push_stack_global(struct sqz_pickle_machine *m) {
    struct sqz_pickle_value *module, *name, *value;
    SQZ_TRY(sqz_pickle_pop(m, &name));
    SQZ_TRY(sqz_pickle_pop(m, &module));
    if (module->kind != SQZ_PICKLE_TEXT || name->kind != SQZ_PICKLE_TEXT)
        return sqz_pickle_malformed(m, "the name of a global is not a text");
    SQZ_TRY(
        make_global(m, module->as.text.data, module->as.text.nbytes, name->as.text.data, name->as.text.nbytes, &value));
    return sqz_pickle_push(m, value);
}

/* An ordered dictionary may be made from a list of pairs (Python 2 writes it so). */
static enum sqz_status push_dict_of_pairs(struct sqz_pickle_machine *m, const struct sqz_pickle_value *arguments) {
    struct sqz_pickle_value *dict = sqz_pickle_new(&m->out->arena, SQZ_PICKLE_DICT);
    const struct sqz_pickle_value *pairs = sqz_pickle_item(arguments, 0);
    if (!dict) return sqz_pickle_no_memory(m);
    size_t n = pairs && pairs->kind == SQZ_PICKLE_LIST ? pairs->as.list.n_items : 0;
    for (size_t i = 0; i < n; i++) {
        const struct sqz_pickle_value *pair = pairs->as.list.items[i];
        if ((pair->kind != SQZ_PICKLE_LIST && pair->kind != SQZ_PICKLE_TUPLE) || pair->as.list.n_items != 2)
            return sqz_pickle_malformed(m, "a dictionary is made from something other than pairs");
        for (int k = 0; k < 2; k++)
            if (!sqz_pickle_append(&m->out->arena, dict, pair->as.list.items[k])) return sqz_pickle_no_memory(m);
    }
    return sqz_pickle_push(m, dict);
}

static enum sqz_status push_call(struct sqz_pickle_machine *m, const struct sqz_pickle_value *function,
                                 const struct sqz_pickle_value *arguments) {
    if (function->kind != SQZ_PICKLE_GLOBAL || arguments->kind != SQZ_PICKLE_TUPLE)
        return sqz_pickle_malformed(m, "something that is no global is called");
    enum sqz_pickle_class class = SQZ_PICKLE_CLASS_CALL;
    SQZ_TRY(m->admit(function->as.global.module, function->as.global.name, &class, m->err));
    if (class == SQZ_PICKLE_CLASS_DICT) return push_dict_of_pairs(m, arguments);
    if (class == SQZ_PICKLE_CLASS_SET) {
        const struct sqz_pickle_value *items = sqz_pickle_item(arguments, 0);
        bool listed = items && (items->kind == SQZ_PICKLE_LIST || items->kind == SQZ_PICKLE_TUPLE);
        return sqz_pickle_push_list(m, SQZ_PICKLE_SET, listed ? items->as.list.items : NULL,
                                    listed ? items->as.list.n_items : 0);
    }
    struct sqz_pickle_value *value = sqz_pickle_new(&m->out->arena, SQZ_PICKLE_CALL);
    if (value) {
        value->as.call.function = function;
        value->as.call.arguments = arguments;
    }
    return sqz_pickle_push(m, value);
}

/* REDUCE, NEWOBJ and NEWOBJ_EX (with keyword arguments, which are dropped). */
static enum sqz_status call_from_stack(struct sqz_pickle_machine *m, bool keywords) {
    struct sqz_pickle_value *function, *arguments, *dropped;
    if (keywords) SQZ_TRY(sqz_pickle_pop(m, &dropped));
    SQZ_TRY(sqz_pickle_pop(m, &arguments));
    SQZ_TRY(sqz_pickle_pop(m, &function));
    return push_call(m, function, arguments);
}

/* INST names its class in the text, OBJ has it as the first value above the MARK. */
static enum sqz_status call_to_mark(struct sqz_pickle_machine *m, bool named) {
    struct sqz_pickle_value *function = NULL, **items, *arguments;
    size_t n;
    if (named) SQZ_TRY(read_global(m, &function));
    SQZ_TRY(sqz_pickle_pop_to_mark(m, &items, &n));
    if (!named) {
        if (n == 0) return sqz_pickle_malformed(m, "an object has no class");
        function = *items++;
        n--;
    }
    SQZ_TRY(sqz_pickle_push_list(m, SQZ_PICKLE_TUPLE, items, n));
    SQZ_TRY(sqz_pickle_pop(m, &arguments));
    return push_call(m, function, arguments);
}

static enum sqz_status push_persistent(struct sqz_pickle_machine *m, struct sqz_pickle_value *id) {
    struct sqz_pickle *out = m->out;
    struct sqz_pickle_value *value = sqz_pickle_new(&out->arena, SQZ_PICKLE_PERSISTENT);
    if (!value) return sqz_pickle_no_memory(m);
    value->as.id = id;
    if (out->n_persistent == out->persistent_capacity) {
        size_t capacity = out->persistent_capacity ? out->persistent_capacity * 2 : 64;
        struct sqz_pickle_value **list = sqz_arena_alloc(&out->arena, capacity, sizeof *list);
        if (!list) return sqz_pickle_no_memory(m);
        if (out->n_persistent) memcpy(list, out->persistent, out->n_persistent * sizeof *list);
        out->persistent = list;
        out->persistent_capacity = capacity;
    }
    out->persistent[out->n_persistent++] = value;
    return sqz_pickle_push(m, value);
}

/* PERSID has its id as a line of text, BINPERSID on the stack. */
static enum sqz_status persistent(struct sqz_pickle_machine *m, bool in_text) {
    struct sqz_pickle_value *id;
    if (in_text) SQZ_TRY(sqz_pickle_push_text_line(m, false));
    SQZ_TRY(sqz_pickle_pop(m, &id));
    return push_persistent(m, id);
}

static enum sqz_status check_protocol(struct sqz_pickle_machine *m) {
    unsigned protocol = sqz_read_u8(&m->in);
    SQZ_TRY(sqz_pickle_check_read(m));
    if (protocol > MAX_PROTOCOL) return sqz_fail(m->err, SQZ_VERSION, "pickle protocol %u is not known", protocol);
    return SQZ_OK;
}

static enum sqz_status check_frame(struct sqz_pickle_machine *m) {
    uint64_t nbytes = sqz_read_u64(&m->in);
    SQZ_TRY(sqz_pickle_check_read(m));
    if (nbytes > sqz_reader_left(&m->in))
        return sqz_fail(m->err, SQZ_TRUNCATED, "pickle: the frame at byte %zu is longer than the data",
                        m->opcode_offset);
    return SQZ_OK;
}

/* Remove the state that BUILD would hand to an object; attributes of a dictionary are of no interest either. */
static enum sqz_status drop_state(struct sqz_pickle_machine *m) {
    struct sqz_pickle_value *state, *target;
    SQZ_TRY(sqz_pickle_pop(m, &state));
    return sqz_pickle_top(m, &target);
}

enum sqz_status sqz_pickle_step_object(struct sqz_pickle_machine *m, unsigned opcode) {
    switch (opcode) {
    case OP_PROTO:
        return check_protocol(m);
    case OP_FRAME:
        return check_frame(m);
    case OP_GET:
    case OP_PUT:
        return memo_by_text(m, opcode == OP_PUT);
    case OP_BINGET:
        return sqz_pickle_memo_get(m, sqz_read_u8(&m->in));
    case OP_LONG_BINGET:
        return sqz_pickle_memo_get(m, sqz_read_u32(&m->in));
    case OP_BINPUT:
        return sqz_pickle_memo_put(m, sqz_read_u8(&m->in));
    case OP_LONG_BINPUT:
        return sqz_pickle_memo_put(m, sqz_read_u32(&m->in));
    case OP_MEMOIZE:
        return sqz_pickle_memo_put(m, m->n_memoized);
    case OP_GLOBAL:
        return push_global(m);
    case OP_STACK_GLOBAL:
        return push_stack_global(m);
    case OP_REDUCE:
    case OP_NEWOBJ:
        return call_from_stack(m, false);
    case OP_NEWOBJ_EX:
        return call_from_stack(m, true);
    case OP_INST:
    case OP_OBJ:
        return call_to_mark(m, opcode == OP_INST);
    case OP_BUILD:
        return drop_state(m);
    case OP_PERSID:
    case OP_BINPERSID:
        return persistent(m, opcode == OP_PERSID);
    case OP_EXT1:
    case OP_EXT2:
    case OP_EXT4:
    case OP_NEXT_BUFFER:
    case OP_READONLY_BUFFER:
        return sqz_fail(m->err, SQZ_UNSUPPORTED,
                        "pickle: opcode 0x%02x at byte %zu needs something from outside the file", opcode,
                        m->opcode_offset);
    default:
        return sqz_fail(m->err, SQZ_MALFORMED, "pickle: unknown opcode 0x%02x at byte %zu", opcode, m->opcode_offset);
    }
}
