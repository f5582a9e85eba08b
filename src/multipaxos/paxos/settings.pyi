from typing import Final, final

from multipaxos.machine.machine import Machine

SEMANTICS: Final[int]
MACHINE_VERSION: Final[int]
MACHINE_VERSION_MAX: Final[int]
SETTING_BYTES: Final[int]

def encode_setting(name: int, value: int) -> bytes: ...

@final
class Settings(Machine):
    @property
    def semantics(self) -> int: ...
    @property
    def machine_version(self) -> int: ...
    @property
    def semantics_known(self) -> int: ...
    @property
    def machine_known(self) -> int: ...
    def __new__(cls, semantics_known: int = 1, machine_known: int = 1) -> Settings: ...
