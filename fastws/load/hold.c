/* Connect: handshakes per second. Idle: what a held connection costs the server. */
#include "part.h"
#include "process.h"

/* Memory a server takes once, for its first connections, is none of theirs. */
enum { IDLE_WARM_UP = 200 };

static int hold_message(crowd *run, client *peer, const uint8_t *payload, size_t size) {
    (void)payload;
    if (run->options->texts[peer->channel].first.data != NULL) {
        return 0; /* it asked for something, and gets it */
    }
    return client_fail(run, peer, "a message of %zu bytes that nobody asked for", size);
}

static int hold_opened(crowd *run, client *peer) {
    histogram_record(&run->result->latency, run->now - peer->started_at, 1);
    atomic_store_explicit(&run->place->operations, run->opened, memory_order_relaxed);
    return 0;
}

int run_connect(crowd *run) {
    run->roles[ROLE_HOLDER] =
        (role_handlers){.on_message = hold_message, .on_open = hold_opened};
    if (crowd_meet(run) != 0) {
        return -1;
    }
    stopwatch watch = stopwatch_start(run);
    if (crowd_open(run, run->count) != 0) {
        return -1;
    }
    stopwatch_stop(&watch, run);
    run->result->operations = run->opened;
    return crowd_meet(run);
}

static double resident(const crowd *run) {
    const load_options *options = run->options;
    return processes_resident_bytes(options->server_pids, options->server_pid_count);
}

static int idle_hold(crowd *run, uint32_t warm_up) {
    load_result *result = run->result;
    const load_options *options = run->options;
    atomic_store(&run->place->phase, PHASE_RUNNING);
    parts_mark(run);
    stopwatch watch = stopwatch_start(run);
    run->end_at = watch.started_at + (uint64_t)(options->duration * 1e9);
    if (parts_turn(run, run->end_at) != 0 || parts_settle(run) != 0) {
        return -1;
    }
    stopwatch_stop(&watch, run);
    parts_finish(run);
    result->resident_after = resident(run);
    result->resident_connections = run->count - warm_up;
    result->operations = run->opened;
    return crowd_meet(run);
}

int run_idle(crowd *run) {
    const load_options *options = run->options;
    uint32_t most = IDLE_WARM_UP / options->processes;
    uint32_t warm_up = run->count < 2 * most ? run->count / 2 : most;
    run->roles[ROLE_HOLDER].on_message = hold_message;
    if (options->ping_interval > 0 && ping_part(run) == NULL) {
        return -1;
    }
    if (crowd_open(run, warm_up) != 0 || crowd_meet(run) != 0) {
        return -1;
    }
    uint64_t until = run->start_at + (uint64_t)(options->warm_up * 1e9);
    while (run->now < until) {
        if (crowd_turn(run, until) != 0) {
            return -1;
        }
    }
    if (crowd_meet(run) != 0) {
        return -1;
    }
    run->result->resident_before = resident(run);
    if (crowd_meet(run) != 0 || crowd_open(run, run->count) != 0 ||
        crowd_meet(run) != 0) {
        return -1;
    }
    return idle_hold(run, warm_up);
}
