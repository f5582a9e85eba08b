"""The replica inside its node: which reports of decisions it believes, fetches, requests, and answers to clients."""

import pytest

from multipaxos.machine.semantics import Semantics
from multipaxos.paxos.roles import ALL_ROLES
from multipaxos.paxos.settings import SEMANTICS, encode_setting
from multipaxos.storage.records import by_key
from multipaxos.wire import codec
from tests.support.one_node import APPLY, NO_WATERMARK, NONCE, OPEN_SESSION, OneNode, ballot, command

COMMANDS = [command(0, 900 + i, b"", OPEN_SESSION) for i in range(12)]
B1, B2 = ballot(1, 1), ballot(2, 2)


def run(at, first, *commands, time_ns=5):
    """A run of commands as a phase 2a frame."""
    return codec.encode_phase2a(at, first, time_ns, (0, 1, 1), list(commands))


def nonces(messages):
    """The sequences of all commands in some requests or phase 2a."""
    return [one["sequence"] for message in messages for one in message["commands"]]


def follow(node, *log, peer=1, at=B1, first=1):
    """A peer leads and has `log` decided from `first` on."""
    node.phase2a(peer, at, first, list(log))
    node.send(peer, "decision", ballot=at, first=first, end=first + len(log))
    node.sync()


# -- the state's hash


def test_replicas_note_the_hash_of_one_slot():
    """Of the slots 1 to 11 that is 8, however many are applied at once."""
    nodes = [OneNode(), OneNode()]
    follow(nodes[0], *COMMANDS[:11])
    for i, one in enumerate(COMMANDS[:11]):
        follow(nodes[1], one, first=i + 1)
    landmarks = [node.core.replica.landmark for node in nodes]
    assert [landmark.slot for landmark in landmarks] == [8, 8]
    assert landmarks[0].hash == landmarks[1].hash
    shorter = OneNode()
    follow(shorter, *COMMANDS[:8])
    assert f"{landmarks[0].hash:016x}" == shorter.core.status()["state_hash"]


# -- watermarks


def test_a_watermark_is_not_believed_of_a_lower_ballots_value():
    """The value held is of ballot 1, the watermark says decided at ballot 2: it may be another one, and is fetched."""
    node = OneNode()
    node.phase2a(1, B1, 1, COMMANDS[:2])
    node.send(2, "decision", ballot=B2, first=1, end=3)
    assert node.core.slot_out == 1
    assert [(one["first"], one["end"]) for one in node.from_peer(2, "fetch")] == [(1, 3)]
    node.send(2, "fetched", first=1, end=3, mark=1, pvalues=((1, 3, run(B2, 1, *COMMANDS[4:6])),))
    assert node.core.command_at(1) == (OPEN_SESSION, 0, 904, b"")


def test_a_watermark_is_believed_of_its_own_ballots_value_and_above():
    node = OneNode()
    node.phase2a(2, B2, 1, COMMANDS[:2])
    node.send(1, "decision", ballot=B1, first=1, end=3)
    assert node.core.slot_out == 3


def test_below_the_first_of_a_watermark_all_is_fetched():
    """The watermark says that they are decided, not at which ballot: even a pvalue of its ballot is not enough."""
    node = OneNode()
    node.phase2a(1, B1, 1, COMMANDS[:4])
    node.send(1, "decision", ballot=B1, first=3, end=5)
    assert node.core.slot_out == 1
    assert [(one["first"], one["end"]) for one in node.from_peer(1, "fetch")] == [(1, 3)]
    node.send(1, "fetched", first=1, end=3, mark=1, pvalues=((1, 3, run(B1, 1, *COMMANDS[:2])),))
    assert node.core.slot_out == 5


def test_a_watermark_travels_on_a_phase_2a():
    node = OneNode()
    node.phase2a(1, B1, 1, COMMANDS[:2])
    node.phase2a(1, B1, 3, COMMANDS[2:3], decided=(B1, 1, 3))
    assert node.core.slot_out == 3


def test_a_late_pvalue_after_its_watermark_is_not_decided_by_the_old_one():
    """The decision overtook the value, which is fetched, even if an older leader's value comes meanwhile."""
    node = OneNode()
    node.send(2, "decision", ballot=B2, first=1, end=2)
    node.phase2a(1, B1, 1, COMMANDS[:1])
    assert node.core.slot_out == 1


