/* test_short_memory.c - the n-th allocation fails, for every n, anywhere between a model file and its result. */
#include <check.h>
#include <string.h>

#include "eval/engine.h"
#include "formats/formats.h"
#include "lib/container.h"
#include "lib/parallel.h"
#include "lib/prune.h"
#include "lib/quantize.h"
#include "tests/unit/effort.h"
#include "tests/unit/random_nets.h"
#include "tests/unit/reader_folder.h"

enum { N_OUTPUT = 5 };

/* Convolutions of both kinds, a branch, pooling, a scale and a dense layer; small, since each n runs the whole chain.
 */
static struct sqz_model *small_net(void) {
    struct net net = net_new(3, 9, 9, 4);
    uint32_t at = net_conv(&net, 0, 3, 8, square_window(3, 1, 1), 1);
    at = net_node(&net, SQZ_OP_RELU, &at, 1);
    at = net_pool(&net, SQZ_OP_MAX_POOL, at, square_window(3, 2, 0), true);
    uint32_t branches[2] = {net_conv(&net, at, 8, 4, square_window(1, 1, 0), 1),
                            net_conv(&net, at, 8, 4, square_window(3, 1, 1), 2)};
    at = net_node(&net, SQZ_OP_CONCAT, branches, 2);
    net.model->nodes[at].params.concat.axis = 1;
    at = net_scale(&net, at, 8);
    at = net_node(&net, SQZ_OP_GLOBAL_AVERAGE_POOL, &at, 1);
    net.model->output = net_dense(&net, at, 8, N_OUTPUT);
    return net.model;
}

struct chain {
    const char *path;
    enum sqz_coder coder;
    struct sqz_model *model, *decoded;
    struct sqz_prune_stats pruned[8];
    struct sqz_quantize_stats shared[8];
    struct sqz_buffer file;
    struct sqz_session *session;
    float output[N_OUTPUT];
};

static enum sqz_status run_chain(struct chain *chain, struct sqz_error *err) {
    struct sqz_read_options reading = {0};
    struct sqz_layer_value density = {NULL, 0.6}, bits = {NULL, 3};
    struct sqz_prune_options prune = {.rule = SQZ_PRUNE_DENSITY, .values = &density, .n_values = 1, .global = true};
    struct sqz_quantize_options share = {.bits = &bits, .n_bits = 1, .method = SQZ_KMEANS_OPTIMAL};
    struct sqz_encode_options encoding = {chain->coder, SQZ_BIAS_FP16};
    float input[3 * 9 * 9];
    size_t n;
    for (size_t i = 0; i < sizeof input / sizeof *input; i++) input[i] = (float)(i % 7) - 3;
    SQZ_TRY(sqz_model_read(chain->path, &reading, &chain->model, err));
    SQZ_TRY(sqz_prune(chain->model, &prune, chain->pruned, &n, err));
    SQZ_TRY(sqz_quantize(chain->model, &share, chain->shared, &n, err));
    SQZ_TRY(sqz_model_note(chain->model, err, "shared"));
    SQZ_TRY(sqz_container_encode(chain->model, &encoding, &chain->file, err));
    SQZ_TRY(sqz_container_decode(chain->file.data, chain->file.nbytes, 0, &chain->decoded, err));
    SQZ_TRY(sqz_session_new(chain->decoded, NULL, &chain->session, err));
    sqz_session_run(chain->session, input, 1, chain->output);
    return SQZ_OK;
}

/* Nothing that a failed step has begun may be in the way of freeing what the others gave. */
static void free_chain(struct chain *chain) {
    sqz_session_free(chain->session);
    sqz_buffer_free(&chain->file);
    sqz_model_free(chain->decoded);
    sqz_model_free(chain->model);
}

/* Each stride-th allocation fails by itself. */
static void fail_everywhere(const char *path, enum sqz_coder coder, int threads, long stride) {
    struct sqz_error err = {0};
    struct chain whole = {.path = path, .coder = coder};
    ck_assert_msg(run_chain(&whole, &err) == SQZ_OK, "%s", err.text);
    free_chain(&whole);
    sqz_set_threads(threads);
    long n = 0;
    for (enum sqz_status status = SQZ_OUT_OF_MEMORY; status != SQZ_OK; n += stride) {
        struct chain chain = {.path = path, .coder = coder};
        memset(&err, 0, sizeof err);
        sqz_alloc_fail_after(n);
        status = run_chain(&chain, &err);
        sqz_alloc_fail_after(-1);
        ck_assert_msg(status == SQZ_OK || status == SQZ_OUT_OF_MEMORY, "allocation %ld: %s: %s", n,
                      sqz_status_name(status), err.text);
        if (status == SQZ_OK) ck_assert_int_eq(memcmp(chain.output, whole.output, sizeof whole.output), 0);
        if (status != SQZ_OK) ck_assert_msg(err.text[0] != '\0', "allocation %ld: no message", n);
        free_chain(&chain);
        ck_assert_int_lt(n, 100000);
    }
    ck_assert_int_gt(n, 100);
    sqz_set_threads(0);
}

START_TEST(from_onnx_to_a_result) {
    struct sqz_model *model = small_net();
    ck_assert_int_eq(sqz_onnx_write(model, reader_path("m.onnx"), NULL, NULL), SQZ_OK);
    sqz_model_free(model);
    fail_everywhere(reader_path("m.onnx"), (enum sqz_coder)_i, 1, EFFORT(1, 3));
}
END_TEST

START_TEST(from_a_working_file_to_a_result) {
    struct sqz_model *model = small_net();
    ck_assert_int_eq(sqz_hdf5_write(model, reader_path("m.h5"), NULL, NULL), SQZ_OK);
    sqz_model_free(model);
    fail_everywhere(reader_path("m.h5"), SQZ_CODER_AUTO, 1, 1);
}
END_TEST

/* With threads it is chance which of them runs out of memory, so not each n matters. */
START_TEST(with_threads) {
    struct sqz_model *model = small_net();
    ck_assert_int_eq(sqz_onnx_write(model, reader_path("m.onnx"), NULL, NULL), SQZ_OK);
    sqz_model_free(model);
    fail_everywhere(reader_path("m.onnx"), SQZ_CODER_AUTO, 3, EFFORT(3, 7));
}
END_TEST

Suite *test_short_memory(void);

Suite *test_short_memory(void) {
    Suite *suite = suite_create("short_memory");
    TCase *tc = tcase_create("chain");
    tcase_add_checked_fixture(tc, reader_folder_make, reader_folder_remove);
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, from_onnx_to_a_result, SQZ_CODER_AUTO, SQZ_CODER_RANGE + 1);
    tcase_add_test(tc, from_a_working_file_to_a_result);
    tcase_add_test(tc, with_threads);
    suite_add_tcase(suite, tc);
    return suite;
}
