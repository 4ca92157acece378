/* Pings: every connection asks now and then, and has to get the same bytes back. */
#include <stdio.h>
#include <stdlib.h>

#include "frame.h"
#include "part.h"
#include "schedule.h"

typedef struct {
    part base;
    uint32_t *sent;     /* by client of this process */
    uint32_t *answered;
    uint64_t pings;
    uint64_t pongs;
    uint64_t pongs_before;
    schedule plan;
} ping_state;

/* Every role but visitors pings; its place in run->clients is a client's number. */
static ping_state *pings_of(crowd *run) {
    return run->states[ROLES];
}

static int ping_answered(crowd *run, client *peer, const uint8_t *payload,
                         size_t size) {
    ping_state *self = pings_of(run);
    size_t place = (size_t)(peer - run->clients);
    /* One that nobody asked for is allowed (section 5.5.3). */
    if (size != sizeof(uint64_t) || self->answered[place] == self->sent[place]) {
        return 0;
    }
    uint32_t number = message_value(message_sequence(payload));
    if (number < self->answered[place] || number >= self->sent[place]) {
        return client_fail(run, peer, "a pong with other bytes than its ping");
    }
    /* It may answer the newest of several pings only. */
    self->pongs += number + 1 - self->answered[place];
    self->answered[place] = number + 1;
    if (run->options->mode == MODE_IDLE) {
        uint32_t sender = self->plan.first + (uint32_t)place * self->plan.stride;
        uint64_t passed = schedule_latency(&self->plan, sender, number, run->now);
        histogram_record(&run->result->latency, passed, 1);
    }
    return 0;
}

static int ping_begin(crowd *run, part *base) {
    (void)run;
    (void)base;
    return 0;
}

static int ping_advance(crowd *run, part *base, uint64_t *wake) {
    ping_state *self = (ping_state *)base;
    schedule *plan = &self->plan;
    plan->start = plan->start ? plan->start : run->start_at;
    uint64_t now = clock_nanoseconds();
    uint64_t due = schedule_next(plan);
    for (; due <= now && due < run->end_at; due = schedule_next(plan)) {
        client *peer = &run->clients[plan->place];
        uint64_t number = message_digits(self->sent[plan->place]);
        schedule_step(plan);
        if (peer->phase != CLIENT_OPEN || peer->is_stalled) {
            continue;
        }
        self->sent[peer - run->clients]++;
        self->pings++;
        if (client_send_frame(run, peer, FRAME_PING, &number, sizeof number) != 0) {
            return -1;
        }
    }
    *wake = due > now && due < *wake ? due : *wake;
    return 0;
}

static void ping_mark(crowd *run, part *base) {
    ping_state *self = (ping_state *)base;
    self->pongs_before = self->pongs;
    if (run->options->mode == MODE_IDLE) {
        histogram_clear(&run->result->latency);
    }
}

static void ping_stop(crowd *run, part *base) {
    (void)run;
    (void)base;
}

static int ping_is_settled(const crowd *run, const part *base) {
    (void)run;
    const ping_state *self = (const ping_state *)base;
    return self->pongs == self->pings;
}

static void ping_finish(crowd *run, part *base) {
    const ping_state *self = (const ping_state *)base;
    run->result->pings = self->pongs - self->pongs_before;
}

static void ping_explain(const crowd *run, const part *base, char *text, size_t size) {
    const ping_state *self = (const ping_state *)base;
    (void)run;
    if (self->pongs < self->pings) {
        snprintf(text, size, "%llu of %llu pings were not answered",
                 (unsigned long long)(self->pings - self->pongs),
                 (unsigned long long)self->pings);
    }
}

static void ping_destroy(part *base) {
    ping_state *self = (ping_state *)base;
    free(self->sent);
    free(self->answered);
    free(self);
}

part *ping_part(crowd *run) {
    const load_options *options = run->options;
    ping_state *self = calloc(1, sizeof *self);
    size_t count = run->count ? run->count : 1;
    uint32_t senders = options->connections;
    if (options->mode == MODE_MIXED) {
        senders += options->receivers;
    }
    if (self == NULL) {
        crowd_fail(run, "out of memory");
        return NULL;
    }
    self->base = (part){
        .next = run->parts,
        .begin = ping_begin,
        .advance = ping_advance,
        .mark = ping_mark,
        .stop = ping_stop,
        .is_settled = ping_is_settled,
        .finish = ping_finish,
        .explain = ping_explain,
        .destroy = ping_destroy,
    };
    run->parts = &self->base;
    run->states[ROLES] = self;
    self->sent = calloc(count, sizeof *self->sent);
    self->answered = calloc(count, sizeof *self->answered);
    if (self->sent == NULL || self->answered == NULL) {
        crowd_fail(run, "out of memory");
        return NULL;
    }
    self->plan = (schedule){
        .interval = options->ping_interval * 1e9 / senders,
        .senders = senders,
        .first = options->share,
        .stride = options->processes,
        .count = run->count,
    };
    for (int role = 0; role < ROLE_VISITOR; role++) {
        run->roles[role].on_pong = ping_answered;
    }
    return &self->base;
}
