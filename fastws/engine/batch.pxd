from .payload cimport payload_t


cdef int check_array_item(
    object message, const payload_t *payload, bint excludes
) except -1
