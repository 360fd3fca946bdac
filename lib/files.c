/* files.c - whole files in memory, and output that appears complete or not at all. */
#include "lib/files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/memory.h"

/* ---- reading ------------------------------------------------------------ */

/* First allocation for a pipe, and the step by which an unknown length grows. */
#define PIPE_CHUNK_NBYTES ((size_t)1 << 20)

static enum sqz_status read_stream(int fd, size_t limit, struct sqz_source *out, struct sqz_error *err) {
    size_t capacity = PIPE_CHUNK_NBYTES, used = 0;
    uint8_t *data = sqz_alloc(capacity, 1);
    if (!data) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    for (;;) {
        if (used == capacity) {
            uint8_t *larger = used >= limit ? NULL : sqz_realloc(data, capacity * 2, 1);
            if (!larger) {
                sqz_free(data);
                if (used >= limit) return sqz_fail(err, SQZ_LIMIT, "the input is longer than %zu bytes", limit);
                return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory after %zu bytes", used);
            }
            data = larger;
            capacity *= 2;
        }
        ssize_t n = read(fd, data + used, capacity - used);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            sqz_free(data);
            return sqz_fail(err, SQZ_IO, "cannot read: %s", strerror(errno));
        }
        if (n == 0) break;
        used += (size_t)n;
    }
    out->data = data;
    out->nbytes = used;
    out->mapped = false;
    return SQZ_OK;
}

static enum sqz_status map_file(int fd, size_t nbytes, struct sqz_source *out, struct sqz_error *err) {
    void *data = mmap(NULL, nbytes, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) return sqz_fail(err, SQZ_IO, "cannot map %zu bytes: %s", nbytes, strerror(errno));
    out->data = data;
    out->nbytes = nbytes;
    out->mapped = true;
    return SQZ_OK;
}

enum sqz_status sqz_source_open(const char *path, size_t limit, struct sqz_source *out, struct sqz_error *err) {
    *out = (struct sqz_source){.path = path};
    if (strcmp(path, "-") == 0) return read_stream(STDIN_FILENO, limit, out, err);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        enum sqz_status status = errno == ENOENT || errno == ENOTDIR ? SQZ_NOT_FOUND : SQZ_IO;
        return sqz_fail(err, status, "cannot open: %s", strerror(errno));
    }
    struct stat st;
    enum sqz_status status;
    if (fstat(fd, &st) != 0)
        status = sqz_fail(err, SQZ_IO, "cannot stat: %s", strerror(errno));
    else if (S_ISDIR(st.st_mode))
        status = sqz_fail(err, SQZ_IO, "is a folder, not a file");
    else if (S_ISREG(st.st_mode) && st.st_size > 0 && (uintmax_t)st.st_size > limit)
        status = sqz_fail(err, SQZ_LIMIT, "the input is longer than %zu bytes", limit);
    else if (S_ISREG(st.st_mode) && st.st_size > 0)
        status = map_file(fd, (size_t)st.st_size, out, err);
    else
        status = read_stream(fd, limit, out, err);
    close(fd);
    return status;
}

void sqz_source_close(struct sqz_source *source) {
    if (source->mapped)
        munmap((void *)source->data, source->nbytes);
    else
        sqz_free((void *)source->data);
    *source = (struct sqz_source){0};
}

void sqz_source_release(const struct sqz_source *source, size_t offset, size_t nbytes) {
    if (!source->mapped || offset > source->nbytes || nbytes > source->nbytes - offset) return;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t begin = (offset + page - 1) / page * page, end = (offset + nbytes) / page * page;
    if (begin < end) madvise((void *)(source->data + begin), end - begin, MADV_DONTNEED);
}

/* ---- writing ------------------------------------------------------------ */

/* Outputs of one process that are open at once; a command writes one, a report perhaps two more. */
#define CLEANUP_SLOTS 16

/* Temporary files to remove when the process ends early; read by signal handlers, hence the atomics. */
static _Atomic(char *) cleanup_paths[CLEANUP_SLOTS];
static atomic_bool cleanup_installed;

