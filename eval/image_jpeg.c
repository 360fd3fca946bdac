/* image_jpeg.c - JPEG decoding through libjpeg. */
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "eval/image_parts.h"

/* Real progressive files have about ten scans; each one beyond costs a pass over the whole image for a few bytes. */
#define MAX_SCANS 500

/* One decoding. Lives outside the function that calls setjmp(), so its fields survive longjmp(). */
struct jpeg_job {
    struct jpeg_decompress_struct codec;
    struct jpeg_error_mgr errors;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    jmp_buf escape;
    size_t nbytes;
    struct sqz_image image;
    unsigned *orientation;
    struct sqz_error *err;
    enum sqz_status status;
};

_Noreturn static void escape_with(struct jpeg_job *job, enum sqz_status status) {
    job->status = status;
    longjmp(job->escape, 1);
}

static void on_error(j_common_ptr codec) {
    struct jpeg_job *job = codec->client_data;
    char text[JMSG_LENGTH_MAX];
    codec->err->format_message(codec, text);
    enum sqz_status status = SQZ_BAD_IMAGE;
    if (codec->err->msg_code == JERR_OUT_OF_MEMORY) status = SQZ_OUT_OF_MEMORY;
    if (codec->err->msg_code == JERR_IMAGE_TOO_BIG) status = SQZ_LIMIT;
    escape_with(job, sqz_fail(job->err, status, "the JPEG data cannot be decoded: %s", text));
}

static void on_message(j_common_ptr codec, int level) {
    /* Warnings about corrupt but decodable data are passed over, as Pillow passes over them. */
    (void)codec;
    (void)level;
}

static void on_scan_progress(j_common_ptr codec) {
    struct jpeg_job *job = codec->client_data;
    if (job->codec.input_scan_number > MAX_SCANS)
        escape_with(job, sqz_fail(job->err, SQZ_LIMIT, "the JPEG file has more than %d scans", MAX_SCANS));
}

static void source_nothing(j_decompress_ptr codec) {
    (void)codec;
}

/* The whole file is there from the start, so a wish for more means that it was cut off. */
static boolean source_exhausted(j_decompress_ptr codec) {
    struct jpeg_job *job = codec->client_data;
    escape_with(job,
                sqz_fail(job->err, SQZ_BAD_IMAGE,
                         "the JPEG file is truncated: it ends at byte %zu before its image is complete", job->nbytes));
}

static void source_skip(j_decompress_ptr codec, long n) {
    if (n <= 0) return;
    if ((size_t)n > codec->src->bytes_in_buffer) source_exhausted(codec);
    codec->src->next_input_byte += n;
    codec->src->bytes_in_buffer -= (size_t)n;
}

static unsigned find_orientation(const struct jpeg_decompress_struct *codec) {
    static const char prefix[] = "Exif\0"; /* with the literal's own NUL: "Exif" and two zero bytes */
    for (jpeg_saved_marker_ptr m = codec->marker_list; m; m = m->next)
        if (m->marker == JPEG_APP0 + 1 && m->data_length > sizeof prefix && memcmp(m->data, prefix, sizeof prefix) == 0)
            return sqz_exif_orientation(m->data + sizeof prefix, m->data_length - sizeof prefix);
    return 1;
}

/*
 * Every 8x8 block costs at least one bit of a Huffman-coded scan, so a header
 * that promises far more blocks than the file has bits is a bomb or a stump.
 * Only the smallest component counts: later scans may be missing altogether.
 */
static void check_promise(struct jpeg_job *job) {
    const struct jpeg_decompress_struct *codec = &job->codec;
    if (codec->arith_code) return;
    uint64_t fewest = UINT64_MAX;
    for (int i = 0; i < codec->num_components; i++) {
        uint64_t blocks = (uint64_t)codec->comp_info[i].width_in_blocks * codec->comp_info[i].height_in_blocks;
        if (blocks < fewest) fewest = blocks;
    }
    if (fewest / 8 > job->nbytes)
        escape_with(job,
                    sqz_fail(job->err, SQZ_BAD_IMAGE,
                             "the JPEG file is truncated: %zu bytes cannot hold the %u x %u pixels that it promises",
                             job->nbytes, codec->image_width, codec->image_height));
}

