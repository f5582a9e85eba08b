"""The numbers that decide what `apply` does: by version, and used by whoever applies."""

from __future__ import annotations

from multipaxos import commands
from multipaxos.client.session import UNACKNOWLEDGED_MAX
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.semantics import VERSIONS, Semantics
from multipaxos.paxos.replica import Replica


def test_the_versions_are_numbered_from_one_without_gaps() -> None:
    assert [one.version for one in VERSIONS] == list(range(1, len(VERSIONS) + 1))


def test_what_version_1_says_never_changes() -> None:
    """A log that it applied would make another state."""
    first = VERSIONS[0]
    assert (first.sessions_max, first.unacknowledged_max) == (65536, 16384)
    assert (first.answer_bytes_max, first.kept_bytes_max) == (8 << 20, 256 << 20)
    assert (first.answer_cost, first.refusal_bytes) == (192, 1024)
    assert (first.key_bytes_max, first.value_bytes_max) == (480, 1 << 20)
    assert (first.scan_bytes, first.transact_bytes_max) == (1 << 20, 2 << 20)
    assert first.machine_answer_bytes_max == (1 << 20) + (64 << 10)


def test_a_client_may_have_in_flight_what_every_version_keeps_answers_of() -> None:
    assert all(one.unacknowledged_max >= UNACKNOWLEDGED_MAX for one in VERSIONS)


def test_the_store_is_bounded_by_the_version_in_use() -> None:
    store = KeyValue()
    assert store.apply_bytes(1, 1, 1, commands.put(b"key", b"value")) == (False, b"\0")
    Replica(store, 64, 16, 1 << 20, (Semantics(key_bytes_max=2, value_bytes_max=4),))
    assert store.apply_bytes(2, 2, 1, commands.put(b"key", b"1"))[0]
    assert store.apply_bytes(3, 3, 1, commands.put(b"k", b"value"))[0]
    assert store.apply_bytes(4, 4, 1, commands.put(b"k", b"1")) == (False, b"\0")
