"""Hostile payloads for the key-value machine: a decided command may hold any bytes, and replicas have to stay alike.

The input is a list of payloads, applied in turn to two machines whose tables are seeded differently.

Properties. Nothing raises. Both machines answer the same and have the same state. A refused command changes nothing.
`commands` reads the answer of every command that it would build. Keys stand in order, each once, none over its limit;
the hash of the state is that of a machine that has the same contents by another history.
"""

from __future__ import annotations

from multipaxos import commands
from multipaxos.machine.key_value import KeyValue
from tests.fuzz.harness import Program, chunk, main

COMMANDS_MAX = 40


def payloads() -> list[bytes]:
    """Payloads of every command."""
    compares = [commands.exists(b"a"), commands.missing(b"b"), commands.value_equals(b"a", b"1"),
                commands.version_equals(b"a", 1)]  # fmt: skip
    inner = [commands.put(b"a", b"2"), commands.get(b"a"), commands.cas(b"a", b"2", b"3"), commands.remove(b"b")]
    return [
        commands.put(b"a", b"1"),
        commands.create(b"b", b"2"),
        commands.update(b"a", b"3" * 70),
        commands.get(b"a"),
        commands.cas(b"a", b"1", b"4"),
        commands.cas(b"a", 1, b"5"),
        commands.scan(b"", 2),
        commands.scan(b"a", 0, b"a"),
        commands.transact(compares, inner, inner[::-1]),
        commands.remove(b"a"),
    ]


def seeds() -> list[bytes]:
    """Each command on its own, and all of them, twice."""
    every = [chunk(payload) for payload in payloads()]
    return [*every, b"".join(every), b"".join(every + every)]


def rebuilt(items: list[tuple[bytes, bytes, int]]) -> KeyValue:
    """A machine with the same contents, each key put once, at its version."""
    machine = KeyValue(3)
    for key, value, version in items:
        machine.apply_bytes(version, 0, 0, commands.put(key, value))
    return machine


def run_one(data: bytes) -> None:
    """Runs one input."""
    program = Program(data)
    one, other = KeyValue(1), KeyValue(2)
    for slot in range(1, COMMANDS_MAX):
        if not program.more():
            break
        payload = program.chunk()
        before = one.state_hash_int()
        refused, answer = one.apply_bytes(slot, 0, 0, payload)
        assert other.apply_bytes(slot, 0, 0, payload) == (refused, answer)
        if refused:
            assert one.state_hash_int() == before
        else:
            commands.read_answer(payload, answer, slot)
    items = one.items()
    keys = [key for key, _, _ in items]
    assert keys == sorted(set(keys))
    assert all(1 <= len(key) <= 480 for key in keys)
    assert other.items() == items
    assert len(one) == len(items)
    assert one.state_hash_int() == other.state_hash_int() == rebuilt(items).state_hash_int()


if __name__ == "__main__":
    main(run_one, seeds())
