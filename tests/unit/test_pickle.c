/* test_pickle.c - the restricted pickle machine: every kind of value, and files made to hurt it. */
#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "formats/pickle.h"
#include "lib/bytes.h"

/* The tests' own allow-list. */
static enum sqz_status admit(const char *module, const char *name, enum sqz_pickle_class *out, struct sqz_error *err) {
    *out = SQZ_PICKLE_CLASS_CALL;
    if (strcmp(module, "good") != 0) return sqz_fail(err, SQZ_UNSAFE, "%s.%s", module, name);
    if (strcmp(name, "Dict") == 0) *out = SQZ_PICKLE_CLASS_DICT;
    if (strcmp(name, "Set") == 0) *out = SQZ_PICKLE_CLASS_SET;
    return SQZ_OK;
}

/* Load from exactly sized memory, which must outlive the values. */
static enum sqz_status load(const void *bytes, size_t nbytes, void **memory, struct sqz_pickle *out,
                            struct sqz_error *err) {
    *memory = malloc(nbytes ? nbytes : 1);
    memcpy(*memory, bytes, nbytes);
    return sqz_pickle_load(*memory, nbytes, admit, out, err);
}

#define LOAD(literal)                                                                                                  \
    struct sqz_pickle pickle;                                                                                          \
    struct sqz_error err = {0};                                                                                        \
    void *memory;                                                                                                      \
    enum sqz_status status = load(literal, sizeof(literal) - 1, &memory, &pickle, &err)

#define UNLOAD()                                                                                                       \
    do {                                                                                                               \
        if (status == SQZ_OK) sqz_pickle_free(&pickle);                                                                \
        free(memory);                                                                                                  \
    } while (0)

static void refuse(const void *bytes, size_t nbytes, enum sqz_status expected) {
    struct sqz_pickle pickle;
    struct sqz_error err = {0};
    void *memory;
    enum sqz_status status = load(bytes, nbytes, &memory, &pickle, &err);
    ck_assert_msg(status == expected, "%s instead of %s: %s", sqz_status_name(status), sqz_status_name(expected),
                  err.text);
    ck_assert_ptr_null(pickle.arena.head);
    free(memory);
}

#define REFUSE(literal, expected) refuse(literal, sizeof(literal) - 1, expected)

static const struct sqz_pickle_value *item(const struct sqz_pickle_value *list, size_t i) {
    ck_assert_uint_lt(i, list->as.list.n_items);
    return list->as.list.items[i];
}

static void check_integer(const struct sqz_pickle_value *value, int64_t expected) {
    ck_assert_int_eq(value->kind, SQZ_PICKLE_INTEGER);
    ck_assert_int_eq(value->as.integer, expected);
}

START_TEST(binary_scalars) {
    LOAD("\x80\x02(N\x88\x89J\xfe\xff\xff\xffK\xffM\x01\x02G\xbf\xf8\0\0\0\0\0\0X\x02\0\0\0hiC\x01zt.");
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    const struct sqz_pickle_value *t = pickle.root;
    ck_assert_int_eq(t->kind, SQZ_PICKLE_TUPLE);
    ck_assert_uint_eq(t->as.list.n_items, 9);
    ck_assert_int_eq(item(t, 0)->kind, SQZ_PICKLE_NONE);
    ck_assert(item(t, 1)->kind == SQZ_PICKLE_BOOL && item(t, 1)->as.integer == 1);
    ck_assert(item(t, 2)->kind == SQZ_PICKLE_BOOL && item(t, 2)->as.integer == 0);
    check_integer(item(t, 3), -2);
    check_integer(item(t, 4), 255);
    check_integer(item(t, 5), 513);
    ck_assert(item(t, 6)->as.real == -1.5);
    ck_assert(sqz_pickle_text_is(item(t, 7), "hi"));
    ck_assert_int_eq(item(t, 8)->kind, SQZ_PICKLE_BYTES);
    UNLOAD();
}
END_TEST

