"""The one payload rule of send, publish and broadcast.

str goes as text, bytes-like (bytes, bytearray, memoryview) as binary, anything else as
JSON text.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_GET_LENGTH

from libc.string cimport memcpy

from .csrc cimport (
    FASTWS_BIT_FIN,
    FASTWS_OP_BINARY,
    FASTWS_OP_TEXT,
    fastws_frame_encode,
    fastws_frame_header_size,
)

from orjson import dumps


cdef extern from "Python.h":
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    void *PyUnicode_DATA(object text)


cdef size_t frame_size(const payload_t *payload) noexcept nogil:
    """Of the frame that a subscriber gets."""
    return fastws_frame_header_size(payload.length, False) + payload.length


cdef void frame_write(uint8_t *frame, const payload_t *payload) noexcept nogil:
    cdef size_t header = fastws_frame_header_size(payload.length, False)
    fastws_frame_encode(frame, FASTWS_BIT_FIN | payload.opcode, payload.length, NULL)
    if payload.length:
        memcpy(frame + header, payload.data, payload.length)


cdef uint8_t wish_of(object compress) except 255:
    if compress is None:
        return COMPRESS_AS_RULED
    if compress is True:
        return COMPRESS_ALWAYS
    if compress is False:
        return COMPRESS_NEVER
    raise TypeError(f"compress must be None, True or False, not {compress!r}")


cdef object payload_open(payload_t *payload, object message):
    """Fill ``payload``; what is returned owns the bytes and must outlive them.

    After a success ``payload_close`` is due. Raises ValueError for text that UTF-8
    cannot hold (lone surrogates), TypeError for what JSON cannot.
    """
    cdef Py_ssize_t length = 0
    payload.viewed = False
    payload.compress = COMPRESS_AS_RULED
    if isinstance(message, str):
        payload.opcode = FASTWS_OP_TEXT
        if PyUnicode_IS_COMPACT_ASCII(message):
            payload.data = <const uint8_t *>PyUnicode_DATA(message)
            payload.length = <size_t>PyUnicode_GET_LENGTH(message)
        else:
            payload.data = <const uint8_t *>PyUnicode_AsUTF8AndSize(message, &length)
            payload.length = <size_t>length
        return message
    if isinstance(message, (bytearray, memoryview)):
        if isinstance(message, memoryview) and not message.c_contiguous:
            message = bytes(message)
        else:
            PyObject_GetBuffer(message, &payload.view, PyBUF_SIMPLE)
            payload.viewed = True
            payload.opcode = FASTWS_OP_BINARY
            payload.data = <const uint8_t *>payload.view.buf
            payload.length = <size_t>payload.view.len
            return message
    if isinstance(message, bytes):
        payload.opcode = FASTWS_OP_BINARY
    else:
        message = dumps(message)
        payload.opcode = FASTWS_OP_TEXT
    payload.data = <const uint8_t *>PyBytes_AS_STRING(message)
    payload.length = <size_t>PyBytes_GET_SIZE(message)
    return message


cdef void payload_close(payload_t *payload) noexcept:
    if payload.viewed:
        PyBuffer_Release(&payload.view)


cdef class Encoded:
    def __cinit__(self, message):
        self.owner = payload_open(&self.payload, message)

    def __dealloc__(self):
        if self.owner is not None:
            payload_close(&self.payload)
