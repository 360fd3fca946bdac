/* calibration_samples.h - random calibration images and a small branched net. */
#ifndef SQZ_TESTS_CALIBRATION_SAMPLES_H
#define SQZ_TESTS_CALIBRATION_SAMPLES_H

#include "eval/calibrate.h"
#include "tests/unit/random_nets.h"

/* Random images for a net, without a data set. */
struct sqz_calibration random_images(const struct sqz_model *model, size_t n, uint64_t seed); /* free() its images */

/* conv - relu - two branches that meet again - relu - conv - pool - dense: has cuts and nodes that are none. */
struct net branched_net(uint64_t seed);

#endif
