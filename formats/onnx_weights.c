/* onnx_weights.c - constants of the file as weights of the model. */
#include <stdio.h>
#include <string.h>

#include "formats/onnx_parts.h"

static bool name_taken(const struct sqz_model *model, const char *name) {
    for (size_t i = 0; i < model->n_weights; i++)
        if (strcmp(model->weights[i].name, name) == 0) return true;
    return false;
}

enum sqz_status sqz_onnx_new_weight(struct onnx_import *import, const char *name, enum sqz_role role,
                                    const struct sqz_shape *shape, float *data, uint32_t *out, struct sqz_error *err) {
    char candidate[512];
    const char *chosen = name;
    for (unsigned n = 2; name_taken(import->model, chosen); n++) {
        snprintf(candidate, sizeof candidate, "%.490s_%u", name, n);
        chosen = candidate;
    }
    return sqz_model_add_weight(import->model, chosen, role, shape, data, out, err);
}

/* b[j][i] = a[i][j] for a of [rows][columns]. */
static float *transposed(const float *a, size_t rows, size_t columns) {
    float *b = sqz_alloc(rows * columns, sizeof *b);
    if (!b) return NULL;
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j++) b[j * rows + i] = a[i * columns + j];
    return b;
}

enum sqz_status sqz_onnx_copy_floats(const struct onnx_tensor *tensor, float **out, struct sqz_error *err) {
    *out = sqz_alloc(tensor->count, sizeof **out);
    if (!*out) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (size_t i = 0; i < tensor->count; i++) (*out)[i] = tensor->is_real ? tensor->real[i] : (float)tensor->whole[i];
    return SQZ_OK;
}

static struct onnx_use *find_use(const struct onnx_import *import, const struct onnx_value *value, enum sqz_role role,
                                 const struct sqz_shape *shape, bool transpose) {
    for (struct onnx_use *use = value->uses; use; use = use->next) {
        const struct sqz_weight *weight = &import->model->weights[use->weight];
        if (use->transposed == transpose && weight->role == role && sqz_shape_equal(&weight->shape, shape)) return use;
    }
    return NULL;
}

enum sqz_status sqz_onnx_weight(struct onnx_import *import, const Onnx__Node *node, struct onnx_value *value,
                                enum sqz_role role, const struct sqz_shape *shape, bool transpose, uint32_t *out,
                                struct sqz_error *err) {
    const struct onnx_tensor *tensor;
    SQZ_TRY(sqz_onnx_constant(import, value, &tensor, err));
    if (!tensor->is_real) {
        char where[ONNX_WHERE_TEXT];
        return sqz_fail(err, SQZ_UNSUPPORTED, "%s: the weight %.200s is not of a float type",
                        sqz_onnx_where(node, where), value->origin);
    }
    struct onnx_use *use = find_use(import, value, role, shape, transpose);
    if (use) {
        *out = use->weight;
        return SQZ_OK;
    }
    use = sqz_arena_alloc(&import->arena, 1, sizeof *use);
    if (!use) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    bool move = !transpose && !tensor->borrowed;
    float *data = tensor->real;
    if (transpose) {
        data = transposed(tensor->real, (size_t)shape->dim[1], (size_t)shape->dim[0]);
        if (!data) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    } else if (!move) {
        SQZ_TRY(sqz_onnx_copy_floats(tensor, &data, err));
    }
    if (move) value->tensor.borrowed = true; /* the model owns it from here on, also after a failure */
    enum sqz_status status = sqz_onnx_new_weight(import, value->origin, role, shape, data, out, err);
    if (status != SQZ_OK) {
        if (move) value->tensor.real = NULL;
        return status;
    }
    *use = (struct onnx_use){.next = value->uses, .weight = *out, .transposed = transpose};
    value->uses = use;
    return SQZ_OK;
}

const char *sqz_onnx_module_name(struct onnx_import *import, const char *weight_name) {
    static const char suffix[] = ".weight";
    size_t length = strlen(weight_name), n = sizeof suffix - 1;
    if (length <= n || strcmp(weight_name + length - n, suffix) != 0) return NULL;
    return sqz_arena_strndup(&import->arena, weight_name, length - n);
}
