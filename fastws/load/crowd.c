#define _GNU_SOURCE
#include "crowd.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "frame.h"
#include "input.h"
#include "part.h"

enum { EVENTS = 512 };

static const uint64_t SECOND = 1000000000;
static const uint64_t WATCH_INTERVAL = 100000000;
static const uint64_t MEET_INTERVAL = 10000000;

uint64_t clock_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* The first fault is the one that is told. */
static int fail(crowd *self, const char *before, const char *format,
                va_list arguments) {
    char *text = self->result->error;
    if (text[0] == 0) {
        int used = snprintf(text, LOAD_ERROR_SIZE, "%s", before);
        vsnprintf(text + used, LOAD_ERROR_SIZE - (size_t)used, format, arguments);
    }
    return -1;
}

int crowd_fail(crowd *self, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fail(self, "", format, arguments);
    va_end(arguments);
    return -1;
}

int client_fail(crowd *self, const client *peer, const char *format, ...) {
    static const char *const names[ROLES] = {
        [ROLE_HOLDER] = "connection",
        [ROLE_ECHO] = "connection",
        [ROLE_SUBSCRIBER] = "subscriber",
        [ROLE_VISITOR] = "visitor",
    };
    char before[64];
    va_list arguments;
    snprintf(before, sizeof before, "%s %u: ", names[peer->role], peer->number);
    va_start(arguments, format);
    fail(self, before, format, arguments);
    va_end(arguments);
    return -1;
}

/* --- life -------------------------------------------------------------------- */

/* How many of `total` numbers belong to this process: every `processes`th. */
static uint32_t portion(const load_options *options, uint32_t total) {
    return (total + options->processes - 1 - options->share) / options->processes;
}

static void crowd_add(crowd *self, client_role role, uint32_t total) {
    const load_options *options = self->options;
    uint32_t count = portion(options, total);
    for (uint32_t i = 0; i < count; i++) {
        client *peer = &self->clients[self->count++];
        peer->descriptor = -1;
        peer->role = (uint8_t)role;
        peer->local = i;
        peer->number = options->share + i * options->processes;
        peer->channel = peer->number % options->channels;
        if (role == ROLE_SUBSCRIBER) {
            peer->is_publisher = peer->number < options->publishers;
            peer->is_stalled = peer->number >= total - options->stalled;
        }
    }
}

static void crowd_populate(crowd *self) {
    const load_options *options = self->options;
    if (options->mode == MODE_ECHO || options->mode == MODE_MIXED) {
        crowd_add(self, ROLE_ECHO, options->connections);
    }
    if (options->mode == MODE_FANOUT || options->mode == MODE_MIXED) {
        crowd_add(self, ROLE_SUBSCRIBER, options->receivers);
    }
    if (options->mode == MODE_CONNECT || options->mode == MODE_IDLE) {
        crowd_add(self, ROLE_HOLDER, options->connections);
    }
    for (uint32_t i = 0; i < self->visitors; i++) {
        client *peer = &self->clients[self->count + i];
        peer->descriptor = -1;
        peer->role = ROLE_VISITOR;
        peer->local = i;
    }
}

static int crowd_load_foreign(crowd *self) {
    const load_options *options = self->options;
    char reason[FOREIGN_REASON];
    if (options->tls_host != NULL) {
        self->tls = tls_context_create(options->ca, options->is_tls_insecure, reason);
        if (self->tls == NULL) {
            return crowd_fail(self, "%s", reason);
        }
    }
    if (options->has_deflate) {
        if (deflate_load(reason) != 0) {
            return crowd_fail(self, "%s", reason);
        }
        self->inflater = inflater_create();
        self->deflater = deflater_create(15);
        if (self->inflater == NULL || self->deflater == NULL) {
            return crowd_fail(self, "out of memory");
        }
    }
    return 0;
}

