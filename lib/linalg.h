/* linalg.h - the dense linear algebra that calibration needs; the only door to OpenBLAS. */
#ifndef SQZ_LIB_LINALG_H
#define SQZ_LIB_LINALG_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/status.h"

/*
 * Matrices are row-major and, unless a leading dimension (elements from one
 * row to the next) is given, without gaps. OpenBLAS runs on the calling
 * thread alone; each function shares out parts of a fixed size with
 * sqz_parallel_for(), so results do not depend on the thread count. Called
 * from within a parallel body they run on that thread.
 */

/* Load OpenBLAS, once, before anything else here is called. SQZ_UNSUPPORTED when it is not installed. */
enum sqz_status sqz_linalg_load(struct sqz_error *err);

/*
 * sum += X^T Y for float32 X and Y [n_rows][n] with leading dimension `ld`,
 * sum [n][n]. With y NULL or equal to x only the lower triangle (row >=
 * column) of X^T X is added. Each call's products are added up in float32,
 * its sums to `sum` in double: keep n_rows in the thousands.
 */
void sqz_linalg_moment_add(const float *x, const float *y, size_t n_rows, size_t n, size_t ld, double *sum);

/*
 * Replace the lower triangle of a symmetric a[n][n] by its Cholesky factor L,
 * a = L L^T; the upper triangle is neither read nor written. false when a is
 * not positive definite (or holds a NaN); a is then destroyed.
 */
bool sqz_linalg_cholesky(double *a, size_t n);

/* inverse[n][n] = L^-1 of a lower triangle, zeros above the diagonal. L must have a non-zero diagonal. */
void sqz_linalg_triangle_inverse(const double *l, size_t n, double *inverse);

/* rows[m][n] = rows (L L^T)^-1, in place: each row solved with the factored matrix. */
void sqz_linalg_solve_rows(const double *l, size_t n, double *rows, size_t m);

/* c[m][n] = alpha a[m][k] b[k][n] + beta c, with leading dimensions. */
void sqz_linalg_product(size_t m, size_t n, size_t k, double alpha, const double *a, size_t lda, const double *b,
                        size_t ldb, double beta, double *c, size_t ldc);

/* Copy the lower triangle of a[n][n] over the upper one. */
void sqz_linalg_mirror(double *a, size_t n);

#endif
