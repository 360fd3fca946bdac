/* kernels.h - the compute kernels of the engine: what each is told, and the one list that drives dispatch and tests. */
#ifndef SQZ_EVAL_KERNELS_H
#define SQZ_EVAL_KERNELS_H

#include "eval/engine.h"

/*
 * How a value lies in memory. With L the lanes of the instruction set (16 for
 * AVX-512, 8 for AVX2):
 * PLAIN    [c][h][w], one image
 * BLOCKED  [c / L rounded up][h][w][L], one image; lanes beyond c hold anything
 * BATCH    [features / L rounded up][max_batch][L], all images at once; what dense layers take
 * A kernel that takes ANY works on numbers one by one and keeps the layout.
 */
enum sqz_layout { SQZ_LAYOUT_PLAIN, SQZ_LAYOUT_BLOCKED, SQZ_LAYOUT_BATCH, SQZ_LAYOUT_ANY };

#define SQZ_MAX_PHASES 2

struct sqz_kernel;

/* What a kernel computes from. */
enum sqz_form {
    SQZ_FORM_FLOATS,   /* every weight as a float */
    SQZ_FORM_CODEBOOK, /* every weight as a few bits that number a value */
    SQZ_FORM_SPARSE,   /* floats, but only those that are not zero */
};

/* What is known of a layer's weights when its kernel is chosen. */
struct sqz_weight_facts {
    size_t n_values; /* that packed weights can have, zero among them if one is; 0: they are plain floats */
    int first_level; /* level of the first of these values */
    bool has_steps;  /* each value is multiplied by a step of the output channel */
    size_t n_nonzero;
    double density; /* share of weights that are not zero */
};

/* The weights themselves, as pack() finds them. */
struct sqz_weight_values {
    const float *kernel; /* [out][in/groups][kh][kw]; NULL for a kernel of the CODEBOOK form */
    const float *bias;   /* [out], or NULL for zeros */
    /* For the CODEBOOK form alone: weight i is values[levels[i] - facts.first_level], times steps[output channel]. */
    const int16_t *levels;
    const float *values; /* [n_values] */
    const float *steps;  /* [out], or NULL for ones */
};

/* One step of a plan as its kernel sees it. */
struct sqz_layer {
    /* What to compute; one image, so each shape's dim[0] is 1. */
    enum sqz_op op;
    union sqz_params params;
    size_t n_inputs;
    const struct sqz_shape *in; /* [n_inputs] */
    struct sqz_shape out;
    size_t in_c, in_h, in_w, out_c, out_h, out_w; /* of the first input and the output; [n][f] has h = w = 1 */
    bool has_bias;
    struct sqz_weight_facts weights;
    float low, high;  /* the result is clamped to [low, high]: a fused ReLU or Clip; infinite when there is none */
    size_t max_batch; /* images of the BATCH layout */
    /* A maximum pooling behind a convolution that its kernel does as well; out_h and out_w are behind it. */
    bool pooled;
    struct sqz_window pool;
    size_t conv_h, conv_w; /* before the pooling; equal to out_h and out_w without one */
    size_t flat_count;     /* numbers in the output, for kernels of ANY layout */

    /* How the kernel shares it out; set by its prepare(). Counts are floats. */
    unsigned n_phases;
    size_t items[SQZ_MAX_PHASES]; /* independent pieces of work in each phase */
    size_t pack_items;            /* independent pieces of packing */
    size_t weight_count;          /* packed weights and bias */
    size_t shared_count;          /* scratch that the phases of one run hand on */
    size_t local_count;           /* scratch of one piece of work */
    double cost;                  /* estimated time in units of one vector multiply-add */
    size_t part[12];              /* the kernel's own numbers */
};

/* Memory of one run of a step. */
struct sqz_io {
    const float *const *in; /* [n_inputs] in the kernel's input layout */
    float *out;
    const float *weights; /* as pack() left them */
    float *shared;        /* [shared_count] */
    size_t images;        /* images in the BATCH layout; 1 otherwise */
};

struct sqz_kernel {
    const char *name;
    enum sqz_isa isa;
    enum sqz_layout in, out;
    size_t lanes; /* L of the layouts above */
    enum sqz_form form;
    bool pools; /* takes convolutions with a pooling behind them, and only these */
    /* Fill in the second half of *layer; false when this kernel cannot compute it. */
    bool (*prepare)(struct sqz_layer *layer);
    /* Bring piece `item` of the weights into the kernel's order. */
    void (*pack)(const struct sqz_layer *layer, const struct sqz_weight_values *weights, float *packed, size_t item);
    /* Do piece `item` of a phase; local is 64-byte aligned scratch of this call alone. */
    void (*run)(const struct sqz_layer *layer, const struct sqz_io *io, unsigned phase, size_t item, float *local);
};

/*
 * Every kernel: X(name, isa). Its descriptor is sqz_kernel_NAME_ISA. The plan
 * takes the cheapest that accepts a layer; `reference` accepts every one.
 */
