#define _GNU_SOURCE
#include "crowd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "frame.h"
#include "message.h"

enum { INPUT_SIZE = 1 << 18, EVENTS = 256 };

uint64_t clock_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

int crowd_fail(crowd *self, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(self->result->error, sizeof self->result->error, format, arguments);
    va_end(arguments);
    return -1;
}

static int buffer_append(byte_buffer *self, const uint8_t *data, size_t size) {
    if (size > self->capacity - self->size) {
        size_t capacity = self->capacity ? self->capacity : 4096;
        while (size > capacity - self->size) {
            capacity *= 2;
        }
        uint8_t *grown = realloc(self->data, capacity);
        if (grown == NULL) {
            return -1;
        }
        self->data = grown;
        self->capacity = capacity;
    }
    memcpy(self->data + self->size, data, size);
    self->size += size;
    return 0;
}

static void buffer_free(byte_buffer *self) {
    free(self->data);
    *self = (byte_buffer){0};
}

static void buffer_drop(byte_buffer *self, size_t size) {
    self->size -= size;
    memmove(self->data, self->data + size, self->size);
}

/* --- life -------------------------------------------------------------------- */

int crowd_create(crowd *self, const load_options *options, load_result *result) {
    *self = (crowd){.options = options, .result = result, .epoll = -1};
    const char *publisher_path =
        options->publisher_path ? options->publisher_path : options->path;
    if (handshake_build(&self->greeting, options->host, options->port, options->path) ||
        handshake_build(&self->publisher_greeting, options->host, options->port,
                        publisher_path)) {
        return crowd_fail(self, "host and path are too long");
    }
    self->count = options->connections;
    self->now = clock_nanoseconds();
    self->deadline = self->now + (uint64_t)(options->timeout * 1e9);
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    self->clients = calloc(self->count, sizeof *self->clients);
    self->input = malloc(INPUT_SIZE + MESSAGE_MAX_FRAME(options->size));
    if (self->epoll < 0 || self->clients == NULL || self->input == NULL) {
        return crowd_fail(self, "cannot start: %s", strerror(errno));
    }
    for (uint32_t i = 0; i < self->count; i++) {
        self->clients[i].descriptor = -1;
        self->clients[i].index = i;
    }
    return 0;
}

static void client_end(crowd *self, client *peer) {
    close(peer->descriptor);
    peer->descriptor = -1;
    peer->phase = CLIENT_CLOSED;
    self->closed++;
    buffer_free(&peer->kept);
    buffer_free(&peer->unsent);
}

void crowd_destroy(crowd *self) {
    for (uint32_t i = 0; self->clients != NULL && i < self->count; i++) {
        if (self->clients[i].descriptor >= 0) {
            /* A reset: 60 s of TIME_WAIT each would eat the next run's ports. */
            struct linger reset = {.l_onoff = 1, .l_linger = 0};
            setsockopt(self->clients[i].descriptor, SOL_SOCKET, SO_LINGER, &reset,
                       sizeof reset);
            client_end(self, &self->clients[i]);
        }
    }
    if (self->epoll >= 0) {
        close(self->epoll);
    }
    free(self->clients);
    free(self->input);
}

/* --- sending ----------------------------------------------------------------- */

static int client_watch(crowd *self, client *peer, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = peer};
    if (epoll_ctl(self->epoll, operation, peer->descriptor, &event) != 0) {
        return crowd_fail(self, "epoll_ctl: %s", strerror(errno));
    }
    return 0;
}

