from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .counters cimport counters_t
from .lane cimport conn_t, lane_t, member_t
from .log cimport segment_t
from .outbox cimport outbox_pool_t


cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len


cdef enum:
    MOST_PARTS = 1024       # of one sendmsg (IOV_MAX)
    HANDOVER = 16384        # whole frames that go to the link after a cut one
    URGENT_ROOM = 512


cdef enum Outcome:
    VISIT_DONE = 0          # nothing is owed any more
    VISIT_BLOCKED = 1
    VISIT_BROKEN = 2


ctypedef struct part_t:
    # Some whole frames that lie one behind the other.
    member_t *member        # whose cursor; NULL: urgent bytes or outbox
    lane_t *lane
    segment_t *segment
    uint32_t first          # frames [first, last) of the segment
    uint32_t last
    size_t end              # outbox: offset behind the part; urgent: 0


ctypedef struct source_t:
    # A cursor while a visit is being planned.
    member_t *member
    lane_t *lane
    segment_t *segment
    uint64_t sequence       # of the frame it stands at
    uint32_t position       # of that frame in the segment


ctypedef struct list_t:
    conn_t **items
    uint32_t count


ctypedef struct writer_t:
    # What writing needs, without Python: one per hub.
    uint64_t sequence       # of the last publication
    counters_t *counters
    outbox_pool_t pool
    lane_t *first_marked
    lane_t *last_marked
    uint32_t marked
    uint32_t tick           # the sweep's time
    list_t dirty            # something to write
    list_t linked           # to be visited with the GIL
    list_t noted            # something to tell
    uint32_t room           # of each of these lists: one place per connection
    part_t *parts
    iovec *vectors
    source_t *sources
    uint32_t source_room


cdef bint writer_init(writer_t *writer, counters_t *counters) noexcept nogil
cdef void writer_free(writer_t *writer) noexcept nogil
cdef bint writer_reserve(writer_t *writer, uint32_t connections) noexcept nogil
cdef bint writer_reserve_sources(writer_t *writer, uint32_t sources) noexcept nogil

cdef uint32_t plan_visit(
    writer_t *writer, conn_t *conn, size_t most_bytes
) noexcept nogil
cdef void advance(writer_t *writer, conn_t *conn, uint32_t count) noexcept nogil
cdef Outcome visit(writer_t *writer, conn_t *conn) noexcept nogil
cdef void cut(
    writer_t *writer, conn_t *conn, uint32_t count, size_t sent
) noexcept nogil
cdef void blocked(writer_t *writer, conn_t *conn) noexcept nogil
cdef void list_linked(writer_t *writer, conn_t *conn) noexcept nogil
cdef void caught_up(writer_t *writer, conn_t *conn) noexcept nogil
cdef void settled(writer_t *writer, conn_t *conn) noexcept nogil
cdef void check_lag(writer_t *writer, lane_t *lane, member_t *member) noexcept nogil
cdef void note(writer_t *writer, conn_t *conn, uint32_t notes) noexcept nogil
cdef void mark_dirty(writer_t *writer, conn_t *conn) noexcept nogil
cdef void unlist(writer_t *writer, conn_t *conn) noexcept nogil
cdef void unlist_linked(writer_t *writer, conn_t *conn) noexcept nogil
cdef bint urgent_append(
    conn_t *conn, const uint8_t *data, uint32_t length
) noexcept nogil
cdef ssize_t write_parts(conn_t *conn, iovec *vectors, uint32_t count) noexcept nogil
cdef bint owes_elsewhere(const conn_t *conn, const lane_t *lane) noexcept nogil


cdef inline bint nothing_of_its_own(const conn_t *conn) noexcept nogil:
    return conn.outbox == NULL and conn.urgent_length == 0
