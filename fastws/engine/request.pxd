cdef class Fields:
    cdef dict table
    cdef dict read(self)
    cdef str fold(self, str name)


cdef class Headers(Fields):
    cdef list raw


cdef class Query(Fields):
    cdef str text


cdef class Request:
    # The request line
    cdef readonly str method
    cdef readonly str target
    cdef readonly str path
    cdef readonly str query_string
    cdef readonly str http_version
    # Who sends it
    cdef readonly object remote_address
    cdef readonly bint secure
    # What the server adds
    cdef public dict params
    cdef public object compression
    cdef readonly tuple subprotocols
    cdef bytes content
    # Headers, and the views made when they are asked for
    cdef list raw_headers
    cdef Headers header_view
    cdef Query query_view
    # Headers the server itself acts on, noted while they are parsed
    cdef bytes host_value
    cdef bytes origin_value
    cdef bytes upgrade_value
    cdef bytes connection_value
    cdef bytes key_value
    cdef bytes version_value
    cdef bytes protocol_value
    cdef bytes extensions_value
    cdef bytes length_value
    cdef bytes coding_value
    cdef bytes expect_value
    cdef int host_count
    cdef int origin_count
    cdef int key_count
    cdef int version_count
    cdef int length_count
    cdef int coding_count
    # What they mean
    cdef readonly object content_length
    cdef readonly bint chunked
    cdef readonly bint keep_alive

    cdef void note_header(self, bytes name, bytes value)
    cdef int check_host(self) except -1
    cdef int check_framing(self) except -1


# Whether a comma-separated list has this lower-case token
cdef bint has_token(bytes values, bytes token) noexcept
cdef bint list_has(
    const char *data, Py_ssize_t size, const char *token, Py_ssize_t length
) noexcept nogil
