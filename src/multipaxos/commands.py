"""The commands of the key-value store as bytes, and the store's answers.

Rules.
- A command over a limit is refused here (TooLarge), before it is sent, and again by every replica.
- `read_answer` needs the command too, because an answer alone does not say what it answers.
- The codes below are this package's only ones in Python; a test compares them with those of `machine/operations.pxd`.
  docs/encodings.md has the encodings.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from multipaxos.errors import TooLarge
from multipaxos.wire.codec import KEY_BYTES_MAX, PAYLOAD_BYTES_MAX, VALUE_BYTES_MAX

CREATE, UPDATE, PUT, GET, REMOVE, CAS_VALUE, CAS_VERSION, SCAN, TRANSACT = range(1, 10)
OK, EXISTS, NOT_FOUND, MISMATCH, ELSE_TAKEN = range(5)
IS_THERE, IS_MISSING, VALUE_EQUALS, VERSION_EQUALS = range(1, 5)

SHORT = struct.Struct("<H")
LONG = struct.Struct("<I")
VERSION = struct.Struct("<Q")
COUNTS = struct.Struct("<HHH")


@dataclass(frozen=True, slots=True)
class Written:
    """A write, a `cas` or a `remove` was done; `version` is the slot in which it was done."""

    version: int


@dataclass(frozen=True, slots=True)
class Value:
    """`get`: the key's value and version."""

    value: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Exists:
    """`create`: the key exists, so nothing was changed."""


@dataclass(frozen=True, slots=True)
class NotFound:
    """The key does not exist, so nothing was changed."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """`cas`: the key has this value and version instead of the expected, so nothing was changed."""

    value: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Pairs:
    """`scan`: (key, value, version) in key order; `more` says that keys follow after the last of these."""

    pairs: tuple[tuple[bytes, bytes, int], ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Transacted:
    """`transact`: did all compares hold, and the answer to each command of the branch that was taken."""

    succeeded: bool
    answers: tuple[Answer, ...]


Answer = Written | Value | Exists | NotFound | Mismatch | Pairs | Transacted


def _key(key: bytes) -> bytes:
    if not 1 <= len(key) <= KEY_BYTES_MAX:
        raise TooLarge(f"a key has 1 to {KEY_BYTES_MAX} bytes, this one {len(key)}")
    return SHORT.pack(len(key)) + key


def _value(value: bytes) -> bytes:
    if len(value) > VALUE_BYTES_MAX:
        raise TooLarge(
            f"a value has at most {VALUE_BYTES_MAX} bytes, this one {len(value)}: split it over several keys"
        )
    return value


def _long(value: bytes) -> bytes:
    return LONG.pack(len(value)) + value


def put(key: bytes, value: bytes) -> bytes:
    """Sets the key, whether or not it exists. Raises TooLarge."""
    return bytes([PUT]) + _key(key) + _value(value)


def create(key: bytes, value: bytes) -> bytes:
    """Sets a key that does not exist. Raises TooLarge."""
    return bytes([CREATE]) + _key(key) + _value(value)


def update(key: bytes, value: bytes) -> bytes:
    """Sets a key that exists. Raises TooLarge."""
    return bytes([UPDATE]) + _key(key) + _value(value)


def get(key: bytes) -> bytes:
    """Reads a key. Raises TooLarge."""
    return bytes([GET]) + _key(key)


def remove(key: bytes) -> bytes:
    """Removes a key. Raises TooLarge."""
    return bytes([REMOVE]) + _key(key)


def cas(key: bytes, expected: bytes | int, new: bytes) -> bytes:
    """Sets the key if its value (bytes) or its version (int) is `expected`. Raises TooLarge."""
    if isinstance(expected, int):
        return bytes([CAS_VERSION]) + _key(key) + VERSION.pack(expected) + _value(new)
    return bytes([CAS_VALUE]) + _key(key) + _long(_value(expected)) + _value(new)


def scan(prefix: bytes, limit: int = 0, after: bytes = b"") -> bytes:
    """Reads the keys that begin with `prefix` and are greater than `after`: at most `limit` of them.

    A `limit` of 0 means as many as an answer holds. Raises TooLarge.
    """
    for name, part in (("prefix", prefix), ("after", after)):
        if len(part) > KEY_BYTES_MAX:
            raise TooLarge(f"{name} has at most {KEY_BYTES_MAX} bytes, as a key has, not {len(part)}")
    return bytes([SCAN]) + SHORT.pack(len(prefix)) + prefix + SHORT.pack(len(after)) + after + LONG.pack(limit)


def exists(key: bytes) -> bytes:
    """A compare: the key exists. Raises TooLarge."""
    return bytes([IS_THERE]) + _key(key)


def missing(key: bytes) -> bytes:
    """A compare: the key does not exist. Raises TooLarge."""
    return bytes([IS_MISSING]) + _key(key)


def value_equals(key: bytes, value: bytes) -> bytes:
    """A compare: the key exists and has this value. Raises TooLarge."""
    return bytes([VALUE_EQUALS]) + _key(key) + _long(_value(value))


def version_equals(key: bytes, version: int) -> bytes:
    """A compare: the key exists and has this version. Raises TooLarge."""
    return bytes([VERSION_EQUALS]) + _key(key) + VERSION.pack(version)


def transact(compares: Sequence[bytes], then: Sequence[bytes], otherwise: Sequence[bytes] = ()) -> bytes:
    """Does the commands `then` if all compares hold, else the commands `otherwise`: all of them in one slot.

    The commands may be neither scans nor transactions. Raises TooLarge.
    """
    for name, parts in (("compares", compares), ("then", then), ("otherwise", otherwise)):
        if len(parts) > 0xFFFF:
            raise TooLarge(f"a transaction has at most 65535 {name}, not {len(parts)}")
    command = b"".join(
        [
            bytes([TRANSACT]),
            COUNTS.pack(len(compares), len(then), len(otherwise)),
            *compares,
            *map(_long, then),
            *map(_long, otherwise),
        ]
    )
    if len(command) > PAYLOAD_BYTES_MAX:
        raise TooLarge(f"a transaction has at most {PAYLOAD_BYTES_MAX} bytes, this one {len(command)}: split it")
    return command


def key_of(command: bytes) -> bytes:
    """The key that a command for one key is about."""
    return command[3 : 3 + SHORT.unpack_from(command, 1)[0]]


def read_answer(command: bytes, answer: bytes, slot: int) -> Answer:
    """The answer to a command; `slot` is the reply's. Raises ValueError for bytes that are no answer to the command."""
    try:
        return _read(command, answer, slot)
    except (struct.error, IndexError) as error:
        raise ValueError(
            f"an answer of {len(answer)} bytes that does not fit operation {command[:1]!r}: {error}"
        ) from None