START_TEST(long_integers) {
    LOAD("\x80\x02(\x8a\0\x8a\x01\xff\x8a\x02\0\x80\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x8a\x09\0\0\0\0\0\0\0\0\x01"
         "\x8b\x01\0\0\0\x07t.");
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    check_integer(item(pickle.root, 0), 0);
    check_integer(item(pickle.root, 1), -1);
    check_integer(item(pickle.root, 2), -32768);
    check_integer(item(pickle.root, 3), INT64_MAX);
    ck_assert_int_eq(item(pickle.root, 4)->kind, SQZ_PICKLE_BIG_INTEGER);
    ck_assert_uint_eq(item(pickle.root, 4)->as.text.nbytes, 9);
    check_integer(item(pickle.root, 5), 7);
    UNLOAD();
}
END_TEST

START_TEST(text_opcodes_of_protocol_0) {
    LOAD("(dp0\nS'key'\np1\n(lp2\nI42\naL-7L\naF2.5\naI01\naL99999999999999999999L\naVname\nasg1\ng2\ns.");
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    const struct sqz_pickle_value *list = sqz_pickle_get(pickle.root, "key");
    ck_assert_ptr_nonnull(list);
    ck_assert_int_eq(list->kind, SQZ_PICKLE_LIST);
    check_integer(item(list, 0), 42);
    check_integer(item(list, 1), -7);
    ck_assert(item(list, 2)->as.real == 2.5);
    ck_assert_int_eq(item(list, 3)->kind, SQZ_PICKLE_BOOL);
    ck_assert_int_eq(item(list, 4)->kind, SQZ_PICKLE_BIG_INTEGER);
    ck_assert_uint_eq(item(list, 4)->as.text.nbytes, 20);
    ck_assert(sqz_pickle_text_is(item(list, 5), "name"));
    UNLOAD();
}
END_TEST

/* Protocols 4 and 5: frame, short texts, MEMOIZE, STACK_GLOBAL, sets, and both kinds of call. */
START_TEST(opcodes_of_protocol_4) {
    LOAD("\x80\x04\x95\x10\0\0\0\0\0\0\0(\x8c\x04good\x94\x8c\x03Obj\x94\x93\x94K\x01\x85R\x94h\x02)}\x92\x8f("
         "K\x03K\x04\x90"
         "(K\x05\x91\x96\x01\0\0\0\0\0\0\0qt.");
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    const struct sqz_pickle_value *call = item(pickle.root, 0);
    ck_assert_int_eq(call->kind, SQZ_PICKLE_CALL);
    ck_assert_str_eq(call->as.call.function->as.global.name, "Obj");
    check_integer(sqz_pickle_item(call->as.call.arguments, 0), 1);
    ck_assert_int_eq(item(pickle.root, 1)->kind, SQZ_PICKLE_CALL);
    ck_assert_int_eq(item(pickle.root, 2)->kind, SQZ_PICKLE_SET);
    ck_assert_uint_eq(item(pickle.root, 2)->as.list.n_items, 2);
    ck_assert_int_eq(item(pickle.root, 3)->kind, SQZ_PICKLE_SET);
    ck_assert_int_eq(item(pickle.root, 4)->kind, SQZ_PICKLE_BYTES);
    UNLOAD();
}
END_TEST

/* Octal escapes where a hexadecimal one would swallow the opcode behind it. */
START_TEST(dictionaries_and_sets_by_call) {
    LOAD("(cgood\nDict\n](](X\001\0\0\0aK\001e](X\001\0\0\0aK\002ee\205RX\001\0\0\0bK\003scgood\nSet\n(K\001K\002K\003t"
         "\205Rt.");
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    const struct sqz_pickle_value *dict = item(pickle.root, 0);
    ck_assert_int_eq(dict->kind, SQZ_PICKLE_DICT);
    check_integer(sqz_pickle_get(dict, "a"), 2); /* the later of two equal keys, as in Python */
    check_integer(sqz_pickle_get(dict, "b"), 3);
    ck_assert_ptr_null(sqz_pickle_get(dict, "c"));
    ck_assert_uint_eq(item(pickle.root, 1)->as.list.n_items, 3);
    UNLOAD();
    REFUSE("cgood\nDict\n](K\001e\205R.", SQZ_MALFORMED);
}
END_TEST

START_TEST(persistent_ids_are_listed_in_order) {
    LOAD("\x80\x02(K\x05QK\x06QPseven\nt.tail");
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    ck_assert_uint_eq(pickle.n_persistent, 3);
    check_integer(pickle.persistent[0]->as.id, 5);
    check_integer(pickle.persistent[1]->as.id, 6);
    ck_assert(sqz_pickle_text_is(pickle.persistent[2]->as.id, "seven"));
    ck_assert_uint_eq(pickle.nbytes, 18); /* what follows the STOP is another's */
    UNLOAD();
}
END_TEST

