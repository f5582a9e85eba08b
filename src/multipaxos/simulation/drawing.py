"""Draws the scenario of a seed: everything that a user may configure, and faults of every kind and pace.

Rules. The same seed is the same scenario: the order of the draws is part of what a seed means.
"""

from __future__ import annotations

import random
from dataclasses import replace

from multipaxos.judges.quorums import Quorums
from multipaxos.machine.semantics import VERSIONS
from multipaxos.paxos.roles import ACCEPTOR, ALL_ROLES, LEADER, REPLICA
from multipaxos.simulation.scenario import EVENTS, PATIENT_NS, THREE, Faults, Scenario
from multipaxos.simulation.timeline import MS

NODES_MAX = 9
NOT_PATIENT = ("intrusions", "clients_die")  # who replays a request of a client gets its answer
# Drawn in scenarios of their own, not with the other kinds.
OF_ITS_OWN = ("learners_behind", "slots_refused", "configurations_changed", "leaders_crash")
USER_SEED = 4  # of ten: with a user's machine
FOUNDING_SEED = 23  # of twenty-five
FOUNDINGS = 25  # in such a seed
MISTAKEN_SEED = 2  # of eight
MISTAKE_NS = 700 * MS
OUTLIVED_SEED = 11  # of twenty: clients outlive their cluster
CROWDED_SEED = 57  # of a hundred
PARTS_SEED, PART_BYTES = 2, 200  # of three: answers to scouts come in many parts
LATE_SEED = 7  # of twelve: answers to scouts come late
SESSION_OPERATIONS = 3000  # in such a seed, of all clients together
SLOW_SEED = 5  # of eight, where nothing else makes a scenario of its own
MBIT = 125_000  # bytes a second
RATES = (20 * MBIT, 100 * MBIT, 1000 * MBIT)
SIZES = (16 << 10, 64 << 10, 256 << 10, 1 << 20)  # of values, in such a scenario
ASKED_BYTES = 12 << 20  # of all clients in such a scenario,
OUTSTANDING_BYTES = 6 << 20  # and at a time
ONCE = ("", "leaders_crash", "leaders_paused", "crashes", "link_breaks")  # the fault of such a scenario
VICTIMS = ("phase1a", "phase1b", "phase2a", "phase2b", "decision", "fetched", "founding", "ping", "request", "response")


