/* onnx_samples.c - small ONNX files that tests build with the generated message structs. */
#include "tests/unit/onnx_samples.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

const float onnx_sample_kernel[6] = {1, 2, 3, -1, 0.5f, 0.25f}, onnx_sample_bias[2] = {0.5f, -0.25f};
const int64_t onnx_sample_kernel_dims[4] = {2, 3, 1, 1}, onnx_sample_bias_dims[1] = {2};

static void *make(struct onnx_sample *sample, size_t count, size_t size) {
    void *p = sqz_arena_alloc(&sample->arena, count ? count : 1, size);
    ck_assert_ptr_nonnull(p);
    return p;
}

static char *copy(struct onnx_sample *sample, const char *s) {
    char *p = sqz_arena_strdup(&sample->arena, s);
    ck_assert_ptr_nonnull(p);
    return p;
}

struct onnx_sample *onnx_sample_new(int64_t opset) {
    struct onnx_sample *sample = sqz_alloc0(1, sizeof *sample);
    ck_assert_ptr_nonnull(sample);
    onnx__model__init(&sample->model);
    onnx__graph__init(&sample->graph);
    onnx__operator_set__init(&sample->opset);
    sample->model.has_ir_version = 1;
    sample->model.ir_version = 8;
    sample->model.graph = &sample->graph;
    sample->model.opset_import = make(sample, 1, sizeof *sample->model.opset_import);
    sample->model.opset_import[0] = &sample->opset;
    sample->model.n_opset_import = 1;
    sample->opset.has_version = 1;
    sample->opset.version = opset;
    sample->graph.node = make(sample, ONNX_SAMPLE_MOST, sizeof *sample->graph.node);
    sample->graph.initializer = make(sample, ONNX_SAMPLE_MOST, sizeof *sample->graph.initializer);
    sample->graph.input = make(sample, ONNX_SAMPLE_MOST, sizeof *sample->graph.input);
    sample->graph.output = make(sample, ONNX_SAMPLE_MOST, sizeof *sample->graph.output);
    return sample;
}

void onnx_sample_free(struct onnx_sample *sample) {
    sqz_arena_free(&sample->arena);
    sqz_free(sample);
}

Onnx__ValueInfo *onnx_sample_input(struct onnx_sample *sample, const char *name, int64_t n, int64_t c, int64_t h,
                                   int64_t w) {
    Onnx__ValueInfo *info = make(sample, 1, sizeof *info);
    Onnx__Type *type = make(sample, 1, sizeof *type);
    Onnx__TensorType *tensor = make(sample, 1, sizeof *tensor);
    Onnx__TensorShape *shape = make(sample, 1, sizeof *shape);
    int64_t dims[4] = {n, c, h, w};
    onnx__value_info__init(info);
    onnx__type__init(type);
    onnx__tensor_type__init(tensor);
    onnx__tensor_shape__init(shape);
    info->name = copy(sample, name);
    info->type = type;
    type->tensor_type = tensor;
    tensor->has_elem_type = 1;
    tensor->elem_type = 1;
    tensor->shape = shape;
    shape->n_dim = 4;
    shape->dim = make(sample, 4, sizeof *shape->dim);
    for (size_t i = 0; i < 4; i++) {
        shape->dim[i] = make(sample, 1, sizeof **shape->dim);
        onnx__dimension__init(shape->dim[i]);
        shape->dim[i]->has_dim_value = dims[i] != 0;
        shape->dim[i]->dim_value = dims[i];
        if (dims[i] == 0) shape->dim[i]->dim_param = copy(sample, "N");
    }
    sample->graph.input[sample->graph.n_input++] = info;
    return info;
}

void onnx_sample_output(struct onnx_sample *sample, const char *name) {
    Onnx__ValueInfo *info = make(sample, 1, sizeof *info);
    onnx__value_info__init(info);
    info->name = copy(sample, name);
    sample->graph.output[sample->graph.n_output++] = info;
}

