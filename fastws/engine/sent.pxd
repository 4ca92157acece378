cdef class Sent:
    cdef readonly bint accepted
    cdef object future      # None: nothing to wait for


cdef Sent sent_accepted()
cdef Sent sent_refused()
cdef Sent sent_pending(object future)
