"""The interface of a replicated state machine: implement it, and every replica of a cluster keeps the same state.

Rules for an implementation.
- Every replica calls `apply` with the same commands in the same order, and `apply` must do the same on all of them: no
  clock (use ``context.time_ns``), no randomness, no IO, no iteration over sets, nothing that depends on the process.
- An exception of any type is an answer too: its type and text are sent to the client. Every replica must raise it, and
  `apply` must leave the state as it was then.
- Let MemoryError, KeyboardInterrupt and CancelledError pass: they come from outside the command, and end the node.
- `apply` runs in a thread of its own, with at most 1,000 levels of Python functions; the constructor does not.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import NamedTuple

STORE = "key-value"


class Context(NamedTuple):
    """What `apply` may know beside the command; equal on every replica."""

    slot: int
    """The slot that the command was decided in."""
    time_ns: int
    """The machine's clock, in nanoseconds of UTC: the greatest time of a decided command so far. It never goes back."""
    session: int
    """The client session that sent the command."""
    machine_version: int = 1
    """The version that all replicas run at this slot, see ``StateMachine.version``."""


class StateMachine(ABC):
    """A deterministic state machine. ``multipaxos.Server(..., machine=YourMachine())`` replicates it."""

    version: int = 1
    """The newest version that this code can be. `apply` has to do what the version in ``context.machine_version`` does:
    1 when the log begins, raised by ``multipaxos machine-version N`` when every node runs code that knows N. So the
    code of a cluster is replaced node by node, and all replicas change what they do at one slot. A node whose
    code is too old for the log stops."""

    @abstractmethod
    def apply(self, command: bytes, context: Context) -> bytes:
        """Executes `command` and returns the answer, of at most 1 MiB."""

    @abstractmethod
    def snapshot(self) -> Iterator[bytes]:
        """The whole state, in chunks of at most 1 MiB. Equal states must give equal chunks in the same order."""

    @abstractmethod
    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replaces the state by the one whose `snapshot` gave `chunks`."""


def machine_name(machine: StateMachine | None) -> str:
    """The name of a machine in the configuration that data directories keep: `package.module:Class`, or that of the
    key-value store. A cluster keeps its machine, so the class keeps its name."""
    return STORE if machine is None else f"{type(machine).__module__}:{type(machine).__qualname__}"
