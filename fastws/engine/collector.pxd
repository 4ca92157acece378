"""The garbage collector, which may run any finalizer of the program's wherever an
object is made (CPython 3.11): it waits where that must not happen in the middle of
things."""

cdef extern from "Python.h":
    bint PyGC_Disable()
    bint PyGC_Enable()


cdef inline bint collector_pause() noexcept:
    """Whether it was running, for ``collector_resume``."""
    return PyGC_Disable()


cdef inline void collector_resume(bint was_running) noexcept:
    if was_running:
        PyGC_Enable()
