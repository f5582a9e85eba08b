"""A user's machine that is tried hard: some of its commands raise, and on one node it may answer otherwise.

Theory. It is the key-value store in a Python wrapper, so that the judges of the store know its answers. *Trials* are
commands beside those of the store: each either raises one of TROUBLES, which every replica has to answer alike and
survive, or asks the machine for its opinion, which is another one on a node whose machine differs. The store is touched
by neither, so what a node that differs does to its clients before it notices shows in opinions only. A snapshot is the
history of the store: what `restore` applies again.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from multipaxos.errors import MultipaxosError
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.state_machine import Context, StateMachine

TRIAL = 0xEE  # the first byte of a trial: no operation of the store
OPINION = 0xFF
TROUBLES = (ValueError, RecursionError, SystemExit, GeneratorExit, StopIteration, BaseException)
AGREED, OTHERWISE = b"agreed", b"otherwise"
FACTS = struct.Struct("<QQQI")  # of a context


class StoreRefused(MultipaxosError):
    """The store refused a command."""


def trouble(number: int) -> bytes:
    """The command that raises one of TROUBLES."""
    return bytes([TRIAL, number % len(TROUBLES)])


def opinion() -> bytes:
    """The command that asks for an opinion."""
    return bytes([TRIAL, OPINION])


def is_trial(command: bytes) -> bool:
    """Is it none of the store's commands?"""
    return command[:1] == bytes([TRIAL])


def is_right(command: bytes, refused: bool, answer: bytes) -> bool:
    """Is that how a machine that does not differ answers this trial?"""
    if command == opinion():
        return (refused, answer) == (False, AGREED)
    return refused and answer.startswith(TROUBLES[command[1]].__name__.encode())


class TriedMachine(StateMachine):
    """`differs`: it has opinions of its own."""

    def __init__(self, store: KeyValue, differs: bool) -> None:
        self.store = store
        self.differs = differs
        self.history: list[tuple[Context, bytes]] = []

    def apply(self, command: bytes, context: Context) -> bytes:
        """A command of the store, or a trial."""
        if command == opinion():
            return OTHERWISE if self.differs else AGREED
        if is_trial(command):
            raise TROUBLES[command[1]]("a trial")
        self.history.append((context, command))
        refused, answer = self.store.apply_bytes(context.slot, context.time_ns, context.session, command)
        if refused:
            raise StoreRefused(answer.decode())
        return answer

    def snapshot(self) -> Iterator[bytes]:
        """The commands that the store has applied, one in a chunk."""
        for context, command in self.history:
            yield FACTS.pack(context.slot, context.time_ns, context.session, context.machine_version) + command

    def restore(self, chunks: Iterable[bytes]) -> None:
        """A new store applies them."""
        self.store = KeyValue()
        self.history = []
        for chunk in chunks:
            context = Context(*FACTS.unpack_from(chunk))
            self.history.append((context, chunk[FACTS.size :]))
            self.store.apply_bytes(context.slot, context.time_ns, context.session, chunk[FACTS.size :])
