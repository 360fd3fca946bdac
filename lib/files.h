/* files.h - whole files in memory, and output that appears complete or not at all. */
#ifndef SQZ_LIB_FILES_H
#define SQZ_LIB_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/status.h"

/*
 * The bytes of an input. A regular file is mapped read-only; "-" (standard
 * input), a pipe or a device is read into memory, up to `limit` bytes.
 */
struct sqz_source {
    const char *path;     /* as given by the user; "-" for standard input; borrowed */
    const uint8_t *data;
    size_t nbytes;
    bool mapped;
};

/* Default bound on what is read from a pipe: 4 GiB, beyond any model this toolchain handles. */
#define SQZ_SOURCE_LIMIT ((size_t)4 << 30)

/* SQZ_NOT_FOUND, SQZ_IO (also for a folder), SQZ_LIMIT, SQZ_OUT_OF_MEMORY. */
enum sqz_status sqz_source_open(const char *path, size_t limit, struct sqz_source *out, struct sqz_error *err);
void sqz_source_close(struct sqz_source *source);

/*
 * Tell the kernel that data[offset, offset + nbytes) of a mapped source will
 * not be read again, so that it stops counting against resident memory.
 */
void sqz_source_release(const struct sqz_source *source, size_t offset, size_t nbytes);

/*
 * An output file that is written beside its target under a temporary name
 * and renamed over it by sqz_output_commit(). Without a commit the target
 * stays as it was and the temporary file is removed (by sqz_output_abandon(),
 * or by the exit and signal handlers that sqz_output_begin() installs once).
 * The path "-" writes to a temporary file that commit copies to standard
 * output; device files such as /dev/full are written directly.
 */
struct sqz_output {
    char *target;      /* final path, "-" for standard output */
    char *temporary;   /* path being written; equals target for a device */
    FILE *stream;      /* open for writing and seeking, unless handed over with sqz_output_close_stream() */
    int slot;          /* index in the clean-up table */
};

/* SQZ_IO when the folder is missing or not writable. */
enum sqz_status sqz_output_begin(const char *path, struct sqz_output *out, struct sqz_error *err);

/* Close the stream so that another library can open out->temporary by name. */
enum sqz_status sqz_output_close_stream(struct sqz_output *out, struct sqz_error *err);

/* Flush, sync to disk, rename. On failure nothing is left behind. Frees `out` either way. */
enum sqz_status sqz_output_commit(struct sqz_output *out, size_t *out_nbytes, struct sqz_error *err);
void sqz_output_abandon(struct sqz_output *out);

/* begin + write + commit in one. */
enum sqz_status sqz_write_file(const char *path, const void *data, size_t nbytes, struct sqz_error *err);

/* True when both paths name the same existing file (device and inode). */
bool sqz_same_file(const char *a, const char *b);

/* Folder part of `path` joined with `name`, in a buffer; SQZ_LIMIT when it does not fit. */
enum sqz_status sqz_path_beside(const char *path, const char *name, char *buffer, size_t capacity, struct sqz_error *err);

#endif
