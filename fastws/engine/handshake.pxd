# What a plain upgrade needs, for those who answer one without Python.
cdef bint is_key(bytes key) noexcept
cdef str accept_key(bytes key)
cdef tuple parse_subprotocols(bytes text)
