"""Both ends of a fetch, and what a node concludes from a watermark."""

from __future__ import annotations

from itertools import pairwise

from multipaxos.storage.records import by_key, cut
from multipaxos.wire import codec
from multipaxos.wire.codec import SLOTS_END
from multipaxos.wire.record import make_record
from tests.node.runs import decided_node, entry, run, run_of, with_a_log
from tests.support.one_node import OneNode, ballot, command


class TestWatermarks:
    """A watermark is believed only where the pvalue held is of its ballot or above."""

    def test_a_pvalue_of_a_lower_ballot_is_not_taken(self) -> None:
        one = OneNode()
        one.phase2a(1, ballot(1, 1), 1, [command(9, 1, b"old")])
        one.send(2, "decision", ballot=ballot(2, 2), first=1, end=2)
        assert one.core.slot_out == 1
        one.tick(1)
        assert [(m["first"], m["end"]) for m in one.from_peer(2, "fetch")] == [(1, 2)]
        one.send(2, "fetched", first=1, end=2, mark=1, pvalues=(entry(run(ballot(2, 2), 1, b"new"), 1, 2),))
        assert one.decided() == [b"new"]

    def test_a_pvalue_of_the_ballot_or_above_is_taken(self) -> None:
        one = OneNode()
        one.phase2a(1, ballot(3, 1), 1, [command(9, 1, b"c")])
        one.send(1, "decision", ballot=ballot(2, 1), first=1, end=2)
        assert one.decided() == [b"c"]

    def test_below_its_first_slot_a_watermark_says_decided_but_not_what(self) -> None:
        one = OneNode()
        one.phase2a(1, ballot(1, 1), 1, [command(9, 1), command(9, 2)])
        one.send(1, "decision", ballot=ballot(1, 1), first=2, end=3)
        assert one.core.slot_out == 1
        one.tick(1)
        assert one.from_peer(1, "fetch")

    def test_a_hostile_end_is_survived(self) -> None:
        one = OneNode()
        one.send(1, "decision", ballot=ballot(1, 1), first=1, end=SLOTS_END)
        one.send(1, "fetch", first=1, end=SLOTS_END)
        one.send(1, "phase2b", ballot=ballot(1, 1), first=0, end=SLOTS_END, mark=1)
        assert one.core.slot_out == 1


class TestAnswers:
    """A fetch is answered only with what is known to be decided."""

    def test_from_memory_and_never_beyond_slot_out(self) -> None:
        one = decided_node()
        one.send(2, "fetch", first=5, end=1000)
        (answer,) = one.from_peer(2, "fetched")
        assert (answer["first"], answer["end"]) == (5, one.core.slot_out)
        assert [(p["first"], p["end"]) for p in answer["pvalues"]] == [(5, 11), (11, 21), (21, 31)]

    def test_nothing_decided_no_answer(self) -> None:
        one = OneNode()
        one.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        one.send(2, "fetch", first=1, end=2)
        assert one.from_peer(2, "fetched") == []

    def test_old_slots_are_read_from_the_disk(self) -> None:
        one = decided_node(1000)
        base = one.core.acceptor.accepted.base
        assert base > 100
        one.send(2, "fetch", first=5, end=30)
        (read,) = one.reads
        assert (read.first, read.end) == (5, 30)
        one.core.done(read.token, True, cut(sorted(one.records, key=by_key), 5, 30, 1 << 20))
        one.collect()
        (answer,) = one.from_peer(2, "fetched")
        assert (answer["first"], answer["end"]) == (5, 30)

    def test_an_answer_from_memory_is_cut_where_it_grows_large(self) -> None:
        """Two commands are more than a mebibyte: the second one is for the next fetch."""
        one = with_a_log(bytes(700_000), 3)
        one.send(2, "fetch", first=1, end=4)
        (answer,) = one.from_peer(2, "fetched")
        assert (answer["first"], answer["end"], len(answer["pvalues"])) == (1, 2, 1)

    def test_an_answer_from_the_disk_is_cut_where_it_grows_large(self) -> None:
        """By the size of the records; at least one is sent."""
        one = with_a_log(b"x", 40, window=4)
        one.send(2, "fetch", first=1, end=40)
        (read,) = one.reads
        one.core.done(read.token, True, (4, [(i, i, make_record(i, i + 1, i, bytes(1_500_000))) for i in (1, 2, 3)]))
        one.collect()
        (answer,) = one.from_peer(2, "fetched")
        assert (answer["first"], answer["end"], len(answer["pvalues"])) == (1, 2, 1)

    def test_a_read_that_is_not_handed_out_yet_is_under_way(self) -> None:
        """The invariants hold between the frame that asks and the output that has the read."""
        one = with_a_log(b"x", 40, window=4)
        one.core.receive(102, codec.encode("fetch", first=1, end=40))
        one.core.invariants()
        (read,) = one.core.output().reads
        assert (read.first, read.max_bytes > 0) == (1, True)
        one.core.invariants()

    def test_the_end_of_a_job_that_the_core_did_not_ask_for_changes_nothing(self) -> None:
        one = with_a_log(b"x", 2)
        before = one.core.status()
        one.core.done(4242, True, (2, []))
        one.collect()
        assert one.core.status() == before
        assert one.sent == {}

    def test_a_peer_that_left_before_its_records_were_read_is_sent_nothing(self) -> None:
        """Its records are dropped."""
        one = with_a_log(b"x", 40, window=4)
        one.send(2, "fetch", first=1, end=40)
        (read,) = one.reads
        one.core.link_down(102)
        one.core.done(read.token, True, (4, [(1, 1, make_record(1, 2, 1, b"frame"))]))
        one.collect()
        assert one.sent == {}


class TestQuestions:
    """Which peer a node asks for the slots that it lacks, and when."""

    def test_a_silent_node_is_not_asked_again_and_again(self) -> None:
        """What is known of the others may be old: each is asked in its turn."""
        one = OneNode(nodes=5)
        one.send(1, "pong", ballot=0, slot_out=9)
        one.sent.clear()
        for _ in range(8):
            one.tick(1700)
        asked = {peer: len(one.from_peer(peer, "fetch")) for peer in range(1, 5)}
        assert set(asked.values()) == {2}

    def test_questions_that_are_not_answered_become_rarer(self) -> None:
        one = OneNode()
        one.send(1, "pong", ballot=0, slot_out=9)
        moments = []
        for _ in range(400):
            one.tick(10)
            if any(one.from_peer(peer, "fetch") for peer in (1, 2)):
                moments.append(one.now_ns)
        waits = [later - earlier for earlier, later in pairwise(moments)]
        assert waits == sorted(waits)
        assert waits[-1] >= 8 * waits[0]

    def test_nothing_is_asked_again_while_the_answer_arrives(self) -> None:
        one = OneNode()
        one.send(1, "pong", ballot=0, slot_out=2)
        assert len(one.from_peer(1, "fetch")) == 1
        frame = codec.encode_phase2a(ballot(1, 1), 1, 5, (0, 1, 1), [command(9, 1, bytes(90_000))])
        answer = codec.encode("fetched", first=1, end=2, mark=1, pvalues=[{"first": 1, "end": 2, "run": frame}])
        for at in range(0, len(answer), 10_000):
            one.receive(101, answer[at : at + 10_000])
            one.tick(60)
            assert [one.from_peer(peer, "fetch") for peer in (1, 2)] == [[], []]
        assert one.core.slot_out == 2

    def test_an_answer_that_waits_for_its_link_is_not_given_again(self) -> None:
        one = OneNode(linked=False)
        one.keeps_bulk = True
        one.link(1)
        one.link(2)
        payload = bytes(90_000)
        one.phase2a(1, ballot(1, 1), 1, [command(9, 1, payload)], decided=(0, 1, 1))
        one.send(1, "decision", ballot=ballot(1, 1), first=1, end=2)
        for _ in range(3):
            one.send(2, "fetch", first=1, end=2)
        assert len(one.from_peer(2, "fetched")) == 1
        one.left(102)
        one.send(2, "fetch", first=1, end=2)
        assert len(one.from_peer(2, "fetched")) == 1

    def test_a_peer_that_has_forgotten_the_slots_is_not_asked_again(self) -> None:
        one = OneNode()
        one.send(1, "pong", ballot=0, slot_out=9)
        assert one.from_peer(1, "fetch")
        one.send(1, "fetched", first=1, end=1, mark=5, pvalues=())
        for _ in range(9):
            one.tick(120)
            one.send(1, "pong", ballot=0, slot_out=9)
        assert one.from_peer(1, "fetch") == []
        assert one.from_peer(2, "fetch")

    def test_a_lost_answer_is_asked_for_again_elsewhere(self) -> None:
        one = OneNode()
        one.send(1, "decision", ballot=ballot(1, 1), first=1, end=2)
        one.send(2, "ping", ballot=0, nonce=1, slot_out=9, voting=True)
        one.tick(1)
        asked = len(one.from_peer(1, "fetch"))
        for _ in range(5):
            one.tick(120)
        assert asked == 1
        assert one.from_peer(2, "fetch")

    def test_a_repeated_answer_asks_for_the_next_stretch_once(self) -> None:
        """Found by simulation: each copy asked again, and their number grew without end."""
        one = OneNode()
        each = ballot(1, 1)
        one.send(1, "decision", ballot=each, first=9, end=9)
        (asked,) = one.from_peer(1, "fetch")
        run = codec.run_frame(codec.encode_phase2a(each, 1, 5, (0, 1, 1), [command(9, 1)]))
        for _ in range(5):
            one.send(1, "fetched", first=asked["first"], end=2, mark=1, pvalues=[(1, 2, run)])
        assert [m["first"] for m in one.from_peer(1, "fetch")] == [2]

    def test_nothing_is_fetched_that_the_rings_have_no_room_for(self) -> None:
        """Found by simulation: a slow disk, and the same slots fetched over and over."""
        one = OneNode(window=8)
        each = ballot(1, 1)
        one.send(1, "decision", ballot=each, first=100, end=100)
        for _ in range(60):
            for asked in one.from_peer(1, "fetch"):
                commands = [command(9, slot) for slot in range(asked["first"], asked["end"])]
                run = codec.run_frame(codec.encode_phase2a(each, asked["first"], 5, (0, 1, 1), commands))
                pvalues = [(asked["first"], asked["end"], run)]
                one.send(1, "fetched", first=asked["first"], end=asked["end"], mark=1, pvalues=pvalues)
            one.tick(1)
        assert one.core.slot_out == 33
        assert one.core.next_tick_ns() > one.now_ns
        one.sync()
        one.tick(10)
        assert [m["first"] for m in one.from_peer(1, "fetch")] == [33]

    def test_a_peer_with_a_mark_that_sent_the_slots_is_asked_again(self) -> None:
        one = OneNode()
        one.send(1, "pong", ballot=0, slot_out=9)
        (asked,) = one.from_peer(1, "fetch")
        one.send(1, "fetched", first=1, end=2, mark=5, pvalues=(entry(run(ballot(1, 1), 1, b"one"), 1, 2),))
        assert [(m["first"], m["end"]) for m in one.from_peer(1, "fetch")] == [(2, asked["end"])]

    def test_a_node_without_links_asks_the_first_peer_that_connects(self) -> None:
        """Slots are known to be decided; both links are gone for a while."""
        one = OneNode()
        one.send(1, "decision", ballot=ballot(1, 1), first=3, end=5)
        for link in (101, 102):
            one.core.link_down(link)
        one.tick(150)
        one.sent.clear()
        one.link(2, number=200)
        one.tick(150)
        assert [each["first"] for each in one.take(200, "fetch")] == [1]


