"""The load generator in C: one thread, one epoll, and the GIL released."""

from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.signal cimport SIGKILL
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset
from posix.types cimport pid_t


cdef extern from "<sys/prctl.h>" nogil:
    enum:
        PR_SET_PDEATHSIG
    int prctl(int option, ...)

cdef extern from "<sys/socket.h>" nogil:
    ctypedef unsigned int socklen_t
    struct sockaddr_storage:
        pass

cdef extern from "load.h" nogil:
    ctypedef struct histogram:
        uint64_t counts[1]
        uint64_t total
        uint64_t sum
        uint64_t highest
        uint64_t lowest

    ctypedef struct c_board "board":
        int *wake

    enum:
        BOARD_PROCESSES

    size_t board_size_of "board_size"(
        uint32_t publishers, uint32_t depth, uint32_t processes
    )

    ctypedef enum load_mode:
        MODE_ECHO
        MODE_FANOUT
        MODE_CONNECT
        MODE_IDLE
        MODE_MIXED

    ctypedef struct text_view:
        const char *data
        size_t size

    ctypedef struct channel_texts:
        text_view request
        text_view publisher_request
        text_view first
        text_view prefix
        text_view suffix

    ctypedef struct load_options:
        load_mode mode
        sockaddr_storage target
        socklen_t target_size
        const char *place
        const char *key
        const char *subprotocol
        const char *tls_host
        const char *ca
        int is_tls_insecure
        const channel_texts *texts
        uint32_t channels
        uint32_t connections
        uint32_t receivers
        uint32_t publishers
        uint32_t stalled
        uint32_t depth
        uint32_t size
        uint32_t first_replies
        uint32_t parallel
        uint32_t sources
        uint32_t processes
        uint32_t share
        int is_binary
        int has_records
        int is_marked
        int is_others_only
        int is_verified
        int is_busy_polling
        int has_deflate
        int is_context_kept
        double rate
        double publish_rate
        double churn
        double ping_interval
        double warm_up
        double duration
        double timeout
        const pid_t *server_pids
        uint32_t server_pid_count
        c_board *shared
        int (*watch)(void *watcher) noexcept nogil
        void *watcher

    ctypedef struct load_result:
        double seconds
        uint64_t operations
        uint64_t publications
        uint64_t deliveries
        uint64_t visits
        uint64_t pings
        uint64_t frames
        uint64_t compressed_frames
        uint64_t bytes_sent
        uint64_t bytes_received
        double server_cpu
        double load_cpu
        double resident_before
        double resident_after
        uint32_t resident_connections
        histogram latency
        histogram delivery_latency
        histogram visit_latency
        char *error

    int load_run(const load_options *options, load_result *result)

cdef extern from * nogil:
    """
    static uint64_t place_opened(board *b, uint32_t share) {
        return atomic_load(&b->places[share].opened);
    }
    static uint64_t place_operations(board *b, uint32_t share) {
        return atomic_load(&b->places[share].operations);
    }
    static uint64_t place_publications(board *b, uint32_t share) {
        return atomic_load(&b->places[share].publications);
    }
    static uint32_t place_phase(board *b, uint32_t share) {
        return atomic_load(&b->places[share].phase);
    }
    static void board_stop(board *b) { atomic_store(&b->is_stopped, 1); }
    """
    uint64_t place_opened(c_board *b, uint32_t share)
    uint64_t place_operations(c_board *b, uint32_t share)
    uint64_t place_publications(c_board *b, uint32_t share)
    uint32_t place_phase(c_board *b, uint32_t share)
    void board_stop(c_board *b)


PHASES = ("opening", "warm-up", "running", "draining", "closing", "over")

_MODES = {
    "echo": MODE_ECHO,
    "fanout": MODE_FANOUT,
    "connect": MODE_CONNECT,
    "idle": MODE_IDLE,
    "mixed": MODE_MIXED,
}


cdef c_board *board_in(object memory, uint32_t share) except NULL:
    cdef unsigned char[::1] view = memory
    if share >= BOARD_PROCESSES or <size_t>view.shape[0] < sizeof(c_board):
        raise ValueError("no such place on this board")
    return <c_board *>&view[0]


def board_size(uint32_t publishers, uint32_t depth, uint32_t processes):
    return board_size_of(publishers, depth, processes)


def set_wakes(board, wakes):
    cdef uint32_t share
    for share, descriptor in enumerate(wakes):
        board_in(board, share).wake[share] = descriptor


def read_place(board, uint32_t share):
    cdef size_t at = <size_t>board_in(board, share)
    return (
        place_phase(<c_board *>at, share),
        place_opened(<c_board *>at, share),
        place_operations(<c_board *>at, share),
        place_publications(<c_board *>at, share),
    )


def stop(board):
    board_stop(board_in(board, 0))


def end_with_parent():
    prctl(PR_SET_PDEATHSIG, <unsigned long>SIGKILL)


# -- one run ----------------------------------------------------------------------

cdef class _Watcher:
    """Python's part in a run: signals, and a callable, ten times a second."""

    cdef:
        object call
        object error


cdef int watch_run(void *pointer) noexcept with gil:
    watcher = <_Watcher>pointer
    try:
        PyErr_CheckSignals()
        if watcher.call is not None:
            watcher.call()
    except BaseException as error:
        watcher.error = error
        return 1
    return 0


cdef text_view view_of(bytes text):
    cdef text_view view
    view.data = NULL
    view.size = 0
    if text is not None:
        view.data = text
        view.size = len(text)
    return view


