"""Replicas that differ: the rule alone."""

from __future__ import annotations

import random

import pytest

from multipaxos.node.agreement import Agreement

A, B, C = 11, 22, 33


def verdicts(hashes: list[int | None], slot: int = 64) -> list[Agreement]:
    """The agreements of nodes that have all told this of one slot (None: is silent), and heard all others."""
    nodes = [Agreement(i, range(len(hashes))) for i in range(len(hashes))]
    for node in nodes:
        for other, hash in enumerate(hashes):
            if hash is not None and other != node.node_id:
                node.hear(other, slot, hash)
        own = hashes[node.node_id]
        if own is not None:
            node.tell(slot, own)
    return nodes


@pytest.mark.parametrize(
    ("hashes", "differing", "divided"),
    [
        ([A, A, A], [], []),
        ([A, A, B], [2], []),
        ([B, A, A], [0], []),
        ([A, B, C], [], [0, 1, 2]),
        ([A, B, None], [], []),  # the silent one may have either state
        ([A, A, None], [], []),
        ([A, B], [], [0, 1]),
        ([A, A, B, B], [], [0, 1, 2, 3]),
        ([A, A, A, B], [3], []),
        ([A, A, B, None], [], []),  # three of four would be a majority
        ([A, B, C, None], [], [0, 1, 2]),  # two of four at most: whatever the silent one says, there is no majority
        ([A, A, A, B, C], [3, 4], []),
        ([A, A, B, B, C], [], [0, 1, 2, 3, 4]),
        ([A, A, B, B, None], [], []),
        ([A], [], []),
    ],
)
def test_verdicts(hashes: list[int | None], differing: list[int], divided: list[int]) -> None:
    nodes = verdicts(hashes)
    assert [node.node_id for node in nodes if node.differs] == differing
    assert [node.node_id for node in nodes if node.divided] == divided
    for node in nodes:
        own = hashes[node.node_id]
        unlike = {i for i, hash in enumerate(hashes) if None not in (own, hash) and hash != own}
        assert {i for i in range(len(hashes)) if node.unlike >> i & 1} == unlike


@pytest.mark.parametrize("seed", range(20))
def test_a_majority_is_never_told_that_it_differs(seed: int) -> None:
    """In whatever order reports come, with pings lost: who agrees with a majority is not told, and who is told
    disagrees with one."""
    chance = random.Random(seed)
    count = chance.randint(2, 7)
    hashes = [chance.choice([A, A, B, C]) for _ in range(count)]
    nodes = [Agreement(i, range(count)) for i in range(count)]
    for slot in range(1, 30):
        for node in nodes:
            node.tell(slot, hashes[node.node_id] + slot)
        for _ in range(3 * count):
            here, there = chance.sample(range(count), 2)
            nodes[here].hear(there, nodes[there].slot, nodes[there].hash)
    for node in nodes:
        agreeing = hashes.count(hashes[node.node_id])
        assert not (node.differs and agreeing > count // 2)
        if node.differs:
            assert any(hashes.count(other) > count // 2 for other in hashes)


def test_only_hashes_of_one_slot_are_compared() -> None:
    node = Agreement(0, range(3))
    node.tell(8, A)
    assert not node.hear(1, 16, B)
    assert not node.hear(2, 24, B)
    assert not node.differs
    assert node.unlike == 0
    assert node.tell(16, A)
    assert node.unlike == 0b010
    assert node.hear(2, 16, B)
    assert node.differs


def test_a_replica_that_is_behind_is_told_when_it_comes_there() -> None:
    node = Agreement(2, range(3))
    for slot in range(8, 80, 8):
        node.hear(0, slot, A)
        node.hear(1, slot, A)
    assert node.tell(8, B)
    assert node.differs


def test_it_stays_until_the_process_ends() -> None:
    node = verdicts([A, A, B])[2]
    for slot in range(65, 300):
        node.hear(0, slot, A)
        node.hear(1, slot, A)
        node.tell(slot, A)
    assert node.differs


def test_a_division_ends_when_a_majority_agrees_later() -> None:
    node = verdicts([A, A, B, B])[0]
    node.hear(2, 128, A)
    node.hear(1, 128, A)
    assert node.divided
    assert node.tell(128, A)
    assert not node.divided


def test_a_report_that_comes_late_does_not_bring_a_division_back() -> None:
    node = Agreement(0, range(3))
    node.tell(8, A)
    node.hear(1, 8, B)
    node.tell(16, A)
    node.hear(1, 16, A)
    node.hear(2, 8, C)
    assert not node.divided


def test_what_a_node_told_before_its_new_link_does_not_count() -> None:
    node = Agreement(0, range(3))
    node.hear(1, 8, B)
    node.forget(1)
    node.tell(8, A)
    node.hear(2, 8, B)
    assert not node.differs
    assert node.unlike == 0b100
    node.forget(2)
    assert node.unlike == 0


def test_who_is_no_replica_does_not_count() -> None:
    node = Agreement(0, [0, 1, 2])
    node.tell(8, A)
    node.hear(3, 8, B)
    node.hear(4, 8, B)
    assert not node.differs
    assert node.unlike == 0


def test_pairs_are_kept_for_a_while() -> None:
    """A ping that repeats the newest pair takes no place; the sixty-fifth pair takes that of the first."""
    node = Agreement(0, range(3))
    for slot in range(1, 65):
        for _ in range(3):
            node.hear(1, slot, B)
    node.hear(2, 1, B)
    assert node.tell(1, A)
    assert node.differs
    node = Agreement(0, range(3))
    for slot in range(1, 66):
        node.hear(1, slot, B)
    node.hear(2, 1, B)
    node.tell(1, A)
    assert not node.differs


def test_nothing_is_told_before_anything_is_applied() -> None:
    node = Agreement(0, range(3))
    assert not node.tell(0, 0)
    assert not node.hear(1, 0, B)
    assert not node.hear(2, 0, B)
    assert node.slot == 0
    assert not node.differs
