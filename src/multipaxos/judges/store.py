"""The key-value store on several keys: every command taken apart, and which answers are possible.

Rules. A state is a tuple of states of single keys (`one_key`). A transaction is judged and done in one step, and all
that it writes has one version. A scan shows every key that exists and has its prefix, in order, up to a bound; if keys
follow after that it says so.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from multipaxos.commands import (
    CAS_VALUE,
    CAS_VERSION,
    GET,
    IS_MISSING,
    IS_THERE,
    SCAN,
    TRANSACT,
    VALUE_EQUALS,
    VERSION_EQUALS,
    Answer,
    Mismatch,
    Pairs,
    Transacted,
    Value,
    Written,
)
from multipaxos.judges import one_key
from multipaxos.judges.one_key import NAMES, NOTHING, Parsed, may_be

State = tuple[one_key.State, ...]
States = frozenset[State]
Named = tuple[bytes, bytes, int]  # key, value, version


@dataclass(frozen=True, slots=True)
class Scan:
    """A scan, taken apart."""

    prefix: bytes
    after: bytes
    limit: int

    def words(self) -> str:
        """The command in words."""
        return f"scan {self.prefix!r} after {self.after!r}, at most {self.limit or 'all'}"


@dataclass(frozen=True, slots=True)
class Compare:
    """One condition of a transaction."""

    kind: int
    key: bytes
    value: bytes = b""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction, taken apart."""

    compares: tuple[Compare, ...]
    then: tuple[Parsed, ...]
    otherwise: tuple[Parsed, ...]

    def words(self) -> str:
        """The command in words."""
        kinds = {IS_THERE: "exists", IS_MISSING: "missing", VALUE_EQUALS: "value", VERSION_EQUALS: "version"}
        compares = [f"{kinds[one.kind]} {one.key!r} {one.value!r} {one.version}" for one in self.compares]
        branches = [[f"{one.key!r} {one.words()}" for one in branch] for branch in (self.then, self.otherwise)]
        return f"transact if {compares} then {branches[0]} else {branches[1]}"


AnyCommand = Parsed | Scan | Transaction


# -- commands, taken apart


