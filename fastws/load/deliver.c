/* What subscribers of a fan-out get: counted, compared, each publisher's in order. */
#include <string.h>

#include "fanout.h"

/* --- counting ---------------------------------------------------------------- */

/* A publication has reached the last of this process's subscribers. */
static void fanout_complete(crowd *run, fanout_state *self, uint32_t number) {
    const load_options *options = run->options;
    uint64_t completed =
        atomic_load_explicit(&self->completed[number], memory_order_relaxed) + 1;
    atomic_store_explicit(&self->completed[number], completed, memory_order_release);
    uint32_t process = number % options->processes;
    if (process != options->share) {
        self->has_news[process] = 1;
        return;
    }
    uint32_t place = number / options->processes;
    if (!self->own[place].is_pending) {
        self->own[place].is_pending = 1;
        self->pending[self->pending_count++] = place;
    }
}

static void fanout_count_closed(crowd *run, fanout_state *self, uint32_t number,
                                uint32_t first, uint32_t count) {
    const uint64_t *sent_at = fanout_board(run, self, number)->sent_at;
    uint32_t *arrived = self->arrived + (size_t)number * self->depth;
    uint32_t place = first % self->depth;
    uint64_t same_at = sent_at[place], same = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (sent_at[place] != same_at) {
            histogram_record(self->latency, run->now - same_at, same);
            same_at = sent_at[place];
            same = 0;
        }
        same++;
        if (++arrived[place] == self->owed[number]) {
            /* In order to each, so complete in order as well. */
            arrived[place] = 0;
            fanout_complete(run, self, number);
        }
        place = place + 1 == self->depth ? 0 : place + 1;
    }
    histogram_record(self->latency, run->now - same_at, same);
}

static void fanout_count(crowd *run, fanout_state *self, uint32_t number,
                         uint32_t first, uint32_t count) {
    self->delivered += count;
    if (!schedule_is_open(&self->plan)) {
        fanout_count_closed(run, self, number, first, count);
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint64_t passed = schedule_latency(&self->plan, number, first + i, run->now);
        histogram_record(self->latency, passed, 1);
    }
}

/* --- message by message ------------------------------------------------------ */

static void fanout_probed(crowd *run, fanout_state *self, const client *peer) {
    if (!self->is_probed[peer->local]) {
        self->is_probed[peer->local] = 1;
        self->unprobed--;
        self->channel_unprobed[peer->channel]--;
        atomic_store(&run->place->unprobed, self->unprobed);
    }
}

static int fanout_misplaced(crowd *run, client *peer, uint32_t number) {
    const load_options *options = run->options;
    if (number >= options->publishers) {
        return client_fail(run, peer, "a message of publisher %u came: there is none",
                           number);
    }
    if (number % options->channels != peer->channel) {
        return client_fail(run, peer, "a publication of channel %u came; it is of %u",
                           number % options->channels, peer->channel);
    }
    if (options->is_others_only && peer->is_publisher && number == peer->number) {
        return client_fail(run, peer, "its own publication came back: run with "
                           "--deliveries self");
    }
    return 0;
}

static int fanout_take(crowd *run, client *peer, const uint8_t *text) {
    fanout_state *self = fanout_of(run);
    const load_options *options = run->options;
    if (message_tag(text) == self->tag_of_probes) {
        fanout_probed(run, self, peer);
        return 0;
    }
    int is_known = options->is_verified || self->width > 1;
    uint32_t number = is_known ? message_value(message_tag(text)) : peer->channel;
    if (fanout_misplaced(run, peer, number) != 0) {
        return -1;
    }
    uint32_t slot = number / options->channels;
    uint32_t *next = &self->next[(size_t)peer->local * self->width + slot];
    uint32_t sequence = *next;
    if (is_known && message_sequence(text) != message_digits(sequence)) {
        return client_misnumbered(run, peer, "publication", sequence,
                                  message_value(message_sequence(text)));
    }
    if (sequence == fanout_published(run, self, number)) {
        return client_fail(run, peer, "publication %u came before it was sent",
                           sequence);
    }
    *next = sequence + 1;
    fanout_count(run, self, number, sequence, 1);
    return 0;
}

