#define _GNU_SOURCE
#include "foreign.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A symbol as a function: the cast that POSIX promises to work, without a warning. */
static int find(void *library, const char *name, void *function) {
    void *symbol = dlsym(library, name);
    memcpy(function, &symbol, sizeof symbol);
    return symbol == NULL;
}

static void *open_first(const char *const *names) {
    void *library = NULL;
    for (; *names != NULL && library == NULL; names++) {
        library = dlopen(*names, RTLD_NOW | RTLD_LOCAL);
    }
    return library;
}

/* --- TLS --------------------------------------------------------------------- */

enum {
    SSL_VERIFY_NOTHING = 0,
    SSL_VERIFY_THE_PEER = 1,
    SSL_WANTS_READ = 2,
    SSL_WANTS_WRITE = 3,
    SSL_SYSTEM_CALL = 5,
    SSL_ZERO = 6,
    SSL_CONTROL_MODE = 33,
    SSL_CONTROL_HOST_NAME = 55,
    /* partial writes, a moving buffer, buffers released while idle */
    SSL_MODES = 1 | 2 | 16,
};

static struct {
    void *library;
    const void *(*method)(void);
    void *(*context_new)(const void *);
    void (*context_free)(void *);
    long (*context_ctrl)(void *, int, long, void *);
    void (*context_set_verify)(void *, int, void *);
    int (*context_default_paths)(void *);
    int (*context_locations)(void *, const char *, const char *);
    void *(*session_new)(void *);
    void (*session_free)(void *);
    int (*session_set_fd)(void *, int);
    long (*session_ctrl)(void *, int, long, void *);
    int (*session_set_host)(void *, const char *);
    void *(*session_parameters)(void *);
    int (*session_connect)(void *);
    int (*session_read)(void *, void *, int);
    int (*session_write)(void *, const void *, int);
    int (*session_error)(const void *, int);
    long (*session_verify_result)(const void *);
    int (*parameters_set_address)(void *, const char *);
    const char *(*verify_text)(long);
    unsigned long (*next_error)(void);
    void (*error_text)(unsigned long, char *, size_t);
} ssl;

static int ssl_find_all(void *library) {
    return find(library, "TLS_client_method", &ssl.method) ||
           find(library, "SSL_CTX_new", &ssl.context_new) ||
           find(library, "SSL_CTX_free", &ssl.context_free) ||
           find(library, "SSL_CTX_ctrl", &ssl.context_ctrl) ||
           find(library, "SSL_CTX_set_verify", &ssl.context_set_verify) ||
           find(library, "SSL_CTX_set_default_verify_paths",
                &ssl.context_default_paths) ||
           find(library, "SSL_CTX_load_verify_locations", &ssl.context_locations) ||
           find(library, "SSL_new", &ssl.session_new) ||
           find(library, "SSL_free", &ssl.session_free) ||
           find(library, "SSL_set_fd", &ssl.session_set_fd) ||
           find(library, "SSL_ctrl", &ssl.session_ctrl) ||
           find(library, "SSL_set1_host", &ssl.session_set_host) ||
           find(library, "SSL_get0_param", &ssl.session_parameters) ||
           find(library, "SSL_connect", &ssl.session_connect) ||
           find(library, "SSL_read", &ssl.session_read) ||
           find(library, "SSL_write", &ssl.session_write) ||
           find(library, "SSL_get_error", &ssl.session_error) ||
           find(library, "SSL_get_verify_result", &ssl.session_verify_result) ||
           /* Of libcrypto, which libssl brings along. */
           find(library, "X509_VERIFY_PARAM_set1_ip_asc",
                &ssl.parameters_set_address) ||
           find(library, "X509_verify_cert_error_string", &ssl.verify_text) ||
           find(library, "ERR_get_error", &ssl.next_error) ||
           find(library, "ERR_error_string_n", &ssl.error_text);
}

