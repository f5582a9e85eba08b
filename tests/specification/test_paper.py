"""One test per claim of "Paxos Made Moderately Complex", on the shipped core; each cites the section of its claim."""

from __future__ import annotations

from typing import Any

import pytest

from multipaxos.errors import InvariantViolation
from multipaxos.judges.quorums import Quorums
from multipaxos.simulation.scenario import Faults, Scenario
from multipaxos.simulation.timeline import MS
from multipaxos.simulation.world import World
from multipaxos.wire import codec
from tests.support.one_node import OPEN_SESSION, OneNode, ballot, command


def pvalue(frame: bytes, first: int, end: int) -> dict[str, Any]:
    """An entry of a phase 1b."""
    return {"first": first, "end": end, "run": frame}


def frame_of(at: int, first: int, *payloads: bytes, time_ns: int = 5) -> bytes:
    """A phase 2a frame, as another leader would have sent it."""
    return codec.encode_phase2a(at, first, time_ns, (0, 1, 1), [command(9, i, p) for i, p in enumerate(payloads, 1)])


class TestAcceptor:
    """Section 2.2."""

    def test_a1_it_adopts_strictly_increasing_ballots_only(self) -> None:
        """A1, section 2.2: an acceptor can only adopt strictly increasing ballot numbers."""
        node = OneNode()
        seen = []
        for at in (ballot(3, 1), ballot(2, 2), ballot(3, 2), ballot(1, 1)):
            node.send(at & 0xFFFFFF, "phase1a", ballot=at, first=1)
            seen.append(node.core.acceptor.ballot_num)
        assert seen == [ballot(3, 1), ballot(3, 1), ballot(3, 2), ballot(3, 2)]

    def test_a1_the_answer_to_a_lower_ballot_carries_the_adopted_one(self) -> None:
        """Section 2.2, phase 1: the scout learns ballot_num, and so that it is preempted."""
        node = OneNode()
        node.send(1, "phase1a", ballot=ballot(3, 1), first=1)
        node.send(2, "phase1a", ballot=ballot(2, 2), first=1)
        node.sync()
        assert [m["ballot"] for m in node.from_peer(1, "phase1b")] == [ballot(3, 1)]
        assert [m["ballot"] for m in node.from_peer(2, "phase1b")] == [ballot(3, 1)]

    def test_a2_it_accepts_at_its_ballot_or_above_and_never_below(self) -> None:
        """A2, section 2.2, as amended: (b, s, c) is accepted only if b >= ballot_num, which then is b."""
        node = OneNode()
        node.phase2a(1, ballot(3, 1), 1, [command(9, 1)])
        assert node.core.acceptor.ballot_num == ballot(3, 1)
        node.phase2a(2, ballot(2, 2), 2, [command(9, 2)])
        assert node.core.acceptor.pvalues() == [(1, ballot(3, 1))]
        node.sync()
        (refusal,) = node.from_peer(2, "phase2b")
        assert (refusal["ballot"], refusal["first"], refusal["end"]) == (ballot(3, 1), 2, 2)

    def test_a3_what_it_accepted_stays_until_a_higher_ballot_replaces_it(self) -> None:
        """A3, sections 2.2 and 4.1: pvalues are not removed, only replaced by one of a higher ballot in the same
        slot."""
        node = OneNode()
        node.phase2a(1, ballot(1, 1), 1, [command(9, i) for i in (1, 2, 3)])
        node.phase2a(2, ballot(2, 2), 2, [command(8, 1)])
        node.send(1, "phase1a", ballot=ballot(9, 1), first=1)
        assert node.core.acceptor.pvalues() == [(1, ballot(1, 1)), (2, ballot(2, 2)), (3, ballot(1, 1))]

    def test_a4_one_command_per_ballot_and_slot(self) -> None:
        """A4, section 2.2: a second command for the same ballot and slot - which no leader sends - does not replace
        the first."""
        node = OneNode()
        node.phase2a(1, ballot(1, 1), 1, [command(9, 1, b"first")])
        node.phase2a(1, ballot(1, 1), 1, [command(9, 1, b"second")], decided=(ballot(1, 1), 1, 2))
        assert node.decided() == [b"first"]

    def test_a5_what_a_majority_accepted_is_proposed_at_every_higher_ballot(self) -> None:
        """A5, section 2.2: with (b, s, c) accepted by a majority, a later leader proposes c in s and nothing else."""
        node = OneNode()
        chosen = frame_of(ballot(1, 1), 1, b"chosen")
        node.receive(101, chosen)
        at = node.begin_scout()
        node.promise(1, at, pvalues=(pvalue(chosen, 1, 2),))
        (proposal,) = node.from_peer(2, "phase2a")
        assert (proposal["ballot"], proposal["first"]) == (at, 1)
        assert [c["payload"] for c in proposal["commands"]] == [b"chosen"]

    def test_phase_1b_carries_what_was_accepted(self) -> None:
        """Section 2.2, phase 1: the answer carries the pvalues accepted, each with its ballot."""
        node = OneNode()
        old = node.phase2a(1, ballot(1, 1), 1, [command(9, 1), command(9, 2)])
        new = node.phase2a(2, ballot(2, 2), 2, [command(8, 1)])
        node.send(1, "phase1a", ballot=ballot(3, 1), first=1)
        node.sync()
        (answer,) = node.from_peer(1, "phase1b")
        assert [(p["first"], p["end"], p["run"]) for p in answer["pvalues"]] == [(1, 2, old), (2, 3, new)]

    def test_state_reduction_only_the_highest_ballot_of_a_slot_is_kept(self) -> None:
        """Section 4.1: an acceptor need keep for each slot only the pvalue of the highest ballot."""
        node = OneNode()
        for round in (1, 2, 3):
            node.phase2a(1, ballot(round, 1), 1, [command(round, 1)])
        assert node.core.acceptor.pvalues() == [(1, ballot(3, 1))]

    def test_state_reduction_phase_1_asks_from_the_first_undecided_slot(self) -> None:
        """Section 4.1: a leader that knows slots decided need not ask for them."""
        node = OneNode()
        node.phase2a(1, ballot(1, 1), 1, [command(9, i) for i in (1, 2, 3)])
        node.send(1, "decision", ballot=ballot(1, 1), first=1, end=3)
        node.begin_scout()
        (question,) = node.from_peer(1, "phase1a")
        assert question["first"] == 3


