from typing import final

from typing_extensions import disjoint_base

from multipaxos.machine.state_machine import StateMachine

@disjoint_base
class Machine:
    def state_hash_int(self) -> int: ...
    def apply_bytes(self, slot: int, time_ns: int, session: int, command: bytes) -> tuple[bool, bytes]: ...

@final
class PythonMachine(Machine):
    def __init__(self, machine: StateMachine) -> None: ...
