#include "load.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "crowd.h"
#include "modes.h"
#include "process.h"

void load_options_default(load_options *options) {
    *options = (load_options){
        .mode = MODE_ECHO,
        .host = "127.0.0.1",
        .path = "/",
        .connections = 100,
        .depth = 1,
        .size = 64,
        .parallel = 100,
        .sources = 1,
        .warm_up = 0.2,
        .duration = 1.0,
        .timeout = 30.0,
    };
}

static const char *options_fault(const load_options *options) {
    struct in_addr address;
    if (inet_pton(AF_INET, options->host, &address) != 1 ||
        ntohl(address.s_addr) >> 24 != 127) {
        return "host must be an IPv4 address in 127.0.0.0/8";
    }
    if (options->port == 0) {
        return "port is missing";
    }
    if (options->connections < 1 || options->connections > 1000000) {
        return "connections must be 1 to 1000000";
    }
    if (options->depth < 1 || options->depth > 65536) {
        return "depth must be 1 to 65536";
    }
    if (options->size < LOAD_MIN_SIZE || options->size > LOAD_MAX_SIZE) {
        return "size must be 16 bytes to 16 MiB";
    }
    if (options->parallel < 1 || options->sources < 1 || options->sources > 250) {
        return "parallel must be at least 1, sources 1 to 250";
    }
    if (!(options->warm_up >= 0 && options->duration > 0 && options->timeout > 0 &&
          options->timeout <= 3600)) {
        return "warm-up, duration and timeout must be positive, an hour at most";
    }
    return NULL;
}

int load_run(const load_options *options, load_result *result) {
    static int (*const modes[])(crowd *) = {
        [MODE_ECHO] = run_echo,
        [MODE_FANOUT] = run_fanout,
        [MODE_CONNECT] = run_connect,
        [MODE_IDLE] = run_idle,
    };
    crowd run;
    memset(result, 0, sizeof *result);
    result->resident_before = result->resident_after = -1;
    const char *fault = options_fault(options);
    if (fault != NULL) {
        snprintf(result->error, sizeof result->error, "%s", fault);
        return -1;
    }
    int failed = crowd_create(&run, options, result) || modes[options->mode](&run);
    crowd_destroy(&run);
    return failed ? -1 : 0;
}

stopwatch stopwatch_start(const crowd *self) {
    pid_t pid = self->options->server_pid;
    return (stopwatch){
        .started_at = clock_nanoseconds(),
        .server_seconds = pid ? process_cpu_seconds(pid) : -1,
        .own_seconds = own_cpu_seconds(),
    };
}

void stopwatch_stop(const stopwatch *self, crowd *run) {
    load_result *result = run->result;
    stopwatch end = stopwatch_start(run);
    result->seconds = (double)(end.started_at - self->started_at) * 1e-9;
    result->load_cpu = (end.own_seconds - self->own_seconds) / result->seconds;
    result->server_cpu = -1;
    if (self->server_seconds >= 0 && end.server_seconds >= 0) {
        result->server_cpu =
            (end.server_seconds - self->server_seconds) / result->seconds;
    }
}
