"""One test per claim of "Paxos Made Moderately Complex"; each docstring names the claim and its section."""

import pytest

from multipaxos import codec
from multipaxos.errors import InvariantViolation
from multipaxos.world import Faults, World

from .rig import MS, OPEN_SESSION, Rig, ballot, command

COMMANDS = [command(0, 900 + i, b"", OPEN_SESSION) for i in range(8)]
B1, B2, B3 = ballot(1, 1), ballot(2, 2), ballot(3, 1)


def run(at, first, *commands, time_ns=5):
    """A run of commands as a phase 2a frame."""
    return codec.encode_phase2a(at, first, time_ns, (0, 1, 1), list(commands))


def sequences(message):
    """Which of COMMANDS (their nonces) a phase 2a carries."""
    return [one["sequence"] for one in message["commands"]]


def acceptor():
    """Node 0 of three as an acceptor, asked by 1 and 2."""
    return Rig()


def promise_of(rig, peer, at, first=1):
    """What it answers to a phase 1a, once durable."""
    rig.send(peer, "phase1a", ballot=at, first=first)
    rig.sync()
    return rig.from_peer(peer, "phase1b")[-1]


# -- acceptors


def test_a1_ballot_num_only_rises():
    """A1, section 2.2: an acceptor adopts ballots in strictly rising order."""
    rig, seen = acceptor(), []
    for peer, at in ((1, B1), (2, B2), (1, B1), (1, B3), (2, B2)):
        rig.send(peer, "phase1a", ballot=at, first=1)
        seen.append(rig.node.acceptor.ballot_num)
    rig.phase2a(2, B2, 1, COMMANDS[:1])
    seen.append(rig.node.acceptor.ballot_num)
    assert seen == [B1, B2, B2, B3, B3, B3]


def test_a2_accepts_at_its_ballot_or_above_and_adopts_it():
    """A2, section 2.2, as amended: with b >= ballot_num it accepts and adopts b; below, it does not."""
    rig = acceptor()
    promise_of(rig, 1, B1)
    rig.phase2a(2, B2, 1, COMMANDS[:1])
    assert rig.node.acceptor.ballot_num == B2
    rig.phase2a(1, B1, 2, COMMANDS[1:2])
    assert rig.node.acceptor.pvalues() == [(1, B2)]
    rig.phase2a(2, B2, 2, COMMANDS[1:2])
    assert rig.node.acceptor.pvalues() == [(1, B2), (2, B2)]


def test_a3_accepted_is_never_removed():
    """A3, section 2.2: accepted pvalues stay, whatever ballots come after."""
    rig = acceptor()
    rig.phase2a(1, B1, 1, COMMANDS[:3])
    promise_of(rig, 2, B2)
    rig.phase2a(2, B2, 2, COMMANDS[3:4])
    assert rig.node.acceptor.pvalues() == [(1, B1), (2, B2), (3, B1)]


def test_a4_one_command_per_ballot_and_slot():
    """A4, section 2.2: (b, s, c) and (b, s, c') accepted anywhere means c = c'; here the first one stays."""
    rig = acceptor()
    rig.phase2a(1, B1, 1, COMMANDS[:1])
    rig.phase2a(1, B1, 1, COMMANDS[1:2])
    rig.sync()
    promise = promise_of(rig, 2, B2)
    assert sequences(codec.decode_message(promise["pvalues"][0]["run"])) == [900]


def test_a5_a_later_ballot_carries_the_command_that_a_quorum_accepted():
    """A5, section 2.2: once a quorum accepted (b, s, c), every higher ballot proposes c in s."""
    rig = Rig()
    rig.phase2a(1, B1, 1, COMMANDS[:1])
    rig.sync()
    rig.client()
    rig.request(1, COMMANDS[1])
    at = rig.begin_scout()
    rig.promise(2, at)
    rig.sync()
    sent = rig.from_peer(2, "phase2a")
    assert [(one["first"], sequences(one)) for one in sent] == [(1, [900]), (2, [901])]


