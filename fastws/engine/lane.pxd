from cpython.object cimport PyObject
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from .history cimport history_t
from .keyed cimport keyed_t
from .log cimport log_t
from .outbox cimport outbox_t


cdef enum:
    TICKS = 10              # of the sweep in a second: times of limits are in ticks


cdef enum ConnectionFlag:
    CONN_LINKED = 1     # written through its link, with the GIL: TLS, memory
    CONN_BLOCKED = 2    # the kernel (or the link) takes nothing for the time being
    CONN_BROKEN = 4     # a write failed; the link will report the end
    CONN_FINISH = 8     # when everything is written, say so: it is the end
    CONN_WATCHED = 16   # somebody waits for the outbox to drain
    CONN_DIRTY = 32     # in the hub's list of connections with something to write
    CONN_BATCH = 64     # its bytes are being read: written when the batch ends
    CONN_PINGED = 128   # a ping of ours is among the urgent bytes
    CONN_LISTED = 256   # in the hub's list of linked connections to visit
    CONN_COHORT = 512   # it reads a cohort's context: nothing else may be compressed
    CONN_MIXED = 1024   # its inflater has more in its window than its own context knows
    CONN_LIMITED = 2048     # it has a `limit`
    CONN_UNTOLD = 4096  # it has a gap that there is no memory to tell it of


cdef enum Note:
    # What a flush found. No Python code runs inside it, so it is told afterwards.
    NOTE_HANDOVER = 1   # `partial` is for the link
    NOTE_BROKEN = 2
    NOTE_LAGGED = 4     # a cursor is past what its channel allows
    NOTE_DRAINED = 8    # a watched outbox is under the low-water mark
    NOTE_FINISHED = 16  # CONN_FINISH has come true
    NOTE_DUE = 32       # the sweep found that some time is over
    NOTE_SKIPPED = 64   # there are gaps to tell of, and bytes are taken again


cdef enum Slow:
    SLOW_CLOSE = 0
    SLOW_SKIP = 1
    SLOW_LATEST = 2
    SLOW_RESUME = 3


# Where a cursor stands:
#
#   ON_LOG ──its connection takes no bytes──► STANDING
#     ▲  ▲                                       │ past its channel's bound: skip
#     │  └────────────────────────────────────────┤ latest, resume
#     └──has got everything── DETOUR ◄───────────┘
#                               ▲── subscribed with a place in the history
cdef enum Standing:
    MEMBER_ON_LOG = 0
    MEMBER_STANDING = 1     # slow, and counted by the segment it stands in
    MEMBER_DETOUR = 2       # `next` is the address of its detour


cdef enum Detour:
    DETOUR_KEYED = 0        # the newest frame of each key
    DETOUR_REFILL = 1       # from history, because it was slow
    DETOUR_RECOVERY = 2     # from history, because it was away
    DETOUR_LEAVING = 3      # nothing: it has lost the cohort's context and goes


cdef enum LaneKind:
    LANE_PLAIN = 0
    LANE_COMPRESSED = 1     # each frame refers to nothing before it
    LANE_COHORT = 2         # frames refer to those before them, for its members only


ctypedef struct detour_t:
    # A cursor that does not read the log for the time being. Places are indexes in the
    # log (KEYED) or publication numbers (the others).
    uint32_t kind
    uint32_t reserved
    uint64_t position       # of the first frame that is still owed
    uint64_t start          # where it began
    uint64_t sequence       # what is older counts as handed over then
    uint64_t delivered      # frames sent
    uint64_t excluded       # frames since the start that leave it out
    uint64_t skipped        # frames that are known to be missed, and counted
    conn_t *conn
    detour_t *next          # of its lane
    detour_t *previous


ctypedef struct gap_t:
    # What a connection has missed of one channel and was not told yet.
    gap_t *next
    lane_t *lane
    uint64_t missed


ctypedef struct subscription_t:
    # A connection's side of a cursor.
    lane_t *lane
    uint32_t index          # of its member in the lane
    uint32_t reserved


ctypedef struct member_t:
    # A lane's side of a cursor: (connection, lane, next frame).
    conn_t *conn
    uint64_t next           # index of the first frame that is still owed
    uint32_t slot           # of its subscription in the connection
    uint32_t standing       # see Standing


