/* The control: as little WebSocket server as echo and broadcast need, in C.
 *
 * It is the denominator of every ratio, so it does what a good programmer's server does
 * for speed and nothing else: one recv for many frames, answered with one send;
 * level-triggered epoll; unmasking fused with the copy into the output; many accepts
 * per turn, each with a recv at once. Publications of one turn leave in one send per
 * subscriber. No validation, no fragments, no compression, no time-outs but the ping's:
 * never expose it.
 *
 *   control PORT [--ping SECONDS]     PORT 0: a free one, named after "ready"
 *
 *   /echo       every message comes back
 *   any other   a channel of that name: every message goes to all connections on the
 *               path, its sender included */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "accept_key.h"
#include "frame.h"

enum {
    INPUT_SIZE = 1 << 18,
    MAX_FRAME = 16 << 20,
    MAX_HEAD = 1 << 16,
    EVENTS = 512,
    BACKLOG = 4096,
    MAX_UNSENT = 64 << 20, /* a subscriber further behind is dropped */
    CHANNEL_BUCKETS = 4096,
    PING_ROUND_MS = 50, /* connections due within it are pinged together */
};

typedef struct {
    uint8_t *data;
    size_t size;
    size_t capacity;
} byte_buffer;

typedef struct connection connection;

typedef struct channel {
    struct channel *next;        /* in its bucket */
    struct channel *next_marked; /* of those with publications in this turn */
    connection **subscribers;
    uint32_t count;
    uint32_t capacity;
    byte_buffer turn; /* publications of this turn, as server frames */
    char path[];
} channel;

struct connection {
    int descriptor;
    uint32_t place;  /* in connections */
    uint32_t member; /* place in the channel's subscribers */
    uint8_t is_open; /* the handshake is done */
    uint8_t is_closing;
    uint8_t is_heard;   /* since the last ping */
    channel *channel;   /* NULL: echo */
    byte_buffer kept;   /* start of a frame whose rest has not arrived */
    byte_buffer unsent; /* what the kernel refused, */
    size_t unsent_done; /* and how much of it has been sent since */
};

static int epoll;
static uint8_t input[INPUT_SIZE];
static byte_buffer output; /* answers to one recv */
static channel *channels[CHANNEL_BUCKETS];
static channel *marked;
static connection **connections;
static uint32_t connection_count, connection_capacity;

static void *checked(void *memory) {
    if (memory == NULL) {
        perror("control");
        exit(1);
    }
    return memory;
}

static void buffer_reserve(byte_buffer *self, size_t more) {
    if (more > self->capacity - self->size) {
        self->capacity = 2 * self->capacity + more;
        self->data = checked(realloc(self->data, self->capacity));
    }
}

static void buffer_append(byte_buffer *self, const void *data, size_t size) {
    buffer_reserve(self, size);
    memcpy(self->data + self->size, data, size);
    self->size += size;
}

static void unmask_copy(uint8_t *restrict out, const uint8_t *restrict in, size_t size,
                        const uint8_t *key) {
    uint32_t short_key;
    size_t i = 0;
    memcpy(&short_key, key, 4);
    uint64_t long_key = (uint64_t)short_key << 32 | short_key;
    for (; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, in + i, 8);
        word ^= long_key;
        memcpy(out + i, &word, 8);
    }
    for (; i < size; i++) {
        out[i] = in[i] ^ key[i % 4];
    }
}

/* --- who is there --------------------------------------------------------- */

/* Grows an array of pointers in steps that double. */
static connection **with_room(connection **array, uint32_t count, uint32_t *capacity) {
    if (count < *capacity) {
        return array;
    }
    *capacity = 2 * *capacity + 64;
    return checked(realloc(array, *capacity * sizeof *array));
}