def test_the_answer_to_phase_1a():
    """Section 2.2: a phase 1a is answered with ballot_num and what is accepted; a lower one with the higher
    ballot_num.
    """
    rig = acceptor()
    rig.phase2a(1, B1, 1, COMMANDS[:2])
    promise = promise_of(rig, 2, B2)
    assert (promise["ballot"], promise["first"], promise["end"]) == (B2, 1, 2**64 - 1)
    assert [(one["first"], one["end"]) for one in promise["pvalues"]] == [(1, 3)]
    refusal = promise_of(rig, 1, B1)
    assert refusal["ballot"] == B2
    assert list(refusal["pvalues"]) == []


def test_the_answer_to_phase_2a():
    """Section 2.2: a phase 2a is answered with ballot_num: equal means accepted, higher means not."""
    rig = acceptor()
    rig.phase2a(2, B2, 1, COMMANDS[:2])
    rig.phase2a(1, B1, 1, COMMANDS[:2])
    rig.sync()
    accepted, refused = rig.from_peer(2, "phase2b")[0], rig.from_peer(1, "phase2b")[0]
    assert (accepted["ballot"], accepted["first"], accepted["end"]) == (B2, 1, 3)
    assert refused["ballot"] == B2
    assert refused["first"] == refused["end"]


def test_state_reduction_reports_only_the_highest_ballot_of_a_slot():
    """Section 4.1: an acceptor need keep only the pvalue of the highest ballot for each slot."""
    rig = acceptor()
    rig.phase2a(1, B1, 1, COMMANDS[:3])
    rig.phase2a(2, B2, 2, COMMANDS[3:4])
    promise = promise_of(rig, 1, B3)
    parts = [
        (one["first"], one["end"], codec.decode_message(one["run"])["ballot"]) for one in promise["pvalues"]
    ]
    assert parts == [(1, 2, B1), (2, 3, B2), (3, 4, B1)]


def test_state_reduction_asks_only_from_slot_out():
    """Section 4.1: what a leader knows decided it need not be told."""
    rig = Rig()
    rig.phase2a(1, B1, 1, COMMANDS[:3])
    rig.send(1, "decision", ballot=B1, first=1, end=3)
    rig.sync()
    rig.begin_scout()
    assert [one["first"] for one in rig.from_peer(2, "phase1a")] == [3]


# -- scouts


def test_a_scout_needs_a_phase_1_quorum_of_adoptions():
    """Section 2.4: a majority of phase 1b at its ballot, the own acceptor's among them, and not one fewer."""
    rig = Rig(nodes=5)
    at = rig.begin_scout()
    rig.promise(1, at)
    assert not rig.node.status()["leading"]
    rig.promise(2, at)
    assert rig.node.status()["leading"]


def test_a_scout_ends_by_a_higher_ballot():
    """Section 2.4: any ballot above its own in an answer is `preempted`."""
    rig = Rig()
    at = rig.begin_scout()
    rig.promise(1, ballot(9, 2))
    rig.promise(2, at)
    rig.sync()
    assert not rig.node.status()["leading"]
    assert any("preempted" in event for event in rig.events)


def test_a_scout_counts_no_stale_answer():
    """Section 2.4: an answer at a lower ballot belongs to an earlier attempt."""
    rig = Rig()
    old = rig.begin_scout()
    rig.promise(1, ballot(4, 1))
    rig.events.clear()
    rig.tick(0)
    at = rig.begin_scout()
    assert at > ballot(4, 1)
    rig.promise(1, old)
    rig.promise(2, old)
    assert not rig.node.status()["leading"]
    rig.promise(1, at)
    assert rig.node.status()["leading"]


def test_a_scout_counts_an_acceptor_once():
    """Section 2.4: waitfor is a set of acceptors: a repeated answer adds nobody."""
    rig = Rig(nodes=5)
    at = rig.begin_scout()
    for _ in range(5):
        rig.promise(1, at)
    assert not rig.node.status()["leading"]


