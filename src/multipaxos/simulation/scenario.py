"""What a seed stands for: a cluster, a load and an adversary.

Rules. `scenario(seed)` draws from all that a user may configure, and from faults of every kind and pace; the same seed
is the same scenario. `expendable` are the nodes whose disks may be lost, or which may stay dead: without them there
still are quorums of both phases, a leader and a replica, so that liveness may be asked for. In a `lossy` scenario any
disk may be lost, as long as another one holds something: what is left then must not make another log. In a `patient`
one a client repeats nothing while its link is up, and that link loses nothing: an answer must come all the same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from multipaxos.judges.quorums import Quorums
from multipaxos.simulation import ACCEPTOR, ALL_ROLES, LEADER, MS, REPLICA

NODES_MAX = 9
SESSIONS_MAX = 1 << 16
PATIENT_NS = 120_000 * MS  # longer than liveness may take


@dataclass(frozen=True, slots=True)
class Faults:
    """How hostile a world is. Shares are of frames; means are of virtual time between two faults, 0 for never."""

    lost: float = 0.0
    repeated: float = 0.0
    delayed: float = 0.0  # share of frames that come up to delayed_ns later than delay_ns says
    delay_ns: tuple[int, int] = (MS // 10, MS)
    delayed_ns: int = 40 * MS
    victims: tuple[str, ...] = ()  # kinds of messages that fare worse than others
    sync_ns: tuple[int, int] = (MS // 10, 2 * MS)
    down_ns: tuple[int, int] = (20 * MS, 1000 * MS)
    notice_ns: int = MS  # the other side of a broken link notices within
    skew_ppm: int = 0  # clocks run so much faster or slower
    suspended: float = 0.0  # share of starts at which the machine is suspended in the midst
    link_breaks: int = 0
    cuts_one_way: int = 0
    cuts_both_ways: int = 0
    partitions: int = 0
    partial_partitions: int = 0
    stalls: int = 0
    pauses: int = 0
    leaders_cut_off: int = 0
    leaders_paused: int = 0
    crashes: int = 0
    crashes_of_all: int = 0
    disks_lost: int = 0
    failed_syncs: int = 0
    logs_collected: int = 0
    calendar_jumps: int = 0
    sessions_abandoned: int = 0
    learners_behind: int = 0


EVENTS = (
    "link_breaks",
    "cuts_one_way",
    "cuts_both_ways",
    "partitions",
    "partial_partitions",
    "stalls",
    "pauses",
    "leaders_cut_off",
    "leaders_paused",
    "crashes",
    "crashes_of_all",
    "disks_lost",
    "failed_syncs",
    "logs_collected",
    "calendar_jumps",
    "sessions_abandoned",
    "learners_behind",
)
OF_ITS_OWN = ("learners_behind",)  # not drawn with the others
VICTIMS = ("phase1a", "phase1b", "phase2a", "phase2b", "decision", "fetched", "founding", "ping", "request", "response")
CALM = Faults()
THREE = Quorums((0, 1, 2))


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a run is made of, but for its seed."""

    roles: tuple[int, ...] = (ALL_ROLES,) * 3
    quorums: Quorums = THREE
    faults: Faults = CALM
    window: int = 64
    ring_bytes: int = 1 << 20
    sessions_max: int = SESSIONS_MAX
    election_timeout_ns: int = 500 * MS
    clients: int = 3
    operations: int = 60  # of each client
    outstanding: int = 4
    keys: int = 3
    patience_ns: int = 600 * MS
    hostile_ns: int = 4000 * MS
    hostile_founding: bool = False  # faults from the first moment on
    some_stay_dead: bool = False
    expendable: tuple[int, ...] = ()
    lossy: bool = False
    patient: bool = False

    def describe(self) -> str:
        """In a line."""
        names = {REPLICA: "r", LEADER: "l", ACCEPTOR: "a"}
        roles = " ".join("".join(name for bit, name in names.items() if role & bit) for role in self.roles)
        return f"{len(self.roles)} nodes ({roles}), {self.quorums.describe()}, WINDOW {self.window}, {self.faults}"


def scenario(seed: int) -> Scenario:
    """The scenario of a seed: every tenth is one in which learners fall behind, for no other one comes to that."""
    chance = random.Random(f"scenario {seed}")
    drawn = draw(chance)
    return left_behind(chance, drawn) if seed % 10 == 9 else drawn


