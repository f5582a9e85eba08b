"""The replica inside its node: decisions and whence they are believed, fetches, requests and who is told."""

import pytest

from multipaxos.paxos.roles import ALL_ROLES
from multipaxos.wire import codec
from tests.support.one_node import APPLY, NO_WATERMARK, OPEN_SESSION, OneNode, ballot, command

COMMANDS = [command(0, 900 + i, b"", OPEN_SESSION) for i in range(12)]
B1, B2 = ballot(1, 1), ballot(2, 2)


def run(at, first, *commands, time_ns=5):
    """A run of commands as a phase 2a frame."""
    return codec.encode_phase2a(at, first, time_ns, (0, 1, 1), list(commands))


def nonces(messages):
    """The sequences of all commands in some requests or phase 2a."""
    return [one["sequence"] for message in messages for one in message["commands"]]


def follow(rig, *log, peer=1, at=B1, first=1):
    """A peer leads and has `log` decided from `first` on."""
    rig.phase2a(peer, at, first, list(log))
    rig.send(peer, "decision", ballot=at, first=first, end=first + len(log))
    rig.sync()


# -- watermarks


def test_a_watermark_is_not_believed_of_a_lower_ballots_value():
    """The value held is of ballot 1, the watermark says decided at ballot 2: it may be another one, and is
    fetched.
    """
    rig = OneNode()
    rig.phase2a(1, B1, 1, COMMANDS[:2])
    rig.send(2, "decision", ballot=B2, first=1, end=3)
    assert rig.core.slot_out == 1
    assert [(one["first"], one["end"]) for one in rig.from_peer(2, "fetch")] == [(1, 3)]
    rig.send(2, "fetched", first=1, end=3, mark=1, pvalues=((1, 3, run(B2, 1, *COMMANDS[4:6])),))
    assert rig.core.command_at(1) == (OPEN_SESSION, 0, 904, b"")


def test_a_watermark_is_believed_of_its_own_ballots_value_and_above():
    rig = OneNode()
    rig.phase2a(2, B2, 1, COMMANDS[:2])
    rig.send(1, "decision", ballot=B1, first=1, end=3)
    assert rig.core.slot_out == 3


def test_below_the_first_of_a_watermark_all_is_fetched():
    """It says that those are decided, not at which ballot: even a pvalue of that ballot is not enough."""
    rig = OneNode()
    rig.phase2a(1, B1, 1, COMMANDS[:4])
    rig.send(1, "decision", ballot=B1, first=3, end=5)
    assert rig.core.slot_out == 1
    assert [(one["first"], one["end"]) for one in rig.from_peer(1, "fetch")] == [(1, 3)]
    rig.send(1, "fetched", first=1, end=3, mark=1, pvalues=((1, 3, run(B1, 1, *COMMANDS[:2])),))
    assert rig.core.slot_out == 5


def test_a_watermark_travels_on_a_phase_2a():
    rig = OneNode()
    rig.phase2a(1, B1, 1, COMMANDS[:2])
    rig.phase2a(1, B1, 3, COMMANDS[2:3], decided=(B1, 1, 3))
    assert rig.core.slot_out == 3


def test_a_late_pvalue_after_its_watermark_is_not_decided_by_the_old_one():
    """The decision overtook the value: fetched, whatever comes meanwhile from an older leader."""
    rig = OneNode()
    rig.send(2, "decision", ballot=B2, first=1, end=2)
    rig.phase2a(1, B1, 1, COMMANDS[:1])
    assert rig.core.slot_out == 1


# -- fetches


def test_only_decided_slots_are_told():
    """Accepted is not decided: the answer ends where this node's knowledge ends, or does not come."""
    rig = OneNode()
    follow(rig, *COMMANDS[:3])
    rig.phase2a(1, B1, 4, COMMANDS[3:6])
    rig.sync()
    rig.take(102)
    rig.send(2, "fetch", first=2, end=7)
    rig.send(2, "fetch", first=4, end=7)
    answers = rig.from_peer(2, "fetched")
    assert [(one["first"], one["end"]) for one in answers] == [(2, 4)]
    assert [(one["first"], one["end"]) for one in answers[0]["pvalues"]] == [(2, 4)]


