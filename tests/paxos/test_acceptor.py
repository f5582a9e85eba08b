"""The acceptor inside its node: what it answers, and when: nothing before the disk holds what the answer rests on."""

from multipaxos.paxos.roles import ALL_ROLES
from multipaxos.wire import codec
from multipaxos.wire.record import parts_of
from tests.support.one_node import OPEN_SESSION, OneNode, ballot, command

COMMANDS = [command(0, 900 + i, b"", OPEN_SESSION) for i in range(12)]
B1, B2, B3 = ballot(1, 1), ballot(2, 2), ballot(3, 1)


def run(at, first, *commands):
    """A run of commands as a phase 2a frame."""
    return codec.encode_phase2a(at, first, 5, (0, 1, 1), list(commands))


def held(promise):
    """{slot: (ballot, command's sequence)} of a phase 1b."""
    slots = {}
    for part in promise["pvalues"]:
        message = codec.decode_message(part["run"])
        for slot in range(part["first"], part["end"]):
            slots[slot] = message["ballot"], message["commands"][slot - message["first"]]["sequence"]
    return slots


def step(node):
    """Only the outstanding batch becomes durable; the one that gathered meanwhile is then outstanding."""
    batch, node.batch = node.batch, None
    node.commit(batch)
    node.core.done(batch.token, True)
    node.collect()


# -- durability


def test_a_promise_waits_for_its_ballot():
    node = OneNode()
    node.send(1, "phase1a", ballot=B1, first=1)
    assert node.from_peer(1, "phase1b") == []
    assert node.batch.meta[b"ballot"] == B1.to_bytes(8, "little")
    node.sync()
    assert [one["ballot"] for one in node.from_peer(1, "phase1b")] == [B1]


def test_a_vote_waits_for_its_record():
    node = OneNode()
    frame = node.phase2a(1, B1, 1, COMMANDS[:2])
    assert node.from_peer(1, "phase2b") == []
    node.sync()
    assert [(one["first"], one["end"]) for one in node.from_peer(1, "phase2b")] == [(1, 3)]
    assert [parts_of(value) for _, _, value in node.records] == [(1, 3, 1, frame)]


def test_the_answer_to_a_repeat_waits_like_the_first():
    node = OneNode()
    for _ in range(2):
        node.send(1, "phase1a", ballot=B1, first=1)
        node.phase2a(1, B1, 1, COMMANDS[:1])
        node.phase2a(1, B1, 1, COMMANDS[:1])
    assert [one["kind"] for one in node.take(101) if one["kind"].startswith("phase")] == []
    node.sync()
    assert {one["kind"] for one in node.take(101)} == {"phase1b", "phase2b"}


def test_a_repeat_waits_for_the_batch_that_gathers():
    """The first batch is on its way to the disk; what came since gathers: a repeat of it waits for the second one."""
    node = OneNode()
    node.phase2a(1, B1, 1, COMMANDS[:1])
    node.phase2a(1, B1, 2, COMMANDS[1:2])
    node.phase2a(1, B1, 2, COMMANDS[1:2])
    step(node)
    assert [(one["first"], one["end"]) for one in node.from_peer(1, "phase2b")] == [(1, 2)]
    step(node)
    assert {(one["first"], one["end"]) for one in node.from_peer(1, "phase2b")} == {(2, 3)}


def test_a_promise_waits_for_pvalues_of_a_newer_batch():
    """A phase 1b names a pvalue that only gathers; its ballot was durable long ago."""
    node = OneNode()
    node.send(1, "phase1a", ballot=B1, first=1)
    node.sync()
    node.take(101)
    node.phase2a(1, B1, 1, COMMANDS[:1])
    node.send(1, "phase1a", ballot=B1, first=1)
    assert node.from_peer(1, "phase1b") == []
    node.sync()
    assert held(node.from_peer(1, "phase1b")[0]) == {1: (B1, 900)}


def test_a_refusal_that_shows_a_ballot_waits_for_it():
    """A 2b with the higher ballot_num rests on that ballot too."""
    node = OneNode()
    node.send(2, "phase1a", ballot=B2, first=1)
    node.phase2a(1, B1, 1, COMMANDS[:1])
    assert node.from_peer(1, "phase2b") == []
    node.sync()
    assert [(one["ballot"], one["end"] - one["first"]) for one in node.from_peer(1, "phase2b")] == [(B2, 0)]


