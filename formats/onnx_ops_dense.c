/* onnx_ops_dense.c - Gemm and MatMul as dense layers. */
#include <string.h>

#include "formats/onnx_parts.h"

/* Append the layer; kernel [out][in] and bias are weights of the model. */
static enum sqz_status add_dense(struct onnx_import *import, const Onnx__Node *node, const struct onnx_value *in,
                                 const char *origin, uint32_t kernel, uint32_t bias, struct sqz_error *err) {
    uint32_t index;
    const char *name = sqz_onnx_module_name(import, origin);
    SQZ_TRY(sqz_onnx_add_node(import, node, SQZ_OP_DENSE, name, &in->node, 1, &index, err));
    import->model->nodes[index].kernel = kernel;
    import->model->nodes[index].bias = bias;
    SQZ_TRY(sqz_onnx_infer(import, index, err));
    return sqz_onnx_set_output(import, node, index, err);
}

/* The first input as [n][features] and the second as a constant matrix. */
static enum sqz_status matrix_inputs(struct onnx_import *import, const Onnx__Node *node, struct onnx_value **in,
                                     struct onnx_value **matrix, const struct onnx_tensor **tensor,
                                     struct sqz_error *err) {
    SQZ_TRY(sqz_onnx_activation(import, node, 0, in, err));
    SQZ_TRY(sqz_onnx_constant_input(import, node, 1, tensor, err));
    SQZ_TRY(sqz_onnx_input(import, node, 1, matrix, err));
    if (import->shapes[(*in)->node].rank != 2 || (*tensor)->rank != 2)
        return sqz_onnx_unsupported(node, "only products of [batch, features] with a matrix are supported", err);
    if (!(*tensor)->is_real || (*tensor)->count == 0)
        return sqz_onnx_unsupported(node, "the matrix is empty or not of a float type", err);
    return SQZ_OK;
}

static void scale_all(float *data, size_t count, float factor) {
    for (size_t i = 0; i < count; i++) data[i] *= factor;
}

/* A weight of its own, multiplied by a factor. */
static enum sqz_status add_scaled(struct onnx_import *import, const struct onnx_value *value,
                                  const struct onnx_tensor *tensor, float factor, bool transpose,
                                  const struct sqz_shape *shape, uint32_t *out, struct sqz_error *err) {
    float *data = NULL;
    SQZ_TRY(sqz_onnx_copy_floats(tensor, &data, err));
    size_t rows = (size_t)tensor->dim[0], columns = (size_t)tensor->dim[1];
    for (size_t i = 0; transpose && i < rows; i++)
        for (size_t j = 0; j < columns; j++) data[j * rows + i] = tensor->real[i * columns + j];
    scale_all(data, tensor->count, factor);
    return sqz_onnx_new_weight(import, value->origin, SQZ_ROLE_KERNEL, shape, data, out, err);
}

/* C of Gemm: one value for each output, whatever way that is written, times beta. */
static enum sqz_status gemm_bias(struct onnx_import *import, const Onnx__Node *node, uint64_t n_out, uint32_t *out,
                                 struct sqz_error *err) {
    const struct onnx_tensor *tensor;
    struct onnx_value *value;
    float beta = sqz_onnx_float(node, "beta", 1);
    *out = SQZ_NO_WEIGHT;
    if (!sqz_onnx_has_input(node, 2) || beta == 0) return SQZ_OK;
    SQZ_TRY(sqz_onnx_constant_input(import, node, 2, &tensor, err));
    SQZ_TRY(sqz_onnx_input(import, node, 2, &value, err));
    bool row = (tensor->rank == 1 || (tensor->rank == 2 && tensor->dim[0] == 1)) && tensor->count == n_out;
    if (!row && tensor->count != 1) return sqz_onnx_unsupported(node, "C does not have one value for each output", err);
    struct sqz_shape shape = sqz_shape1(n_out);
    if (row && beta == 1) return sqz_onnx_weight(import, node, value, SQZ_ROLE_BIAS, &shape, false, out, err);
    if (!tensor->is_real) return sqz_onnx_unsupported(node, "C is not of a float type", err);
    float *data = sqz_alloc((size_t)n_out, sizeof *data);
    if (!data) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (size_t i = 0; i < n_out; i++) data[i] = tensor->real[row ? i : 0];
    scale_all(data, (size_t)n_out, beta);
    return sqz_onnx_new_weight(import, value->origin, SQZ_ROLE_BIAS, &shape, data, out, err);
}

enum sqz_status sqz_onnx_gemm(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in, *matrix;
    const struct onnx_tensor *tensor;
    uint32_t kernel, bias;
    SQZ_TRY(matrix_inputs(import, node, &in, &matrix, &tensor, err));
    if (sqz_onnx_int(node, "transA", 0)) return sqz_onnx_unsupported(node, "the activations are transposed", err);
    bool transpose = sqz_onnx_int(node, "transB", 0) == 0;
    float alpha = sqz_onnx_float(node, "alpha", 1);
    struct sqz_shape shape = sqz_shape2(tensor->dim[transpose], tensor->dim[!transpose]);
    if (alpha == 1)
        SQZ_TRY(sqz_onnx_weight(import, node, matrix, SQZ_ROLE_KERNEL, &shape, transpose, &kernel, err));
    else
        SQZ_TRY(add_scaled(import, matrix, tensor, alpha, transpose, &shape, &kernel, err));
    SQZ_TRY(gemm_bias(import, node, shape.dim[0], &bias, err));
    return add_dense(import, node, in, matrix->origin, kernel, bias, err);
}

enum sqz_status sqz_onnx_matmul(struct onnx_import *import, const Onnx__Node *node, struct sqz_error *err) {
    struct onnx_value *in, *matrix;
    const struct onnx_tensor *tensor;
    uint32_t kernel;
    SQZ_TRY(matrix_inputs(import, node, &in, &matrix, &tensor, err));
    struct sqz_shape shape = sqz_shape2(tensor->dim[1], tensor->dim[0]);
    SQZ_TRY(sqz_onnx_weight(import, node, matrix, SQZ_ROLE_KERNEL, &shape, true, &kernel, err));
    return add_dense(import, node, in, matrix->origin, kernel, SQZ_NO_WEIGHT, err);
}