/* State and items that an object would take are dropped; protocol 0's INST and OBJ make calls too. */
START_TEST(objects_stay_opaque) {
    LOAD("((igood\nA\n(cgood\nB\nK\001o(K\002e}bt.");
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    ck_assert_int_eq(item(pickle.root, 0)->kind, SQZ_PICKLE_CALL);
    ck_assert_str_eq(item(pickle.root, 1)->as.call.function->as.global.name, "B");
    ck_assert_uint_eq(item(pickle.root, 1)->as.call.arguments->as.list.n_items, 1);
    UNLOAD();
}
END_TEST

START_TEST(unknown_globals_are_refused_by_name) {
    static const char *const texts[] = {
        "cos\nsystem\nX\x04\0\0\0true\x85R.",
        "(ios\nsystem\n.",
        "}X\x01\0\0\0a(cos\nsystem\nNos.",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct sqz_pickle pickle;
        struct sqz_error err = {0};
        char bytes[64];
        size_t nbytes = i == 0 ? 23 : i == 1 ? 13 : 24;
        memcpy(bytes, texts[i], nbytes);
        ck_assert_int_eq(sqz_pickle_load((uint8_t *)bytes, nbytes, admit, &pickle, &err), SQZ_UNSAFE);
        ck_assert_str_eq(err.text, "os.system");
    }
    REFUSE("\x80\x04\x8c\x02os\x8c\x06system\x93.", SQZ_UNSAFE);
    REFUSE("\x80\x04K\x01\x8c\x06system\x93.", SQZ_MALFORMED);
    REFUSE("cgo\0od\nA\n.", SQZ_MALFORMED);
}
END_TEST

START_TEST(malformed_pickles_are_refused) {
    REFUSE("", SQZ_TRUNCATED);
    REFUSE(".", SQZ_MALFORMED);
    REFUSE("(.", SQZ_MALFORMED);
    REFUSE("0.", SQZ_MALFORMED);
    REFUSE("1.", SQZ_MALFORMED);
    REFUSE("2.", SQZ_MALFORMED);
    REFUSE("t.", SQZ_MALFORMED);
    REFUSE("N\x86.", SQZ_MALFORMED);
    REFUSE("(N\x85\x85\x86.", SQZ_MALFORMED);
    REFUSE("(Nd.", SQZ_MALFORMED);
    REFUSE("N(NNu.", SQZ_MALFORMED);
    REFUSE("}(Nu.", SQZ_MALFORMED);
    REFUSE("NNa.", SQZ_MALFORMED);
    REFUSE("NNR.", SQZ_MALFORMED);
    REFUSE("cgood\nA\nNR.", SQZ_MALFORMED);
    REFUSE("(o.", SQZ_MALFORMED);
    REFUSE("h\0.", SQZ_MALFORMED);
    REFUSE("g-1\n.", SQZ_MALFORMED);
    REFUSE("Nq\0j\x01\0\0\0.", SQZ_MALFORMED);
    REFUSE("\xff.", SQZ_MALFORMED);
    REFUSE("I\n.", SQZ_MALFORMED);
    REFUSE("I4x\n.", SQZ_MALFORMED);
    REFUSE("Fx\n.", SQZ_MALFORMED);
    REFUSE("Sopen\n.", SQZ_MALFORMED);
    REFUSE("\x80\x06.", SQZ_VERSION);
    REFUSE("\x82\x01.", SQZ_UNSUPPORTED);
    REFUSE("\x97.", SQZ_UNSUPPORTED);
    REFUSE("I4", SQZ_TRUNCATED);
    REFUSE("X\xff\xff\xff\xff.", SQZ_TRUNCATED);
    REFUSE("\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", SQZ_TRUNCATED);
    REFUSE("\x8b\xff\xff\xff\x7f.", SQZ_TRUNCATED);
    REFUSE("\x95\xff\0\0\0\0\0\0\0N.", SQZ_TRUNCATED);
}
END_TEST