static char **split(struct onnx_sample *sample, const char *names, size_t *n) {
    char **list = make(sample, 16, sizeof *list), *save = NULL;
    for (char *word = strtok_r(copy(sample, names), " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        ck_assert_uint_lt(*n, 16);
        list[(*n)++] = strcmp(word, "-") == 0 ? copy(sample, "") : word;
    }
    return list;
}

Onnx__Node *onnx_sample_node(struct onnx_sample *sample, const char *op_type, const char *inputs, const char *outputs) {
    Onnx__Node *node = make(sample, 1, sizeof *node);
    onnx__node__init(node);
    node->op_type = copy(sample, op_type);
    node->input = split(sample, inputs, &node->n_input);
    node->output = split(sample, outputs, &node->n_output);
    node->attribute = make(sample, 16, sizeof *node->attribute);
    ck_assert_uint_lt(sample->graph.n_node, ONNX_SAMPLE_MOST);
    sample->graph.node[sample->graph.n_node++] = node;
    return node;
}

Onnx__Attribute *onnx_sample_attribute(struct onnx_sample *sample, const char *name) {
    Onnx__Node *node = sample->graph.node[sample->graph.n_node - 1];
    Onnx__Attribute *attribute = make(sample, 1, sizeof *attribute);
    onnx__attribute__init(attribute);
    attribute->name = copy(sample, name);
    node->attribute[node->n_attribute++] = attribute;
    return attribute;
}

void onnx_sample_int(struct onnx_sample *sample, const char *name, int64_t value) {
    Onnx__Attribute *attribute = onnx_sample_attribute(sample, name);
    attribute->has_i = 1;
    attribute->i = value;
}

void onnx_sample_float(struct onnx_sample *sample, const char *name, float value) {
    Onnx__Attribute *attribute = onnx_sample_attribute(sample, name);
    attribute->has_f = 1;
    attribute->f = value;
}

void onnx_sample_string(struct onnx_sample *sample, const char *name, const char *value) {
    Onnx__Attribute *attribute = onnx_sample_attribute(sample, name);
    attribute->has_s = 1;
    attribute->s.len = strlen(value);
    attribute->s.data = (uint8_t *)copy(sample, value);
}

void onnx_sample_ints(struct onnx_sample *sample, const char *name, size_t n, const int64_t *values) {
    Onnx__Attribute *attribute = onnx_sample_attribute(sample, name);
    attribute->n_ints = n;
    attribute->ints = make(sample, n, sizeof *attribute->ints);
    memcpy(attribute->ints, values, n * sizeof *values);
}

/* The buffer's bytes become the tensor's raw data. */
static Onnx__Tensor *make_tensor(struct onnx_sample *sample, const char *name, int32_t type, size_t rank,
                                 const int64_t *dims, struct sqz_buffer *raw) {
    Onnx__Tensor *tensor = make(sample, 1, sizeof *tensor);
    onnx__tensor__init(tensor);
    tensor->name = copy(sample, name);
    tensor->n_dims = rank;
    tensor->dims = make(sample, rank, sizeof *dims);
    if (rank) memcpy(tensor->dims, dims, rank * sizeof *dims);
    tensor->has_data_type = 1;
    tensor->data_type = type;
    tensor->has_raw_data = 1;
    tensor->raw_data.len = raw->nbytes;
    tensor->raw_data.data = make(sample, raw->nbytes, 1);
    if (raw->nbytes) memcpy(tensor->raw_data.data, raw->data, raw->nbytes);
    sqz_buffer_free(raw);
    return tensor;
}

static size_t product(size_t rank, const int64_t *dims) {
    size_t count = 1;
    for (size_t i = 0; i < rank; i++) count *= (size_t)dims[i];
    return count;
}

Onnx__Tensor *onnx_sample_make_floats(struct onnx_sample *sample, const char *name, size_t rank, const int64_t *dims,
                                      const float *values) {
    struct sqz_buffer raw = {0};
    for (size_t i = 0; i < product(rank, dims); i++) sqz_put_f32(&raw, values[i]);
    return make_tensor(sample, name, 1, rank, dims, &raw);
}

static Onnx__Tensor *add(struct onnx_sample *sample, Onnx__Tensor *tensor) {
    ck_assert_uint_lt(sample->graph.n_initializer, ONNX_SAMPLE_MOST);
    sample->graph.initializer[sample->graph.n_initializer++] = tensor;
    return tensor;
}

Onnx__Tensor *onnx_sample_floats(struct onnx_sample *sample, const char *name, size_t rank, const int64_t *dims,
                                 const float *values) {
    return add(sample, onnx_sample_make_floats(sample, name, rank, dims, values));
}

Onnx__Tensor *onnx_sample_integers(struct onnx_sample *sample, const char *name, size_t rank, const int64_t *dims,
                                   const int64_t *values) {
    struct sqz_buffer raw = {0};
    for (size_t i = 0; i < product(rank, dims); i++) sqz_put_u64(&raw, (uint64_t)values[i]);
    return add(sample, make_tensor(sample, name, 7, rank, dims, &raw));
}

void onnx_sample_value(struct onnx_sample *sample, Onnx__Tensor *tensor) {
    onnx_sample_attribute(sample, "value")->t = tensor;
}

void onnx_sample_external(struct onnx_sample *sample, Onnx__Tensor *tensor, const char *location, const char *offset,
                          const char *length) {
    const char *pairs[3][2] = {{"location", location}, {"offset", offset}, {"length", length}};
    tensor->has_raw_data = 0;
    tensor->has_data_location = 1;
    tensor->data_location = 1;
    tensor->external_data = make(sample, 3, sizeof *tensor->external_data);
    for (size_t i = 0; i < 3; i++) {
        if (!pairs[i][1]) continue;
        Onnx__StringPair *pair = make(sample, 1, sizeof *pair);
        onnx__string_pair__init(pair);
        pair->key = copy(sample, pairs[i][0]);
        pair->value = copy(sample, pairs[i][1]);
        tensor->external_data[tensor->n_external_data++] = pair;
    }
}

void onnx_sample_pack(const struct onnx_sample *sample, struct sqz_buffer *out) {
    size_t nbytes = onnx__model__get_packed_size(&sample->model);
    uint8_t *bytes = sqz_buffer_reserve(out, nbytes);
    ck_assert_ptr_nonnull(bytes);
    out->nbytes += onnx__model__pack(&sample->model, bytes);
}

static void append_warning(void *context, const char *text) {
    char *warnings = context;
    size_t used = strlen(warnings);
    snprintf(warnings + used, 1024 - used, "%s\n", text);
}

enum sqz_status onnx_read_bytes(const void *data, size_t nbytes, const char *path, char *warnings,
                                struct sqz_model **out, struct sqz_error *err) {
    struct sqz_source source = {.path = path, .data = data, .nbytes = nbytes};
    struct sqz_read_options options = {0};
    if (warnings) {
        warnings[0] = '\0';
        options.warn = append_warning;
        options.warn_context = warnings;
    }
    return sqz_onnx_read(&source, &options, out, err);
}

static enum sqz_status read_sample(struct onnx_sample *sample, struct sqz_model **out, struct sqz_error *err) {
    struct sqz_buffer bytes = {0};
    onnx_sample_pack(sample, &bytes);
    onnx_sample_free(sample);
    enum sqz_status status = onnx_read_bytes(bytes.data, bytes.nbytes, "sample.onnx", NULL, out, err);
    sqz_buffer_free(&bytes);
    return status;
}

struct sqz_model *onnx_sample_read(struct onnx_sample *sample) {
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    ck_assert_msg(read_sample(sample, &model, &err) == SQZ_OK, "%s", err.text);
    return model;
}

void onnx_sample_refuse(struct onnx_sample *sample, enum sqz_status status, const char *text) {
    struct sqz_model *model = NULL;
    struct sqz_error err = {0};
    ck_assert_str_eq(sqz_status_name(read_sample(sample, &model, &err)), sqz_status_name(status));
    ck_assert_ptr_null(model);
    ck_assert_msg(strstr(err.text, text) != NULL, "'%s' does not say '%s'", err.text, text);
}

struct onnx_sample *onnx_sample_conv(const char *kernel, const char *bias) {
    struct onnx_sample *sample = onnx_sample_new(13);
    char inputs[128];
    snprintf(inputs, sizeof inputs, "data %s %s", kernel, bias);
    onnx_sample_input(sample, "data", 0, 3, 4, 4);
    onnx_sample_node(sample, "Conv", inputs, "c");
    onnx_sample_node(sample, "Relu", "c", "out");
    onnx_sample_output(sample, "out");
    return sample;
}

struct onnx_sample *onnx_sample_whole(void) {
    struct onnx_sample *sample = onnx_sample_conv("conv.weight", "conv.bias");
    onnx_sample_floats(sample, "conv.weight", 4, onnx_sample_kernel_dims, onnx_sample_kernel);
    onnx_sample_floats(sample, "conv.bias", 1, onnx_sample_bias_dims, onnx_sample_bias);
    return sample;
}
