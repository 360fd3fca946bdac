/* class_names.c - reads a list of class names into a model. */
#include "cmd/class_names.h"

#include <string.h>

#include "cmd/model_facts.h"
#include "lib/files.h"

/* A list of names, not a data set: ImageNet's 1000 take 32 KB. */
#define MAX_LIST_NBYTES ((size_t)16 << 20)

/* Length of "n01440764 " at the head of a line, else 0. */
static size_t wordnet_prefix(const char *line) {
    if (line[0] != 'n') return 0;
    for (int i = 1; i <= 8; i++)
        if (line[i] < '0' || line[i] > '9') return 0;
    return line[9] == ' ' || line[9] == '\t' ? 10 : 0;
}

/* Cut text into lines in place; returns their number, blank lines at the end left out. */
static size_t split_lines(char *text, const char **lines) {
    size_t n = 0, last = 0;
    while (*text) {
        char *end = strchr(text, '\n');
        size_t length = end ? (size_t)(end - text) : strlen(text);
        if (lines) {
            lines[n] = text;
            text[length] = '\0';
            if (length && text[length - 1] == '\r') text[length - 1] = '\0';
        }
        n++;
        if (length > 0 && text[0] != '\r') last = n;
        text += length + (end != NULL);
    }
    return last;
}

static enum sqz_status set_names(struct sqz_model *model, const char **lines, size_t n, struct sqz_error *err) {
    bool ids = true;
    for (size_t i = 0; i < n; i++) {
        if (!*lines[i]) return sqz_fail(err, SQZ_BAD_LABEL, "line %zu of the class names is empty", i + 1);
        ids &= wordnet_prefix(lines[i]) > 0;
    }
    for (size_t i = 0; ids && i < n; i++) lines[i] += wordnet_prefix(lines[i]);
    return sqz_model_set_classes(model, lines, n, err);
}

static enum sqz_status parse_names(struct sqz_model *model, char *text, struct sqz_error *err) {
    size_t n = split_lines(text, NULL), classes = cmd_model_classes(model);
    if (n != classes) return sqz_fail(err, SQZ_BAD_LABEL, "lists %zu classes where the model has %zu", n, classes);
    /* One more slot for each blank line at the end. */
    size_t n_lines = 1;
    for (const char *p = text; *p; p++) n_lines += *p == '\n';
    const char **lines = sqz_alloc(n_lines, sizeof *lines);
    if (!lines) return sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
    split_lines(text, lines);
    enum sqz_status status = set_names(model, lines, n, err);
    sqz_free(lines);
    return status;
}

enum sqz_status cmd_read_class_names(struct sqz_model *model, const char *path, struct sqz_error *err) {
    struct sqz_source source;
    enum sqz_status status = sqz_source_open(path, MAX_LIST_NBYTES, &source, err);
    if (status == SQZ_OK) {
        char *text = sqz_alloc(source.nbytes + 1, 1);
        if (text && source.nbytes) memcpy(text, source.data, source.nbytes);
        if (text) text[source.nbytes] = '\0';
        if (!text)
            status = sqz_fail(err, SQZ_OUT_OF_MEMORY, "not enough memory");
        else if (strlen(text) != source.nbytes)
            status = sqz_fail(err, SQZ_BAD_LABEL, "is not a text file with class names");
        else
            status = parse_names(model, text, err);
        sqz_free(text);
        sqz_source_close(&source);
    }
    if (status != SQZ_OK) sqz_error_set_file(err, path);
    return status;
}
