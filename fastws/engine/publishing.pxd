from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from .channel cimport Channel
from .lane cimport conn_t, lane_t
from .payload cimport payload_t
from .receipts cimport Receipts
from .roster cimport Owner, Roster


cdef class Publishing(Roster):
    # -- channels
    cdef dict _channels
    cdef dict _rules
    cdef Channel _everyone
    cdef Receipts receipts
    cdef list expiring          # heap of (tick, turn, channel): histories with a time
    cdef uint64_t turn
    # -- flushing
    cdef uint64_t forced        # nanoseconds of this tick that publishing has flushed
    cdef bint awake             # a flush is on its way

    # -- channels
    cdef Channel _channel(self, str name, object rule=*)
    cdef Channel _lasting(self, str name)
    cdef int _join(self, conn_t *conn, Channel channel) except -1
    cdef Channel join(self, conn_t *conn, str name)
    cdef bint recover(self, conn_t *conn, Channel channel, object since) except? True
    cdef Channel depart(self, conn_t *conn, str name)
    cdef int _depart(self, Owner owner, Channel channel) except -1
    cdef int depart_all(self, conn_t *conn) except -1
    cdef int _left(self, Channel channel, lane_t *lane) except -1
    cdef list channel_names(self, const conn_t *conn)
    cdef int _gather_everyone(self) except -1
    cdef int _dissolve(self, Channel channel) except -1
    cdef int expire(self) except -1
    cdef int _expire_later(self, Channel channel) except -1
    # -- publishing
    cdef int publish_local(
        self, str name, object message, conn_t *excluded, str key, object compress
    ) except -1
    cdef int _publish(
        self, Channel channel, payload_t *payload, conn_t *excluded, str key
    ) except -1
    cdef int _append(
        self,
        Channel channel,
        payload_t *payload,
        conn_t *excluded,
        str key,
        uint64_t key_id,
    ) except -1
    cdef int _flush_at_once(self) except -1
    # -- batching
    cdef int _open_window(self, Channel channel) except -1
    cdef size_t _gather(self, lane_t *lane) noexcept
    cdef int _close_window(self, Channel channel) except -1
    cdef int _stop_gathering(self, lane_t *lane) except -1
    cdef int _collect(self, Channel channel, payload_t *payload) except -1
    cdef int _send_array(self, Channel channel) except -1
    cdef int _look_back(self, Channel channel) except -1
    cdef int send_arrays(self, const conn_t *conn) except -1