static int ssl_load(char *reason) {
    static const char *const names[] = {"libssl.so.3", "libssl.so.1.1", NULL};
    if (ssl.library != NULL) {
        return 0;
    }
    void *library = open_first(names);
    if (library == NULL) {
        snprintf(reason, FOREIGN_REASON,
                 "wss:// needs OpenSSL: libssl.so.3 or libssl.so.1.1 is not installed");
        return -1;
    }
    if (ssl_find_all(library)) {
        snprintf(reason, FOREIGN_REASON, "wss:// needs OpenSSL 1.1.1 or newer");
        dlclose(library);
        return -1;
    }
    ssl.library = library; /* stays loaded: it registers handlers for the exit */
    return 0;
}

static void ssl_reason(char *reason, const char *otherwise) {
    unsigned long code = ssl.next_error();
    if (code != 0) {
        ssl.error_text(code, reason, FOREIGN_REASON);
    } else {
        snprintf(reason, FOREIGN_REASON, "%s", otherwise);
    }
    while (ssl.next_error() != 0) {
    }
}

tls_context *tls_context_create(const char *ca, int is_insecure,
                                char reason[FOREIGN_REASON]) {
    if (ssl_load(reason) != 0) {
        return NULL;
    }
    void *context = ssl.context_new(ssl.method());
    if (context == NULL) {
        ssl_reason(reason, "OpenSSL cannot start");
        return NULL;
    }
    ssl.context_ctrl(context, SSL_CONTROL_MODE, SSL_MODES, NULL);
    int verifies = is_insecure ? SSL_VERIFY_NOTHING : SSL_VERIFY_THE_PEER;
    ssl.context_set_verify(context, verifies, NULL);
    int done = ca ? ssl.context_locations(context, ca, NULL)
                  : ssl.context_default_paths(context);
    if (!is_insecure && done != 1) {
        char details[FOREIGN_REASON];
        ssl_reason(details, "nothing usable in it");
        snprintf(reason, FOREIGN_REASON,
                 "cannot read the authorities of %.200s: %.200s",
                 ca ? ca : "the system", details);
        ssl.context_free(context);
        return NULL;
    }
    return (tls_context *)context;
}

void tls_context_destroy(tls_context *self) {
    if (self != NULL) {
        ssl.context_free(self);
    }
}

tls_session *tls_session_create(tls_context *context, int descriptor,
                                const char *host) {
    struct in6_addr address;
    void *session = ssl.session_new(context);
    if (session == NULL) {
        return NULL;
    }
    int done = ssl.session_set_fd(session, descriptor);
    if (inet_pton(AF_INET, host, &address) == 1 ||
        inet_pton(AF_INET6, host, &address) == 1) {
        done &= ssl.parameters_set_address(ssl.session_parameters(session), host);
    } else {
        char *name = strdup(host);
        done &= name != NULL &&
                ssl.session_ctrl(session, SSL_CONTROL_HOST_NAME, 0, name) == 1 &&
                ssl.session_set_host(session, host);
        free(name);
    }
    if (done != 1) {
        ssl.session_free(session);
        return NULL;
    }
    return (tls_session *)session;
}

void tls_session_destroy(tls_session *self) {
    if (self != NULL) {
        ssl.session_free(self);
    }
}

tls_state tls_handshake(tls_session *self, char reason[FOREIGN_REASON]) {
    int done = ssl.session_connect(self);
    if (done == 1) {
        return TLS_DONE;
    }
    int error = ssl.session_error(self, done);
    if (error == SSL_WANTS_READ || error == SSL_WANTS_WRITE) {
        return TLS_AGAIN;
    }
    long verdict = ssl.session_verify_result(self);
    if (verdict != 0) {
        snprintf(reason, FOREIGN_REASON,
                 "%.300s: name its authority with --ca, or use --tls-insecure",
                 ssl.verify_text(verdict));
        ssl_reason((char[FOREIGN_REASON]){0}, "");
    } else {
        char details[FOREIGN_REASON];
        ssl_reason(details, "the connection ended");
        snprintf(reason, FOREIGN_REASON, "%.300s; does the server speak TLS?", details);
    }
    return TLS_FAILED;
}