# -- fetches


def test_only_decided_slots_are_sent():
    """Accepted is not decided: the answer ends where this node's knowledge ends, or does not come."""
    node = OneNode()
    follow(node, *COMMANDS[:3])
    node.phase2a(1, B1, 4, COMMANDS[3:6])
    node.sync()
    node.take(102)
    node.send(2, "fetch", first=2, end=7)
    node.send(2, "fetch", first=4, end=7)
    answers = node.from_peer(2, "fetched")
    assert [(one["first"], one["end"]) for one in answers] == [(2, 4)]
    assert [(one["first"], one["end"]) for one in answers[0]["pvalues"]] == [(2, 4)]


def test_a_fetch_below_memory_is_read_from_disk():
    """The newest record over a slot holds; the answer is cut where memory begins."""
    node = OneNode(window=4)
    node.phase2a(1, B1, 1, [command(0, 5, b"", OPEN_SESSION)])
    for slot in range(1, 40):
        follow(node, command(0, 100 + slot, b"", OPEN_SESSION), peer=2, at=B2, first=slot)
    base = node.core.replica.decisions.base
    assert base > 10
    node.take(102)
    node.send(2, "fetch", first=1, end=40)
    node.send(2, "fetch", first=1, end=40)
    assert len(node.reads) == 1, "one read for a link at a time"
    read = node.reads.pop()
    assert (read.first, read.end) == (1, base)
    node.core.done(read.token, True, (read.end, sorted(node.records, key=by_key)))
    node.collect()
    answer = node.from_peer(2, "fetched")[0]
    assert (answer["first"], answer["end"]) == (1, base)
    assert nonces([codec.decode_message(answer["pvalues"][0]["run"])]) == [101]


def test_a_read_that_fails_is_no_answer():
    node = OneNode(window=4)
    for slot in range(1, 40):
        follow(node, command(0, 100 + slot, b"", OPEN_SESSION), first=slot)
    node.take(102)
    node.send(2, "fetch", first=1, end=40)
    node.core.done(node.reads.pop().token, False)
    node.collect()
    assert node.from_peer(2, "fetched") == []
    assert any(event.kind == "unreadable" for event in node.events)


@pytest.mark.parametrize(("first", "end"), [(1, 1), (5, 5), (50, 60), (2**63, 2**64 - 1), (1, 2**64 - 1)])
def test_a_fetch_of_nonsense_harms_no_node(first, end):
    node = OneNode()
    follow(node, *COMMANDS[:3])
    node.take(102)
    node.send(2, "fetch", first=first, end=end)
    assert all(one["end"] <= 4 for one in node.from_peer(2, "fetched"))
    assert node.closed == {}


def test_a_fetched_run_without_its_slots_closes_the_link():
    node = OneNode()
    node.send(2, "fetched", first=1, end=9, mark=1, pvalues=((1, 9, run(B1, 1, *COMMANDS[:2])),))
    assert 102 in node.closed
    assert node.core.slot_out == 1


def test_an_unanswered_fetch_is_asked_of_another():
    node = OneNode()
    node.send(1, "decision", ballot=B1, first=5, end=5)
    asked = [peer for peer in (1, 2) if node.from_peer(peer, "fetch")]
    node.send(2, "ping", ballot=0, nonce=1, slot_out=5, voting=True)
    node.tick(200)
    node.tick(50)
    assert asked == [1]
    assert [(one["first"], one["end"]) for one in node.from_peer(2, "fetch")] == [(1, 5)]


# -- restart


def test_the_state_comes_back_from_the_log():
    node = OneNode()
    follow(node, command(0, 1, b"", OPEN_SESSION), *[command(1, i, b"%d" % i) for i in range(1, 6)])
    node.phase2a(1, B1, 7, COMMANDS[:1])
    node.sync()
    again = node.restart()
    assert again.core.slot_out == 7
    assert again.journal.entries == node.journal.entries
    assert again.core.status()["state_hash"] == node.core.status()["state_hash"]


