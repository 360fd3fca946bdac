/* allocate.c - how coarse each layer may be: a Lagrangian choice on the layers' curves. */
#include "eval/allocate.h"

#include <math.h>
#include <stdbool.h>

#include "lib/memory.h"

/* Settings tried on a smooth curve: steps of 0.3%, which change a file of which one layer has half the bytes by 0.05%. */
#define GRID 1501

/* Divergences below this are rounding errors of float32 logits. */
#define SMALLEST_KL 1e-9

/* ---- a curve as a table --------------------------------------------------- */

struct table {
    size_t n;
    struct sqz_choice *rows;
};

static double log_kl(double kl) {
    return log(kl > SMALLEST_KL ? kl : SMALLEST_KL);
}

/* log kl = a + b x + c x^2 over x = log setting - center. */
struct parabola {
    double a, b, c, center;
};

static double parabola_at(const struct parabola *p, double log_setting) {
    double x = log_setting - p->center;
    return p->a + x * (p->b + x * p->c);
}

/* Solve the symmetric 3x3 system m * v = r by elimination; false when it is singular. */
static bool solve3(double m[3][3], double r[3], double v[3]) {
    for (int i = 0; i < 3; i++) {
        if (fabs(m[i][i]) < 1e-12) return false;
        for (int k = i + 1; k < 3; k++) {
            double f = m[k][i] / m[i][i];
            for (int j = i; j < 3; j++) m[k][j] -= f * m[i][j];
            r[k] -= f * r[i];
        }
    }
    for (int i = 2; i >= 0; i--) {
        v[i] = r[i];
        for (int j = i + 1; j < 3; j++) v[i] -= m[i][j] * v[j];
        v[i] /= m[i][i];
    }
    return true;
}

/* Weight of a measurement: its square root, since the error of a mean over images shrinks more slowly than the mean. */
static double weight_of(double kl) {
    return sqrt(kl > SMALLEST_KL ? kl : SMALLEST_KL);
}

static struct parabola fit_line(const struct sqz_curve *curve, double center) {
    double sw = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (size_t i = 0; i < curve->n_points; i++) {
        double w = weight_of(curve->points[i].kl), x = log(curve->points[i].setting) - center;
        double y = log_kl(curve->points[i].kl);
        sw += w;
        sx += w * x;
        sy += w * y;
        sxx += w * x * x;
        sxy += w * x * y;
    }
    double determinant = sw * sxx - sx * sx;
    struct parabola p = {.center = center, .a = sy / sw};
    if (determinant > 1e-12 * sw * sw) {
        p.b = (sw * sxy - sx * sy) / determinant;
        p.a = (sy - p.b * sx) / sw;
    }
    return p;
}

static struct parabola fit_parabola(const struct sqz_curve *curve, double center) {
    double m[3][3] = {{0}}, r[3] = {0}, v[3], total = 0;
    for (size_t i = 0; i < curve->n_points; i++) total += weight_of(curve->points[i].kl);
    for (size_t i = 0; i < curve->n_points; i++) {
        double w = weight_of(curve->points[i].kl) / total, x = log(curve->points[i].setting) - center;
        double powers[3] = {1, x, x * x};
        for (int j = 0; j < 3; j++) {
            for (int k = 0; k < 3; k++) m[j][k] += w * powers[j] * powers[k];
            r[j] += w * powers[j] * log_kl(curve->points[i].kl);
        }
    }
    if (curve->n_points < 4 || !solve3(m, r, v)) return fit_line(curve, center);
    return (struct parabola){.a = v[0], .b = v[1], .c = v[2], .center = center};
}

/* The measured ends, whichever way the points run. */
static void ends(const struct sqz_curve *curve, double *low, double *high) {
    double a = log(curve->points[0].setting), b = log(curve->points[curve->n_points - 1].setting);
    *low = a < b ? a : b;
    *high = a < b ? b : a;
}

static double value_nbits(const struct sqz_curve_point *p) {
    return p->nbits;
}

