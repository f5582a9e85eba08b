from typing_extensions import disjoint_base

from multipaxos.machine import Machine

@disjoint_base
class Sessions:
    @property
    def count(self) -> int: ...
    @property
    def chain(self) -> int: ...
    def __new__(cls, sessions_max: int = 65536) -> Sessions: ...
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
    def describe(self, id: int) -> tuple[int, int, int] | None: ...
