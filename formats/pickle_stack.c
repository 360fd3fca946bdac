/* pickle_stack.c - stack, memo and errors of the pickle machine. */
#include "formats/pickle_machine.h"

#include <string.h>

struct sqz_pickle_value sqz_pickle_mark = {.kind = SQZ_PICKLE_MARK};

enum sqz_status sqz_pickle_malformed(struct sqz_pickle_machine *m, const char *what) {
    return sqz_fail(m->err, SQZ_MALFORMED, "pickle: %s at byte %zu", what, m->opcode_offset);
}

enum sqz_status sqz_pickle_no_memory(struct sqz_pickle_machine *m) {
    return sqz_fail(m->err, SQZ_OUT_OF_MEMORY, "not enough memory for the pickle");
}

/* Read arguments are checked once: a short read has set in.failed. */
enum sqz_status sqz_pickle_check_read(struct sqz_pickle_machine *m) {
    if (!m->in.failed) return SQZ_OK;
    return sqz_fail(m->err, SQZ_TRUNCATED, "pickle: the data ends inside the opcode at byte %zu", m->opcode_offset);
}

enum sqz_status sqz_pickle_push(struct sqz_pickle_machine *m, struct sqz_pickle_value *value) {
    if (!value) return sqz_pickle_no_memory(m);
    if (++m->n_pushes > SQZ_PICKLE_MAX_PUSHES)
        return sqz_fail(m->err, SQZ_LIMIT, "pickle: more than %zu values", SQZ_PICKLE_MAX_PUSHES);
    if (m->depth == SQZ_PICKLE_MAX_DEPTH)
        return sqz_fail(m->err, SQZ_LIMIT, "pickle: nested or stacked deeper than %zu values at byte %zu",
                        SQZ_PICKLE_MAX_DEPTH, m->opcode_offset);
    if (m->depth == m->stack_capacity) {
        size_t capacity = m->stack_capacity ? m->stack_capacity * 2 : 256;
        struct sqz_pickle_value **stack = sqz_realloc(m->stack, capacity, sizeof *stack);
        if (!stack) return sqz_pickle_no_memory(m);
        m->stack = stack;
        m->stack_capacity = capacity;
    }
    m->stack[m->depth++] = value;
    return SQZ_OK;
}

enum sqz_status sqz_pickle_pop(struct sqz_pickle_machine *m, struct sqz_pickle_value **out) {
    if (m->depth == 0 || m->stack[m->depth - 1] == &sqz_pickle_mark)
        return sqz_pickle_malformed(m, "an opcode finds too few values");
    *out = m->stack[--m->depth];
    return SQZ_OK;
}

enum sqz_status sqz_pickle_top(struct sqz_pickle_machine *m, struct sqz_pickle_value **out) {
    SQZ_TRY(sqz_pickle_pop(m, out));
    m->depth++;
    return SQZ_OK;
}

enum sqz_status sqz_pickle_pop_to_mark(struct sqz_pickle_machine *m, struct sqz_pickle_value ***items, size_t *n) {
    for (size_t i = m->depth; i-- > 0;) {
        if (m->stack[i] != &sqz_pickle_mark) continue;
        *items = m->stack + i + 1;
        *n = m->depth - i - 1;
        m->depth = i;
        return SQZ_OK;
    }
    return sqz_pickle_malformed(m, "an opcode finds no MARK");
}

enum sqz_status sqz_pickle_memo_put(struct sqz_pickle_machine *m, uint64_t index) {
    struct sqz_pickle_value *value;
    SQZ_TRY(sqz_pickle_check_read(m));
    SQZ_TRY(sqz_pickle_top(m, &value));
    if (index >= SQZ_PICKLE_MAX_MEMO)
        return sqz_fail(m->err, SQZ_LIMIT, "pickle: memo index %llu at byte %zu is beyond the limit of %zu",
                        (unsigned long long)index, m->opcode_offset, SQZ_PICKLE_MAX_MEMO);
    if (index >= m->n_memo) {
        size_t n = m->n_memo ? m->n_memo : 256;
        while (n <= index) n *= 2;
        struct sqz_pickle_value **memo = sqz_realloc(m->memo, n, sizeof *memo);
        if (!memo) return sqz_pickle_no_memory(m);
        memset(memo + m->n_memo, 0, (n - m->n_memo) * sizeof *memo);
        m->memo = memo;
        m->n_memo = n;
    }
    if (!m->memo[index]) m->n_memoized++;
    m->memo[index] = value;
    return SQZ_OK;
}

enum sqz_status sqz_pickle_memo_get(struct sqz_pickle_machine *m, uint64_t index) {
    SQZ_TRY(sqz_pickle_check_read(m));
    if (index >= m->n_memo || !m->memo[index]) return sqz_pickle_malformed(m, "a memo entry is used before it is set");
    return sqz_pickle_push(m, m->memo[index]);
}
