"""What a node holds is bounded by bytes, also while its disk stands; and it is level again when the disk goes on."""

from __future__ import annotations

from multipaxos.wire import codec
from tests.support.one_node import NO_WATERMARK, OPEN_SESSION, OneNode, ballot, command

MIB = 1 << 20
RING = 32 * MIB
AT = ballot(1, 1)  # at which node 1 leads


def value(slot: int) -> bytes:
    """The command of a slot: 1 MiB."""
    return bytes([slot % 256]) * (MIB - 256)


def propose(one: OneNode, first: int, end: int, at: int = AT, decided: int = 1) -> None:
    """The leader's phases 2a for these slots, with what is decided by then."""
    for slot in range(first, end):
        one.phase2a(1, at, slot, [command(9, slot, value(slot))], decided=(AT, 1, decided))


def held(one: OneNode) -> int:
    """Bytes of runs in memory, and of records that wait for the disk."""
    bytes = one.core.status()["memory_bytes"]
    assert isinstance(bytes, int)
    return bytes


def votes(one: OneNode) -> set[int]:
    """The slots for which the leader got votes since the last call."""
    return {slot for m in one.from_peer(1, "phase2b") for slot in range(m["first"], m["end"])}


def missing(one: OneNode) -> list[int]:
    """What pongs to the leader say of missing pvalues, in a second."""
    one.take(101)
    for _ in range(10):
        one.send(1, "pong", ballot=AT, nonce=1, slot_out=1, leading=True, quorum=True, **NO_WATERMARK)
        one.tick(100)
    return [m["missing"] for m in one.from_peer(1, "pong") if m["missing"]]


class TestFollowers:
    """A follower whose disk stands: a commit that never returns."""

    def test_it_holds_no_more_than_ring_bytes_and_does_not_vote_beyond(self) -> None:
        one = OneNode(ring_bytes=RING)
        propose(one, 1, 101, decided=101)
        assert held(one) <= RING
        assert votes(one) == set()
        one.sync()
        voted = votes(one)
        assert voted == set(range(1, len(voted) + 1))
        assert 4 <= len(voted) < 32

    def test_it_says_from_where_on_it_misses_pvalues_once_it_has_room_and_is_level_when_it_has_them(self) -> None:
        one = OneNode(ring_bytes=RING)
        propose(one, 1, 51)
        assert missing(one) == []
        voted, first = 0, 1
        while first < 51:
            one.sync()
            voted += len(votes(one))
            one.send(1, "decision", ballot=AT, first=1, end=voted + 1)
            one.sync()
            (first,) = missing(one) or [51]
            assert first == voted + 1
            propose(one, first, 51, decided=voted + 1)
            assert held(one) <= RING
        assert voted == 50
        assert one.core.slot_out == 51
        assert [record[0] for record in one.records] == list(range(1, 51)), "each is recorded once"

    def test_it_fetches_nothing_while_its_disk_stands(self) -> None:
        one = OneNode(ring_bytes=RING)
        propose(one, 1, 41)
        one.sent.clear()
        one.send(1, "pong", ballot=AT, nonce=1, slot_out=41, leading=True, quorum=True, **NO_WATERMARK)
        for _ in range(20):
            one.tick(50)
            one.send(1, "pong", ballot=AT, nonce=1, slot_out=41, leading=True, quorum=True, **NO_WATERMARK)
        assert one.from_peer(1, "fetch") == []
        one.sync()
        for _ in range(3):
            one.tick(50)
        assert len(one.from_peer(1, "fetch")) == 1

    def test_it_fetches_nothing_while_what_it_fetched_waits_for_the_disk(self) -> None:
        """A vote waits for all that gathers before it."""
        one = OneNode()
        told = {"ballot": AT, "nonce": 1, "slot_out": 101, "leading": True, "quorum": True, **NO_WATERMARK}
        one.send(1, "pong", **told)
        fetched = 0
        for _ in range(40):
            one.send(1, "pong", **told)
            one.tick(10)
            for question in one.from_peer(1, "fetch"):
                first = question["first"]
                frame = codec.run_frame(
                    codec.encode_phase2a(AT, first, 5, (0, 1, 1), [command(9, first, value(first))])
                )
                one.send(1, "fetched", first=first, end=first + 1, mark=1, pvalues=((first, first + 1, frame),))
                fetched += 1
        assert 8 <= fetched <= 11

    def test_a_new_leader_s_proposals_in_the_place_of_others_are_accepted(self) -> None:
        """Undecided slots fill the ring; the disk keeps up."""
        one = OneNode(ring_bytes=RING)
        for slot in range(1, 31):
            propose(one, slot, slot + 1)
            one.sync()
        voted = len(votes(one))
        assert voted < 25
        for slot in range(1, voted + 1):
            one.phase2a(2, ballot(2, 2), slot, [command(9, slot, value(slot))])
            one.sync()
        assert {ballot for _, ballot in one.core.acceptor.pvalues()} == {ballot(2, 2)}
        assert held(one) <= RING

    def test_what_the_replica_needs_next_is_accepted_when_the_disk_is_idle(self) -> None:
        """The ring is full of slots above one that is missing: else nothing would ever be decided here."""
        one = OneNode(ring_bytes=RING)
        for slot in range(3, 31):
            propose(one, slot, slot + 1)
            one.sync()
        votes(one)
        propose(one, 2, 3)
        assert votes(one) == set()
        for slot in (1, 2):
            propose(one, slot, slot + 1)
            one.sync()
            assert votes(one) == {slot}
            one.send(1, "decision", ballot=AT, first=1, end=slot + 1)
            one.sync()
        assert one.core.slot_out == 3
        assert held(one) <= RING

    def test_a_ring_full_of_others_asks_for_what_it_needs_next_and_for_nothing_else(self) -> None:
        one = OneNode(ring_bytes=RING)
        for slot in range(3, 31):
            propose(one, slot, slot + 1)
            one.sync()
        assert missing(one) == []
        propose(one, 1, 2)
        one.sync()
        one.send(1, "decision", ballot=AT, first=1, end=2)
        one.sync()
        propose(one, 4, 5, at=ballot(2, 1))
        assert missing(one) == []

    def test_decided_slots_leave_memory_by_their_bytes(self) -> None:
        one = OneNode(window=4096, ring_bytes=RING)
        for slot in range(1, 101):
            propose(one, slot, slot + 1, decided=slot)
            one.sync()
            assert held(one) <= RING // 2 + 3 * MIB
        assert one.core.slot_out == 100
        assert len(one.core.acceptor.pvalues()) >= 15