static channel *channel_at(const char *path, size_t size) {
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ (uint8_t)path[i]) * 16777619u;
    }
    channel **bucket = &channels[hash % CHANNEL_BUCKETS];
    for (channel *one = *bucket; one != NULL; one = one->next) {
        if (strlen(one->path) == size && memcmp(one->path, path, size) == 0) {
            return one;
        }
    }
    channel *made = checked(calloc(1, sizeof *made + size + 1));
    memcpy(made->path, path, size);
    made->next = *bucket;
    return *bucket = made;
}

static void subscribe(connection *self, channel *to) {
    to->subscribers = with_room(to->subscribers, to->count, &to->capacity);
    self->channel = to;
    self->member = to->count;
    to->subscribers[to->count++] = self;
}

static void unsubscribe(connection *self) {
    channel *from = self->channel;
    connection *last = from->subscribers[--from->count];
    from->subscribers[self->member] = last;
    last->member = self->member;
}

static connection *connection_new(int descriptor) {
    connection *self = checked(calloc(1, sizeof *self));
    connections = with_room(connections, connection_count, &connection_capacity);
    self->descriptor = descriptor;
    self->place = connection_count;
    self->is_heard = 1;
    connections[connection_count++] = self;
    return self;
}

static void drop(connection *self) {
    if (self->channel != NULL) {
        unsubscribe(self);
    }
    connection *last = connections[--connection_count];
    connections[self->place] = last;
    last->place = self->place;
    close(self->descriptor);
    free(self->kept.data);
    free(self->unsent.data);
    free(self);
}

/* --- sending -------------------------------------------------------------- */

/* What sends do to a connection: it stays, or is gone. */
typedef enum { STAYS, GONE } fate;

static void watch(connection *self, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = self};
    epoll_ctl(epoll, operation, self->descriptor, &event);
}

static fate transmit(connection *self, const uint8_t *data, size_t size) {
    if (self->unsent.size == 0) {
        ssize_t sent = send(self->descriptor, data, size, MSG_NOSIGNAL);
        if (sent == (ssize_t)size) {
            return STAYS;
        }
        if (sent < 0 && errno != EAGAIN) {
            drop(self);
            return GONE;
        }
        size_t taken = sent < 0 ? 0 : (size_t)sent;
        data += taken;
        size -= taken;
        /* An echo is not read from while it is behind. */
        watch(self, EPOLL_CTL_MOD, self->channel ? EPOLLIN | EPOLLOUT : EPOLLOUT);
    }
    if (self->unsent.size - self->unsent_done + size > MAX_UNSENT) {
        drop(self);
        return GONE;
    }
    buffer_append(&self->unsent, data, size);
    return STAYS;
}

static fate transmit_rest(connection *self) {
    byte_buffer *unsent = &self->unsent;
    ssize_t sent = send(self->descriptor, unsent->data + self->unsent_done,
                        unsent->size - self->unsent_done, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno == EAGAIN) {
            return STAYS;
        }
        drop(self);
        return GONE;
    }
    self->unsent_done += (size_t)sent;
    if (self->unsent_done < unsent->size) {
        return STAYS;
    }
    unsent->size = self->unsent_done = 0;
    if (self->is_closing) {
        drop(self);
        return GONE;
    }
    watch(self, EPOLL_CTL_MOD, EPOLLIN);
    return STAYS;
}

static void flush_turn(void) {
    while (marked != NULL) {
        channel *one = marked;
        marked = one->next_marked;
        /* From the end: a dropped subscriber's place is taken by one already visited. */
        for (uint32_t i = one->count; i-- > 0;) {
            transmit(one->subscribers[i], one->turn.data, one->turn.size);
        }
        one->turn.size = 0;
    }
}

/* --- frames --------------------------------------------------------------- */

/* Appends a client's frame as a server's. */
static void answer(byte_buffer *to, const frame_header *header, const uint8_t *payload,
                   uint8_t first) {
    buffer_reserve(to, header->length + FRAME_MAX_HEADER);
    uint8_t *out = to->data + to->size;
    size_t head = frame_header_encode(out, first, header->length, 0);
    unmask_copy(out + head, payload, header->length, payload - 4);
    to->size += head + header->length;
}

