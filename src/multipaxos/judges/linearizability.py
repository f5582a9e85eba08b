"""Is a history of the key-value store linearizable? If not, its smallest failing part.

Theory. A history is linearizable if every operation can be given one instant between its call and its answer, so that
the operations, done one after another at those instants, answer what they did answer (Herlihy, Wing 1990). It is so if
the operations on each key alone are (locality), so keys are searched apart. The search is that of Wing and Gong (1993):
take an operation that no unplaced operation precedes, try it next, go back where nothing fits; with Lowe's pruning
(2017): the same set of operations placed, and the same state, need not be tried twice.

Rules.
- The version of a key is the slot of its last write, and rises: what speaks of a version comes after all that speaks of
  lower ones. The version of an unanswered write is unknown, but above all before it: the search keeps the set of all
  states that are possible, and an answer that tells more makes it smaller.
- An operation without an answer may take effect at any instant after its call, or never: it never has to be placed.
  It is left out where no answer can tell whether it was done; it has an answer where another one tells its version;
  else it is tried after those that have answers, and of several with the same effect one stands for all.
- What is shown of a failure is proof of it: an operation is left out, or taken as unanswered, only if what remains
  still fails; both can only make a history easier to explain.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from multipaxos.commands import (
    CAS_VALUE,
    CAS_VERSION,
    CREATE,
    GET,
    PUT,
    REMOVE,
    UPDATE,
    Answer,
    Exists,
    Mismatch,
    NotFound,
    Value,
    Written,
)

NAMES = {
    PUT: "put",
    CREATE: "create",
    UPDATE: "update",
    GET: "get",
    REMOVE: "remove",
    CAS_VALUE: "cas",
    CAS_VERSION: "cas",
}
FOREVER_NS = 2**63
EFFORT = 20_000  # steps of a search that makes a failing history smaller; beyond it the operation is kept

# (value, version) of one key; value None: it is not there; version -v: not known, but above v.
State = tuple[bytes | None, int]
States = frozenset[State]
NOTHING: State = (None, 0)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on one key. `answer` None: its outcome is unknown, and `answered_ns` says nothing."""

    client: int
    key: bytes
    command: bytes
    answer: Answer | None
    invoked_ns: int
    answered_ns: int

    def describe(self) -> str:
        """One line."""
        until = "?" if self.answer is None or self.answered_ns == FOREVER_NS else f"{self.answered_ns / 1e6:.3f}"
        return (
            f"{self.invoked_ns / 1e6:12.3f} .. {until:>12} ms  client {self.client}: "
            f"{words(self.command)} -> {'no answer' if self.answer is None else self.answer}"
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """A key whose history is not linearizable, and the operations that show it."""

    key: bytes
    operations: tuple[Operation, ...]

    def describe(self) -> str:
        """The smallest failing history, one operation a line."""
        lines = [f"not linearizable, key {self.key!r}; no order of these operations explains their answers:"]
        return "\n".join(lines + [operation.describe() for operation in self.operations])


# -- one key of the store


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command on a key, taken apart."""

    op: int
    value: bytes = b""
    expected: bytes = b""
    version: int = 0


def parse(command: bytes) -> Parsed:
    """Takes a command apart. ValueError where it is none on one key (a scan, a transaction, bytes)."""
    if not command or command[0] not in NAMES:
        raise ValueError(f"not a command on one key: {command[:20]!r}")
    op = command[0]
    (size,) = struct.unpack_from("<H", command, 1)
    rest = command[3 + size :]
    if op == CAS_VALUE:
        (size,) = struct.unpack_from("<I", rest)
        return Parsed(op, rest[4 + size :], rest[4 : 4 + size])
    if op == CAS_VERSION:
        return Parsed(op, rest[8:], version=struct.unpack_from("<Q", rest)[0])
    return Parsed(op, rest)


def words(command: bytes) -> str:
    """A command as one would say it."""
    parsed = parse(command)
    if parsed.op in (GET, REMOVE):
        return NAMES[parsed.op]
    if parsed.op == CAS_VALUE:
        return f"cas {parsed.expected!r} to {parsed.value!r}"
    if parsed.op == CAS_VERSION:
        return f"cas version {parsed.version} to {parsed.value!r}"
    return f"{NAMES[parsed.op]} {parsed.value!r}"


def may_be(known: int, version: int) -> bool:
    """Can the version of a state be this one?"""
    return known == version if known > 0 else version > -known


def writes(command: Parsed, state: State) -> Iterator[bool]:
    """Would it write to this state? Both, where that hangs on a version that is not known."""
    value, version = state
    if command.op == PUT:
        yield True
    elif command.op == GET:
        yield False
    elif command.op == CREATE:
        yield value is None
    elif value is None:
        yield False
    elif command.op in (UPDATE, REMOVE):
        yield True
    elif command.op == CAS_VALUE:
        yield value == command.expected
    else:
        if may_be(version, command.version):
            yield True
        if version != command.version:
            yield False


def step(command: Parsed, answer: Answer | None, state: State) -> Iterator[State]:
    """The states that may follow if the command is done now and so answered; none: it cannot be."""
    value, version = state
    left = None if command.op == REMOVE else command.value
    for written in writes(command, state):
        if answer is None:
            yield (left, -abs(version)) if written else state
        elif written:
            if isinstance(answer, Written) and answer.version > abs(version):
                yield (left, answer.version)
        elif value is None:
            if isinstance(answer, NotFound):
                yield state
        elif command.op == CREATE:
            if isinstance(answer, Exists):
                yield state
        elif (
            isinstance(answer, Value if command.op == GET else Mismatch)
            and answer.value == value
            and may_be(version, answer.version)
            and not (command.op == CAS_VERSION and answer.version == command.version)
        ):
            yield (value, answer.version)


# -- the search


class Event:
    """A call or an answer, in a list in order of time that events leave and come back to."""

    __slots__ = ("answer", "index", "is_call", "next", "previous")

    def __init__(self, index: int, is_call: bool, answer: Event | None = None) -> None:
        self.index = index
        self.is_call = is_call
        self.answer = answer  # of a call that was answered, its answer's event
        self.previous: Event = self
        self.next: Event | None = None

    def leave(self) -> None:
        """Takes this event out of the list, and its answer."""
        self.previous.next = self.next
        if self.next is not None:
            self.next.previous = self.previous
        if self.answer is not None:
            self.answer.leave()

    def come_back(self) -> None:
        """Puts both where they were."""
        if self.answer is not None:
            self.answer.come_back()
        self.previous.next = self
        if self.next is not None:
            self.next.previous = self


def events_of(history: Sequence[Operation]) -> Event:
    """The head of the list. At one instant calls come before answers: those operations may overlap."""
    timed: list[tuple[int, bool, int, Event]] = []
    for index, operation in enumerate(history):
        answer = None if operation.answer is None else Event(index, False)
        timed.append((operation.invoked_ns, False, index, Event(index, True, answer)))
        if answer is not None:
            timed.append((operation.answered_ns, True, index, answer))
    head = last = Event(-1, False)
    for _, _, _, event in sorted(timed, key=lambda item: item[:3]):
        last.next, event.previous = event, last
        last = event
    return head


class Search:
    """A history on one key, made ready: commands taken apart, and what must come before what."""

    def __init__(self, history: Sequence[Operation]) -> None:
        self.history = history
        self.commands = [parse(operation.command) for operation in history]
        self.head = events_of(history)
        self.left = sum(operation.answer is not None for operation in history)
        self.before = self.lower_versions()
        self.alike = self.effects()

    def lower_versions(self) -> list[int]:
        """Of every operation the mask of those whose answers speak of lower versions."""
        versions = [getattr(operation.answer, "version", 0) for operation in self.history]
        masks = [0] * len(versions)
        below = same = at = 0
        for index in sorted(range(len(versions)), key=lambda index: versions[index]):
            if versions[index]:
                if versions[index] > at:
                    below, same, at = below | same, 0, versions[index]
                masks[index] = below
                same |= 1 << index
        return masks

    def effects(self) -> list[tuple[object, ...]]:
        """Of every operation what it would do: a value that no answer speaks of is like any other of that kind."""
        told = values_told(self.history, self.commands)
        return [
            (command.op, command.expected, command.version, command.value if command.value in told else None)
            for command in self.commands
        ]

    def candidates(self) -> Iterator[Event]:
        """The calls that come before every answer left: any may be next. Those without an answer come last."""
        answered: list[Event] = []
        others: dict[tuple[object, ...], Event] = {}
        event = self.head.next
        while event is not None and event.is_call:
            if event.answer is not None:
                answered.append(event)
            else:
                others.setdefault(self.alike[event.index], event)
            event = event.next
        return iter([*answered, *others.values()])

    def run(self, effort: int | None) -> bool:
        """Is there an order? A history that `effort` steps do not decide passes."""
        left, placed, states = self.left, 0, frozenset([NOTHING])
        tried = {(placed, states)}
        stack: list[tuple[Event, States, Iterator[Event]]] = []
        choices = self.candidates()
        steps = 0
        while left and steps != effort:
            steps += 1
            call = next(choices, None)
            if call is None:
                if not stack:
                    return False
                call, states, choices = stack.pop()
                placed ^= 1 << call.index
                left += call.answer is not None
                call.come_back()
                continue
            now = self.next_states(call, placed, states)
            mark = (placed | 1 << call.index, now)
            if now and mark not in tried:
                tried.add(mark)
                stack.append((call, states, choices))
                placed, states = mark
                left -= call.answer is not None
                call.leave()
                choices = self.candidates()
        return True

    def next_states(self, call: Event, placed: int, states: States) -> States:
        """What may be there when this call is done next."""
        if self.before[call.index] & ~placed:
            return frozenset()
        answer = self.history[call.index].answer
        now = frozenset(new for old in states for new in step(self.commands[call.index], answer, old))
        return now if answer is not None or now != states else frozenset()


def is_linearizable(history: Sequence[Operation], effort: int | None = None) -> bool:
    """For operations on one key, which at first is not there. A history that `effort` steps do not decide passes."""
    return Search(history).run(effort)


def check(history: Iterable[Operation]) -> Failure | None:
    """None if the history is linearizable, else its smallest failing part. Keys are not there at first."""
    by_key: dict[bytes, list[Operation]] = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    for key, operations in by_key.items():
        told = observable(with_told_versions(operations))
        if not is_linearizable(told):
            return Failure(key, tuple(smallest(told)))
    return None


# -- the smallest failing history


def unanswered(operation: Operation) -> Operation:
    """The same, as if no answer had come."""
    return replace(operation, answer=None)


def until(history: Sequence[Operation], end_ns: int) -> list[Operation]:
    """The history as it was known at an instant."""
    return [
        operation if operation.answered_ns <= end_ns else unanswered(operation)
        for operation in history
        if operation.invoked_ns <= end_ns
    ]


def shortest_prefix(history: Sequence[Operation]) -> list[Operation]:
    """The history up to the first answer with which it fails."""
    ends = sorted({operation.answered_ns for operation in history if operation.answer is not None})
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if is_linearizable(until(history, ends[middle])):
            low = middle + 1
        else:
            high = middle
    return until(history, ends[low])


def values_told(history: Sequence[Operation], commands: Sequence[Parsed]) -> set[bytes]:
    """The values that answers speak of, or commands that were answered."""
    values = set()
    for operation, command in zip(history, commands, strict=True):
        if operation.answer is not None:
            values.update({command.expected, getattr(operation.answer, "value", b"")})
    return values


def with_told_versions(history: Sequence[Operation]) -> list[Operation]:
    """Where one answer tells the version of a value that only one command writes, that command was done: it gets the
    answer that it would have had, at no particular time."""
    told = {
        operation.answer.value: operation.answer.version
        for operation in history
        if isinstance(operation.answer, Value | Mismatch)
    }
    writers = Counter(parse(operation.command).value for operation in history)
    return [
        replace(operation, answer=Written(told[value]), answered_ns=FOREVER_NS)
        if operation.answer is None and (value := parse(operation.command).value) in told and writers[value] == 1
        else operation
        for operation in history
    ]


def observable(history: Sequence[Operation]) -> list[Operation]:
    """The history without the unanswered operations of which no answer can tell whether they were done: those explain
    nothing."""
    commands = [parse(operation.command) for operation in history]
    values = values_told(history, commands)
    there = missing = False
    for operation, command in zip(history, commands, strict=True):
        written = isinstance(operation.answer, Written)
        there |= isinstance(operation.answer, Exists) or (written and command.op in (UPDATE, REMOVE, CAS_VERSION))
        missing |= isinstance(operation.answer, NotFound) or (written and command.op == CREATE)
    return [
        operation
        for operation, command in zip(history, commands, strict=True)
        if operation.answer is not None
        or (command.op != GET and (missing if command.op == REMOVE else there or command.value in values))
    ]


def smallest(history: Sequence[Operation]) -> list[Operation]:
    """A failing history in which every answer matters."""
    needed = observable(shortest_prefix(history))
    at = len(needed)
    while at:
        at -= 1
        operation = needed[at]
        if operation.answer is None:
            continue
        rest = needed[:at] + needed[at + 1 :]
        if isinstance(operation.answer, Written):
            rest.insert(at, unanswered(operation))
            rest = observable(rest)
        if not is_linearizable(rest, EFFORT):
            needed = rest
            at = min(at, len(needed))
    return needed