#define SQZ_KERNEL_LIST(X)                                                                                             \
    X(codebook_dense, avx512)                                                                                          \
    X(codebook_pointwise, avx512)                                                                                      \
    X(codebook_direct, avx512)                                                                                         \
    X(codebook_winograd, avx512)                                                                                       \
    X(codebook_winograd8, avx512)                                                                                      \
    X(sparse_conv, avx512)                                                                                             \
    X(conv_pointwise, avx512)                                                                                          \
    X(conv_winograd, avx512)                                                                                           \
    X(conv_winograd8, avx512)                                                                                          \
    X(conv_direct, avx512)                                                                                             \
    X(conv_image, avx512)                                                                                              \
    X(conv_image_pool, avx512)                                                                                         \
    X(conv_depthwise, avx512)                                                                                          \
    X(dense, avx512)                                                                                                   \
    X(pool, avx512)                                                                                                    \
    X(lrn, avx512)                                                                                                     \
    X(codebook_dense, avx2)                                                                                            \
    X(codebook_pointwise, avx2)                                                                                        \
    X(codebook_direct, avx2)                                                                                           \
    X(codebook_winograd, avx2)                                                                                         \
    X(codebook_winograd8, avx2)                                                                                        \
    X(sparse_conv, avx2)                                                                                               \
    X(conv_pointwise, avx2)                                                                                            \
    X(conv_winograd, avx2)                                                                                             \
    X(conv_winograd8, avx2)                                                                                            \
    X(conv_direct, avx2)                                                                                               \
    X(conv_image, avx2)                                                                                                \
    X(conv_image_pool, avx2)                                                                                           \
    X(conv_depthwise, avx2)                                                                                            \
    X(dense, avx2)                                                                                                     \
    X(pool, avx2)                                                                                                      \
    X(lrn, avx2)                                                                                                       \
    X(codebook_dense, neon)                                                                                            \
    X(codebook_pointwise, neon)                                                                                        \
    X(codebook_direct, neon)                                                                                           \
    X(codebook_winograd, neon)                                                                                         \
    X(codebook_winograd8, neon)                                                                                        \
    X(sparse_conv, neon)                                                                                               \
    X(conv_pointwise, neon)                                                                                            \
    X(conv_winograd, neon)                                                                                             \
    X(conv_winograd8, neon)                                                                                            \
    X(conv_direct, neon)                                                                                               \
    X(conv_image, neon)                                                                                                \
    X(conv_image_pool, neon)                                                                                           \
    X(conv_depthwise, neon)                                                                                            \
    X(dense, neon)                                                                                                     \
    X(pool, neon)                                                                                                      \
    X(lrn, neon)                                                                                                       \
    X(elementwise, scalar)                                                                                             \
    X(reference, scalar)

#if defined(__x86_64__)
#define SQZ_HAVE_X86_KERNELS 1
#endif
#if defined(__aarch64__)
#define SQZ_HAVE_NEON_KERNELS 1
#endif

/* All kernels of this build, in the order of the list. */
extern const struct sqz_kernel *const sqz_kernels[];
extern const size_t sqz_n_kernels;

/* The oracle: plain loops on plain layout, sums in double. */
extern const struct sqz_kernel sqz_kernel_reference_scalar;

/* Lanes of an instruction set's blocked layout; 1 for scalar. */
size_t sqz_isa_lanes(enum sqz_isa isa);

/* What the caller of a session asked for, and the level it runs at. */
struct sqz_wish {
    enum sqz_isa isa;
    enum sqz_engine engine;
    enum sqz_resident resident;
};

/*
 * The kernel for the layer, and *layer prepared for it: of those that take it
 * and have the wanted form, the cheapest one (with SQZ_RESIDENT_PACKED, that
 * of the fewest bytes). NULL when none takes it. *reason (may be NULL) says
 * in a clause what decided.
 */
const struct sqz_kernel *sqz_kernel_choose(struct sqz_layer *layer, const struct sqz_wish *wish, const char **reason);

/* Set in_c .. out_w, conv_h and conv_w from the shapes. */
void sqz_layer_set_sizes(struct sqz_layer *layer);

/* Is the layer one that has a kernel weight and so a pack()? */
static inline bool sqz_op_is_packed(enum sqz_op op) {
    return op == SQZ_OP_CONV || op == SQZ_OP_DENSE || op == SQZ_OP_SCALE;
}

static inline size_t sqz_round_up(size_t n, size_t unit) {
    return (n + unit - 1) / unit * unit;
}

static inline size_t sqz_divide_up(size_t n, size_t unit) {
    return (n + unit - 1) / unit;
}

/* Part `index` of n split evenly into `parts`: begins here, the part's end is the next one's begin. */
static inline size_t sqz_part_begin(size_t n, size_t parts, size_t index) {
    return n * index / parts;
}

#endif
