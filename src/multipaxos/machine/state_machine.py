"""The interface of a replicated state machine: write one, and any number of nodes keep it identical.

Rules for whoever writes one. `apply` is called on every replica with the same commands in the same order, and must
do the same
there: no clock (use ``context.time_ns``), no randomness, no IO, no iteration over sets, no dependence on the
process. An exception is an
answer too: its type and text go to the client that sent the command, and must be the same everywhere; the state must
be unchanged
when it is raised.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Context(NamedTuple):
    """What a command may know of its circumstances, equal on every replica."""

    slot: int
    """The slot that the command was decided in."""
    time_ns: int
    """The machine's clock, in nanoseconds of UTC: the greatest time of a decided command so far. It never goes back."""
    session: int
    """The client session that sent the command."""


class StateMachine(ABC):
    """A deterministic machine. ``multipaxos.Server(..., machine=YourMachine())`` replicates it."""

    @abstractmethod
    def apply(self, command: bytes, context: Context) -> bytes:
        """Changes the state as `command` says and returns the answer, at most 1 MiB."""

    @abstractmethod
    def snapshot(self) -> Iterator[bytes]:
        """The whole state, in chunks of at most 1 MiB, in an order that the state alone decides."""

    @abstractmethod
    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replaces the state by what `snapshot` gave."""
