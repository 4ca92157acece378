from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t


ctypedef struct run_t:
    # Frames that were handed over with no publication between them.
    uint64_t sequence   # of the last publication before them
    size_t end          # offset of the first byte behind them


ctypedef struct outbox_t:
    uint8_t *data
    size_t start        # first byte still owed, always the start of a frame
    size_t end
    size_t room
    run_t *runs
    uint32_t first_run
    uint32_t run_count
    uint32_t run_room
    uint32_t reserved
    outbox_t *next      # in the pool


ctypedef struct outbox_pool_t:
    outbox_t *first
    uint32_t count


cdef outbox_t *outbox_take(outbox_pool_t *pool) noexcept nogil
cdef void outbox_give(outbox_pool_t *pool, outbox_t *outbox) noexcept nogil
cdef void outbox_pool_free(outbox_pool_t *pool) noexcept nogil
cdef uint8_t *outbox_append(
    outbox_t *outbox, size_t size, uint64_t sequence
) noexcept nogil
cdef void outbox_consume(outbox_t *outbox, size_t position) noexcept nogil


cdef inline size_t outbox_pending(const outbox_t *outbox) noexcept nogil:
    return 0 if outbox == NULL else outbox.end - outbox.start


cdef inline run_t *outbox_run(const outbox_t *outbox) noexcept nogil:
    """The oldest run; only when something is pending."""
    return &outbox.runs[outbox.first_run]
