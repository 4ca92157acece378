"""The one door for tests and micro-benchmarks into fastws/csrc."""

cimport cython
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcmp, memcpy, memset
from posix.mman cimport (
    MAP_ANON,
    MAP_FAILED,
    MAP_PRIVATE,
    PROT_NONE,
    PROT_READ,
    PROT_WRITE,
    mmap,
    mprotect,
    munmap,
)
from posix.unistd cimport _SC_PAGESIZE, sysconf

from time import perf_counter

from .csrc cimport (
    FASTWS_CLOSE_ABNORMAL,
    FASTWS_CLOSE_BAD_GATEWAY,
    FASTWS_CLOSE_GOING_AWAY,
    FASTWS_CLOSE_INTERNAL_ERROR,
    FASTWS_CLOSE_INVALID_DATA,
    FASTWS_CLOSE_MANDATORY_EXTENSION,
    FASTWS_CLOSE_NO_STATUS,
    FASTWS_CLOSE_NORMAL,
    FASTWS_CLOSE_POLICY_VIOLATION,
    FASTWS_CLOSE_PROTOCOL_ERROR,
    FASTWS_CLOSE_SERVICE_RESTART,
    FASTWS_CLOSE_TOO_BIG,
    FASTWS_CLOSE_TRY_AGAIN_LATER,
    FASTWS_CLOSE_UNSUPPORTED_DATA,
    FASTWS_FRAME_ERR_CONTROL_FRAGMENT,
    FASTWS_FRAME_ERR_CONTROL_LENGTH,
    FASTWS_FRAME_ERR_LENGTH_16,
    FASTWS_FRAME_ERR_LENGTH_64,
    FASTWS_FRAME_ERR_LENGTH_SIGN,
    FASTWS_FRAME_ERR_OPCODE,
    FASTWS_FRAME_HEADER_MAX,
    FASTWS_OP_BINARY,
    FASTWS_OP_CLOSE,
    FASTWS_OP_CONTINUATION,
    FASTWS_OP_PING,
    FASTWS_OP_PONG,
    FASTWS_OP_TEXT,
    fastws_ascii_function,
    fastws_frame_decode,
    fastws_frame_encode,
    fastws_frame_header,
    fastws_frame_header_size,
    fastws_is_ascii,
    fastws_mask,
    fastws_mask_copy,
    fastws_mask_function,
    fastws_mask_kernel,
    fastws_mask_kernels,
    fastws_mask_word,
    fastws_utf8_function,
    fastws_utf8_kernel,
    fastws_utf8_kernels,
    fastws_utf8_state,
    fastws_utf8_validate,
)

OPCODES = {
    "CONTINUATION": FASTWS_OP_CONTINUATION,
    "TEXT": FASTWS_OP_TEXT,
    "BINARY": FASTWS_OP_BINARY,
    "CLOSE": FASTWS_OP_CLOSE,
    "PING": FASTWS_OP_PING,
    "PONG": FASTWS_OP_PONG,
}

CLOSE_CODES = {
    "NORMAL": FASTWS_CLOSE_NORMAL,
    "GOING_AWAY": FASTWS_CLOSE_GOING_AWAY,
    "PROTOCOL_ERROR": FASTWS_CLOSE_PROTOCOL_ERROR,
    "UNSUPPORTED_DATA": FASTWS_CLOSE_UNSUPPORTED_DATA,
    "NO_STATUS": FASTWS_CLOSE_NO_STATUS,
    "ABNORMAL": FASTWS_CLOSE_ABNORMAL,
    "INVALID_DATA": FASTWS_CLOSE_INVALID_DATA,
    "POLICY_VIOLATION": FASTWS_CLOSE_POLICY_VIOLATION,
    "TOO_BIG": FASTWS_CLOSE_TOO_BIG,
    "MANDATORY_EXTENSION": FASTWS_CLOSE_MANDATORY_EXTENSION,
    "INTERNAL_ERROR": FASTWS_CLOSE_INTERNAL_ERROR,
    "SERVICE_RESTART": FASTWS_CLOSE_SERVICE_RESTART,
    "TRY_AGAIN_LATER": FASTWS_CLOSE_TRY_AGAIN_LATER,
    "BAD_GATEWAY": FASTWS_CLOSE_BAD_GATEWAY,
}

FRAME_ERRORS = {
    FASTWS_FRAME_ERR_OPCODE: "opcode",
    FASTWS_FRAME_ERR_CONTROL_FRAGMENT: "control_fragment",
    FASTWS_FRAME_ERR_CONTROL_LENGTH: "control_length",
    FASTWS_FRAME_ERR_LENGTH_16: "length_16",
    FASTWS_FRAME_ERR_LENGTH_64: "length_64",
    FASTWS_FRAME_ERR_LENGTH_SIGN: "length_sign",
}

