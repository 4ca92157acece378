"""The writer: what writing needs, without Python, one per hub.

It remembers which connections have something to write and which have something to be
told, and has the memory for planning a visit.
"""

from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from .lane cimport CONN_DIRTY, CONN_LISTED
from .outbox cimport outbox_pool_free


cdef bint writer_init(writer_t *writer, counters_t *counters) noexcept nogil:
    memset(writer, 0, sizeof(writer_t))
    writer.counters = counters
    writer.tick = 1
    writer.parts = <part_t *>malloc(MOST_PARTS * sizeof(part_t))
    writer.vectors = <iovec *>malloc(MOST_PARTS * sizeof(iovec))
    return (
        writer.parts != NULL
        and writer.vectors != NULL
        and writer_reserve(writer, 64)
        and writer_reserve_sources(writer, 16)
    )


cdef void writer_free(writer_t *writer) noexcept nogil:
    free(writer.parts)
    free(writer.vectors)
    free(writer.sources)
    free(writer.dirty.items)
    free(writer.linked.items)
    free(writer.noted.items)
    outbox_pool_free(&writer.pool)


cdef bint writer_reserve(writer_t *writer, uint32_t connections) noexcept nogil:
    """A place for every connection in every list, so that no flush ever needs memory
    to remember one."""
    cdef uint32_t room
    if connections <= writer.room:
        return True
    room = connections + (connections >> 1)
    if not (
        _reserve_list(&writer.dirty, room)
        and _reserve_list(&writer.linked, room)
        and _reserve_list(&writer.noted, room)
    ):
        return False
    writer.room = room
    return True


cdef bint _reserve_list(list_t *items, uint32_t room) noexcept nogil:
    cdef conn_t **grown = <conn_t **>realloc(items.items, room * sizeof(conn_t *))
    if grown == NULL:
        return False
    items.items = grown
    return True


cdef bint writer_reserve_sources(writer_t *writer, uint32_t sources) noexcept nogil:
    cdef source_t *grown
    cdef uint32_t room
    if sources <= writer.source_room:
        return True
    room = sources + (sources >> 1)
    grown = <source_t *>realloc(writer.sources, room * sizeof(source_t))
    if grown == NULL:
        return False
    writer.sources = grown
    writer.source_room = room
    return True


cdef void note(writer_t *writer, conn_t *conn, uint32_t notes) noexcept nogil:
    if conn.notes == 0:
        writer.noted.items[writer.noted.count] = conn
        writer.noted.count += 1
    conn.notes |= notes


cdef void mark_dirty(writer_t *writer, conn_t *conn) noexcept nogil:
    if not conn.flags & CONN_DIRTY:
        conn.flags |= CONN_DIRTY
        writer.dirty.items[writer.dirty.count] = conn
        writer.dirty.count += 1


cdef void unlist(writer_t *writer, conn_t *conn) noexcept nogil:
    """Forget a connection that is about to be freed."""
    if conn.flags & CONN_DIRTY:
        _remove(&writer.dirty, conn)
    if conn.notes:
        _remove(&writer.noted, conn)
    unlist_linked(writer, conn)


cdef void unlist_linked(writer_t *writer, conn_t *conn) noexcept nogil:
    if conn.flags & CONN_LISTED:
        conn.flags &= ~<uint32_t>CONN_LISTED
        _remove(&writer.linked, conn)


cdef void _remove(list_t *items, conn_t *conn) noexcept nogil:
    cdef uint32_t position
    for position in range(items.count):
        if items.items[position] == conn:
            items.count -= 1
            items.items[position] = items.items[items.count]
            return


cdef bint urgent_append(
    conn_t *conn, const uint8_t *data, uint32_t length
) noexcept nogil:
    """Control bytes for the next frame boundary. False: no room (or no memory) left."""
    if conn.urgent_length + length > URGENT_ROOM:
        return False
    if conn.urgent == NULL:
        conn.urgent = <uint8_t *>malloc(URGENT_ROOM)
        if conn.urgent == NULL:
            return False
    memcpy(conn.urgent + conn.urgent_length, data, length)
    conn.urgent_length += length
    return True