class TestCommander:
    """Section 2.3."""

    def test_c1_one_command_per_ballot_and_slot(self) -> None:
        """C1, section 2.3: a leader never has two commands for one (ballot, slot), also after other messages."""
        node = OneNode()
        node.lead()
        node.client()
        node.request(1, command(0, 77, b"", OPEN_SESSION))
        node.request(1, command(0, 78, b"", OPEN_SESSION))
        node.wait_for_repeats()
        sent = node.from_peer(1, "phase2a")
        by_slot: dict[int, set[int]] = {}
        for message in sent:
            for i, c in enumerate(message["commands"]):
                by_slot.setdefault(message["first"] + i, set()).add(c["sequence"])
        assert by_slot == {1: {77}, 2: {78}}
        assert len(sent) > 2  # it was sent again, the same

    def test_c2_a_slot_is_decided_by_a_phase_2_quorum(self) -> None:
        """C2, section 2.3: a decision needs a majority of acceptors at this ballot."""
        node = OneNode(nodes=5)
        at = node.lead()
        node.client()
        node.request(1, command(0, 77, b"", OPEN_SESSION))
        node.sync()  # our own vote
        node.accept(1, at, 1, 2)
        assert node.core.slot_out == 1
        node.accept(2, at, 1, 2)
        assert node.core.slot_out == 2

    def test_a_vote_counts_once_and_only_for_its_ballot_and_slot(self) -> None:
        """Section 2.3: the commander waits for answers from a majority of different acceptors for its own ballot."""
        node = OneNode(nodes=5)
        at = node.lead()
        node.client()
        node.request(1, command(0, 77, b"", OPEN_SESSION))
        node.sync()
        for _ in range(3):
            node.accept(1, at, 1, 2)
        node.accept(2, ballot(1, 2), 1, 2)
        node.accept(3, at, 2, 3)
        assert node.core.slot_out == 1

    def test_preempted_by_a_higher_ballot_in_a_2b(self) -> None:
        """Section 2.3: a commander that sees a higher ballot reports it to its leader, and ends."""
        node = OneNode()
        at = node.lead()
        node.send(1, "phase2b", ballot=at + (1 << 24) | 1, first=1, end=1, mark=1)
        assert not node.core.status()["leading"]
        assert any(event.kind == "preempted" for event in node.events)

    def test_a_decision_reaches_every_replica(self) -> None:
        """Section 2.3: the commander notifies all replicas."""
        node = OneNode()
        at = node.lead()
        node.client()
        node.request(1, command(0, 77, b"", OPEN_SESSION))
        node.sync()
        node.accept(1, at, 1, 2)
        node.tick(10)
        for peer in (1, 2):
            (decision,) = node.from_peer(peer, "decision")
            assert (decision["ballot"], decision["first"], decision["end"]) == (at, 1, 2)


