/* zlib, and zlib-ng by its native API. */
#include "../../fastws/csrc/zlib_library.h"
#include "harness.h"

#include <stdlib.h>

/* zlib-ng has its own stream structure. Where a long has 64 bits, as on every system
 * that this runs on, the fields used here lie at the same places, and it is shorter. */
_Static_assert(sizeof(unsigned long) == 8, "zng_stream is laid out differently here");

typedef struct {
    const char *(*version)(void);
    int (*deflate_open)(fastws_z_stream *, int, int, int, int, int, const char *, int);
    int (*native_deflate_open)(fastws_z_stream *, int, int, int, int, int);
    int (*deflate)(fastws_z_stream *, int);
    int (*deflate_reset)(fastws_z_stream *);
    int (*deflate_close)(fastws_z_stream *);
    int (*inflate_open)(fastws_z_stream *, int, const char *, int);
    int (*native_inflate_open)(fastws_z_stream *, int);
    int (*inflate)(fastws_z_stream *, int);
    int (*inflate_reset)(fastws_z_stream *);
    int (*inflate_close)(fastws_z_stream *);
} functions_t;

typedef struct {
    fastws_z_stream z;
    const functions_t *with;
} stream_t;

static functions_t classic, next;

static int load_classic(void *handle)
{
    return find(handle, "zlibVersion", &classic.version) |
           find(handle, "deflateInit2_", &classic.deflate_open) |
           find(handle, "deflate", &classic.deflate) |
           find(handle, "deflateReset", &classic.deflate_reset) |
           find(handle, "deflateEnd", &classic.deflate_close) |
           find(handle, "inflateInit2_", &classic.inflate_open) |
           find(handle, "inflate", &classic.inflate) |
           find(handle, "inflateReset", &classic.inflate_reset) |
           find(handle, "inflateEnd", &classic.inflate_close);
}

static int load_next(void *handle)
{
    return find(handle, "zlibng_version", &next.version) |
           find(handle, "zng_deflateInit2", &next.native_deflate_open) |
           find(handle, "zng_deflate", &next.deflate) |
           find(handle, "zng_deflateReset", &next.deflate_reset) |
           find(handle, "zng_deflateEnd", &next.deflate_close) |
           find(handle, "zng_inflateInit2", &next.native_inflate_open) |
           find(handle, "zng_inflate", &next.inflate) |
           find(handle, "zng_inflateReset", &next.inflate_reset) |
           find(handle, "zng_inflateEnd", &next.inflate_close);
}

static const char *version_classic(void)
{
    return classic.version();
}

static const char *version_next(void)
{
    return next.version();
}

static void *allocate(void *opaque, unsigned items, unsigned size)
{
    (void)opaque;
    return counted_malloc((size_t)items * size);
}

static void release(void *opaque, void *memory)
{
    (void)opaque;
    free(memory);
}

static stream_t *stream_with(const functions_t *with)
{
    stream_t *stream = calloc(1, sizeof *stream);
    if (stream != NULL) {
        stream->z.zalloc = allocate;
        stream->z.zfree = release;
        stream->with = with;
    }
    return stream;
}

static void *opened(stream_t *stream, int status)
{
    if (status == FASTWS_Z_OK)
        return stream;
    free(stream);
    return NULL;
}

static void *open_deflate_classic(const settings_t *settings)
{
    stream_t *stream = stream_with(&classic);
    return opened(stream, stream == NULL
                              ? FASTWS_Z_MEM_ERROR
                              : classic.deflate_open(
                                    &stream->z, settings->level, FASTWS_Z_DEFLATED,
                                    -settings->window_bits, settings->memory_level,
                                    FASTWS_Z_DEFAULT_STRATEGY, classic.version(),
                                    sizeof(fastws_z_stream)));
}

static void *open_deflate_next(const settings_t *settings)
{
    stream_t *stream = stream_with(&next);
    return opened(stream, stream == NULL
                              ? FASTWS_Z_MEM_ERROR
                              : next.native_deflate_open(
                                    &stream->z, settings->level, FASTWS_Z_DEFLATED,
                                    -settings->window_bits, settings->memory_level,
                                    FASTWS_Z_DEFAULT_STRATEGY));
}

static void *open_inflate_classic(const settings_t *settings)
{
    stream_t *stream = stream_with(&classic);
    return opened(stream, stream == NULL ? FASTWS_Z_MEM_ERROR
                                         : classic.inflate_open(
                                               &stream->z, -settings->window_bits,
                                               classic.version(),
                                               sizeof(fastws_z_stream)));
}

static void *open_inflate_next(const settings_t *settings)
{
    stream_t *stream = stream_with(&next);
    return opened(stream, stream == NULL ? FASTWS_Z_MEM_ERROR
                                         : next.native_inflate_open(
                                               &stream->z, -settings->window_bits));
}

static void give(fastws_z_stream *z, const uint8_t *from, size_t length, uint8_t *to,
                 size_t room)
{
    z->next_in = (uint8_t *)from;
    z->avail_in = (unsigned int)length;
    z->next_out = to;
    z->avail_out = (unsigned int)room;
}

static size_t deflate_message(void *opaque, const uint8_t *from, size_t length,
                              uint8_t *to, size_t room)
{
    stream_t *stream = opaque;
    give(&stream->z, from, length, to, room);
    if (stream->with->deflate(&stream->z, FASTWS_Z_SYNC_FLUSH) != FASTWS_Z_OK ||
        stream->z.avail_in != 0)
        return 0;
    size_t made = room - stream->z.avail_out;
    return has_tail(to, made) ? made - TAIL_SIZE : 0;
}

static size_t inflate_message(void *opaque, const uint8_t *from, size_t length,
                              uint8_t *to, size_t room)
{
    stream_t *stream = opaque;
    give(&stream->z, from, length, to, room);
    int status = stream->with->inflate(&stream->z, FASTWS_Z_SYNC_FLUSH);
    if (status != FASTWS_Z_OK || stream->z.avail_in != 0)
        return 0;
    return room - stream->z.avail_out;
}

static void reset_deflate(void *opaque)
{
    stream_t *stream = opaque;
    stream->with->deflate_reset(&stream->z);
}

static void reset_inflate(void *opaque)
{
    stream_t *stream = opaque;
    stream->with->inflate_reset(&stream->z);
}

static void close_deflate(void *opaque)
{
    stream_t *stream = opaque;
    stream->with->deflate_close(&stream->z);
    free(stream);
}

static void close_inflate(void *opaque)
{
    stream_t *stream = opaque;
    stream->with->inflate_close(&stream->z);
    free(stream);
}

const library_t zlib_library = {
    load_classic,
    version_classic,
    {open_deflate_classic, deflate_message, reset_deflate, close_deflate},
    {open_inflate_classic, inflate_message, reset_inflate, close_inflate},
};

const library_t zlib_ng_library = {
    load_next,
    version_next,
    {open_deflate_next, deflate_message, reset_deflate, close_deflate},
    {open_inflate_next, inflate_message, reset_inflate, close_inflate},
};