static double value_log_error(const struct sqz_curve_point *p) {
    return log(p->error);
}

/* A value at a log setting: linear between neighbours and beyond the ends. */
static double interpolate(const struct sqz_curve *curve, double log_setting,
                          double (*value)(const struct sqz_curve_point *)) {
    const struct sqz_curve_point *p = curve->points;
    size_t n = curve->n_points, i = 0;
    if (n == 1) return value(&p[0]);
    bool ascending = p[0].setting < p[n - 1].setting;
    while (i + 2 < n && (log(p[i + 1].setting) < log_setting) == ascending) i++;
    double x0 = log(p[i].setting), x1 = log(p[i + 1].setting);
    if (x0 == x1) return value(&p[i]);
    return value(&p[i]) + (value(&p[i + 1]) - value(&p[i])) * (log_setting - x0) / (x1 - x0);
}

/* ---- divergence from error -------------------------------------------------- */

/* kl = error * exp(a + b * error). */
struct gain {
    bool known;
    double a, b;
};

/*
 * The growth of the factor may at most be this: what the layers that are hurt
 * most show (a factor of 4 at an error of 0.3); more comes from noise.
 */
#define LARGEST_GROWTH 5

static struct gain fit_gain(const struct sqz_curve *curve) {
    double n = 0, sx = 0, sy = 0, sxx = 0, sxy = 0;
    struct gain gain = {.known = true};
    for (size_t i = 0; i < curve->n_points; i++) {
        double x = curve->points[i].error;
        if (!(x > 0)) return (struct gain){0};
        double y = log_kl(curve->points[i].kl) - log(x);
        n++;
        sx += x;
        sy += y;
        sxx += x * x;
        sxy += x * y;
    }
    double determinant = n * sxx - sx * sx;
    if (determinant > 1e-12 * n * sxx) gain.b = fmin(fmax((n * sxy - sx * sy) / determinant, 0), LARGEST_GROWTH);
    gain.a = (sy - gain.b * sx) / n;
    return gain;
}

static double gain_kl(const struct gain *gain, double error) {
    return error * exp(gain->a + gain->b * fmin(error, 1));
}

/* kl may not fall where nbits fall: noise must not promise something for nothing. */
static void make_monotone(struct table *table) {
    bool shrinking = table->rows[0].nbits >= table->rows[table->n - 1].nbits;
    for (size_t i = 1; i < table->n; i++) {
        size_t at = shrinking ? i : table->n - 1 - i, before = shrinking ? i - 1 : table->n - i;
        if (table->rows[at].kl < table->rows[before].kl) table->rows[at].kl = table->rows[before].kl;
    }
}

static void fill_smooth(const struct sqz_curve *curve, struct table *table) {
    double low, high;
    ends(curve, &low, &high);
    struct gain gain = fit_gain(curve);
    struct parabola parabola = fit_parabola(curve, (low + high) / 2);
    low -= log(SQZ_CURVE_MARGIN);
    high += log(SQZ_CURVE_MARGIN);
    table->n = GRID;
    for (size_t i = 0; i < GRID; i++) {
        double x = low + (high - low) * (double)i / (GRID - 1);
        double kl = gain.known ? gain_kl(&gain, exp(interpolate(curve, x, value_log_error)))
                               : exp(parabola_at(&parabola, x));
        table->rows[i] = (struct sqz_choice){exp(x), fmax(interpolate(curve, x, value_nbits), 0), kl};
    }
}

static void fill_points(const struct sqz_curve *curve, struct table *table) {
    struct gain gain = fit_gain(curve);
    table->n = curve->n_points;
    for (size_t i = 0; i < table->n; i++) {
        const struct sqz_curve_point *p = &curve->points[i];
        double kl = gain.known ? gain_kl(&gain, p->error) : fmax(p->kl, 0);
        table->rows[i] = (struct sqz_choice){p->setting, p->nbits, kl};
    }
}

static size_t table_rows(const struct sqz_curve *curve) {
    return curve->smooth && curve->n_points > 1 ? GRID : curve->n_points;
}

