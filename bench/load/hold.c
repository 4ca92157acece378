/* Connect: handshakes per second. Idle: what a held connection costs the server. */
#include "modes.h"
#include "process.h"

/* Memory a server takes once, for its first connections, is none of theirs. */
enum { IDLE_WARM_UP = 200 };

static int hold_message(crowd *run, client *peer, const uint8_t *payload, size_t size) {
    (void)payload;
    (void)size;
    return crowd_fail(run, "connection %u: a message that nobody asked for",
                      peer->index);
}

static int hold_turns(crowd *run, double seconds) {
    uint64_t until = clock_nanoseconds() + (uint64_t)(seconds * 1e9);
    do {
        if (crowd_turn(run, until) != 0) {
            return -1;
        }
    } while (run->now < until);
    return 0;
}

int run_connect(crowd *run) {
    run->on_message = hold_message;
    stopwatch watch = stopwatch_start(run);
    if (crowd_open(run, run->count) != 0) {
        return -1;
    }
    stopwatch_stop(&watch, run);
    run->result->operations = run->opened;
    return 0;
}

int run_idle(crowd *run) {
    load_result *result = run->result;
    pid_t pid = run->options->server_pid;
    uint32_t warm_up = run->count < 2 * IDLE_WARM_UP ? run->count / 2 : IDLE_WARM_UP;
    run->on_message = hold_message;
    if (crowd_open(run, warm_up) != 0 || hold_turns(run, run->options->warm_up) != 0) {
        return -1;
    }
    result->resident_before = pid ? process_resident_bytes(pid) : -1;
    if (crowd_open(run, run->count) != 0) {
        return -1;
    }
    stopwatch watch = stopwatch_start(run);
    if (hold_turns(run, run->options->duration) != 0) {
        return -1;
    }
    stopwatch_stop(&watch, run);
    result->resident_after = pid ? process_resident_bytes(pid) : -1;
    result->resident_connections = run->count - warm_up;
    result->operations = run->opened;
    return 0;
}