# What stands around a buffer: above 0x7F, so that a kernel which reads too far sees
# text that is not ASCII, and one which writes too far is seen.
cdef enum:
    GUARD = 0xA5
    GUARD_SIZE = 64


# -- choosing ---------------------------------------------------------------------

cdef const fastws_mask_kernel *find_mask(str implementation) except NULL:
    cdef const fastws_mask_kernel *kernel = fastws_mask_kernels()
    wanted = implementation.encode()
    while kernel.name != NULL:
        if kernel.name == <bytes>wanted:
            return kernel
        kernel += 1
    raise ValueError(f"no mask kernel {implementation!r} on this machine")


cdef fastws_utf8_function find_utf8(str implementation) except NULL:
    cdef const fastws_utf8_kernel *kernel = fastws_utf8_kernels()
    if implementation == "auto":
        return fastws_utf8_validate
    wanted = implementation.encode()
    while kernel.name != NULL:
        if kernel.name == <bytes>wanted:
            return kernel.validate
        kernel += 1
    raise ValueError(f"no UTF-8 kernel {implementation!r} on this machine")


def implementations():
    cdef const fastws_mask_kernel *kernel = fastws_mask_kernels()
    names = []
    while kernel.name != NULL:
        names.append(kernel.name.decode())
        kernel += 1
    return names


def utf8_implementations():
    cdef const fastws_utf8_kernel *kernel = fastws_utf8_kernels()
    names = []
    while kernel.name != NULL:
        names.append(kernel.name.decode())
        kernel += 1
    return names


@cython.internal
cdef class Masker:
    """One implementation, or what the engine itself calls ("auto": the inline path for
    short payloads, then the chosen kernel), behind one face."""

    cdef bint inline_path
    cdef fastws_mask_function function
    cdef fastws_ascii_function ascii_function

    def __cinit__(self, str implementation):
        cdef const fastws_mask_kernel *kernel
        self.inline_path = implementation == "auto"
        if not self.inline_path:
            kernel = find_mask(implementation)
            self.function = kernel.mask
            self.ascii_function = kernel.is_ascii

    cdef void in_place(
        self, uint8_t *data, size_t length, const uint8_t *key, size_t offset
    ) noexcept nogil:
        if self.inline_path:
            fastws_mask(data, length, key, offset)
        else:
            self.function(data, data, length, fastws_mask_word(key, offset))

    cdef int copy(
        self,
        uint8_t *to,
        const uint8_t *source,
        size_t length,
        const uint8_t *key,
        size_t offset,
    ) noexcept nogil:
        if self.inline_path:
            return fastws_mask_copy(to, source, length, key, offset)
        return self.function(to, source, length, fastws_mask_word(key, offset))

    cdef int is_ascii(self, const uint8_t *data, size_t length) noexcept nogil:
        if self.inline_path:
            return fastws_is_ascii(data, length)
        return self.ascii_function(data, length)


# -- buffers ----------------------------------------------------------------------

@cython.internal
cdef class Fence:
    """Whole pages between two that can't be touched: a kernel that reads or writes one
    byte beyond them ends the process. Owned here, unmapped with the object."""

    cdef uint8_t *mapping
    cdef size_t page
    cdef size_t total
    cdef uint8_t *start
    cdef uint8_t *end

    def __cinit__(self, size_t room):
        cdef void *mapping
        self.page = <size_t>sysconf(_SC_PAGESIZE)
        self.total = (room + self.page - 1) // self.page * self.page + 2 * self.page
        mapping = mmap(
            NULL, self.total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0
        )
        if mapping == MAP_FAILED:
            raise MemoryError("mmap refused the pages of a fence")
        self.mapping = <uint8_t *>mapping
        self.start = self.mapping + self.page
        self.end = self.mapping + self.total - self.page
        if mprotect(self.mapping, self.page, PROT_NONE) or mprotect(
            self.end, self.page, PROT_NONE
        ):
            raise OSError("mprotect refused the pages of a fence")

    def __dealloc__(self):
        if self.mapping != NULL:
            munmap(self.mapping, self.total)

    cdef uint8_t *place(self, size_t length, size_t alignment) except NULL:
        """Room for `length` bytes between guards, at `alignment` within 64."""
        cdef uint8_t *data = self.start + GUARD_SIZE + alignment
        if alignment >= 64:
            raise ValueError("alignment is 0 to 63")
        if data + length + GUARD_SIZE > self.end:
            raise ValueError("the fence is too small")
        memset(self.start, GUARD, GUARD_SIZE + alignment)
        memset(data + length, GUARD, GUARD_SIZE)
        return data


