/* Marks for callgrind: which instructions count, and for what.
 *
 * The client requests are a few instructions that do nothing outside valgrind. Without
 * valgrind's header they can't be made: marks_available() then says so.
 */
#include "marks.h"

const char *marks_compiler(void)
{
#ifdef __clang__
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>

int marks_available(void)
{
    return RUNNING_ON_VALGRIND ? 1 : 0;
}

void marks_start(void)
{
    CALLGRIND_START_INSTRUMENTATION;
}

void marks_toggle(void)
{
    CALLGRIND_TOGGLE_COLLECT;
}

void marks_zero(void)
{
    CALLGRIND_ZERO_STATS;
}

void marks_dump(const char *name)
{
    CALLGRIND_DUMP_STATS_AT(name);
}

#else

int marks_available(void)
{
    return -1;
}

void marks_start(void)
{
}

void marks_toggle(void)
{
}

void marks_zero(void)
{
}

void marks_dump(const char *name)
{
    (void)name;
}

#endif
