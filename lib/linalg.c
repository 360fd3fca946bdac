/*
 * linalg.c - dense linear algebra on OpenBLAS, shared out by us in parts of a fixed size.
 *
 * OpenBLAS would split a product differently for each number of threads and
 * so round differently. Here it always works on one thread, on tiles whose
 * limits depend on the matrix alone.
 */
#include "lib/linalg.h"

#include <assert.h>
#include <cblas.h>
#include <math.h>
#include <threads.h>

#include "lib/late_library.h"
#include "lib/library_names.h"
#include "lib/parallel.h"

/* Side of a tile: three double tiles fit in a 512 KB second-level cache, and 4608 inputs make hundreds of jobs. */
#define TILE 128

/* LAPACK's Cholesky factorisation has no C interface in OpenBLAS; arguments by address, as in Fortran. */
typedef void dpotrf_function(const char *uplo, const int *n, double *a, const int *lda, int *info, size_t uplo_length);

/* OpenBLAS, loaded with the first call. */
static struct {
    __typeof__(&cblas_sgemm) sgemm;
    __typeof__(&cblas_dgemm) dgemm;
    __typeof__(&cblas_dsyrk) dsyrk;
    __typeof__(&cblas_dtrsm) dtrsm;
    dpotrf_function *dpotrf;
    void (*set_num_threads)(int n);
    int (*get_parallel)(void);
    bool one_caller;
} blas;

static once_flag load_once = ONCE_FLAG_INIT;
static struct sqz_error load_error;
static mtx_t caller;

static void load_blas(void) {
    const struct sqz_late_symbol symbols[] = {
        {"cblas_sgemm", &blas.sgemm},
        {"cblas_dgemm", &blas.dgemm},
        {"cblas_dsyrk", &blas.dsyrk},
        {"cblas_dtrsm", &blas.dtrsm},
        {"dpotrf_", &blas.dpotrf},
        {"openblas_set_num_threads", &blas.set_num_threads},
        {"openblas_get_parallel", &blas.get_parallel},
    };
    if (sqz_library_load(SQZ_BLAS_LIBRARY, symbols, sizeof symbols / sizeof *symbols, "calibration needs",
                         &load_error) != SQZ_OK)
        return;
    blas.set_num_threads(1);
    /* The build without threads has no locks either: two callers at a time share its buffers, and both results are
     * wrong. */
    blas.one_caller = blas.get_parallel() == 0;
    if (blas.one_caller && mtx_init(&caller, mtx_plain) != thrd_success)
        sqz_fail(&load_error, SQZ_OUT_OF_MEMORY, "no lock for the linear algebra library");
}

static void begin_call(void) {
    if (blas.one_caller) mtx_lock(&caller);
}

static void end_call(void) {
    if (blas.one_caller) mtx_unlock(&caller);
}

enum sqz_status sqz_linalg_load(struct sqz_error *err) {
    call_once(&load_once, load_blas);
    if (load_error.status == SQZ_OK) return SQZ_OK;
    return sqz_fail(err, load_error.status, "%s", load_error.text);
}

static size_t tiles(size_t n) {
    return (n + TILE - 1) / TILE;
}

/* Length of the tile that begins at `begin`. */
static size_t tile_length(size_t n, size_t begin) {
    return n - begin < TILE ? n - begin : TILE;
}

/* Row and column of entry `index` in a lower triangle counted by rows. */
static void triangle_place(size_t index, size_t *row, size_t *column) {
    size_t r = 0;
    while ((r + 1) * (r + 2) / 2 <= index) r++;
    *row = r;
    *column = index - r * (r + 1) / 2;
}

/* ---- moments ----------------------------------------------------------------- */

struct moment_job {
    const float *x, *y;
    size_t n_rows, n, ld;
    double *sum;
    bool symmetric;
};

static void moment_tile(void *context, size_t index, int thread) {
    (void)thread;
    const struct moment_job *job = context;
    float products[TILE * TILE];
    size_t row = index / tiles(job->n), column = index % tiles(job->n);
    if (job->symmetric) triangle_place(index, &row, &column);
    row *= TILE;
    column *= TILE;
    size_t m = tile_length(job->n, row), n = tile_length(job->n, column);
    begin_call();
    blas.sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m, (int)n, (int)job->n_rows, 1, job->x + row, (int)job->ld,
               job->y + column, (int)job->ld, 0, products, TILE);
    end_call();
    for (size_t i = 0; i < m; i++) {
        double *sum = job->sum + (row + i) * job->n + column;
        size_t end = job->symmetric && row == column ? i + 1 : n;
        for (size_t j = 0; j < end; j++) sum[j] += (double)products[i * TILE + j];
    }
}

void sqz_linalg_moment_add(const float *x, const float *y, size_t n_rows, size_t n, size_t ld, double *sum) {
    assert(blas.sgemm);
    if (n_rows == 0) return;
    bool symmetric = !y || y == x;
    struct moment_job job = {x, symmetric ? x : y, n_rows, n, ld, sum, symmetric};
    size_t t = tiles(n);
    sqz_parallel_for(symmetric ? t * (t + 1) / 2 : t * t, moment_tile, &job);
}

/* ---- Cholesky ---------------------------------------------------------------- */

