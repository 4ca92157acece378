cdef class Receipts:
    cdef object found       # by (channel, key): (time, receipt), the oldest first

    cdef object find(self, str channel, str key, double now)
    cdef int keep(self, str channel, str key, double now, object receipt) except -1
    cdef bint _is_old(self, double now) except -1
