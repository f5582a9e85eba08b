from typing import final

from multipaxos.machine.machine import Machine
from multipaxos.machine.semantics import Semantics

@final
class SessionTable:
    @property
    def count(self) -> int: ...
    @property
    def kept_bytes(self) -> int: ...
    @property
    def rings(self) -> int: ...
    @property
    def semantics(self) -> Semantics: ...
    def __new__(cls, semantics: Semantics) -> SessionTable: ...
    def apply_command(
        self,
        machine: Machine,
        slot: int,
        session: int,
        sequence: int,
        unacknowledged: int,
        payload: bytes,
        kind: int = ...,
        nonce: int = 0,
    ) -> tuple[int, int, int, bytes]: ...
    def state_hash_int(self) -> int: ...
    def invariants(self) -> None: ...
    def describe(self, id: int, nonce: int) -> tuple[int, int, int, int] | None: ...
