/* epoll and accept4 where there are any; elsewhere the same names, which fail with
 * ENOSYS, so that what uses them compiles everywhere and asks before it runs.
 * Include it before anything that hides accept4 (_GNU_SOURCE). */
#ifndef FASTWS_EPOLL_H
#define FASTWS_EPOLL_H

#include <stdint.h>
#include <sys/socket.h>

#ifdef __linux__

#include <sys/epoll.h>

enum { FASTWS_HAS_EPOLL = 1 };

static inline int fastws_accept(int listener, void *address, socklen_t *length) {
    return accept4(listener, address, length, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

#else

#include <errno.h>

enum { FASTWS_HAS_EPOLL = 0 };
enum { EPOLLIN = 1, EPOLLOUT = 4, EPOLLERR = 8, EPOLLHUP = 16 };
enum { EPOLL_CLOEXEC = 0 };
enum { EPOLL_CTL_ADD = 1, EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3 };

struct epoll_event {
    uint32_t events;
    union {
        uint64_t u64;
    } data;
};

static inline int epoll_create1(int flags) {
    (void)flags;
    errno = ENOSYS;
    return -1;
}

static inline int epoll_ctl(int epoll, int operation, int descriptor,
                            struct epoll_event *event) {
    (void)epoll, (void)operation, (void)descriptor, (void)event;
    errno = ENOSYS;
    return -1;
}

static inline int epoll_wait(int epoll, struct epoll_event *events, int most,
                             int timeout) {
    (void)epoll, (void)events, (void)most, (void)timeout;
    errno = ENOSYS;
    return -1;
}

static inline int fastws_accept(int listener, void *address, socklen_t *length) {
    (void)listener, (void)address, (void)length;
    errno = ENOSYS;
    return -1;
}

#endif

/* Sets what a descriptor is watched for; `was` and `events` of 0: not at all. */
static inline int fastws_watch(int epoll, int descriptor, uint32_t was, uint32_t events,
                               uint64_t key) {
    struct epoll_event event;
    event.events = events;
    event.data.u64 = key;
    if (events == was) {
        return 0;
    }
    return epoll_ctl(
        epoll,
        events == 0 ? EPOLL_CTL_DEL : was == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD,
        descriptor, &event);
}

#endif