def test_a_failed_batch_ends_all_promises():
    node = OneNode()
    node.send(1, "phase1a", ballot=B1, first=1)
    node.phase2a(1, B1, 1, COMMANDS[:1])
    node.sync(ok=False)
    assert "storage failed" in node.failed
    node.send(2, "phase1a", ballot=B2, first=1)
    node.tick(5000)
    assert [one["kind"] for peer in (1, 2) for one in node.take(100 + peer) if one["kind"].startswith("phase")] == []
    assert node.batch is None


# -- restart


def test_a_promise_outlives_the_process():
    node = OneNode()
    node.send(2, "phase1a", ballot=B2, first=1)
    node.phase2a(2, B2, 1, COMMANDS[:2])
    node.sync()
    again = node.restart()
    again.phase2a(1, B1, 1, COMMANDS[5:6])
    again.send(1, "phase1a", ballot=B3, first=1)
    again.sync()
    assert held(again.from_peer(1, "phase1b")[-1]) == {1: (B2, 900), 2: (B2, 901)}


def test_a_ballot_adopted_by_a_phase_2a_outlives_the_process():
    node = OneNode()
    node.phase2a(2, B2, 1, COMMANDS[:1])
    node.sync()
    again = node.restart()
    assert again.core.acceptor.ballot_num == B2


def test_what_was_not_synced_is_gone_and_was_never_said():
    node = OneNode()
    node.phase2a(2, B2, 1, COMMANDS[:1])
    assert node.from_peer(2, "phase2b") == []
    assert node.restart().core.acceptor.pvalues() == []


def test_overlapping_records_the_newest_holds_slot_by_slot():
    """A record for 3-4 must not erase 1-6, in any order of their first slots."""
    node = OneNode()
    node.phase2a(1, B1, 1, COMMANDS[:6])
    node.phase2a(2, B2, 3, COMMANDS[6:8])
    node.phase2a(1, B3, 2, COMMANDS[8:10])
    node.sync()
    again = node.restart()
    last = ballot(9, 2)
    again.send(2, "phase1a", ballot=last, first=1)
    again.sync()
    expected = {1: (B1, 900), 2: (B3, 908), 3: (B3, 909), 4: (B2, 907), 5: (B1, 904), 6: (B1, 905)}
    assert held(again.from_peer(2, "phase1b")[0]) == expected


def test_a_learners_late_lower_ballot_does_not_hide_the_decided_one_on_disk():
    """A node that does not vote receives an old leader's run after a newer one's decision, over more slots."""
    node = OneNode(node=3, nodes=4, roles=[ALL_ROLES, ALL_ROLES, ALL_ROLES, 1])
    node.phase2a(2, B2, 1, COMMANDS[:1])
    node.send(2, "decision", ballot=B2, first=1, end=2)
    node.sync()
    node.phase2a(1, B1, 1, COMMANDS[4:6])
    node.sync()
    assert node.restart().core.command_at(1) == node.core.command_at(1) == (OPEN_SESSION, 0, 900, b"")


# -- mark


def marked(mark):
    """A pure acceptor with this mark (node 2 of [leader, leader, acceptor...])."""
    return OneNode(node=2, nodes=5, roles=[3, 3, 4, 4, 4], meta={b"mark": mark.to_bytes(8, "little")})


def test_a_promise_carries_the_mark():
    node = marked(50)
    node.send(1, "phase1a", ballot=B1, first=1)
    node.sync()
    assert [one["mark"] for one in node.from_peer(1, "phase1b")] == [50]


def test_below_the_mark_there_is_no_vote():
    """A phase 2a below the mark is answered with mark and ballot_num, an overlapping one for its upper part only."""
    node = marked(50)
    node.phase2a(1, B1, 40, COMMANDS[:3])
    node.phase2a(1, B1, 48, COMMANDS[:4])
    node.sync()
    below, across = node.from_peer(1, "phase2b")
    assert (below["ballot"], below["mark"], below["end"] - below["first"]) == (B1, 50, 0)
    assert (across["first"], across["end"], across["mark"]) == (50, 52, 50)
    assert node.core.acceptor.pvalues() == [(50, B1), (51, B1)]


