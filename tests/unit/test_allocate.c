/* test_allocate.c - the choice of one point on each layer's curve. */
#include <check.h>
#include <math.h>

#include "eval/allocate.h"

Suite *test_allocate(void);

/* kl grows with the square of the step, bits fall by one weight's bit each time it doubles: the high-rate theory. */
#define POINTS 6
static void theory(struct sqz_curve_point points[POINTS], double weights, double gain) {
    for (int i = 0; i < POINTS; i++) {
        double step = 0.01 * pow(2, i);
        points[i] = (struct sqz_curve_point){step, weights * (7 - i), gain * step * step, 0};
    }
}

/* With kl = g s^2 and bits = -w log2 s the optimum has g s^2 / w equal for all layers. */
START_TEST(smooth_curves_meet_the_theory) {
    struct sqz_curve_point points[3][POINTS];
    const double weights[3] = {1000, 2000, 500}, gain[3] = {1, 4, 0.25};
    struct sqz_curve curves[3];
    for (int i = 0; i < 3; i++) {
        theory(points[i], weights[i], gain[i]);
        curves[i] = (struct sqz_curve){POINTS, points[i], true};
    }
    struct sqz_choice choices[3];
    struct sqz_allocation sum;
    ck_assert_int_eq(sqz_allocate(curves, 3, 3500 * 4.5, choices, &sum, NULL), SQZ_OK);
    ck_assert_double_le(sum.nbits, 3500 * 4.5);
    ck_assert_double_gt(sum.nbits, 3500 * 4.4);
    for (int i = 1; i < 3; i++) {
        double slope = gain[i] * pow(choices[i].setting, 2) / weights[i];
        double first = gain[0] * pow(choices[0].setting, 2) / weights[0];
        /* Settings lie on a grid of 6%. */
        ck_assert_double_eq_tol(slope / first, 1, 0.15);
    }
}
END_TEST

/* Every choice of measured points, one by one, must not beat the Lagrangian one at its own size. */
START_TEST(measured_points_are_chosen_well) {
    struct sqz_curve_point points[3][4];
    struct sqz_curve curves[3];
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < 4; k++)
            points[i][k] = (struct sqz_curve_point){k + 1, 100.0 * (i + 1) * (k + 1), (3.0 - i) * pow(0.3, k), 0};
        curves[i] = (struct sqz_curve){4, points[i], false};
    }
    for (double target = 600; target < 2500; target += 130) {
        struct sqz_choice choices[3];
        struct sqz_allocation sum;
        ck_assert_int_eq(sqz_allocate(curves, 3, target, choices, &sum, NULL), SQZ_OK);
        ck_assert_double_le(sum.nbits, target);
        for (int c = 0; c < 64; c++) {
            const struct sqz_curve_point *p[3] = {&points[0][c % 4], &points[1][c / 4 % 4], &points[2][c / 16]};
            double nbits = p[0]->nbits + p[1]->nbits + p[2]->nbits, kl = p[0]->kl + p[1]->kl + p[2]->kl;
            if (nbits <= sum.nbits) ck_assert_double_ge(kl, sum.kl - 1e-12);
        }
    }
}
END_TEST

START_TEST(a_target_out_of_reach_gives_the_smallest) {
    struct sqz_curve_point points[POINTS];
    theory(points, 1000, 1);
    struct sqz_curve curve = {POINTS, points, false};
    struct sqz_choice choice;
    struct sqz_allocation sum;
    ck_assert_int_eq(sqz_allocate(&curve, 1, 10, &choice, &sum, NULL), SQZ_OK);
    ck_assert_double_gt(sum.nbits, 10);
    ck_assert_double_eq(choice.setting, points[POINTS - 1].setting);
    ck_assert_int_eq(sqz_allocate(&curve, 1, 1e9, &choice, &sum, NULL), SQZ_OK);
    ck_assert_double_eq(choice.setting, points[0].setting);
}
END_TEST

/* A divergence that seems to fall as the step grows is noise, and must not be believed. */
START_TEST(noise_is_not_believed) {
    struct sqz_curve_point points[3] = {{1, 300, 0.1, 0}, {2, 200, 0.3, 0}, {4, 100, 0.2, 0}};
    struct sqz_curve curve = {3, points, false};
    struct sqz_choice choice;
    ck_assert_int_eq(sqz_curve_at(&curve, 4, &choice, NULL), SQZ_OK);
    ck_assert_double_eq(choice.kl, 0.3);
    ck_assert_double_eq(choice.nbits, 100);
}
END_TEST

/* With errors the divergence follows them; here one measurement is wrong by a factor of 2, the fit by 1.2 at most. */
START_TEST(errors_smooth_the_divergence) {
    struct sqz_curve_point points[POINTS];
    for (int i = 0; i < POINTS; i++) {
        double step = 0.01 * pow(2, i), error = step * step;
        points[i] = (struct sqz_curve_point){step, 100.0 * (POINTS - i), 3 * error * (i == 2 ? 2 : 1), error};
    }
    struct sqz_curve curve = {POINTS, points, true};
    for (int i = 0; i < POINTS; i++) {
        struct sqz_choice choice;
        ck_assert_int_eq(sqz_curve_at(&curve, points[i].setting, &choice, NULL), SQZ_OK);
        ck_assert_double_eq_tol(choice.kl / (3 * points[i].error), 1, 0.2);
        ck_assert_double_eq_tol(choice.nbits, points[i].nbits, 1);
    }
}
END_TEST

START_TEST(a_layer_without_measurements_is_refused) {
    struct sqz_curve curve = {0};
    struct sqz_choice choice;
    struct sqz_allocation sum;
    ck_assert_int_eq(sqz_allocate(&curve, 1, 10, &choice, &sum, NULL), SQZ_ARGUMENT);
    ck_assert_int_eq(sqz_curve_at(&curve, 1, &choice, NULL), SQZ_ARGUMENT);
}
END_TEST

Suite *test_allocate(void) {
    Suite *suite = suite_create("allocate");
    TCase *tcase = tcase_create("choice");
    tcase_add_test(tcase, smooth_curves_meet_the_theory);
    tcase_add_test(tcase, measured_points_are_chosen_well);
    tcase_add_test(tcase, a_target_out_of_reach_gives_the_smallest);
    tcase_add_test(tcase, noise_is_not_believed);
    tcase_add_test(tcase, errors_smooth_the_divergence);
    tcase_add_test(tcase, a_layer_without_measurements_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
