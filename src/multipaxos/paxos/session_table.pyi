from typing import final

from multipaxos.machine.machine import Machine
from multipaxos.machine.semantics import Semantics

@final
class SessionTable:
    @property
    def count(self) -> int: ...
    @property
    def chain(self) -> int: ...
    def __new__(cls, semantics: Semantics) -> SessionTable: ...
    def apply_command(
        self,
        machine: Machine,
        slot: int,
        session: int,
        sequence: int,
        unacknowledged: int,
        payload: bytes,
        opening: bool = False,
    ) -> tuple[int, int, int, bytes]: ...
    def invariants(self) -> None: ...
    def describe(self, id: int) -> tuple[int, int, int] | None: ...