class TestScoutAndLeader:
    """Section 2.4."""

    def test_adopted_by_a_phase_1_quorum(self) -> None:
        """Section 2.4: a scout needs answers for its ballot from a majority."""
        node = OneNode(nodes=5)
        at = node.begin_scout()
        node.promise(1, at)
        assert not node.core.status()["leading"]
        node.promise(1, at)
        assert not node.core.status()["leading"]
        node.promise(2, at)
        assert node.core.status()["leading"]

    def test_a_scout_is_preempted_by_a_higher_ballot(self) -> None:
        """Section 2.4: an answer with a higher ballot ends the attempt."""
        node = OneNode()
        at = node.begin_scout()
        node.promise(1, at + (1 << 24) | 2)
        node.promise(2, at)
        assert not node.core.status()["leading"]

    def test_the_next_ballot_is_higher_than_the_one_that_preempted(self) -> None:
        """Section 2.4: a preempted leader tries again with a ballot above what it has seen."""
        node = OneNode()
        at = node.begin_scout()
        higher = at + (5 << 24) | 2
        node.promise(1, higher)
        again = node.begin_scout()
        assert again > higher

    def test_pmax_takes_the_highest_ballot_of_each_slot(self) -> None:
        """Section 2.4: pmax(pvals), for each slot the command of the maximal ballot; the arrow lets it win."""
        node = OneNode(nodes=5)
        at = node.begin_scout()
        low, high = frame_of(1, 1, b"low", b"only"), frame_of(2, 1, b"high")
        node.promise(1, at, pvalues=(pvalue(low, 1, 3),))
        node.promise(2, at, pvalues=(pvalue(high, 1, 2),))
        payloads = [c["payload"] for m in node.from_peer(3, "phase2a") for c in m["commands"]]
        assert payloads == [b"high", b"only"]

    def test_the_arrow_keeps_what_pmax_does_not_name(self) -> None:
        """Section 2.4: proposals ◁ pmax(pvals): what the leader had stays where pmax has nothing."""
        node = OneNode()
        at = node.lead()
        node.client()
        node.request(1, command(0, 71, b"", OPEN_SESSION), command(0, 72, b"", OPEN_SESSION))
        node.send(1, "phase2b", ballot=ballot(9, 1), first=1, end=1, mark=1)
        again = node.begin_scout()
        assert again > at
        other = frame_of(ballot(9, 1), 2, b"won")
        node.sent.clear()
        node.promise(1, again, pvalues=(pvalue(other, 2, 3),))
        sent = {m["first"] + i: c for m in node.from_peer(2, "phase2a") for i, c in enumerate(m["commands"])}
        assert sent[1]["sequence"] == 71
        assert sent[2]["payload"] == b"won"

    def test_gaps_are_filled(self) -> None:
        """Section 2.4 and the exercise on no-ops: slots below the highest seen, of which no node knows a pvalue, get
        no-ops."""
        node = OneNode()
        at = node.begin_scout()
        node.promise(1, at, pvalues=(pvalue(frame_of(2, 3, b"third"), 3, 4),))
        commands = [
            (m["first"] + i, c["kind"]) for m in node.from_peer(2, "phase2a") for i, c in enumerate(m["commands"])
        ]
        assert commands == [(1, 0), (2, 0), (3, 1)]

    def test_a_passive_leader_proposes_nothing(self) -> None:
        """Section 2.4: only in active mode are commanders spawned; until then proposals wait."""
        node = OneNode()
        node.client()
        node.request(1, command(0, 77, b"", OPEN_SESSION))
        assert node.from_peer(1, "phase2a") == []
        node.lead()
        node.tick(1)
        assert node.core.leader.commanders.slot_end == 2