def test_decisions_without_new_records_become_durable_in_time():
    """The rings move on with what is durable; a long stretch decided at once must not leave them behind for ever."""
    node = OneNode(window=4)
    for slot in range(1, 13):
        node.phase2a(1, B1, slot, [command(0, 100 + slot, b"", OPEN_SESSION)])
    node.sync()
    node.send(1, "decision", ballot=B1, first=1, end=13)
    node.sync()
    assert node.meta[b"decided"] == (13).to_bytes(8, "little")
    assert node.core.replica.decisions.base > 1


# -- requests


def leading(nodes=3, **options):
    """A node that leads, with one client."""
    node = OneNode(nodes=nodes, **options)
    at = node.lead()
    node.client()
    node.take(1)
    return node, at


def decide(node, at, end):
    """All in flight is accepted by a peer."""
    node.sync()
    node.accept(1, at, 1, end)


def replies(node, link=1):
    """[(sequence, status)] of the answers on a link."""
    return [(one["sequence"], one["status"]) for message in node.take(link, "response") for one in message["replies"]]


def test_requests_go_to_the_leader_and_again_to_the_next_one():
    node = OneNode()
    node.phase2a(1, B1, 1, COMMANDS[:1])
    node.client()
    node.request(1, COMMANDS[3])
    assert nonces(node.from_peer(1, "request")) == [903]
    node.phase2a(2, B2, 2, COMMANDS[1:2])
    assert nonces(node.from_peer(2, "request")) == [903]
    for _ in range(8):
        node.send(2, "pong", ballot=B2, nonce=node.now_ns, slot_out=1, leading=True, quorum=True, **NO_WATERMARK)
        node.tick(100)
    assert node.from_peer(1, "request") == []
    assert set(nonces(node.from_peer(2, "request"))) == {903}, "what is not seen applied is sent again"


def test_a_forwarded_request_that_is_applied_is_forgotten():
    node = OneNode()
    node.phase2a(1, B1, 1, COMMANDS[:1])
    node.client()
    node.request(1, COMMANDS[3])
    follow(node, COMMANDS[3], first=1, at=ballot(2, 1))
    assert replies(node) == [(903, 2)]
    node.take(101)
    for _ in range(10):
        node.send(1, "pong", ballot=ballot(2, 1), nonce=1, slot_out=2, leading=True, quorum=True, **NO_WATERMARK)
        node.tick(100)
    assert node.from_peer(1, "request") == []


def test_requests_forwarded_to_a_passive_node_are_dropped():
    """The node that forwarded them keeps them."""
    node = OneNode()
    node.request(101, COMMANDS[0])
    assert node.core.status()["requests"] == 0


def test_a_leader_that_is_no_replica_keeps_no_request_once_passive():
    node = OneNode(nodes=4, roles=[6, ALL_ROLES, ALL_ROLES, 1])
    node.lead()
    node.request(103, COMMANDS[0])
    node.sync()
    assert node.core.status()["slot_in"] == 2
    node.accept(1, ballot(7, 1), 1, 1)
    node.sent.clear()
    for _ in range(20):
        node.tick(100)
        node.send(1, "pong", ballot=ballot(7, 1), nonce=1, slot_out=1, leading=True, quorum=True, **NO_WATERMARK)
    assert node.from_peer(1, "request") == []
    assert node.core.status()["requests"] == 0


def test_a_lost_slot_is_proposed_again_by_its_leader_in_its_next_reign():
    node, _ = leading()
    node.request(1, command(0, 555, b"", OPEN_SESSION))
    node.sync()
    theirs = ballot(4, 1)
    follow(node, COMMANDS[0], at=theirs)
    node.events.clear()
    at = node.begin_scout()
    node.sent.clear()
    node.promise(2, at, first=2)
    assert nonces(node.from_peer(1, "phase2a")) == [555]
    decide(node, at, 3)
    assert replies(node) == [(555, 2)]


