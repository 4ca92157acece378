/* The state of a fan-out, shared by its files: fanout.c (the part), publish.c (probes
 * and publications), deliver.c (what subscribers get). */
#ifndef FASTWS_LOAD_FANOUT_H
#define FASTWS_LOAD_FANOUT_H

#include "part.h"
#include "schedule.h"

/* A probe's tag: before traffic starts, each subscriber has to get one. */
enum { PROBE_TAG = -1 };

/* What everybody of a channel gets for one publication, as it was first verified. */
typedef struct {
    uint64_t number; /* the publication's, plus one; 0: empty */
    byte_buffer bytes;
} packed_frame;

typedef struct {
    client *peer;
    uint32_t number;     /* among the publishers of all processes */
    uint32_t published;
    uint32_t before;     /* of them, not under the clock */
    uint8_t is_pending;  /* something of it has become complete */
} publisher;

typedef struct {
    part base;
    uint32_t depth;
    uint32_t width;      /* publishers of a channel, at most */
    uint32_t count;      /* subscribers of this process, from 0 on */
    client **peers;      /* by subscriber */
    uint32_t *next;      /* by subscriber and its channel's publisher: what is due */
    uint8_t *is_probed;  /* by subscriber */
    uint32_t unprobed;
    uint32_t *channel_unprobed;
    uint32_t *owed;      /* by publisher: subscribers of this process */
    uint32_t *arrived;   /* closed loop: by publisher, ring of `depth` */
    publisher *own;      /* publishers of this process */
    uint32_t own_count;
    uint32_t *pending;   /* of own: places, a stack */
    uint32_t pending_count;
    uint8_t *has_news;   /* by process: something for it has become complete */
    _Atomic uint64_t *completed; /* by publisher: on the board */

    uint32_t ring;       /* a power of two: publications remembered per channel */
    size_t frame_size;   /* of a delivery on the wire; 0: not to be foreseen */
    uint8_t *frames;     /* by channel and place in the ring */
    uint32_t *held;      /* which publication stands there */
    size_t held_count;
    packed_frame *packed;
    const uint8_t *candidate; /* compressed bytes whose message is being checked */
    size_t candidate_size;

    histogram *latency;
    uint64_t delivered;
    uint64_t delivered_before;
    uint64_t tag_of_probes;
    int is_stopped;
    int is_silent; /* and has said so */
    schedule plan;
} fanout_state;

static inline fanout_state *fanout_of(const crowd *run) {
    return run->states[ROLE_SUBSCRIBER];
}

static inline publisher_board *fanout_board(const crowd *run, const fanout_state *self,
                                            uint32_t number) {
    return board_publisher(run->shared, number, self->depth);
}

static inline uint64_t fanout_published(const crowd *run, const fanout_state *self,
                                        uint32_t number) {
    return atomic_load_explicit(&fanout_board(run, self, number)->published,
                                memory_order_acquire);
}

/* publish.c */
int fanout_probe(crowd *run, fanout_state *self);
int fanout_publish(crowd *run, fanout_state *self, uint64_t *wake);
uint64_t fanout_completed(const crowd *run, const fanout_state *self, uint32_t number);

/* deliver.c */
int fanout_message(crowd *run, client *peer, const uint8_t *payload, size_t size);
long fanout_bytes(crowd *run, client *peer, const uint8_t *data, size_t size);
int fanout_compressed(crowd *run, client *peer, const uint8_t *payload, size_t size);

#endif
