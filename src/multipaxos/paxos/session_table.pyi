from typing import final

from multipaxos.machine.machine import Machine

SESSIONS_MAX: int
UNACKNOWLEDGED_MAX: int

@final
class SessionTable:
    @property
    def count(self) -> int: ...
    @property
    def chain(self) -> int: ...
    def __new__(cls, sessions_max: int = ...) -> SessionTable: ...
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
