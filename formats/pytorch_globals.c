/* pytorch_globals.c - the globals that a checkpoint's pickle may name; naming one never runs it. */
#include "formats/pytorch.h"

#include <string.h>

static const struct {
    const char *module, *names; /* names separated by spaces */
    enum sqz_pickle_class class;
} admitted[] = {
    {"collections", "OrderedDict defaultdict", SQZ_PICKLE_CLASS_DICT},
    {"builtins", "dict", SQZ_PICKLE_CLASS_DICT},
    {"builtins", "set frozenset", SQZ_PICKLE_CLASS_SET},
    /* Plain classes that occur beside the weights: factories, file names, times, command-line arguments. */
    {"builtins", "list tuple int float bool str bytes bytearray complex", SQZ_PICKLE_CLASS_CALL},
    {"collections", "Counter", SQZ_PICKLE_CLASS_CALL},
    {"argparse", "Namespace", SQZ_PICKLE_CLASS_CALL},
    {"types", "SimpleNamespace", SQZ_PICKLE_CLASS_CALL},
    {"pathlib", "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath", SQZ_PICKLE_CLASS_CALL},
    {"pathlib._local", "Path PosixPath WindowsPath PurePath PurePosixPath PureWindowsPath", SQZ_PICKLE_CLASS_CALL},
    {"datetime", "datetime date time timedelta timezone", SQZ_PICKLE_CLASS_CALL},
    {"_codecs", "encode", SQZ_PICKLE_CLASS_CALL},
    /* NumPy numbers are often kept as the best accuracy; arrays are refused later, under the tensor's name. */
    {"numpy",
     "ndarray dtype float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64 bool bool_ longdouble",
     SQZ_PICKLE_CLASS_CALL},
    {"numpy.dtypes",
     "Float16DType Float32DType Float64DType Int8DType Int16DType Int32DType Int64DType UInt8DType UInt16DType "
     "UInt32DType UInt64DType BoolDType StrDType BytesDType ObjectDType",
     SQZ_PICKLE_CLASS_CALL},
    {"numpy.core.multiarray", "scalar _reconstruct", SQZ_PICKLE_CLASS_CALL},
    {"numpy._core.multiarray", "scalar _reconstruct", SQZ_PICKLE_CLASS_CALL},
    {"torch", "Size device Tensor per_tensor_affine per_channel_affine", SQZ_PICKLE_CLASS_CALL},
    {"torch._tensor", "_rebuild_from_type_v2", SQZ_PICKLE_CLASS_CALL},
    {"torch.nn.parameter", "Parameter Buffer", SQZ_PICKLE_CLASS_CALL},
    {"torch.serialization", "_get_layout", SQZ_PICKLE_CLASS_CALL},
    {"torch.storage", "UntypedStorage TypedStorage", SQZ_PICKLE_CLASS_CALL},
    {"torch.torch_version", "TorchVersion", SQZ_PICKLE_CLASS_CALL},
    {"torch._utils",
     "_rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_parameter_with_state "
     "_rebuild_sparse_tensor _rebuild_meta_tensor_no_storage _rebuild_qtensor",
     SQZ_PICKLE_CLASS_CALL},
};

static bool starts_with(const char *s, const char *prefix) {
    return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool is_listed(const char *names, const char *name) {
    size_t nbytes = strlen(name);
    for (const char *p = names; *p;) {
        size_t n = strcspn(p, " ");
        if (n == nbytes && memcmp(p, name, n) == 0) return true;
        p += n;
        p += *p == ' ';
    }
    return false;
}

/* Element types and storages: "torch.float32", "torch.FloatStorage", long ago also "torch.cuda.FloatStorage". */
static bool is_element_type(const char *module, const char *name) {
    if (strcmp(module, "torch") == 0 && sqz_torch_dtype_by_name(name)) return true;
    return (strcmp(module, "torch") == 0 || strcmp(module, "torch.cuda") == 0) && sqz_torch_dtype_by_storage(name);
}

enum sqz_status sqz_torch_admit(const char *module, const char *name, enum sqz_pickle_class *out,
                                struct sqz_error *err) {
    /* Protocols below 3 write Python 2's name. */
    const char *canonical = strcmp(module, "__builtin__") == 0 ? "builtins" : module;
    *out = SQZ_PICKLE_CLASS_CALL;
    for (size_t i = 0; i < sizeof admitted / sizeof *admitted; i++) {
        if (strcmp(admitted[i].module, canonical) != 0) continue;
        if (!is_listed(admitted[i].names, name)) continue;
        *out = admitted[i].class;
        return SQZ_OK;
    }
    if (is_element_type(module, name)) return SQZ_OK;
    if (starts_with(module, "__torch__") || starts_with(module, "torch.jit"))
        return sqz_fail(err, SQZ_UNSUPPORTED,
                        "a TorchScript archive (it names %s.%s), not a state_dict: save model.state_dict() instead",
                        module, name);
    if (starts_with(module, "torch.nn.") || starts_with(module, "torchvision.models"))
        return sqz_fail(err, SQZ_UNSUPPORTED,
                        "a whole pickled module (%s.%s), not a state_dict: save model.state_dict() instead", module,
                        name);
    return sqz_fail(err, SQZ_UNSAFE,
                    "the pickle names the global %s.%s, which is not allowed; nothing was executed (a whole pickled "
                    "module must be saved again as model.state_dict())",
                    module, name);
}
