/* The load generator's interface: options in, one run, result out.
 *
 * No global state, no exit(), no output: main.c is one caller of it, others may follow.
 * One thread, one epoll, loopback addresses only. */
#ifndef FASTWS_LOAD_H
#define FASTWS_LOAD_H

#include <stdint.h>
#include <sys/types.h>

#include "histogram.h"

typedef enum {
    MODE_ECHO,    /* every connection keeps `depth` messages in flight */
    MODE_FANOUT,  /* connection 0 publishes, all receive, `depth` publications open */
    MODE_CONNECT, /* opens all connections, `parallel` handshakes at a time */
    MODE_IDLE,    /* opens all connections and holds them for `duration` */
} load_mode;

typedef struct {
    load_mode mode;
    const char *host; /* dotted IPv4 address in 127.0.0.0/8 */
    uint16_t port;
    const char *path;
    const char *publisher_path; /* connection 0's path in fan-out; NULL: path */
    const char *first_message;  /* sent by each connection once open; NULL: none */
    uint32_t first_replies;     /* messages to await and drop after the first one */
    uint32_t connections;
    uint32_t depth;    /* messages or publications in flight */
    uint32_t size;     /* payload bytes, at least LOAD_MIN_SIZE */
    uint32_t parallel; /* handshakes in progress at once */
    uint32_t sources;  /* source addresses 127.0.0.1 and following, taken in turn */
    int is_binary;     /* opcode of the messages sent and expected */
    double warm_up;    /* seconds of traffic before the clock starts */
    double duration;   /* seconds of traffic under the clock */
    double timeout;    /* seconds after which the run fails, whatever it does */
    pid_t server_pid;  /* whose CPU and memory to report; 0: nobody's */
} load_options;

enum { LOAD_MIN_SIZE = 16, LOAD_MAX_SIZE = 1 << 24 };

typedef struct {
    double seconds;        /* under the clock, until the last message had arrived */
    uint64_t operations;   /* echoes, deliveries or handshakes in that time */
    uint64_t publications; /* complete ones, fan-out only */
    double server_cpu;     /* share of one core in that time; < 0: unknown */
    double load_cpu;
    double resident_before; /* bytes, idle only; < 0: unknown */
    double resident_after;
    uint32_t resident_connections; /* opened between the two */
    histogram latency;             /* nanoseconds per operation */
    char error[256];
} load_result;

void load_options_default(load_options *options);

/* Returns 0, or -1 with result->error set: any wrong, missing or surplus message. */
int load_run(const load_options *options, load_result *result);

#endif