def test_a_fetch_below_memory_is_read_from_disk():
    """The newest record over a slot holds; the answer is cut where memory begins."""
    rig = OneNode(window=4)
    rig.phase2a(1, B1, 1, [command(0, 5, b"", OPEN_SESSION)])
    for slot in range(1, 40):
        follow(rig, command(0, 100 + slot, b"", OPEN_SESSION), peer=2, at=B2, first=slot)
    base = rig.core.replica.decisions.base
    assert base > 10
    rig.take(102)
    rig.send(2, "fetch", first=1, end=40)
    rig.send(2, "fetch", first=1, end=40)
    assert len(rig.reads) == 1, "one read for a link at a time"
    read = rig.reads.pop()
    assert (read.first, read.end) == (1, base)
    rig.core.done(read.token, True, (read.end, sorted(rig.records, key=lambda r: (r[1], r[0]))))
    rig.collect()
    answer = rig.from_peer(2, "fetched")[0]
    assert (answer["first"], answer["end"]) == (1, base)
    assert nonces([codec.decode_message(answer["pvalues"][0]["run"])]) == [101]


def test_a_read_that_fails_is_no_answer():
    rig = OneNode(window=4)
    for slot in range(1, 40):
        follow(rig, command(0, 100 + slot, b"", OPEN_SESSION), first=slot)
    rig.take(102)
    rig.send(2, "fetch", first=1, end=40)
    rig.core.done(rig.reads.pop().token, False)
    rig.collect()
    assert rig.from_peer(2, "fetched") == []
    assert any(event.kind == "unreadable" for event in rig.events)


@pytest.mark.parametrize(("first", "end"), [(1, 1), (5, 5), (50, 60), (2**63, 2**64 - 1), (1, 2**64 - 1)])
def test_a_fetch_of_nonsense_harms_nobody(first, end):
    rig = OneNode()
    follow(rig, *COMMANDS[:3])
    rig.take(102)
    rig.send(2, "fetch", first=first, end=end)
    assert all(one["end"] <= 4 for one in rig.from_peer(2, "fetched"))
    assert rig.closed == {}


def test_a_fetched_run_without_its_slots_closes_the_link():
    rig = OneNode()
    rig.send(2, "fetched", first=1, end=9, mark=1, pvalues=((1, 9, run(B1, 1, *COMMANDS[:2])),))
    assert 102 in rig.closed
    assert rig.core.slot_out == 1


def test_an_unanswered_fetch_is_asked_of_another():
    rig = OneNode()
    rig.send(1, "decision", ballot=B1, first=5, end=5)
    asked = [peer for peer in (1, 2) if rig.from_peer(peer, "fetch")]
    rig.send(2, "ping", ballot=0, nonce=1, slot_out=5, voting=True)
    rig.tick(200)
    rig.tick(50)
    assert asked == [1]
    assert [(one["first"], one["end"]) for one in rig.from_peer(2, "fetch")] == [(1, 5)]


# -- restart


def test_the_state_comes_back_from_the_log():
    rig = OneNode()
    follow(rig, command(0, 1, b"", OPEN_SESSION), *[command(1, i, b"%d" % i) for i in range(1, 6)])
    rig.phase2a(1, B1, 7, COMMANDS[:1])
    rig.sync()
    again = rig.restart()
    assert again.core.slot_out == 7
    assert again.journal.entries == rig.journal.entries
    assert again.core.status()["state_hash"] == rig.core.status()["state_hash"]


def test_decisions_without_new_records_become_durable_in_time():
    """The rings move on with what is durable; a long stretch decided at once must not leave them behind for
    ever.
    """
    rig = OneNode(window=4)
    for slot in range(1, 13):
        rig.phase2a(1, B1, slot, [command(0, 100 + slot, b"", OPEN_SESSION)])
    rig.sync()
    rig.send(1, "decision", ballot=B1, first=1, end=13)
    rig.sync()
    assert rig.meta[b"decided"] == (13).to_bytes(8, "little")
    assert rig.core.replica.decisions.base > 1


# -- requests


def leading(nodes=3, **options):
    """A rig that leads, with one client."""
    rig = OneNode(nodes=nodes, **options)
    at = rig.lead()
    rig.client()
    rig.take(1)
    return rig, at


def decide(rig, at, end):
    """All in flight is accepted by a peer."""
    rig.sync()
    rig.accept(1, at, 1, end)


def replies(rig, link=1):
    """[(sequence, status)] told to a link."""
    return [(one["sequence"], one["status"]) for message in rig.take(link, "response") for one in message["replies"]]


def test_requests_go_to_the_leader_and_again_to_the_next_one():
    rig = OneNode()
    rig.phase2a(1, B1, 1, COMMANDS[:1])
    rig.client()
    rig.request(1, COMMANDS[3])
    assert nonces(rig.from_peer(1, "request")) == [903]
    rig.phase2a(2, B2, 2, COMMANDS[1:2])
    assert nonces(rig.from_peer(2, "request")) == [903]
    for _ in range(8):
        rig.send(2, "pong", ballot=B2, nonce=1, slot_out=1, leading=True, quorum=True, **NO_WATERMARK)
        rig.tick(100)
    assert rig.from_peer(1, "request") == []
    assert set(nonces(rig.from_peer(2, "request"))) == {903}, "what is not seen applied is sent again"


