"""The judge of cost: how often commands were carried between nodes, how many slots they took, who was elected.

Theory. A protocol may keep every promise and carry the same megabyte a hundred times. What one copy per node and
message takes is known from the messages themselves: a command is needed once in each kind of message between two nodes
and, where a message has a ballot, once at each ballot. Everything beyond is a repetition.

Rules.
- Bytes are those of frames that a node gave to a link, whether or not they arrived; a repetition counts with the bytes
  of its commands. What carries no command (pings, votes) is needed.
- The bounds hold where no fault was made for ten seconds, and after a single fault.
- Memory is what the rings, queues and links of one process hold, in bytes, when somebody looks (`on_memory`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from multipaxos.judges.violation import Violation
from multipaxos.wire.codec import decode_phase2a

BYTES_MAX = 1.2  # times the bytes that are needed
SLOTS_MAX = (1.1, 2.0)  # of a command: without a fault, after one
ELECTIONS_MAX = (0, 1)

Name = tuple[int, int, int]  # of a command: session, nonce, sequence


def runs_of(message: dict[str, Any]) -> Iterator[tuple[int, list[tuple[Name, int]]]]:
    """Each run of a message: its ballot, and of its commands the name and the bytes."""
    for pvalues in message.get("pvalues", ()):
        ballot, _, _, _, commands = decode_phase2a(pvalues["run"])
        yield ballot, [((one[0], one[5], one[1]), len(one[4])) for one in commands]
    if "commands" in message:
        named = [((one["session"], one["nonce"], one["sequence"]), len(one["payload"])) for one in message["commands"]]
        yield message.get("ballot", 0), named


class Cost:
    """What one run costs."""

    def __init__(self) -> None:
        self.carried_bytes = 0
        self.repeated_bytes = 0
        self.memory_bytes = 0  # the most that one process held
        self._carried: set[tuple[int, int, str, int, Name]] = set()

    @property
    def needed_bytes(self) -> int:
        """What one copy per node and message would have taken."""
        return self.carried_bytes - self.repeated_bytes

    @property
    def ratio(self) -> float:
        """How many times the bytes that are needed were carried."""
        return self.carried_bytes / max(1, self.needed_bytes)

    def begin(self) -> None:
        """The bytes are counted from now on."""
        self.carried_bytes = self.repeated_bytes = self.memory_bytes = 0

    def on_send(self, sender: int, receiver: int, message: dict[str, Any], size: int) -> None:
        """A node gives a frame to a link; `receiver` -1: it is a client's."""
        if receiver < 0:
            return
        self.carried_bytes += size
        kind = message["kind"]
        for ballot, commands in runs_of(message):
            at = message.get("ballot", 0) or ballot
            for name, payload_bytes in commands:
                copy = sender, receiver, kind, at, name
                if copy in self._carried:
                    self.repeated_bytes += payload_bytes
                self._carried.add(copy)

    def on_memory(self, held_bytes: int) -> None:
        """So much is held by one process now."""
        self.memory_bytes = max(self.memory_bytes, held_bytes)

    def check(self, *, commands: int, slots: int, elections: int, faults: int, memory_bytes_max: int) -> None:
        """Raises Violation where a bound does not hold, after no fault or a single one."""
        if slots > SLOTS_MAX[faults] * commands:
            raise Violation(f"cost: {slots} slots for {commands} commands, with {faults} faults")
        if elections > ELECTIONS_MAX[faults]:
            raise Violation(f"cost: {elections} elections, with {faults} faults")
        if self.ratio > BYTES_MAX:
            raise Violation(
                f"cost: {self.carried_bytes:,} bytes carried, one copy per node and message is {self.needed_bytes:,}"
            )
        if self.memory_bytes > memory_bytes_max:
            raise Violation(f"cost: a process held {self.memory_bytes:,} bytes, its bound is {memory_bytes_max:,}")
