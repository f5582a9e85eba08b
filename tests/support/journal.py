"""A state machine whose state is its history: for tests of what is applied, and when."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from multipaxos.machine.state_machine import Context, StateMachine


class Journal(StateMachine):
    """Appends every command to a list and answers with its place."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []
        self.contexts: list[Context] = []

    def apply(self, command: bytes, context: Context) -> bytes:
        """Appends the command; the answer is its index as eight bytes, little-endian."""
        if command.startswith(b"raise"):
            raise ValueError(f"asked to raise at length {len(self.entries)}")
        self.entries.append(command)
        self.contexts.append(context)
        return (len(self.entries) - 1).to_bytes(8, "little")

    def snapshot(self) -> Iterator[bytes]:
        """Its entries."""
        return iter(list(self.entries))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Takes the entries that `snapshot` gave."""
        self.entries = list(chunks)