static void remove_temporaries(void) {
    for (int i = 0; i < CLEANUP_SLOTS; i++) {
        char *path = atomic_load(&cleanup_paths[i]);
        if (path) unlink(path);
    }
}

static void on_fatal_signal(int signal_number) {
    remove_temporaries();
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void install_cleanup(void) {
    if (atomic_exchange(&cleanup_installed, true)) return;
    atexit(remove_temporaries);
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXCPU, SIGXFSZ};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old;
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_DFL) continue;
        struct sigaction action = {.sa_handler = on_fatal_signal};
        sigemptyset(&action.sa_mask);
        sigaction(signals[i], &action, NULL);
    }
}

static int claim_cleanup_slot(char *path) {
    for (int i = 0; i < CLEANUP_SLOTS; i++) {
        char *empty = NULL;
        if (atomic_compare_exchange_strong(&cleanup_paths[i], &empty, path)) return i;
    }
    return -1;
}

static void release_cleanup_slot(struct sqz_output *out) {
    if (out->slot >= 0) atomic_store(&cleanup_paths[out->slot], NULL);
    out->slot = -1;
}

static void free_output(struct sqz_output *out) {
    if (out->stream) fclose(out->stream);
    release_cleanup_slot(out);
    if (out->temporary != out->target) sqz_free(out->temporary);
    sqz_free(out->target);
    *out = (struct sqz_output){.slot = -1};
}

static char *concat_paths(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    char *s = sqz_alloc(n + m + 1, 1);
    if (!s) return NULL;
    memcpy(s, a, n);
    memcpy(s + n, b, m + 1);
    return s;
}

static bool is_special_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

static const char *temporary_folder(void) {
    const char *folder = getenv("TMPDIR");
    return folder && *folder ? folder : "/tmp";
}

/* Permissions of the file being replaced, or those a new file would get. */
static void copy_mode(int fd, const char *target) {
    struct stat st;
    if (stat(target, &st) == 0) {
        (void)!fchmod(fd, st.st_mode & 07777);
        return;
    }
    mode_t mask = umask(0);
    umask(mask);
    (void)!fchmod(fd, 0666 & ~mask);
}

static enum sqz_status open_temporary(const char *path, struct sqz_output *out, struct sqz_error *err) {
    bool to_stdout = strcmp(path, "-") == 0;
    char resolved[PATH_MAX];
    /* A symbolic link keeps pointing where it points: the file behind it is replaced. */
    const char *target = !to_stdout && realpath(path, resolved) ? resolved : path;
    char *prefix = to_stdout ? concat_paths(temporary_folder(), "/sqz-") : concat_paths(target, ".");
    out->temporary = prefix ? concat_paths(prefix, "tmp-XXXXXX") : NULL;
    sqz_free(prefix);
    out->target = sqz_alloc(strlen(target) + 1, 1);
    if (!out->temporary || !out->target) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    strcpy(out->target, target);
    int fd = mkostemp(out->temporary, O_CLOEXEC);
    if (fd < 0)
        return sqz_fail(err, SQZ_IO, "cannot create a file in the output's folder: %s", strerror(errno));
    out->slot = claim_cleanup_slot(out->temporary);
    copy_mode(fd, target);
    out->stream = fdopen(fd, "w+b");
    if (!out->stream) {
        close(fd);
        unlink(out->temporary);
        return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    }
    return SQZ_OK;
}

static enum sqz_status open_special(const char *path, struct sqz_output *out, struct sqz_error *err) {
    out->target = concat_paths(path, "");
    if (!out->target) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    out->temporary = out->target;
    out->stream = fopen(path, "wb");
    if (!out->stream) return sqz_fail(err, SQZ_IO, "cannot open for writing: %s", strerror(errno));
    return SQZ_OK;
}

