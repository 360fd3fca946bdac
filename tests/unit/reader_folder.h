/* reader_folder.h - a temporary folder for tests that read files they write themselves. */
#ifndef SQZ_TESTS_UNIT_READER_FOLDER_H
#define SQZ_TESTS_UNIT_READER_FOLDER_H

#include <stddef.h>

/* Check fixtures: a fresh folder for each test, removed behind it. */
void reader_folder_make(void);
void reader_folder_remove(void);

/* Path of a file in the folder; valid until the fourth next call. */
const char *reader_path(const char *name);

/* Write a file there. */
void reader_write(const char *name, const void *data, size_t nbytes);

/* Folder of the shared data, or NULL, with a loud line that names the test, when there is none. */
const char *reader_shared(const char *test);

#endif
