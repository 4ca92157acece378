/* The load generator's command line: options in, one line of JSON out. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

static const char USAGE[] =
    "usage: load MODE --port PORT [options]\n"
    "  MODE              echo | fanout | connect | idle\n"
    "  --host ADDRESS    IPv4 loopback address (127.0.0.1)\n"
    "  --path PATH       of the request (/)\n"
    "  --publisher-path  fanout: the publishing connection's path (same)\n"
    "  --connections N   (100); fanout: subscribers, the publisher is one of them\n"
    "  --depth N         messages, or publications, in flight (1)\n"
    "  --size BYTES      payload (64)\n"
    "  --binary          binary messages instead of text\n"
    "  --first TEXT      first message of each connection\n"
    "  --first-replies N messages to await and drop after it (0)\n"
    "  --parallel N      handshakes in progress at once (100)\n"
    "  --sources N       source addresses, from 127.0.0.1 on (1)\n"
    "  --warm-up S       (0.2)    --duration S (1)    --timeout S (30)\n"
    "  --server-pid PID  report this process's CPU and memory\n";

enum {
    OPTION_HOST = 256,
    OPTION_PORT,
    OPTION_PATH,
    OPTION_PUBLISHER_PATH,
    OPTION_CONNECTIONS,
    OPTION_DEPTH,
    OPTION_SIZE,
    OPTION_BINARY,
    OPTION_FIRST,
    OPTION_FIRST_REPLIES,
    OPTION_PARALLEL,
    OPTION_SOURCES,
    OPTION_WARM_UP,
    OPTION_DURATION,
    OPTION_TIMEOUT,
    OPTION_SERVER_PID,
};

static const struct option OPTIONS[] = {
    {"host", required_argument, NULL, OPTION_HOST},
    {"port", required_argument, NULL, OPTION_PORT},
    {"path", required_argument, NULL, OPTION_PATH},
    {"publisher-path", required_argument, NULL, OPTION_PUBLISHER_PATH},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"depth", required_argument, NULL, OPTION_DEPTH},
    {"size", required_argument, NULL, OPTION_SIZE},
    {"binary", no_argument, NULL, OPTION_BINARY},
    {"first", required_argument, NULL, OPTION_FIRST},
    {"first-replies", required_argument, NULL, OPTION_FIRST_REPLIES},
    {"parallel", required_argument, NULL, OPTION_PARALLEL},
    {"sources", required_argument, NULL, OPTION_SOURCES},
    {"warm-up", required_argument, NULL, OPTION_WARM_UP},
    {"duration", required_argument, NULL, OPTION_DURATION},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"server-pid", required_argument, NULL, OPTION_SERVER_PID},
    {NULL, 0, NULL, 0},
};

static const char *const MODES[] = {"echo", "fanout", "connect", "idle"};

static void usage(void) {
    fputs(USAGE, stderr);
    exit(2);
}

static uint32_t whole_number(const char *text, uint32_t highest) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end || *text == '-' || value > highest) {
        usage();
    }
    return (uint32_t)value;
}

static double seconds(const char *text) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end) {
        usage();
    }
    return value;
}

static void set_option(load_options *options, int option, const char *value) {
    switch (option) {
    case OPTION_HOST: options->host = value; break;
    case OPTION_PORT: options->port = (uint16_t)whole_number(value, 65535); break;
    case OPTION_PATH: options->path = value; break;
    case OPTION_PUBLISHER_PATH: options->publisher_path = value; break;
    case OPTION_CONNECTIONS:
        options->connections = whole_number(value, 1000000);
        break;
    case OPTION_DEPTH: options->depth = whole_number(value, 65536); break;
    case OPTION_SIZE: options->size = whole_number(value, LOAD_MAX_SIZE); break;
    case OPTION_BINARY: options->is_binary = 1; break;
    case OPTION_FIRST: options->first_message = value; break;
    case OPTION_FIRST_REPLIES:
        options->first_replies = whole_number(value, 1000);
        break;
    case OPTION_PARALLEL: options->parallel = whole_number(value, 100000); break;
    case OPTION_SOURCES: options->sources = whole_number(value, 250); break;
    case OPTION_WARM_UP: options->warm_up = seconds(value); break;
    case OPTION_DURATION: options->duration = seconds(value); break;
    case OPTION_TIMEOUT: options->timeout = seconds(value); break;
    case OPTION_SERVER_PID:
        options->server_pid = (pid_t)whole_number(value, INT32_MAX);
        break;
    default: usage();
    }
}

static void parse_options(int count, char **arguments, load_options *options) {
    int option;
    load_options_default(options);
    while ((option = getopt_long(count, arguments, "", OPTIONS, NULL)) != -1) {
        set_option(options, option, optarg);
    }
    if (optind != count - 1) {
        usage();
    }
    for (uint32_t mode = 0; mode < sizeof MODES / sizeof *MODES; mode++) {
        if (strcmp(arguments[optind], MODES[mode]) == 0) {
            options->mode = (load_mode)mode;
            return;
        }
    }
    usage();
}

/* null where nothing was measured: JSON has no negative "unknown". */
static void print_known(const char *name, double value, const char *format) {
    printf(", \"%s\": ", name);
    if (value < 0) {
        fputs("null", stdout);
    } else {
        printf(format, value);
    }
}

static void print_text(const char *text) {
    putchar('"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            putchar('\\');
        }
        putchar((unsigned char)*text < 32 ? ' ' : *text);
    }
    putchar('"');
}

static void print_latency(const histogram *latency) {
    static const struct {
        const char *name;
        double quantile;
    } rows[] = {{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"p99.99", 0.9999}};
    printf(", \"latency_us\": {\"mean\": %.1f", histogram_mean(latency) * 1e-3);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t value = histogram_quantile(latency, rows[i].quantile);
        printf(", \"%s\": %.1f", rows[i].name, (double)value * 1e-3);
    }
    printf(", \"max\": %.1f}", (double)latency->highest * 1e-3);
}

static void print_memory(const load_result *result) {
    print_known("resident_before", result->resident_before, "%.0f");
    print_known("resident_after", result->resident_after, "%.0f");
    if (result->resident_before >= 0 && result->resident_connections > 0) {
        printf(", \"bytes_per_connection\": %.1f",
               (result->resident_after - result->resident_before) /
                   result->resident_connections);
    }
}

static void print_result(const load_options *options, const load_result *result) {
    printf("{\"mode\": \"%s\", \"connections\": %u, \"depth\": %u, \"size\": %u",
           MODES[options->mode], options->connections, options->depth, options->size);
    printf(", \"kind\": \"%s\"", options->is_binary ? "binary" : "text");
    if (result->error[0]) {
        fputs(", \"error\": ", stdout);
        print_text(result->error);
        puts("}");
        return;
    }
    printf(", \"error\": null, \"seconds\": %.6f, \"operations\": %llu",
           result->seconds, (unsigned long long)result->operations);
    printf(", \"per_second\": %.1f", (double)result->operations / result->seconds);
    if (options->mode == MODE_FANOUT) {
        printf(", \"publications\": %llu", (unsigned long long)result->publications);
    }
    print_known("server_cpu", result->server_cpu, "%.4f");
    print_known("load_cpu", result->load_cpu, "%.4f");
    if (options->mode == MODE_IDLE) {
        print_memory(result);
    } else {
        print_latency(&result->latency);
    }
    puts("}");
}

int main(int count, char **arguments) {
    load_options options;
    static load_result result;
    parse_options(count, arguments, &options);
    int failed = load_run(&options, &result);
    print_result(&options, &result);
    return failed ? 1 : 0;
}
