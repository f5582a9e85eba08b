"""A pretend disk: what a crash leaves.

Rules. It is the shipped memory storage, of which only what was committed survives: a batch that is on its way when the
process dies is there as a whole or not at all. `promised` and `accepted` say what its owner may claim: they are for the
oracle, which looks at disks and not into processes. A log may be collected while no process runs on it: what lies below
the new mark goes, and the mark and the ballots that went with it are put, in one step.
"""

from __future__ import annotations

from collections.abc import Mapping

from multipaxos.storage.memory import MemoryStorage
from multipaxos.storage.records import Record, split
from multipaxos.wire.codec import decode_phase2a


class Disk(MemoryStorage):
    """The disk of one host; a lost disk is replaced by a new one."""

    def __init__(self, incarnation: int) -> None:
        super().__init__()
        self.incarnation = incarnation
        self.accepted: dict[int, int] = {}  # slot -> the ballot at which it is held
        self.votes: list[tuple[int, int, int, bytes]] = []  # (first, end, ballot, frame), new since the oracle looked
        self.hidden: list[tuple[int, int, int]] = []  # (slot, ballot, the higher one that it hides): there may be none

    @property
    def voters(self) -> bytes | None:
        """The voter record."""
        return self.meta().get(b"voter")

    @property
    def mark(self) -> int:
        """Below this slot all is decided and forgotten."""
        return int.from_bytes(self.meta().get(b"mark", b"\1"), "little")

    @property
    def promised(self) -> int:
        """The highest ballot that it knows of."""
        return max(int.from_bytes(self.meta().get(b"ballot", b""), "little"), max(self.accepted.values(), default=0))

    @property
    def decided(self) -> int:
        """Below this slot all is decided, and it says so."""
        return int.from_bytes(self.meta().get(b"decided", b"\1"), "little")

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        """Everything of the batch, at once."""
        super().commit(meta, records)
        for first, end, frame in split(records):
            ballot = decode_phase2a(frame)[0]
            self.votes.append((first, end, ballot, frame))
            for slot in range(first, end):
                if ballot < self.accepted.get(slot, 0):
                    self.hidden.append((slot, ballot, self.accepted[slot]))
                self.accepted[slot] = ballot  # of the records of a slot the newest holds, as at a restart

    def collect(self, mark: int) -> None:
        """Everything below `mark` is decided and forgotten; the ballots that it was held at are not."""
        kept: list[Record] = [record for record in super().records() if record[2] > mark]
        numbers = {b"ballot": self.promised, b"mark": mark, b"decided": max(mark, self.decided)}
        self.commit({key: number.to_bytes(8, "little") for key, number in numbers.items()}, b"")
        self._indexed = kept
        self.accepted = {slot: ballot for slot, ballot in self.accepted.items() if slot >= mark}