def scenario(seed: int) -> Scenario:
    """The scenario of a seed. In every tenth learners fall behind, because no other scenario leads to that; in every
    hundredth clients open sessions by the thousand; in every twenty-fifth disks are lost while clusters are founded; in
    every eighth an operator starts nodes with a wrong configuration; in every third acceptors answer scouts in small
    parts; in most of another eighth links have a rate; in most of another twelfth answers to scouts come late."""
    chance = random.Random(f"scenario {seed}")
    drawn = draw(chance)
    if seed % 3 == PARTS_SEED:
        drawn = replace(drawn, part_bytes=PART_BYTES)
    if seed % 10 == USER_SEED:
        drawn = with_user_machine(chance, drawn, two=seed // 10 % 5 == 0)
    if seed % 8 == MISTAKEN_SEED:
        drawn = replace(drawn, faults=replace(drawn.faults, configurations_changed=MISTAKE_NS))
    if seed % 25 == FOUNDING_SEED:
        return founded_under_losses(drawn)
    if seed % 100 == CROWDED_SEED:
        return many_sessions(chance, drawn)
    if seed % 20 == OUTLIVED_SEED:
        return replace(drawn, outlived=1, lossy=False)
    if seed % 10 == 9:
        return left_behind(chance, drawn)
    if seed % 12 == LATE_SEED:
        return answers_late(drawn)
    return slow_links(chance) if seed % 8 == SLOW_SEED else drawn


def draw(chance: random.Random) -> Scenario:
    """A scenario of any kind but the one of `left_behind`."""
    nodes = chance.choice((1, 2, 3, 3, 3, 4, 5, 5, 6, 7, 8, NODES_MAX))
    roles = draw_roles(chance, nodes)
    quorums = draw_quorums(chance, [id for id, role in enumerate(roles) if role & ACCEPTOR])
    crowded = chance.random() < 0.2
    clients = 4 if crowded else chance.randint(1, 4)
    # For patient clients elections have to be quick, because a request is dropped when it is ten seconds old; and only
    # one operation may be outstanding, because a command that overtakes a lost one is void: both would be repeated.
    patient = chance.random() < 0.2
    election_timeout_ns = chance.choice((50, 100) if patient else (50, 100, 200, 500)) * MS
    return Scenario(
        roles=roles,
        quorums=quorums,
        faults=draw_faults(chance, election_timeout_ns, patient),
        window=chance.choice((4, 8, 16, 64)),
        ring_bytes=chance.choice((1 << 14, 1 << 20)),
        sessions_max=clients - 1 if crowded else VERSIONS[0].sessions_max,
        election_timeout_ns=election_timeout_ns,
        clients=clients,
        operations=chance.choice((20, 40, 80)),
        outstanding=1 if patient else chance.choice((1, 4, 12)),
        keys=chance.randint(1, 5),
        several=chance.choice((0.0, 0.0, 0.1, 0.3)),
        patience_ns=PATIENT_NS if patient else chance.choice((150, 600)) * MS,
        hostile_ns=chance.randint(1500, 4000) * MS,
        hostile_founding=chance.random() < 0.3,
        some_stay_dead=chance.random() < 0.3,
        expendable=draw_expendable(chance, roles, quorums),
        lossy=chance.random() < 0.1,
        patient=patient,
        kept_bytes_max=6000 if chance.random() < 0.2 and not crowded else VERSIONS[0].kept_bytes_max,
        session_operations=0 if chance.random() < 0.8 else chance.choice((10, 25)),
    )


def founded_under_losses(drawn: Scenario) -> Scenario:
    """One disk is lost again and again while a cluster is founded, and hellos arrive late: connections of the dead come
    up beside those of the living. Many clusters are founded one after the other."""
    faults = Faults(
        lost=0.05,
        delayed=0.5,
        delay_ns=(MS // 10, 5 * MS),
        delayed_ns=200 * MS,
        victims=("founding",),
        sync_ns=(MS // 10, 5 * MS),
        down_ns=(5 * MS, 20 * MS),
        notice_ns=300 * MS,
        crashes=100 * MS,
        disks_lost=30 * MS,
        link_breaks=100 * MS,
    )
    return Scenario(
        faults=faults,
        window=drawn.window,
        clients=1,
        operations=10,
        hostile_founding=True,
        hostile_ns=FOUNDINGS * 300 * MS,
        outlived=FOUNDINGS - 1,
        expendable=(0,),  # it dials the others: its last hello is the one that comes late
        election_timeout_ns=50 * MS,
    )


def many_sessions(chance: random.Random, drawn: Scenario) -> Scenario:
    """Clients leave their sessions after one or two operations; the table of sessions is often full."""
    return replace(
        drawn,
        faults=replace(drawn.faults, delay_ns=(MS // 10, MS), sync_ns=(MS // 10, MS)),
        sessions_max=chance.choice((8, 64, VERSIONS[0].sessions_max)),
        clients=4,
        operations=SESSION_OPERATIONS // 4,
        outstanding=4,
        keys=5,
        several=0.0,
        session_operations=chance.randint(1, 2),
        hostile_ns=4000 * MS,
        lossy=False,
        patient=False,
        patience_ns=150 * MS,
    )


def answers_late(drawn: Scenario) -> Scenario:
    """An answer to a scout often comes when the next scout of its node is under way. Meanwhile another node has led,
    and was cut off or paused, and what it decided has not reached everybody."""
    return replace(
        drawn,
        roles=(ALL_ROLES,) * 3,
        quorums=THREE,
        expendable=(0,),
        faults=replace(
            drawn.faults,
            victims=("phase1b", "phase2a", "decision", "fetched"),
            delay_ns=(MS // 10, 5 * MS),
            delayed_ns=400 * MS,
            sync_ns=(MS // 10, 5 * MS),
            leaders_cut_off=150 * MS,
            leaders_paused=150 * MS,
            cuts_one_way=200 * MS,
            crashes=500 * MS,
            down_ns=(50 * MS, 150 * MS),
        ),
        election_timeout_ns=50 * MS,
        patient=False,
        patience_ns=150 * MS,
        hostile_ns=4000 * MS,
        lossy=False,
    )


def with_user_machine(chance: random.Random, drawn: Scenario, two: bool) -> Scenario:
    """A user's machine, and slots that the operator has had refused. In most cases the machine of one node differs: it
    can be spared, or there are `two` replicas, of which nobody can say who is wrong."""
    faults = replace(drawn.faults, slots_refused=chance.randint(500, 3000) * MS)
    kept_bytes_max = VERSIONS[0].kept_bytes_max  # the judges' model of sessions knows the answers of the store only
    tried = replace(drawn, user_machine=True, patient=False, patience_ns=150 * MS, faults=faults)
    tried = replace(tried, kept_bytes_max=kept_bytes_max)
    if chance.random() < 0.3 and not two:
        return tried
    roles = (ALL_ROLES,) * (2 if two else chance.choice((3, 3, 4, 5)))
    quorums = Quorums(tuple(range(len(roles))))
    expendable = draw_expendable(chance, roles, quorums)
    return replace(
        tried,
        roles=roles,
        quorums=quorums,
        expendable=expendable,
        differing=chance.choice(expendable or (0, 1)),
        lossy=False,
        some_stay_dead=False,
    )


def left_behind(chance: random.Random, drawn: Scenario) -> Scenario:
    """One role for each node, as in PMMC. WINDOW is so large that a leader does not fetch the slots that it lacks
    before it scouts."""
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


def slow_links(chance: random.Random) -> Scenario:
    """Values up to 1 MiB on links whose rates differ, with one fault or none: the judge of cost watches."""
    nodes = chance.choice((3, 3, 5))
    usual = chance.choice(RATES)
    rates = [usual] * nodes
    if chance.random() < 0.5:
        rates[chance.randrange(nodes)] = max(RATES[0], usual // chance.choice((5, 50)))
    value_bytes = chance.choice(SIZES)
    clients = chance.randint(1, 4)
    return Scenario(
        roles=(ALL_ROLES,) * nodes,
        quorums=Quorums(tuple(range(nodes))),
        faults=Faults(down_ns=(100 * MS, 2000 * MS)),
        window=512,
        ring_bytes=32 << 20,
        in_flight_bytes=chance.choice((1 << 20, 8 << 20)),
        election_timeout_ns=chance.choice((250, 500)) * MS,
        clients=clients,
        operations=max(2, min(64, ASKED_BYTES // value_bytes) // clients),
        outstanding=max(1, min(12, OUTSTANDING_BYTES // value_bytes // clients)),
        patience_ns=10_000 * MS,
        hostile_ns=4000 * MS,
        load_ns=chance.choice((20, 200, 1000)) * MS,
        link_rates=tuple(rates),
        client_rate=1000 * MBIT,  # without a rate requests would overtake each other
        value_bytes=value_bytes,
        once=chance.choice(ONCE),
    )


def draw_roles(chance: random.Random, nodes: int) -> tuple[int, ...]:
    """Mostly every node has all roles; else any roles, such that each role is there."""
    if chance.random() < 0.6 or nodes == 1:
        return (ALL_ROLES,) * nodes
    while True:
        roles = tuple(chance.randint(1, ALL_ROLES) for _ in range(nodes))
        if all(any(role & one for role in roles) for one in (REPLICA, LEADER, ACCEPTOR)):
            return roles


def draw_quorums(chance: random.Random, acceptors: list[int]) -> Quorums:
    """One of all quorum systems."""
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
    """As many nodes as can be spared, tried in a random order."""
    expendable: list[int] = []
    for id in chance.sample(range(len(roles)), len(roles)):
        left = [other for other in range(len(roles)) if other != id and other not in expendable]
        together = 0
        for other in left:
            together |= roles[other]
        if together == ALL_ROLES and quorums.is_phase1(set(left)) and quorums.is_phase2(set(left)):
            expendable.append(id)
    return tuple(expendable)


def draw_faults(chance: random.Random, election_timeout_ns: int, patient: bool) -> Faults:
    """Each kind of fault happens or not, at its own pace."""
    drawn = [name for name in EVENTS if name not in OF_ITS_OWN]
    means = {name: int(10 ** chance.uniform(2.3, 3.7)) * MS if chance.random() < 0.45 else 0 for name in drawn}
    if patient:
        means |= dict.fromkeys(NOT_PATIENT, 0)
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
