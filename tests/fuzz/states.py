"""The states that a node can be in when hostile bytes reach it, each made by honest peers and clients.

Rules. The window is 8 slots, so that rings of 32 wrap around and their ends are near. The node under test is node 0;
links 101 and 102 are its peers 1 and 2, link 1 is a client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.paxos.roles import ACCEPTOR, ALL_ROLES, LEADER
from multipaxos.wire import codec
from tests.support.one_node import OPEN_SESSION, OneNode, ballot, command

WINDOW = 8
CLIENT = 1
OPEN = command(0, 77, b"", OPEN_SESSION)
COMMANDS = [OPEN, command(1, 1, b"a"), command(1, 2, b"b"), command(9, 1, b"c")]


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
)
