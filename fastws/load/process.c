#define _GNU_SOURCE
#include "process.h"

#include <stdio.h>
#include <time.h>

static double clock_seconds(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now) != 0) {
        return -1;
    }
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

double processes_cpu_seconds(const pid_t *pids, uint32_t count) {
    double sum = count ? 0 : -1;
    for (uint32_t i = 0; i < count; i++) {
        clockid_t clock;
        double seconds = -1;
        if (clock_getcpuclockid(pids[i], &clock) == 0) {
            seconds = clock_seconds(clock);
        }
        if (seconds < 0) {
            return -1;
        }
        sum += seconds;
    }
    return sum;
}

static double resident_bytes(pid_t pid) {
    char path[64], line[256];
    unsigned long long kibibytes;
    double resident = -1;
    /* smaps_rollup counts pages exactly; statm lags by per-CPU batches. */
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return -1;
    }
    while (resident < 0 && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Rss: %llu kB", &kibibytes) == 1) {
            resident = (double)kibibytes * 1024.0;
        }
    }
    fclose(file);
    return resident;
}

double processes_resident_bytes(const pid_t *pids, uint32_t count) {
    double sum = count ? 0 : -1;
    for (uint32_t i = 0; i < count; i++) {
        double bytes = resident_bytes(pids[i]);
        if (bytes < 0) {
            return -1;
        }
        sum += bytes;
    }
    return sum;
}

double own_cpu_seconds(void) { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }
