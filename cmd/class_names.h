/* class_names.h - reads a list of class names into a model. */
#ifndef SQZ_CMD_CLASS_NAMES_H
#define SQZ_CMD_CLASS_NAMES_H

#include "lib/model.h"

/*
 * One class per line, in label order; an ImageNet id in front of every name ("n01440764 tench") is dropped. There must
 * be as many lines as the model has classes (SQZ_BAD_LABEL).
 */
enum sqz_status cmd_read_class_names(struct sqz_model *model, const char *path, struct sqz_error *err);

#endif