cdef class _Plan:
    """The C options, and the Python objects that their pointers point into."""

    cdef:
        load_options options
        channel_texts *texts
        pid_t *pids
        list kept

    def __cinit__(self):
        memset(&self.options, 0, sizeof(self.options))
        self.texts = NULL
        self.pids = NULL
        self.kept = []

    def __dealloc__(self):
        PyMem_Free(self.texts)
        PyMem_Free(self.pids)

    cdef const char *text(self, object value) except? NULL:
        """A C string that lives as long as the plan; NULL for None."""
        if value is None:
            return NULL
        encoded = value if isinstance(value, bytes) else value.encode()
        self.kept.append(encoded)
        return <const char *>encoded

    cdef int read_target(self, bytes address) except -1:
        if <size_t>len(address) > sizeof(self.options.target):
            raise ValueError("this address is too long")
        memcpy(&self.options.target, <const char *>address, len(address))
        self.options.target_size = len(address)
        return 0

    cdef int read_texts(self, texts) except -1:
        count = len(texts)
        self.texts = <channel_texts *>PyMem_Calloc(count, sizeof(channel_texts))
        if self.texts == NULL:
            raise MemoryError
        self.kept.append(texts)
        for place, (request, publisher_request, first, prefix, suffix) in enumerate(
            texts
        ):
            self.texts[<size_t>place].request = view_of(request)
            self.texts[<size_t>place].publisher_request = view_of(publisher_request)
            self.texts[<size_t>place].first = view_of(first)
            self.texts[<size_t>place].prefix = view_of(prefix)
            self.texts[<size_t>place].suffix = view_of(suffix)
        self.options.texts = self.texts
        self.options.channels = count
        return 0

    cdef int read_pids(self, pids) except -1:
        self.pids = <pid_t *>PyMem_Calloc(max(1, len(pids)), sizeof(pid_t))
        if self.pids == NULL:
            raise MemoryError
        for place, pid in enumerate(pids):
            self.pids[<size_t>place] = pid
        self.options.server_pids = self.pids
        self.options.server_pid_count = len(pids)
        return 0

    cdef int read_words(self, plan) except -1:
        self.options.mode = _MODES[plan["mode"]]
        self.options.place = self.text(plan["place"])
        self.options.key = self.text(plan["key"])
        self.options.subprotocol = self.text(plan["subprotocol"])
        self.options.tls_host = self.text(plan["tls_host"])
        self.options.ca = self.text(plan["ca"])
        self.options.is_tls_insecure = plan["is_tls_insecure"]
        self.options.is_binary = plan["is_binary"]
        self.options.has_records = plan["has_records"]
        self.options.is_marked = plan["is_marked"]
        self.options.is_others_only = plan["is_others_only"]
        self.options.is_verified = plan["is_verified"]
        self.options.is_busy_polling = plan["is_busy_polling"]
        self.options.has_deflate = plan["has_deflate"]
        self.options.is_context_kept = plan["is_context_kept"]
        return 0

    cdef int read_numbers(self, plan) except -1:
        self.options.connections = plan["connections"]
        self.options.receivers = plan["receivers"]
        self.options.publishers = plan["publishers"]
        self.options.stalled = plan["stalled"]
        self.options.depth = plan["depth"]
        self.options.size = plan["size"]
        self.options.first_replies = plan["first_replies"]
        self.options.parallel = plan["parallel"]
        self.options.sources = plan["sources"]
        self.options.processes = plan["processes"]
        self.options.rate = plan["rate"]
        self.options.publish_rate = plan["publish_rate"]
        self.options.churn = plan["churn"]
        self.options.ping_interval = plan["ping_interval"]
        self.options.warm_up = plan["warm_up"]
        self.options.duration = plan["duration"]
        self.options.timeout = plan["timeout"]
        return 0


cdef tuple counts_of(const histogram *found):
    counts = (<const char *>found.counts)[:sizeof(found.counts)]
    return counts, found.total, found.sum, found.highest, found.lowest


cdef dict tally_of(const load_result *result):
    return {
        "error": None,
        "seconds": result.seconds,
        "operations": result.operations,
        "publications": result.publications,
        "deliveries": result.deliveries,
        "visits": result.visits,
        "pings": result.pings,
        "frames": result.frames,
        "compressed_frames": result.compressed_frames,
        "bytes_sent": result.bytes_sent,
        "bytes_received": result.bytes_received,
        "server_cpu": result.server_cpu,
        "load_cpu": result.load_cpu,
        "resident_before": result.resident_before,
        "resident_after": result.resident_after,
        "resident_connections": result.resident_connections,
        "latency": counts_of(&result.latency),
        "delivery_latency": counts_of(&result.delivery_latency),
        "visit_latency": counts_of(&result.visit_latency),
    }


def run(plan, board, uint32_t share, watch=None):
    cdef:
        _Plan own = _Plan()
        _Watcher watcher = _Watcher()
        load_result *result
        int failed
    own.read_target(plan["target"])
    own.read_texts(plan["texts"])
    own.read_pids(plan["server_pids"])
    own.read_words(plan)
    own.read_numbers(plan)
    watcher.call = watch
    own.options.share = share
    own.options.shared = board_in(board, share)
    own.options.watch = watch_run
    own.options.watcher = <void *>watcher
    result = <load_result *>PyMem_Calloc(1, sizeof(load_result))
    if result == NULL:
        raise MemoryError
    try:
        with nogil:
            failed = load_run(&own.options, result)
        if watcher.error is not None:
            raise watcher.error
        if failed:
            return {"error": result.error.decode(errors="replace")}
        return tally_of(result)
    finally:
        PyMem_Free(result)
