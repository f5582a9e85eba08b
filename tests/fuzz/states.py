"""The states that a node can be in when hostile bytes reach it, each made by honest peers and clients.

Rules. The window is 8 slots, so that rings of 32 wrap around and their ends are near. Node 0 is the one on the bench;
links 101 and 102 are its peers 1 and 2, link 1 is a client.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.wire import codec
from tests.support.one_node import OPEN_SESSION, Rig, ballot, command

WINDOW = 8
CLIENT = 1
OPEN = command(0, 77, b"", OPEN_SESSION)
COMMANDS = [OPEN, command(1, 1, b"a"), command(1, 2, b"b"), command(9, 1, b"c")]
LEADER_ROLE, ACCEPTOR_ROLE, ALL = 2, 4, 7


def run(at: int, first: int, commands: list[tuple[object, ...]]) -> bytes:
    """A run, as pvalues carry it."""
    kept = codec.run_frame(codec.encode_phase2a(at, first, 5, (0, 1, 1), commands))
    assert kept is not None
    return kept


def bench(**options: Any) -> Rig:
    """A node with linked peers and one client."""
    rig = Rig(window=WINDOW, **options)
    rig.client(CLIENT)
    return rig


def fresh() -> Rig:
    """Not founded; nobody has said anything."""
    return bench(founded=False)


def founding() -> Rig:
    """Knows the founders; its voter record is on its way to the disk."""
    rig = fresh()
    for peer in (1, 2):
        rig.send(peer, "founding", incarnation=1000 + peer, fresh=True, incarnations=rig.incarnations)
    return rig


def refused() -> Rig:
    """Came too late, or lost its disk: learns and does not vote."""
    rig = fresh()
    for peer in (1, 2):
        rig.send(peer, "founding", incarnation=1000 + peer, fresh=False, incarnations=[999, 1001, 1002])
    return rig


def waiting() -> Rig:
    """Founded; knows no leader; a client asks."""
    rig = bench()
    rig.request(CLIENT, *COMMANDS[:2])
    return rig


def following() -> Rig:
    """Accepts what node 1 proposes, has applied some of it, forwards what its client wants."""
    rig = bench()
    rig.phase2a(1, ballot(5, 1), 1, COMMANDS[:2])
    rig.sync()
    rig.send(1, "decision", ballot=ballot(5, 1), first=1, end=3)
    rig.request(CLIENT, *COMMANDS[2:])
    return rig


def syncing() -> Rig:
    """A batch is on its way to the disk; promises and votes wait for it."""
    rig = bench()
    rig.phase2a(1, ballot(5, 1), 1, COMMANDS[:2])
    rig.send(2, "phase1a", ballot=ballot(6, 2), first=1)
    return rig


def stopped() -> Rig:
    """Its disk failed: it promises nothing any more."""
    rig = syncing()
    rig.sync(False)
    return rig


def scouting() -> Rig:
    """Asks for promises; its ballot is durable."""
    rig = bench()
    rig.begin_scout()
    return rig


def leading() -> Rig:
    """Has proposals in flight, and a client."""
    rig = bench()
    rig.lead()
    rig.request(CLIENT, *COMMANDS[:3])
    rig.sync()
    return rig


def full() -> Rig:
    """Leads; its window is full and requests wait."""
    rig = leading()
    rig.request(CLIENT, *[command(1, 3 + i, b"w") for i in range(2 * WINDOW)])
    return rig


def taking_over() -> Rig:
    """Leads, and proposes again what an earlier leader left: one slot, a gap, another one."""
    rig = bench()
    rig.send(2, "ping", ballot=ballot(3, 2), slot_out=1)
    at = rig.begin_scout()
    rig.promise(
        1, at, pvalues=((2, 3, run(ballot(1, 1), 2, COMMANDS[:1])), (5, 7, run(ballot(2, 2), 5, COMMANDS[1:3])))
    )
    return rig


def preempted() -> Rig:
    """Led; a higher ballot came while its proposals were in flight."""
    rig = leading()
    rig.send(2, "phase1a", ballot=ballot(9, 2), first=1)
    return rig


def catching_up() -> Rig:
    """Knows of slots that it lacks, and fetches."""
    rig = bench()
    rig.send(1, "decision", ballot=ballot(5, 1), first=30, end=40)
    rig.tick(1)
    return rig


def reading() -> Rig:
    """Has a log that is longer than its rings; a peer's fetch has to be read from the disk."""
    rig = bench()
    for first in range(1, 8 * WINDOW, 4):
        rig.phase2a(1, ballot(5, 1), first, [command(7, first + i) for i in range(4)])
        rig.sync()
        rig.send(1, "decision", ballot=ballot(5, 1), first=first, end=first + 4)
        rig.sync()
        rig.tick(1)
        rig.sync()
    rig.send(2, "fetch", first=1, end=8)
    assert rig.reads, "the log has left memory"
    return rig


def restarted() -> Rig:
    """Comes back with a log."""
    rig = reading()
    rig.phase2a(2, ballot(6, 2), rig.node.slot_out + 1, COMMANDS[1:])
    rig.sync()
    return bench(founded=False, meta=rig.meta, records=rig.records)


def alone() -> Rig:
    """A cluster of one, which leads itself."""
    rig = bench(nodes=1)
    rig.begin_scout()
    rig.sync()
    rig.request(CLIENT, *COMMANDS[:3])
    return rig


def only_a_leader() -> Rig:
    """Leads, and is neither replica nor acceptor."""
    rig = bench(roles=[LEADER_ROLE, ALL - LEADER_ROLE, ALL - LEADER_ROLE])
    at = rig.begin_scout()
    for peer in (1, 2):
        rig.promise(peer, at)
    return rig


def only_an_acceptor() -> Rig:
    """Votes, and is neither replica nor leader."""
    rig = bench(roles=[ACCEPTOR_ROLE, ALL, ALL])
    rig.phase2a(1, ballot(5, 1), 1, COMMANDS)
    rig.sync()
    return rig


def in_a_grid() -> Rig:
    """Scouts in a cluster whose quorums are a grid."""
    rig = bench(nodes=4, quorums=QuorumSystem.grid([0, 1, 2, 3], 2, 2))
    rig.begin_scout()
    return rig


STATES: tuple[Callable[[], Rig], ...] = (
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
