/* The modes of a run. Each returns 0, or -1 after crowd_fail. */
#ifndef FASTWS_LOAD_MODES_H
#define FASTWS_LOAD_MODES_H

#include "crowd.h"

int run_echo(crowd *self);
int run_fanout(crowd *self);
int run_connect(crowd *self);
int run_idle(crowd *self);

/* What a run's clock reads: time, and CPU time of both ends. */
typedef struct {
    uint64_t started_at;
    double server_seconds;
    double own_seconds;
} stopwatch;

stopwatch stopwatch_start(const crowd *self);

/* Writes seconds and both CPU shares into the result. */
void stopwatch_stop(const stopwatch *self, crowd *run);

#endif