cdef bint guarded(const uint8_t *data, size_t length) noexcept nogil:
    """Whether the guards around a placed buffer still stand."""
    cdef uint8_t guard[GUARD_SIZE]
    memset(guard, GUARD, GUARD_SIZE)
    return (
        memcmp(data - GUARD_SIZE, guard, GUARD_SIZE) == 0
        and memcmp(data + length, guard, GUARD_SIZE) == 0
    )


cdef Fence fence_for(size_t length):
    return Fence(length + 64 + 2 * GUARD_SIZE)


cdef int check_key(const uint8_t[::1] key) except -1:
    if key.shape[0] != 4:
        raise ValueError("a mask key has four bytes")
    return 0


# -- one call ---------------------------------------------------------------------

def mask(
    const uint8_t[::1] data not None,
    const uint8_t[::1] key not None,
    size_t offset=0,
    str implementation="auto",
    size_t alignment=0,
):
    cdef:
        size_t length = data.shape[0]
        Masker masker = Masker(implementation)
        Fence fence = fence_for(length)
        uint8_t *buffer = fence.place(length, alignment)
    check_key(key)
    if length:
        memcpy(buffer, &data[0], length)
    masker.in_place(buffer, length, &key[0], offset)
    if not guarded(buffer, length):
        raise RuntimeError(f"{implementation} wrote outside its buffer")
    return buffer[:length]


def mask_copy(
    const uint8_t[::1] data not None,
    const uint8_t[::1] key not None,
    size_t offset=0,
    str implementation="auto",
    size_t from_alignment=0,
    size_t to_alignment=0,
):
    cdef:
        size_t length = data.shape[0]
        Masker masker = Masker(implementation)
        Fence from_fence = fence_for(length)
        Fence to_fence = fence_for(length)
        uint8_t *source = from_fence.place(length, from_alignment)
        uint8_t *to = to_fence.place(length, to_alignment)
        int ascii
    check_key(key)
    if length:
        memcpy(source, &data[0], length)
    ascii = masker.copy(to, source, length, &key[0], offset)
    if not guarded(to, length) or not guarded(source, length):
        raise RuntimeError(f"{implementation} wrote outside its buffer")
    if length and memcmp(source, &data[0], length) != 0:
        raise RuntimeError(f"{implementation} changed its source")
    return buffer_and_flag(to, length, ascii)


cdef tuple buffer_and_flag(const uint8_t *to, size_t length, int flag):
    return to[:length], flag == 1


def is_ascii(
    const uint8_t[::1] data not None, str implementation="auto", size_t alignment=0
):
    cdef:
        size_t length = data.shape[0]
        Masker masker = Masker(implementation)
        Fence fence = fence_for(length)
        uint8_t *buffer = fence.place(length, alignment)
    if length:
        memcpy(buffer, &data[0], length)
    return masker.is_ascii(buffer, length) == 1


def utf8_validate(chunks, str implementation="auto"):
    cdef:
        fastws_utf8_function validate = find_utf8(implementation)
        fastws_utf8_state state = 0
        const uint8_t[::1] view
        const uint8_t *data
        Py_ssize_t accepted = 0
    for chunk in chunks:
        view = chunk
        data = &view[0] if view.shape[0] else NULL
        if not validate(&state, data, view.shape[0]):
            return accepted, False
        accepted += 1
    return accepted, state == 0


def frame_decode(const uint8_t[::1] data not None):
    cdef:
        dict errors = FRAME_ERRORS
        fastws_frame_header header
        const uint8_t *start = &data[0] if data.shape[0] else NULL
        int size = fastws_frame_decode(start, data.shape[0], &header)
    if size == 0:
        return None
    if size < 0:
        return errors[size]
    return {
        "length": header.length,
        "opcode": header.opcode,
        "fin": header.fin,
        "rsv": header.rsv,
        "masked": header.masked,
        "size": header.size,
        "key": bytes(header.key[:4]),
    }


def frame_encode(int first_byte, uint64_t length, key=None):
    cdef:
        uint8_t out[FASTWS_FRAME_HEADER_MAX]
        const uint8_t[::1] view
        const uint8_t *key_or_null = NULL
        size_t size
    if not 0 <= first_byte <= 0xFF:
        raise ValueError("first_byte is one byte")
    if key is not None:
        view = key
        check_key(view)
        key_or_null = &view[0]
    size = fastws_frame_encode(out, <uint8_t>first_byte, length, key_or_null)
    return out[:size]


def frame_header_size(uint64_t length, bint masked):
    return fastws_frame_header_size(length, masked)


# -- sweeps: the loops of the tests, compiled --------------------------------------

cdef const uint8_t *KEY = b"\x37\xfa\x21\x3d"


