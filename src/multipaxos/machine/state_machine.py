"""The interface of a replicated state machine: implement it, and every replica of a cluster keeps the same state.

Rules for an implementation.
- Every replica calls `apply` with the same commands in the same order, and `apply` must do the same on all of them: no
  clock (use ``context.time_ns``), no randomness, no IO, no iteration over sets, nothing that depends on the process.
- An exception is an answer too: its type and text are sent to the client, so they must be equal on every replica; and
  `apply` must leave the state as it was when it raises one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Context(NamedTuple):
    """What `apply` may know beside the command; equal on every replica."""

    slot: int
    """The slot that the command was decided in."""
    time_ns: int
    """The machine's clock, in nanoseconds of UTC: the greatest time of a decided command so far. It never goes back."""
    session: int
    """The client session that sent the command."""


class StateMachine(ABC):
    """A deterministic state machine. ``multipaxos.Server(..., machine=YourMachine())`` replicates it."""

    @abstractmethod
    def apply(self, command: bytes, context: Context) -> bytes:
        """Executes `command` and returns the answer, of at most 1 MiB."""

    @abstractmethod
    def snapshot(self) -> Iterator[bytes]:
        """The whole state, in chunks of at most 1 MiB. Equal states must give equal chunks in the same order."""

    @abstractmethod
    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replaces the state by the one whose `snapshot` gave `chunks`."""
