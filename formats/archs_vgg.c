/* archs_vgg.c - VGG-16 (configuration D of arXiv 1409.1556) as torchvision has it. */
#include "formats/arch_steps.h"

#define CONV3X3(conv, relu, in, out) SQZ_CONV(conv, in, out, 3, 1, 1, 1), SQZ_RELU(relu)

/* Dropout is classifier.2 and classifier.5. */
static const struct sqz_arch_step steps_vgg16[] = {
    CONV3X3("features.0", "features.1", 3, 64),
    CONV3X3("features.2", "features.3", 64, 64),
    SQZ_MAX_POOL("features.4", 2, 2, false),
    CONV3X3("features.5", "features.6", 64, 128),
    CONV3X3("features.7", "features.8", 128, 128),
    SQZ_MAX_POOL("features.9", 2, 2, false),
    CONV3X3("features.10", "features.11", 128, 256),
    CONV3X3("features.12", "features.13", 256, 256),
    CONV3X3("features.14", "features.15", 256, 256),
    SQZ_MAX_POOL("features.16", 2, 2, false),
    CONV3X3("features.17", "features.18", 256, 512),
    CONV3X3("features.19", "features.20", 512, 512),
    CONV3X3("features.21", "features.22", 512, 512),
    SQZ_MAX_POOL("features.23", 2, 2, false),
    CONV3X3("features.24", "features.25", 512, 512),
    CONV3X3("features.26", "features.27", 512, 512),
    CONV3X3("features.28", "features.29", 512, 512),
    SQZ_MAX_POOL("features.30", 2, 2, false),
    SQZ_ADAPTIVE_AVERAGE_POOL("avgpool", 7),
    SQZ_PLAIN(SQZ_STEP_FLATTEN, "flatten"),
    SQZ_DENSE("classifier.0", 25088, 4096),
    SQZ_RELU("classifier.1"),
    SQZ_DENSE("classifier.3", 4096, 4096),
    SQZ_RELU("classifier.4"),
    SQZ_DENSE("classifier.6", 4096, 0),
    SQZ_END,
};

const struct sqz_arch sqz_arch_vgg16 = {"vgg16", "torchvision", 3, 224, 224, steps_vgg16};
