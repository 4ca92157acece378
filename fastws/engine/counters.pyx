"""The counters: one storage for the process's native memory, one per loop for events.

A C static would exist once per extension module, so every module reaches the native
counts through the pointer that :c:func:`native` returns.
"""

from libc.string cimport memset


cdef native_t _native
memset(&_native, 0, sizeof(_native))


cdef native_t* native() noexcept nogil:
    return &_native


def native_counts() -> dict:
    """Live native allocations of this process, by kind."""
    return _native


cdef class Counters:
    """Event counts of one loop. Written by the engine, read by anyone."""

    def __cinit__(self):
        memset(&self.data, 0, sizeof(self.data))

    def snapshot(self) -> dict:
        """Every counter by name, as it stands now."""
        return self.data
