/* Open loop: when each message was meant to leave, whatever became of it.
 *
 * Message k of sender s, of n senders that take turns at `interval`, is due at
 * start + (k n + s) interval. Nothing is stored for a message: from its number and its
 * sender follows when it should have been sent, which is what latency counts from. */
#ifndef FASTWS_LOAD_SCHEDULE_H
#define FASTWS_LOAD_SCHEDULE_H

#include <stdint.h>

typedef struct {
    double interval;  /* nanoseconds between two messages of anyone; 0: closed loop */
    uint64_t start;   /* nanoseconds */
    uint32_t senders; /* of all processes */
    uint32_t first;   /* of this process's senders; the others follow at `stride` */
    uint32_t stride;
    uint32_t count;   /* of this process's senders */
    uint32_t place;   /* whose turn is next, among those */
    uint32_t round;   /* the number of his message */
} schedule;

static inline int schedule_is_open(const schedule *self) { return self->interval > 0; }

static inline uint64_t schedule_due(const schedule *self, uint32_t sender,
                                    uint32_t number) {
    double turns = (double)number * self->senders + sender;
    return self->start + (uint64_t)(turns * self->interval);
}

static inline uint32_t schedule_sender(const schedule *self) {
    return self->first + self->place * self->stride;
}

static inline uint64_t schedule_next(const schedule *self) {
    if (self->count == 0) {
        return UINT64_MAX;
    }
    return schedule_due(self, schedule_sender(self), self->round);
}

static inline void schedule_step(schedule *self) {
    if (++self->place == self->count) {
        self->place = 0;
        self->round++;
    }
}

/* From `now` on, a message that was sent late still has its own time. */
static inline uint64_t schedule_latency(const schedule *self, uint32_t sender,
                                        uint32_t number, uint64_t now) {
    uint64_t due = schedule_due(self, sender, number);
    return now > due ? now - due : 0;
}

#endif
