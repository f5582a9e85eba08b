from collections.abc import Callable
from typing import final

from multipaxos.machine.machine import Machine

@final
class PythonMachine(Machine):
    def __init__(
        self,
        run: Callable[[list[tuple[int, int, int, int, bytes]], int], list[tuple[bool, bytes]]],
        version: int = 1,
        *,
        inside: bool = False,
    ) -> None: ...
