/* Echo: every connection keeps `depth` messages in flight, or sends by the schedule;
 * each message is checked on its return. */
#include <stdio.h>
#include <stdlib.h>

#include "part.h"
#include "schedule.h"

typedef struct {
    uint32_t next_sent;
    uint32_t next_received;
    uint64_t tag;
    client *peer;
} echo_client;

typedef struct {
    part base;
    echo_client *clients;
    uint64_t *sent_at; /* closed loop: by client, a ring of `depth` */
    uint32_t count;
    uint32_t depth;
    uint64_t sent;
    uint64_t received;
    uint64_t received_before;
    int is_stopped;
    schedule plan;
} echo_state;

/* --- sending ----------------------------------------------------------------- */

static int echo_send_next(crowd *run, echo_state *self, echo_client *own) {
    message *text = crowd_text(run, own->peer->channel);
    uint64_t digits = message_digits(own->next_sent);
    own->next_sent++;
    self->sent++;
    return client_compose(run, own->peer, text, digits, own->tag);
}

/* Closed loop: fills the connection's window with one send. */
static int echo_fill(crowd *run, client *peer) {
    echo_state *self = run->states[ROLE_ECHO];
    echo_client *own = &self->clients[peer->local];
    if (self->is_stopped) {
        return 0;
    }
    uint64_t *sent_at = self->sent_at + (size_t)peer->local * self->depth;
    while (own->next_sent - own->next_received < self->depth) {
        sent_at[own->next_sent % self->depth] = run->now;
        if (echo_send_next(run, self, own) != 0) {
            return -1;
        }
    }
    return client_flush(run, peer);
}

/* Open loop: all that is due, unless the server has stopped reading. */
static int echo_follow_plan(crowd *run, echo_state *self, uint64_t *wake) {
    schedule *plan = &self->plan;
    plan->start = plan->start ? plan->start : run->start_at;
    uint64_t now = clock_nanoseconds();
    uint64_t due = schedule_next(plan);
    while (due <= now && due < run->end_at && run->unsent < CROWD_MOST_UNSENT) {
        echo_client *own = &self->clients[plan->place];
        if (echo_send_next(run, self, own) != 0 || client_flush(run, own->peer) != 0) {
            return -1;
        }
        schedule_step(plan);
        due = schedule_next(plan);
    }
    if (due > now && due < *wake) {
        *wake = due;
    }
    return 0;
}

/* --- receiving --------------------------------------------------------------- */

static int echo_check(crowd *run, client *peer, const echo_client *own,
                      const uint8_t *text) {
    uint32_t expected = own->next_received;
    if (run->options->is_verified && message_tag(text) != own->tag) {
        return client_fail(run, peer, "a message of connection %u came",
                           message_value(message_tag(text)));
    }
    if (own->next_received == own->next_sent) {
        return client_fail(run, peer, "message %u came again: nothing was due",
                           message_value(message_sequence(text)));
    }
    if (!run->options->is_verified) {
        return 0;
    }
    if (message_sequence(text) != message_digits(expected)) {
        return client_misnumbered(run, peer, "message", expected,
                                  message_value(message_sequence(text)));
    }
    return 0;
}

static uint64_t echo_latency(const crowd *run, const echo_state *self,
                             const client *peer, uint32_t number) {
    if (self->sent_at == NULL) {
        return schedule_latency(&self->plan, peer->number, number, run->now);
    }
    const uint64_t *sent_at = self->sent_at + (size_t)peer->local * self->depth;
    return run->now - sent_at[number % self->depth];
}

static int echo_message(crowd *run, client *peer, const uint8_t *payload, size_t size) {
    echo_state *self = run->states[ROLE_ECHO];
    echo_client *own = &self->clients[peer->local];
    const message *text = crowd_text(run, peer->channel);
    const uint8_t *rest = payload;
    size_t left = size;
    const uint8_t *found = crowd_message(run, text, &rest, &left);
    if (found == NULL && !run->is_enveloped) {
        return client_changed(run, peer, text, payload, size);
    }
    while (found != NULL) {
        if (echo_check(run, peer, own, found) != 0) {
            return -1;
        }
        uint32_t number = own->next_received++;
        histogram_record(&run->result->latency, echo_latency(run, self, peer, number),
                         1);
        self->received++;
        found = left ? crowd_message(run, text, &rest, &left) : NULL;
    }
    return 0;
}

