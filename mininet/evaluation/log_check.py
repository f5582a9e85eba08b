"""Did the cluster keep its promises? The answers that clients received are compared with the logs on the nodes' disks.

Theory. The answer to a write names its slot. If the cluster kept the write, every node whose log reaches beyond that
slot holds there the command of that session and sequence; and two nodes hold the same command in every slot that both
know to be decided. Over all clients one log explains the answers: a write that was answered before another one was sent
has the lower slot.

Rules. Logs are read after their processes have ended. A node's log ends where its last status said: all slots below its
`slot_out` were decided, and its disk has what it had accepted there, even if the disk's own mark is older.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.records import OK, Operations
from multipaxos.load.operation_log import OPERATIONS
from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.trace.messages import command_hash
from multipaxos.wire.codec import decode_phase2a
from multipaxos.wire.record import parts_of

Command = tuple[int, int, str]  # session, sequence, and the hash of all of it
Log = Mapping[int, Command]  # slot -> what was decided there


def read_log(directory: Path, cluster: str, node: int, slot_out: int) -> Log:
    """The slots below `slot_out` in a node's data directory. No process may use the directory."""
    storage = LmdbStorage(directory, cluster, node)
    try:
        newest: dict[int, tuple[int, Command]] = {}
        for _, _, value in storage.records():
            parts = parts_of(value)
            if parts is None:
                continue  # damaged: a hole in this log, unless a newer record has the slot
            first, end, index, frame = parts
            _, run_first, _, _, commands = decode_phase2a(frame)
            for slot in range(first, min(end, slot_out)):
                if slot not in newest or newest[slot][0] < index:
                    newest[slot] = index, brief(commands[slot - run_first])
        return {slot: command for slot, (_, command) in newest.items()}
    finally:
        storage.close()


def brief(command: Sequence[Any]) -> Command:
    """A decoded command as session, sequence and hash."""
    session, sequence, kind, _, payload, *_ = command
    return session, sequence, command_hash(kind, session, sequence, payload)


def same_prefix(logs: Mapping[int, Log]) -> list[str]:
    """The failures that two nodes differ in a slot, or that a log has a hole."""
    failures: list[str] = []
    chosen: dict[int, tuple[int, Command]] = {}
    for node, log in logs.items():
        if log and len(log) != max(log) - min(log) + 1:
            failures.append(f"the log of node {node} has holes: {len(log)} slots of {min(log)} to {max(log)}")
        for slot, command in log.items():
            other, expected = chosen.setdefault(slot, (node, command))
            if command != expected:
                failures.append(f"slot {slot}: node {other} has {expected}, node {node} has {command}")
    return failures


def lost_writes(acknowledged: Operations, session: int, log: Log) -> int:
    """How many acknowledged writes of a session are not in the slots that their answers named."""
    writes = acknowledged[(acknowledged["outcome"] == OK) & (acknowledged["operation"] == OPERATIONS["put"])]
    return sum(
        log.get(int(slot), (0, 0, ""))[:2] != (session, int(sequence))
        for slot, sequence in zip(writes["slot"], writes["sequence"], strict=True)
    )


def proposed_again(logs: Iterable[Log]) -> int:
    """How many commands stand in more than one slot of a log; they are applied once."""
    longest = max(logs, key=len, default={})
    applied = [command[:2] for command in longest.values() if command[0]]
    return len(applied) - len(set(applied))


def one_log(operations: Operations) -> list[str]:
    """The failures that the answered slots are not of one log: a write that was answered before another one was sent
    must have the lower slot."""
    done = operations[(operations["outcome"] == OK) & (operations["operation"] == OPERATIONS["put"])]
    done = done[np.argsort(done["slot"], kind="stable")]
    failures: list[str] = []
    twice = np.flatnonzero(done["slot"][1:] == done["slot"][:-1])
    if twice.size:
        slot = done["slot"][twice[0]]
        failures.append(f"two writes were answered with slot {slot}, and {twice.size - 1} more such pairs")
    if done.size > 1:
        earliest_after = np.minimum.accumulate(done["answered_ns"][::-1])[::-1]
        wrong = np.flatnonzero(earliest_after[1:] < done["sent_ns"][:-1])
        if wrong.size:
            slot = done["slot"][wrong[0]]
            failures.append(f"slot {slot} was sent after a higher one was answered, and {wrong.size - 1} more such")
    return failures
