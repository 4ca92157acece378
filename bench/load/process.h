/* What /proc says of a process: CPU time and resident memory. */
#ifndef FASTWS_LOAD_PROCESS_H
#define FASTWS_LOAD_PROCESS_H

#include <sys/types.h>

/* User and system seconds of all threads, in clock ticks (10 ms); < 0 if unknown. */
double process_cpu_seconds(pid_t pid);

/* Resident bytes; < 0 if unknown. */
double process_resident_bytes(pid_t pid);

/* CPU seconds of the calling process, to the nanosecond. */
double own_cpu_seconds(void);

#endif
