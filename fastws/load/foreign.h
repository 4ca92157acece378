/* OpenSSL and zlib, loaded when a run needs them: nothing is linked, so that the wheel
 * needs neither. Both are found under the names of their stable interfaces. */
#ifndef FASTWS_LOAD_FOREIGN_H
#define FASTWS_LOAD_FOREIGN_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { FOREIGN_REASON = 512 };

/* --- TLS --------------------------------------------------------------------- */

typedef struct tls_context tls_context;
typedef struct tls_session tls_session;

typedef enum { TLS_DONE, TLS_AGAIN, TLS_FAILED } tls_state;

/* `ca` may be NULL: the system's authorities. NULL: reason says why. */
tls_context *tls_context_create(const char *ca, int is_insecure,
                                char reason[FOREIGN_REASON]);
void tls_context_destroy(tls_context *self);

/* NULL when memory is short. `host` is the name or address to verify. */
tls_session *tls_session_create(tls_context *context, int descriptor, const char *host);
void tls_session_destroy(tls_session *self);

tls_state tls_handshake(tls_session *self, char reason[FOREIGN_REASON]);

/* As recv and send: bytes, 0 at the end of the stream, -1 with errno EAGAIN or EIO. */
ssize_t tls_read(tls_session *self, void *data, size_t size);
ssize_t tls_write(tls_session *self, const void *data, size_t size);

/* --- deflate ----------------------------------------------------------------- */

typedef struct deflater deflater;
typedef struct inflater inflater;

/* Returns 0, or -1: reason says why. Once, before the two below. */
int deflate_load(char reason[FOREIGN_REASON]);

/* Raw streams; NULL when memory is short. */
deflater *deflater_create(int window_bits);
void deflater_destroy(deflater *self);
inflater *inflater_create(void);
void inflater_destroy(inflater *self);

/* A whole message, without the tail that RFC 7692 section 7.2.1 takes off; the result
 * is valid until the next call. Not 0: memory is short. */
int deflater_message(deflater *self, const uint8_t *data, size_t size,
                     int keeps_context, const uint8_t **out, size_t *out_size);

/* The reverse. -1: broken or longer than `limit`. */
int inflater_message(inflater *self, const uint8_t *data, size_t size, size_t limit,
                     int keeps_context, const uint8_t **out, size_t *out_size);

#endif
