/* A part of a run's traffic: echo, fan-out, pings, visitors. A mode is one of them, or
 * several at once.
 *
 *   begin -> advance ... -> mark (the clock starts) -> advance ... -> stop -> advance
 *   until is_settled -> finish
 *
 * State belongs to the part; functions that return int return 0, or -1 after
 * crowd_fail. */
#ifndef FASTWS_LOAD_PART_H
#define FASTWS_LOAD_PART_H

#include "crowd.h"

typedef struct part part;

struct part {
    part *next;
    /* All connections are open, in all processes. */
    int (*begin)(crowd *run, part *self);
    /* Sends what is due; lowers *wake to when the next will be. */
    int (*advance)(crowd *run, part *self, uint64_t *wake);
    /* What was counted so far does not count. */
    void (*mark)(crowd *run, part *self);
    /* Nothing new from here on. */
    void (*stop)(crowd *run, part *self);
    /* Whether all that was sent has come back. */
    int (*is_settled)(const crowd *run, const part *self);
    /* Writes into run->result. */
    void (*finish)(crowd *run, part *self);
    /* What is missing, in words, when the time is over. */
    void (*explain)(const crowd *run, const part *self, char *text, size_t size);
    void (*destroy)(part *self);
};

/* Each adds itself to run->parts and fills in its role; NULL after crowd_fail. */
part *echo_part(crowd *run, double rate);
part *fanout_part(crowd *run, double rate);
part *ping_part(crowd *run);
part *visit_part(crowd *run);

/* Opens everything, runs all parts under the clock, closes. */
int run_traffic(crowd *run);

/* The modes without messages. */
int run_connect(crowd *run);
int run_idle(crowd *run);

/* What a run's clock reads: time, CPU time of both ends, what passed the wire. */
typedef struct {
    uint64_t started_at;
    double server_seconds;
    double own_seconds;
    traffic seen;
} stopwatch;

stopwatch stopwatch_start(const crowd *run);

/* Writes seconds, both CPU shares and the traffic into the result. */
void stopwatch_stop(const stopwatch *self, crowd *run);

/* Lets the parts work until then. */
int parts_turn(crowd *run, uint64_t until);

int parts_begin(crowd *run);
void parts_mark(crowd *run);
int parts_settle(crowd *run);
void parts_finish(crowd *run);

#endif
