"""What the fuzzers found, one test each: bytes that no honest peer or client sends, in the state in which they hurt.

fuzz/ looks for more of them; `tests/support/one_node.py` is the bench.
"""

from __future__ import annotations

import pytest

from multipaxos import commands
from multipaxos.machine.key_value import KeyValue
from multipaxos.wire import codec
from tests.support.one_node import Rig, ballot, command

ROUNDS = 1 << 48
NO_BALLOTS = (1, (1 << 16) - 1, (ROUNDS - 1) << 16, (ROUNDS >> 1) << 16 | 1)


@pytest.mark.parametrize("at", NO_BALLOTS)
@pytest.mark.parametrize("kind", ["ping", "phase2b", "phase1b", "pong", "decision"])
def test_a_ballot_that_no_leader_makes_closes_its_link(kind: str, at: int) -> None:
    """Round 0 could not be described in `status`; above the greatest round the next scout's would overflow to 0."""
    rig = Rig()
    fields = {"incarnation": 1001} if kind == "phase1b" else {}
    rig.send(1, kind, ballot=at, **fields)
    assert rig.closed == {101: "a ballot that no leader makes"}
    assert rig.node.status()["ballot"] == "⊥"
    assert ballot(1, 0) == rig.begin_scout()


def test_a_watermark_at_no_ballot_closes_its_link() -> None:
    """It is seen as a ballot too."""
    rig = Rig()
    rig.send(1, "pong", ballot=ballot(2, 1), leading=True, decided_ballot=1, decided_first=1, decided_end=2)
    assert rig.closed == {101: "a ballot that no leader makes"}


def test_a_fetched_run_at_no_ballot_closes_its_link() -> None:
    """A learner that votes adopts the ballots of what it learns."""
    rig = Rig()
    run = codec.run_frame(codec.encode_phase2a(1, 1, 5, (0, 1, 1), [command(1, 1)]))
    rig.send(1, "fetched", first=1, end=2, mark=1, pvalues=[(1, 2, run)])
    assert rig.closed == {101: "a ballot that no leader makes"}
    assert rig.node.slot_out == 1
    assert rig.node.status()["ballot"] == "⊥"


def test_an_empty_value_is_compared_without_memory() -> None:
    """Found by `make sanitize`, under which this fails without the mend: memcmp was given NULL."""
    store = KeyValue()
    store.apply_bytes(1, 0, 0, commands.put(b"k", b""))
    assert store.apply_bytes(2, 0, 0, commands.cas(b"k", b"", b"new")) == (False, b"\0")
    assert store.items() == [(b"k", b"new", 2)]
