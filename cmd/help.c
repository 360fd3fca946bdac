/* help.c - prints a command's help and its manual page. */
#include "cmd/help.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cmd/version.h"

#define HELP_COLUMNS 80
#define OPTION_INDENT 28 /* where the explanations begin: behind "      --min-per-layer=N" */

static const char exit_text[] =
    "0: done. 1: the work failed, with one line on standard error that says why. 2: wrong usage. "
    "3: a quality limit given on the command line was not met.";

/* Print words from column `at`, breaking lines so that none passes HELP_COLUMNS; ends with a newline. */
static void print_wrapped(const char *text, size_t n, size_t indent, size_t at) {
    const char *end = text + n;
    bool first = true;
    while (text < end) {
        size_t word = 0;
        while (text + word < end && !isspace((unsigned char)text[word])) word++;
        if (!first && at + 1 + word > HELP_COLUMNS) {
            printf("\n%*s", (int)indent, "");
            at = indent;
            first = true;
        }
        if (!first) at += (size_t)printf(" ");
        at += (size_t)printf("%.*s", (int)word, text);
        first = false;
        text += word;
        while (text < end && isspace((unsigned char)*text)) text++;
    }
    printf("\n");
}

static void print_paragraphs(const char *text) {
    while (*text) {
        const char *end = strstr(text, "\n\n");
        size_t n = end ? (size_t)(end - text) : strlen(text);
        print_wrapped(text, n, 0, 0);
        text += n;
        if (end) {
            printf("\n");
            text += 2;
        }
    }
}

static void print_option(char letter, const char *name, const char *value, const char *help) {
    char left[128];
    int used = letter ? snprintf(left, sizeof left, "  -%c, --%s", letter, name)
                      : snprintf(left, sizeof left, "      --%s", name);
    if (value) used += snprintf(left + used, sizeof left - (size_t)used, "=%s", value);
    printf("%s", left);
    if (used + 2 > OPTION_INDENT)
        printf("\n%*s", OPTION_INDENT, "");
    else
        printf("%*s", OPTION_INDENT - used, "");
    print_wrapped(help, strlen(help), OPTION_INDENT, OPTION_INDENT);
}

void cmd_print_help(const struct cmd_page *page, const struct cmd_option *rows, size_t n_rows) {
    printf("Usage: %s [OPTION]... %s\n", page->command, page->operands);
    printf("%s.\n\n", page->summary);
    print_paragraphs(page->description);
    printf("\nOptions:\n");
    for (size_t i = 0; i < n_rows; i++) print_option(rows[i].letter, rows[i].name, rows[i].value, rows[i].help);
    print_option('h', "help", NULL, "Print this text.");
    print_option(0, "version", NULL, "Print the version.");
    printf("\nExit status:\n");
    print_paragraphs(exit_text);
    printf("\nExample:\n");
    for (const char *p = page->example; *p;) {
        size_t n = strcspn(p, "\n");
        printf("  %.*s\n", (int)n, p);
        p += n;
        p += *p == '\n';
    }
}

/* ---- troff -------------------------------------------------------------- */

/* Text for troff: hyphens stay hyphens, backslashes print, and no line begins with a request character. */
static void print_troff(const char *text, size_t n) {
    bool line_start = true;
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        if (line_start && (c == '.' || c == '\'')) printf("\\&");
        if (c == '\n' && i + 1 < n && text[i + 1] == '\n') {
            printf("\n.PP\n");
            i++;
            line_start = true;
            continue;
        }
        if (c == '-')
            printf("\\-");
        else if (c == '\\')
            printf("\\e");
        else
            putchar(c);
        line_start = c == '\n';
    }
}

static void print_troff_option(char letter, const char *name, const char *value, const char *help) {
    printf(".TP\n");
    if (letter) printf("\\fB\\-%c\\fR, ", letter);
    printf("\\fB\\-\\-");
    print_troff(name, strlen(name));
    printf("\\fR");
    if (value) {
        printf("=\\fI");
        print_troff(value, strlen(value));
        printf("\\fR");
    }
    printf("\n");
    print_troff(help, strlen(help));
    printf("\n");
}

void cmd_print_man(const struct cmd_page *page, const struct cmd_option *rows, size_t n_rows) {
    printf(".TH \"");
    for (const char *p = page->command; *p; p++) putchar(toupper((unsigned char)*p));
    printf("\" 1 \"\" \"sqz %s\" \"User Commands\"\n.SH NAME\n", SQZ_VERSION_TEXT);
    print_troff(page->command, strlen(page->command));
    printf(" \\- ");
    print_troff(page->summary, strlen(page->summary));
    printf("\n.SH SYNOPSIS\n.B ");
    print_troff(page->command, strlen(page->command));
    printf("\n[\\fIOPTION\\fR]... \\fI");
    print_troff(page->operands, strlen(page->operands));
    printf("\\fR\n.SH DESCRIPTION\n");
    print_troff(page->description, strlen(page->description));
    printf("\n.SH OPTIONS\n");
    for (size_t i = 0; i < n_rows; i++) print_troff_option(rows[i].letter, rows[i].name, rows[i].value, rows[i].help);
    print_troff_option('h', "help", NULL, "Print a summary of this page.");
    print_troff_option(0, "version", NULL, "Print the version.");
    printf(".SH EXIT STATUS\n");
    print_troff(exit_text, sizeof exit_text - 1);
    printf("\n.SH EXAMPLE\n.nf\n");
    print_troff(page->example, strlen(page->example));
    printf("\n.fi\n");
}