def sweep_masks(
    const uint8_t[::1] data not None,
    size_t alignment,
    str implementation="auto",
):
    cdef:
        size_t longest = data.shape[0]
        size_t length
        size_t offset
        Masker masker = Masker(implementation)
        Masker naive = Masker("naive")
        Fence from_fence = fence_for(longest)
        Fence to_fence = fence_for(longest)
        Fence expected = fence_for(4 * longest)
        uint8_t *wanted
        uint8_t *source
        uint8_t *to
    for offset in range(4):
        naive.copy(expected.start + offset * longest, &data[0], longest, KEY, offset)
    for length in range(longest + 1):
        # Each length meets each offset, and the source each distance to the target.
        offset = (length + alignment) & 3
        wanted = expected.start + offset * longest
        source = from_fence.place(length, (alignment * 29 + length) & 63)
        to = to_fence.place(length, alignment)
        memcpy(source, &data[0], length)
        memset(to, 0, length)
        masker.copy(to, source, length, KEY, offset)
        if memcmp(to, wanted, length) or not guarded(to, length):
            return "copy", length, offset
        if memcmp(source, &data[0], length) or not guarded(source, length):
            return "source", length, offset
        memcpy(to, &data[0], length)
        masker.in_place(to, length, KEY, offset)
        if memcmp(to, wanted, length) or not guarded(to, length):
            return "in place", length, offset
    return None


def sweep_fenced(size_t longest, str implementation="auto"):
    cdef:
        size_t length
        Masker masker = Masker(implementation)
        Fence source = Fence(longest)
        Fence to = Fence(longest)
        int ascii
    memset(source.start, 0, source.end - source.start)
    for length in range(longest + 1):
        masker.copy(to.start, source.start, length, KEY, length)
        masker.in_place(to.start, length, KEY, length)
        ascii = masker.is_ascii(to.start, length)
        masker.copy(to.end - length, source.end - length, length, KEY, length)
        masker.in_place(to.end - length, length, KEY, length)
        ascii &= masker.is_ascii(to.end - length, length)
        if not ascii:
            return length
    return None


def sweep_ascii(size_t longest, str implementation="auto"):
    cdef:
        size_t length
        size_t position
        Masker masker = Masker(implementation)
        Fence from_fence = fence_for(longest)
        Fence to_fence = fence_for(longest)
        uint8_t *source
        uint8_t *to
    for length in range(longest + 1):
        source = from_fence.place(length, length & 63)
        to = to_fence.place(length, (length * 13) & 63)
        memset(to, 0x7F, length)
        masker.copy(source, to, length, KEY, length)
        if not masker.copy(to, source, length, KEY, length):
            return "copy", length, None
        if not masker.is_ascii(to, length):
            return "is_ascii", length, None
        for position in range(length):
            source[position] ^= 0x80
            if masker.copy(to, source, length, KEY, length):
                return "copy", length, position
            if masker.is_ascii(to, length):
                return "is_ascii", length, position
            source[position] ^= 0x80
    return None


cdef int utf8_agrees(
    fastws_utf8_function validate,
    fastws_utf8_function oracle,
    const uint8_t *data,
    size_t length,
) noexcept nogil:
    cdef fastws_utf8_state state = 0
    cdef fastws_utf8_state expected = 0
    cdef int accepted = oracle(&expected, data, length)
    if validate(&state, data, length) != accepted:
        return 0
    return not accepted or state == expected


def sweep_utf8(
    const uint8_t[::1] classes not None,
    const uint8_t[::1] filler not None,
    size_t position,
    str implementation="auto",
):
    cdef:
        fastws_utf8_function validate = find_utf8(implementation)
        fastws_utf8_function oracle = find_utf8("naive")
        size_t length = filler.shape[0]
        size_t number = classes.shape[0]
        size_t combination
        size_t index
        size_t rest
        Fence fence = Fence(length)
        # Against the end of the fence, where reading too far ends the process.
        uint8_t *data = fence.end - length
    if position + 4 > length:
        raise ValueError("four bytes must fit behind position")
    memcpy(data, &filler[0], length)
    for combination in range(number ** 4):
        rest = combination
        for index in range(4):
            data[position + index] = classes[rest % number]
            rest //= number
        if not utf8_agrees(validate, oracle, data, length):
            return data[:length]
        # The same text cut off inside, or right after, these four bytes.
        for index in range(1, 5):
            if not utf8_agrees(validate, oracle, data, position + index):
                return data[: position + index]
    return None


# -- micro-benchmarks --------------------------------------------------------------

def time_mask(
    size_t length, Py_ssize_t rounds, str implementation="auto", bint copy=True
):
    cdef:
        Masker masker = Masker(implementation)
        Fence source = fence_for(length)
        Fence to = fence_for(length)
        Py_ssize_t _round
        int ascii = 0
    started = perf_counter()
    with nogil:
        for _round in range(rounds):
            if copy:
                ascii += masker.copy(to.start, source.start, length, KEY, 0)
            else:
                masker.in_place(to.start, length, KEY, 0)
    return perf_counter() - started