# -- commanders


def propose_one(rig, number=0):
    """A request gets its slot; our own vote is in."""
    rig.client()
    rig.request(1, COMMANDS[number])
    rig.sync()
    assert rig.node.slot_out == 1


def test_c1_one_command_per_ballot_and_slot():
    """C1, section 2.3: all phase 2a of one ballot and slot carry one command, also when sent again."""
    rig = Rig()
    rig.lead()
    propose_one(rig)
    first = rig.from_peer(1, "phase2a")
    rig.request(1, COMMANDS[1])
    rig.tick(150)
    again = rig.from_peer(1, "phase2a")
    told = {}
    for one in first + again:
        for i, sequence in enumerate(sequences(one)):
            told.setdefault((one["ballot"], one["first"] + i), set()).add(sequence)
    assert {slot for _, slot in told} == {1, 2}
    assert all(len(commands) == 1 for commands in told.values())
    assert sum(1 in range(one["first"], one["first"] + len(one["commands"])) for one in first + again) >= 2


def test_c2_decided_only_by_a_phase_2_quorum():
    """C2, section 2.3: with five acceptors, our own vote and one more do not decide; a third does."""
    rig = Rig(nodes=5)
    at = rig.lead()
    propose_one(rig)
    rig.accept(1, at, 1, 2)
    rig.accept(1, at, 1, 2)
    assert rig.node.slot_out == 1
    rig.accept(4, at, 1, 2)
    assert rig.node.slot_out == 2


def test_a_commander_tells_all_replicas():
    """Section 2.3: a decision goes to every replica; here as a watermark, within a few milliseconds."""
    rig = Rig()
    at = rig.lead()
    propose_one(rig)
    rig.accept(1, at, 1, 2)
    rig.sent.clear()
    rig.tick(10)
    for peer in (1, 2):
        told = rig.from_peer(peer, "decision")
        assert [(one["ballot"], one["end"]) for one in told] == [(at, 2)]


def test_a_commander_ends_by_a_higher_ballot():
    """Section 2.3: a phase 2b with a higher ballot is `preempted`, and the slot is not decided by later
    votes.
    """
    rig = Rig()
    at = rig.lead()
    propose_one(rig)
    rig.accept(1, ballot(9, 1), 1, 1)
    rig.accept(2, at, 1, 2)
    assert not rig.node.status()["leading"]
    assert rig.node.slot_out == 1


# -- leaders


def test_adopted_the_arrow_takes_what_pmax_holds_and_keeps_the_rest():
    """Section 2.4: proposals := proposals <| pmax(pvals): other slots of the leader stay."""
    rig = Rig()
    at = rig.lead()
    rig.client()
    rig.request(1, *COMMANDS[:2])
    rig.sync()
    rig.send(1, "ping", ballot=ballot(5, 1), nonce=1, slot_out=1, voting=True)
    assert not rig.node.status()["leading"]
    rig.events.clear()
    newer = rig.begin_scout()
    assert newer > ballot(5, 1) > at
    rig.sent.clear()
    rig.promise(1, newer, pvalues=((1, 2, run(ballot(5, 1), 1, COMMANDS[5])),))
    rig.sync()
    sent = rig.from_peer(2, "phase2a")
    assert [(one["ballot"], one["first"], sequences(one)) for one in sent][:2] == [
        (newer, 1, [905]),
        (newer, 2, [901]),
    ]


def test_adopted_pmax_takes_the_highest_ballot():
    """Section 2.4: of several pvalues for a slot the one of the highest ballot is proposed."""
    rig = Rig(nodes=5)
    at = rig.begin_scout()
    rig.promise(1, at, pvalues=((1, 2, run(ballot(0, 3), 1, COMMANDS[1])),))
    rig.promise(2, at, pvalues=((1, 2, run(ballot(0, 2), 1, COMMANDS[2])),))
    sent = rig.from_peer(3, "phase2a")
    assert [(one["first"], sequences(one)) for one in sent] == [(1, [901])]


