/* suites.h - every unit suite: X(function name); the function is `Suite *name(void)` in tests/unit/name.c. */
#define SUITES(X) \
    X(test_pickle) \
    X(test_pytorch) \
    X(test_checkpoint) \
    X(test_archs) \
    X(test_pytorch_shared) \
    X(test_base) \
    X(test_caffe_text) \
    X(test_han) \
    X(test_ncnn) \
    X(test_ncnn_layers) \
    X(test_reader_logits) \
    X(test_huffman) \
    X(test_gaps) \
    X(test_tensor_code) \
    X(test_container) \
    X(test_model) \
    X(test_image) \
    X(test_image_damage) \
    X(test_resize) \
    X(test_dataset) \
    X(test_dataset_raw) \
    X(test_metrics) \
    X(test_sha256) \
    X(test_hdf5) \
    X(test_npy) \
    X(test_options) \
    X(test_evaluate) \
    X(test_cli) \
    X(test_onnx) \
    X(test_onnx_ops) \
    X(test_onnx_bad) \
    X(test_onnx_write) \
    X(test_onnx_logits) \
    X(test_kernels) \
    X(test_engine)
