/* The board: memory that the processes of a run share, one writer for each place.
 *
 *   head | places (one per process) | boards of the publishers | completions
 *
 * A publisher's process writes when it sent what; each process writes how many
 * publications of each publisher all of its own subscribers have. The publication is
 * complete when that is so in every process. */
#ifndef FASTWS_LOAD_BOARD_H
#define FASTWS_LOAD_BOARD_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { BOARD_PROCESSES = 64, BOARD_BARRIERS = 16 };

typedef enum {
    PHASE_OPENING,
    PHASE_WARM_UP,
    PHASE_RUNNING,
    PHASE_DRAINING,
    PHASE_CLOSING,
    PHASE_OVER,
} run_phase;

typedef struct {
    _Atomic uint64_t opened;
    _Atomic uint64_t operations;
    _Atomic uint64_t publications;
    _Atomic uint64_t unprobed; /* subscribers that have not proven to be subscribed */
    _Atomic uint32_t phase;
    uint32_t padding[7];
} board_place;

typedef struct {
    _Atomic uint32_t is_stopped; /* the caller wants the run to end */
    _Atomic uint32_t is_failed;  /* a process has given up */
    _Atomic uint32_t arrived[BOARD_BARRIERS];
    _Atomic uint32_t silent;     /* processes whose publishers have stopped */
    _Atomic uint64_t start_at;   /* nanoseconds: when all are ready */
    int wake[BOARD_PROCESSES]; /* an eventfd of each process; unused when alone */
    board_place places[BOARD_PROCESSES];
    /* From here on: board_publisher() and board_completed(). */
} board;

typedef struct {
    _Atomic uint64_t published;
    uint64_t sent_at[]; /* ring of `depth` */
} publisher_board;

static inline size_t board_size(uint32_t publishers, uint32_t depth,
                                uint32_t processes) {
    size_t each = sizeof(publisher_board) + sizeof(uint64_t) * depth;
    return sizeof(board) + publishers * (each + sizeof(uint64_t) * processes);
}

static inline publisher_board *board_publisher(board *self, uint32_t publisher,
                                               uint32_t depth) {
    size_t each = sizeof(publisher_board) + sizeof(uint64_t) * depth;
    return (publisher_board *)((char *)(self + 1) + each * publisher);
}

/* How many publications of each publisher this process has seen complete. */
static inline _Atomic uint64_t *board_completed(board *self, uint32_t publishers,
                                                uint32_t depth, uint32_t share) {
    char *after = (char *)board_publisher(self, publishers, depth);
    return (_Atomic uint64_t *)after + (size_t)publishers * share;
}

#endif