def draw(chance: random.Random) -> Scenario:
    """One of all kinds."""
    nodes = chance.choice((1, 2, 3, 3, 3, 4, 5, 5, 6, 7, 8, NODES_MAX))
    roles = draw_roles(chance, nodes)
    quorums = draw_quorums(chance, [id for id, role in enumerate(roles) if role & ACCEPTOR])
    crowded = chance.random() < 0.2
    clients = 4 if crowded else chance.randint(1, 4)
    # Patient clients: a request is dropped when ten seconds old, so elections have to be quick; and a command that is
    # ahead of a lost one is void and has both repeated, so none may follow.
    patient = chance.random() < 0.2
    election_timeout_ns = chance.choice((50, 100) if patient else (50, 100, 200, 500)) * MS
    return Scenario(
        roles=roles,
        quorums=quorums,
        faults=draw_faults(chance, election_timeout_ns),
        window=chance.choice((4, 8, 16, 64)),
        ring_bytes=chance.choice((1 << 14, 1 << 20)),
        sessions_max=clients - 1 if crowded else SESSIONS_MAX,
        election_timeout_ns=election_timeout_ns,
        clients=clients,
        operations=chance.choice((20, 40, 80)),
        outstanding=1 if patient else chance.choice((1, 4, 12)),
        keys=chance.randint(1, 5),
        patience_ns=PATIENT_NS if patient else chance.choice((150, 600)) * MS,
        hostile_ns=chance.randint(1500, 4000) * MS,
        hostile_founding=chance.random() < 0.3,
        some_stay_dead=chance.random() < 0.3,
        expendable=draw_expendable(chance, roles, quorums),
        lossy=chance.random() < 0.1,
        patient=patient,
    )


def left_behind(chance: random.Random, drawn: Scenario) -> Scenario:
    """One role for each node, as in PMMC; WINDOW is so large that a leader does not fetch what it lacks before it
    scouts."""
    roles = (REPLICA, REPLICA, ACCEPTOR, ACCEPTOR, ACCEPTOR) + (LEADER,) * chance.choice((2, 2, 3))
    quorums = draw_quorums(chance, [2, 3, 4])
    faults = replace(
        drawn.faults,
        learners_behind=chance.randint(200, 500) * MS,
        down_ns=(20 * MS, 300 * MS),
        suspended=chance.choice((0.0, 0.5)),
    )
    return replace(
        drawn,
        roles=roles,
        quorums=quorums,
        expendable=draw_expendable(chance, roles, quorums),
        faults=faults,
        window=512,
        lossy=False,
    )


def draw_roles(chance: random.Random, nodes: int) -> tuple[int, ...]:
    """Mostly all together; else apart, each role being there."""
    if chance.random() < 0.6 or nodes == 1:
        return (ALL_ROLES,) * nodes
    while True:
        roles = tuple(chance.randint(1, ALL_ROLES) for _ in range(nodes))
        if all(any(role & one for role in roles) for one in (REPLICA, LEADER, ACCEPTOR)):
            return roles


def draw_quorums(chance: random.Random, acceptors: list[int]) -> Quorums:
    """Of all systems that there are."""
    count = len(acceptors)
    kind = chance.random()
    grids = [rows for rows in range(2, count) if count % rows == 0]
    if kind < 0.25 and grids:
        rows = chance.choice(grids)
        return Quorums(tuple(acceptors), "grid", rows, count // rows)
    if kind < 0.5:
        phase1 = chance.randint(1, count)
        return Quorums(tuple(acceptors), "sizes", phase1, chance.randint(count + 1 - phase1, count))
    return Quorums(tuple(acceptors))


def draw_expendable(chance: random.Random, roles: tuple[int, ...], quorums: Quorums) -> tuple[int, ...]:
    """As many as can be, tried in a random order."""
    expendable: list[int] = []
    for id in chance.sample(range(len(roles)), len(roles)):
        left = [other for other in range(len(roles)) if other != id and other not in expendable]
        together = 0
        for other in left:
            together |= roles[other]
        if together == ALL_ROLES and quorums.is_phase1(set(left)) and quorums.is_phase2(set(left)):
            expendable.append(id)
    return tuple(expendable)


def draw_faults(chance: random.Random, election_timeout_ns: int) -> Faults:
    """Each kind is there or not, at its own pace."""
    drawn = [name for name in EVENTS if name not in OF_ITS_OWN]
    means = {name: int(10 ** chance.uniform(2.3, 3.7)) * MS if chance.random() < 0.45 else 0 for name in drawn}
    return Faults(
        lost=chance.choice((0.0, 0.01, 0.05, 0.15)),
        repeated=chance.choice((0.0, 0.05, 0.15)),
        delayed=chance.choice((0.0, 0.02, 0.2)),
        delay_ns=(MS // 10, chance.choice((MS, 5 * MS, 20 * MS, 40 * MS, election_timeout_ns * 3 // 10))),
        delayed_ns=chance.choice((40, 400, 2000)) * MS,
        victims=tuple(chance.sample(VICTIMS, chance.randint(1, 3))) if chance.random() < 0.5 else (),
        sync_ns=(MS // 10, chance.choice((1, 5, 20, 60)) * MS),
        down_ns=(20 * MS, chance.choice((200, 500, 2000)) * MS),
        notice_ns=chance.choice((1, 50, 500)) * MS,
        skew_ppm=chance.choice((0, 0, 1000, 100_000)),
        **means,
    )
