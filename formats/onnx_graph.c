/* onnx_graph.c - the graph's values, their order, and branches whose condition is known. */
#include <string.h>

#include "formats/onnx_parts.h"

/* Nesting of If branches; PyTorch writes one level, and a parser must not follow a file without end. */
#define MAX_NESTING 4

/* The nodes that compute what each node reads: those of node i are at[begin[i]] to at[begin[i + 1]]. */
struct dependencies {
    size_t *begin;
    uint32_t *at;
    size_t count, capacity;
};

static enum sqz_status no_memory(struct sqz_error *err) {
    return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
}

static bool push(struct dependencies *list, uint32_t node) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity ? list->capacity * 2 : 64;
        uint32_t *at = sqz_realloc(list->at, capacity, sizeof *at);
        if (!at) return false;
        list->at = at;
        list->capacity = capacity;
    }
    list->at[list->count++] = node;
    return true;
}

/* ---- values ---------------------------------------------------------------- */

static enum sqz_status define_initialisers(struct onnx_import *import, const Onnx__Graph *graph,
                                           struct sqz_error *err) {
    if (graph->n_sparse_initializer) return sqz_fail(err, SQZ_UNSUPPORTED, "sparse initialisers are not supported");
    for (size_t i = 0; i < graph->n_initializer; i++) {
        Onnx__Tensor *tensor = graph->initializer[i];
        struct onnx_value *value;
        if (!*onnx_text(tensor->name)) return sqz_fail(err, SQZ_MALFORMED, "initialiser %zu has no name", i);
        SQZ_TRY(sqz_onnx_define(import, tensor->name, &value, err));
        SQZ_TRY(sqz_onnx_tensor_check(import, tensor, err));
        value->kind = ONNX_CONSTANT;
        value->proto = tensor;
        value->origin = tensor->name;
    }
    return SQZ_OK;
}

/* Inputs that are not initialisers: exactly one must be left. */
static enum sqz_status define_input(struct onnx_import *import, const Onnx__Graph *graph, const Onnx__ValueInfo **out,
                                    struct sqz_error *err) {
    *out = NULL;
    for (size_t i = 0; i < graph->n_input; i++) {
        const char *name = onnx_text(graph->input[i]->name);
        struct onnx_value *value = sqz_onnx_find(import, name);
        if (value && value->kind == ONNX_CONSTANT) continue;
        if (*out)
            return sqz_fail(err, SQZ_UNSUPPORTED, "the graph has more than one input: %s and %s",
                            onnx_text((*out)->name), name);
        SQZ_TRY(sqz_onnx_define(import, name, &value, err));
        value->kind = ONNX_NODE;
        *out = graph->input[i];
    }
    if (!*out) return sqz_fail(err, SQZ_UNSUPPORTED, "the graph has no input");
    return SQZ_OK;
}

static enum sqz_status define_outputs(struct onnx_import *import, const Onnx__Node *node, uint32_t producer,
                                      struct sqz_error *err) {
    for (size_t i = 0; i < node->n_output; i++) {
        struct onnx_value *value;
        if (!sqz_onnx_has_output(node, i)) continue;
        SQZ_TRY(sqz_onnx_define(import, node->output[i], &value, err));
        value->producer = producer;
    }
    return SQZ_OK;
}

/* ---- uses -------------------------------------------------------------------- */

static bool note_use(struct onnx_value *value, struct dependencies *list) {
    value->n_uses++;
    return value->producer == UINT32_MAX || push(list, value->producer);
}

static enum sqz_status note_uses(struct onnx_import *import, const Onnx__Node *node, unsigned depth,
                                 struct dependencies *list, struct sqz_error *err);

/* Names of the outer graph that a branch reads count as inputs of its If. */
static enum sqz_status note_branch(struct onnx_import *import, const Onnx__Node *node, const ProtobufCBinaryData *bytes,
                                   unsigned depth, struct dependencies *list, struct sqz_error *err) {
    if (depth >= MAX_NESTING) return sqz_onnx_unsupported(node, "subgraphs are nested too deeply", err);
    Onnx__Graph *graph = onnx__graph__unpack(&import->allocator, bytes->len, bytes->data);
    if (!graph) {
        if (import->out_of_memory) return no_memory(err);
        return sqz_onnx_malformed(node, "a subgraph cannot be parsed", err);
    }
    enum sqz_status status = SQZ_OK;
    for (size_t i = 0; status == SQZ_OK && i < graph->n_node; i++)
        status = note_uses(import, graph->node[i], depth + 1, list, err);
    for (size_t i = 0; status == SQZ_OK && i < graph->n_output; i++) {
        struct onnx_value *value = sqz_onnx_find(import, onnx_text(graph->output[i]->name));
        if (value && !note_use(value, list)) status = no_memory(err);
    }
    onnx__graph__free_unpacked(graph, &import->allocator);
    return status;
}

