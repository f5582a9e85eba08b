"""Damaged directories: ``python -m tests.storage.campaign 200`` damages so many and says what became of each.

Theory. Three nodes run under load and lose power. The directory of one of them - the one that LMDB makes, with all that
its disk held - is damaged: a byte of one record, or of a key or value of its identity and metadata, is flipped. What
LMDB then hands out is what the node starts from, beside one other node; the third one stays dead for a while, so that
whatever the damaged node leaves out could be decided otherwise. The oracle watches all of them.

Rules. A node is refused in one line that says what to do, and goes on with an empty directory, or it starts and, when
all three run, its log is whole again. Every wrong state, vote, promise or answer to a fetch is a Violation.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import lmdb

from multipaxos.errors import StorageError
from multipaxos.judges.quorums import Quorums
from multipaxos.paxos.roles import ALL_ROLES
from multipaxos.simulation.host import Host
from multipaxos.simulation.scenario import Scenario
from multipaxos.simulation.timeline import MS
from multipaxos.simulation.world import FOUNDING_NS, LIVE_NS, World
from multipaxos.storage.lmdb import KEY, LmdbStorage
from multipaxos.wire.record import HEADER_BYTES
from tests.support.records import flipped

NODES = 3
CLUSTER = "demo"


@dataclass(frozen=True, slots=True)
class Case:
    """What became of one directory."""

    what: str  # was damaged: "record" or "key"
    below: bool  # a record below META_DECIDED
    refused: str  # why the node did not start; empty: it did
    repaired: bool  # it started, and in the end nothing was missing


def run(seed: int, directory: Path) -> Case:
    """Damages one directory. Raises Violation."""
    chance = random.Random(f"damage {seed}")
    scenario = Scenario(roles=(ALL_ROLES,) * NODES, quorums=Quorums(tuple(range(NODES))), operations=40)
    world = World(seed, scenario)
    assert world.timeline.run_until(world.is_founded, FOUNDING_NS)
    for id in range(scenario.clients):
        world.add_client(id)
    world.timeline.run_for(chance.randint(30, 1500) * MS)
    for host in world.hosts:
        host.crash()
    victim, dead, other = chance.sample(world.hosts, NODES)
    make(victim, directory)
    what, below = damage(directory, chance, victim.disk.decided)
    refused = start(victim, directory)
    for host in (other, dead):
        host.start()
        for peer in world.hosts:
            if peer.alive and peer is not host:
                world.network.dial(host.id, peer.id)
        world.timeline.run_for(chance.choice((10, 2000)) * MS)
    if not world.timeline.run_until(world.is_finished, LIVE_NS):
        raise AssertionError(f"not live: {world.describe()} (seed {seed})")
    world.judge()
    assert victim.core is not None
    return Case(what, below, refused, not refused and not victim.core.acceptor.holes.end)


def make(host: Host, directory: Path) -> None:
    """A data directory that holds what the host's disk does."""
    storage = LmdbStorage(directory, CLUSTER, host.id, sync=False)
    storage.commit(host.disk.meta(), b"".join(value for _, _, value in host.disk.records()))
    storage.close()


def damage(directory: Path, chance: random.Random, decided: int) -> tuple[str, bool]:
    """Flips bits of one byte of a record, or of a key or value of the identity and metadata."""
    environment = lmdb.open(str(directory), max_dbs=3, sync=False)
    try:
        log = environment.open_db(b"log", create=False)
        with environment.begin(write=True) as transaction:
            records = list(transaction.cursor(log))
            if records and chance.random() < 0.7:
                key, value = chance.choice(records)
                at = chance.randrange(HEADER_BYTES if chance.random() < 0.3 else len(value))
                transaction.put(key, flipped(value, at, chance.randint(1, 255)), db=log)
                return "record", KEY.unpack(key)[0] < decided
            databases = [environment.open_db(name, transaction, create=False) for name in (b"meta", b"storage")]
            pairs = [(db, key, value) for db in databases for key, value in transaction.cursor(db)]
            db, key, value = chance.choice(pairs)
            transaction.delete(key, db=db)
            if not value or chance.random() < 0.5:
                key = flipped(key, chance.randrange(len(key)), chance.randint(1, 255))
            else:
                value = flipped(value, chance.randrange(len(value)), chance.randint(1, 255))
            transaction.put(key, value, db=db)
            return "key", False
    finally:
        environment.close()


def start(host: Host, directory: Path) -> str:
    """Starts a host from its directory; if that is refused, with an empty disk. Returns why it was refused."""
    try:
        storage = LmdbStorage(directory, CLUSTER, host.id, sync=False)
        try:
            assert storage.meta() == host.disk.meta(), "other metadata, and no word"
            host.disk.now_holds(list(storage.records()))
        finally:
            storage.close()
        host.start()
    except StorageError as error:
        host.core = None
        host.lose_disk()
        host.start()
        return str(error)
    return ""


def main(count: int) -> None:
    """Prints what became of so many directories."""
    found: Counter[str] = Counter()
    for seed in range(count):
        with tempfile.TemporaryDirectory() as place:
            case = run(seed, Path(place))
        kind = f"{case.what}{' below decided' if case.below else ''}"
        found[f"{kind}: {'refused' if case.refused else 'repaired' if case.repaired else 'not yet whole'}"] += 1
        if case.refused:
            print(f"seed {seed}: {case.refused}")
    for kind, number in sorted(found.items()):
        print(f"{number:5} {kind}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