ctypedef struct rule_t:
    uint64_t max_lag        # bytes
    uint32_t max_lag_age    # ticks of the sweep
    uint32_t max_stall      # ticks; 0: the route's
    uint32_t max_keys
    uint32_t slow           # see Slow


ctypedef struct times_t:
    # Of one route, in ticks of the sweep; 0: off.
    uint32_t ping_interval
    uint32_t pong_timeout
    uint32_t message_timeout
    uint32_t max_stall


ctypedef struct lane_t:
    log_t log
    # -- cursors
    member_t *members
    uint32_t count
    uint32_t room
    # -- the walk that is under way, from the end of the array to its start
    uint64_t flushed        # every cursor that is not slow stands here or further on
    uint64_t target         # where the walk brings them
    uint32_t walk           # members before this one are still to be visited
    uint8_t marked          # in the hub's queue
    uint8_t walking
    uint8_t gathering       # has frames that wait for the end of a batch window
    uint8_t kind            # see LaneKind
    lane_t *next            # in the hub's queue
    # -- what cursors on a detour read
    uint32_t detours
    uint32_t healing        # those that need `keyed`
    detour_t *first_detour
    keyed_t *keyed          # owned
    history_t *history      # borrowed from the channel; NULL: none
    uint64_t compressed     # sequence of the last frame that was; 0: none
    # -- whose it is
    const rule_t *rule
    PyObject *channel       # borrowed: the channel owns its lanes


ctypedef struct conn_t:
    int fd                  # for direct writes; -1 with CONN_LINKED
    uint16_t flags
    uint16_t notes
    uint32_t slot           # in the hub's table
    uint32_t low_water
    uint64_t serial
    uint64_t limit          # publications after this sequence are not for it any more
    const times_t *times
    PyObject *owner         # strong from enter to leave
    # -- what is owed: control bytes, own frames, cursors
    uint8_t *urgent         # goes at the next frame boundary
    uint32_t urgent_length
    uint32_t partial_length
    uint8_t *partial        # a cut frame's rest and a little more, for the link
    outbox_t *outbox
    subscription_t *subscriptions
    uint32_t subscription_count
    uint32_t subscription_room
    uint64_t excluded       # sequence of the last publication that left this one out
    gap_t *gaps             # owned
    # -- time, in ticks of the sweep
    uint32_t next_ping
    uint32_t pinged         # when a ping reached the kernel; 0: something came since
    uint32_t message_start  # 0: no message is unfinished
    uint32_t lag_start      # when it last stopped being caught up
    uint32_t stall_start    # when its socket last took a byte
    uint32_t stall_pending  # what the link held then, its low half


cdef bint lane_join(lane_t *lane, conn_t *conn) noexcept nogil
cdef void lane_leave(lane_t *lane, uint32_t index) noexcept nogil
cdef bint lane_move(lane_t *lane, uint32_t index, lane_t *other) noexcept nogil
cdef subscription_t *lane_subscription(lane_t *lane, conn_t *conn) noexcept nogil
cdef void member_stand(lane_t *lane, member_t *member) noexcept nogil
cdef void member_move_on(lane_t *lane, member_t *member, uint64_t index) noexcept nogil
cdef void member_detour(
    lane_t *lane, member_t *member, detour_t *detour
) noexcept nogil
cdef void member_return(lane_t *lane, member_t *member) noexcept nogil
cdef void gap_add(conn_t *conn, lane_t *lane, uint64_t missed) noexcept nogil
cdef gap_t *gap_take(conn_t *conn) noexcept nogil
cdef void lane_trim(lane_t *lane) noexcept nogil
cdef void lane_free(lane_t *lane) noexcept nogil


cdef inline bint member_owes(const lane_t *lane, const member_t *member) noexcept nogil:
    return member.standing == MEMBER_DETOUR or member.next < lane.log.next


cdef inline detour_t *detour_of(const member_t *member) noexcept nogil:
    """Only of a member that is on one."""
    return <detour_t *><size_t>member.next


cdef inline void limit_to(conn_t *conn, uint64_t sequence) noexcept nogil:
    """What is published later than this is not for it any more."""
    conn.flags |= CONN_LIMITED
    if sequence < conn.limit:
        conn.limit = sequence


cdef inline uint64_t no_limit() noexcept nogil:
    """A connection's `limit` while it is owed whatever is published."""
    return 0xFFFFFFFFFFFFFFFF