static void publish(channel *to, const frame_header *header, const uint8_t *payload) {
    if (to->turn.size == 0) {
        to->next_marked = marked;
        marked = to;
    }
    answer(&to->turn, header, payload, header->first);
}

static void control_frame(connection *self, const frame_header *header,
                          const uint8_t *payload) {
    uint8_t opcode = header->first & 0xF;
    if (opcode == FRAME_PING) {
        answer(&output, header, payload, 0x80 | FRAME_PONG);
    } else if (opcode == FRAME_CLOSE) {
        answer(&output, header, payload, 0x80 | FRAME_CLOSE);
        self->is_closing = 1;
    }
}

/* Takes whole frames, answers into output. Returns the bytes consumed; *missing is
 * what the unfinished frame lacks, as far as its header tells. */
static size_t frames(connection *self, const uint8_t *data, size_t size,
                     size_t *missing) {
    size_t done = 0;
    frame_header header;
    while (frame_header_decode(data + done, size - done, &header)) {
        const uint8_t *payload = data + done + header.header_size;
        size_t there = size - done - header.header_size;
        if (header.length > there) {
            *missing = header.length - there;
            break;
        }
        if ((header.first & 0xF) >= FRAME_CLOSE) {
            control_frame(self, &header, payload);
        } else if (self->channel == NULL) {
            answer(&output, &header, payload, header.first);
        } else {
            publish(self->channel, &header, payload);
        }
        done += header.header_size + header.length;
    }
    return done;
}

/* Bytes of the request's head, answered in output; 0: incomplete; -1: not for us. */
static long upgrade(connection *self, const char *data, size_t size) {
    static const char before[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                 "Upgrade: websocket\r\n"
                                 "Connection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: ";
    static const char name[] = "\r\nsec-websocket-key:";
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL) {
        return size < MAX_HEAD ? 0 : -1;
    }
    char *head = strndupa(data, (size_t)(end - data));
    const char *key = strcasestr(head, name);
    if (key == NULL || strncmp(head, "GET /", 5) != 0) {
        return -1;
    }
    key += sizeof name - 1;
    key += strspn(key, " \t");
    char accepted[ACCEPT_KEY_SIZE];
    accept_key(key, strcspn(key, " \t\r"), accepted);
    buffer_append(&output, before, sizeof before - 1);
    buffer_append(&output, accepted, sizeof accepted);
    buffer_append(&output, "\r\n\r\n", 4);
    const char *path = head + 4;
    size_t path_size = strcspn(path, " ");
    if (path_size != 5 || memcmp(path, "/echo", 5) != 0) {
        subscribe(self, channel_at(path, path_size));
    }
    self->is_open = 1;
    return end + 4 - data;
}

/* --- receiving ------------------------------------------------------------ */

/* Sends what was answered; returns whether the connection is still there. */
static fate finish(connection *self) {
    if (output.size > 0 && transmit(self, output.data, output.size) == GONE) {
        return GONE;
    }
    if (self->is_closing && self->unsent.size == 0) {
        drop(self);
        return GONE;
    }
    return STAYS;
}

/* Data is in input or in kept, where its unfinished end is then left. */
static void consume(connection *self, const uint8_t *data, size_t size) {
    size_t done = 0, missing = 0;
    output.size = 0;
    self->is_heard = 1;
    if (!self->is_open) {
        long head = upgrade(self, (const char *)data, size);
        if (head < 0) {
            drop(self);
            return;
        }
        done = (size_t)head;
    }
    if (self->is_open) {
        done += frames(self, data + done, size - done, &missing);
    }
    if (missing > MAX_FRAME) {
        drop(self);
        return;
    }
    if (data != self->kept.data) {
        buffer_append(&self->kept, data + done, size - done);
    } else if (done > 0) {
        self->kept.size = size - done;
        memmove(self->kept.data, data + done, size - done);
    }
    if (missing > 0) {
        buffer_reserve(&self->kept, missing);
    }
    finish(self);
}

