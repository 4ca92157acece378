/* Fan-out: connection 0 publishes, every connection (0 too) receives each publication.
 *
 * At most `depth` publications are open; one is complete when all connections have it.
 * Before the clock starts, probes go out until each connection has got one: then all
 * are subscribed, whatever the server does between handshake and subscription. */
#include <stdlib.h>

#include "message.h"
#include "modes.h"

static const uint64_t PROBE_INTERVAL = 50000000; /* nanoseconds */

typedef struct {
    message text;
    uint32_t *next;      /* by connection: the publication it must get next */
    uint8_t *is_probed;  /* by connection */
    uint32_t *remaining; /* ring of `depth`: receivers that still lack it */
    uint64_t *sent_at;   /* ring of `depth` */
    uint8_t *output;     /* `depth` frames */
    uint64_t tag;
    uint64_t probe_tag;
    uint32_t probed;
    uint32_t published;
    uint32_t completed;
    uint64_t delivered;
} fanout_state;

static int fanout_create(fanout_state *self, const load_options *options) {
    size_t count = options->connections, depth = options->depth;
    uint8_t opcode = options->is_binary ? FRAME_BINARY : FRAME_TEXT;
    *self = (fanout_state){
        .next = calloc(count, sizeof *self->next),
        .is_probed = calloc(count, sizeof *self->is_probed),
        .remaining = calloc(depth, sizeof *self->remaining),
        .sent_at = calloc(depth, sizeof *self->sent_at),
        .output = malloc(MESSAGE_MAX_FRAME(options->size) * depth),
        .tag = message_digits(0),
        .probe_tag = message_digits(UINT32_MAX),
    };
    int failed = message_create(&self->text, options->size, opcode);
    return failed || !self->next || !self->is_probed || !self->remaining ||
                   !self->sent_at || !self->output
               ? -1
               : 0;
}

static void fanout_destroy(fanout_state *self) {
    message_destroy(&self->text);
    free(self->next);
    free(self->is_probed);
    free(self->remaining);
    free(self->sent_at);
    free(self->output);
}

static int fanout_probe_received(crowd *run, client *peer) {
    fanout_state *self = run->mode;
    self->probed += !self->is_probed[peer->index];
    self->is_probed[peer->index] = 1;
    return 0;
}

static int fanout_message(crowd *run, client *peer, const uint8_t *payload,
                          size_t size) {
    fanout_state *self = run->mode;
    uint32_t sequence = self->next[peer->index];
    uint32_t place = sequence % run->options->depth;
    if (!message_has_filler(&self->text, payload, size)) {
        return crowd_fail(run, "connection %u: publication %u came changed",
                          peer->index, sequence);
    }
    if (message_tag(payload) == self->probe_tag) {
        return fanout_probe_received(run, peer);
    }
    if (message_sequence(payload) != message_digits(sequence) ||
        message_tag(payload) != self->tag || sequence == self->published) {
        return crowd_fail(run, "connection %u: publication %u missing or out of order",
                          peer->index, sequence);
    }
    histogram_record(&run->result->latency, run->now - self->sent_at[place]);
    self->next[peer->index]++;
    self->delivered++;
    /* In order to each, so complete in order as well. */
    self->completed += --self->remaining[place] == 0;
    return 0;
}

static int fanout_probe(crowd *run) {
    fanout_state *self = run->mode;
    while (self->probed < run->count) {
        message_write(&self->text, self->output, message_digits(0), self->probe_tag);
        if (client_send(run, &run->clients[0], self->output, self->text.frame_size)) {
            return -1;
        }
        uint64_t until = clock_nanoseconds() + PROBE_INTERVAL;
        do {
            if (crowd_turn(run, until) != 0) {
                return -1;
            }
        } while (self->probed < run->count && run->now < until);
    }
    return 0;
}

/* Fills the window with one send. */
static int fanout_publish(crowd *run) {
    fanout_state *self = run->mode;
    uint32_t depth = run->options->depth;
    uint8_t *end = self->output;
    uint64_t now = clock_nanoseconds();
    while (self->published - self->completed < depth) {
        uint32_t place = self->published % depth;
        message_write(&self->text, end, message_digits(self->published), self->tag);
        self->remaining[place] = run->count;
        self->sent_at[place] = now;
        self->published++;
        end += self->text.frame_size;
    }
    if (end == self->output) {
        return 0;
    }
    return client_send(run, &run->clients[0], self->output,
                       (size_t)(end - self->output));
}

static int fanout_turns(crowd *run, double seconds) {
    uint64_t until = clock_nanoseconds() + (uint64_t)(seconds * 1e9);
    do {
        if (fanout_publish(run) != 0 || crowd_turn(run, until) != 0) {
            return -1;
        }
    } while (run->now < until);
    return 0;
}

static int fanout_drain(crowd *run) {
    fanout_state *self = run->mode;
    while (self->completed < self->published) {
        if (crowd_turn(run, run->deadline) != 0) {
            return -1;
        }
    }
    return 0;
}

static int fanout_measure(crowd *run) {
    fanout_state *self = run->mode;
    if (fanout_probe(run) != 0) {
        return -1;
    }
    if (run->options->warm_up > 0 && fanout_turns(run, run->options->warm_up) != 0) {
        return -1;
    }
    uint64_t before = self->delivered;
    uint32_t completed = self->completed;
    histogram_clear(&run->result->latency);
    stopwatch watch = stopwatch_start(run);
    if (fanout_turns(run, run->options->duration) != 0 || fanout_drain(run) != 0) {
        return -1;
    }
    stopwatch_stop(&watch, run);
    run->result->operations = self->delivered - before;
    run->result->publications = self->completed - completed;
    return 0;
}

int run_fanout(crowd *run) {
    fanout_state state;
    run->mode = &state;
    int failed = fanout_create(&state, run->options)
                     ? crowd_fail(run, "out of memory")
                     : crowd_open(run, run->count);
    if (!failed) {
        run->on_message = fanout_message;
        failed = fanout_measure(run) || crowd_close(run);
    }
    fanout_destroy(&state);
    return failed ? -1 : 0;
}
