"""Idempotency: the receipts of the last two minutes.

A publisher that got no answer publishes again with the same key, and gets the answer
that the first one got. Bounded: the oldest keys go first.
"""

from collections import OrderedDict


cdef enum:
    MOST = 100000
    SECONDS = 120


cdef class Receipts:
    """By channel and idempotency key."""

    def __cinit__(self):
        self.found = OrderedDict()

    cdef object find(self, str channel, str key, double now):
        """The receipt of the first publication; None: there was none."""
        known = self.found.get((channel, key))
        if known is None or now - <double>known[0] >= SECONDS:
            return None
        return known[1]

    cdef int keep(self, str channel, str key, double now, object receipt) except -1:
        cdef object found = self.found
        found.pop((channel, key), None)
        found[channel, key] = (now, receipt)
        while len(found) > MOST or self._is_old(now):
            found.popitem(last=False)
        return 0

    cdef bint _is_old(self, double now) except -1:
        """The oldest key is older than anybody asks for."""
        return now - <double>next(iter(self.found.values()))[0] >= SECONDS
