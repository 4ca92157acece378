/* The control: as little WebSocket server as echo and broadcast need, in C.
 *
 * It is the denominator of every ratio, so it does what a good programmer's server does
 * for speed and nothing else: one recv for many frames, answered with one send;
 * level-triggered epoll; unmasking fused with the copy into the output. Publications of
 * one turn leave in one send per subscriber. No validation, no fragments, no limits
 * beyond the input buffer, no time-outs: never expose it.
 *
 *   /echo       every message comes back
 *   any other   every message goes to all connections, its sender included
 */
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
#include <unistd.h>

#include "accept_key.h"
#include "frame.h"

enum {
    INPUT_SIZE = 1 << 20, /* also the longest frame */
    EVENTS = 512,
    BACKLOG = 4096,
    MAX_UNSENT = 64 << 20, /* a subscriber further behind is dropped */
};

typedef struct {
    uint8_t *data;
    size_t size;
    size_t capacity;
} byte_buffer;

typedef struct {
    int descriptor;
    uint32_t member; /* place in subscribers */
    enum { UPGRADING, ECHO, SUBSCRIBER } role;
    int is_closing;     /* once everything is sent */
    byte_buffer kept;   /* start of a frame whose rest has not arrived */
    byte_buffer unsent; /* what the kernel refused */
} connection;

static int epoll;
static uint8_t input[INPUT_SIZE];
static uint8_t output[INPUT_SIZE]; /* an answer is never longer than its request */
static byte_buffer turn;           /* publications of this turn, as server frames */
static connection **subscribers;
static uint32_t subscriber_count;
static uint32_t subscriber_capacity;

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

static void buffer_append(byte_buffer *self, const uint8_t *data, size_t size) {
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

/* --- subscribers ---------------------------------------------------------- */

static void subscribe(connection *self) {
    if (subscriber_count == subscriber_capacity) {
        subscriber_capacity = 2 * subscriber_capacity + 64;
        subscribers =
            checked(realloc(subscribers, subscriber_capacity * sizeof *subscribers));
    }
    self->member = subscriber_count;
    subscribers[subscriber_count++] = self;
}

static void unsubscribe(connection *self) {
    connection *last = subscribers[--subscriber_count];
    subscribers[self->member] = last;
    last->member = self->member;
}

static void drop(connection *self) {
    if (self->role == SUBSCRIBER) {
        unsubscribe(self);
    }
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
        /* An echo is not read from while it is behind; a subscriber seldom speaks. */
        watch(self, EPOLL_CTL_MOD, EPOLLOUT);
    }
    if (self->unsent.size + size > MAX_UNSENT) {
        drop(self);
        return GONE;
    }
    buffer_append(&self->unsent, data, size);
    return STAYS;
}

static void transmit_rest(connection *self) {
    byte_buffer *unsent = &self->unsent;
    ssize_t sent = send(self->descriptor, unsent->data, unsent->size, MSG_NOSIGNAL);
    if (sent < 0) {
        if (errno != EAGAIN) {
            drop(self);
        }
        return;
    }
    unsent->size -= (size_t)sent;
    memmove(unsent->data, unsent->data + sent, unsent->size);
    if (unsent->size == 0) {
        if (self->is_closing) {
            drop(self);
            return;
        }
        watch(self, EPOLL_CTL_MOD, EPOLLIN);
    }
}

static void flush_turn(void) {
    if (turn.size == 0) {
        return;
    }
    /* From the end: a dropped subscriber's place is taken by one already visited. */
    for (uint32_t i = subscriber_count; i-- > 0;) {
        transmit(subscribers[i], turn.data, turn.size);
    }
    turn.size = 0;
}

/* --- frames --------------------------------------------------------------- */

/* Copies one frame as a server's frame; returns its size. */
static size_t answer(uint8_t *out, const frame_header *header, const uint8_t *payload,
                     uint8_t first) {
    size_t head = frame_header_encode(out, first, header->length, 0);
    unmask_copy(out + head, payload, header->length, payload - 4);
    return head + header->length;
}

