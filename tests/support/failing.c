/* An allocator that refuses: to be preloaded, and to be told from Python when.
 *
 * Only what the watched code asks for itself is refused (its own malloc, calloc and
 * realloc, by the address they return to), so that the interpreter and the libraries
 * around it have all the memory they want.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

enum { MOST_RANGES = 128, MOST_PLACES = 1024 };

static struct {
    uintptr_t start, end;
} ranges[MOST_RANGES];
static int range_count;

/* Requests until one is refused; 0: none is. */
static long left;
static long refused;
/* Where requests came from that were refused, each once. */
static uintptr_t places[MOST_PLACES];
static int place_count;

int failing_watch(uintptr_t start, uintptr_t end)
{
    if (range_count == MOST_RANGES) {
        return -1;
    }
    ranges[range_count].start = start;
    ranges[range_count].end = end;
    range_count++;
    return 0;
}

void failing_after(long requests)
{
    left = requests;
}

long failing_left(void)
{
    return left;
}

long failing_refused(void)
{
    return refused;
}

int failing_places(void)
{
    return place_count;
}

uintptr_t failing_place(int number)
{
    return places[number];
}

static int is_refused(void *caller)
{
    uintptr_t place = (uintptr_t)caller;
    int i = 0;
    if (left == 0) {
        return 0;
    }
    while (i < range_count && (place < ranges[i].start || place >= ranges[i].end)) {
        i++;
    }
    if (i == range_count || --left > 0) {
        return 0;
    }
    refused++;
    for (i = 0; i < place_count; i++) {
        if (places[i] == place) {
            break;
        }
    }
    if (i == place_count && place_count < MOST_PLACES) {
        places[place_count++] = place;
    }
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return is_refused(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return is_refused(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return is_refused(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size);
}