def test_preempted_the_leader_is_passive_and_later_takes_a_higher_ballot():
    """Section 2.4: after preempted(b') it is passive, and its next ballot is above b'."""
    rig = Rig()
    rig.lead()
    rig.accept(1, ballot(7, 1), 1, 1)
    assert not rig.node.status()["leading"]
    rig.events.clear()
    assert rig.begin_scout() > ballot(7, 1)


def test_a_passive_leader_keeps_proposals_for_its_next_reign():
    """Section 2.4: a proposal that came to a leader is proposed when the leader is adopted."""
    rig = Rig()
    rig.client()
    rig.request(1, COMMANDS[0])
    rig.lead()
    assert rig.node.status()["slot_in"] == 2


# -- replicas


def test_r1_no_two_commands_in_a_slot():
    """R1, section 2.1: a second, different decision of a slot is found and stops the node."""
    rig = Rig()
    rig.send(1, "fetched", first=2, end=3, mark=1, pvalues=((2, 3, run(B1, 2, COMMANDS[0])),))
    with pytest.raises(InvariantViolation, match="R1"):
        rig.send(1, "fetched", first=2, end=3, mark=1, pvalues=((2, 3, run(B2, 2, COMMANDS[1])),))


def test_r2_all_below_slot_out_is_decided():
    """R2, section 2.1: slot_out stops at the first gap, however many decisions lie above it."""
    rig = Rig()
    rig.phase2a(1, B1, 1, COMMANDS[:1])
    rig.phase2a(1, B1, 3, COMMANDS[2:4])
    rig.send(1, "decision", ballot=B1, first=1, end=5)
    assert rig.node.slot_out == 2
    rig.phase2a(1, B1, 2, COMMANDS[1:2], decided=(B1, 1, 5))
    rig.send(1, "fetched", first=2, end=3, mark=1, pvalues=((2, 3, run(B1, 2, COMMANDS[1])),))
    assert rig.node.slot_out == 5


def test_r3_the_state_is_that_of_the_decisions_in_slot_order():
    """R3, section 2.1: decisions that come in any order are applied in slot order."""
    rig, mirror = Rig(), Rig(node=1)
    session = command(0, 1, b"", OPEN_SESSION)
    log = [session, *[command(1, i, b"%d" % i) for i in range(1, 6)]]
    for order, one in ((range(1, 7), mirror), ((4, 2, 6, 1, 5, 3), rig)):
        for slot in order:
            frame = run(B2, slot, log[slot - 1])
            one.send(2, "fetched", first=slot, end=slot + 1, mark=1, pvalues=((slot, slot + 1, frame),))
    assert rig.journal.entries == mirror.journal.entries == [b"1", b"2", b"3", b"4", b"5"]
    assert rig.node.status()["state_hash"] == mirror.node.status()["state_hash"]


def test_r4_slot_out_only_rises():
    """R4, section 2.1: late and repeated decisions never take it back."""
    rig, seen = Rig(), []
    rig.phase2a(1, B1, 1, COMMANDS[:4])
    for end in (3, 2, 5, 1, 4, 5):
        rig.send(1, "decision", ballot=B1, first=1, end=end)
        seen.append(rig.node.slot_out)
    assert seen == [3, 3, 5, 5, 5, 5]


def test_r5_window_bounds_the_proposals():
    """R5, section 2.1: slot_in < slot_out + WINDOW; the next proposal waits for the next decision."""
    rig = Rig(window=4)
    at = rig.lead()
    rig.client()
    rig.request(1, *COMMANDS)
    rig.sync()
    assert rig.node.status()["slot_in"] == 5
    rig.accept(1, at, 1, 3)
    assert rig.node.status()["slot_out"] == 3
    assert rig.node.status()["slot_in"] == 7


