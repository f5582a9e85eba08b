"""What leaves the core: effects as data, and the names of the metadata that it keeps.

Theory. The core does no IO. The shell calls a verb, takes one `Output` and carries it out. The core has already held
back what must wait for the disk, so the shell has only one duty of order: it reports a batch as done after the batch is
durable, never before.

Rules.
- The parts of one output may be carried out at once and in any order, except that frames of one link keep their order.
- A caller does not change the lists of an output: the empty ones are shared.
- `text` of an event is for people. Programs read `kind`, `ballot` and `slot`; nothing parses the text.
"""

cimport cython

from libc.stdint cimport uint64_t

# Keys of the core's metadata. Values are unsigned 64-bit integers, little-endian; some are lists of them.
META_CLUSTER = b"cluster"            # the cluster's id
META_REFUSED = b"refused"            # the slots in which no command is applied, in order
META_VOTER = b"voter"                # the voter record: the incarnations of the founders, by node id
META_BALLOT = b"ballot"              # the highest ballot that a promise or a scout of this node rests on
META_MARK = b"mark"                  # all slots below it are decided and were collected
META_DECIDED = b"decided"            # all slots below it are decided and in the log


def words(numbers):
    """The value of a list of numbers among the metadata."""
    return b"".join([number.to_bytes(8, "little") for number in numbers])


def numbers(value):
    """The numbers of such a value."""
    return tuple([int.from_bytes(value[i:i + 8], "little") for i in range(0, len(value), 8)])


# Most lists of most outputs are empty: an output that has nothing of a kind holds this one.

NOTHING = []


@cython.final
cdef class Event:
    """Something that happened, for logs, traces and tests.

    `kind`: "scouting", "adopted", "preempted", "stepped_down", "founded", "not_founder", "witness", "unreadable",
        "holes", "filled", "damaged", "unlike", "divided", "differs" or "copied".
    `ballot`: that the node scouts or leads at, was preempted by, or left; 0: none.
    `slot`: the scout's first slot, the start of the reign, the first slot that could not be read, or the
    slot at which states were compared last; 0: none.
    `text`: one line of English.
    """

    def __init__(self, str kind not None, uint64_t ballot, uint64_t slot, str text not None):
        self.kind = kind
        self.ballot = ballot
        self.slot = slot
        self.text = text

    def __repr__(self):
        return f"<{self.kind} {self.ballot} {self.slot}: {self.text}>"


@cython.final
cdef class Batch:
    """What has to become durable in one transaction; then `done(token, True)`, or `done(token, False)` if it failed.

    `meta`: metadata to put, bytes by key.
    `records`: to append, each: first, end, size (unsigned 64-bit integers, little-endian) and a frame of `size` bytes.
    """

    def __init__(self, uint64_t token, dict meta not None, bytes records not None):
        self.token = token
        self.meta = meta
        self.records = records


@cython.final
cdef class Read:
    """Records that the core wants: all that overlap [first, end), cut at about `max_bytes`; then
    `done(token, ok, (covered_end, records))`. Only durable records are asked for."""

    def __init__(self, uint64_t token, uint64_t first, uint64_t end, uint64_t max_bytes):
        self.token = token
        self.first = first
        self.end = end
        self.max_bytes = max_bytes


@cython.final
cdef class ApplyJob:
    """Commands for the user's machine, [(slot, time_ns, session, machine_version, payload)], in their order; then
    `done(token, True, answers)` with the answers of the first of them, at least one, [(refused, bytes)]: up to the one
    with which all count more than `answer_bytes_max` bytes (`user_machine.run`), or fewer. `done(token, False)`: the
    machine stopped."""

    def __init__(self, uint64_t token, list commands not None, uint64_t answer_bytes_max):
        self.token = token
        self.commands = commands
        self.answer_bytes_max = answer_bytes_max


@cython.final
cdef class Output:
    """The effects of the verbs since the last `output()`.

    `writes`: [(link, bytes)] of control, to send at once. Each waited for the disk where it had to: a phase 1b or 2b
        for everything that was gathered before it was made, a scout's phase 1a for its ballot, a list of founders for
        the voter record. A phase 2a does not wait, because our own acceptor's vote for it does. A decision and an
        answer to a client rest on a phase-2 quorum of votes, each durable at its acceptor.
    `bulk`: [(link, [frame, ...])] to send too, in their order, but each only when what the shell has given the kernel
        before is nearly gone: no write waits for more than one of these frames. What is said of `writes` holds. The
        shell reports how much waits with `link_backlog`.
    `batch`: a `Batch` to make durable, or None. At most one is outstanding: the next comes after `done`.
    `reads`: [Read] of records to read. They are durable when the core asks for them.
    `job`: an `ApplyJob` to run outside the loop, or None. At most one is outstanding: the next comes after `done`.
    `closes`: [(link, reason)] to close, count and log. Nothing more is received from these links or sent on them.
    `events`: [Event] that have happened. They do not wait for the disk.
    `status_requests`: [(link, nonce)] of clients that ask for this node's status, at most one of each link: the shell
        answers with a status reply that repeats the nonce.
    `is_plain`: there is nothing but writes, bulk and a batch, as in most outputs.
    `failed`: empty, or why the node stopped: the disk or the machine failed. The node answers nothing more; the shell
        reports the reason and ends the process.
    """

    def __init__(self, list writes not None, Batch batch, list reads not None, list closes not None,
                 list events not None, list status_requests not None, str failed not None, ApplyJob job=None,
                 list bulk not None=NOTHING):
        self.writes = writes
        self.bulk = bulk
        self.batch = batch
        self.reads = reads
        self.closes = closes
        self.events = events
        self.status_requests = status_requests
        self.failed = failed
        self.job = job
        self.look()

    cdef void look(self) noexcept:
        """Sets `is_plain`, when all others are set."""
        self.is_plain = not (self.reads or self.closes or self.events or self.status_requests or self.failed
                             or self.job is not None)
