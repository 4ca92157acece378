from .channel cimport Channel
from .lane cimport conn_t, lane_t
from .writer cimport writer_t


cdef int cohort_tend(Channel channel, writer_t *writer) except -1
cdef int cohort_left(conn_t *conn, writer_t *writer) except -1
cdef int lane_emptied(Channel channel, lane_t *lane, writer_t *writer) except -1
