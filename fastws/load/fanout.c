/* Fan-out: publishers send, every subscriber of their channel receives.
 *
 * At most `depth` publications of each publisher are open, or they follow the schedule;
 * one is complete when all subscribers have it, in all processes. */
#include "fanout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

/* Foreseen frames of all channels together. */
enum { MOST_FORESEEN = 64 << 20, MOST_RING = 64 };

/* --- the part ---------------------------------------------------------------- */

static int fanout_begin(crowd *run, part *base) {
    return fanout_probe(run, (fanout_state *)base);
}

static int fanout_advance(crowd *run, part *base, uint64_t *wake) {
    fanout_state *self = (fanout_state *)base;
    int failed = fanout_publish(run, self, wake);
    uint64_t published = self->own_count ? self->own[0].published : 0;
    atomic_store_explicit(&run->place->publications, published * self->own_count,
                          memory_order_relaxed);
    if (run->options->mode == MODE_FANOUT) {
        atomic_store_explicit(&run->place->operations, self->delivered,
                              memory_order_relaxed);
    }
    return failed;
}

static void fanout_mark(crowd *run, part *base) {
    fanout_state *self = (fanout_state *)base;
    self->delivered_before = self->delivered;
    for (uint32_t i = 0; i < self->own_count; i++) {
        publisher *own = &self->own[i];
        own->before = schedule_is_open(&self->plan)
                          ? own->published
                          : (uint32_t)fanout_completed(run, self, own->number);
    }
    histogram_clear(self->latency);
}

static void fanout_stop(crowd *run, part *base) {
    (void)run;
    ((fanout_state *)base)->is_stopped = 1;
}

static uint64_t fanout_expected(const crowd *run, const fanout_state *self) {
    uint64_t expected = 0;
    for (uint32_t i = 0; i < run->options->publishers; i++) {
        expected += self->owed[i] * fanout_published(run, self, i);
    }
    return expected;
}

static int fanout_is_settled(const crowd *run, const part *base) {
    const fanout_state *self = (const fanout_state *)base;
    return atomic_load(&run->shared->silent) == run->options->processes &&
           self->delivered == fanout_expected(run, self);
}

static void fanout_finish(crowd *run, part *base) {
    const fanout_state *self = (const fanout_state *)base;
    uint64_t delivered = self->delivered - self->delivered_before;
    if (run->options->mode == MODE_FANOUT) {
        run->result->operations = delivered;
    } else {
        run->result->deliveries = delivered;
    }
    for (uint32_t i = 0; i < self->own_count; i++) {
        run->result->publications += self->own[i].published - self->own[i].before;
    }
}

/* The subscriber that has waited longest, for whichever publisher. */
static void fanout_explain_missing(const crowd *run, const fanout_state *self,
                                   char *text, size_t size) {
    const load_options *options = run->options;
    uint64_t missing = fanout_expected(run, self) - self->delivered;
    for (uint32_t i = 0; i < self->count; i++) {
        const client *peer = self->peers[i];
        for (uint32_t slot = 0; slot < self->width && !peer->is_stalled; slot++) {
            uint32_t number = slot * options->channels + peer->channel;
            uint32_t next = self->next[(size_t)i * self->width + slot];
            int is_owed = number < options->publishers && self->owed[number] > 0 &&
                          !(options->is_others_only && peer->number == number);
            if (is_owed && next < fanout_published(run, self, number)) {
                snprintf(text, size,
                         "%llu deliveries are missing; subscriber %u awaits "
                         "publication %u of publisher %u",
                         (unsigned long long)missing, peer->number, next, number);
                return;
            }
        }
    }
}

static void fanout_explain(const crowd *run, const part *base, char *text,
                           size_t size) {
    const fanout_state *self = (const fanout_state *)base;
    uint32_t first = 0;
    if (self->unprobed == 0) {
        fanout_explain_missing(run, self, text, size);
        return;
    }
    while (self->is_probed[first]) {
        first++;
    }
    snprintf(text, size,
             "%u of %u subscribers got nothing of what was published, subscriber %u "
             "first; does the server send it to them, and are they subscribed?",
             self->unprobed, self->count, self->peers[first]->number);
}

static void fanout_destroy(part *base) {
    fanout_state *self = (fanout_state *)base;
    free(self->peers);
    free(self->next);
    free(self->is_probed);
    free(self->channel_unprobed);
    free(self->owed);
    free(self->arrived);
    free(self->own);
    free(self->pending);
    free(self->has_news);
    free(self->frames);
    free(self->held);
    for (size_t i = 0; self->packed != NULL && i < self->held_count; i++) {
        buffer_free(&self->packed[i].bytes);
    }
    free(self->packed);
    free(self);
}

/* --- making it --------------------------------------------------------------- */

static int fanout_allocate(const crowd *run, fanout_state *self) {
    const load_options *options = run->options;
    size_t count = self->count ? self->count : 1;
    size_t publishers = options->publishers;
    self->peers = calloc(count, sizeof *self->peers);
    self->next = calloc(count * self->width, sizeof *self->next);
    self->is_probed = calloc(count, 1);
    self->channel_unprobed = calloc(options->channels, sizeof(uint32_t));
    self->owed = calloc(publishers, sizeof *self->owed);
    self->own = calloc(publishers, sizeof *self->own);
    self->pending = calloc(publishers, sizeof *self->pending);
    self->has_news = calloc(options->processes, 1);
    self->completed = board_completed(run->shared, options->publishers, self->depth,
                                      options->share);
    int is_open = schedule_is_open(&self->plan);
    self->arrived = is_open ? NULL : calloc(publishers * self->depth, sizeof(uint32_t));
    return self->peers && self->next && self->is_probed && self->channel_unprobed &&
                   self->owed && self->own && self->pending && self->has_news &&
                   (is_open || self->arrived)
               ? 0
               : -1;
}

