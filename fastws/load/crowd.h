/* A crowd: all client connections of a process in one epoll, from connect to close.
 *
 * A client's phases:
 *
 *   waiting -> connecting -> [securing ->] upgrading -> [greeting ->] open
 *           -> closing -> closed
 *
 * greeting awaits the answers to the first message and drops them. A connection that
 * ends before closing is a failure. Pings are answered at once.
 *
 * What clients do once they are open is the work of the parts (part.h), by role.
 * Functions that return int return 0, or -1 after crowd_fail. */
#ifndef FASTWS_LOAD_CROWD_H
#define FASTWS_LOAD_CROWD_H

#include <stddef.h>
#include <stdint.h>

#include "buffer.h"
#include "foreign.h"
#include "handshake.h"
#include "load.h"
#include "message.h"

typedef enum {
    CLIENT_WAITING,
    CLIENT_CONNECTING,
    CLIENT_SECURING,
    CLIENT_UPGRADING,
    CLIENT_GREETING,
    CLIENT_OPEN,
    CLIENT_CLOSING,
    CLIENT_CLOSED,
} client_phase;

typedef enum {
    ROLE_HOLDER,     /* is there, and that is all */
    ROLE_ECHO,       /* sends, and gets each message back */
    ROLE_SUBSCRIBER, /* gets publications, and may publish */
    ROLE_VISITOR,    /* comes, sends once, goes */
    ROLES,
} client_role;

typedef struct {
    int descriptor;
    uint32_t number; /* among all of its role, in all processes */
    uint32_t local;  /* among those of its role here */
    uint32_t channel;
    uint32_t replies_left;
    uint8_t phase;
    uint8_t role;
    uint8_t is_publisher;
    uint8_t is_stalled;
    uint8_t fragment_first; /* first byte of a message whose rest is to come; or 0 */
    uint8_t keeps_context;  /* the server's window, and ours */
    uint8_t sends_context;
    uint8_t send_bits;
    uint64_t started_at;
    byte_buffer kept;      /* start of a frame whose rest has not arrived */
    byte_buffer unsent;    /* what the kernel refused */
    byte_buffer fragments; /* of a message in several frames */
    tls_session *tls;
    inflater *inflater; /* own ones where a context is kept, from the first use on */
    deflater *deflater;
} client;

typedef struct crowd crowd;

/* What a role does with what arrives; every entry but on_message may be NULL. */
typedef struct {
    /* Every data message of an open client. */
    int (*on_message)(crowd *self, client *peer, const uint8_t *payload, size_t size);
    /* The short way for whole frames as they are expected: returns the bytes that it
     * took, 0 when the next frame is another; or -1. */
    long (*on_bytes)(crowd *self, client *peer, const uint8_t *data, size_t size);
    /* The same for one compressed payload that was seen before: 1 when taken. */
    int (*on_compressed)(crowd *self, client *peer, const uint8_t *payload,
                         size_t size);
    int (*on_open)(crowd *self, client *peer);
    int (*on_batch)(crowd *self, client *peer); /* after the messages of one recv */
    int (*on_pong)(crowd *self, client *peer, const uint8_t *payload, size_t size);
    int (*on_closed)(crowd *self, client *peer);
} role_handlers;

typedef struct {
    uint64_t frames;
    uint64_t compressed_frames;
    uint64_t bytes_sent;
    uint64_t bytes_received;
} traffic;

struct part;

struct crowd {
    const load_options *options;
    load_result *result;
    board *shared;
    board_place *place;
    role_handlers roles[ROLES];
    struct part *parts; /* what is under way, a list */
    void *states[ROLES + 1]; /* of the parts, by role; the pings behind them */

    client *clients; /* the visitors behind the others */
    uint32_t count;  /* without visitors */
    uint32_t visitors;
    uint32_t started;
    uint32_t opened;
    uint32_t closed;
    uint32_t barriers;

    int epoll;
    int wake; /* eventfd: another process has news; -1 when alone */
    int has_exact_wait;
    uint64_t now;        /* nanoseconds, as of the last recv or turn */
    uint64_t started_at; /* of the run */
    uint64_t deadline;   /* of the whole run */
    uint64_t watched_at;
    uint64_t start_at; /* common start of the traffic */
    uint64_t end_at;   /* of the clock; UINT64_MAX until it is known */
    uint64_t unsent;   /* bytes in all clients' buffers */
    uint64_t polled;   /* nanoseconds of busy polling in which nothing came */
    uint8_t *input;
    byte_buffer output; /* frames being composed for one client */
    message *texts;     /* by channel; one for all without envelopes */
    int is_enveloped;   /* messages are searched for in what comes */
    int is_raw;         /* one came back without an envelope */
    traffic seen;
    handshake expected;
    tls_context *tls;
    inflater *inflater; /* of all that keep no context */
    deflater *deflater;
};

/* More waiting than this, and an open-loop sender holds its messages back. */
enum { CROWD_MOST_UNSENT = 64 << 20 };

uint64_t clock_nanoseconds(void);

int crowd_create(crowd *self, const load_options *options, load_result *result);
void crowd_destroy(crowd *self);

/* Opens clients until `count` of them are open, `parallel` handshakes at a time. */
int crowd_open(crowd *self, uint32_t count);

/* Handles what is ready, waits at most until `until` (nanoseconds). */
int crowd_turn(crowd *self, uint64_t until);

/* Waits, turning, until all processes are here. */
int crowd_meet(crowd *self);

/* Close handshake with every client; a message that arrives now is one too many. */
int crowd_close(crowd *self);

/* Puts the text into result->error and returns -1. */
int crowd_fail(crowd *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same, with the connection's number before it. */
int client_fail(crowd *self, const client *peer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* What a client of the channel sends. */
static inline message *crowd_text(const crowd *self, uint32_t channel) {
    return &self->texts[self->options->is_marked ? channel : 0];
}

/* The next message in what is left of a payload, which moves behind it; NULL: none.
 * What it is in is found out with the first one, unless the options say it. */
const uint8_t *crowd_message(crowd *self, const message *text, const uint8_t **payload,
                             size_t *size);

/* Says what is wrong with something that is no message. */
int client_changed(crowd *self, const client *peer, const message *text,
                   const uint8_t *payload, size_t size);

/* Says what another number than the awaited one means. */
int client_misnumbered(crowd *self, const client *peer, const char *what,
                       uint32_t expected, uint32_t got);

/* --- one client: open.c, receive.c, send.c ----------------------------------- */

int client_start(crowd *self, client *peer);
int client_continue_opening(crowd *self, client *peer);
int client_check_connect(crowd *self, const client *peer);
int client_greet(crowd *self, client *peer);
int client_opened(crowd *self, client *peer);
void client_end(crowd *self, client *peer);

int client_receive(crowd *self, client *peer, uint32_t events);

/* Queues what the kernel does not take now. */
int client_send(crowd *self, client *peer, const uint8_t *data, size_t size);
int client_send_rest(crowd *self, client *peer);
int client_send_frame(crowd *self, client *peer, uint8_t opcode, const void *payload,
                      size_t size);
int client_send_close(crowd *self, client *peer);

/* Puts a message behind crowd->output, compressed where that was agreed. */
int client_compose(crowd *self, client *peer, message *text, uint64_t sequence,
                   uint64_t tag);

/* Sends what was composed. */
int client_flush(crowd *self, client *peer);

#endif
