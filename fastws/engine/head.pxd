# Classes of bytes: RFC 9110 sections 5.6.2 (token) and 5.5 (field value with obs-text),
# RFC 3986 (host), RFC 4648 (base64). A target is everything visible but a fragment.
cdef enum:
    TOKEN = 1
    VALUE = 2
    TARGET = 4
    HOST = 8
    BASE64 = 16

# Position of the first byte that is not of the class
cdef Py_ssize_t run_end(
    const unsigned char *data, Py_ssize_t position, Py_ssize_t size, unsigned char kind
) noexcept nogil
cdef bint is_all(bytes text, unsigned char kind) noexcept
cdef bytes header_line(str name, str value)


cdef enum HeadState:
    HEAD_START
    HEAD_BLANK_LF
    HEAD_METHOD
    HEAD_TARGET
    HEAD_VERSION
    HEAD_REQUEST_LF
    HEAD_LINE
    HEAD_NAME
    HEAD_VALUE
    HEAD_VALUE_LF
    HEAD_END_LF
    HEAD_COMPLETE


cdef enum:
    # Longest method, version or header name that has to be recognised.
    WORD_SIZE = 24


cdef class HeadScanner:
    # Where it stands
    cdef HeadState state
    cdef bint blank_skipped
    cdef Py_ssize_t line_length
    cdef Py_ssize_t target_length
    cdef Py_ssize_t section_length
    cdef Py_ssize_t header_count
    # The method, version or header name being read, in lower case past the method
    cdef unsigned char[WORD_SIZE] word
    cdef Py_ssize_t word_length
    cdef bint method_is_known
    # Limits
    cdef Py_ssize_t max_request_line
    cdef Py_ssize_t max_header_line
    cdef Py_ssize_t max_headers
    cdef Py_ssize_t max_header_bytes

    cpdef void reset(self)
    cpdef Py_ssize_t feed(self, object data, Py_ssize_t start=*) except -2
    # One per state: they give the position of the first byte not consumed
    cdef Py_ssize_t read_start(
        self, const unsigned char *data, Py_ssize_t position
    ) except -2
    cdef Py_ssize_t read_method(
        self, const unsigned char *data, Py_ssize_t position, Py_ssize_t size
    ) except -2
    cdef Py_ssize_t read_target(
        self, const unsigned char *data, Py_ssize_t position, Py_ssize_t size
    ) except -2
    cdef Py_ssize_t read_version(
        self, const unsigned char *data, Py_ssize_t position
    ) except -2
    cdef Py_ssize_t read_line(
        self, const unsigned char *data, Py_ssize_t position
    ) except -2
    cdef Py_ssize_t read_name(
        self, const unsigned char *data, Py_ssize_t position, Py_ssize_t size
    ) except -2
    cdef Py_ssize_t read_value(
        self, const unsigned char *data, Py_ssize_t position, Py_ssize_t size
    ) except -2
    cdef Py_ssize_t read_line_feed(
        self, const unsigned char *data, Py_ssize_t position
    ) except -2
    # Limits
    cdef int count_request_line(self, Py_ssize_t length) except -1
    cdef int count_header(self, Py_ssize_t length) except -1
