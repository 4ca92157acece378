"""Everything per byte, per frame and per subscriber, compiled.

Five invariants:

1. A payload handed to Python is owned bytes or str, or a view that is valid only during
   the call and made safe after it.
2. A length from the wire is unsigned until it has been compared with its limit.
3. Parser, log, lane and hub never call the event loop: time and wake-up are given to
   them.
4. A message is encoded once per form, and compressed once per form, however many
   subscribers there are.
5. Every native allocation has one owner; ``counters`` counts them, and tests end with
   the counts at zero.

Bottom up: ``csrc`` (the door to plain C), ``counters``, ``payload``; ``parser``,
``log``, ``history``, ``keyed`` (the newest frame of each key), ``outbox``; ``lane``
(cursors), ``detour`` (cursors that fell behind), ``channel``; ``writer``, ``plan``
(what one connection is owed), ``visit`` (writing it), ``flush`` (what a tick has to
write); ``roster`` (connections), ``publishing`` (channels), ``hub``; ``sweep`` (time),
``link``; ``writing``, ``reading``, ``connection``; ``uvlink`` and ``memory``.
"""