# -- bounds


def test_no_vote_beyond_the_ring():
    node = OneNode(window=4)
    node.phase2a(1, B1, 14, COMMANDS[:6])
    node.phase2a(1, B1, 1000, COMMANDS[:2])
    node.sync()
    acks = [(one["first"], one["end"]) for one in node.from_peer(1, "phase2b")]
    assert acks[0] == (14, 17)
    assert all(first == end for first, end in acks[1:])
    assert node.core.acceptor.pvalues() == [(14, B1), (15, B1), (16, B1)]


def test_a_large_promise_comes_in_parts():
    """Each part is asked for and says which slots it covers; they hold all, and only the last ends at the top."""
    node = OneNode()
    large = b"v" * 600_000
    for slot in range(1, 6):
        node.phase2a(1, B1, slot, [command(9, slot, large)])
    parts = []
    while not parts or parts[-1]["end"] != codec.SLOTS_END:
        node.send(2, "phase1a", ballot=B2, first=1, part=parts[-1]["end"] if parts else 1)
        node.sync()
        (part,) = node.from_peer(2, "phase1b")
        parts.append(part)
    assert len(parts) > 1
    assert [part["first"] for part in parts[1:]] == [part["end"] for part in parts[:-1]]
    assert parts[-1]["end"] == codec.SLOTS_END
    assert sorted(slot for part in parts for slot in held(part)) == [1, 2, 3, 4, 5]


def test_an_acceptor_that_does_not_vote_says_nothing():
    node = OneNode(founded=False)
    node.send(1, "phase1a", ballot=B1, first=1)
    node.phase2a(1, B1, 1, COMMANDS[:1])
    node.sync()
    assert [one for one in node.take(101) if one["kind"] in ("phase1b", "phase2b")] == []


def test_a_scout_too_far_behind_is_sent_a_pong_and_not_adopted():
    """What it asks for is on disk only: the pong shows how far we are, and its node fetches."""
    node = OneNode(window=4)
    for slot in range(1, 40):
        node.phase2a(1, B1, slot, [command(0, slot, b"", OPEN_SESSION)], decided=(B1, 1, slot))
        node.sync()
    assert node.core.acceptor.accepted.base > 1
    node.take(102)
    node.send(2, "phase1a", ballot=B2, first=1)
    node.sync()
    assert node.from_peer(2, "phase1b") == []
    assert node.core.acceptor.ballot_num == B1
    node.send(2, "phase1a", ballot=B2, first=node.core.slot_out)
    node.sync()
    assert [one["ballot"] for one in node.from_peer(2, "phase1b")] == [B2]


def test_a_phase_1a_for_anothers_ballot_closes_the_link():
    node = OneNode()
    node.send(1, "phase1a", ballot=B2, first=1)
    assert 101 in node.closed
    assert node.core.acceptor.ballot_num == 0


def test_a_refusal_covers_no_slot():
    """A late phase 1a of a leader's former attempt is refused with its present ballot. That must not read as a complete
    answer without pvalues, otherwise the present attempt ignores what is accepted."""
    node = OneNode()
    node.phase2a(2, B2, 1, COMMANDS[:2])
    newer = ballot(9, 1)
    node.send(1, "phase1a", ballot=newer, first=1)
    node.sync()
    node.send(1, "phase1a", ballot=B3, first=1)
    node.sync()
    promise, refusal = node.from_peer(1, "phase1b")
    assert promise["ballot"] == refusal["ballot"] == newer
    assert sorted(held(promise)) == [1, 2]
    assert refusal["first"] == refusal["end"] == codec.SLOTS_END
    scout = OneNode(node=1)
    at = scout.begin_scout()
    scout.send(
        0,
        "phase1b",
        **{**{key: refusal[key] for key in codec.FIELDS["phase1b"]}, "ballot": at, "pvalues": ()},
    )
    scout.send(
        2,
        "phase1b",
        **{**{key: refusal[key] for key in codec.FIELDS["phase1b"]}, "ballot": at, "pvalues": ()},
    )
    assert not scout.core.status()["leading"]