static void fill(const struct sqz_curve *curve, struct table *table) {
    if (table_rows(curve) == GRID && curve->smooth)
        fill_smooth(curve, table);
    else
        fill_points(curve, table);
    make_monotone(table);
}

/* ---- choosing ----------------------------------------------------------- */

/* The row with the least kl + lambda * nbits; the smaller one of equals. */
static const struct sqz_choice *best_row(const struct table *table, double lambda) {
    const struct sqz_choice *best = &table->rows[0];
    for (size_t i = 1; i < table->n; i++) {
        const struct sqz_choice *row = &table->rows[i];
        double d = row->kl + lambda * row->nbits - (best->kl + lambda * best->nbits);
        if (d < 0 || (d == 0 && row->nbits < best->nbits)) best = row;
    }
    return best;
}

static struct sqz_allocation choose(const struct table *tables, size_t n, double lambda, struct sqz_choice *choices) {
    struct sqz_allocation sum = {.lambda = lambda};
    for (size_t i = 0; i < n; i++) {
        choices[i] = *best_row(&tables[i], lambda);
        sum.nbits += choices[i].nbits;
        sum.kl += choices[i].kl;
    }
    return sum;
}

/* From far below one nat for the whole net to far above one nat for a bit. */
#define LAMBDA_LOW SQZ_ALLOCATION_FREE
#define LAMBDA_HIGH 1e6

/* Halvings of the logarithm of that range, until neighbours differ by less than 1e-6 of their value. */
#define LAMBDA_HALVINGS 48

static struct sqz_allocation search(const struct table *tables, size_t n, double target_nbits,
                                    struct sqz_choice *choices) {
    double low = log(LAMBDA_LOW), high = log(LAMBDA_HIGH);
    struct sqz_allocation sum = choose(tables, n, LAMBDA_LOW, choices);
    if (sum.nbits <= target_nbits) return sum;
    for (int i = 0; i < LAMBDA_HALVINGS; i++) {
        double middle = (low + high) / 2;
        if (choose(tables, n, exp(middle), choices).nbits <= target_nbits)
            high = middle;
        else
            low = middle;
    }
    return choose(tables, n, exp(high), choices);
}

enum sqz_status sqz_allocate(const struct sqz_curve *curves, size_t n, double target_nbits, struct sqz_choice *choices,
                             struct sqz_allocation *out, struct sqz_error *err) {
    size_t total = 0;
    for (size_t i = 0; i < n; i++) {
        if (curves[i].n_points == 0) return sqz_fail(err, SQZ_ARGUMENT, "layer %zu has no measurements", i);
        total += table_rows(&curves[i]);
    }
    struct table *tables = sqz_alloc(n + 1, sizeof *tables);
    struct sqz_choice *rows = sqz_alloc(total + 1, sizeof *rows);
    if (!tables || !rows) {
        sqz_free(tables);
        sqz_free(rows);
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory for the curves of %zu layers", n);
    }
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        tables[i].rows = rows + at;
        fill(&curves[i], &tables[i]);
        at += table_rows(&curves[i]);
    }
    *out = search(tables, n, target_nbits, choices);
    sqz_free(tables);
    sqz_free(rows);
    return SQZ_OK;
}

enum sqz_status sqz_curve_at(const struct sqz_curve *curve, double setting, struct sqz_choice *out,
                             struct sqz_error *err) {
    if (curve->n_points == 0) return sqz_fail(err, SQZ_ARGUMENT, "a layer has no measurements");
    struct table table = {.rows = sqz_alloc(table_rows(curve), sizeof *table.rows)};
    if (!table.rows) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    fill(curve, &table);
    *out = table.rows[0];
    for (size_t i = 1; i < table.n; i++)
        if (fabs(log(table.rows[i].setting / setting)) < fabs(log(out->setting / setting))) *out = table.rows[i];
    sqz_free(table.rows);
    return SQZ_OK;
}
