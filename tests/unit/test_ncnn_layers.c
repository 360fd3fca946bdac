/* test_ncnn_layers.c - ncnn's layers as nodes, and the size of the input that files leave out. */
#include <check.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/ncnn_samples.h"
#include "tests/unit/reader_folder.h"

/* ---- layers ------------------------------------------------------------------------- */

START_TEST(fused_activations_become_nodes) {
    static const struct {
        const char *params;
        enum sqz_op op;
    } cases[] = {{"9=1", SQZ_OP_RELU},
                 {"9=2 -23310=1,0.1", SQZ_OP_LEAKY_RELU},
                 {"9=3 -23310=2,0,6", SQZ_OP_CLIP},
                 {"9=4", SQZ_OP_SIGMOID},
                 {"9=6 -23310=2,0.166667,0.5", SQZ_OP_HARD_SWISH},
                 {"9=6 -23310=2,0.2,0.5", SQZ_OP_MUL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sqz_buffer bin = {0};
        char param[256];
        snprintf(param, sizeof param, NET("2") "Convolution c 1 1 x y 0=2 1=1 6=6 %s\n", cases[i].params);
        ncnn_put_kernel(&bin, 0, 6);
        struct sqz_model *model = ncnn_read_once(param, &bin);
        ck_assert_str_eq(model->nodes[1].name, "c");
        ck_assert_int_eq(model->nodes[model->output].op, cases[i].op);
        if (cases[i].op == SQZ_OP_CLIP) ck_assert(model->nodes[2].params.clip.high == 6);
        sqz_model_free(model);
    }
    struct sqz_buffer bin = {0};
    ncnn_put_kernel(&bin, 0, 6);
    ncnn_refuse(NET("2") "Convolution c 1 1 x y 0=2 1=1 6=6 9=5\n", &bin, SQZ_UNSUPPORTED, "Mish");
    ncnn_refuse(NET("2") "Convolution c 1 1 x y 0=2 1=1 6=6 9=77\n", &bin, SQZ_UNSUPPORTED, "77");
    ncnn_refuse(NET("2") "Convolution c 1 1 x y 0=2 1=1 6=6 9=2\n", &bin, SQZ_MALFORMED, "parameters");
    ncnn_refuse(NET("2") "Convolution c 1 1 x y 0=2 1=1 6=6 9=3 -23310=9,1,2,3,4,5,6,7,8,9\n", &bin, SQZ_MALFORMED,
                "array");
    sqz_buffer_free(&bin);
}
END_TEST

START_TEST(convolution_windows) {
    struct sqz_buffer bin = {0};
    ncnn_put_kernel(&bin, 0, 4 * 2 * 3 * 5);
    struct sqz_model *model = ncnn_read_once(
        SIZED("2", "20", "10", "4") "ConvolutionDepthWise c 1 1 x y 0=4 1=5 11=3 2=2 12=1 3=3 13=2 4=1 15=2 14=3 "
                                    "16=4 6=120 7=2\n",
        &bin);
    const struct sqz_window *w = &model->nodes[1].params.conv.window;
    ck_assert(w->kernel_w == 5 && w->kernel_h == 3 && w->dilation_w == 2 && w->dilation_h == 1);
    ck_assert(w->stride_w == 3 && w->stride_h == 2 && w->pad_left == 1 && w->pad_right == 2);
    ck_assert(w->pad_top == 3 && w->pad_bottom == 4 && model->nodes[1].params.conv.groups == 2);
    ncnn_check_shape(model, "c", "1x4x8x5");
    sqz_model_free(model);
}
END_TEST

/* CASES G5: SAME puts the odd pixel behind (-233) or in front (-234); it depends on the size of the input. */
START_TEST(same_padding) {
    static const char *const marks[] = {"-233", "-234"};
    for (int lower = 0; lower < 2; lower++) {
        struct sqz_buffer bin = {0};
        char param[512];
        snprintf(
            param, sizeof param,
            SIZED("4", "6", "7", "1") "Convolution a 1 1 x y 0=1 1=3 3=2 4=%s 6=9\nPooling p 1 1 y z 0=0 1=3 2=2 5=%d\n"
                                      "Convolution b 1 1 z o 0=1 1=1 3=2 4=%s 6=1\n",
            marks[lower], 2 + lower, marks[lower]);
        ncnn_put_kernel(&bin, 0, 9);
        ncnn_put_kernel(&bin, 0, 1);
        struct sqz_model *model = ncnn_read_once(param, &bin);
        const struct sqz_window *a = &model->nodes[1].params.conv.window, *p = &model->nodes[2].params.pool.window;
        const struct sqz_window *b = &model->nodes[3].params.conv.window;
        ck_assert_uint_eq(a->pad_left, lower ? 1 : 0);
        ck_assert_uint_eq(a->pad_right, lower ? 0 : 1);
        ck_assert(a->pad_top == 1 && a->pad_bottom == 1);
        ck_assert(p->pad_left == 1 && p->pad_right == 1); /* width 3 */
        ck_assert_uint_eq(p->pad_top + p->pad_bottom, 1); /* height 4 */
        ck_assert(b->pad_left == 0 && b->pad_bottom == 0);
        ncnn_check_shape(model, "a", "1x1x4x3");
        ncnn_check_shape(model, "p", "1x1x2x2");
        ncnn_check_shape(model, "b", "1x1x1x1");
        sqz_model_free(model);
    }
}
END_TEST

/* CASES G1 and G2: "full" padding rounds up, "valid" down; the average divides by the kernel or by what is inside. */
START_TEST(pooling_modes) {
    static const struct {
        const char *params, *shape;
        enum sqz_op op;
        enum sqz_divisor divisor;
    } cases[] = {
        {"0=0 1=3 2=2", "1x3x27x27", SQZ_OP_MAX_POOL, SQZ_DIVISOR_VALID},
        {"0=0 1=3 2=2 5=1", "1x3x26x26", SQZ_OP_MAX_POOL, SQZ_DIVISOR_VALID},
        {"0=1 1=2 2=2 5=0 6=0", "1x3x27x27", SQZ_OP_AVERAGE_POOL, SQZ_DIVISOR_VALID},
        {"0=1 1=2 2=2 5=1 6=1 3=1", "1x3x28x28", SQZ_OP_AVERAGE_POOL, SQZ_DIVISOR_KERNEL},
        {"0=1 1=2 11=3 2=2 12=1 5=1", "1x3x52x27", SQZ_OP_AVERAGE_POOL, SQZ_DIVISOR_VALID},
        {"0=0 1=2 2=2 5=1 3=1 14=0 13=2 15=1", "1x3x28x27", SQZ_OP_MAX_POOL, SQZ_DIVISOR_VALID},
        {"0=1 7=1 8=4 18=5", "1x3x5x4", SQZ_OP_ADAPTIVE_AVERAGE_POOL, SQZ_DIVISOR_VALID},
        {"0=1 4=1", "1x3x1x1", SQZ_OP_GLOBAL_AVERAGE_POOL, SQZ_DIVISOR_VALID},
        {"0=0 4=1", "1x3x1x1", SQZ_OP_MAX_POOL, SQZ_DIVISOR_VALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sqz_buffer none = {0};
        char param[256];
        snprintf(param, sizeof param, SIZED("2", "54", "54", "3") "Pooling p 1 1 x y %s\n", cases[i].params);
        struct sqz_model *model = ncnn_read_good(param, &none);
        ck_assert_int_eq(model->nodes[1].op, cases[i].op);
        ncnn_check_shape(model, "p", cases[i].shape);
        if (cases[i].op == SQZ_OP_AVERAGE_POOL) ck_assert_int_eq(model->nodes[1].params.pool.divisor, cases[i].divisor);
        sqz_model_free(model);
    }
    ncnn_refuse(SIZED("2", "54", "54", "3") "Pooling p 1 1 x y 0=0 7=1 8=4\n", NULL, SQZ_UNSUPPORTED,
                "adaptive maximum");
    ncnn_refuse(SIZED("2", "54", "54", "3") "Pooling p 1 1 x y 0=0 1=2 5=9\n", NULL, SQZ_UNSUPPORTED, "padding 9");
}
END_TEST

START_TEST(elements) {
    struct sqz_buffer bin = {0};
    for (size_t i = 0; i < 2; i++) sqz_put_f32(&bin, 0.5f);      /* PReLU */
    static const float norm[] = {2, 3, 1, -1, 3.75f, 0, 10, 20}; /* slope, mean, variance, bias; eps 0.25 */
    for (size_t i = 0; i < 8; i++) sqz_put_f32(&bin, norm[i]);
    for (size_t i = 0; i < 4; i++) sqz_put_f32(&bin, (float)i); /* Scale with bias */
    struct sqz_model *model = ncnn_read_once(
        SIZED("14", "5", "4", "2") "PReLU p 1 1 x a 0=2\nBatchNorm n 1 1 a b 0=2 1=0.25\nScale s 1 1 b c 0=2 1=1\n"
                                   "LRN l 1 1 c d 1=3 2=0.5 3=0.25 4=2\nClip k 1 1 d e 0=-1 1=2\nSigmoid g 1 1 e f\n"
                                   "TanH t 1 1 f g\nHardSwish h 1 1 g h 0=0.166666672\nDropout o 1 1 h i\n"
                                   "Padding q 1 1 i j 0=1 1=2 2=3 3=4 5=0.5\nNoop z 1 1 j k\nFlatten v 1 1 k l\n"
                                   "Softmax w 1 1 l m\n",
        &bin);
    static const enum sqz_op expected[] = {
        SQZ_OP_INPUT,      SQZ_OP_RELU,    SQZ_OP_SCALE, SQZ_OP_RELU,    SQZ_OP_SCALE,   SQZ_OP_ADD,
        SQZ_OP_SCALE,      SQZ_OP_SCALE,   SQZ_OP_LRN,   SQZ_OP_CLIP,    SQZ_OP_SIGMOID, SQZ_OP_TANH,
        SQZ_OP_HARD_SWISH, SQZ_OP_DROPOUT, SQZ_OP_PAD,   SQZ_OP_FLATTEN, SQZ_OP_SOFTMAX};
    ncnn_check_ops(model, expected, sizeof expected / sizeof *expected);
    const struct sqz_node *fold = &model->nodes[ncnn_find_node(model, "n")];
    const float *scale = model->weights[fold->kernel].data, *shift = model->weights[fold->bias].data;
    ck_assert(scale[0] == 1 && shift[0] == 9);  /* 2 / sqrt(3.75 + 0.25); 10 - 1 * 1 */
    ck_assert(scale[1] == 6 && shift[1] == 26); /* 3 / sqrt(0.25); 20 + 1 * 6 */
    const struct sqz_node *slope = &model->nodes[ncnn_find_node(model, "p_slope")];
    ck_assert(model->weights[slope->kernel].data[1] == -0.5f);
    const union sqz_params *lrn = &model->nodes[ncnn_find_node(model, "l")].params;
    ck_assert(lrn->lrn.size == 3 && lrn->lrn.alpha == 0.5f && lrn->lrn.beta == 0.25f && lrn->lrn.k == 2);
    ncnn_check_shape(model, "q", "1x2x7x12");
    ncnn_check_shape(model, "w", "1x168");
    sqz_model_free(model);
    ncnn_refuse(SIZED("2", "5", "4", "2") "LRN l 1 1 x y 0=1\n", NULL, SQZ_UNSUPPORTED, "across channels");
    ncnn_refuse(SIZED("2", "5", "4", "2") "LRN l 1 1 x y 1=4\n", NULL, SQZ_UNSUPPORTED, "even window");
    ncnn_refuse(SIZED("2", "5", "4", "2") "Padding l 1 1 x y 4=2\n", NULL, SQZ_UNSUPPORTED, "one value");
}
END_TEST

/* Numbers, in place of a second blob, become a Scale or a Clip. */
START_TEST(binary_with_a_number) {
    static const struct {
        int op;
        float scale, shift;
    } cases[] = {{0, 1, 4}, {1, 1, -4}, {2, 4, 0}, {3, 0.25f, 0}, {7, -1, 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sqz_buffer none = {0};
        char param[256];
        snprintf(param, sizeof param, SIZED("2", "5", "4", "2") "BinaryOp b 1 1 x y 0=%d 1=1 2=4.0\n", cases[i].op);
        struct sqz_model *model = ncnn_read_good(param, &none);
        ck_assert_int_eq(model->nodes[1].op, SQZ_OP_SCALE);
        ck_assert(model->weights[0].data[1] == cases[i].scale && model->weights[1].data[1] == cases[i].shift);
        sqz_model_free(model);
    }
    struct sqz_buffer none = {0};
    struct sqz_model *model = ncnn_read_good(SIZED("2", "5", "4", "2") "BinaryOp b 1 1 x y 0=5 1=1 2=4.0\n", &none);
    ck_assert_int_eq(model->nodes[1].op, SQZ_OP_CLIP);
    ck_assert(model->nodes[1].params.clip.high == 4);
    sqz_model_free(model);
    ncnn_refuse(SIZED("2", "5", "4", "2") "BinaryOp b 1 1 x y 0=3 1=1\n", NULL, SQZ_MALFORMED, "zero");
    ncnn_refuse(SIZED("2", "5", "4", "2") "BinaryOp b 1 1 x y 0=6 1=1 2=2.0\n", NULL, SQZ_UNSUPPORTED, "operation 6");
}
END_TEST

START_TEST(joins) {
    struct sqz_buffer bin = {0};
    ncnn_put_kernel(&bin, 0, 4);
    struct sqz_model *model = ncnn_read_once(
        SIZED("12", "5", "4",
              "2") "Split s 1 4 x a b c d\nSigmoid g 1 1 a e\nConcat k 2 1 b e f 0=-3\nBinaryOp m 2 1 c d h 0=2\n"
                   "BinaryOp u 2 1 h e i 0=1\nEltwise w 3 1 i h e j 0=1 -23301=3,1.0,-2.0,1.0\n"
                   "Pooling p 1 1 j q 0=1 4=1\nConvolution r 1 1 q t 0=2 1=1 6=4\nBinaryOp y 2 1 j t v 0=2\n"
                   "Concat z 2 1 v f o\nPooling n 1 1 o l 0=1 4=1\n",
        &bin);
    ck_assert_uint_eq(model->nodes[ncnn_find_node(model, "k")].params.concat.axis, 1);
    ncnn_check_shape(model, "k", "1x4x4x5");
    ncnn_check_shape(model, "r", "1x2x1x1");
    ncnn_check_shape(model, "y", "1x2x4x5");
    ncnn_check_shape(model, "z", "1x6x4x5");
    ck_assert_int_eq(model->nodes[model->output].op, SQZ_OP_FLATTEN);
    ncnn_check_shape(model, model->nodes[model->output].name, "1x6");
    const struct sqz_node *negate = &model->nodes[ncnn_find_node(model, "u_negate")];
    ck_assert(model->weights[negate->kernel].data[0] == -1);
    sqz_model_free(model);
    ncnn_refuse(SIZED("3", "5", "4", "2") "ReLU r 1 1 x y\nBinaryOp b 2 1 x y z 0=4\n", NULL, SQZ_UNSUPPORTED,
                "operation 4");
    ncnn_refuse(SIZED("3", "5", "4", "2") "ReLU r 1 1 x y\nEltwise b 2 1 x y z 0=2\n", NULL, SQZ_UNSUPPORTED,
                "operation 2");
    ncnn_refuse(SIZED("3", "5", "4", "2") "ReLU r 1 1 x y\nConcat b 2 1 x y z 0=3\n", NULL, SQZ_MALFORMED, "axis 3");
    ncnn_refuse(SIZED("2", "5", "4", "2") "BinaryOp b 1 1 x y 0=0\n", NULL, SQZ_MALFORMED, "1 inputs");
}
END_TEST

START_TEST(reshapes) {
    static const struct {
        const char *layers, *shape;
    } cases[] = {
        {"Reshape r 1 1 x y 0=-1\n", "1x40"},
        {"Reshape r 1 1 x y 0=5 1=-1\n", "1x8x5"},
        {"Reshape r 1 1 x y 0=0 1=2 2=-1\n", "1x4x2x5"},
        {"Pooling p 1 1 x a 0=1 4=1\nReshape r 1 1 a y 0=1 1=1 2=-1\n", "1x2x1x1"},
        {"Pooling p 1 1 x a 0=1 4=1\nReshape r 1 1 a y 0=0\n", "1x2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct sqz_buffer none = {0};
        char param[256];
        snprintf(param, sizeof param, "7767517\n%d 9\nInput in 0 1 x 0=5 1=4 2=2\n%s", i < 3 ? 2 : 3, cases[i].layers);
        struct sqz_model *model = ncnn_read_good(param, &none);
        ncnn_check_shape(model, "r", cases[i].shape);
        sqz_model_free(model);
    }
    ncnn_refuse(SIZED("2", "5", "4", "2") "Reshape r 1 1 x y 0=0 1=-1\n", NULL, SQZ_UNSUPPORTED, "copying");
    ncnn_refuse(SIZED("2", "5", "4", "2") "Reshape r 1 1 x y 0=7 1=7\n", NULL, SQZ_SHAPE, "elements");
    ncnn_refuse(SIZED("2", "5", "4", "2") "Reshape r 1 1 x y 0=7 1=7 2=3 11=2\n", NULL, SQZ_UNSUPPORTED, "plain shape");
}
END_TEST

/* Behind a dense layer, a 1x1 convolution is a dense layer too. */
START_TEST(dense_layers) {
    struct sqz_buffer bin = {0};
    ncnn_put_kernel(&bin, 0, 3 * 40);
    ncnn_put_plain(&bin, 3);
    ncnn_put_kernel(&bin, 0, 2 * 3);
    struct sqz_model *model = ncnn_read_once(
        SIZED("3", "5", "4", "2") "InnerProduct d 1 1 x y 0=3 1=1 2=120 9=1\nConvolution c 1 1 y z 0=2 1=1 6=6\n",
        &bin);
    static const enum sqz_op expected[] = {SQZ_OP_INPUT, SQZ_OP_DENSE, SQZ_OP_RELU, SQZ_OP_DENSE};
    ncnn_check_ops(model, expected, 4);
    ncnn_check_shape(model, "c", "1x2");
    sqz_model_free(model);
}
END_TEST

/* ---- the input ------------------------------------------------------------------------ */

#define CONV_FROM(channels, weights) NET("2") "Convolution c 1 1 x y 0=1 1=1 6=" weights "\n"

START_TEST(input_is_found) {
    struct sqz_buffer bin = {0};
    ncnn_put_kernel(&bin, 0, 3);
    struct sqz_model *model = ncnn_read_once(CONV_FROM("3", "3"), &bin);
    ck_assert(model->input.channels == 3 && model->input.height == 224 && model->input.width == 224);
    ck_assert(model->input.mean[0] == 0.485f && model->input.order == SQZ_CHANNELS_RGB);
    sqz_model_free(model);
    ncnn_put_kernel(&bin, 0, 1);
    model = ncnn_read_once(CONV_FROM("1", "1"), &bin);
    ck_assert(model->input.channels == 1 && model->input.height == 28 && model->input.std[0] == 0.3530f);
    sqz_model_free(model);
    ncnn_put_kernel(&bin, 0, 3);
    model = ncnn_read_once(SIZED("2", "227", "227", "3") "Convolution c 1 1 x y 0=1 1=1 6=3\n", &bin);
    ck_assert(model->input.height == 227 && model->input.width == 227 && model->input.mean[2] == 0.406f);
    sqz_model_free(model);
    /* A dense layer on 3 x 9 x 9 values fits no usual size, but one square. */
    ncnn_put_kernel(&bin, 0, 9);
    ncnn_put_kernel(&bin, 0, 3 * 81);
    model = ncnn_read_once(NET("3") "Convolution c 1 1 x y 0=3 1=1 6=9\nInnerProduct d 1 1 y z 0=1 2=243\n", &bin);
    ck_assert(model->input.height == 9 && model->input.width == 9);
    sqz_model_free(model);
    /* 3 x 10 values: no square; the most nearly square rectangle. */
    ncnn_put_kernel(&bin, 0, 9);
    ncnn_put_kernel(&bin, 0, 3 * 10);
    model = ncnn_read_once(NET("3") "Convolution c 1 1 x y 0=3 1=1 6=9\nInnerProduct d 1 1 y z 0=1 2=30\n", &bin);
    ck_assert_uint_eq(model->input.height * model->input.width, 10);
    ck_assert_uint_eq(model->input.height + model->input.width, 7);
    sqz_model_free(model);
    ncnn_put_kernel(&bin, 0, 9);
    ncnn_put_kernel(&bin, 0, 3 * 10007);
    ncnn_refuse(NET("3") "Convolution c 1 1 x y 0=3 1=1 6=9\nInnerProduct d 1 1 y z 0=1 2=30021\n", &bin, SQZ_SHAPE,
                "does not declare its input size");
    sqz_buffer_free(&bin);
    ncnn_refuse(NET("2") "ReLU r 1 1 x y\n", NULL, SQZ_UNSUPPORTED, "number of channels");
    ncnn_refuse("7767517\n3 3\nInput in 0 1 x\nInput im 0 1 w\nReLU r 1 1 x y\n", NULL, SQZ_UNSUPPORTED,
                "more than one input");
    ncnn_refuse("7767517\n1 1\nReLU r 1 1 x y\n", NULL, SQZ_MALFORMED, "no input layer");
}
END_TEST

Suite *test_ncnn_layers(void);

Suite *test_ncnn_layers(void) {
    Suite *suite = suite_create("ncnn_layers");
    TCase *layers = tcase_create("layers");
    tcase_add_checked_fixture(layers, reader_folder_make, reader_folder_remove);
    tcase_set_timeout(layers, 60);
    tcase_add_test(layers, fused_activations_become_nodes);
    tcase_add_test(layers, convolution_windows);
    tcase_add_test(layers, same_padding);
    tcase_add_test(layers, pooling_modes);
    tcase_add_test(layers, elements);
    tcase_add_test(layers, binary_with_a_number);
    tcase_add_test(layers, joins);
    tcase_add_test(layers, reshapes);
    tcase_add_test(layers, dense_layers);
    tcase_add_test(layers, input_is_found);
    suite_add_tcase(suite, layers);
    return suite;
}
