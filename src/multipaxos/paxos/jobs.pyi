from typing import final

from multipaxos.machine.python_machine import PythonMachine
from multipaxos.paxos.session_table import SessionTable
from multipaxos.paxos.settings import Settings
from multipaxos.paxos.slots import Ring

@final
class Jobs:
    @property
    def commands(self) -> list[tuple[int, int, int, int, bytes]]: ...
    @property
    def answer_bytes_max(self) -> int: ...
    def __new__(cls, machine: PythonMachine, decisions: Ring, sessions: SessionTable, settings: Settings) -> Jobs: ...
