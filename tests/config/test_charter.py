"""The part of a configuration that a data directory keeps: whoever starts with another one is told each difference."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from multipaxos.config.charter import META_CHARTER, Charter
from multipaxos.config.cluster import Config, Grid, Sizes
from multipaxos.config.members import Member
from multipaxos.errors import DamagedDirectory, DirectoryMismatch
from multipaxos.machine.state_machine import machine_name
from multipaxos.node.output import META_BALLOT, META_REFUSED
from tests.support.journal import Journal

FIVE = Config.local(5, 7400, name="demo")


def learners(config: Config) -> Config:
    """The last node loses its vote."""
    *others, last = config.nodes
    return replace(config, nodes=(*others, Member(last.id, last.address, ("replica", "leader"))))


@pytest.mark.parametrize(
    ("charter", "told"),
    [
        (Config.local(3, 7400, name="demo").charter(), "5 nodes in the directory, 3 now"),
        (replace(FIVE, quorum=Sizes(1, 5)).charter(), "quorum: majority in the directory, sizes 1 and 5 now"),
        (learners(FIVE).charter(), "roles of node 4: replica, leader, acceptor in the directory, replica, leader now"),
        (replace(FIVE, window=64).charter(), "window: 8192 in the directory, 64 now"),
        (FIVE.charter("some.module:Counter"), "machine: key-value in the directory, some.module:Counter now"),
        (replace(FIVE, name="other").charter(), "name: demo in the directory, other now"),
    ],
)
def test_a_start_with_another_configuration_is_told_the_difference(charter: Charter, told: str) -> None:
    kept = FIVE.charter().required({}, 0) | {META_BALLOT: bytes(8)}
    with pytest.raises(
        DirectoryMismatch,
        match=re.escape(f"node 2: its directory was made with another configuration than this one ({told}): ")
        + ".* cannot be changed yet",
    ):
        charter.required(kept, 2)
    assert FIVE.charter().required(kept, 2) == {}


def test_a_storage_that_has_promised_nothing_takes_another_configuration() -> None:
    kept = FIVE.charter().required({}, 0) | {META_REFUSED: bytes(8)}
    other = replace(FIVE, window=64).charter()
    assert other.required(kept, 0) == {META_CHARTER: other.encode()}


def test_every_difference_is_named() -> None:
    kept = FIVE.charter().required({}, 0) | {META_BALLOT: bytes(8)}
    other = replace(Config.local(3, 7400, name="demo"), quorum=Sizes(1, 3), window=64)
    with pytest.raises(DirectoryMismatch) as refused:
        other.charter("m:M").required(kept, 0)
    for told in ("5 nodes", "sizes 1 and 3", "window: 8192", "machine: key-value"):
        assert told in str(refused.value)
    six = Config.local(6, 7400)
    kept = replace(six, quorum=Grid(2, 3)).charter().required({}, 0) | {META_BALLOT: bytes(8)}
    with pytest.raises(DirectoryMismatch, match=r"quorum: grid 2 and 3 in the directory, grid 3 and 2 now"):
        replace(six, quorum=Grid(3, 2)).charter().required(kept, 0)


def test_addresses_and_times_may_change() -> None:
    kept = FIVE.charter().required({}, 0) | {META_BALLOT: bytes(8)}
    moved = replace(Config.local(5, 9000, name="demo"), election_timeout_ms=1000, ping_interval_ms=9)
    assert moved.charter().required(kept, 0) == {}


def test_a_new_storage_takes_the_configuration_and_one_that_lost_it_is_damaged() -> None:
    assert list(FIVE.charter().required({}, 0)) == [META_CHARTER]
    with pytest.raises(DamagedDirectory, match="no configuration"):
        FIVE.charter().required({META_BALLOT: bytes(8)}, 0)


def test_a_machine_is_named_by_its_class() -> None:
    assert machine_name(None) == "key-value"
    assert machine_name(Journal()) == "tests.support.journal:Journal"
    assert FIVE.charter("m:M").digest() != FIVE.charter().digest()
