/* zlib's C interface, found in the running process or on the machine at run time.
 *
 * CPython brings the library with it nearly everywhere, but its header and link name
 * come in a development package. zlib has kept this interface binary compatible since
 * 1.2.0, and its init functions compare version and structure size themselves.
 */
#ifndef FASTWS_ZLIB_LIBRARY_H
#define FASTWS_ZLIB_LIBRARY_H

#include <stdint.h>

enum {
    FASTWS_Z_NO_FLUSH = 0,
    FASTWS_Z_SYNC_FLUSH = 2,
    FASTWS_Z_FULL_FLUSH = 3,
    FASTWS_Z_OK = 0,
    FASTWS_Z_STREAM_END = 1,
    FASTWS_Z_MEM_ERROR = -4,
    FASTWS_Z_BUF_ERROR = -5,
    FASTWS_Z_DEFLATED = 8,
    FASTWS_Z_DEFAULT_STRATEGY = 0,
};

/* z_stream, field by field. */
typedef struct {
    const uint8_t *next_in;
    unsigned int avail_in;
    unsigned long total_in;
    uint8_t *next_out;
    unsigned int avail_out;
    unsigned long total_out;
    const char *msg;
    void *state;
    void *(*zalloc)(void *opaque, unsigned int items, unsigned int size);
    void (*zfree)(void *opaque, void *address);
    void *opaque;
    int data_type;
    unsigned long adler;
    unsigned long reserved;
} fastws_z_stream;

typedef struct {
    const char *(*version)(void);
    int (*deflate_init)(fastws_z_stream *stream, int level, int method, int window_bits,
                        int memory_level, int strategy, const char *version, int size);
    int (*deflate)(fastws_z_stream *stream, int flush);
    int (*deflate_reset)(fastws_z_stream *stream);
    int (*deflate_end)(fastws_z_stream *stream);
    int (*inflate_init)(fastws_z_stream *stream, int window_bits, const char *version,
                        int size);
    int (*inflate)(fastws_z_stream *stream, int flush);
    int (*inflate_reset)(fastws_z_stream *stream, int window_bits);
    int (*inflate_reset_keep)(fastws_z_stream *stream);
    int (*inflate_end)(fastws_z_stream *stream);
} fastws_zlib;

/* NULL when this machine has no zlib. The first call must not run beside another. */
const fastws_zlib *fastws_zlib_load(void);

#endif