class Reader:
    """Takes bytes from the front. Every method raises ValueError where there are too few."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        part = self.data[self.at : self.at + size]
        if len(part) < size:
            raise ValueError(f"not a command: {self.data[:20]!r}")
        self.at += size
        return part

    def number(self, layout: str) -> int:
        """The next number of this layout."""
        (number,) = struct.unpack(layout, self.take(struct.calcsize(layout)))
        return int(number)

    def short(self) -> bytes:
        """Bytes with a 16-bit length before them."""
        return self.take(self.number("<H"))

    def long(self) -> bytes:
        """Bytes with a 32-bit length before them."""
        return self.take(self.number("<I"))

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(len(self.data) - self.at)


def parse(command: bytes) -> AnyCommand:
    """Takes a command apart. Raises ValueError if it is none."""
    reader = Reader(command)
    op = reader.number("B")
    if op == TRANSACT:
        return parse_transaction(reader)
    if op == SCAN:
        return Scan(reader.short(), reader.short(), reader.number("<I"))
    if op not in NAMES:
        raise ValueError(f"not a command: {command[:20]!r}")
    key = reader.short()
    expected = reader.long() if op == CAS_VALUE else b""
    version = reader.number("<Q") if op == CAS_VERSION else 0
    return Parsed(op, key, reader.rest(), expected, version)


def parse_transaction(reader: Reader) -> Transaction:
    """Takes a transaction apart, after its first byte."""
    counts = [reader.number("<H") for _ in range(3)]
    compares = tuple(parse_compare(reader) for _ in range(counts[0]))
    inner = [parse(reader.long()) for _ in range(counts[1] + counts[2])]
    parts = tuple(one for one in inner if isinstance(one, Parsed))
    if len(parts) != len(inner):
        raise ValueError("a transaction inside a transaction, or a scan")
    return Transaction(compares, parts[: counts[1]], parts[counts[1] :])


def parse_compare(reader: Reader) -> Compare:
    """Takes one condition apart."""
    kind, key = reader.number("B"), reader.short()
    value = reader.long() if kind == VALUE_EQUALS else b""
    return Compare(kind, key, value, reader.number("<Q") if kind == VERSION_EQUALS else 0)


def parts_of(command: AnyCommand) -> tuple[Parsed, ...]:
    """The commands on single keys that a command may do; both branches of a transaction."""
    if isinstance(command, Parsed):
        return (command,)
    return command.then + command.otherwise if isinstance(command, Transaction) else ()


def keys_of(command: AnyCommand) -> set[bytes]:
    """The keys that a command names."""
    compared = {one.key for one in command.compares} if isinstance(command, Transaction) else set()
    return compared | {one.key for one in parts_of(command)}


def words(command: bytes) -> str:
    """A command in words, with its key."""
    parsed = parse(command)
    return f"{parsed.key!r} {parsed.words()}" if isinstance(parsed, Parsed) else parsed.words()


# -- answers


def answered_parts(command: AnyCommand, answer: Answer | None) -> list[tuple[Parsed, Answer]]:
    """The commands on single keys that were done, with their answers."""
    if isinstance(command, Transaction) and isinstance(answer, Transacted):
        return list(zip(command.then if answer.succeeded else command.otherwise, answer.answers, strict=True))
    return [(command, answer)] if isinstance(command, Parsed) and answer is not None else []


def named_in(command: AnyCommand, answer: Answer | None) -> list[Named]:
    """What an answer says of keys: key, value, version."""
    if isinstance(answer, Pairs):
        return list(answer.pairs)
    return [
        (part.key, given.value, given.version)
        for part, given in answered_parts(command, answer)
        if isinstance(given, Value | Mismatch)
    ]


def slot_of(answer: Answer | None) -> int:
    """The slot of a write, by its answer; 0: nothing was written, or there is no answer."""
    if isinstance(answer, Transacted):
        return max(map(slot_of, answer.answers), default=0)
    return answer.version if isinstance(answer, Written) else 0


# -- states


class Store:
    """The store as far as these keys go."""

    def __init__(self, keys: set[bytes]) -> None:
        self.keys = sorted(keys)
        self.places = {key: place for place, key in enumerate(self.keys)}

    def empty(self) -> State:
        """No key exists."""
        return (NOTHING,) * len(self.keys)

    def step(self, command: AnyCommand, answer: Answer | None, state: State) -> Iterator[State]:
        """The states that may follow if the command is done now and answered so; none: that is impossible."""
        if isinstance(command, Parsed):
            return self.single(command, answer, state)
        if isinstance(command, Scan):
            return self.scan(command, answer, state)
        return self.transact(command, answer, state)

    def single(self, command: Parsed, answer: Answer | None, state: State, slot: int = 0) -> Iterator[State]:
        """A command on one key; `slot`: as in `one_key.step`."""
        place = self.places[command.key]
        for new in one_key.step(command, answer, state[place], slot):
            yield (*state[:place], new, *state[place + 1 :])

    def scan(self, command: Scan, answer: Answer | None, state: State) -> Iterator[State]:
        """A scan; its answer makes versions known."""
        if answer is None:
            yield state
        if not isinstance(answer, Pairs):
            return
        there = [
            place
            for place, key in enumerate(self.keys)
            if key.startswith(command.prefix) and key > command.after and state[place][0] is not None
        ]
        count = len(answer.pairs)
        if answer.more != (len(there) > count) or count > min(len(there), command.limit or count):
            return
        now = list(state)
        for place, (key, value, version) in zip(there, answer.pairs, strict=False):
            if key != self.keys[place] or value != state[place][0] or not may_be(state[place][1], version):
                return
            now[place] = value, version
        yield tuple(now)

    def transact(self, command: Transaction, answer: Answer | None, state: State) -> Iterator[State]:
        """A transaction: one branch, all of it."""
        if answer is not None and not isinstance(answer, Transacted):
            return
        slot = slot_of(answer)
        for holds, judged in self.judge(command.compares, state):
            if answer is not None and holds != answer.succeeded:
                continue
            branch = command.then if holds else command.otherwise
            answers: Sequence[Answer | None] = [None] * len(branch) if answer is None else answer.answers
            states = {judged}
            for part, given in zip(branch, answers, strict=True):
                if slot_of(given) not in (0, slot):
                    return
                states = {new for old in states for new in self.single(part, given, old, slot)}
            yield from states

    def judge(self, compares: Sequence[Compare], state: State) -> list[tuple[bool, State]]:
        """Do all conditions hold? Both if that depends on a version that is unknown."""
        results = [(True, state)]
        for one in compares:
            results = [new for holds, old in results for new in (self.judge_one(one, old) if holds else [(False, old)])]
        return results

    def judge_one(self, one: Compare, state: State) -> list[tuple[bool, State]]:
        """Does one condition hold?"""
        place = self.places[one.key]
        value, version = state[place]
        if one.kind != VERSION_EQUALS:
            holds = {IS_THERE: value is not None, IS_MISSING: value is None, VALUE_EQUALS: value == one.value}
            return [(holds[one.kind], state)]
        results = []
        if value is not None and may_be(version, one.version):
            results.append((True, (*state[:place], (value, one.version), *state[place + 1 :])))
        if value is None or version != one.version:
            results.append((False, state))
        return results


def is_read(command: AnyCommand) -> bool:
    """Can the command change nothing?"""
    return all(part.op == GET for part in parts_of(command))
