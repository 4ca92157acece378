/* One way of calling every deflate library, and the clock around it (see native.py).
 *
 * A library is a pair of coders. A coder does one message per call, as RFC 7692 puts it
 * into frames: without the four bytes 00 00 ff ff that end a sync flush.
 */
#ifndef FASTWS_BENCH_LIBRARIES_HARNESS_H
#define FASTWS_BENCH_LIBRARIES_HARNESS_H

#include <stddef.h>
#include <stdint.h>

/* What every sync flush ends with and no message carries. */
enum { TAIL_SIZE = 4 };

typedef struct {
    int level;
    int window_bits;
    int memory_level; /* zlib's; the others ignore it */
} settings_t;

typedef struct {
    /* NULL: the library does not take these settings. */
    void *(*open)(const settings_t *settings);
    /* One whole message; the bytes written, 0 for a failure. */
    size_t (*run)(void *stream, const uint8_t *from, size_t length, uint8_t *to,
                  size_t room);
    /* Forgets the context. */
    void (*reset)(void *stream);
    void (*close)(void *stream);
} coder_t;

typedef struct {
    /* Finds the functions; -1: one is missing. */
    int (*load)(void *handle);
    /* NULL when the library does not tell. */
    const char *(*version)(void);
    coder_t deflate;
    coder_t inflate;
} library_t;

/* Many messages behind each other. */
typedef struct {
    const uint8_t *data;
    const size_t *ends; /* of each message in data */
    size_t count;
    size_t span; /* messages until the context is forgotten */
    uint8_t *out;
    size_t room;
    size_t *out_ends;
    size_t memory; /* answer: bytes that the stream holds */
} batch_t;

extern const library_t zlib_library, zlib_ng_library;
extern const library_t igzip_library, igzip_stateless_library;
extern const library_t libdeflate_library;

/* Memory for a stream, counted. */
void *counted_malloc(size_t size);

/* The function of this name; -1 when the library has none. */
int find(void *handle, const char *name, void *function);

/* Whether the last bytes are those of a sync flush. */
int has_tail(const uint8_t *data, size_t length);

/* The rest is for Python. `library` is a number in the order above.
 * Loads the file; NULL or what is wrong. */
const char *harness_load(int library, const char *path);

const char *harness_version(int library);

/* Deflates or inflates the batch. Nanoseconds of this thread's processor time; -1: the
 * library does not take the settings, -2: it failed. Inflating wants the tails. */
long harness_run(int library, int inflates, const settings_t *settings, batch_t *batch);

#endif
