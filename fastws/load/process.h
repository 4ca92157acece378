/* What the kernel says of processes: CPU time and resident memory. */
#ifndef FASTWS_LOAD_PROCESS_H
#define FASTWS_LOAD_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* Seconds that all threads of all these processes ran, to the nanosecond; < 0 if one
 * of them is unknown. */
double processes_cpu_seconds(const pid_t *pids, uint32_t count);

/* Resident bytes of all of them; < 0 if unknown. */
double processes_resident_bytes(const pid_t *pids, uint32_t count);

/* CPU seconds of the calling thread. */
double own_cpu_seconds(void);

#endif
