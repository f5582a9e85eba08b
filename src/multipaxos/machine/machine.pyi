from typing import Final

from typing_extensions import disjoint_base

REFUSED_SLOT: Final[bytes]

@disjoint_base
class Machine:
    @property
    def version(self) -> int: ...
    def reads(self, command: bytes) -> bool: ...
    def state_hash_int(self) -> int: ...
    def apply_bytes(
        self, slot: int, time_ns: int, session: int, command: bytes, machine_version: int = 1
    ) -> tuple[bool, bytes]: ...

class RefusingMachine(Machine): ...