enum sqz_status sqz_output_begin(const char *path, struct sqz_output *out, struct sqz_error *err) {
    install_cleanup();
    *out = (struct sqz_output){.slot = -1};
    bool special = strcmp(path, "-") != 0 && is_special_file(path);
    enum sqz_status status = special ? open_special(path, out, err) : open_temporary(path, out, err);
    if (status != SQZ_OK) {
        free_output(out);
        sqz_error_set_file(err, path);
    }
    return status;
}

enum sqz_status sqz_output_close_stream(struct sqz_output *out, struct sqz_error *err) {
    if (!out->stream) return SQZ_OK;
    bool bad = ferror(out->stream) != 0;
    bad |= fclose(out->stream) != 0;
    out->stream = NULL;
    if (bad) {
        sqz_fail(err, SQZ_IO, "cannot write: %s", strerror(errno ? errno : EIO));
        return sqz_error_set_file(err, out->target);
    }
    return SQZ_OK;
}

void sqz_output_abandon(struct sqz_output *out) {
    if (out->temporary && out->temporary != out->target) unlink(out->temporary);
    free_output(out);
}

static bool write_all(int fd, const char *data, size_t nbytes) {
    while (nbytes > 0) {
        ssize_t n = write(fd, data, nbytes);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        data += n;
        nbytes -= (size_t)n;
    }
    return true;
}

static bool copy_to_stdout(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    static char chunk[1 << 16];
    ssize_t n;
    bool good = true;
    while (good && (n = read(fd, chunk, sizeof chunk)) != 0) {
        if (n < 0 && errno == EINTR) continue;
        good = n > 0 && write_all(STDOUT_FILENO, chunk, (size_t)n);
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return good;
}

static bool sync_file(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool good = fsync(fd) == 0;
    int saved = errno;
    close(fd);
    errno = saved;
    return good;
}

static bool place_output(struct sqz_output *out, size_t *out_nbytes) {
    if (out->temporary == out->target) {
        *out_nbytes = 0;
        return true;
    }
    struct stat st;
    if (stat(out->temporary, &st) != 0) return false;
    *out_nbytes = (size_t)st.st_size;
    if (strcmp(out->target, "-") == 0) {
        bool good = copy_to_stdout(out->temporary);
        int saved = errno;
        unlink(out->temporary);
        errno = saved;
        return good;
    }
    return sync_file(out->temporary) && rename(out->temporary, out->target) == 0;
}

enum sqz_status sqz_output_commit(struct sqz_output *out, size_t *out_nbytes, struct sqz_error *err) {
    size_t nbytes = 0;
    enum sqz_status status = sqz_output_close_stream(out, err);
    if (status == SQZ_OK && !place_output(out, &nbytes)) {
        status = sqz_fail(err, SQZ_IO, "cannot write: %s", strerror(errno));
        sqz_error_set_file(err, out->target);
    }
    if (status != SQZ_OK) {
        sqz_output_abandon(out);
        return status;
    }
    if (out_nbytes) *out_nbytes = nbytes;
    free_output(out);
    return SQZ_OK;
}

enum sqz_status sqz_write_file(const char *path, const void *data, size_t nbytes, struct sqz_error *err) {
    struct sqz_output out;
    SQZ_TRY(sqz_output_begin(path, &out, err));
    if (nbytes && fwrite(data, 1, nbytes, out.stream) != nbytes) {
        enum sqz_status status = sqz_fail(err, SQZ_IO, "cannot write: %s", strerror(errno));
        sqz_error_set_file(err, path);
        sqz_output_abandon(&out);
        return status;
    }
    return sqz_output_commit(&out, NULL, err);
}

bool sqz_same_file(const char *a, const char *b) {
    struct stat sa, sb;
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

enum sqz_status sqz_path_beside(const char *path, const char *name, char *buffer, size_t capacity,
                                struct sqz_error *err) {
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path + 1) : 0;
    int n = snprintf(buffer, capacity, "%.*s%s", folder, path, name);
    if (n < 0 || (size_t)n >= capacity) return sqz_fail(err, SQZ_LIMIT, "a path is longer than %zu bytes", capacity);
    return SQZ_OK;
}
