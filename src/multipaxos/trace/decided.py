"""Decided slots in a trace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from multipaxos.storage.interface import Storage
from multipaxos.storage.records import split
from multipaxos.trace.file import Trace
from multipaxos.trace.messages import command_hash
from multipaxos.wire.codec import decode_phase2a

if TYPE_CHECKING:
    from multipaxos.node.node import Node
    from multipaxos.node.output import Batch

READ_BYTES = 64 << 20


class DecidedSlots:
    """What the core has decided and this trace has not told yet.

    Frames only say where to look: whether a slot is decided, at which ballot and with which command, the core says. The
    time of a command is of its run: it is remembered from whatever brought it, by slot and ballot.
    """

    def __init__(self, core: Node, trace: Trace) -> None:
        self.core = core
        self.trace = trace
        self.next = core.slot_out
        self.early: set[int] = set()  # decided above a gap, and told
        self.times: dict[int, dict[int, int]] = {}
        self.places: list[tuple[int, int]] = []  # where something may be decided
        self.looked = (0, 1)  # a watermark's ballot, and up to where it was looked at

    def load(self, storage: Storage) -> None:
        """The times of what the disk holds above what is applied."""
        first, end = self.next, self.core.acceptor.end
        while first < end:
            first, records = storage.read(first, end, READ_BYTES)
            for _, begins, ends, frame in records:
                self.note_run(frame, begins, ends)

    def note_run(self, frame: bytes, first: int, end: int) -> None:
        """A run that brings commands for [first, end)."""
        if end > self.next:
            at, _, time_ns, _, _ = decode_phase2a(frame)
            self.note_times(at, first, end, time_ns)

    def note_times(self, at: int, first: int, end: int, time_ns: int) -> None:
        for slot in range(max(first, self.next), end):
            self.times.setdefault(slot, {})[at] = time_ns

    def note_batch(self, batch: Batch) -> None:
        """What the core has written down: a leader that is alone sends its runs to nobody."""
        for first, end, frame in split(batch.records):
            self.note_run(frame, first, end)

    def note_message(self, message: Mapping[str, Any]) -> None:
        """A message that came or went."""
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

    def note_watermark(self, at: int, first: int, end: int) -> None:
        """It says what is decided, not whether the core could know the command: that is looked at once."""
        ring = self.core.replica.decisions
        ballot_before, before = self.looked
        self.places.append((max(first, before) if at == ballot_before else first, end))
        self.looked = (at, min(end, ring.base + ring.capacity))

    def tell(self, at_ns: int) -> None:
        """What is decided and applied since the last call."""
        end, leader, ring = self.core.slot_out, self.core.leader, self.core.replica.decisions
        fresh = [slot for slot in range(self.next, end) if slot not in self.early]
        if leader.decided_end > end:
            self.places.append((leader.start, leader.decided_end))
        if self.places:
            limit = ring.base + ring.capacity
            above = {
                slot
                for begins, ends in self.places
                for slot in range(max(begins, end), min(ends, limit))
                if slot not in self.early and (ring.row(slot) or (0, 0, False))[2]
            }
            self.places.clear()
            self.early |= above
            fresh += sorted(above)
        self.tell_decided(at_ns, fresh)
        if end > self.next:
            self.trace.tell(at_ns, "applied", first=self.next, end=end)
            for slot in range(self.next, end):
                self.times.pop(slot, None)
                self.early.discard(slot)
            self.next = end

    def tell_decided(self, at_ns: int, slots: Iterable[int]) -> None:
        """A line for each stretch of one ballot."""
        stretch: list[int] = []
        held = 0
        for slot in slots:
            row = self.core.replica.decisions.row(slot)
            assert row is not None, f"slot {slot} was decided and is not in memory"
            if stretch and (slot != stretch[-1] + 1 or row[0] != held):
                self.tell_stretch(at_ns, stretch, held)
                stretch = []
            held = row[0]
            stretch.append(slot)
        if stretch:
            self.tell_stretch(at_ns, stretch, held)

    def tell_stretch(self, at_ns: int, slots: list[int], at: int) -> None:
        hashes = []
        for slot in slots:
            command = self.core.command_at(slot)
            assert command is not None, f"slot {slot} was decided and its command is not in memory"
            hashes.append(command_hash(*command))
        times_ns = [self.times.get(slot, {}).get(at) for slot in slots]
        self.trace.tell(
            at_ns, "decided", first=slots[0], end=slots[-1] + 1, ballot=at, hashes=hashes, times_ns=times_ns
        )