/* Pillow's CMYK to RGB for the inverted values that Adobe writes: 255 is no ink. */
static void inverted_cmyk_to_rgb(const uint8_t *cmyk, size_t n, uint8_t *rgb) {
    for (size_t i = 0; i < n; i++, cmyk += 4, rgb += 3) {
        unsigned light = cmyk[3];
        for (size_t c = 0; c < 3; c++) {
            unsigned product = (255u - cmyk[c]) * light + 128; /* divided by 255 with rounding, without a division */
            unsigned ink = (product + (product >> 8)) >> 8;
            rgb[c] = (uint8_t)(light - ink);
        }
    }
}

static void read_header(struct jpeg_job *job) {
    struct jpeg_decompress_struct *codec = &job->codec;
    if (job->orientation) jpeg_save_markers(codec, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(codec, TRUE);
    enum sqz_status status = sqz_image_check_size(codec->image_width, codec->image_height, job->err);
    if (status != SQZ_OK) escape_with(job, status);
    check_promise(job);
    if (codec->num_components == 1)
        codec->out_color_space = JCS_GRAYSCALE;
    else if (codec->num_components == 3)
        codec->out_color_space = JCS_RGB;
    else if (codec->num_components == 4)
        codec->out_color_space = JCS_CMYK;
    else
        escape_with(job, sqz_fail(job->err, SQZ_BAD_IMAGE, "the JPEG image has %d colour components, not 1, 3 or 4",
                                  codec->num_components));
    if (job->orientation) *job->orientation = find_orientation(codec);
}

static void read_rows(struct jpeg_job *job) {
    struct jpeg_decompress_struct *codec = &job->codec;
    uint32_t width = codec->output_width, channels = codec->num_components == 1 ? 1 : 3;
    enum sqz_status status = sqz_image_new(width, codec->output_height, channels, &job->image, job->err);
    if (status != SQZ_OK) escape_with(job, status);
    JSAMPARRAY inks = NULL; /* one row of CMYK, released with the codec */
    if (codec->num_components == 4) inks = codec->mem->alloc_sarray((j_common_ptr)codec, JPOOL_IMAGE, width * 4, 1);
    while (codec->output_scanline < codec->output_height) {
        JSAMPROW row = job->image.pixels + (size_t)codec->output_scanline * width * channels;
        jpeg_read_scanlines(codec, inks ? inks : &row, 1);
        if (inks) inverted_cmyk_to_rgb(inks[0], width, row);
    }
}

static enum sqz_status run(struct jpeg_job *job) {
    if (setjmp(job->escape)) return job->status;
    jpeg_create_decompress(&job->codec);
    job->codec.src = &job->source;
    job->codec.progress = &job->progress;
    read_header(job);
    jpeg_start_decompress(&job->codec);
    read_rows(job);
    jpeg_finish_decompress(&job->codec); /* reads up to the end marker, which shows that the file is whole */
    return SQZ_OK;
}

enum sqz_status sqz_jpeg_decode(const uint8_t *data, size_t nbytes, struct sqz_image *out, unsigned *orientation,
                                struct sqz_error *err) {
    struct jpeg_job job = {.nbytes = nbytes, .orientation = orientation, .err = err};
    job.codec.err = jpeg_std_error(&job.errors);
    job.codec.client_data = &job;
    job.errors.error_exit = on_error;
    job.errors.emit_message = on_message;
    job.source = (struct jpeg_source_mgr){.next_input_byte = data,
                                          .bytes_in_buffer = nbytes,
                                          .init_source = source_nothing,
                                          .fill_input_buffer = source_exhausted,
                                          .skip_input_data = source_skip,
                                          .resync_to_restart = jpeg_resync_to_restart,
                                          .term_source = source_nothing};
    job.progress.progress_monitor = on_scan_progress;
    enum sqz_status status = run(&job);
    jpeg_destroy_decompress(&job.codec);
    if (status == SQZ_OK)
        *out = job.image;
    else
        sqz_image_free(&job.image);
    return status;
}