/* Who is here, who publishes, and how many of this process each publisher owes. */
static void fanout_enlist(crowd *run, fanout_state *self) {
    const load_options *options = run->options;
    for (uint32_t i = 0; i < run->count; i++) {
        client *peer = &run->clients[i];
        if (peer->role != ROLE_SUBSCRIBER) {
            continue;
        }
        self->peers[peer->local] = peer;
        if (peer->is_publisher) {
            self->own[self->own_count++] =
                (publisher){.peer = peer, .number = peer->number};
        }
        uint32_t owing = 0;
        for (uint32_t slot = 0; slot < self->width && !peer->is_stalled; slot++) {
            uint32_t number = slot * options->channels + peer->channel;
            int is_own = peer->is_publisher && number == peer->number;
            if (number < options->publishers && !(options->is_others_only && is_own)) {
                self->owed[number]++;
                owing++;
            }
        }
        self->is_probed[peer->local] = owing == 0;
        self->channel_unprobed[peer->channel] += owing > 0;
        self->unprobed += owing > 0;
    }
    for (uint32_t i = 0; i < options->publishers; i++) {
        if (self->owed[i] == 0) { /* nothing to wait for here */
            atomic_store(&self->completed[i], UINT64_MAX);
        }
    }
    atomic_store(&run->place->unprobed, self->unprobed);
}

/* Frames that can be foreseen, or remembered: one publisher to a channel, all of them
 * as they were sent. */
static int fanout_foresee(crowd *run, fanout_state *self) {
    const load_options *options = run->options;
    const message *text = run->texts;
    uint8_t head[FRAME_MAX_HEADER];
    uint8_t opcode = options->is_binary ? FRAME_BINARY : FRAME_TEXT;
    size_t head_size = frame_header_encode(head, FRAME_FINAL | opcode, text->size, 0);
    size_t size = head_size + text->size;
    self->ring = 1;
    while (self->ring < MOST_RING &&
           (self->ring < self->depth || schedule_is_open(&self->plan))) {
        self->ring *= 2;
    }
    size_t places = (size_t)options->channels * self->ring;
    if (self->width > 1 || !options->is_verified || options->is_marked ||
        places * size > MOST_FORESEEN) {
        return 0;
    }
    if (options->has_deflate) {
        self->packed = calloc(places, sizeof *self->packed);
        self->held_count = places;
        run->roles[ROLE_SUBSCRIBER].on_compressed = fanout_compressed;
        return self->packed ? 0 : -1;
    }
    self->frames = malloc(places * size);
    self->held = malloc(places * sizeof *self->held);
    if (self->frames == NULL || self->held == NULL) {
        return -1;
    }
    for (size_t i = 0; i < places; i++) {
        uint64_t tag = message_digits((uint32_t)(i / self->ring));
        memcpy(self->frames + i * size, head, head_size);
        memcpy(self->frames + i * size + head_size, text->plain, text->size);
        memcpy(self->frames + i * size + head_size + sizeof tag, &tag, sizeof tag);
        self->held[i] = UINT32_MAX;
    }
    self->frame_size = size;
    run->roles[ROLE_SUBSCRIBER].on_bytes = fanout_bytes;
    return 0;
}

static int fanout_create(crowd *run, fanout_state *self, double rate) {
    const load_options *options = run->options;
    self->depth = options->depth;
    self->width = (options->publishers + options->channels - 1) / options->channels;
    self->tag_of_probes = message_digits((uint32_t)PROBE_TAG);
    self->latency = options->mode == MODE_FANOUT ? &run->result->latency
                                                 : &run->result->delivery_latency;
    self->plan = (schedule){
        .interval = rate > 0 ? 1e9 / rate : 0,
        .senders = options->publishers,
        .first = options->share,
        .stride = options->processes,
    };
    for (uint32_t i = 0; i < run->count; i++) {
        self->count += run->clients[i].role == ROLE_SUBSCRIBER;
    }
    if (fanout_allocate(run, self) != 0) {
        return -1;
    }
    fanout_enlist(run, self);
    self->plan.count = self->own_count;
    return fanout_foresee(run, self);
}

part *fanout_part(crowd *run, double rate) {
    fanout_state *self = calloc(1, sizeof *self);
    if (self == NULL) {
        crowd_fail(run, "out of memory");
        return NULL;
    }
    self->base = (part){
        .next = run->parts,
        .begin = fanout_begin,
        .advance = fanout_advance,
        .mark = fanout_mark,
        .stop = fanout_stop,
        .is_settled = fanout_is_settled,
        .finish = fanout_finish,
        .explain = fanout_explain,
        .destroy = fanout_destroy,
    };
    run->parts = &self->base;
    run->states[ROLE_SUBSCRIBER] = self;
    run->roles[ROLE_SUBSCRIBER] = (role_handlers){.on_message = fanout_message};
    if (fanout_create(run, self, rate) != 0) {
        crowd_fail(run, "out of memory");
        return NULL;
    }
    return &self->base;
}