int client_send(crowd *self, client *peer, const uint8_t *data, size_t size) {
    ssize_t sent = 0;
    int was_behind = peer->unsent.size > 0;
    if (!was_behind) {
        sent = send(peer->descriptor, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent == (ssize_t)size) {
            return 0;
        }
        if (sent < 0 && errno != EAGAIN) {
            return crowd_fail(self, "connection %u: send: %s", peer->index,
                              strerror(errno));
        }
        sent = sent < 0 ? 0 : sent;
    }
    if (buffer_append(&peer->unsent, data + sent, size - (size_t)sent) != 0) {
        return crowd_fail(self, "out of memory");
    }
    return was_behind ? 0 : client_watch(self, peer, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static int client_send_rest(crowd *self, client *peer) {
    ssize_t sent = send(peer->descriptor, peer->unsent.data, peer->unsent.size,
                        MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
        return errno == EAGAIN ? 0
                               : crowd_fail(self, "connection %u: send: %s",
                                            peer->index, strerror(errno));
    }
    buffer_drop(&peer->unsent, (size_t)sent);
    return peer->unsent.size ? 0 : client_watch(self, peer, EPOLL_CTL_MOD, EPOLLIN);
}

/* Control frames and first messages: rare, so made on the heap, masked with zeros. */
static int client_send_frame(crowd *self, client *peer, uint8_t opcode,
                             const void *payload, size_t size) {
    uint8_t head[FRAME_MAX_HEADER] = {0};
    size_t head_size = frame_header_encode(head, 0x80 | opcode, size, 0x80) + 4;
    byte_buffer frame = {0};
    if (buffer_append(&frame, head, head_size) != 0 ||
        (size > 0 && buffer_append(&frame, payload, size) != 0)) {
        buffer_free(&frame);
        return crowd_fail(self, "out of memory");
    }
    int failed = client_send(self, peer, frame.data, frame.size);
    buffer_free(&frame);
    return failed;
}

/* --- opening ----------------------------------------------------------------- */

static const handshake *handshake_of(const crowd *self, const client *peer) {
    int publishes = self->options->mode == MODE_FANOUT && peer->index == 0;
    return publishes ? &self->publisher_greeting : &self->greeting;
}

static int client_send_request(crowd *self, client *peer) {
    const handshake *text = handshake_of(self, peer);
    ssize_t sent = send(peer->descriptor, text->request, text->request_size,
                        MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno == EAGAIN) {
        return 0;
    }
    if (sent != (ssize_t)text->request_size) {
        return crowd_fail(self, "connection %u: connect: %s", peer->index,
                          strerror(errno));
    }
    peer->phase = CLIENT_UPGRADING;
    return 1;
}

/* The source port is chosen at connect, when both ends are known: more of them fit. */
static int client_bind(crowd *self, client *peer) {
    if (self->options->sources < 2) {
        return 0;
    }
    int on = 1;
    uint32_t address = INADDR_LOOPBACK + peer->index % self->options->sources;
    struct sockaddr_in source = {.sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl(address)};
    setsockopt(peer->descriptor, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return bind(peer->descriptor, (struct sockaddr *)&source, sizeof source);
}

static int client_start(crowd *self, client *peer) {
    int on = 1;
    struct sockaddr_in target = {.sin_family = AF_INET,
                                 .sin_port = htons(self->options->port)};
    inet_pton(AF_INET, self->options->host, &target.sin_addr);
    peer->started_at = clock_nanoseconds();
    peer->replies_left = self->options->first_replies;
    peer->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (peer->descriptor < 0 || client_bind(self, peer) != 0) {
        return crowd_fail(self, "connection %u: %s", peer->index, strerror(errno));
    }
    setsockopt(peer->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(peer->descriptor, (struct sockaddr *)&target, sizeof target) != 0 &&
        errno != EINPROGRESS) {
        return crowd_fail(self, "connection %u: connect: %s", peer->index,
                          strerror(errno));
    }
    peer->phase = CLIENT_CONNECTING;
    self->started++;
    /* On loopback the connection is already there: the request may go at once. */
    int sent = client_send_request(self, peer);
    if (sent < 0) {
        return -1;
    }
    return client_watch(self, peer, EPOLL_CTL_ADD, sent ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

static void client_opened(crowd *self, client *peer) {
    peer->phase = CLIENT_OPEN;
    self->opened++;
    if (self->options->mode == MODE_CONNECT) {
        histogram_record(&self->result->latency, self->now - peer->started_at);
    }
}

static int client_greet(crowd *self, client *peer) {
    const char *first = self->options->first_message;
    if (first != NULL &&
        client_send_frame(self, peer, FRAME_TEXT, first, strlen(first)) != 0) {
        return -1;
    }
    peer->phase = CLIENT_GREETING;
    if (peer->replies_left == 0) {
        client_opened(self, peer);
    }
    return 0;
}

int crowd_open(crowd *self, uint32_t count) {
    while (self->opened < count) {
        while (self->started < count &&
               self->started - self->opened < self->options->parallel) {
            if (client_start(self, &self->clients[self->started]) != 0) {
                return -1;
            }
        }
        if (crowd_turn(self, self->deadline) != 0) {
            return -1;
        }
    }
    return 0;
}

/* --- receiving --------------------------------------------------------------- */

static int client_control_frame(crowd *self, client *peer, uint8_t opcode,
                                const uint8_t *payload, size_t size) {
    if (opcode == FRAME_PING) {
        return client_send_frame(self, peer, FRAME_PONG, payload, size);
    }
    if (opcode == FRAME_CLOSE && peer->phase != CLIENT_CLOSING) {
        unsigned code = size >= 2 ? (unsigned)(payload[0] << 8 | payload[1]) : 1005;
        return crowd_fail(self, "connection %u: closed by the server with %u",
                          peer->index, code);
    }
    if (opcode == FRAME_CLOSE) {
        client_end(self, peer);
    }
    return 0;
}

static int client_message(crowd *self, client *peer, const uint8_t *payload,
                          size_t size) {
    if (peer->phase == CLIENT_GREETING) {
        if (--peer->replies_left == 0) {
            client_opened(self, peer);
        }
        return 0;
    }
    if (peer->phase == CLIENT_CLOSING) {
        return crowd_fail(self, "connection %u: a message beyond the last",
                          peer->index);
    }
    return self->on_message ? self->on_message(self, peer, payload, size) : 0;
}

/* Returns the bytes consumed, or -1. */
static long client_frames(crowd *self, client *peer, const uint8_t *data, size_t size) {
    uint8_t expected = 0x80 | (self->options->is_binary ? FRAME_BINARY : FRAME_TEXT);
    size_t done = 0;
    frame_header header;
    while (frame_header_decode(data + done, size - done, &header)) {
        const uint8_t *payload = data + done + header.header_size;
        if (header.is_masked || header.length > LOAD_MAX_SIZE) {
            return crowd_fail(self, "connection %u: bad frame header", peer->index);
        }
        if (size - done - header.header_size < header.length) {
            break;
        }
        done += header.header_size + header.length;
        int failed;
        if (header.first == expected || peer->phase == CLIENT_GREETING) {
            failed = client_message(self, peer, payload, header.length);
        } else if ((header.first & 0xF8) == 0x88) {
            failed = client_control_frame(self, peer, header.first & 0xF, payload,
                                          header.length);
        } else {
            failed = crowd_fail(self, "connection %u: frame starting with 0x%02x",
                                peer->index, header.first);
        }
        if (failed) {
            return -1;
        }
        if (peer->phase == CLIENT_CLOSED) {
            break;
        }
    }
    return (long)done;
}

static long client_handshake(crowd *self, client *peer, const uint8_t *data,
                             size_t size) {
    const char *reason;
    long head = handshake_check(handshake_of(self, peer), (const char *)data, size,
                                &reason);
    if (head < 0) {
        return crowd_fail(self, "connection %u: handshake: %s", peer->index, reason);
    }
    if (head > 0 && client_greet(self, peer) != 0) {
        return -1;
    }
    return head;
}

static int client_consume(crowd *self, client *peer, const uint8_t *data, size_t size) {
    size_t done = 0;
    if (peer->phase == CLIENT_UPGRADING) {
        long head = client_handshake(self, peer, data, size);
        if (head < 0) {
            return -1;
        }
        done = (size_t)head;
    }
    if (peer->phase >= CLIENT_GREETING) {
        long frames = client_frames(self, peer, data + done, size - done);
        if (frames < 0) {
            return -1;
        }
        done += (size_t)frames;
    }
    if (peer->phase == CLIENT_CLOSED) {
        return 0;
    }
    if (done < size && buffer_append(&peer->kept, data + done, size - done) != 0) {
        return crowd_fail(self, "out of memory");
    }
    if (self->on_batch == NULL || peer->phase != CLIENT_OPEN) {
        return 0;
    }
    return self->on_batch(self, peer);
}

static int client_receive(crowd *self, client *peer) {
    size_t kept = peer->kept.size;
    if (kept > 0) {
        if (kept > MESSAGE_MAX_FRAME(self->options->size) + HANDSHAKE_MAX_RESPONSE) {
            return crowd_fail(self, "connection %u: frame too large", peer->index);
        }
        memcpy(self->input, peer->kept.data, kept);
        peer->kept.size = 0;
    }
    ssize_t got = recv(peer->descriptor, self->input + kept,
                       INPUT_SIZE - HANDSHAKE_MAX_RESPONSE, MSG_DONTWAIT);
    self->now = clock_nanoseconds();
    if (got > 0) {
        return client_consume(self, peer, self->input, kept + (size_t)got);
    }
    if (got < 0 && errno == EAGAIN) {
        peer->kept.size = kept;
        return 0;
    }
    if (peer->phase == CLIENT_CLOSING) {
        client_end(self, peer);
        return 0;
    }
    return crowd_fail(self, "connection %u: lost: %s", peer->index,
                      got == 0 ? "end of stream" : strerror(errno));
}

static int client_ready(crowd *self, client *peer, uint32_t events) {
    if (peer->phase == CLIENT_CONNECTING) {
        int sent = client_send_request(self, peer);
        return sent <= 0 ? sent : client_watch(self, peer, EPOLL_CTL_MOD, EPOLLIN);
    }
    if (events & EPOLLOUT && peer->unsent.size && client_send_rest(self, peer) != 0) {
        return -1;
    }
    return events & ~(uint32_t)EPOLLOUT ? client_receive(self, peer) : 0;
}

int crowd_turn(crowd *self, uint64_t until) {
    struct epoll_event events[EVENTS];
    self->now = clock_nanoseconds();
    if (self->now > self->deadline) {
        return crowd_fail(self, "timed out: %u opened and %u closed of %u",
                          self->opened, self->closed, self->count);
    }
    until = until < self->deadline ? until : self->deadline;
    uint64_t wait = until > self->now ? (until - self->now) / 1000000 + 1 : 0;
    int ready = epoll_wait(self->epoll, events, EVENTS, (int)wait);
    if (ready < 0 && errno != EINTR) {
        return crowd_fail(self, "epoll_wait: %s", strerror(errno));
    }
    self->now = clock_nanoseconds();
    for (int i = 0; i < ready; i++) {
        if (client_ready(self, events[i].data.ptr, events[i].events) != 0) {
            return -1;
        }
    }
    return 0;
}

/* --- closing ----------------------------------------------------------------- */

int crowd_close(crowd *self) {
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 0xFF};
    for (uint32_t i = 0; i < self->count; i++) {
        client *peer = &self->clients[i];
        peer->phase = CLIENT_CLOSING;
        if (client_send_frame(self, peer, FRAME_CLOSE, normal, sizeof normal) != 0) {
            return -1;
        }
    }
    while (self->closed < self->count) {
        if (crowd_turn(self, self->deadline) != 0) {
            return -1;
        }
    }
    return 0;
}
