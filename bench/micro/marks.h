/* Marks for callgrind, for ctypes (see counted.py). */
#ifndef FASTWS_BENCH_MICRO_MARKS_H
#define FASTWS_BENCH_MICRO_MARKS_H

/* What compiled this file, and with it the engine. */
const char *marks_compiler(void);

/* 1 under valgrind, 0 outside it, -1 when built without its header. */
int marks_available(void);

/* Callgrind's own work begins here: what was before ran faster and is not seen. */
void marks_start(void);

/* Instructions begin, or cease, to count. */
void marks_toggle(void);

/* The counts begin at zero again. */
void marks_zero(void);

/* Writes the counts to a file under this name and begins at zero again. */
void marks_dump(const char *name);

#endif
