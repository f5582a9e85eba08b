"""A simulated disk: what a crash leaves.

Rules. It is the shipped memory storage, of which only what was committed survives: a batch that is on its way when the
process dies is kept as a whole or not at all. `promised` and `accepted` say what its node may claim; the oracle reads
them, because it looks at disks and not into processes. A log may be collected while no process runs on it: the records
below the new mark go, and the mark and the highest ballot are put, in one step. A record that is damaged says nothing:
`accepted` has what is left of its slots, and nothing where it held them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from multipaxos.judges.disks import Hidden, Vote
from multipaxos.node.output import META_BALLOT, META_DECIDED, META_MARK, META_VOTER
from multipaxos.storage.keys import check_keys, sum_of_keys
from multipaxos.storage.memory import MemoryStorage
from multipaxos.storage.records import Record
from multipaxos.wire.codec import decode_phase2a
from multipaxos.wire.record import ends_below, judgement_of, parts_of, parts_of_batch


class Disk(MemoryStorage):
    """The disk of one host; a lost disk is replaced by a new one."""

    def __init__(self, incarnation: int) -> None:
        super().__init__()
        self.incarnation = incarnation
        self.accepted: dict[int, int] = {}  # slot -> the ballot at which it is held
        self.damaged = False
        self.remembered: dict[int, int] = {}  # slot -> ballot, damaged while the present process knew it
        self._sum = sum_of_keys(())
        self._votes: list[Vote] = []
        self._hidden: list[Hidden] = []

    @property
    def voters(self) -> bytes | None:
        """The voter record."""
        return self.meta().get(META_VOTER)

    @property
    def mark(self) -> int:
        """Below this slot all is decided and forgotten."""
        return int.from_bytes(self.meta().get(META_MARK, b"\1"), "little")

    @property
    def promised(self) -> int:
        """The highest ballot that it names."""
        return max(int.from_bytes(self.meta().get(META_BALLOT, b""), "little"), max(self.accepted.values(), default=0))

    @property
    def decided(self) -> int:
        """Below this slot all is decided, and it says so."""
        return int.from_bytes(self.meta().get(META_DECIDED, b"\1"), "little")

    def take_votes(self) -> list[Vote]:
        """The records that were committed since the last call."""
        votes, self._votes = self._votes, []
        return votes

    def take_hidden(self) -> list[Hidden]:
        """The pvalues that records of lower ballots have hidden since the last call."""
        hidden, self._hidden = self._hidden, []
        return hidden

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        """Applies the whole batch at once."""
        super().commit(meta, records)
        if meta:
            self._sum = sum_of_keys(self._meta.items())
        for first, end, _, frame in parts_of_batch(records):
            ballot = decode_phase2a(frame)[0]
            self._votes.append(Vote(first, end, ballot, frame))
            for slot in range(first, end):
                if ballot < self.accepted.get(slot, 0):
                    self._hidden.append(Hidden(slot, ballot, self.accepted[slot]))
                self.accepted[slot] = ballot  # of the records of a slot the newest one holds, as at a restart

    def damage(self, record: Record, at: int, bits: int) -> None:
        """Flips bits of one byte of a record's bytes, `at` counted from its header on."""
        first, index, value = record
        records = list(self.records())
        records[records.index(record)] = first, index, value[:at] + bytes([value[at] ^ bits]) + value[at + 1 :]
        self.now_holds(records)

    def now_holds(self, records: list[Record]) -> None:
        """Some of its records are not any more what was committed."""
        self._indexed = records
        self.damaged = True
        before, self.accepted = self.accepted, self._still_accepted()
        self.remembered |= {slot: ballot for slot, ballot in before.items() if self.accepted.get(slot) != ballot}

    def damage_key(self, chance: random.Random) -> None:
        """Flips a bit of the value of one key."""
        key = chance.choice(sorted(key for key, value in self._meta.items() if value))
        value = bytearray(self._meta[key])
        value[chance.randrange(len(value))] ^= 1 << chance.randrange(8)
        self._meta[key] = bytes(value)

    @property
    def keys_are_whole(self) -> bool:
        """Would a process start from it? Whoever writes to a disk without a process looks first: a new sum would hide
        the damage."""
        return sum_of_keys(self._meta.items()) == self._sum

    def check(self) -> None:
        """What a process does first. Raises DamagedDirectory."""
        check_keys("the disk", self._meta.items(), self._sum)

    def _still_accepted(self) -> dict[int, int]:
        """What whole records say where no damaged one of a greater index may have covered the slot."""
        newest: dict[int, tuple[int, int]] = {}  # slot -> the greatest index over it, and the ballot; 0: damaged
        for first, index, value in self.records():
            parts = parts_of(value)
            ballot = 0 if parts is None else decode_phase2a(parts[3])[0]
            _, first, end, index = judgement_of(first, index, value)
            for slot in range(max(first, self.mark), end):
                newest[slot] = max(newest.get(slot, (0, 0)), (index, ballot))
        return {slot: ballot for slot, (_, ballot) in newest.items() if ballot}

    def collect(self, mark: int) -> None:
        """Forgets everything below `mark`, which is decided; the highest ballot is kept."""
        kept: list[Record] = [record for record in super().records() if not ends_below(record[2], len(record[2]), mark)]
        numbers = {META_BALLOT: self.promised, META_MARK: mark, META_DECIDED: max(mark, self.decided)}
        self.commit({key: number.to_bytes(8, "little") for key, number in numbers.items()}, b"")
        self._indexed = kept
        self.accepted = {slot: ballot for slot, ballot in self.accepted.items() if slot >= mark}
