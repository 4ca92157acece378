/* A crowd: all client connections of a run in one epoll, from connect to close.
 *
 * A client's phases:
 *
 *   waiting -> connecting -> upgrading -> [greeting ->] open -> closing -> closed
 *
 * greeting awaits the answers to the first message and drops them. A connection that
 * ends before closing is a failure. Pings are answered at once. */
#ifndef FASTWS_LOAD_CROWD_H
#define FASTWS_LOAD_CROWD_H

#include <stddef.h>
#include <stdint.h>

#include "handshake.h"
#include "load.h"

typedef enum {
    CLIENT_WAITING,
    CLIENT_CONNECTING,
    CLIENT_UPGRADING,
    CLIENT_GREETING,
    CLIENT_OPEN,
    CLIENT_CLOSING,
    CLIENT_CLOSED,
} client_phase;

typedef struct {
    uint8_t *data;
    size_t size;
    size_t capacity;
} byte_buffer;

typedef struct {
    int descriptor;
    uint32_t index;
    client_phase phase;
    uint32_t replies_left;
    uint64_t started_at;
    byte_buffer kept;   /* start of a frame whose rest has not arrived */
    byte_buffer unsent; /* what the kernel refused */
} client;

typedef struct crowd crowd;

/* Both return 0, or -1 after crowd_fail. */
typedef int (*message_handler)(crowd *self, client *peer, const uint8_t *payload,
                               size_t size);
typedef int (*batch_handler)(crowd *self, client *peer);

struct crowd {
    const load_options *options;
    load_result *result;
    message_handler on_message; /* every message of an open client */
    batch_handler on_batch;     /* after the messages of one recv; may be NULL */
    void *mode;                 /* the running mode's own state */

    client *clients;
    uint32_t count;
    uint32_t started;
    uint32_t opened;
    uint32_t closed;

    int epoll;
    uint64_t now;      /* nanoseconds, as of the last recv or turn */
    uint64_t deadline; /* of the whole run */
    uint8_t *input;
    handshake greeting;
    handshake publisher_greeting;
};

uint64_t clock_nanoseconds(void);

int crowd_create(crowd *self, const load_options *options, load_result *result);
void crowd_destroy(crowd *self);

/* Opens clients until `count` of them are open, `parallel` handshakes at a time. */
int crowd_open(crowd *self, uint32_t count);

/* Handles what is ready, waits at most until `until` (nanoseconds). */
int crowd_turn(crowd *self, uint64_t until);

/* Close handshake with every client; a message that arrives now is one too many. */
int crowd_close(crowd *self);

/* Queues what the kernel does not take now. */
int client_send(crowd *self, client *peer, const uint8_t *data, size_t size);

/* Puts the text into result->error and returns -1. */
int crowd_fail(crowd *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
