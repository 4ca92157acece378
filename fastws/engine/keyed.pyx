"""The newest frame of each key of a lane, beside its log, while slow subscribers heal.

Made from the log when the first cursor leaves it, kept up to date by every publication
while any is on this detour, freed with the last. Frames lie in slots in the order of
the log: a key that is updated leaves an empty slot behind and goes to the end, so that
a cursor finds its place by index with a binary search. Empty slots go when they are
half of all. Frames without a key share key 0.

Ownership: a lane owns it; it owns copies of its frames.
"""

from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from .log cimport (
    entry_t,
    log_find,
    segment_data,
    segment_entry,
    segment_start,
    segment_t,
)


cdef enum:
    FIRST_ROOM = 16


cdef keyed_t *keyed_new(uint32_t most, uint64_t start) noexcept nogil:
    """It knows of no frame before the index ``start``. NULL: no memory."""
    cdef keyed_t *keyed = <keyed_t *>calloc(1, sizeof(keyed_t))
    if keyed != NULL:
        keyed.most = most
        keyed.start = start
        if not _rebuild(keyed, FIRST_ROOM, 0):
            free(keyed)
            return NULL
    return keyed


cdef void keyed_free(keyed_t *keyed) noexcept nogil:
    cdef uint32_t place
    if keyed == NULL:
        return
    for place in range(keyed.first, keyed.count):
        free(keyed.slots[place].frame)
    free(keyed.slots)
    free(keyed.table)
    free(keyed)


# -- the table -------------------------------------------------------------------------


cdef uint32_t *_place_of(keyed_t *keyed, uint64_t key) noexcept nogil:
    """Where the table has the key, or would have it. Keys are good hashes."""
    cdef uint32_t position = <uint32_t>key & keyed.mask
    while (
        keyed.table[position]
        and keyed.slots[keyed.table[position] - 1].key != key
    ):
        position = (position + 1) & keyed.mask
    return &keyed.table[position]


cdef bint _rebuild(keyed_t *keyed, uint32_t room, uint32_t gap) noexcept nogil:
    """Slots for ``room`` frames: first ``gap`` empty ones, then those with a frame."""
    cdef uint32_t size = 2 * FIRST_ROOM
    cdef uint32_t place
    cdef uint32_t count = gap
    cdef uint32_t *table
    cdef pinned_t *slots = <pinned_t *>malloc(room * sizeof(pinned_t))
    while size < 2 * room:
        size *= 2
    table = <uint32_t *>calloc(size, sizeof(uint32_t))
    if slots == NULL or table == NULL:
        free(slots)
        free(table)
        return False
    for place in range(keyed.first, keyed.count):
        if keyed.slots[place].frame != NULL:
            slots[count] = keyed.slots[place]
            count += 1
    free(keyed.slots)
    free(keyed.table)
    keyed.slots = slots
    keyed.table = table
    keyed.mask = size - 1
    keyed.room = room
    keyed.first = gap
    keyed.count = count
    for place in range(gap, count):
        _place_of(keyed, slots[place].key)[0] = place + 1
    return True


# -- newer frames ----------------------------------------------------------------------


cdef uint8_t *keyed_put(
    keyed_t *keyed,
    uint64_t index,
    uint64_t sequence,
    uint64_t key,
    uint64_t excluded,
    uint32_t size,
) noexcept nogil:
    """Memory for the newest frame of all. NULL: there is none, and its key has no frame
    now."""
    cdef uint32_t *place
    cdef pinned_t *slot
    cdef uint8_t *frame = NULL
    if keyed.count == keyed.room and not _rebuild(
        keyed, keyed.room if keyed.live <= keyed.room // 2 else keyed.room * 2, 0
    ):
        return NULL
    place = _place_of(keyed, key)
    if place[0]:
        slot = &keyed.slots[place[0] - 1]
        if slot.frame != NULL:
            keyed.live -= 1
            if slot.size == size:
                frame = slot.frame
            else:
                free(slot.frame)
            slot.frame = NULL
    if frame == NULL:
        frame = <uint8_t *>malloc(size)
        if frame == NULL:
            return NULL
    if keyed.live == keyed.most:
        _drop_oldest(keyed)
    slot = &keyed.slots[keyed.count]
    slot.index = index
    slot.sequence = sequence
    slot.key = key
    slot.excluded = excluded
    slot.frame = frame
    slot.size = size
    keyed.count += 1
    keyed.live += 1
    place[0] = keyed.count
    return frame


cdef void _drop_oldest(keyed_t *keyed) noexcept nogil:
    """Its place in the table stays, and knows the key when it comes again."""
    while keyed.slots[keyed.first].frame == NULL:
        keyed.first += 1
    free(keyed.slots[keyed.first].frame)
    keyed.slots[keyed.first].frame = NULL
    keyed.live -= 1
    keyed.dropped += 1


# -- older frames ----------------------------------------------------------------------


cdef bint keyed_reach(keyed_t *keyed, const log_t *log, uint64_t index) noexcept nogil:
    """Know of the log's frames from ``index`` on, too. False: no memory.

    Of a key that is known already they are older and don't count; of the others the
    last one does, as far as ``most`` goes, later keys first.
    """
    cdef uint64_t gap
    cdef segment_t *segment
    cdef entry_t *entry
    cdef uint32_t position, start
    if index >= keyed.start:
        return True
    gap = keyed.start - index
    if gap > keyed.most - keyed.live:
        gap = keyed.most - keyed.live
    if not _rebuild(keyed, <uint32_t>gap + 2 * keyed.live + FIRST_ROOM, <uint32_t>gap):
        return False
    while keyed.start > index and keyed.first:
        keyed.start -= 1
        segment = log_find(log, keyed.start)
        position = <uint32_t>(keyed.start - segment.first)
        entry = segment_entry(segment, position)
        start = segment_start(segment, position)
        if not _insert_before(keyed, entry, segment_data(segment) + start, start):
            return False
    keyed.start = index
    return True


cdef bint _insert_before(
    keyed_t *keyed, const entry_t *entry, const uint8_t *data, uint32_t start
) noexcept nogil:
    cdef uint32_t *place = _place_of(keyed, entry.key)
    cdef pinned_t *slot
    if place[0]:
        return True
    slot = &keyed.slots[keyed.first - 1]
    slot.frame = <uint8_t *>malloc(entry.end - start)
    if slot.frame == NULL:
        return False
    slot.size = entry.end - start
    memcpy(slot.frame, data, slot.size)
    slot.index = keyed.start
    slot.sequence = entry.sequence
    slot.key = entry.key
    slot.excluded = entry.excluded
    keyed.first -= 1
    keyed.live += 1
    place[0] = keyed.first + 1
    return True


# -- looking ---------------------------------------------------------------------------


cdef uint32_t keyed_find(const keyed_t *keyed, uint64_t index) noexcept nogil:
    """The first slot of a frame at ``index`` or behind it; it may be an empty one."""
    cdef uint32_t low = keyed.first
    cdef uint32_t high = keyed.count
    cdef uint32_t middle
    while low < high:
        middle = (low + high) // 2
        if keyed.slots[middle].index < index:
            low = middle + 1
        else:
            high = middle
    return low


cdef size_t keyed_bytes_from(const keyed_t *keyed, uint64_t index) noexcept nogil:
    """Bytes of the frames at ``index`` and behind it."""
    cdef size_t bytes = 0
    cdef uint32_t place
    for place in range(keyed_find(keyed, index), keyed.count):
        if keyed.slots[place].frame != NULL:
            bytes += keyed.slots[place].size
    return bytes
