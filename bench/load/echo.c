/* Echo: every connection keeps `depth` messages in flight, each checked on return. */
#include <stdlib.h>

#include "message.h"
#include "modes.h"

typedef struct {
    uint32_t next_sent;
    uint32_t next_received;
    uint64_t tag;
    uint64_t *sent_at; /* ring of `depth`, by sequence */
} echo_client;

typedef struct {
    message text;
    echo_client *clients;
    uint64_t *times;
    uint8_t *output; /* `depth` frames */
    uint64_t received;
    int is_running;
} echo_state;

static int echo_create(echo_state *self, const load_options *options) {
    size_t count = options->connections, depth = options->depth;
    uint8_t opcode = options->is_binary ? FRAME_BINARY : FRAME_TEXT;
    *self = (echo_state){0};
    self->clients = calloc(count, sizeof *self->clients);
    self->times = calloc(count * depth, sizeof *self->times);
    self->output = malloc(MESSAGE_MAX_FRAME(options->size) * depth);
    if (message_create(&self->text, options->size, opcode) != 0 ||
        self->clients == NULL || self->times == NULL || self->output == NULL) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        self->clients[i].tag = message_digits((uint32_t)i);
        self->clients[i].sent_at = self->times + i * depth;
    }
    return 0;
}

static void echo_destroy(echo_state *self) {
    message_destroy(&self->text);
    free(self->clients);
    free(self->times);
    free(self->output);
}

/* Fills the connection's window with one send. */
static int echo_send(crowd *run, client *peer) {
    echo_state *self = run->mode;
    echo_client *own = &self->clients[peer->index];
    uint32_t depth = run->options->depth;
    uint8_t *end = self->output;
    while (self->is_running && own->next_sent - own->next_received < depth) {
        message_write(&self->text, end, message_digits(own->next_sent), own->tag);
        own->sent_at[own->next_sent % depth] = run->now;
        own->next_sent++;
        end += self->text.frame_size;
    }
    if (end == self->output) {
        return 0;
    }
    return client_send(run, peer, self->output, (size_t)(end - self->output));
}

static int echo_message(crowd *run, client *peer, const uint8_t *payload, size_t size) {
    echo_state *self = run->mode;
    echo_client *own = &self->clients[peer->index];
    if (!message_has_filler(&self->text, payload, size) ||
        message_sequence(payload) != message_digits(own->next_received) ||
        message_tag(payload) != own->tag || own->next_received == own->next_sent) {
        return crowd_fail(run, "connection %u: message %u came back changed",
                          peer->index, own->next_received);
    }
    uint64_t sent_at = own->sent_at[own->next_received % run->options->depth];
    histogram_record(&run->result->latency, run->now - sent_at);
    own->next_received++;
    self->received++;
    return 0;
}

static int echo_turns(crowd *run, double seconds) {
    uint64_t until = clock_nanoseconds() + (uint64_t)(seconds * 1e9);
    do {
        if (crowd_turn(run, until) != 0) {
            return -1;
        }
    } while (run->now < until);
    return 0;
}

static int echo_drain(crowd *run) {
    echo_state *self = run->mode;
    self->is_running = 0;
    uint64_t sent = 0;
    for (uint32_t i = 0; i < run->count; i++) {
        sent += self->clients[i].next_sent;
    }
    while (self->received < sent) {
        if (crowd_turn(run, run->deadline) != 0) {
            return -1;
        }
    }
    return 0;
}

static int echo_measure(crowd *run) {
    echo_state *self = run->mode;
    self->is_running = 1;
    run->now = clock_nanoseconds();
    for (uint32_t i = 0; i < run->count; i++) {
        if (echo_send(run, &run->clients[i]) != 0) {
            return -1;
        }
    }
    if (run->options->warm_up > 0 && echo_turns(run, run->options->warm_up) != 0) {
        return -1;
    }
    uint64_t before = self->received;
    histogram_clear(&run->result->latency);
    stopwatch watch = stopwatch_start(run);
    if (echo_turns(run, run->options->duration) != 0 || echo_drain(run) != 0) {
        return -1;
    }
    stopwatch_stop(&watch, run);
    run->result->operations = self->received - before;
    return 0;
}

int run_echo(crowd *run) {
    echo_state state;
    run->mode = &state;
    int failed = echo_create(&state, run->options)
                     ? crowd_fail(run, "out of memory")
                     : crowd_open(run, run->count);
    if (!failed) {
        run->on_message = echo_message;
        run->on_batch = echo_send;
        failed = echo_measure(run) || crowd_close(run);
    }
    echo_destroy(&state);
    return failed ? -1 : 0;
}
