"""The states that a node can be in when hostile bytes reach it, each made by honest peers and clients.

Rules. The window is 8 slots, so that rings of 32 wrap around and their ends are near. The node under test is node 0;
links 101 and 102 are its peers 1 and 2, link 1 is a client or an admin. A job of a slow machine waits until the input
answers it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multipaxos.machine.semantics import Semantics
from multipaxos.node.output import META_REFUSED, words
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.paxos.roles import ACCEPTOR, ALL_ROLES, LEADER
from multipaxos.wire import codec
from multipaxos.wire.record import HEADER_BYTES
from tests.support.journal import Journal
from tests.support.one_node import OPEN_SESSION, OneNode, ballot, command
from tests.support.records import flipped

WINDOW = 8
CLIENT = 1
OPEN = command(0, 77, b"", OPEN_SESSION)
COMMANDS = [OPEN, command(1, 1, b"a"), command(1, 2, b"b"), command(9, 1, b"c")]


IN_SUM, IN_FRAME = HEADER_BYTES - 1, HEADER_BYTES + 20  # places in a record
SMALL = {"unacknowledged_max": 6, "answer_bytes_max": 600, "machine_answer_bytes_max": 30, "refusal_bytes": 20}
VERSIONS = (
    Semantics(1, sessions_max=3, kept_bytes_max=2000, **SMALL),
    Semantics(2, sessions_max=2, kept_bytes_max=900, **SMALL),
)  # with bounds that a few commands reach


class Second(Journal):
    """A machine of version 2."""

    version = 2


def run(at: int, first: int, commands: list[tuple[object, ...]]) -> bytes:
    """A run, as pvalues carry it."""
    kept = codec.run_frame(codec.encode_phase2a(at, first, 5, (0, 1, 1), commands))
    assert kept is not None
    return kept


def linked(**options: Any) -> OneNode:
    """A node with linked peers and one client."""
    one = OneNode(window=WINDOW, **options)
    one.client(CLIENT)
    return one


def fresh() -> OneNode:
    """Not founded; no peer has sent anything."""
    return linked(founded=False)


def founding() -> OneNode:
    """Knows the founders; its voter record is on its way to the disk."""
    one = fresh()
    for peer in (1, 2):
        one.send(peer, "founding", incarnation=1000 + peer, fresh=True, incarnations=one.incarnations)
    return one


def refused() -> OneNode:
    """Started too late, or lost its disk: learns and does not vote."""
    one = fresh()
    for peer in (1, 2):
        one.send(peer, "founding", incarnation=1000 + peer, fresh=False, incarnations=[999, 1001, 1002])
    return one


def waiting() -> OneNode:
    """Founded; knows no leader; a client asks."""
    one = linked()
    one.request(CLIENT, *COMMANDS[:2])
    return one


def following() -> OneNode:
    """Accepts the proposals of node 1, has applied some, forwards the requests of its client."""
    one = linked()
    one.phase2a(1, ballot(5, 1), 1, COMMANDS[:2])
    one.sync()
    one.send(1, "decision", ballot=ballot(5, 1), first=1, end=3)
    one.request(CLIENT, *COMMANDS[2:])
    return one


def syncing() -> OneNode:
    """A batch is on its way to the disk; promises and votes wait for it."""
    one = linked()
    one.phase2a(1, ballot(5, 1), 1, COMMANDS[:2])
    one.send(2, "phase1a", ballot=ballot(6, 2), first=1)
    return one


def stopped() -> OneNode:
    """Its disk failed: it makes no more promises."""
    one = syncing()
    one.sync(False)
    return one


def scouting() -> OneNode:
    """Asks for promises; its ballot is durable."""
    one = linked()
    one.begin_scout()
    return one


def leading() -> OneNode:
    """Has proposals in flight, and a client."""
    one = linked()
    one.lead()
    one.request(CLIENT, *COMMANDS[:3])
    one.sync()
    return one


def full() -> OneNode:
    """Leads; its window is full and requests wait."""
    one = leading()
    one.request(CLIENT, *[command(1, 3 + i, b"w") for i in range(2 * WINDOW)])
    return one


def taking_over() -> OneNode:
    """Leads, and proposes again the slots that earlier leaders left: one slot, a gap, two more."""
    one = linked()
    one.send(2, "ping", ballot=ballot(3, 2), slot_out=1)
    at = one.begin_scout()
    one.promise(
        1, at, pvalues=((2, 3, run(ballot(1, 1), 2, COMMANDS[:1])), (5, 7, run(ballot(2, 2), 5, COMMANDS[1:3])))
    )
    return one


def preempted() -> OneNode:
    """Led; a higher ballot came while its proposals were in flight."""
    one = leading()
    one.send(2, "phase1a", ballot=ballot(9, 2), first=1)
    return one


def catching_up() -> OneNode:
    """Knows of slots that it lacks, and fetches."""
    one = linked()
    one.send(1, "decision", ballot=ballot(5, 1), first=30, end=40)
    one.tick(1)
    return one


def reading() -> OneNode:
    """Has a log that is longer than its rings; a peer's fetch has to be read from the disk."""
    one = linked()
    for first in range(1, 8 * WINDOW, 4):
        one.phase2a(1, ballot(5, 1), first, [command(7, first + i) for i in range(4)])
        one.sync()
        one.send(1, "decision", ballot=ballot(5, 1), first=first, end=first + 4)
        one.sync()
        one.tick(1)
        one.sync()
    one.send(2, "fetch", first=1, end=8)
    assert one.reads, "the log has left memory"
    return one


