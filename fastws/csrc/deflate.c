#include "deflate.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "zlib_library.h"

const uint8_t fastws_deflate_tail[4] = {0x00, 0x00, 0xFF, 0xFF};

enum {
    TAIL = 4,
    /* One call of zlib takes an unsigned int; a message may be longer. */
    MOST_AT_ONCE = 1 << 30,
};

struct fastws_deflater {
    fastws_z_stream stream;
    int is_fresh; /* no context: nothing was compressed since the last reset */
};

struct fastws_inflater {
    fastws_z_stream stream;
    /* zlib lets a match reach behind the window into what the same call has written.
     * A sixteenth of a window per call keeps that from becoming much. */
    size_t step;
};

static const fastws_zlib *zlib;

int fastws_deflate_available(void)
{
    if (zlib == NULL) {
        zlib = fastws_zlib_load();
    }
    return zlib != NULL;
}

static size_t step_of(int window_bits)
{
    /* No match reaches behind the largest window. */
    return window_bits < FASTWS_WINDOW_BITS_MAX ? (size_t)1 << (window_bits - 4)
                                                : MOST_AT_ONCE;
}

static unsigned int at_once(size_t length)
{
    return length < MOST_AT_ONCE ? (unsigned int)length : MOST_AT_ONCE;
}

/* --- compressing ------------------------------------------------------------- */

fastws_deflater *fastws_deflater_new(int level, int window_bits, int memory_level)
{
    fastws_deflater *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    if (zlib->deflate_init(&self->stream, level, FASTWS_Z_DEFLATED, -window_bits,
                           memory_level, FASTWS_Z_DEFAULT_STRATEGY, zlib->version(),
                           (int)sizeof self->stream) != FASTWS_Z_OK) {
        free(self);
        return NULL;
    }
    self->is_fresh = 1;
    return self;
}

void fastws_deflater_free(fastws_deflater *self)
{
    if (self != NULL) {
        zlib->deflate_end(&self->stream);
        free(self);
    }
}

size_t fastws_deflate_bound(size_t length)
{
    /* What can't be compressed is stored, in blocks with 5 bytes of header, of which the
     * smallest memory level cuts one every 127 bytes. A block that is longer than the
     * window can't be stored: its literals have up to 9 bits. The flush adds a few more
     * bytes. */
    return length + length / 8 + length / 64 + 32;
}

void fastws_deflater_reset(fastws_deflater *self)
{
    if (!self->is_fresh) {
        zlib->deflate_reset(&self->stream);
        self->is_fresh = 1;
    }
}

size_t fastws_deflate_message(fastws_deflater *self, const uint8_t *data, size_t length,
                              uint8_t *out, size_t room, int keep_context)
{
    fastws_z_stream *stream = &self->stream;
    size_t written = 0;
    if (!keep_context) {
        fastws_deflater_reset(self);
    }
    if (length == 0) {
        /* Behind a flush zlib has nothing to flush: the empty block by itself. */
        if (room > 0) {
            out[0] = 0x00;
        }
        return room > 0;
    }
    self->is_fresh = 0;
    stream->next_in = data;
    stream->avail_in = at_once(length);
    length -= stream->avail_in;
    for (;;) {
        stream->next_out = out + written;
        stream->avail_out = at_once(room - written);
        unsigned int had = stream->avail_out;
        int is_last = length == 0;
        int result =
            zlib->deflate(stream, is_last ? FASTWS_Z_SYNC_FLUSH : FASTWS_Z_NO_FLUSH);
        written += had - stream->avail_out;
        if (result != FASTWS_Z_OK && result != FASTWS_Z_BUF_ERROR) {
            break;
        }
        if (stream->avail_out == 0) {
            if (written == room) {
                break;
            }
            continue;
        }
        if (stream->avail_in == 0) {
            if (is_last) {
                return written - TAIL;
            }
            stream->avail_in = at_once(length);
            length -= stream->avail_in;
        }
    }
    /* Not in room: what the stream still holds must not get into the next message. */
    zlib->deflate_reset(stream);
    self->is_fresh = 1;
    return 0;
}

/* --- inflating --------------------------------------------------------------- */

fastws_inflater *fastws_inflater_new(int window_bits)
{
    fastws_inflater *self = calloc(1, sizeof *self);
    if (self == NULL) {
        return NULL;
    }
    if (zlib->inflate_init(&self->stream, -window_bits, zlib->version(),
                           (int)sizeof self->stream) != FASTWS_Z_OK) {
        free(self);
        return NULL;
    }
    self->step = step_of(window_bits);
    return self;
}

void fastws_inflater_free(fastws_inflater *self)
{
    if (self != NULL) {
        zlib->inflate_end(&self->stream);
        free(self);
    }
}

int fastws_inflater_reset(fastws_inflater *self, int window_bits)
{
    if (zlib->inflate_reset(&self->stream, -window_bits) != FASTWS_Z_OK) {
        return -1;
    }
    self->step = step_of(window_bits);
    return 0;
}

int fastws_inflate(fastws_inflater *self, const uint8_t **data, size_t *length,
                   uint8_t **out, size_t *room)
{
    fastws_z_stream *stream = &self->stream;
    for (;;) {
        stream->next_in = *data;
        stream->avail_in = at_once(*length);
        stream->next_out = *out;
        stream->avail_out = (unsigned int)(*room < self->step ? *room : self->step);
        int result = zlib->inflate(stream, FASTWS_Z_SYNC_FLUSH);
        size_t used = (size_t)(stream->next_in - *data);
        size_t written = (size_t)(stream->next_out - *out);
        *data += used;
        *length -= used;
        *out += written;
        *room -= written;
        if (result == FASTWS_Z_STREAM_END) {
            /* A block with BFINAL set ends zlib's stream, not the message (section
             * 7.2.3.4): go on behind it, with the window as it is. */
            if (zlib->inflate_reset_keep(stream) != FASTWS_Z_OK) {
                return FASTWS_INFLATE_CORRUPT;
            }
            if (*length == 0) {
                return FASTWS_INFLATE_ENDED;
            }
            continue;
        }
        if (result == FASTWS_Z_MEM_ERROR) {
            return FASTWS_INFLATE_MEMORY;
        }
        if (result != FASTWS_Z_OK && result != FASTWS_Z_BUF_ERROR) {
            return FASTWS_INFLATE_CORRUPT;
        }
        if (*room == 0) {
            return FASTWS_INFLATE_FULL;
        }
        if (*length == 0 && stream->avail_out > 0) {
            return FASTWS_INFLATE_DONE;
        }
        if (used == 0 && written == 0) {
            return FASTWS_INFLATE_CORRUPT;
        }
    }
}

int fastws_inflater_is_complete(const fastws_inflater *self)
{
    /* zlib.h, inflate(): 128 right behind a block, the low bits count the bits of the
     * last byte that are still to be read. */
    return (self->stream.data_type & 128) != 0 && (self->stream.data_type & 63) == 0;
}