static int crowd_write_texts(crowd *self) {
    const load_options *options = self->options;
    uint32_t count = options->is_marked ? options->channels : 1;
    uint8_t opcode = options->is_binary ? FRAME_BINARY : FRAME_TEXT;
    self->texts = calloc(count, sizeof *self->texts);
    if (self->texts == NULL) {
        return crowd_fail(self, "out of memory");
    }
    for (uint32_t i = 0; i < count; i++) {
        if (message_create(&self->texts[i], &options->texts[i], options->size, opcode,
                           options->has_records) != 0) {
            return crowd_fail(self, "out of memory");
        }
    }
    return 0;
}

static int crowd_make_epoll(crowd *self) {
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (self->epoll < 0) {
        return crowd_fail(self, "cannot start: %s", strerror(errno));
    }
    if (self->options->processes > 1) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
        self->wake = self->shared->wake[self->options->share];
        if (epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->wake, &event) != 0) {
            return crowd_fail(self, "cannot start: %s", strerror(errno));
        }
    }
    return 0;
}

int crowd_create(crowd *self, const load_options *options, load_result *result) {
    *self = (crowd){
        .options = options,
        .result = result,
        .shared = options->shared,
        .place = &options->shared->places[options->share],
        .epoll = -1,
        .wake = -1,
        .has_exact_wait = 1,
        .end_at = UINT64_MAX,
        .is_enveloped = options->is_marked,
    };
    self->now = self->started_at = self->watched_at = clock_nanoseconds();
    self->deadline = self->now + (uint64_t)(options->timeout * 1e9);
    self->visitors = options->churn > 0 ? options->parallel : 0;
    handshake_expect(&self->expected, options->key, options->subprotocol,
                     options->has_deflate);
    size_t most = (size_t)portion(options, options->connections) +
                  portion(options, options->receivers) + self->visitors;
    self->clients = calloc(most ? most : 1, sizeof *self->clients);
    self->input = malloc(INPUT_SIZE + INPUT_SHORT);
    if (self->clients == NULL || self->input == NULL) {
        return crowd_fail(self, "out of memory");
    }
    crowd_populate(self);
    return crowd_make_epoll(self) || crowd_load_foreign(self) ||
                   crowd_write_texts(self)
               ? -1
               : 0;
}