/* Step k of the blocked factorisation: columns [k, k + nb), and the triangle that begins at `rest` = k + nb. */
struct factor_job {
    double *a;
    size_t n, k, nb, rest;
};

static void panel_tile(void *context, size_t index, int thread) {
    (void)thread;
    const struct factor_job *job = context;
    size_t row = job->rest + index * TILE;
    begin_call();
    blas.dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, (int)tile_length(job->n, row),
               (int)job->nb, 1, job->a + job->k * job->n + job->k, (int)job->n, job->a + row * job->n + job->k,
               (int)job->n);
    end_call();
}

static void trailing_tile(void *context, size_t index, int thread) {
    (void)thread;
    const struct factor_job *job = context;
    size_t row, column;
    triangle_place(index, &row, &column);
    row = job->rest + row * TILE;
    column = job->rest + column * TILE;
    const double *left = job->a + row * job->n + job->k, *right = job->a + column * job->n + job->k;
    double *out = job->a + row * job->n + column;
    int m = (int)tile_length(job->n, row), n = (int)tile_length(job->n, column);
    begin_call();
    if (row == column)
        blas.dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, m, (int)job->nb, -1, left, (int)job->n, 1, out,
                   (int)job->n);
    else
        blas.dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, (int)job->nb, -1, left, (int)job->n, right,
                   (int)job->n, 1, out, (int)job->n);
    end_call();
}

bool sqz_linalg_cholesky(double *a, size_t n) {
    assert(blas.sgemm);
    for (size_t k = 0; k < n; k += TILE) {
        struct factor_job job = {a, n, k, tile_length(n, k), 0};
        job.rest = k + job.nb;
        /* A lower triangle by rows is an upper one by columns, as Fortran counts. */
        int info = 0, nb = (int)job.nb, lda = (int)n;
        begin_call();
        blas.dpotrf("U", &nb, a + k * n + k, &lda, &info, 1);
        end_call();
        if (info != 0) return false;
        /* OpenBLAS takes a NaN for a pivot like any other. */
        for (size_t i = k; i < k + job.nb; i++)
            if (!isfinite(a[i * n + i])) return false;
        size_t t = tiles(n - job.rest);
        sqz_parallel_for(t, panel_tile, &job);
        sqz_parallel_for(t * (t + 1) / 2, trailing_tile, &job);
    }
    return true;
}

/* ---- triangles --------------------------------------------------------------- */

struct triangle_job {
    const double *l;
    size_t n, m;
    double *out;
};

static void inverse_columns(void *context, size_t index, int thread) {
    (void)thread;
    const struct triangle_job *job = context;
    size_t n = job->n, begin = index * TILE, count = tile_length(n, begin);
    for (size_t i = 0; i < n; i++)
        for (size_t j = begin; j < begin + count; j++) job->out[i * n + j] = i == j ? 1 : 0;
    begin_call();
    blas.dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)(n - begin), (int)count, 1,
               job->l + begin * n + begin, (int)n, job->out + begin * n + begin, (int)n);
    end_call();
}

void sqz_linalg_triangle_inverse(const double *l, size_t n, double *inverse) {
    assert(blas.sgemm);
    struct triangle_job job = {l, n, 0, inverse};
    sqz_parallel_for(tiles(n), inverse_columns, &job);
}

static void solve_tile(void *context, size_t index, int thread) {
    (void)thread;
    const struct triangle_job *job = context;
    size_t begin = index * TILE;
    int m = (int)tile_length(job->m, begin), n = (int)job->n;
    double *rows = job->out + begin * job->n;
    begin_call();
    blas.dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, m, n, 1, job->l, n, rows, n);
    end_call();
    begin_call();
    blas.dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, m, n, 1, job->l, n, rows, n);
    end_call();
}

void sqz_linalg_solve_rows(const double *l, size_t n, double *rows, size_t m) {
    assert(blas.sgemm);
    struct triangle_job job = {l, n, m, rows};
    sqz_parallel_for(tiles(m), solve_tile, &job);
}

void sqz_linalg_mirror(double *a, size_t n) {
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) a[j * n + i] = a[i * n + j];
}

/* ---- products ---------------------------------------------------------------- */

struct product_job {
    size_t m, n, k;
    double alpha;
    const double *a;
    size_t lda;
    const double *b;
    size_t ldb;
    double beta;
    double *c;
    size_t ldc;
};

static void product_tile(void *context, size_t index, int thread) {
    (void)thread;
    const struct product_job *job = context;
    size_t columns = tiles(job->n), row = index / columns * TILE, column = index % columns * TILE;
    begin_call();
    blas.dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)tile_length(job->m, row),
               (int)tile_length(job->n, column), (int)job->k, job->alpha, job->a + row * job->lda, (int)job->lda,
               job->b + column, (int)job->ldb, job->beta, job->c + row * job->ldc + column, (int)job->ldc);
    end_call();
}

void sqz_linalg_product(size_t m, size_t n, size_t k, double alpha, const double *a, size_t lda, const double *b,
                        size_t ldb, double beta, double *c, size_t ldc) {
    assert(blas.sgemm);
    struct product_job job = {m, n, k, alpha, a, lda, b, ldb, beta, c, ldc};
    sqz_parallel_for(tiles(m) * tiles(n), product_tile, &job);
}
