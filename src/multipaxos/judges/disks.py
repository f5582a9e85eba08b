"""What the oracle reads of a disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol


class Vote(NamedTuple):
    """A record that became durable: slots [first, end) are held at `ballot`; `frame` is their phase 2a."""

    first: int
    end: int
    ballot: int
    frame: bytes


class Hidden(NamedTuple):
    """A pvalue of a lower ballot that took the place of one at `higher`: a fault of the node."""

    slot: int
    ballot: int
    higher: int


class DurableState(Protocol):
    """One node's disk, as it is now: what its node may claim."""

    @property
    def incarnation(self) -> int:
        """Of this disk."""

    @property
    def voters(self) -> bytes | None:
        """The voter record: eight bytes little-endian for each node, its incarnation. None: not founded."""

    @property
    def accepted(self) -> Mapping[int, int]:
        """Slot -> the ballot at which it is held."""

    @property
    def promised(self) -> int:
        """The highest ballot that the disk names."""

    @property
    def damaged(self) -> bool:
        """Was any of its records damaged?"""

    @property
    def remembered(self) -> Mapping[int, int]:
        """Slot -> ballot of what was damaged since the node's process started: it still knows that."""

    @property
    def decided(self) -> int:
        """Below this slot all slots are decided, and the disk says so."""

    def take_votes(self) -> list[Vote]:
        """The records that became durable since the last call."""

    def take_hidden(self) -> list[Hidden]:
        """The pvalues that were hidden since the last call; there may be none."""