/* After an unfinished frame its rest is received right behind it. */
static void receive(connection *self) {
    byte_buffer *kept = &self->kept;
    uint8_t *to = input;
    size_t room = INPUT_SIZE;
    if (kept->size > 0) {
        buffer_reserve(kept, 1024);
        to = kept->data + kept->size;
        room = kept->capacity - kept->size;
    }
    ssize_t got = recv(self->descriptor, to, room, 0);
    if (got > 0) {
        if (kept->size > 0) {
            kept->size += (size_t)got;
            consume(self, kept->data, kept->size);
        } else {
            consume(self, input, (size_t)got);
        }
    } else if (got == 0 || errno != EAGAIN) {
        drop(self);
    }
}

/* --- pings ---------------------------------------------------------------- */

static double ping_interval; /* seconds; 0: none */
static double pings_until;   /* the time up to which pings have been sent */
static double pings_owed;    /* a fraction of one remains from round to round */
static uint32_t ping_next;   /* place in connections */

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/* Walks all connections once per interval, evenly: each round pings its share. Who has
 * said nothing since the ping before is dropped. */
static void ping_round(void) {
    static const uint8_t ping[2] = {0x80 | FRAME_PING, 0};
    double time = now();
    if (time - pings_until < PING_ROUND_MS / 1e3) {
        return;
    }
    pings_owed += connection_count * (time - pings_until) / ping_interval;
    pings_until = time;
    while (pings_owed >= 1 && connection_count > 0) {
        pings_owed -= 1;
        ping_next = ping_next < connection_count ? ping_next : 0;
        connection *self = connections[ping_next];
        if (!self->is_heard) {
            drop(self); /* the last one comes to its place */
            continue;
        }
        ping_next++;
        self->is_heard = 0;
        if (self->is_open) {
            transmit(self, ping, sizeof ping);
        }
    }
}

/* --- the loop ------------------------------------------------------------- */

static void accept_all(int listener) {
    int descriptor, on = 1;
    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        connection *self = connection_new(descriptor);
        setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(self, EPOLL_CTL_ADD, EPOLLIN);
        receive(self); /* under load the request is there already */
    }
}

static int listen_on(uint16_t port) {
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) != 0 ||
        listen(listener, BACKLOG) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0) {
        perror("control");
        exit(1);
    }
    if (port != 0) {
        puts("ready");
    } else {
        printf("ready %u\n", ntohs(address.sin_port));
    }
    fflush(stdout);
    return listener;
}

static void serve(int listener) {
    struct epoll_event events[EVENTS];
    for (;;) {
        int wait = ping_interval > 0 ? PING_ROUND_MS : -1;
        int ready = epoll_wait(epoll, events, EVENTS, wait);
        for (int i = 0; i < ready; i++) {
            connection *self = events[i].data.ptr;
            if (self == NULL) {
                accept_all(listener);
                continue;
            }
            if (self->unsent.size > 0 && transmit_rest(self) == GONE) {
                continue;
            }
            if (events[i].events & ~(uint32_t)EPOLLOUT) {
                receive(self);
            }
        }
        flush_turn();
        if (ping_interval > 0) {
            ping_round();
        }
    }
}

int main(int count, char **arguments) {
    uint16_t port = (uint16_t)(count > 1 ? atoi(arguments[1]) : 0);
    if (count == 4 && strcmp(arguments[2], "--ping") == 0) {
        ping_interval = atof(arguments[3]);
        pings_until = now();
    } else if (count > 2) {
        fputs("usage: control PORT [--ping SECONDS]\n", stderr);
        return 2;
    }
    int listener = listen_on(port);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening);
    serve(listener);
}