def test_a_forwarded_request_that_is_applied_is_forgotten():
    rig = OneNode()
    rig.phase2a(1, B1, 1, COMMANDS[:1])
    rig.client()
    rig.request(1, COMMANDS[3])
    follow(rig, COMMANDS[3], first=1, at=ballot(2, 1))
    assert replies(rig) == [(903, 2)]
    rig.take(101)
    for _ in range(10):
        rig.send(1, "pong", ballot=ballot(2, 1), nonce=1, slot_out=2, leading=True, quorum=True, **NO_WATERMARK)
        rig.tick(100)
    assert rig.from_peer(1, "request") == []


def test_requests_forwarded_to_a_passive_node_are_dropped():
    """Whoever forwarded them keeps them."""
    rig = OneNode()
    rig.request(101, COMMANDS[0])
    assert rig.core.status()["requests"] == 0


def test_a_leader_that_is_no_replica_keeps_no_request_once_passive():
    rig = OneNode(nodes=4, roles=[6, ALL_ROLES, ALL_ROLES, 1])
    rig.lead()
    rig.request(103, COMMANDS[0])
    rig.sync()
    assert rig.core.status()["slot_in"] == 2
    rig.accept(1, ballot(7, 1), 1, 1)
    rig.sent.clear()
    for _ in range(20):
        rig.tick(100)
        rig.send(1, "pong", ballot=ballot(7, 1), nonce=1, slot_out=1, leading=True, quorum=True, **NO_WATERMARK)
    assert rig.from_peer(1, "request") == []
    assert rig.core.status()["requests"] == 0


def test_a_lost_slot_is_proposed_again_by_its_leader_in_its_next_reign():
    rig, _ = leading()
    rig.request(1, command(0, 555, b"", OPEN_SESSION))
    rig.sync()
    theirs = ballot(4, 1)
    follow(rig, COMMANDS[0], at=theirs)
    rig.events.clear()
    at = rig.begin_scout()
    rig.sent.clear()
    rig.promise(2, at, first=2)
    assert nonces(rig.from_peer(1, "phase2a")) == [555]
    decide(rig, at, 3)
    assert replies(rig) == [(555, 2)]


def test_a_command_that_raises_is_an_answer_and_the_next_one_goes_on():
    rig, at = leading()
    rig.request(1, command(0, 7, b"", OPEN_SESSION))
    decide(rig, at, 2)
    rig.request(1, command(1, 1, b"raise"), command(1, 2, b"fine", unacknowledged=1))
    decide(rig, at, 4)
    told = rig.take(1, "response")
    assert [(one["sequence"], one["status"], one["data"]) for message in told for one in message["replies"]][1:] == [
        (1, 1, b"ValueError: asked to raise at length 0"),
        (2, 0, bytes(8)),
    ]
    assert rig.journal.entries == [b"fine"]
    rig.request(1, command(1, 1, b"raise"))
    assert replies(rig) == [(1, 1)], "the refusal is the answer for good"


def test_an_applied_command_is_answered_from_the_table_without_a_slot():
    rig, at = leading()
    rig.request(1, command(0, 7, b"", OPEN_SESSION))
    decide(rig, at, 2)
    rig.request(1, command(1, 1, b"a"))
    decide(rig, at, 3)
    rig.take(1)
    rig.request(1, command(1, 1, b"a"))
    assert replies(rig) == [(1, 0)]
    assert rig.core.status()["slot_in"] == 3
    assert rig.journal.entries == [b"a"]


def test_the_answer_goes_to_the_link_that_asked_last():
    rig, at = leading()
    rig.request(1, command(0, 7, b"", OPEN_SESSION))
    decide(rig, at, 2)
    rig.take(1)
    rig.request(1, command(1, 1, b"a"))
    rig.client(2)
    rig.request(2, command(1, 1, b"a"))
    rig.core.link_down(1)
    decide(rig, at, 4)
    assert replies(rig, 2) == [(1, 0), (1, 0)]
    assert rig.take(1) == []
    assert rig.journal.entries == [b"a"]


