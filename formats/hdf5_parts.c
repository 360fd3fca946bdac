/* hdf5_parts.c - link names, the library's settings and temporary files for the HDF5 working file. */
#include "formats/hdf5_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Bytes between two releases of mapped pages: much less than any large model, much more than a page. */
#define CHECKSUM_STEP ((size_t)8 << 20)

uint32_t sqz_hdf5_checksum(const struct sqz_source *source, size_t nbytes) {
    uLong crc = crc32(0, Z_NULL, 0);
    for (size_t at = 0; at < nbytes; at += CHECKSUM_STEP) {
        size_t n = nbytes - at < CHECKSUM_STEP ? nbytes - at : CHECKSUM_STEP;
        crc = crc32(crc, source->data + at, (uInt)n);
        sqz_source_release(source, at, n);
    }
    return (uint32_t)crc;
}

char *sqz_hdf5_escape(const char *name) {
    size_t length = strlen(name), capacity;
    if (!sqz_mul_size(length, 3, &capacity) || !sqz_add_size(capacity, 1, &capacity)) return NULL;
    char *escaped = sqz_alloc(capacity, 1);
    if (!escaped) return NULL;
    char *p = escaped;
    for (const char *s = name; *s; s++) {
        /* HDF5 takes a slash for a path and a lone dot for the group itself. */
        if (*s == '/' || *s == '%' || (*s == '.' && length == 1))
            p += sprintf(p, "%%%02X", (unsigned char)*s);
        else
            *p++ = *s;
    }
    *p = '\0';
    return escaped;
}

enum sqz_status sqz_hdf5_temporary(int *fd, char **path, struct sqz_error *err) {
    static const char name[] = "/sqz-XXXXXX";
    const char *folder = getenv("TMPDIR");
    if (!folder || !*folder) folder = "/tmp";
    size_t length = strlen(folder);
    *path = sqz_alloc(length + sizeof name, 1);
    if (!*path) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    memcpy(*path, folder, length);
    memcpy(*path + length, name, sizeof name);
    *fd = mkostemp(*path, O_CLOEXEC);
    if (*fd < 0) {
        enum sqz_status status =
            sqz_fail(err, SQZ_IO, "cannot create a temporary file in %s: %s", folder, strerror(errno));
        sqz_free(*path);
        *path = NULL;
        return status;
    }
    return SQZ_OK;
}
