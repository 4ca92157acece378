from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .counters cimport counters_t
from .lane cimport conn_t, detour_t, lane_t, member_t
from .log cimport segment_t
from .outbox cimport outbox_pool_t


cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void *iov_base
        size_t iov_len


cdef enum:
    MOST_PARTS = 1024       # of one sendmsg (IOV_MAX)
    URGENT_ROOM = 512


ctypedef struct part_t:
    # Some whole frames that lie one behind the other.
    member_t *member        # whose cursor; NULL: urgent bytes or outbox
    lane_t *lane
    segment_t *segment      # NULL: one frame of a detour
    uint32_t first          # frames [first, last) of the segment
    uint32_t last
    uint64_t end            # outbox: offset behind it; urgent: 0; detour: place behind


ctypedef struct source_t:
    # A cursor while a visit is being planned, and the frame it stands at.
    member_t *member
    lane_t *lane
    detour_t *detour        # NULL: it reads the log
    uint64_t sequence       # of the frame
    segment_t *segment      # log: where the frame lies
    uint64_t place          # log: position in the segment; keyed: slot; else number


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
    uint32_t gathering      # lanes with frames that wait for a batch window's end
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
cdef void note(writer_t *writer, conn_t *conn, uint32_t notes) noexcept nogil
cdef void mark_dirty(writer_t *writer, conn_t *conn) noexcept nogil
cdef void unlist(writer_t *writer, conn_t *conn) noexcept nogil
cdef void unlist_linked(writer_t *writer, conn_t *conn) noexcept nogil
cdef bint urgent_append(
    conn_t *conn, const uint8_t *data, uint32_t length
) noexcept nogil
