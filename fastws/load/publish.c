/* The publishers of a fan-out: probes until everybody is subscribed, then publications,
 * as many as the window or the schedule allows. */
#include <sys/eventfd.h>

#include "fanout.h"

static const uint64_t PROBE_INTERVAL = 50000000; /* nanoseconds */

/* --- probes ------------------------------------------------------------------ */

static uint64_t everyones_unprobed(const crowd *run) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < run->options->processes; i++) {
        sum += atomic_load(&run->shared->places[i].unprobed);
    }
    return sum;
}

/* One publisher of each channel; where he gets nothing of his own, a second one. */
static int fanout_send_probes(crowd *run, fanout_state *self) {
    const load_options *options = run->options;
    uint32_t probers = options->channels * (options->is_others_only ? 2 : 1);
    for (uint32_t i = 0; i < self->own_count; i++) {
        client *peer = self->own[i].peer;
        int is_done = options->processes == 1 && !self->channel_unprobed[peer->channel];
        if (self->own[i].number >= probers || is_done) {
            continue;
        }
        message *text = crowd_text(run, peer->channel);
        if (client_compose(run, peer, text, message_digits(0), self->tag_of_probes) ||
            client_flush(run, peer)) {
            return -1;
        }
    }
    return 0;
}

int fanout_probe(crowd *run, fanout_state *self) {
    while (everyones_unprobed(run) > 0) {
        if (fanout_send_probes(run, self) != 0) {
            return -1;
        }
        uint64_t until = clock_nanoseconds() + PROBE_INTERVAL;
        do {
            if (crowd_turn(run, until) != 0) {
                return -1;
            }
        } while (run->now < until && everyones_unprobed(run) > 0);
    }
    return 0;
}

/* --- publications ------------------------------------------------------------ */

uint64_t fanout_completed(const crowd *run, const fanout_state *self, uint32_t number) {
    const load_options *options = run->options;
    uint64_t least = UINT64_MAX;
    for (uint32_t i = 0; i < options->processes; i++) {
        uint64_t completed = atomic_load_explicit(
            &board_completed(run->shared, options->publishers, self->depth, i)[number],
            memory_order_acquire);
        least = completed < least ? completed : least;
    }
    return least;
}

static int fanout_publish_next(crowd *run, fanout_state *self, publisher *own) {
    message *text = crowd_text(run, own->peer->channel);
    publisher_board *shown = fanout_board(run, self, own->number);
    uint64_t digits = message_digits(own->published);
    own->published++;
    atomic_store_explicit(&shown->published, own->published, memory_order_release);
    return client_compose(run, own->peer, text, digits, message_digits(own->number));
}

/* Closed loop: fills one publisher's window with one send. */
static int fanout_fill(crowd *run, fanout_state *self, publisher *own) {
    uint64_t *sent_at = fanout_board(run, self, own->number)->sent_at;
    uint64_t completed = fanout_completed(run, self, own->number);
    uint64_t now = clock_nanoseconds();
    if (self->is_stopped) {
        return 0;
    }
    while (own->published - completed < self->depth) {
        sent_at[own->published % self->depth] = now;
        if (fanout_publish_next(run, self, own) != 0) {
            return -1;
        }
    }
    return client_flush(run, own->peer);
}

/* Tells other processes that publications of theirs are complete here. */
static void fanout_tell_news(crowd *run, fanout_state *self) {
    for (uint32_t i = 0; i < run->options->processes; i++) {
        if (self->has_news[i]) {
            self->has_news[i] = 0;
            eventfd_write(run->shared->wake[i], 1);
        }
    }
}

static int fanout_fill_all(crowd *run, fanout_state *self) {
    /* Others' news come without a name: with them every window is looked at. */
    if (run->options->processes > 1 || self->own_count == 0 ||
        self->own[0].published == 0) {
        for (uint32_t i = 0; i < self->own_count; i++) {
            self->own[i].is_pending = 0;
            if (fanout_fill(run, self, &self->own[i]) != 0) {
                return -1;
            }
        }
        self->pending_count = 0;
        fanout_tell_news(run, self);
    }
    while (self->pending_count > 0) {
        publisher *own = &self->own[self->pending[--self->pending_count]];
        own->is_pending = 0;
        if (fanout_fill(run, self, own) != 0) {
            return -1;
        }
    }
    return 0;
}

/* Open loop: all that is due, unless the server has stopped reading. */
static int fanout_follow_plan(crowd *run, fanout_state *self, uint64_t *wake) {
    schedule *plan = &self->plan;
    plan->start = plan->start ? plan->start : run->start_at;
    uint64_t now = clock_nanoseconds();
    uint64_t due = schedule_next(plan);
    while (due <= now && due < run->end_at && run->unsent < CROWD_MOST_UNSENT) {
        publisher *own = &self->own[plan->place];
        if (fanout_publish_next(run, self, own) != 0 ||
            client_flush(run, own->peer) != 0) {
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

int fanout_publish(crowd *run, fanout_state *self, uint64_t *wake) {
    int is_open = schedule_is_open(&self->plan);
    int failed = is_open ? fanout_follow_plan(run, self, wake)
                         : fanout_fill_all(run, self);
    int is_over = self->is_stopped &&
                  (!is_open || schedule_next(&self->plan) >= run->end_at);
    if (!failed && is_over && !self->is_silent) {
        self->is_silent = 1;
        atomic_fetch_add(&run->shared->silent, 1);
        for (uint32_t i = 0; run->wake >= 0 && i < run->options->processes; i++) {
            eventfd_write(run->shared->wake[i], 1);
        }
    }
    return failed;
}