void client_end(crowd *self, client *peer) {
    /* A reset: 60 s of TIME_WAIT each would eat the next run's ports. */
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(peer->descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(peer->descriptor);
    peer->descriptor = -1;
    peer->phase = CLIENT_CLOSED;
    self->closed += peer->role != ROLE_VISITOR;
    self->unsent -= peer->unsent.size;
    buffer_free(&peer->kept);
    buffer_free(&peer->unsent);
    buffer_free(&peer->fragments);
    tls_session_destroy(peer->tls);
    inflater_destroy(peer->inflater);
    deflater_destroy(peer->deflater);
    peer->tls = NULL;
    peer->inflater = NULL;
    peer->deflater = NULL;
}

void crowd_destroy(crowd *self) {
    for (uint32_t i = 0; self->clients && i < self->count + self->visitors; i++) {
        if (self->clients[i].descriptor >= 0) {
            client_end(self, &self->clients[i]);
        }
    }
    while (self->parts != NULL) {
        part *next = self->parts->next;
        self->parts->destroy(self->parts);
        self->parts = next;
    }
    uint32_t texts = self->options->is_marked ? self->options->channels : 1;
    for (uint32_t i = 0; self->texts != NULL && i < texts; i++) {
        message_destroy(&self->texts[i]);
    }
    if (self->epoll >= 0) {
        close(self->epoll);
    }
    tls_context_destroy(self->tls);
    inflater_destroy(self->inflater);
    deflater_destroy(self->deflater);
    buffer_free(&self->output);
    free(self->texts);
    free(self->clients);
    free(self->input);
}

/* --- turning ----------------------------------------------------------------- */

static int client_ready(crowd *self, client *peer, uint32_t events) {
    if (peer->phase <= CLIENT_UPGRADING && events & EPOLLERR &&
        client_check_connect(self, peer) != 0) {
        return -1;
    }
    if (peer->phase <= CLIENT_SECURING &&
        client_continue_opening(self, peer) != 0) {
        return -1;
    }
    if (peer->unsent.size > 0 && events & EPOLLOUT &&
        client_send_rest(self, peer) != 0) {
        return -1;
    }
    if (peer->phase <= CLIENT_SECURING || !(events & ~(uint32_t)EPOLLOUT) ||
        (peer->is_stalled && peer->phase == CLIENT_OPEN)) {
        return 0;
    }
    return client_receive(self, peer, events);
}

static int timed_out(crowd *self) {
    char missing[256] = "";
    for (const part *one = self->parts; one != NULL && !missing[0]; one = one->next) {
        one->explain(self, one, missing, sizeof missing);
    }
    if (self->opened < self->count) {
        snprintf(missing, sizeof missing, "%u of %u connections were open",
                 self->opened, self->count);
    } else if (self->closed > 0 && self->closed < self->count) {
        snprintf(missing, sizeof missing,
                 "%u of %u connections were closed by the server", self->closed,
                 self->count);
    }
    /* What is missing may be missing in another process: it is to say so. */
    if (!missing[0] && self->options->processes > 1 &&
        self->now < self->deadline + SECOND) {
        return 0;
    }
    return crowd_fail(self, "timed out after %g s%s%s", self->options->timeout,
                      missing[0] ? ": " : "", missing);
}

static int crowd_watch(crowd *self) {
    board *shared = self->shared;
    if (atomic_load_explicit(&shared->is_stopped, memory_order_relaxed)) {
        return crowd_fail(self, "stopped");
    }
    if (atomic_load_explicit(&shared->is_failed, memory_order_relaxed)) {
        return crowd_fail(self, "another process failed");
    }
    if (self->now > self->deadline) {
        return timed_out(self);
    }
    if (self->options->watch != NULL && self->now - self->watched_at > WATCH_INTERVAL) {
        self->watched_at = self->now;
        if (self->options->watch(self->options->watcher) != 0) {
            return crowd_fail(self, "stopped");
        }
    }
    return 0;
}

/* epoll_wait counts milliseconds, which is too coarse for a schedule. The call that
 * takes nanoseconds is as old as Linux 5.11, and younger than some C libraries. */
static int wait_events(crowd *self, struct epoll_event *events, uint64_t nanoseconds) {
    enum { EPOLL_PWAIT2 = 441 };
    if (self->has_exact_wait) {
        struct timespec wait = {.tv_sec = (time_t)(nanoseconds / SECOND),
                                .tv_nsec = (long)(nanoseconds % SECOND)};
        long ready = syscall(EPOLL_PWAIT2, self->epoll, events, EVENTS, &wait, NULL,
                             (size_t)8);
        if (ready >= 0 || errno != ENOSYS) {
            return (int)ready;
        }
        self->has_exact_wait = 0;
    }
    /* Rounded down: the last millisecond is spent asking. */
    return epoll_wait(self->epoll, events, EVENTS, (int)(nanoseconds / 1000000));
}

/* Asleep, the generator has to be woken by the server's own send, which pays for it:
 * the slower the server, the more of its messages. What was asked in vain is idle time
 * all the same. */
static int poll_events(crowd *self, struct epoll_event *events, uint64_t until) {
    int ready;
    uint64_t now = self->now;
    while ((ready = epoll_wait(self->epoll, events, EVENTS, 0)) == 0 && now < until) {
        now = clock_nanoseconds();
    }
    self->polled += now - self->now;
    return ready;
}

int crowd_turn(crowd *self, uint64_t until) {
    struct epoll_event events[EVENTS];
    self->now = clock_nanoseconds();
    if (crowd_watch(self) != 0) {
        return -1;
    }
    uint64_t latest = self->now + WATCH_INTERVAL;
    if (self->now <= self->deadline && latest > self->deadline) {
        latest = self->deadline + 1;
    }
    until = until < latest ? until : latest;
    int ready = self->options->is_busy_polling
                    ? poll_events(self, events, until)
                    : wait_events(self, events,
                                  until > self->now ? until - self->now : 0);
    if (ready < 0 && errno != EINTR) {
        return crowd_fail(self, "epoll_wait: %s", strerror(errno));
    }
    self->now = clock_nanoseconds();
    for (int i = 0; i < ready; i++) {
        client *peer = events[i].data.ptr;
        if (peer == NULL) {
            eventfd_t count;
            eventfd_read(self->wake, &count);
        } else if (peer->descriptor >= 0 &&
                   client_ready(self, peer, events[i].events) != 0) {
            return -1;
        }
    }
    return 0;
}

/* The last to come sets the common start and wakes the others. */
int crowd_meet(crowd *self) {
    board *shared = self->shared;
    uint32_t processes = self->options->processes;
    _Atomic uint32_t *arrived = &shared->arrived[self->barriers++];
    if (atomic_fetch_add(arrived, 1) + 1 == processes) {
        atomic_store(&shared->start_at, clock_nanoseconds());
        atomic_fetch_add(arrived, processes);
        for (uint32_t i = 0; processes > 1 && i < processes; i++) {
            eventfd_write(shared->wake[i], 1);
        }
    }
    while (atomic_load(arrived) < 2 * processes) {
        if (crowd_turn(self, clock_nanoseconds() + MEET_INTERVAL) != 0) {
            return -1;
        }
    }
    self->start_at = atomic_load(&shared->start_at);
    self->now = clock_nanoseconds();
    return 0;
}

/* --- messages ---------------------------------------------------------------- */

const uint8_t *crowd_message(crowd *self, const message *text, const uint8_t **payload,
                             size_t *size) {
    const uint8_t *found = *payload;
    if (!self->is_enveloped) {
        int is_it = self->options->is_verified ? message_has_filler(text, found, *size)
                                               : *size == text->size;
        if (is_it) {
            self->is_raw = 1;
            *size = 0;
            return found;
        }
        if (self->is_raw || *size <= text->size ||
            text->size < MESSAGE_DIGITS + sizeof(uint64_t)) {
            return NULL;
        }
    }
    found = message_find(text, *payload, *size);
    if (found != NULL) {
        const uint8_t *end = *payload + *size;
        self->is_enveloped = 1;
        *payload = found + text->size;
        *size = (size_t)(end - *payload);
    }
    return found;
}

int client_changed(crowd *self, const client *peer, const message *text,
                   const uint8_t *payload, size_t size) {
    if (size != text->size) {
        const char *more = size > text->size ? ", without the message in them" : "";
        return client_fail(self, peer, "%zu bytes came where %zu were awaited%s", size,
                           text->size, more);
    }
    const uint8_t *filler = message_filler(text, message_sequence(payload));
    size_t at = MESSAGE_DIGITS;
    while (at < size && payload[at] == filler[at - MESSAGE_DIGITS]) {
        at++;
    }
    return client_fail(self, peer, "a message came back changed, from byte %zu on", at);
}

int client_misnumbered(crowd *self, const client *peer, const char *what,
                       uint32_t expected, uint32_t got) {
    if (got < expected) {
        return client_fail(self, peer, "%s %u came again, or out of order; %u was due",
                           what, got, expected);
    }
    return client_fail(self, peer, "%s %u came where %u was due: %u missing", what, got,
                       expected, got - expected);
}

/* --- closing ----------------------------------------------------------------- */

int crowd_close(crowd *self) {
    for (uint32_t i = 0; i < self->count + self->visitors; i++) {
        client *peer = &self->clients[i];
        if (peer->descriptor < 0) {
            continue;
        }
        if (peer->is_stalled || peer->phase < CLIENT_OPEN) {
            client_end(self, peer);
        } else if (peer->phase == CLIENT_OPEN && client_send_close(self, peer) != 0) {
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
