from typing import final

from multipaxos.machine.machine import Machine
from multipaxos.machine.state_machine import StateMachine

@final
class PythonMachine(Machine):
    def __init__(self, machine: StateMachine) -> None: ...
