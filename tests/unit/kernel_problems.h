/* kernel_problems.h - one layer with its data, run through single kernels on memory that ends at a guard page. */
#ifndef SQZ_TESTS_KERNEL_PROBLEMS_H
#define SQZ_TESTS_KERNEL_PROBLEMS_H

#include "eval/kernels.h"

/* All arrays are guarded floats and owned; kernel and packed may be NULL. */
struct kernel_problem {
    struct sqz_layer layer;
    struct sqz_shape in_shape[2];
    float *in[2], *kernel, *bias; /* plain */
    struct sqz_packed *packed;    /* the same weights as kernel */
};

/* n floats behind which no byte can be read or written. */
float *guarded_floats(size_t n);
float *random_guarded(size_t n, float spread, uint64_t *random); /* in [-spread, spread) */
void guarded_free(float *p);

/* Set operator, shapes and sizes, one image, and what is known of float weights. */
void kernel_problem_fill(struct kernel_problem *problem, enum sqz_op op, struct sqz_shape out);
void kernel_problem_free(struct kernel_problem *problem);

/* Take over packed weights, and set the floats to the same. first_dim as for sqz_packed_unpack(). */
void kernel_problem_pack(struct kernel_problem *problem, struct sqz_packed *packed, size_t first_dim);

/*
 * The kernel's plain result (guarded), or NULL when it does not take the
 * problem. Items run last to first, since their order is free.
 */
float *run_kernel(const struct sqz_kernel *kernel, const struct kernel_problem *problem);

/* Can this processor, at the level of SQZ_CPU, run the kernel? */
bool can_run(const struct sqz_kernel *kernel);

/* Hold every kernel that takes the problem against the wanted numbers, which are freed, or the reference's. */
void compare_kernels_with(const struct kernel_problem *problem, float *wanted);
void compare_kernels(const struct kernel_problem *problem);

/* Fail when a kernel NAME_ISA of this processor has taken no problem in this process. */
void assert_taken(const char *name);

#endif