static enum sqz_status note_uses(struct onnx_import *import, const Onnx__Node *node, unsigned depth,
                                 struct dependencies *list, struct sqz_error *err) {
    char where[ONNX_WHERE_TEXT];
    for (size_t i = 0; i < node->n_input; i++) {
        if (!sqz_onnx_has_input(node, i)) continue;
        struct onnx_value *value = sqz_onnx_find(import, node->input[i]);
        if (value) {
            if (!note_use(value, list)) return no_memory(err);
        } else if (depth == 0) {
            return sqz_fail(err, SQZ_MALFORMED, "%s reads %.200s, which is neither input nor initialiser nor computed",
                            sqz_onnx_where(node, where), node->input[i]);
        }
    }
    for (size_t i = 0; i < node->n_attribute; i++)
        if (node->attribute[i]->has_g) SQZ_TRY(note_branch(import, node, &node->attribute[i]->g, depth, list, err));
    return SQZ_OK;
}

static enum sqz_status find_dependencies(struct onnx_import *import, const Onnx__Graph *graph,
                                         struct dependencies *list, struct sqz_error *err) {
    list->begin = sqz_alloc(graph->n_node + 1, sizeof *list->begin);
    if (!list->begin) return no_memory(err);
    for (size_t i = 0; i < graph->n_node; i++) {
        list->begin[i] = list->count;
        SQZ_TRY(note_uses(import, graph->node[i], 0, list, err));
    }
    list->begin[graph->n_node] = list->count;
    return SQZ_OK;
}

/* ---- order --------------------------------------------------------------------- */

struct visit {
    uint32_t node;
    size_t next; /* dependency to look at */
};

/*
 * Depth-first order: each node behind those it reads, otherwise as the file
 * has them. order, state (zeroed) and stack hold one entry for each node.
 */
static enum sqz_status sort_nodes(const Onnx__Graph *graph, const struct dependencies *list, uint32_t *order,
                                  uint8_t *state, struct visit *stack, struct sqz_error *err) {
    enum { NEW, OPEN, DONE };
    size_t n_order = 0;
    for (uint32_t root = 0; root < graph->n_node; root++) {
        size_t depth = 0;
        if (state[root] != NEW) continue;
        stack[depth++] = (struct visit){root, list->begin[root]};
        state[root] = OPEN;
        while (depth) {
            struct visit *top = &stack[depth - 1];
            if (top->next == list->begin[top->node + 1]) {
                state[top->node] = DONE;
                order[n_order++] = top->node;
                depth--;
                continue;
            }
            uint32_t next = list->at[top->next++];
            if (state[next] == OPEN) return sqz_onnx_malformed(graph->node[next], "the graph has a cycle here", err);
            if (state[next] == DONE) continue;
            stack[depth++] = (struct visit){next, list->begin[next]};
            state[next] = OPEN;
        }
    }
    return SQZ_OK;
}

/* Convert the nodes that `output` depends on, in order. needed is zeroed. */
static enum sqz_status convert_needed(struct onnx_import *import, const Onnx__Graph *graph,
                                      const struct dependencies *list, const uint32_t *order, uint8_t *needed,
                                      const struct onnx_value *output, struct sqz_error *err) {
    if (output->producer != UINT32_MAX) needed[output->producer] = 1;
    for (size_t i = graph->n_node; i-- > 0;) {
        uint32_t node = order[i];
        if (!needed[node]) continue;
        for (size_t k = list->begin[node]; k < list->begin[node + 1]; k++) needed[list->at[k]] = 1;
    }
    for (size_t i = 0; i < graph->n_node; i++)
        if (needed[order[i]]) SQZ_TRY(sqz_onnx_convert_node(import, graph->node[order[i]], err));
    return SQZ_OK;
}

static enum sqz_status sort_and_convert(struct onnx_import *import, const Onnx__Graph *graph,
                                        const struct dependencies *list, const struct onnx_value *output,
                                        struct sqz_error *err) {
    size_t n = graph->n_node ? graph->n_node : 1;
    uint32_t *order = sqz_arena_alloc(&import->arena, n, sizeof *order);
    uint8_t *state = sqz_arena_alloc(&import->arena, n, sizeof *state);
    uint8_t *needed = sqz_arena_alloc(&import->arena, n, sizeof *needed);
    struct visit *stack = sqz_arena_alloc(&import->arena, n, sizeof *stack);
    if (!order || !state || !needed || !stack) return no_memory(err);
    SQZ_TRY(sort_nodes(graph, list, order, state, stack, err));
    return convert_needed(import, graph, list, order, needed, output, err);
}

static enum sqz_status finish_output(struct onnx_import *import, struct onnx_value *output, struct sqz_error *err) {
    while (output->same) output = output->same;
    if (output->kind == ONNX_CONSTANT)
        return sqz_fail(err, SQZ_UNSUPPORTED, "the output %s does not depend on the input", output->name);
    if (output->kind != ONNX_NODE) {
        Onnx__Node end = ONNX__NODE__INIT;
        end.op_type = (char *)"Output";
        SQZ_TRY(sqz_onnx_complete(import, &end, output, err));
    }
    if (output->is_view)
        return sqz_fail(err, SQZ_UNSUPPORTED, "the output %s has its dimensions permuted by a Transpose", output->name);
    import->model->output = output->node;
    return SQZ_OK;
}

