/* test_sha256.c - SHA-256 against the standard's own examples. */
#include <check.h>
#include <string.h>

#include "lib/sha256.h"

START_TEST(sha256_of_known_texts) {
    /* FIPS 180-4's own examples, and lengths around a block and its padding. */
    static const struct {
        const char *text, *digest;
    } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    uint8_t digest[SQZ_SHA256_NBYTES], again[SQZ_SHA256_NBYTES], bytes[200];
    char text[SQZ_SHA256_TEXT];
    for (size_t i = 0; i < 3; i++) {
        sqz_sha256(known[i].text, strlen(known[i].text), digest);
        ck_assert_str_eq(sqz_sha256_format(digest, text), known[i].digest);
    }
    for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 31);
    for (size_t n = 0; n <= sizeof bytes; n++) { /* in one piece or in three, the digest is the same */
        struct sqz_sha256 hash;
        sqz_sha256(bytes, n, digest);
        sqz_sha256_begin(&hash);
        sqz_sha256_add(&hash, bytes, n / 3);
        sqz_sha256_add(&hash, bytes + n / 3, n / 2 - n / 3);
        sqz_sha256_add(&hash, bytes + n / 2, n - n / 2);
        sqz_sha256_end(&hash, again);
        ck_assert_mem_eq(digest, again, sizeof digest);
    }
    struct sqz_sha256 hash;
    sqz_sha256_begin(&hash);
    memset(bytes, 'a', sizeof bytes);
    for (int i = 0; i < 5000; i++) sqz_sha256_add(&hash, bytes, sizeof bytes); /* a million letters a */
    sqz_sha256_end(&hash, digest);
    ck_assert_str_eq(sqz_sha256_format(digest, text),
                     "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}
END_TEST

Suite *test_sha256(void);

Suite *test_sha256(void) {
    Suite *suite = suite_create("sha256");
    TCase *tests = tcase_create("sha256");
    tcase_add_test(tests, sha256_of_known_texts);
    suite_add_tcase(suite, tests);
    return suite;
}
