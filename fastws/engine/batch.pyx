"""What can be part of a batch window's JSON array."""

from .csrc cimport FASTWS_OP_TEXT

from orjson import loads


cdef int check_array_item(
    object message, const payload_t *payload, bint excludes
) except -1:
    """Raise ValueError for what can't be one of the array's items."""
    if excludes:
        raise ValueError(
            "a channel that sends arrays can't leave a connection out: all its "
            "subscribers get the same array; publish with include_self=True"
        )
    if payload.opcode != FASTWS_OP_TEXT:
        raise ValueError("a channel that sends JSON arrays takes no binary messages")
    if isinstance(message, str):
        try:
            loads(payload.data[:payload.length])
        except ValueError as error:
            raise ValueError(
                f"a channel that sends JSON arrays takes a str that is JSON: {error}"
            ) from None
    return 0