class TestLeaders:
    """A leader and its own disk."""

    def adopt(self, count: int) -> OneNode:
        """A leader that has to propose so many commands of 1 MiB again, which its peer holds."""
        one = OneNode()
        one.send(1, "ping", ballot=AT, nonce=1, slot_out=1)
        at = one.begin_scout()
        one.events.clear()
        for slot in range(1, count + 1):
            frame = codec.run_frame(codec.encode_phase2a(AT, slot, 5, (0, 1, 1), [command(9, slot, value(slot))]))
            one.promise(1, at, first=slot, end=slot + 1, pvalues=((slot, slot + 1, frame),))
        one.promise(1, at, first=count + 1)
        assert one.core.status()["leading"]
        return one

    def test_what_is_proposed_again_goes_to_its_disk_in_parts(self) -> None:
        one = self.adopt(40)
        batches = []
        while one.batch is not None:
            batches.append(len(one.batch.records))
            batch, one.batch = one.batch, None
            one.commit(batch)
            one.core.done(batch.token, True)
            one.collect()
        assert len(batches) <= 7
        assert batches[0] <= 2 * MIB
        assert max(batches) <= 9 * MIB
        assert sum(batches) >= 40 * (MIB - 256)
        assert [slot for slot, _ in one.core.acceptor.pvalues()] == list(range(1, 41))
        at = one.core.leader.ballot
        assert {held_at for _, held_at in one.core.acceptor.pvalues()} == {at}

    def test_the_first_of_it_is_voted_for_before_the_rest_is_on_the_disk(self) -> None:
        one = self.adopt(40)
        batch, one.batch = one.batch, None
        assert batch is not None
        one.commit(batch)
        one.core.done(batch.token, True)
        one.collect()
        one.accept(1, one.core.leader.ballot, 1, 41)
        assert 1 < one.core.slot_out < 10

    def test_a_leader_whose_disk_stands_holds_no_more_than_ring_bytes(self) -> None:
        one = OneNode(ring_bytes=RING)
        at = one.lead()
        one.client()
        one.request(1, command(0, 77, b"", OPEN_SESSION))
        one.sync()
        one.accept(1, at, 1, 2)
        for sequence in range(1, 100):
            one.request(1, command(1, sequence, value(sequence)))
            end = one.core.replica.slot_in
            one.accept(1, at, 1, end)
            one.accept(2, at, 1, end)
            assert one.core.acceptor.accepted.bytes + one.core.status()["undurable_bytes"] <= RING
        stood = one.core.slot_out
        assert 4 < stood < 32
        one.sync()
        assert one.core.slot_out > stood
