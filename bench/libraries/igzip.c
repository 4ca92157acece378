/* ISA-L's igzip: the streaming call, and the stateless one for whole messages. */
#include "harness.h"

#include <stdlib.h>

/* As much of ISA-L's structures as is used here, and room for the rest: in 2.30 they
 * have 82 384 and 87 368 bytes, and the caller allocates them. */
enum { DEFLATE_SIZE = 82384, INFLATE_SIZE = 87368, SPARE = 1024 };
enum { SYNC_FLUSH = 1, FULL_FLUSH = 2 };

/* The buffer that a level works with: its tables, and 16 Ki symbols of a block. */
static const uint32_t level_sizes[] = {0, 86016, 135168, 151552};
enum { LEVELS = sizeof level_sizes / sizeof *level_sizes };

typedef struct {
    uint8_t *next_in;
    uint32_t avail_in;
    uint32_t total_in;
    uint8_t *next_out;
    uint32_t avail_out;
    uint32_t total_out;
    void *huffman_tables;
    uint32_t level;
    uint32_t level_buffer_size;
    uint8_t *level_buffer;
    uint16_t end_of_stream;
    uint16_t flush;
    uint16_t gzip_flag;
    uint16_t history_bits;
    uint8_t internal[];
} deflate_t;

typedef struct {
    uint8_t *next_out;
    uint32_t avail_out;
    uint32_t total_out;
    uint8_t *next_in;
    uint64_t read_in;
    uint32_t avail_in;
    int32_t read_in_length;
    uint8_t internal[];
} inflate_t;

static struct {
    void (*deflate_init)(deflate_t *);
    void (*deflate_stateless_init)(deflate_t *);
    int (*deflate)(deflate_t *);
    int (*deflate_stateless)(deflate_t *);
    void (*deflate_reset)(deflate_t *);
    void (*inflate_init)(inflate_t *);
    int (*inflate)(inflate_t *);
    void (*inflate_reset)(inflate_t *);
} igzip;

static int load(void *handle)
{
    return find(handle, "isal_deflate_init", &igzip.deflate_init) |
           find(handle, "isal_deflate_stateless_init", &igzip.deflate_stateless_init) |
           find(handle, "isal_deflate", &igzip.deflate) |
           find(handle, "isal_deflate_stateless", &igzip.deflate_stateless) |
           find(handle, "isal_deflate_reset", &igzip.deflate_reset) |
           find(handle, "isal_inflate_init", &igzip.inflate_init) |
           find(handle, "isal_inflate", &igzip.inflate) |
           find(handle, "isal_inflate_reset", &igzip.inflate_reset);
}

static const char *no_version(void)
{
    return NULL;
}

static void close_deflate(void *opaque)
{
    deflate_t *stream = opaque;
    free(stream->level_buffer);
    free(stream);
}

static void *open_with(void (*init)(deflate_t *), const settings_t *settings, int flush)
{
    if (settings->level < 0 || settings->level >= LEVELS)
        return NULL;
    deflate_t *stream = counted_malloc(DEFLATE_SIZE + SPARE);
    if (stream == NULL)
        return NULL;
    init(stream);
    uint32_t size = level_sizes[settings->level];
    stream->level = (uint32_t)settings->level;
    stream->level_buffer_size = size;
    stream->level_buffer = size ? counted_malloc(size) : NULL;
    stream->history_bits = (uint16_t)settings->window_bits;
    stream->flush = (uint16_t)flush;
    if (size == 0 || stream->level_buffer != NULL)
        return stream;
    close_deflate(stream);
    return NULL;
}

static void *open_deflate(const settings_t *settings)
{
    return open_with(igzip.deflate_init, settings, SYNC_FLUSH);
}

static void *open_stateless(const settings_t *settings)
{
    return open_with(igzip.deflate_stateless_init, settings, FULL_FLUSH);
}

/* The bytes written, tail and all; 0 for a failure. */
static size_t bytes_by(int (*call)(deflate_t *), deflate_t *stream, const uint8_t *from,
                       size_t length, uint8_t *to, size_t room)
{
    stream->next_in = (uint8_t *)from;
    stream->avail_in = (uint32_t)length;
    stream->next_out = to;
    stream->avail_out = (uint32_t)room;
    return call(stream) == 0 && stream->avail_in == 0 ? room - stream->avail_out : 0;
}

static size_t deflate_message(void *stream, const uint8_t *from, size_t length,
                              uint8_t *to, size_t room)
{
    size_t made = bytes_by(igzip.deflate, stream, from, length, to, room);
    return has_tail(to, made) ? made - TAIL_SIZE : 0;
}

/* What does not shrink it stores, and then no flush follows: the header of an empty
 * stored block is left to us. (No message here ends like a flush.) */
static size_t stateless_message(void *stream, const uint8_t *from, size_t length,
                                uint8_t *to, size_t room)
{
    size_t made = bytes_by(igzip.deflate_stateless, stream, from, length, to, room - 1);
    if (has_tail(to, made))
        return made - TAIL_SIZE;
    if (made == 0)
        return 0;
    to[made] = 0;
    return made + 1;
}

static void reset_deflate(void *stream)
{
    igzip.deflate_reset(stream);
}

static void *open_inflate(const settings_t *settings)
{
    (void)settings;
    inflate_t *stream = counted_malloc(INFLATE_SIZE + SPARE);
    if (stream != NULL)
        igzip.inflate_init(stream);
    return stream;
}

static size_t inflate_message(void *opaque, const uint8_t *from, size_t length,
                              uint8_t *to, size_t room)
{
    inflate_t *stream = opaque;
    stream->next_in = (uint8_t *)from;
    stream->avail_in = (uint32_t)length;
    stream->next_out = to;
    stream->avail_out = (uint32_t)room;
    return igzip.inflate(stream) == 0 && stream->avail_in == 0
               ? room - stream->avail_out
               : 0;
}

static void reset_inflate(void *stream)
{
    igzip.inflate_reset(stream);
}

const library_t igzip_library = {
    load,
    no_version,
    {open_deflate, deflate_message, reset_deflate, close_deflate},
    {open_inflate, inflate_message, reset_inflate, free},
};

const library_t igzip_stateless_library = {
    load,
    no_version,
    {open_stateless, stateless_message, reset_deflate, close_deflate},
    {open_inflate, inflate_message, reset_inflate, free},
};
