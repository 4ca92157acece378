from libc.stddef cimport size_t
from libc.stdint cimport uint8_t

from .deflate cimport Agreement
from .head cimport HeadScanner
from .link cimport Consumer
from .ownlink cimport OwnLink


cdef enum:
    # What an upgrade is decided by.
    FIELD_HOST = 0
    FIELD_ORIGIN
    FIELD_UPGRADE
    FIELD_CONNECTION
    FIELD_KEY
    FIELD_VERSION
    FIELD_PROTOCOL
    FIELD_EXTENSIONS
    FIELD_OTHER
    FIELDS = FIELD_OTHER


ctypedef struct text_t:
    const char *data            # NULL: there is none
    Py_ssize_t length


ctypedef struct head_t:
    # A head taken apart.
    text_t path
    text_t[FIELDS] fields


cdef class Entrance:
    cdef object factory         # (hub, link) -> Consumer

    cdef int begin(self) except -1
    cdef int admit(self, OwnLink link, const uint8_t *data, size_t length) except -1


cdef class WebEntrance(Entrance):
    # -- what the HTTP side answers
    cdef object service
    cdef object admits_origin   # (origin, host) -> bool
    cdef object log_accepted    # (path) -> None
    cdef bint same_host         # a page of our own host needs no more looking at
    # -- limits, as of this batch of accepts
    cdef double handshake_timeout   # 0: none
    cdef Py_ssize_t max_handshakes
    cdef Py_ssize_t connection_limit
    # -- what is kept for the next request
    cdef HeadScanner scanner
    cdef dict literals          # path in bytes -> (path, route)
    cdef readonly Py_ssize_t waiting    # openings that have received nothing yet

    cdef int pass_on(
        self, OwnLink link, const uint8_t *data, size_t length, object deadline
    ) except -1
    cdef bint upgrade(
        self, OwnLink link, const uint8_t *data, size_t length
    ) except -1
    cdef tuple route_of(self, bytes path)
    cdef bint _admits(self, const head_t *head) except -1
    cdef Agreement _agree(self, OwnLink link, object route, const text_t *offers)
    cdef bint _accept(
        self,
        OwnLink link,
        bytes whole,
        Py_ssize_t end,
        const head_t *head,
        tuple found,
    ) except -1


cdef class Opening(Consumer):
    cdef WebEntrance entrance   # None: somebody else has the link
    cdef double due             # its handshake's deadline; 0: none

    cdef int leave(self) except -1
