#define _GNU_SOURCE
#include "load.h"

#include <sys/prctl.h>
#include <stdio.h>
#include <string.h>

#include "part.h"
#include "process.h"

/* --- the clock --------------------------------------------------------------- */

stopwatch stopwatch_start(const crowd *run) {
    const load_options *options = run->options;
    return (stopwatch){
        .started_at = clock_nanoseconds(),
        .server_seconds =
            processes_cpu_seconds(options->server_pids, options->server_pid_count),
        .own_seconds = own_cpu_seconds() - (double)run->polled * 1e-9,
        .seen = run->seen,
    };
}

void stopwatch_stop(const stopwatch *self, crowd *run) {
    load_result *result = run->result;
    stopwatch end = stopwatch_start(run);
    result->seconds = (double)(end.started_at - self->started_at) * 1e-9;
    /* Taken off a core while it polls, it has idled longer than it has run. */
    double worked = end.own_seconds - self->own_seconds;
    result->load_cpu = worked > 0 ? worked / result->seconds : 0;
    result->server_cpu = -1;
    if (self->server_seconds >= 0 && end.server_seconds >= 0) {
        result->server_cpu =
            (end.server_seconds - self->server_seconds) / result->seconds;
    }
    result->frames = end.seen.frames - self->seen.frames;
    result->compressed_frames =
        end.seen.compressed_frames - self->seen.compressed_frames;
    result->bytes_sent = end.seen.bytes_sent - self->seen.bytes_sent;
    result->bytes_received = end.seen.bytes_received - self->seen.bytes_received;
}

/* --- the parts of a run ------------------------------------------------------ */

int parts_turn(crowd *run, uint64_t until) {
    do {
        uint64_t wake = until;
        for (part *one = run->parts; one != NULL; one = one->next) {
            if (one->advance(run, one, &wake) != 0) {
                return -1;
            }
        }
        if (crowd_turn(run, wake) != 0) {
            return -1;
        }
    } while (run->now < until);
    return 0;
}

int parts_begin(crowd *run) {
    for (part *one = run->parts; one != NULL; one = one->next) {
        if (one->begin(run, one) != 0) {
            return -1;
        }
    }
    return 0;
}

void parts_mark(crowd *run) {
    for (part *one = run->parts; one != NULL; one = one->next) {
        one->mark(run, one);
    }
}

/* Ends the sending, in all processes, and waits for what is under way. */
int parts_settle(crowd *run) {
    for (part *one = run->parts; one != NULL; one = one->next) {
        one->stop(run, one);
    }
    int is_settled = 0;
    while (!is_settled) {
        uint64_t wake = run->deadline;
        is_settled = 1;
        for (part *one = run->parts; one != NULL; one = one->next) {
            if (one->advance(run, one, &wake) != 0) {
                return -1;
            }
            is_settled &= one->is_settled(run, one);
        }
        if (!is_settled && crowd_turn(run, wake) != 0) {
            return -1;
        }
    }
    return 0;
}

void parts_finish(crowd *run) {
    for (part *one = run->parts; one != NULL; one = one->next) {
        one->finish(run, one);
    }
}

static void enter(crowd *run, run_phase phase) {
    atomic_store_explicit(&run->place->phase, phase, memory_order_relaxed);
}

int run_traffic(crowd *run) {
    const load_options *options = run->options;
    if (crowd_open(run, run->count) != 0 || crowd_meet(run) != 0) {
        return -1;
    }
    enter(run, PHASE_WARM_UP);
    if (parts_begin(run) != 0 || crowd_meet(run) != 0) {
        return -1;
    }
    uint64_t clock_at = run->start_at + (uint64_t)(options->warm_up * 1e9);
    if (parts_turn(run, clock_at) != 0) {
        return -1;
    }
    enter(run, PHASE_RUNNING);
    parts_mark(run);
    stopwatch watch = stopwatch_start(run);
    run->end_at = watch.started_at + (uint64_t)(options->duration * 1e9);
    if (parts_turn(run, run->end_at) != 0) {
        return -1;
    }
    enter(run, PHASE_DRAINING);
    if (parts_settle(run) != 0) {
        return -1;
    }
    stopwatch_stop(&watch, run);
    parts_finish(run);
    enter(run, PHASE_CLOSING);
    /* Nobody leaves while others still wait for what he publishes. */
    return crowd_meet(run) || crowd_close(run) ? -1 : 0;
}

/* --- one run ----------------------------------------------------------------- */

static int run_echo(crowd *run) {
    return echo_part(run, run->options->rate) ? run_traffic(run) : -1;
}

static int run_fanout(crowd *run) {
    return fanout_part(run, run->options->rate) ? run_traffic(run) : -1;
}

static int run_mixed(crowd *run) {
    const load_options *options = run->options;
    if (!echo_part(run, options->rate) || !fanout_part(run, options->publish_rate) ||
        (options->churn > 0 && !visit_part(run)) ||
        (options->ping_interval > 0 && !ping_part(run))) {
        return -1;
    }
    return run_traffic(run);
}

int load_run(const load_options *options, load_result *result) {
    static int (*const modes[])(crowd *) = {
        [MODE_ECHO] = run_echo,       [MODE_FANOUT] = run_fanout,
        [MODE_CONNECT] = run_connect, [MODE_IDLE] = run_idle,
        [MODE_MIXED] = run_mixed,
    };
    crowd run;
    memset(result, 0, sizeof *result);
    result->resident_before = result->resident_after = -1;
    result->server_cpu = result->load_cpu = -1;
    histogram_clear(&result->latency);
    histogram_clear(&result->delivery_latency);
    histogram_clear(&result->visit_latency);
    /* Timers that fire on time: the default lets them be late by 50 us. */
    int slack = prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0);
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    int failed = crowd_create(&run, options, result) || modes[options->mode](&run);
    if (failed) {
        atomic_store(&options->shared->is_failed, 1);
    }
    crowd_destroy(&run);
    prctl(PR_SET_TIMERSLACK, slack > 0 ? (unsigned long)slack : 0, 0, 0, 0);
    atomic_store(&options->shared->places[options->share].phase, PHASE_OVER);
    return failed ? -1 : 0;
}
