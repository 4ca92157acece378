/* The load generator's interface: options in, one run, result out.
 *
 * No global state, no exit(), no output. One thread, one epoll; several processes work
 * together over one board (board.h). */
#ifndef FASTWS_LOAD_H
#define FASTWS_LOAD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "board.h"
#include "histogram.h"

typedef enum {
    MODE_ECHO,    /* every connection sends and waits for what comes back */
    MODE_FANOUT,  /* some connections publish, all of the channel receive */
    MODE_CONNECT, /* opens all connections, `parallel` handshakes at a time */
    MODE_IDLE,    /* opens all connections and holds them for `duration` */
    MODE_MIXED,   /* echo, fan-out, and connections that come and go */
} load_mode;

typedef struct {
    const char *data;
    size_t size;
} text_view;

/* What a connection of one channel sends besides the messages. */
typedef struct {
    text_view request;           /* the whole opening handshake */
    text_view publisher_request; /* fan-out: of those that publish */
    text_view first;             /* first message; NULL data: none */
    text_view prefix;            /* around each message */
    text_view suffix;
} channel_texts;

typedef struct {
    load_mode mode;
    struct sockaddr_storage target;
    socklen_t target_size;
    const char *place;       /* the target in words, for errors */
    const char *key;         /* Sec-WebSocket-Key of all requests */
    const char *subprotocol; /* that the server must choose; NULL: none */
    const char *tls_host;    /* name to verify; NULL: plain TCP */
    const char *ca;          /* PEM file; NULL: the system's authorities */
    int is_tls_insecure;
    const channel_texts *texts; /* by channel */
    uint32_t channels;
    uint32_t connections; /* of all processes; mixed: those that echo */
    uint32_t receivers;   /* of all processes */
    uint32_t publishers;  /* the first receivers */
    uint32_t stalled;     /* the last receivers never read */
    uint32_t depth;       /* messages or publications in flight */
    uint32_t size;        /* payload bytes, at least LOAD_MIN_SIZE */
    uint32_t first_replies;
    uint32_t parallel;    /* handshakes in progress at once, in this process */
    uint32_t sources;     /* source addresses 127.0.0.1 and following */
    uint32_t processes;   /* how many share the work */
    uint32_t share;       /* which of them this is */
    int is_binary;        /* opcode of the messages sent and expected */
    int has_records;      /* messages are JSON records that differ, else all one text */
    int is_marked;        /* messages travel in an envelope: search for them */
    int is_others_only;   /* a publisher does not get its own */
    int is_verified;      /* every byte is compared, not only the length */
    int is_busy_polling;  /* asks for events without a pause instead of sleeping */
    int has_deflate;      /* permessage-deflate was offered and is required */
    int is_context_kept;  /* with the window kept from message to message */
    double rate;          /* per second, all processes; 0: closed loop */
    double publish_rate;  /* the same for the publications of a mixed run */
    double churn;         /* connections per second that come and go, mixed only */
    double ping_interval; /* seconds between a connection's pings; 0: none */
    double warm_up;       /* seconds of traffic before the clock starts */
    double duration;      /* seconds of traffic under the clock */
    double timeout;       /* seconds after which the run fails, whatever it does */
    const pid_t *server_pids; /* whose CPU and memory to report */
    uint32_t server_pid_count;
    board *shared;
    int (*watch)(void *watcher); /* some times a second; not 0: end the run */
    void *watcher;
} load_options;

enum { LOAD_MIN_SIZE = 16, LOAD_MAX_SIZE = 1 << 24, LOAD_ERROR_SIZE = 1024 };

typedef struct {
    double seconds;        /* under the clock, until the last message had arrived */
    uint64_t operations;   /* echoes, deliveries, handshakes or connections held */
    uint64_t publications; /* complete ones */
    uint64_t deliveries;   /* mixed: of publications */
    uint64_t visits;       /* mixed: connections that came and went */
    uint64_t pings;        /* answered ones */
    uint64_t frames;       /* data frames received */
    uint64_t compressed_frames;
    uint64_t bytes_sent;
    uint64_t bytes_received;
    double server_cpu; /* share of one core in that time; < 0: unknown */
    double load_cpu;
    double resident_before; /* bytes, idle only; < 0: unknown */
    double resident_after;
    uint32_t resident_connections; /* opened between the two */
    histogram latency;             /* nanoseconds per operation */
    histogram delivery_latency;    /* mixed: publications */
    histogram visit_latency;       /* mixed: handshakes */
    char error[LOAD_ERROR_SIZE];
} load_result;

/* Returns 0, or -1 with result->error set: any wrong, missing or surplus message. */
int load_run(const load_options *options, load_result *result);

#endif
