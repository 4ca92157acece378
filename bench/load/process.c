#define _GNU_SOURCE
#include "process.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double process_cpu_seconds(pid_t pid) {
    char path[64], text[1024];
    unsigned long long user, system;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return -1;
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    /* The command's name may hold blanks and brackets: fields start after the last. */
    char *fields = strrchr(text, ')');
    if (fields == NULL ||
        sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
               &user, &system) != 2) {
        return -1;
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

double process_resident_bytes(pid_t pid) {
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

double own_cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}
