"""The slots that a node knows to be decided, written into its trace as soon as it knows them.

Theory. Frames only say where to look. Whether a slot is decided, at which ballot and with which command, is asked of
the core after each step. Only the time of a command is not in the core: it belongs to the run that brought the command,
so it is remembered from every run that is sent, received or stored, by slot and ballot.

Rules. Each slot is written once in a life of the node: those below `slot_out` in order, those above a gap as soon as a
message or the node's own leader says that they are decided.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from multipaxos.storage.interface import Storage
from multipaxos.trace.file import Trace
from multipaxos.trace.messages import command_hash
from multipaxos.wire.codec import decode_phase2a
from multipaxos.wire.record import parts_of, parts_of_batch

if TYPE_CHECKING:
    from multipaxos.node.node import Node
    from multipaxos.node.output import Batch

READ_BYTES = 64 << 20


class DecidedSlots:
    """What the core has decided and its trace does not have yet."""

    def __init__(self, core: Node, trace: Trace) -> None:
        self.core = core
        self.trace = trace
        self.next = core.slot_out  # all slots below it are in the trace
        self.early: set[int] = set()  # slots above `next` that are in the trace
        self.times_ns: dict[int, dict[int, int]] = {}  # by slot, then by ballot
        self.places: list[tuple[int, int]] = []  # [first, end) of slots that may be decided
        self.looked = (0, 1)  # the last watermark's ballot, and the end of the slots that were looked at for it

    # -- what comes, goes and is stored

    def load(self, storage: Storage) -> None:
        """Notes the times of what the disk holds above the applied slots."""
        first, end = self.next, self.core.acceptor.end
        while first < end:
            first, records = storage.read(first, end, READ_BYTES)
            for _, _, value in records:
                parts = parts_of(value)
                if parts is not None:  # of a damaged record the core holds nothing either
                    begins, ends, _, frame = parts
                    self.note_run(frame, begins, ends)

    def note_run(self, frame: bytes, first: int, end: int) -> None:
        """Notes the time of a run that brings commands for the slots [first, end)."""
        if end > self.next:
            ballot, _, time_ns, _, _ = decode_phase2a(frame)
            self.note_times(ballot, first, end, time_ns)

    def note_times(self, ballot: int, first: int, end: int, time_ns: int) -> None:
        """Notes the time of the commands of slots [first, end) at a ballot."""
        for slot in range(max(first, self.next), end):
            self.times_ns.setdefault(slot, {})[ballot] = time_ns

    def note_batch(self, batch: Batch) -> None:
        """Notes the runs that the core stores: a leader that is alone sends its runs to no one."""
        for first, end, _, frame in parts_of_batch(batch.records):
            self.note_run(frame, first, end)

    def note_message(self, message: Mapping[str, Any]) -> None:
        """Notes what a message that was sent or received says of slots."""
        kind = message["kind"]
        if kind == "phase2a":
            first = message["first"]
            self.note_times(message["ballot"], first, first + len(message["commands"]), message["time_ns"])
        elif kind == "fetched":
            for pvalues in message["pvalues"]:
                self.places.append((pvalues["first"], pvalues["end"]))
                self.note_run(pvalues["run"], pvalues["first"], pvalues["end"])
        if kind == "decision":
            self.note_watermark(message["ballot"], message["first"], message["end"])
        elif "decided_end" in message:
            self.note_watermark(message["decided_ballot"], message["decided_first"], message["decided_end"])

    def note_watermark(self, ballot: int, first: int, end: int) -> None:
        """Notes which slots are decided; those that an earlier watermark of the ballot had are not looked at again."""
        ring = self.core.replica.decisions
        ballot_before, before = self.looked
        self.places.append((max(first, before) if ballot == ballot_before else first, end))
        self.looked = (ballot, min(end, ring.base + ring.capacity))

    # -- what goes into the trace

    def add(self, at_ns: int) -> None:
        """Adds what was decided and applied since the last call."""
        end, commanders = self.core.slot_out, self.core.leader.commanders
        new = [slot for slot in range(self.next, end) if slot not in self.early]
        if commanders.decided_end > end:
            self.places.append((commanders.start, commanders.decided_end))
        above = self._decided_above(end)
        self.early |= above
        self._add_decided(at_ns, [*new, *sorted(above)])
        if end > self.next:
            self.trace.add(at_ns, "applied", first=self.next, end=end)
            for slot in range(self.next, end):
                self.times_ns.pop(slot, None)
                self.early.discard(slot)
            self.next = end

    def _decided_above(self, lowest: int) -> set[int]:
        """The slots from `lowest` on, in the places noted, that are decided and not in the trace."""
        ring = self.core.replica.decisions
        limit = ring.base + ring.capacity
        places, self.places = self.places, []
        return {
            slot
            for first, end in places
            for slot in range(max(first, lowest), min(end, limit))
            if slot not in self.early and (ring.row(slot) or (0, 0, False))[2]
        }

    def _add_decided(self, at_ns: int, slots: Iterable[int]) -> None:
        """Adds a line for each stretch of slots that are held at one ballot."""
        stretch: list[int] = []
        held = 0
        for slot in slots:
            row = self.core.replica.decisions.row(slot)
            assert row is not None, f"slot {slot} was decided and is not in memory"
            if stretch and (slot != stretch[-1] + 1 or row[0] != held):
                self._add_stretch(at_ns, stretch, held)
                stretch = []
            held = row[0]
            stretch.append(slot)
        if stretch:
            self._add_stretch(at_ns, stretch, held)

    def _add_stretch(self, at_ns: int, slots: list[int], ballot: int) -> None:
        hashes = []
        for slot in slots:
            command = self.core.command_at(slot)
            assert command is not None, f"slot {slot} was decided and its command is not in memory"
            hashes.append(command_hash(*command))
        self.trace.add(
            at_ns,
            "decided",
            first=slots[0],
            end=slots[-1] + 1,
            ballot=ballot,
            hashes=hashes,
            times_ns=[self.times_ns.get(slot, {}).get(ballot) for slot in slots],
        )