def restarted() -> OneNode:
    """Comes back with a log."""
    one = reading()
    one.phase2a(2, ballot(6, 2), one.core.slot_out + 1, COMMANDS[1:])
    one.sync()
    return linked(founded=False, meta=one.meta, records=one.records)


def alone() -> OneNode:
    """A cluster of one, which leads itself."""
    one = linked(nodes=1)
    one.begin_scout()
    one.sync()
    one.request(CLIENT, *COMMANDS[:3])
    return one


def only_a_leader() -> OneNode:
    """Leads, and is neither replica nor acceptor."""
    one = linked(roles=[LEADER, ALL_ROLES - LEADER, ALL_ROLES - LEADER])
    at = one.begin_scout()
    for peer in (1, 2):
        one.promise(peer, at)
    return one


def only_an_acceptor() -> OneNode:
    """Votes, and is neither replica nor leader."""
    one = linked(roles=[ACCEPTOR, ALL_ROLES, ALL_ROLES])
    one.phase2a(1, ballot(5, 1), 1, COMMANDS)
    one.sync()
    return one


def in_a_grid() -> OneNode:
    """Scouts in a cluster whose quorums are a grid."""
    one = linked(nodes=4, quorums=QuorumSystem.grid([0, 1, 2, 3], 2, 2))
    one.begin_scout()
    return one


def with_records() -> OneNode:
    """Three records, of slots 1 to 9; those below 4 are decided."""
    one = linked()
    at = ballot(1, 1)
    for first, count in ((1, 2), (3, 3), (6, 4)):
        commands = [OPEN, *(command(1, i, b"a") for i in range(1, 10))][first - 1 : first - 1 + count]
        one.phase2a(1, at, first, commands)
        one.sync()
    one.send(1, "decision", ballot=at, first=1, end=4)
    one.tick(1100)
    one.sync()
    return one


def damaged(*places: tuple[int, int]) -> OneNode:
    """Comes back with damaged records: of (which record, which byte of it)."""
    one = with_records()
    for which, at in places:
        first, index, value = one.records[which]
        one.records[which] = first, index, flipped(value, at)
    again = linked(founded=False, meta=one.meta, records=one.records)
    assert again.core.status()["holes"]
    return again


def with_a_hole() -> OneNode:
    """The record of slots above the decided ones is damaged: they are a hole until they are decided."""
    return damaged((2, IN_FRAME))


def with_a_hole_below() -> OneNode:
    """The first record, of decided slots, is damaged: nothing is applied until it is fetched."""
    return damaged((0, IN_FRAME))


def with_two_holes() -> OneNode:
    """Only a record in the middle is left."""
    return damaged((0, IN_FRAME), (2, IN_SUM))


def with_a_wide_hole() -> OneNode:
    """Of one record only the key is left: the hole reaches beyond the rings."""
    return damaged((1, 0), (1, IN_FRAME))


def scouting_with_a_hole() -> OneNode:
    """Its own acceptor does not promise."""
    one = with_a_hole()
    one.begin_scout()
    return one


def slow() -> OneNode:
    """Follows; its machine has a job of three commands, two of them of one session; bounds are small."""
    one = linked(slow=True, versions=VERSIONS, journal=Second())
    at = ballot(1, 1)
    one.phase2a(1, at, 1, [OPEN, command(0, 78, b"", OPEN_SESSION)])
    one.phase2a(1, at, 3, [command(1, 1, b"a"), command(2, 1, b"b", nonce=78), command(1, 2, b"c", unacknowledged=1)])
    one.send(1, "decision", ballot=at, first=1, end=6)
    one.sync()
    one.request(CLIENT, command(1, 3, b"d", unacknowledged=2))
    assert one.job is not None
    assert len(one.job.commands) == 3
    return one