/* Returns the bytes consumed; *answered is what output holds then. */
static size_t frames(connection *self, const uint8_t *data, size_t size,
                     size_t *answered) {
    size_t done = 0, out = 0;
    frame_header header;
    while (frame_header_decode(data + done, size - done, &header) &&
           size - done - header.header_size >= header.length) {
        const uint8_t *payload = data + done + header.header_size;
        uint8_t opcode = header.first & 0xF;
        if (opcode >= FRAME_CLOSE) {
            uint8_t first = 0x80 | (opcode == FRAME_PING ? FRAME_PONG : opcode);
            if (opcode != FRAME_PONG) {
                out += answer(output + out, &header, payload, first);
            }
            self->is_closing |= opcode == FRAME_CLOSE;
        } else if (self->role == ECHO) {
            out += answer(output + out, &header, payload, header.first);
        } else {
            buffer_reserve(&turn, header.length + FRAME_MAX_HEADER);
            turn.size += answer(turn.data + turn.size, &header, payload, header.first);
        }
        done += header.header_size + header.length;
    }
    *answered = out;
    return done;
}

/* Bytes of the request's head, answered in output; 0: incomplete; -1: not for us. */
static long upgrade(connection *self, const char *data, size_t size,
                    size_t *answered) {
    static const char before[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                 "Upgrade: websocket\r\n"
                                 "Connection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: ";
    static const char name[] = "\r\nsec-websocket-key:";
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL) {
        return 0;
    }
    char *head = strndupa(data, (size_t)(end - data));
    const char *key = strcasestr(head, name);
    if (key == NULL || strncmp(head, "GET /", 5) != 0) {
        return -1;
    }
    key += sizeof name - 1;
    key += strspn(key, " \t");
    memcpy(output, before, sizeof before - 1);
    char *out = (char *)output + sizeof before - 1;
    accept_key(key, strcspn(key, " \t\r"), out);
    memcpy(out + ACCEPT_KEY_SIZE, "\r\n\r\n", 4);
    *answered = sizeof before - 1 + ACCEPT_KEY_SIZE + 4;
    self->role = strncmp(head + 4, "/echo ", 6) == 0 ? ECHO : SUBSCRIBER;
    if (self->role == SUBSCRIBER) {
        subscribe(self);
    }
    return end + 4 - data;
}

static void consume(connection *self, const uint8_t *data, size_t size) {
    size_t done = 0, answered = 0;
    if (self->role == UPGRADING) {
        long head = upgrade(self, (const char *)data, size, &answered);
        if (head < 0) {
            drop(self);
            return;
        }
        done = (size_t)head;
    } else {
        done = frames(self, data, size, &answered);
    }
    if (done < size) {
        buffer_append(&self->kept, data + done, size - done);
    }
    if (answered && transmit(self, output, answered) == GONE) {
        return;
    }
    if (self->is_closing && self->unsent.size == 0) {
        drop(self);
    }
}

static void receive(connection *self) {
    size_t kept = self->kept.size;
    if (kept > 0) {
        memcpy(input, self->kept.data, kept);
        self->kept.size = 0;
    }
    ssize_t got = recv(self->descriptor, input + kept, INPUT_SIZE - kept, 0);
    if (got > 0) {
        consume(self, input, kept + (size_t)got);
    } else if (got == 0 || errno != EAGAIN) {
        drop(self); /* also a frame longer than the input */
    } else {
        self->kept.size = kept;
    }
}

/* --- the loop ------------------------------------------------------------- */

static void accept_all(int listener) {
    int descriptor, on = 1;
    while ((descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        connection *self = checked(calloc(1, sizeof *self));
        self->descriptor = descriptor;
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
    printf("listening on %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int count, char **arguments) {
    struct epoll_event events[EVENTS];
    int listener = listen_on((uint16_t)(count > 1 ? atoi(arguments[1]) : 0));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &listening);
    for (;;) {
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            connection *self = events[i].data.ptr;
            if (self == NULL) {
                accept_all(listener);
            } else if (self->unsent.size > 0) {
                transmit_rest(self);
            } else {
                receive(self);
            }
        }
        flush_turn();
    }
}
