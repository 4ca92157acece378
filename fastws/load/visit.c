/* Visitors: connections that come at a given rate, send one message, get it back and
 * go, while the others work. */
#include <stdio.h>
#include <stdlib.h>

#include "part.h"
#include "schedule.h"

enum { VISITOR_BIT = 1U << 31 };

typedef struct {
    part base;
    client **idle; /* places that no visitor has, a stack */
    uint32_t idle_count;
    uint32_t begun;
    uint32_t ended;
    uint32_t ended_before;
    schedule plan;
} visit_state;

static uint64_t visit_tag(const client *peer) {
    return message_digits(peer->number | VISITOR_BIT);
}

static int visit_opened(crowd *run, client *peer) {
    message *text = crowd_text(run, peer->channel);
    histogram_record(&run->result->visit_latency, run->now - peer->started_at, 1);
    if (client_compose(run, peer, text, message_digits(0), visit_tag(peer)) != 0) {
        return -1;
    }
    return client_flush(run, peer);
}

static int visit_message(crowd *run, client *peer, const uint8_t *payload,
                         size_t size) {
    const message *text = crowd_text(run, peer->channel);
    const uint8_t *rest = payload;
    size_t left = size;
    const uint8_t *found = crowd_message(run, text, &rest, &left);
    if (found == NULL) {
        return run->is_enveloped ? 0 : client_changed(run, peer, text, payload, size);
    }
    if (run->options->is_verified && message_tag(found) != visit_tag(peer)) {
        return client_fail(run, peer, "a message of another connection came");
    }
    return client_send_close(run, peer);
}

static int visit_closed(crowd *run, client *peer) {
    visit_state *self = run->states[ROLE_VISITOR];
    self->idle[self->idle_count++] = peer;
    self->ended++;
    return 0;
}

static int visit_begin(crowd *run, part *base) {
    (void)run;
    (void)base;
    return 0;
}

static int visit_start(crowd *run, visit_state *self, uint64_t due) {
    client *peer = self->idle[--self->idle_count];
    peer->number = self->plan.first + self->plan.round * self->plan.stride;
    peer->channel = peer->number % run->options->channels;
    peer->started_at = due;
    peer->fragment_first = 0;
    self->begun++;
    return client_start(run, peer);
}

static int visit_advance(crowd *run, part *base, uint64_t *wake) {
    visit_state *self = (visit_state *)base;
    schedule *plan = &self->plan;
    plan->start = plan->start ? plan->start : run->start_at;
    uint64_t now = clock_nanoseconds();
    uint64_t due = schedule_next(plan);
    while (due <= now && due < run->end_at && self->idle_count > 0) {
        if (visit_start(run, self, due) != 0) {
            return -1;
        }
        schedule_step(plan);
        due = schedule_next(plan);
    }
    *wake = due > now && due < *wake ? due : *wake;
    return 0;
}

static void visit_mark(crowd *run, part *base) {
    visit_state *self = (visit_state *)base;
    self->ended_before = self->ended;
    histogram_clear(&run->result->visit_latency);
}

static void visit_stop(crowd *run, part *base) {
    (void)run;
    (void)base;
}

static int visit_is_settled(const crowd *run, const part *base) {
    const visit_state *self = (const visit_state *)base;
    return self->ended == self->begun && schedule_next(&self->plan) >= run->end_at;
}

static void visit_finish(crowd *run, part *base) {
    const visit_state *self = (const visit_state *)base;
    run->result->visits = self->ended - self->ended_before;
}

static void visit_explain(const crowd *run, const part *base, char *text, size_t size) {
    const visit_state *self = (const visit_state *)base;
    (void)run;
    if (self->ended != self->begun) {
        snprintf(text, size, "%u of %u visitors were not done",
                 self->begun - self->ended, self->begun);
    }
}

static void visit_destroy(part *base) {
    visit_state *self = (visit_state *)base;
    free(self->idle);
    free(self);
}

part *visit_part(crowd *run) {
    const load_options *options = run->options;
    visit_state *self = calloc(1, sizeof *self);
    client **idle = calloc(run->visitors, sizeof(client *));
    if (self == NULL || idle == NULL) {
        free(self);
        free(idle);
        crowd_fail(run, "out of memory");
        return NULL;
    }
    self->base = (part){
        .next = run->parts,
        .begin = visit_begin,
        .advance = visit_advance,
        .mark = visit_mark,
        .stop = visit_stop,
        .is_settled = visit_is_settled,
        .finish = visit_finish,
        .explain = visit_explain,
        .destroy = visit_destroy,
    };
    self->idle = idle;
    for (uint32_t i = 0; i < run->visitors; i++) {
        idle[self->idle_count++] = &run->clients[run->count + i];
    }
    self->plan = (schedule){
        .interval = 1e9 / options->churn,
        .senders = options->processes,
        .first = options->share,
        .stride = options->processes,
        .count = 1,
    };
    run->parts = &self->base;
    run->states[ROLE_VISITOR] = self;
    run->roles[ROLE_VISITOR] = (role_handlers){
        .on_message = visit_message,
        .on_open = visit_opened,
        .on_closed = visit_closed,
    };
    return &self->base;
}
