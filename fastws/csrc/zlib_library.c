#include "zlib_library.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

static const char *const NAMES[] = {
    "libz.so.1",
    "libz.1.dylib",
    "libz.so",
};

typedef struct {
    const char *name;
    size_t offset;
} symbol;

#define SYMBOL(name, field) {name, offsetof(fastws_zlib, field)}

static const symbol SYMBOLS[] = {
    SYMBOL("zlibVersion", version),
    SYMBOL("deflateInit2_", deflate_init),
    SYMBOL("deflate", deflate),
    SYMBOL("deflateReset", deflate_reset),
    SYMBOL("deflateEnd", deflate_end),
    SYMBOL("inflateInit2_", inflate_init),
    SYMBOL("inflate", inflate),
    SYMBOL("inflateReset2", inflate_reset),
    SYMBOL("inflateResetKeep", inflate_reset_keep),
    SYMBOL("inflateEnd", inflate_end),
};

static int resolve(fastws_zlib *zlib, void *library)
{
    for (size_t i = 0; i < sizeof SYMBOLS / sizeof *SYMBOLS; i++) {
        void *address = dlsym(library, SYMBOLS[i].name);
        if (address == NULL) {
            return 0;
        }
        /* POSIX lets a function's address lie in a void *; C has no cast for it. */
        memcpy((char *)zlib + SYMBOLS[i].offset, &address, sizeof address);
    }
    return zlib->version()[0] == '1';
}

const fastws_zlib *fastws_zlib_load(void)
{
    static fastws_zlib zlib;
    static int is_loaded;
    for (size_t i = 0; !is_loaded && i < sizeof NAMES / sizeof *NAMES; i++) {
        /* Never closed: streams live as long as the process. */
        void *library = dlopen(NAMES[i], RTLD_NOW | RTLD_LOCAL);
        is_loaded = library != NULL && resolve(&zlib, library);
    }
    return is_loaded ? &zlib : NULL;
}
