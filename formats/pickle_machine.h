/* pickle_machine.h - inside of the pickle machine: its state and the parts that pickle*.c share. */
#ifndef SQZ_FORMATS_PICKLE_MACHINE_H
#define SQZ_FORMATS_PICKLE_MACHINE_H

#include "formats/pickle.h"
#include "lib/bytes.h"

/* Opcodes of protocols 0 to 5, as CPython's Lib/pickletools.py documents them. */
enum opcode {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_POP = '0',
    OP_POP_MARK = '1',
    OP_DUP = '2',
    OP_FLOAT = 'F',
    OP_INT = 'I',
    OP_BININT = 'J',
    OP_BININT1 = 'K',
    OP_LONG = 'L',
    OP_BININT2 = 'M',
    OP_NONE = 'N',
    OP_PERSID = 'P',
    OP_BINPERSID = 'Q',
    OP_REDUCE = 'R',
    OP_STRING = 'S',
    OP_BINSTRING = 'T',
    OP_SHORT_BINSTRING = 'U',
    OP_UNICODE = 'V',
    OP_BINUNICODE = 'X',
    OP_APPEND = 'a',
    OP_BUILD = 'b',
    OP_GLOBAL = 'c',
    OP_DICT = 'd',
    OP_EMPTY_DICT = '}',
    OP_APPENDS = 'e',
    OP_GET = 'g',
    OP_BINGET = 'h',
    OP_INST = 'i',
    OP_LONG_BINGET = 'j',
    OP_LIST = 'l',
    OP_EMPTY_LIST = ']',
    OP_OBJ = 'o',
    OP_PUT = 'p',
    OP_BINPUT = 'q',
    OP_LONG_BINPUT = 'r',
    OP_SETITEM = 's',
    OP_TUPLE = 't',
    OP_EMPTY_TUPLE = ')',
    OP_SETITEMS = 'u',
    OP_BINFLOAT = 'G',
    OP_PROTO = 0x80,
    OP_NEWOBJ = 0x81,
    OP_EXT1 = 0x82,
    OP_EXT2 = 0x83,
    OP_EXT4 = 0x84,
    OP_TUPLE1 = 0x85,
    OP_TUPLE2 = 0x86,
    OP_TUPLE3 = 0x87,
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_LONG1 = 0x8a,
    OP_LONG4 = 0x8b,
    OP_BINBYTES = 'B',
    OP_SHORT_BINBYTES = 'C',
    OP_SHORT_BINUNICODE = 0x8c,
    OP_BINUNICODE8 = 0x8d,
    OP_BINBYTES8 = 0x8e,
    OP_EMPTY_SET = 0x8f,
    OP_ADDITEMS = 0x90,
    OP_FROZENSET = 0x91,
    OP_NEWOBJ_EX = 0x92,
    OP_STACK_GLOBAL = 0x93,
    OP_MEMOIZE = 0x94,
    OP_FRAME = 0x95,
    OP_BYTEARRAY8 = 0x96,
    OP_NEXT_BUFFER = 0x97,
    OP_READONLY_BUFFER = 0x98,
};

/* Longest number or name in a text argument; CPython's own are far shorter. */
#define SQZ_PICKLE_MAX_LINE 1024

struct sqz_pickle_machine {
    struct sqz_reader in;
    struct sqz_pickle *out;
    sqz_pickle_admit admit;
    struct sqz_error *err;
    size_t opcode_offset;
    struct sqz_pickle_value **stack;
    size_t depth, stack_capacity;
    struct sqz_pickle_value **memo; /* NULL where nothing was put */
    size_t n_memo;                  /* entries of memo */
    size_t n_memoized;              /* what MEMOIZE counts */
    size_t n_pushes;
};

/* What the MARK opcode pushes. */
extern struct sqz_pickle_value sqz_pickle_mark;

/* Errors that name the place of the current opcode. */
enum sqz_status sqz_pickle_malformed(struct sqz_pickle_machine *m, const char *what);
enum sqz_status sqz_pickle_no_memory(struct sqz_pickle_machine *m);

/* SQZ_TRUNCATED when an argument read since the opcode went past the end. */
enum sqz_status sqz_pickle_check_read(struct sqz_pickle_machine *m);

/* A NULL value stands for a failed allocation. */
enum sqz_status sqz_pickle_push(struct sqz_pickle_machine *m, struct sqz_pickle_value *value);
enum sqz_status sqz_pickle_pop(struct sqz_pickle_machine *m, struct sqz_pickle_value **out);
enum sqz_status sqz_pickle_top(struct sqz_pickle_machine *m, struct sqz_pickle_value **out);

/* Remove everything above the last MARK and the mark itself; the removed values stay readable until the next push. */
enum sqz_status sqz_pickle_pop_to_mark(struct sqz_pickle_machine *m, struct sqz_pickle_value ***items, size_t *n);

/* Push a container of the kind that holds n items. */
enum sqz_status sqz_pickle_push_list(struct sqz_pickle_machine *m, enum sqz_pickle_kind kind,
                                     struct sqz_pickle_value **items, size_t n);

/* The bytes up to the next newline, which is skipped. */
enum sqz_status sqz_pickle_read_line(struct sqz_pickle_machine *m, const char **line, size_t *nbytes);

/* A line that holds an integer; the line itself stays in `number`. */
enum sqz_status sqz_pickle_read_text_integer(struct sqz_pickle_machine *m, int64_t *out,
                                             char number[SQZ_PICKLE_MAX_LINE]);

/* STRING (quoted) and UNICODE of protocol 0. Escapes are kept as written: no name in use needs one. */
enum sqz_status sqz_pickle_push_text_line(struct sqz_pickle_machine *m, bool quoted);

enum sqz_status sqz_pickle_memo_put(struct sqz_pickle_machine *m, uint64_t index);
enum sqz_status sqz_pickle_memo_get(struct sqz_pickle_machine *m, uint64_t index);

/* Run one opcode when it belongs to the group; *known tells whether it does. The last group knows them all. */
enum sqz_status sqz_pickle_step_scalar(struct sqz_pickle_machine *m, unsigned opcode, bool *known);
enum sqz_status sqz_pickle_step_object(struct sqz_pickle_machine *m, unsigned opcode);

#endif
