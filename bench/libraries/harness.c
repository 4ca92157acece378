#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "harness.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { REFUSED = -1, FAILED = -2 };

static const library_t *const libraries[] = {
    &zlib_library,
    &zlib_ng_library,
    &igzip_library,
    &igzip_stateless_library,
    &libdeflate_library,
};

static size_t counted;

void *counted_malloc(size_t size)
{
    counted += size;
    return malloc(size);
}

int find(void *handle, const char *name, void *function)
{
    void *found = dlsym(handle, name);
    memcpy(function, &found, sizeof found);
    return found == NULL ? -1 : 0;
}

int has_tail(const uint8_t *data, size_t length)
{
    return length >= TAIL_SIZE &&
           memcmp(data + length - TAIL_SIZE, "\x00\x00\xff\xff", TAIL_SIZE) == 0;
}

const char *harness_load(int library, const char *path)
{
    /* Lazily: a Python extension wants names of Python that only it calls. */
    void *handle = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (handle == NULL)
        return dlerror();
    return libraries[library]->load(handle) ? "a function is missing" : NULL;
}

const char *harness_version(int library)
{
    return libraries[library]->version();
}

/* Processor time: what other programs take in between does not count. */
static long now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return at.tv_sec * 1000000000L + at.tv_nsec;
}

static int run(const coder_t *coder, void *stream, batch_t *batch)
{
    size_t start = 0, written = 0;
    for (size_t number = 0; number < batch->count; number++) {
        size_t end = batch->ends[number];
        size_t made = coder->run(stream, batch->data + start, end - start,
                                 batch->out + written, batch->room - written);
        if (made == 0)
            return FAILED;
        written += made;
        start = end;
        batch->out_ends[number] = written;
        if ((number + 1) % batch->span == 0)
            coder->reset(stream);
    }
    return 0;
}

long harness_run(int library, int inflates, const settings_t *settings, batch_t *batch)
{
    const library_t *used = libraries[library];
    const coder_t *coder = inflates ? &used->inflate : &used->deflate;
    counted = 0;
    void *stream = coder->open(settings);
    if (stream == NULL)
        return REFUSED;
    /* Untimed: fresh memory is mapped by its first use. */
    long result = FAILED;
    if (coder->run(stream, batch->data, batch->ends[0], batch->out, batch->room)) {
        coder->reset(stream);
        long start = now();
        result = run(coder, stream, batch);
        if (result == 0)
            result = now() - start;
    }
    batch->memory = counted;
    coder->close(stream);
    return result;
}
