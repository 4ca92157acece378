/* libdeflate: whole buffers, no streams.
 *
 * It can't flush: what it writes ends with a final block. RFC 7692, 7.2.3.4 lets a
 * message end so when one byte 00 follows, the header of an empty stored block.
 */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0 };

/* An empty final block of fixed codes, which ends what a sync flush left open. */
static const uint8_t final_block[] = {0x03, 0x00};

static struct {
    void (*set_memory)(void *(*)(size_t), void (*)(void *));
    void *(*compressor)(int);
    size_t (*compress)(void *, const void *, size_t, void *, size_t);
    void (*free_compressor)(void *);
    void *(*decompressor)(void);
    int (*decompress)(void *, const void *, size_t, void *, size_t, size_t *);
    void (*free_decompressor)(void *);
} libdeflate;

static int load(void *handle)
{
    int missing =
        find(handle, "libdeflate_set_memory_allocator", &libdeflate.set_memory) |
        find(handle, "libdeflate_alloc_compressor", &libdeflate.compressor) |
        find(handle, "libdeflate_deflate_compress", &libdeflate.compress) |
        find(handle, "libdeflate_free_compressor", &libdeflate.free_compressor) |
        find(handle, "libdeflate_alloc_decompressor", &libdeflate.decompressor) |
        find(handle, "libdeflate_deflate_decompress", &libdeflate.decompress) |
        find(handle, "libdeflate_free_decompressor", &libdeflate.free_decompressor);
    if (!missing)
        libdeflate.set_memory(counted_malloc, free);
    return missing;
}

static const char *no_version(void)
{
    return NULL;
}

static void *open_deflate(const settings_t *settings)
{
    return libdeflate.compressor(settings->level);
}

static size_t deflate_message(void *stream, const uint8_t *from, size_t length,
                              uint8_t *to, size_t room)
{
    size_t made = libdeflate.compress(stream, from, length, to, room - 1);
    if (made == 0)
        return 0;
    to[made] = 0;
    return made + 1;
}

static void nothing(void *stream)
{
    (void)stream;
}

static void close_deflate(void *stream)
{
    libdeflate.free_compressor(stream);
}

static void *open_inflate(const settings_t *settings)
{
    (void)settings;
    return libdeflate.decompressor();
}

/* The input has to lie in one piece with its end: it is copied, as a server would. */
static size_t inflate_message(void *stream, const uint8_t *from, size_t length,
                              uint8_t *to, size_t room)
{
    static uint8_t whole[1 << 20];
    size_t made;
    if (length + sizeof final_block > sizeof whole)
        return 0;
    memcpy(whole, from, length);
    memcpy(whole + length, final_block, sizeof final_block);
    int status = libdeflate.decompress(stream, whole, length + sizeof final_block, to,
                                       room, &made);
    return status == SUCCESS ? made : 0;
}

static void close_inflate(void *stream)
{
    libdeflate.free_decompressor(stream);
}

const library_t libdeflate_library = {
    load,
    no_version,
    {open_deflate, deflate_message, nothing, close_deflate},
    {open_inflate, inflate_message, nothing, close_inflate},
};