static void fanout_remember(fanout_state *self, const client *peer) {
    uint32_t sequence = self->next[peer->local] - 1; /* one publisher per channel */
    packed_frame *packed = &self->packed[(size_t)peer->channel * self->ring +
                                         (sequence & (self->ring - 1))];
    packed->bytes.start = packed->bytes.size = 0;
    packed->number = 0;
    if (buffer_append(&packed->bytes, self->candidate, self->candidate_size) == 0) {
        packed->number = (uint64_t)sequence + 1;
    }
}

int fanout_message(crowd *run, client *peer, const uint8_t *payload, size_t size) {
    fanout_state *self = fanout_of(run);
    const message *text = crowd_text(run, peer->channel);
    const uint8_t *rest = payload;
    size_t left = size;
    uint64_t before = self->delivered;
    const uint8_t *found = crowd_message(run, text, &rest, &left);
    if (found == NULL && !run->is_enveloped) {
        return client_changed(run, peer, text, payload, size);
    }
    while (found != NULL) {
        if (fanout_take(run, peer, found) != 0) {
            return -1;
        }
        found = left ? crowd_message(run, text, &rest, &left) : NULL;
    }
    if (self->candidate != NULL && self->delivered == before + 1) {
        fanout_remember(self, peer);
    }
    self->candidate = NULL;
    return 0;
}

/* --- as foreseen ------------------------------------------------------------- */

/* Whoever gets nothing of his own is told so message by message. */
static int is_foreseen(const crowd *run, const client *peer) {
    return !(run->options->is_others_only && peer->is_publisher);
}

/* Makes another message of one that stands there. */
static void fanout_renumber(const crowd *run, uint8_t *text, uint32_t sequence) {
    const message *source = run->texts;
    uint64_t digits = message_digits(sequence);
    memcpy(text, &digits, sizeof digits);
    if (source->fillers != NULL) {
        memcpy(text + MESSAGE_DIGITS, message_filler(source, digits),
               message_filler_size(source));
    }
}

/* One publisher per channel and no envelope: then the bytes of each delivery are known
 * beforehand, header included, and many are compared at the price of a memcmp. */
long fanout_bytes(crowd *run, client *peer, const uint8_t *data, size_t size) {
    fanout_state *self = fanout_of(run);
    size_t frame_size = self->frame_size;
    size_t base = (size_t)peer->channel * self->ring;
    uint32_t first = self->next[peer->local], next = first;
    uint32_t published = (uint32_t)fanout_published(run, self, peer->channel);
    size_t done = 0;
    if (!is_foreseen(run, peer)) {
        return 0;
    }
    while (size - done >= frame_size && next != published) {
        size_t place = base + (next & (self->ring - 1));
        uint8_t *frame = self->frames + place * frame_size;
        if (self->held[place] != next) {
            fanout_renumber(run, frame + frame_size - run->texts->size, next);
            self->held[place] = next;
        }
        if (memcmp(data + done, frame, frame_size) != 0) {
            break;
        }
        done += frame_size;
        next++;
    }
    if (next != first) {
        run->seen.frames += next - first;
        self->next[peer->local] = next;
        fanout_count(run, self, peer->channel, first, next - first);
    }
    return (long)done;
}

/* The same for compressed payloads, known once the first of them was inflated: without
 * context equal bytes mean equal messages. */
int fanout_compressed(crowd *run, client *peer, const uint8_t *payload, size_t size) {
    fanout_state *self = fanout_of(run);
    uint32_t next = self->next[peer->local];
    const packed_frame *packed = &self->packed[(size_t)peer->channel * self->ring +
                                               (next & (self->ring - 1))];
    self->candidate = payload;
    self->candidate_size = size;
    if (!is_foreseen(run, peer) || packed->number != (uint64_t)next + 1 ||
        packed->bytes.size != size ||
        memcmp(buffer_bytes(&packed->bytes), payload, size) != 0 ||
        next == (uint32_t)fanout_published(run, self, peer->channel)) {
        return 0;
    }
    self->candidate = NULL;
    self->next[peer->local] = next + 1;
    fanout_count(run, self, peer->channel, next, 1);
    return 1;
}