class TestFetched:
    """What comes back may be anything."""

    def test_a_fetched_run_that_is_none_closes_its_link(self) -> None:
        """As any bad frame does."""
        one = OneNode()
        one.send(1, "fetched", first=1, end=2, mark=1, pvalues=[(1, 2, b"?")])
        assert one.closed == {101: "a fetched run that is no run"}

    def test_what_is_fetched_beyond_the_ring_is_dropped(self) -> None:
        """It will be fetched again when its turn comes."""
        one = OneNode(window=8)
        far = run_of(ballot(1, 1), 100, command(9, 1))
        one.send(1, "fetched", first=100, end=101, mark=1, pvalues=[(100, 101, far)])
        assert not one.closed
        assert one.core.slot_out == 1
        assert one.core.command_at(100) is None

    def test_a_fetched_run_at_no_ballot_closes_its_link(self) -> None:
        """A learner that votes adopts the ballots of what it learns."""
        one = OneNode()
        run = codec.run_frame(codec.encode_phase2a(1, 1, 5, (0, 1, 1), [command(1, 1)]))
        one.send(1, "fetched", first=1, end=2, mark=1, pvalues=[(1, 2, run)])
        assert one.closed == {101: "a ballot that no leader makes"}
        assert one.core.slot_out == 1
        assert one.core.status()["ballot"] == "⊥"