class TestReplica:
    """Section 2.1."""

    def test_r1_two_commands_in_one_slot_stop_the_node(self) -> None:
        """R1, section 2.1: no two different commands are decided for one slot; a node that receives both stops."""
        node = OneNode()
        node.phase2a(1, ballot(1, 1), 1, [command(9, 1, b"gap"), command(9, 2, b"one")], decided=(0, 1, 1))
        node.send(1, "fetched", first=2, end=3, mark=1, pvalues=(pvalue(frame_of(ballot(2, 1), 2, b"other"), 2, 3),))
        with pytest.raises(InvariantViolation, match="R1"):
            node.send(
                1, "fetched", first=2, end=3, mark=1, pvalues=(pvalue(frame_of(ballot(3, 1), 2, b"one more"), 2, 3),)
            )

    def test_r2_r3_decisions_are_applied_in_order_and_without_gaps(self) -> None:
        """R2 and R3, section 2.1: state is the result of the commands up to slot_out, in slot order."""
        node = OneNode()
        node.send(1, "fetched", first=2, end=3, mark=1, pvalues=(pvalue(frame_of(ballot(2, 1), 2, b"second"), 2, 3),))
        assert node.core.slot_out == 1
        node.send(1, "fetched", first=1, end=2, mark=1, pvalues=(pvalue(frame_of(ballot(2, 1), 1, b"first"), 1, 2),))
        assert node.decided() == [b"first", b"second"]

    def test_r4_slot_out_never_falls(self) -> None:
        """R4, section 2.1: old decisions that arrive again change nothing."""
        node = OneNode()
        node.phase2a(1, ballot(1, 1), 1, [command(9, 1), command(9, 2)], decided=(0, 1, 1))
        node.send(1, "decision", ballot=ballot(1, 1), first=1, end=3)
        assert node.core.slot_out == 3
        node.send(1, "decision", ballot=ballot(1, 1), first=1, end=2)
        assert node.core.slot_out == 3

    def test_r5_proposals_keep_within_the_window(self) -> None:
        """R5, section 2.1: slot_in < slot_out + WINDOW for every proposal."""
        node = OneNode(window=64)
        node.lead()
        node.request(101, *[command(0, nonce, b"", OPEN_SESSION) for nonce in range(1, 101)])
        assert node.core.replica.slot_in == 65
        assert len(node.core.replica.requests) == 36

    def test_a_command_that_loses_its_slot_is_proposed_again(self) -> None:
        """Section 2.1: when another command is decided in its slot, the replica proposes its own again."""
        node = OneNode()
        at = node.lead()
        node.client()
        node.request(1, command(0, 77, b"", OPEN_SESSION))
        later = ballot(at >> 24, 2) + (1 << 24)
        node.phase2a(2, later, 1, [command(9, 1, b"won")], decided=(later, 1, 1))
        node.send(2, "decision", ballot=later, first=1, end=2)
        assert node.decided() == [b"won"]
        node.tick(600)
        forwarded = [c["sequence"] for m in node.from_peer(2, "request") for c in m["commands"]]
        assert 77 in forwarded

    def test_a_command_decided_twice_takes_effect_once(self) -> None:
        """Section 2.1: perform() skips a command that was performed in an earlier slot."""
        node = OneNode()
        session = [command(0, 77, b"", OPEN_SESSION)]
        node.phase2a(1, ballot(1, 1), 1, [*session, command(1, 1, b"once"), command(1, 1, b"once")])
        node.send(1, "decision", ballot=ballot(1, 1), first=1, end=4)
        assert node.core.slot_out == 4
        assert node.journal.entries == [b"once"]


class TestLiveness:
    """Section 3."""

    def test_a_loser_waits_for_the_winner(self) -> None:
        """Section 3: a preempted leader scouts again only when the winner no longer answers."""
        node = OneNode()
        node.lead()
        winner = ballot(50, 1)
        node.send(1, "phase2b", ballot=winner, first=1, end=1, mark=1)
        node.events.clear()
        for _ in range(100):
            node.tick(100)
            node.send(
                1,
                "pong",
                ballot=winner,
                nonce=1,
                slot_out=1,
                leading=True,
                quorum=True,
                decided_ballot=winner,
                decided_first=1,
                decided_end=1,
            )
        assert not any(event.kind == "scouting" for event in node.events)
        for _ in range(60):
            node.tick(100)
        assert any(event.kind == "scouting" for event in node.events)

    def test_duels_end(self) -> None:
        """Section 3: with time-outs that adapt, one of several leaders wins, from any start."""
        for seed in range(5):
            five = Scenario((7,) * 5, Quorums(tuple(range(5))), Faults(delay_ns=(MS, 30 * MS)), hostile_ns=2000 * MS)
            world = World(seed, five)
            world.run()
            assert world.elections <= 4