def test_a_command_that_raises_is_an_answer_and_the_next_one_goes_on():
    node, at = leading()
    node.request(1, command(0, NONCE, b"", OPEN_SESSION))
    decide(node, at, 2)
    node.request(1, command(1, 1, b"raise"), command(1, 2, b"fine", unacknowledged=1))
    decide(node, at, 4)
    told = node.take(1, "response")
    assert [(one["sequence"], one["status"], one["data"]) for message in told for one in message["replies"]][1:] == [
        (1, 1, b"ValueError: asked to raise at length 0"),
        (2, 0, bytes(8)),
    ]
    assert node.journal.entries == [b"fine"]
    node.request(1, command(1, 1, b"raise"))
    assert replies(node) == [(1, 1)], "the refusal is the answer for good"


def test_an_applied_command_is_answered_from_the_table_without_a_slot():
    node, at = leading()
    node.request(1, command(0, NONCE, b"", OPEN_SESSION))
    decide(node, at, 2)
    node.request(1, command(1, 1, b"a"))
    decide(node, at, 3)
    node.take(1)
    node.request(1, command(1, 1, b"a"))
    assert replies(node) == [(1, 0)]
    assert node.core.status()["slot_in"] == 3
    assert node.journal.entries == [b"a"]


def test_the_answer_goes_to_the_link_that_asked_last():
    node, at = leading()
    node.request(1, command(0, NONCE, b"", OPEN_SESSION))
    decide(node, at, 2)
    node.take(1)
    node.request(1, command(1, 1, b"a"))
    node.client(2)
    node.request(2, command(1, 1, b"a"))
    node.core.link_down(1)
    decide(node, at, 4)
    assert replies(node, 2) == [(1, 0), (1, 0)]
    assert node.take(1) == []
    assert node.journal.entries == [b"a"]


def test_a_repeated_opening_answers_the_same_session():
    node, at = leading()
    node.request(1, *[command(0, NONCE, b"", OPEN_SESSION)] * 2)
    decide(node, at, 3)
    node.request(1, command(0, NONCE, b"", OPEN_SESSION))
    told = node.take(1, "response")
    assert {message["session"] for message in told} == {1}
    assert node.core.status()["sessions"] == 1


def test_a_session_that_was_never_opened_below_slot_out_is_expired():
    node, at = leading()
    node.request(1, command(0, NONCE, b"", OPEN_SESSION))
    decide(node, at, 2)
    node.take(1)
    node.request(1, command(0, 1, b"x", APPLY))
    assert replies(node) == [(1, 4)]


def test_a_session_this_replica_does_not_know_yet_is_not_judged_on_arrival():
    """A replica that lags forwards it; the log judges."""
    node = OneNode()
    node.phase2a(1, B1, 1, COMMANDS[:1])
    node.client()
    node.request(1, command(50, 1, b"x"))
    assert replies(node) == []
    assert nonces(node.from_peer(1, "request")) == [1]


def test_requests_beyond_their_bound_are_answered_overloaded():
    """Memory is bounded: while no node leads, a client is answered `overloaded` instead."""
    node = OneNode(linked=False)
    node.client()
    node.take(1)
    payload = b"p" * 900_000
    for sequence in range(1, 90):
        node.request(1, command(70, sequence, payload))
    statuses = [status for _, status in replies(node)]
    assert statuses
    assert set(statuses) == {5}
    assert node.core.replica.requests.queue.bytes <= (64 << 20) + 2 * len(payload)


def test_a_client_must_not_send_noops():
    node, _ = leading()
    node.request(1, command(0, 0, b"", 0))
    assert 1 in node.closed


@pytest.mark.parametrize("decided", [False, True])
def test_a_client_that_waits_in_an_evicted_session_is_answered(decided):
    """Found by simulation: a command that came before the eviction was dropped without an answer, and its client
    waited."""
    node = OneNode(versions=(Semantics(sessions_max=1),))
    node.client()
    follow(node, command(0, NONCE, b"", OPEN_SESSION))
    node.request(1, command(1, 1, b"late"))
    node.take(1)
    log = [command(0, 92, b"", OPEN_SESSION), command(1, 1, b"late")]
    follow(node, *log[: 1 + decided], first=2)
    told = {(m["session"], r["sequence"], r["status"]) for m in node.take(1, "response") for r in m["replies"]}
    assert told == {(1, 1, codec.ReplyStatus.EXPIRED)}
    assert node.core.status()["requests"] == 0
    assert node.journal.entries == []


