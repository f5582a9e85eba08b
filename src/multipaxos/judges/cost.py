"""The judge of cost: how often commands were carried between nodes, how many slots they took, who was elected.

Theory. A protocol may keep every promise and carry the same megabyte a hundred times. What one copy per node and
message takes is known from the messages themselves: a command is needed once in each kind of message on each link
between two nodes and, where a message has slots and a ballot, once in each slot at each ballot. Everything beyond is a
repetition. A command that takes several slots is another matter: slots are counted too.

Rules.
- Bytes are those of frames that a node gave to a link, whether or not they arrived; a repetition counts with the bytes
  of its commands. What carries no command (pings, votes) is needed. A link that is new may have lost what its
  predecessor carried, so each link counts for itself.
- The bounds hold where no fault was made for ten seconds, and after a single fault.
- Memory is what the rings, queues and links of one process hold, in bytes, when somebody looks (`on_memory`); so are
  the undecided proposals of a leader, unless it was elected meanwhile and proposes again what others have accepted, and
  what waits on one link.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from multipaxos.judges.violation import Violation
from multipaxos.wire.codec import decode_phase2a

BYTES_MAX = 1.2  # times the bytes that are needed
SLOTS_MAX = (1.1, 2.0)  # of a command: without a fault, after one
ELECTIONS_MAX = (0, 1)
LINK_BYTES_MAX = 4 << 20  # the greatest budget of a link, one frame beyond it, and what one wake-up adds as control

Copied = tuple[int, ...]  # what a copy is of: ballot and slot; or session, nonce and sequence of a command


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a process may hold, in bytes: in all, and of undecided proposals."""

    memory_bytes: int
    in_flight_bytes: int
    link_bytes: int = LINK_BYTES_MAX


def copies_in(message: dict[str, Any]) -> Iterator[tuple[Copied, int]]:
    """Each command of a message: what it is a copy of, and its bytes. A pvalue that two scouts of one node are told is
    told twice."""
    for pvalues in message.get("pvalues", ()):
        ballot, first, _, _, commands = decode_phase2a(pvalues["run"])
        for slot, command in enumerate(commands, first):
            yield (ballot, slot), len(command[4])
    for place, command in enumerate(message.get("commands", ())):
        if "first" in message:
            yield (message["ballot"], message["first"] + place), len(command["payload"])
        else:
            yield (command["session"], command["nonce"], command["sequence"]), len(command["payload"])


class Cost:
    """What one run costs."""

    def __init__(self) -> None:
        self.carried_bytes = 0
        self.repeated_bytes = 0
        self.memory_bytes = 0  # the most that one process held
        self.in_flight_bytes = 0  # the most that one leader had undecided
        self.link_bytes = 0  # the most that waited on one link between nodes
        self._carried: set[tuple[int, str, Copied]] = set()

    @property
    def needed_bytes(self) -> int:
        """What one copy per link and message would have taken."""
        return self.carried_bytes - self.repeated_bytes

    @property
    def ratio(self) -> float:
        """How many times the bytes that are needed were carried."""
        return self.carried_bytes / max(1, self.needed_bytes)

    def begin(self) -> None:
        """The bytes are counted from now on."""
        self.carried_bytes = self.repeated_bytes = 0
        self.memory_bytes = self.in_flight_bytes = self.link_bytes = 0

    def on_send(self, link: int, message: dict[str, Any], size: int) -> None:
        """A node gives a frame to a link that leads to another node; no two links of a run have the same number."""
        self.carried_bytes += size
        for copied, payload_bytes in copies_in(message):
            copy = link, message["kind"], copied
            if copy in self._carried:
                self.repeated_bytes += payload_bytes
            self._carried.add(copy)

    def on_memory(self, held_bytes: int, in_flight_bytes: int) -> None:
        """So much is held by one process now, and is undecided there."""
        self.memory_bytes = max(self.memory_bytes, held_bytes)
        self.in_flight_bytes = max(self.in_flight_bytes, in_flight_bytes)

    def on_waiting(self, link_bytes: int) -> None:
        """So much waits on one link now."""
        self.link_bytes = max(self.link_bytes, link_bytes)

    def check(self, *, commands: int, slots: int, elections: int, faults: int, bounds: Bounds) -> None:
        """Raises Violation where a bound does not hold, after no fault or a single one."""
        if slots > SLOTS_MAX[faults] * commands:
            raise Violation(f"cost: {slots} slots for {commands} commands, with {faults} faults")
        if elections > ELECTIONS_MAX[faults]:
            raise Violation(f"cost: {elections} elections, with {faults} faults")
        if self.ratio > BYTES_MAX:
            raise Violation(
                f"cost: {self.carried_bytes:,} bytes carried, one copy per link and message is {self.needed_bytes:,}"
            )
        for held, bound, what in (
            (self.memory_bytes, bounds.memory_bytes, "a process held"),
            (0 if elections else self.in_flight_bytes, bounds.in_flight_bytes, "a leader had undecided"),
            (self.link_bytes, bounds.link_bytes, "on one link waited"),
        ):
            if held > bound:
                raise Violation(f"cost: {what} {held:,} bytes, the bound is {bound:,}")