static ssize_t tls_outcome(tls_session *self, int done) {
    if (done > 0) {
        return done;
    }
    int error = ssl.session_error(self, done);
    if (error == SSL_WANTS_READ || error == SSL_WANTS_WRITE) {
        errno = EAGAIN;
        return -1;
    }
    int was = errno;
    ssl_reason((char[FOREIGN_REASON]){0}, "");
    if (error == SSL_ZERO || (error == SSL_SYSTEM_CALL && was == 0)) {
        return 0;
    }
    errno = was ? was : EIO;
    return -1;
}

ssize_t tls_read(tls_session *self, void *data, size_t size) {
    errno = 0;
    return tls_outcome(self, ssl.session_read(self, data,
                                              size < INT_MAX ? (int)size : INT_MAX));
}

ssize_t tls_write(tls_session *self, const void *data, size_t size) {
    errno = 0;
    return tls_outcome(self, ssl.session_write(self, data,
                                               size < INT_MAX ? (int)size : INT_MAX));
}

/* --- deflate ----------------------------------------------------------------- */

/* zlib's z_stream, unchanged since 1995; its version and size are checked on init. */
typedef struct {
    const uint8_t *next_in;
    unsigned avail_in;
    unsigned long total_in;
    uint8_t *next_out;
    unsigned avail_out;
    unsigned long total_out;
    const char *message;
    void *state;
    void *(*allocate)(void *, unsigned, unsigned);
    void (*release)(void *, void *);
    void *opaque;
    int data_type;
    unsigned long adler;
    unsigned long reserved;
} zlib_stream;

enum {
    Z_SYNC = 2,
    Z_FINE = 0,
    Z_END = 1,
    Z_NO_ROOM = -5,
    Z_METHOD = 8,
    Z_LEVEL = 1, /* the client must not be the slow side */
    Z_MEMORY = 8,
    WINDOW_BITS = 15,
};

static struct {
    void *library;
    const char *(*version)(void);
    int (*deflate_init)(zlib_stream *, int, int, int, int, int, const char *, int);
    int (*deflate)(zlib_stream *, int);
    int (*deflate_reset)(zlib_stream *);
    int (*deflate_end)(zlib_stream *);
    int (*inflate_init)(zlib_stream *, int, const char *, int);
    int (*inflate)(zlib_stream *, int);
    int (*inflate_reset)(zlib_stream *);
    int (*inflate_end)(zlib_stream *);
} zlib;

struct deflater {
    zlib_stream stream;
    uint8_t *out;
    size_t capacity;
};

struct inflater {
    zlib_stream stream;
    uint8_t *out;
    size_t capacity;
};

int deflate_load(char reason[FOREIGN_REASON]) {
    static const char *const names[] = {"libz.so.1", "libz.so", NULL};
    if (zlib.library != NULL) {
        return 0;
    }
    void *library = open_first(names);
    if (library == NULL) {
        snprintf(reason, FOREIGN_REASON,
                 "--deflate needs zlib: libz.so.1 is not installed");
        return -1;
    }
    if (find(library, "zlibVersion", &zlib.version) ||
        find(library, "deflateInit2_", &zlib.deflate_init) ||
        find(library, "deflate", &zlib.deflate) ||
        find(library, "deflateReset", &zlib.deflate_reset) ||
        find(library, "deflateEnd", &zlib.deflate_end) ||
        find(library, "inflateInit2_", &zlib.inflate_init) ||
        find(library, "inflate", &zlib.inflate) ||
        find(library, "inflateReset", &zlib.inflate_reset) ||
        find(library, "inflateEnd", &zlib.inflate_end)) {
        snprintf(reason, FOREIGN_REASON, "the libz.so.1 found here is not zlib");
        dlclose(library);
        return -1;
    }
    zlib.library = library;
    return 0;
}