/* Went wrong elsewhere: 200,000 MARKs, nested lists and memo index 2^31-1 exhaust the stack or the memory. */
START_TEST(bombs_are_bounded) {
    size_t n = 200000;
    char *bytes = malloc(n + 1);
    memset(bytes, '(', n);
    bytes[n] = '.';
    refuse(bytes, n + 1, SQZ_LIMIT);
    memset(bytes, ']', n);
    refuse(bytes, n + 1, SQZ_LIMIT);
    /* Nesting without a deep stack: ((((...),),),) by TUPLE1; reading and freeing must not recurse. */
    memset(bytes, 0x85, n);
    bytes[0] = 'N';
    struct sqz_pickle pickle;
    struct sqz_error err = {0};
    ck_assert_int_eq(sqz_pickle_load((uint8_t *)bytes, n + 1, admit, &pickle, &err), SQZ_OK);
    sqz_pickle_free(&pickle);
    free(bytes);
    /* More values than the limit, popped at once so that the stack stays flat. */
    n = 2 * SQZ_PICKLE_MAX_PUSHES + 2;
    bytes = malloc(n);
    for (size_t i = 0; i < n; i += 2) memcpy(bytes + i, "(0", 2);
    refuse(bytes, n, SQZ_LIMIT);
    free(bytes);
    REFUSE("Nr\xff\xff\xff\x7f.", SQZ_LIMIT);
    REFUSE("Np99999999\n.", SQZ_LIMIT);
}
END_TEST

START_TEST(a_list_may_contain_itself) {
    LOAD("]q\0h\0a.");
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    ck_assert_ptr_eq(item(pickle.root, 0), pickle.root);
    UNLOAD();
}
END_TEST

static const char rich[] =
    "\x80\x04\x95\x1a\0\0\0\0\0\0\0}(\x8c\x01k\x94](K\x01G?\xf0\0\0\0\0\0\0eX\x01\0\0\0pcgood\nA\n)R"
    "h\0K\x02QK\x07I5\nN\x86u.";

START_TEST(every_truncation_is_refused) {
    LOAD(rich);
    ck_assert_msg(status == SQZ_OK, "%s", err.text);
    UNLOAD();
    for (size_t n = 0; n + 1 < sizeof rich - 1; n++) {
        struct sqz_pickle cut;
        status = load(rich, n, &memory, &cut, &err);
        ck_assert_int_eq(status, SQZ_TRUNCATED);
        free(memory);
    }
}
END_TEST

START_TEST(memory_shortage_is_reported) {
    enum sqz_status status = SQZ_OUT_OF_MEMORY;
    size_t failures = 0;
    for (long n = 0; status != SQZ_OK; n++) {
        struct sqz_pickle pickle;
        struct sqz_error err = {0};
        sqz_alloc_fail_after(n);
        status = sqz_pickle_load((const uint8_t *)rich, sizeof rich - 1, admit, &pickle, &err);
        sqz_alloc_fail_after(-1);
        if (status == SQZ_OK)
            sqz_pickle_free(&pickle);
        else
            ck_assert_int_eq(status, SQZ_OUT_OF_MEMORY);
        failures += status != SQZ_OK;
    }
    ck_assert_uint_ge(failures, 3);
}
END_TEST

Suite *test_pickle(void) {
    Suite *suite = suite_create("pickle");
    TCase *values = tcase_create("values"), *hostile = tcase_create("hostile");
    tcase_add_test(values, binary_scalars);
    tcase_add_test(values, long_integers);
    tcase_add_test(values, text_opcodes_of_protocol_0);
    tcase_add_test(values, opcodes_of_protocol_4);
    tcase_add_test(values, dictionaries_and_sets_by_call);
    tcase_add_test(values, persistent_ids_are_listed_in_order);
    tcase_add_test(values, objects_stay_opaque);
    tcase_add_test(values, a_list_may_contain_itself);
    tcase_add_test(hostile, unknown_globals_are_refused_by_name);
    tcase_add_test(hostile, malformed_pickles_are_refused);
    tcase_add_test(hostile, bombs_are_bounded);
    tcase_add_test(hostile, every_truncation_is_refused);
    tcase_add_test(hostile, memory_shortage_is_reported);
    suite_add_tcase(suite, values);
    suite_add_tcase(suite, hostile);
    return suite;
}
