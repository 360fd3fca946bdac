/* archs_alexnet.c - AlexNet: torchvision's, the original as Caffe's model zoo has it, CaffeNet, and Fashion-MNIST's. */
#include "formats/arch_steps.h"

/* "One weird trick", arXiv 1404.5997: no normalisation, no groups. Dropout is classifier.0 and classifier.3. */
static const struct sqz_arch_step steps_torchvision[] = {
    SQZ_CONV("features.0", 3, 64, 11, 4, 2, 1),
    SQZ_RELU("features.1"),
    SQZ_MAX_POOL("features.2", 3, 2, false),
    SQZ_CONV("features.3", 64, 192, 5, 1, 2, 1),
    SQZ_RELU("features.4"),
    SQZ_MAX_POOL("features.5", 3, 2, false),
    SQZ_CONV("features.6", 192, 384, 3, 1, 1, 1),
    SQZ_RELU("features.7"),
    SQZ_CONV("features.8", 384, 256, 3, 1, 1, 1),
    SQZ_RELU("features.9"),
    SQZ_CONV("features.10", 256, 256, 3, 1, 1, 1),
    SQZ_RELU("features.11"),
    SQZ_MAX_POOL("features.12", 3, 2, false),
    SQZ_ADAPTIVE_AVERAGE_POOL("avgpool", 6),
    SQZ_PLAIN(SQZ_STEP_FLATTEN, "flatten"),
    SQZ_DENSE("classifier.1", 9216, 4096),
    SQZ_RELU("classifier.2"),
    SQZ_DENSE("classifier.4", 4096, 4096),
    SQZ_RELU("classifier.5"),
    SQZ_DENSE("classifier.6", 4096, 0),
    SQZ_END,
};

/*
 * Krizhevsky et al. 2012, as BVLC's bvlc_alexnet. PyTorch ports number the
 * layers as here, with the dense ones at 1, 4, 6 or, where dropout comes after
 * them, at 0, 3, 6; others keep Caffe's names. Caffe's pools round up.
 */
#define CAFFE_BODY                                                                                                     \
    SQZ_CONV("features.8 conv3", 256, 384, 3, 1, 1, 1), SQZ_RELU("features.9"),                                        \
        SQZ_CONV("features.10 conv4", 384, 384, 3, 1, 1, 2), SQZ_RELU("features.11"),                                  \
        SQZ_CONV("features.12 conv5", 384, 256, 3, 1, 1, 2), SQZ_RELU("features.13"),                                  \
        SQZ_MAX_POOL("features.14", 3, 2, true), SQZ_PLAIN(SQZ_STEP_FLATTEN, "flatten"),                               \
        SQZ_DENSE("classifier.1 classifier.0 fc6", 9216, 4096), SQZ_RELU("classifier.2"),                              \
        SQZ_DENSE("classifier.4 classifier.3 fc7", 4096, 4096), SQZ_RELU("classifier.5"),                              \
        SQZ_DENSE("classifier.6 fc8", 4096, 0), SQZ_END

static const struct sqz_arch_step steps_caffe[] = {
    SQZ_CONV("features.0 conv1", 3, 96, 11, 4, 0, 1),
    SQZ_RELU("features.1"),
    SQZ_LRN("features.2"),
    SQZ_MAX_POOL("features.3", 3, 2, true),
    SQZ_CONV("features.4 conv2", 96, 256, 5, 1, 2, 2),
    SQZ_RELU("features.5"),
    SQZ_LRN("features.6"),
    SQZ_MAX_POOL("features.7", 3, 2, true),
    CAFFE_BODY,
};

/* BVLC's reference CaffeNet: the same weights' shapes, but pooling before normalisation. */
static const struct sqz_arch_step steps_caffenet[] = {
    SQZ_CONV("features.0 conv1", 3, 96, 11, 4, 0, 1),
    SQZ_RELU("features.1"),
    SQZ_MAX_POOL("features.2", 3, 2, true),
    SQZ_LRN("features.3"),
    SQZ_CONV("features.4 conv2", 96, 256, 5, 1, 2, 2),
    SQZ_RELU("features.5"),
    SQZ_MAX_POOL("features.6", 3, 2, true),
    SQZ_LRN("features.7"),
    CAFFE_BODY,
};

/* The original's layout with normalisation and groups, shrunk to 28x28 grey pixels. */
static const struct sqz_arch_step steps_fashion[] = {
    SQZ_CONV("features.0", 1, 48, 5, 1, 2, 1),
    SQZ_RELU("features.1"),
    SQZ_LRN("features.2"),
    SQZ_MAX_POOL("features.3", 3, 2, false),
    SQZ_CONV("features.4", 48, 96, 5, 1, 2, 2),
    SQZ_RELU("features.5"),
    SQZ_LRN("features.6"),
    SQZ_MAX_POOL("features.7", 3, 2, false),
    SQZ_CONV("features.8", 96, 128, 3, 1, 1, 1),
    SQZ_RELU("features.9"),
    SQZ_CONV("features.10", 128, 128, 3, 1, 1, 2),
    SQZ_RELU("features.11"),
    SQZ_CONV("features.12", 128, 96, 3, 1, 1, 2),
    SQZ_RELU("features.13"),
    SQZ_MAX_POOL("features.14", 3, 2, false),
    SQZ_PLAIN(SQZ_STEP_FLATTEN, "flatten"),
    SQZ_DENSE("classifier.1", 384, 1024),
    SQZ_RELU("classifier.2"),
    SQZ_DENSE("classifier.4", 1024, 1024),
    SQZ_RELU("classifier.5"),
    SQZ_DENSE("classifier.6", 1024, 0),
    SQZ_END,
};

const struct sqz_arch sqz_arch_alexnet = {"alexnet", "torchvision", 3, 224, 224, steps_torchvision};
const struct sqz_arch sqz_arch_alexnet_caffe = {"alexnet-caffe", "caffe", 3, 227, 227, steps_caffe};
const struct sqz_arch sqz_arch_caffenet = {"caffenet", "caffe", 3, 227, 227, steps_caffenet};
const struct sqz_arch sqz_arch_fashion_alexnet = {"fashion_alexnet", "fashion-mnist", 1, 28, 28, steps_fashion};
