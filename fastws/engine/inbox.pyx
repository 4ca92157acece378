"""Messages that a coroutine has not taken yet: a ring that grows by doubling.

Ownership: the ring owns a reference to each message in it. Its memory goes back when it
is cleared; connections whose endpoints are callbacks never have any.
"""

from libc.stdlib cimport free, malloc


cdef extern from "Python.h":
    void Py_DECREF(PyObject *object)


cdef enum:
    FIRST_ROOM = 8


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


cdef void inbox_clear(inbox_t *inbox) noexcept:
    while inbox.count:
        Py_DECREF(inbox_pop(inbox))
    free(inbox.items)
    inbox.items = NULL
    inbox.room = 0
    inbox.first = 0