def test_all_clients_whose_sessions_one_command_evicts_are_answered():
    """Semantics with a lower bound evict many sessions in one slot."""
    node = OneNode(versions=(Semantics(), Semantics(sessions_max=1)))
    node.client()
    follow(node, *[command(0, NONCE + i, b"", OPEN_SESSION) for i in range(4)])
    for id in range(1, 5):
        node.request(1, command(id, 1, b"late", nonce=NONCE + id - 1))
    node.take(1)
    follow(node, command(4, 1, b"late", nonce=NONCE + 3), first=5)
    setting = command(4, 2, encode_setting(SEMANTICS, 2), codec.CommandKind.SETTING, nonce=NONCE + 3)
    follow(node, setting, first=6)
    told = {(m["session"], r["sequence"], r["status"]) for m in node.take(1, "response") for r in m["replies"]}
    assert told == {(id, 1, codec.ReplyStatus.EXPIRED) for id in (1, 2, 3)} | {
        (4, 1, codec.ReplyStatus.OK),
        (4, 2, codec.ReplyStatus.OK),
    }
    assert node.core.status()["requests"] == 0


def test_a_lost_forward_is_repeated_also_while_others_follow_it():
    """Found by simulation: each new forward put the repetition off."""
    node = OneNode()
    follow(node, *COMMANDS[:1])
    node.client()
    node.request(1, command(0, 71, b"", OPEN_SESSION))
    assert nonces(node.from_peer(1, "request")) == [71]
    for nonce in range(72, 90):
        node.tick(50)
        node.send(1, "pong", ballot=B1, nonce=node.now_ns, slot_out=2, leading=True, quorum=True, **NO_WATERMARK)
        node.request(1, command(0, nonce, b"", OPEN_SESSION))
    assert nonces(node.from_peer(1, "request")).count(71) == 1


def test_an_opening_that_was_applied_leaves_the_queue_though_its_session_was_evicted():
    """Found by simulation: it opened sessions that no client knew of, which evicted those of others."""
    node = OneNode(versions=(Semantics(sessions_max=1),))
    follow(node, command(0, 91, b"", OPEN_SESSION))
    node.client()
    node.request(1, command(0, 92, b"", OPEN_SESSION))
    follow(node, command(0, 92, b"", OPEN_SESSION), command(0, 93, b"", OPEN_SESSION), first=2)
    assert node.core.status()["requests"] == 0


def test_a_command_whose_slot_lies_below_the_start_gets_another_one():
    """An acceptor's mark shows that the slots of our commanders were decided before us: their commands are proposed
    again where another one has won."""
    node = OneNode()
    node.send(1, "ping", ballot=ballot(4, 1), slot_out=1)
    at = node.lead()
    node.client()
    node.request(1, *COMMANDS[:2])
    node.accept(1, at, 1, 1, mark=2)
    node.sent.clear()
    node.send(2, "fetched", first=1, end=2, mark=1, pvalues=((1, 2, run(B2, 1, COMMANDS[5])),))
    assert node.core.status()["reproposals"] == 1
    (again,) = node.from_peer(1, "phase2a")
    assert (again["first"], nonces([again])) == (3, [900])


def test_what_a_replica_has_proposed_is_told():
    node = OneNode()
    node.lead()
    node.client()
    assert node.core.replica.proposal_at(1) is None
    node.request(1, command(7, 1, b"x"))
    assert node.core.replica.proposal_at(1)[:2] == (APPLY, 7)


def test_another_leader_has_its_time_before_it_is_forwarded_to_again():
    """Found by simulation: the wait for the leader before it went on."""
    node = OneNode()
    follow(node, *COMMANDS[:1])
    node.client()
    node.request(1, command(0, 71, b"", OPEN_SESSION))
    node.tick(450)
    follow(node, *COMMANDS[:2], peer=2, at=B2)
    forwarded = []
    for _ in range(24):
        node.tick(50)
        node.send(2, "pong", ballot=B2, nonce=node.now_ns, slot_out=2, leading=True, quorum=True, **NO_WATERMARK)
        forwarded += [node.now_ns // 1_000_000] * nonces(node.from_peer(2, "request")).count(71)
    assert forwarded[1] - forwarded[0] >= 450
