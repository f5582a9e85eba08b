"""Did LibPaxos3 keep its promises? The counts of its clients are compared with the disks of its acceptors.

Theory. A value is chosen when a phase-2 quorum of acceptors has accepted it. An acceptor of LibPaxos3 on LMDB keeps, by
instance, the value that it accepted last: a C struct, then the value's bytes. So the disks of all acceptors show
whether a quorum still holds the values that were learnt, and whether an acceptor accepted another value at a higher
ballot. The values of the sample client are random, so equal values are one value that was proposed twice.

Rules. Disks are read after their processes have ended. An acceptor that was dead lacks the values that were chosen
meanwhile, and it never fetches them: its instances have holes, and only the highest one shows whether it takes part
again.
"""

from __future__ import annotations

import hashlib
import struct
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb

ACCEPTED = struct.Struct("@4IiP")  # acceptor, instance, ballot, ballot of the value, the value's size, a pointer
MAP_BYTES = 4 << 30

Value = bytes  # a value's hash
Held = Mapping[int, tuple[int, Value]]  # instance -> ballot and value


def read_held(directory: Path) -> Held:
    """The values that an acceptor has accepted. No process may use the directory."""
    held: dict[int, tuple[int, Value]] = {}
    with (
        lmdb.open(str(directory), readonly=True, lock=False, map_size=MAP_BYTES) as environment,
        environment.begin(buffers=True) as transaction,
    ):
        for _, row in transaction.cursor():
            if len(row) < ACCEPTED.size:
                continue  # the row that says how far it was trimmed
            _, instance, _, ballot, size, _ = ACCEPTED.unpack_from(row)
            if size > 0:  # else the acceptor has only promised
                value = bytes(row[ACCEPTED.size : ACCEPTED.size + size])
                held[instance] = ballot, hashlib.sha256(value).digest()
    return held


def chosen(disks: Mapping[int, Held], quorum: int) -> dict[int, tuple[int, Value]]:
    """By instance, the value that `quorum` acceptors hold, and the highest ballot at which one of them holds it; of two
    such values (an error, see `overwritten`) that of the lower ballot."""
    holders: defaultdict[tuple[int, Value], list[int]] = defaultdict(list)
    for held in disks.values():
        for instance, (ballot, value) in held.items():
            holders[instance, value].append(ballot)
    found = [(max(at), instance, value) for (instance, value), at in holders.items() if len(at) >= quorum]
    return {instance: (ballot, value) for ballot, instance, value in sorted(found, reverse=True)}


def overwritten(disks: Mapping[int, Held], decided: Mapping[int, tuple[int, Value]]) -> list[str]:
    """A sentence for each acceptor that holds another value than the chosen one, at a higher ballot."""
    return [
        f"instance {instance}: acceptor {node} accepted another value at ballot {ballot}, above {decided[instance][0]}"
        for node, held in disks.items()
        for instance, (ballot, value) in held.items()
        if instance in decided and value != decided[instance][1] and ballot > decided[instance][0]
    ]


def check(directories: Mapping[int, Path], quorum: int, learnt: int) -> dict[str, Any]:
    """Compares the disks with `learnt`, the number of values that the clients counted. `log_slots`: each acceptor's
    highest instance."""
    disks = {node: read_held(directory) for node, directory in directories.items()}
    decided = chosen(disks, quorum)
    values = {value for _, value in decided.values()}
    lost = max(0, learnt - len(values))
    failures = overwritten(disks, decided)
    if lost:
        failures.append(f"{lost} of {learnt} values that were learnt are held by no phase-2 quorum")
    return {
        "failures": failures,
        "log_slots": {node: max(held, default=0) for node, held in disks.items()},
        "lost_writes": lost,
        "proposed_again": len(decided) - len(values),
    }