def test_a_repeated_opening_answers_the_same_session():
    rig, at = leading()
    rig.request(1, command(0, 7, b"", OPEN_SESSION), command(0, 7, b"", OPEN_SESSION))
    decide(rig, at, 3)
    rig.request(1, command(0, 7, b"", OPEN_SESSION))
    told = rig.take(1, "response")
    assert {message["session"] for message in told} == {1}
    assert rig.core.status()["sessions"] == 1


def test_a_session_that_was_never_opened_below_slot_out_is_expired():
    rig, at = leading()
    rig.request(1, command(0, 7, b"", OPEN_SESSION))
    decide(rig, at, 2)
    rig.take(1)
    rig.request(1, command(0, 1, b"x", APPLY))
    assert replies(rig) == [(1, 4)]


def test_a_session_this_replica_does_not_know_yet_is_not_judged_on_arrival():
    """A replica that lags forwards it; the log judges."""
    rig = OneNode()
    rig.phase2a(1, B1, 1, COMMANDS[:1])
    rig.client()
    rig.request(1, command(50, 1, b"x"))
    assert replies(rig) == []
    assert nonces(rig.from_peer(1, "request")) == [1]


def test_requests_beyond_their_bound_are_told_overloaded():
    """Memory is bounded: with no leader in sight, a client is told so instead."""
    rig = OneNode(linked=False)
    rig.client()
    rig.take(1)
    payload = b"p" * 900_000
    for sequence in range(1, 90):
        rig.request(1, command(70, sequence, payload))
    statuses = [status for _, status in replies(rig)]
    assert statuses
    assert set(statuses) == {5}
    assert rig.core.replica.requests.bytes <= (64 << 20) + 2 * len(payload)


def test_a_client_must_not_send_noops():
    rig, _ = leading()
    rig.request(1, command(0, 0, b"", 0))
    assert 1 in rig.closed


@pytest.mark.parametrize("decided", [False, True])
def test_who_waits_in_a_session_that_is_evicted_is_told(decided):
    """Found by simulation: what came before the eviction was dropped without a word, and its client waited."""
    rig = OneNode(sessions_max=1)
    rig.client()
    follow(rig, command(0, 91, b"", OPEN_SESSION))
    rig.request(1, command(1, 1, b"late"))
    rig.take(1)
    log = [command(0, 92, b"", OPEN_SESSION), command(1, 1, b"late")]
    follow(rig, *log[: 1 + decided], first=2)
    told = {(m["session"], r["sequence"], r["status"]) for m in rig.take(1, "response") for r in m["replies"]}
    assert told == {(1, 1, codec.ReplyStatus.EXPIRED)}
    assert rig.core.status()["requests"] == 0
    assert rig.journal.entries == []


def test_a_lost_forward_is_repeated_also_while_others_follow_it():
    """Found by simulation: each new forward put the repetition off."""
    rig = OneNode()
    follow(rig, *COMMANDS[:1])
    rig.client()
    rig.request(1, command(0, 71, b"", OPEN_SESSION))
    assert nonces(rig.from_peer(1, "request")) == [71]
    for nonce in range(72, 90):
        rig.tick(50)
        rig.send(1, "pong", ballot=B1, slot_out=2, leading=True, quorum=True, **NO_WATERMARK)
        rig.request(1, command(0, nonce, b"", OPEN_SESSION))
    assert nonces(rig.from_peer(1, "request")).count(71) == 1


def test_an_opening_that_was_applied_leaves_the_queue_though_its_session_was_evicted():
    """Found by simulation: it opened sessions that nobody knew of, which evicted those of others."""
    rig = OneNode(sessions_max=1)
    follow(rig, command(0, 91, b"", OPEN_SESSION))
    rig.client()
    rig.request(1, command(0, 92, b"", OPEN_SESSION))
    follow(rig, command(0, 92, b"", OPEN_SESSION), command(0, 93, b"", OPEN_SESSION), first=2)
    assert rig.core.status()["requests"] == 0


def test_a_command_whose_slot_lies_below_the_start_gets_another_one():
    """An acceptor's mark shows that the slots of our commanders were decided before us: their commands are proposed
    again where another one has won."""
    rig = OneNode()
    rig.send(1, "ping", ballot=ballot(4, 1), slot_out=1)
    at = rig.lead()
    rig.client()
    rig.request(1, *COMMANDS[:2])
    rig.accept(1, at, 1, 1, mark=2)
    rig.sent.clear()
    rig.send(2, "fetched", first=1, end=2, mark=1, pvalues=((1, 2, run(B2, 1, COMMANDS[5])),))
    assert rig.core.status()["reproposals"] == 1
    (again,) = rig.from_peer(1, "phase2a")
    assert (again["first"], nonces([again])) == (3, [900])