def slow_after_refusals() -> OneNode:
    """As `slow`; some slots are refused, one of the job's among them."""
    one = linked(slow=True, meta={META_REFUSED: words((4, 9))})
    one.phase2a(1, ballot(1, 1), 1, [OPEN, *(command(1, i, b"a") for i in range(1, 6))])
    one.send(1, "decision", ballot=ballot(1, 1), first=1, end=7)
    one.sync()
    assert one.job is not None
    return one


def slow_leader() -> OneNode:
    """Leads; its machine has a job, and decided commands wait behind it."""
    one = linked(slow=True)
    at = one.lead()
    one.request(CLIENT, OPEN)
    one.sync()
    one.accept(1, at, 1, 2)
    one.request(CLIENT, command(1, 1, b"a"))
    one.sync()
    one.accept(1, at, 2, 3)
    one.request(CLIENT, command(1, 2, b"b", unacknowledged=1), command(1, 3, b"raise", unacknowledged=2))
    one.sync()
    one.accept(1, at, 3, 5)
    assert one.job is not None
    return one


def told(*hashes: int) -> OneNode:
    """Follows, has told the hash of its state, and its peers have told these, added to its own."""
    one = following()
    one.request(CLIENT, command(1, 2, b"x", unacknowledged=1))
    for _ in range(10):
        one.send(1, "pong", ballot=ballot(5, 1), slot_out=one.core.slot_out, leading=True, quorum=True)
        one.tick(100)
    told = next(one for one in reversed(one.take(102)) if one["kind"] == "ping" and one["state_slot"])
    for peer, hash in enumerate(hashes, 1):
        one.send(
            peer,
            "ping",
            ballot=ballot(5, 1),
            slot_out=3,
            voting=True,
            state_slot=told["state_slot"],
            state_hash=(told["state_hash"] + hash) % (1 << 64),
        )
    return one


def in_the_minority() -> OneNode:
    """Its peers have one other state: it answers no client and does not lead."""
    one = told(1, 1)
    assert one.core.status()["differs"] == "minority"
    return one


def divided() -> OneNode:
    """Each replica has a state of its own."""
    one = told(1, 2)
    assert one.core.status()["differs"] == "no majority"
    return one


def unlike() -> OneNode:
    """One peer has another state."""
    one = told(0, 1)
    assert one.core.status()["differs_from"] == [2]
    return one


def with_an_admin() -> OneNode:
    """Leads; link 1 is an admin's, with a session, and all nodes know semantics 2 and machine version 2."""
    one = OneNode(window=WINDOW, versions=VERSIONS, journal=Second(), linked=False)
    for peer in (1, 2):
        one.link(peer, semantics_max=2, machine_version=2)
    at = one.lead()
    one.admin(CLIENT)
    one.request(CLIENT, *COMMANDS[:2])
    one.sync()
    one.accept(1, at, 1, 3)
    return one


def following_with_an_admin() -> OneNode:
    """Forwards what its admin asks for."""
    one = following()
    one.core.link_down(CLIENT)
    one.admin(CLIENT)
    one.request(CLIENT, *COMMANDS[2:])
    return one


def alone_with_an_admin() -> OneNode:
    """A cluster of one, which applies at once what its admin asks for; no peer can lie to it."""
    one = OneNode(nodes=1, window=WINDOW, versions=VERSIONS, journal=Second())
    one.begin_scout()
    one.admin(CLIENT)
    one.request(CLIENT, *COMMANDS[:2])
    one.sync()
    assert one.core.slot_out == 3
    return one


STATES: tuple[Callable[[], OneNode], ...] = (
    fresh,
    founding,
    refused,
    waiting,
    following,
    syncing,
    stopped,
    scouting,
    leading,
    full,
    taking_over,
    preempted,
    catching_up,
    reading,
    restarted,
    alone,
    only_a_leader,
    only_an_acceptor,
    in_a_grid,
    with_a_hole,
    with_a_hole_below,
    with_two_holes,
    with_a_wide_hole,
    scouting_with_a_hole,
    slow,
    slow_after_refusals,
    slow_leader,
    in_the_minority,
    divided,
    unlike,
    with_an_admin,
    following_with_an_admin,
    alone_with_an_admin,
)