deflater *deflater_create(int window_bits) {
    deflater *self = calloc(1, sizeof *self);
    if (self != NULL &&
        zlib.deflate_init(&self->stream, Z_LEVEL, Z_METHOD, -window_bits, Z_MEMORY, 0,
                          zlib.version(), (int)sizeof self->stream) != Z_FINE) {
        free(self);
        return NULL;
    }
    return self;
}

void deflater_destroy(deflater *self) {
    if (self != NULL) {
        zlib.deflate_end(&self->stream);
        free(self->out);
        free(self);
    }
}

inflater *inflater_create(void) {
    inflater *self = calloc(1, sizeof *self);
    if (self != NULL &&
        zlib.inflate_init(&self->stream, -WINDOW_BITS, zlib.version(),
                          (int)sizeof self->stream) != Z_FINE) {
        free(self);
        return NULL;
    }
    return self;
}

void inflater_destroy(inflater *self) {
    if (self != NULL) {
        zlib.inflate_end(&self->stream);
        free(self->out);
        free(self);
    }
}

/* Makes room behind what is already there. */
static int more_room(zlib_stream *stream, uint8_t **out, size_t *capacity,
                     size_t wanted) {
    size_t used = *out == NULL ? 0 : (size_t)(stream->next_out - *out);
    if (wanted > *capacity) {
        uint8_t *grown = realloc(*out, wanted);
        if (grown == NULL) {
            return -1;
        }
        *out = grown;
        *capacity = wanted;
    }
    stream->next_out = *out + used;
    stream->avail_out = (unsigned)(*capacity - used);
    return 0;
}

int deflater_message(deflater *self, const uint8_t *data, size_t size,
                     int keeps_context, const uint8_t **out, size_t *out_size) {
    zlib_stream *stream = &self->stream;
    stream->next_out = self->out;
    stream->next_in = data;
    stream->avail_in = (unsigned)size;
    size_t wanted = size + size / 8 + 64;
    do {
        if (more_room(stream, &self->out, &self->capacity, wanted) != 0) {
            return -1;
        }
        zlib.deflate(stream, Z_SYNC);
        wanted = 2 * self->capacity;
    } while (stream->avail_out == 0);
    *out = self->out;
    *out_size = (size_t)(stream->next_out - self->out) - 4;
    return keeps_context ? 0 : zlib.deflate_reset(stream);
}

/* Returns zlib's word for the piece; the output grows up to the limit. */
static int inflate_piece(inflater *self, const uint8_t *data, size_t size,
                         size_t limit) {
    zlib_stream *stream = &self->stream;
    stream->next_in = data;
    stream->avail_in = (unsigned)size;
    for (;;) {
        int word = zlib.inflate(stream, Z_SYNC);
        if (word != Z_FINE && word != Z_NO_ROOM) {
            return word;
        }
        if (stream->avail_out > 0) {
            return stream->avail_in == 0 ? Z_FINE : -1;
        }
        if (self->capacity > limit ||
            more_room(stream, &self->out, &self->capacity, 2 * self->capacity) != 0) {
            return -1;
        }
    }
}

int inflater_message(inflater *self, const uint8_t *data, size_t size, size_t limit,
                     int keeps_context, const uint8_t **out, size_t *out_size) {
    static const uint8_t tail[4] = {0, 0, 0xFF, 0xFF};
    zlib_stream *stream = &self->stream;
    stream->next_out = self->out;
    if (more_room(stream, &self->out, &self->capacity, 4 * size + 1024) != 0) {
        return -1;
    }
    int word = inflate_piece(self, data, size, limit);
    if (word == Z_FINE) {
        word = inflate_piece(self, tail, sizeof tail, limit);
    }
    *out = self->out;
    *out_size = (size_t)(stream->next_out - self->out);
    /* A last block ends the stream (section 7.2.3.5): the next starts afresh. */
    if (word == Z_END || (word == Z_FINE && !keeps_context)) {
        word = zlib.inflate_reset(stream);
    }
    return word == Z_FINE && *out_size <= limit ? 0 : -1;
}
