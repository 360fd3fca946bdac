/* archs_squeezenet.c - SqueezeNet 1.0 and 1.1 as torchvision has them, and the Fashion-MNIST one. */
#include "formats/arch_steps.h"

/* The same six last steps in every version; the classifier's dropout (classifier.0) does nothing. */
#define CLASSIFIER                                                                                                     \
    SQZ_CONV("classifier.1", 512, 0, 1, 1, 0, 1), SQZ_RELU("classifier.2"),                                            \
        SQZ_PLAIN(SQZ_STEP_GLOBAL_AVERAGE_POOL, "classifier.3"), SQZ_PLAIN(SQZ_STEP_FLATTEN, "flatten"), SQZ_END

/* arXiv 1602.07360, table 1. */
static const struct sqz_arch_step steps_1_0[] = {
    SQZ_CONV("features.0", 3, 96, 7, 2, 0, 1), SQZ_RELU("features.1"),
    SQZ_MAX_POOL("features.2", 3, 2, true),    SQZ_FIRE("features.3", 96, 16, 64),
    SQZ_FIRE("features.4", 128, 16, 64),       SQZ_FIRE("features.5", 128, 32, 128),
    SQZ_MAX_POOL("features.6", 3, 2, true),    SQZ_FIRE("features.7", 256, 32, 128),
    SQZ_FIRE("features.8", 256, 48, 192),      SQZ_FIRE("features.9", 384, 48, 192),
    SQZ_FIRE("features.10", 384, 64, 256),     SQZ_MAX_POOL("features.11", 3, 2, true),
    SQZ_FIRE("features.12", 512, 64, 256),     CLASSIFIER,
};

/* Everything behind the first convolution of version 1.1 (the authors' repository, SqueezeNet_v1.1). */
#define BODY_1_1                                                                                                       \
    SQZ_RELU("features.1"), SQZ_MAX_POOL("features.2", 3, 2, true), SQZ_FIRE("features.3", 64, 16, 64),                \
        SQZ_FIRE("features.4", 128, 16, 64), SQZ_MAX_POOL("features.5", 3, 2, true),                                   \
        SQZ_FIRE("features.6", 128, 32, 128), SQZ_FIRE("features.7", 256, 32, 128),                                    \
        SQZ_MAX_POOL("features.8", 3, 2, true), SQZ_FIRE("features.9", 256, 48, 192),                                  \
        SQZ_FIRE("features.10", 384, 48, 192), SQZ_FIRE("features.11", 384, 64, 256),                                  \
        SQZ_FIRE("features.12", 512, 64, 256), CLASSIFIER

static const struct sqz_arch_step steps_1_1[] = {SQZ_CONV("features.0", 3, 64, 3, 2, 0, 1), BODY_1_1};

/* The stem keeps the 28x28 pixels: stride 1 and padding 1. */
static const struct sqz_arch_step steps_fashion[] = {SQZ_CONV("features.0", 1, 64, 3, 1, 1, 1), BODY_1_1};

const struct sqz_arch sqz_arch_squeezenet1_0 = {"squeezenet1_0", "torchvision", 3, 224, 224, steps_1_0};
const struct sqz_arch sqz_arch_squeezenet1_1 = {"squeezenet1_1", "torchvision", 3, 224, 224, steps_1_1};
const struct sqz_arch sqz_arch_fashion_squeezenet = {"fashion_squeezenet", "fashion-mnist", 1, 28, 28, steps_fashion};
