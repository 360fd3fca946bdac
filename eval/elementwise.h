/* elementwise.h - operators that treat each number alone. */
#ifndef SQZ_EVAL_ELEMENTWISE_H
#define SQZ_EVAL_ELEMENTWISE_H

#include "eval/kernels.h"

/* ReLU, LeakyReLU, Sigmoid, Tanh, HardSwish or Clip of one number; any other operator returns x. */
float sqz_unary(const struct sqz_layer *layer, float x);
bool sqz_op_is_unary(enum sqz_op op);

#endif