enum sqz_status sqz_onnx_convert_graph(struct onnx_import *import, struct sqz_error *err) {
    const Onnx__Graph *graph = import->proto->graph;
    const Onnx__ValueInfo *input;
    struct onnx_value *output;
    if (graph->n_node > SQZ_MAX_NODES || graph->n_initializer > SQZ_MAX_WEIGHTS)
        return sqz_fail(err, SQZ_LIMIT, "the graph has %zu nodes and %zu initialisers", graph->n_node,
                        graph->n_initializer);
    SQZ_TRY(define_initialisers(import, graph, err));
    SQZ_TRY(define_input(import, graph, &input, err));
    for (size_t i = 0; i < graph->n_node; i++) SQZ_TRY(define_outputs(import, graph->node[i], (uint32_t)i, err));
    if (graph->n_output == 0) return sqz_fail(err, SQZ_MALFORMED, "the graph has no output");
    if (graph->n_output > 1)
        return sqz_fail(err, SQZ_UNSUPPORTED, "the graph has more than one output: %s and %s",
                        onnx_text(graph->output[0]->name), onnx_text(graph->output[1]->name));
    output = sqz_onnx_find(import, onnx_text(graph->output[0]->name));
    if (!output)
        return sqz_fail(err, SQZ_MALFORMED, "the output %s is computed by no node", onnx_text(graph->output[0]->name));
    output->n_uses += 2; /* the outside reads it: it is never exclusive to a node */
    struct dependencies list = {0};
    enum sqz_status status = find_dependencies(import, graph, &list, err);
    if (status == SQZ_OK) status = sqz_onnx_make_model(import, input, err);
    if (status == SQZ_OK) status = sort_and_convert(import, graph, &list, output, err);
    if (status == SQZ_OK) status = finish_output(import, output, err);
    sqz_free(list.begin);
    sqz_free(list.at);
    return status;
}

/* ---- If ----------------------------------------------------------------------- */

/* Keep a taken branch until the end of the import: names point into it. */
static enum sqz_status keep_branch(struct onnx_import *import, const Onnx__Node *node, const ProtobufCBinaryData *bytes,
                                   Onnx__Graph **out, struct sqz_error *err) {
    if (import->n_branches == import->branches_capacity) {
        size_t capacity = import->branches_capacity ? import->branches_capacity * 2 : 8;
        Onnx__Graph **branches = sqz_realloc(import->branches, capacity, sizeof *branches);
        if (!branches) return no_memory(err);
        import->branches = branches;
        import->branches_capacity = capacity;
    }
    *out = onnx__graph__unpack(&import->allocator, bytes->len, bytes->data);
    if (!*out) {
        if (import->out_of_memory) return no_memory(err);
        return sqz_onnx_malformed(node, "a subgraph cannot be parsed", err);
    }
    import->branches[import->n_branches++] = *out;
    return SQZ_OK;
}

enum sqz_status sqz_onnx_if(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    const struct onnx_tensor *condition;
    SQZ_TRY(sqz_onnx_constant_input(import, node, 0, &condition, err));
    if (!condition || condition->count != 1 || condition->is_real)
        return sqz_onnx_malformed(node, "the condition is not one truth value", err);
    const Onnx__Attribute *attribute = sqz_onnx_attribute(node, condition->whole[0] ? "then_branch" : "else_branch");
    if (!attribute || !attribute->has_g) return sqz_onnx_malformed(node, "a branch is missing", err);
    Onnx__Graph *graph;
    SQZ_TRY(keep_branch(import, node, &attribute->g, &graph, err));
    if (graph->n_output != node->n_output || graph->n_input)
        return sqz_onnx_malformed(node, "a branch does not fit the node", err);
    SQZ_TRY(define_initialisers(import, graph, err));
    for (size_t i = 0; i < graph->n_node; i++) SQZ_TRY(define_outputs(import, graph->node[i], UINT32_MAX, err));
    struct dependencies ignored = {0};
    enum sqz_status status = SQZ_OK;
    for (size_t i = 0; status == SQZ_OK && i < graph->n_node; i++) {
        status = note_uses(import, graph->node[i], 0, &ignored, err);
        if (status == SQZ_OK) status = sqz_onnx_convert_node(import, graph->node[i], err);
    }
    sqz_free(ignored.at);
    SQZ_TRY(status);
    for (size_t i = 0; i < node->n_output; i++) {
        if (!sqz_onnx_has_output(node, i)) continue;
        struct onnx_value *from = sqz_onnx_find(import, onnx_text(graph->output[i]->name));
        struct onnx_value *to = sqz_onnx_find(import, node->output[i]);
        if (!from || !to) return sqz_onnx_malformed(node, "an output of a branch is computed by no node", err);
        while (from->same) from = from->same;
        const char *name = to->name;
        uint32_t n_uses = to->n_uses;
        if (from->kind == ONNX_CONSTANT) {
            to->kind = ONNX_CONSTANT;
            to->same = from;
            continue;
        }
        *to = *from;
        to->name = name;
        to->n_uses = n_uses;
        to->exclusive = false;
    }
    return SQZ_OK;
}