/* --- the part ---------------------------------------------------------------- */

static int echo_begin(crowd *run, part *base) {
    (void)run;
    (void)base;
    return 0;
}

static int echo_advance(crowd *run, part *base, uint64_t *wake) {
    echo_state *self = (echo_state *)base;
    if (schedule_is_open(&self->plan)) {
        if (echo_follow_plan(run, self, wake) != 0) {
            return -1;
        }
    } else if (self->sent == 0) {
        for (uint32_t i = 0; i < self->count; i++) {
            run->now = clock_nanoseconds();
            if (echo_fill(run, self->clients[i].peer) != 0) {
                return -1;
            }
        }
    }
    atomic_store_explicit(&run->place->operations, self->received,
                          memory_order_relaxed);
    return 0;
}

static void echo_mark(crowd *run, part *base) {
    echo_state *self = (echo_state *)base;
    self->received_before = self->received;
    histogram_clear(&run->result->latency);
}

static void echo_stop(crowd *run, part *base) {
    (void)run;
    ((echo_state *)base)->is_stopped = 1;
}

static int echo_is_settled(const crowd *run, const part *base) {
    const echo_state *self = (const echo_state *)base;
    int is_sent = !schedule_is_open(&self->plan) ||
                  schedule_next(&self->plan) >= run->end_at;
    return is_sent && self->received == self->sent;
}

static void echo_finish(crowd *run, part *base) {
    const echo_state *self = (const echo_state *)base;
    run->result->operations = self->received - self->received_before;
}

static void echo_explain(const crowd *run, const part *base, char *text, size_t size) {
    const echo_state *self = (const echo_state *)base;
    (void)run;
    uint32_t waiting = 0, first = 0;
    for (uint32_t i = self->count; i-- > 0;) {
        const echo_client *own = &self->clients[i];
        if (own->next_received != own->next_sent) {
            waiting++;
            first = i;
        }
    }
    if (waiting > 0) {
        const echo_client *own = &self->clients[first];
        snprintf(text, size,
                 "%llu messages of %u connections did not come back; connection %u "
                 "awaits message %u of %u",
                 (unsigned long long)(self->sent - self->received), waiting,
                 own->peer->number, own->next_received, own->next_sent);
    }
}

static void echo_destroy(part *base) {
    echo_state *self = (echo_state *)base;
    free(self->clients);
    free(self->sent_at);
    free(self);
}

static int echo_create(crowd *run, echo_state *self, double rate) {
    const load_options *options = run->options;
    self->depth = options->depth;
    for (uint32_t i = 0; i < run->count; i++) {
        self->count += run->clients[i].role == ROLE_ECHO;
    }
    size_t count = self->count ? self->count : 1;
    self->clients = calloc(count, sizeof *self->clients);
    if (rate <= 0) {
        self->sent_at = calloc(count * self->depth, sizeof *self->sent_at);
    }
    if (self->clients == NULL || (rate <= 0 && self->sent_at == NULL)) {
        return -1;
    }
    for (uint32_t i = 0; i < run->count; i++) {
        client *peer = &run->clients[i];
        if (peer->role == ROLE_ECHO) {
            self->clients[peer->local].peer = peer;
            self->clients[peer->local].tag = message_digits(peer->number);
        }
    }
    self->plan = (schedule){
        .interval = rate > 0 ? 1e9 / rate : 0,
        .senders = options->connections,
        .first = options->share,
        .stride = options->processes,
        .count = self->count,
    };
    return 0;
}

part *echo_part(crowd *run, double rate) {
    echo_state *self = calloc(1, sizeof *self);
    if (self == NULL) {
        crowd_fail(run, "out of memory");
        return NULL;
    }
    self->base = (part){
        .next = run->parts,
        .begin = echo_begin,
        .advance = echo_advance,
        .mark = echo_mark,
        .stop = echo_stop,
        .is_settled = echo_is_settled,
        .finish = echo_finish,
        .explain = echo_explain,
        .destroy = echo_destroy,
    };
    run->parts = &self->base;
    run->states[ROLE_ECHO] = self;
    run->roles[ROLE_ECHO] = (role_handlers){
        .on_message = echo_message,
        .on_batch = rate > 0 ? NULL : echo_fill,
    };
    if (echo_create(run, self, rate) != 0) {
        crowd_fail(run, "out of memory");
        return NULL;
    }
    return &self->base;
}