def test_a_proposal_that_lost_its_slot_is_proposed_again():
    """Section 2.1, perform/propose: when another command wins the slot, the replica proposes its own in
    another.
    """
    rig = Rig()
    rig.lead()
    propose_one(rig)
    theirs = ballot(5, 1)
    rig.phase2a(1, theirs, 1, COMMANDS[3:4], decided=(0, 1, 1))
    rig.send(1, "decision", ballot=theirs, first=1, end=2)
    assert rig.node.slot_out == 2
    rig.sync()
    forwarded = rig.from_peer(1, "request")
    assert [one["sequence"] for message in forwarded for one in message["commands"]] == [900]


def test_a_command_is_applied_exactly_once():
    """Section 2.1, perform: a command decided in two slots changes the state once."""
    rig = Rig()
    log = [command(0, 1, b"", OPEN_SESSION), command(1, 1, b"a"), command(1, 1, b"a"), command(1, 2, b"b")]
    rig.phase2a(1, B1, 1, log)
    rig.send(1, "decision", ballot=B1, first=1, end=5)
    assert rig.node.slot_out == 5
    assert rig.journal.entries == [b"a", b"b"]


# -- liveness, state, colocation


def test_liveness_the_wait_grows_when_scouts_collide_and_shrinks_in_peace():
    """Section 3: a preempted leader waits before it tries again; the wait adapts, so duels end."""
    rig = Rig()

    def wait():
        begun = rig.now_ns
        rig.events.clear()
        rig.begin_scout()
        return (rig.now_ns - begun) / MS

    waits = []
    for round in range(10, 60, 10):
        rig.send(1, "ping", ballot=ballot(round, 1), nonce=1, slot_out=1, voting=True)
        waits.append(wait())
    assert waits[-1] > 2 * max(waits[:2])
    rig.send(1, "ping", ballot=ballot(90, 1), nonce=1, slot_out=1, voting=True)
    for _ in range(300):
        rig.send(
            1,
            "pong",
            ballot=ballot(90, 1),
            nonce=1,
            slot_out=1,
            leading=True,
            quorum=True,
            decided_ballot=0,
            decided_first=1,
            decided_end=1,
        )
        rig.tick(20)
    assert wait() < waits[-1] / 2


def test_liveness_duelling_leaders_settle():
    """Section 3: many leaders that all want to lead end with one that does, within bounded time."""
    world = World(3, nodes=5, faults=Faults())
    assert world.run_until(
        lambda: sum(bool(host.node and host.node.status()["leading"]) for host in world.hosts) == 1,
        10_000 * MS,
    )
    elections = world.counts["elections"]
    world.run_until(lambda: False, 10_000 * MS)
    assert world.counts["elections"] <= elections + 1


def test_colocation_f_plus_one_replicas_and_leaders_suffice():
    """Section 4.2: roles may be put together or apart: two replicas with leaders beside three acceptors."""
    World(1, roles=[3, 3, 4, 4, 4], faults=Faults()).run(clients=2, operations=30, hostile_ns=100 * MS)


def test_a_single_node_is_a_cluster():
    """Section 2: f = 0 needs one of each."""
    rig = Rig(nodes=1)
    rig.begin_scout()
    assert rig.node.status()["leading"]
    rig.client()
    rig.request(1, COMMANDS[0])
    assert rig.node.slot_out == 1
    rig.sync()
    assert rig.node.slot_out == 2


def test_a_core_is_deterministic():
    """Section 2.1: the same start, bytes and ticks give the same bytes out."""

    def story():
        rig = Rig()
        rig.client()
        rig.request(1, *COMMANDS[:3])
        at = rig.begin_scout()
        rig.promise(1, at, pvalues=((2, 3, run(ballot(0, 1), 2, COMMANDS[4])),))
        rig.accept(2, at, 1, 4)
        rig.sync()
        rig.tick(400)
        return rig.sent, rig.records, rig.meta, rig.events

    assert story() == story()
