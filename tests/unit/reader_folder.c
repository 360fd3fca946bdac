/* reader_folder.c - a temporary folder for tests that read files they write themselves. */
#include "tests/unit/reader_folder.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

void reader_folder_make(void) {
    strcpy(folder, "/tmp/sqz-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

void reader_folder_remove(void) {
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

const char *reader_path(const char *name) {
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void reader_write(const char *name, const void *data, size_t nbytes) {
    FILE *file = fopen(reader_path(name), "wb");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, nbytes, file), nbytes);
    ck_assert_int_eq(fclose(file), 0);
}

const char *reader_shared(const char *test) {
    const char *shared = getenv("SQZ_SHARED");
    char probe[512];
    if (!shared) shared = "../shared";
    snprintf(probe, sizeof probe, "%s/data/models", shared);
    if (access(probe, R_OK) == 0) return shared;
    fprintf(stderr, "SKIPPED %s (SQZ_SHARED not found)\n", test);
    return NULL;
}
