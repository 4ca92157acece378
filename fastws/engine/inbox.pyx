"""Messages that a coroutine has not taken yet: a ring that grows by doubling.

Ownership: the ring owns a reference to each message in it. Connections that have never
had a message wait, as those with callbacks, share one that is always empty.
"""

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset


cdef extern from "Python.h":
    void Py_DECREF(PyObject *object)


cdef enum:
    FIRST_ROOM = 8


cdef inbox_t _none
memset(&_none, 0, sizeof(inbox_t))


cdef inbox_t *inbox_none() noexcept:
    """The one that nothing is ever put into."""
    return &_none


cdef inbox_t *inbox_new() except NULL:
    cdef inbox_t *inbox = <inbox_t *>calloc(1, sizeof(inbox_t))
    if inbox == NULL:
        raise MemoryError
    return inbox


cdef int inbox_push(inbox_t *inbox, PyObject *message) except -1:
    """Take over one reference."""
    cdef PyObject **items
    cdef uint32_t room, position
    if inbox.count == inbox.room:
        room = inbox.room * 2 if inbox.room else FIRST_ROOM
        items = <PyObject **>malloc(room * sizeof(PyObject *))
        if items == NULL:
            Py_DECREF(message)
            raise MemoryError
        for position in range(inbox.count):
            items[position] = inbox.items[(inbox.first + position) & (inbox.room - 1)]
        free(inbox.items)
        inbox.items = items
        inbox.first = 0
        inbox.room = room
    inbox.items[(inbox.first + inbox.count) & (inbox.room - 1)] = message
    inbox.count += 1
    return 0


cdef PyObject *inbox_pop(inbox_t *inbox) noexcept:
    """Hand over the oldest one's reference; only when there is one."""
    cdef PyObject *message = inbox.items[inbox.first]
    inbox.first = (inbox.first + 1) & (inbox.room - 1)
    inbox.count -= 1
    return message


cdef void inbox_free(inbox_t *inbox) noexcept:
    if inbox == &_none:
        return
    while inbox.count:
        Py_DECREF(inbox_pop(inbox))
    free(inbox.items)
    free(inbox)