def _read(command: bytes, answer: bytes, slot: int) -> Answer:
    op, code = command[0], answer[0]
    if op == TRANSACT and code in (OK, ELSE_TAKEN):
        return _read_transacted(command, answer, slot)
    if code == NOT_FOUND:
        return NotFound()
    if code == EXISTS:
        return Exists()
    if code == MISMATCH:
        return Mismatch(answer[9:], VERSION.unpack_from(answer, 1)[0])
    if code != OK:
        raise ValueError(f"an answer with the unknown code {code}")
    if op == GET:
        return Value(answer[9:], VERSION.unpack_from(answer, 1)[0])
    if op == SCAN:
        return _read_pairs(answer)
    return Written(slot)


def _take(data: bytes, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise IndexError(f"{size} bytes at {at} of {len(data)}")
    return data[at : at + size]


def _read_pairs(answer: bytes) -> Pairs:
    (count,) = LONG.unpack_from(answer, 2)
    pairs = []
    at = 6
    for _ in range(count):
        (key_size,) = SHORT.unpack_from(answer, at)
        key = _take(answer, at + 2, key_size)
        at += 2 + key_size
        (version,) = VERSION.unpack_from(answer, at)
        (value_size,) = LONG.unpack_from(answer, at + 8)
        pairs.append((key, _take(answer, at + 12, value_size), version))
        at += 12 + value_size
    return Pairs(tuple(pairs), bool(answer[1]))


def _branch(command: bytes, succeeded: bool) -> list[bytes]:
    """The commands of the branch that was taken."""
    compare_count, then_count, else_count = COUNTS.unpack_from(command, 1)
    at = 1 + COUNTS.size
    for _ in range(compare_count):
        kind = command[at]
        at += 3 + SHORT.unpack_from(command, at + 1)[0]
        if kind == VALUE_EQUALS:
            at += 4 + LONG.unpack_from(command, at)[0]
        elif kind == VERSION_EQUALS:
            at += 8
    inner = []
    for _ in range(then_count + else_count):
        (size,) = LONG.unpack_from(command, at)
        inner.append(_take(command, at + 4, size))
        at += 4 + size
    return inner[:then_count] if succeeded else inner[then_count:]


def _read_transacted(command: bytes, answer: bytes, slot: int) -> Transacted:
    succeeded = answer[0] == OK
    (count,) = SHORT.unpack_from(answer, 1)
    taken = _branch(command, succeeded)
    if count != len(taken):
        raise ValueError(f"a transaction of {len(taken)} commands with {count} answers")
    answers = []
    at = 3
    for inner in taken:
        (size,) = LONG.unpack_from(answer, at)
        answers.append(_read(inner, _take(answer, at + 4, size), slot))
        at += 4 + size
    return Transacted(succeeded, tuple(answers))
