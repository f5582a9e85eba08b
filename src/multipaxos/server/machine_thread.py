"""The thread of a user's machine: the loop hands it jobs, and never waits for it.

Theory. A user's `apply` may take long, so it runs beside the loop: pings, votes and decisions go on meanwhile. It may
also be deep, and how deep it may be decides whether a command is answered or refused, so every node has to grant it the
same depth: this thread has a stack of a fixed size, and Python's recursion limit is set so that `apply` has DEPTH
levels, counted from its entry, whatever lies below it.

Rules.
- One job runs at a time. Recovery's jobs run here too, at the same depth, while their caller waits.
- A job ends early after JOB_S seconds, or when the thread is to stop: its first commands are answered, and the others
  come again. So a stop waits for the `apply` that runs, and for no other.
- Signals never run here: Python hands them to the main thread. What `apply` raises is `user_machine`'s to judge.
- The recursion limit is the process's, not the thread's. It is set again wherever a command has changed it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue

from multipaxos.machine.state_machine import Context, StateMachine
from multipaxos.machine.user_machine import Answer, Command, run

STACK_BYTES = 64 << 20
DEPTH = 1000
JOB_S = 0.01

Task = tuple[list[Command], int, "Future[list[Answer]]"]


class MachineThread:
    """A thread for `machine`. `mixed_python`: do other nodes run other versions of Python?"""

    def __init__(self, machine: StateMachine, mixed_python: bool = False) -> None:
        self._machine = machine
        self._mixed_python = mixed_python
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._stopping = False
        self._limit = 0  # of recursion, as `sys.setrecursionlimit` takes it
        self._ends_s = 0.0  # when the job that runs has to end
        before = threading.stack_size(STACK_BYTES)
        try:
            self._thread = threading.Thread(target=self._serve, name="machine", daemon=True)
            self._thread.start()
        finally:
            threading.stack_size(before)

    @property
    def version(self) -> int:
        """The newest version that the machine can be."""
        return self._machine.version

    def submit(self, commands: list[Command], answer_bytes_max: int) -> Future[list[Answer]]:
        """Applies the first of the commands, see `Output.job`. The future may end with MachineStopped, and is cancelled
        if the thread stops before it begins."""
        future: Future[list[Answer]] = Future()
        self._tasks.put((commands, answer_bytes_max, future))
        return future

    def run(self, commands: list[Command], answer_bytes_max: int) -> list[Answer]:
        """`submit`, and waits for the answers. Raises MachineStopped."""
        return self.submit(commands, answer_bytes_max).result()

    def stop(self) -> None:
        """Ends the thread after the `apply` that runs; does not wait for it."""
        self._stopping = True
        self._tasks.put(None)

    def join(self) -> None:
        """Waits for the end of the thread, which was told to stop."""
        self._thread.join()

    # -- on the thread

    def _serve(self) -> None:
        self._limit = 2 * DEPTH  # and then as much as gives `apply` DEPTH levels when it is called from here
        _, levels = self._apply(Levels(), [(0, 0, 0, 1, b"")], 0)[0]
        self._limit += DEPTH - int(levels)
        while (task := self._tasks.get()) is not None:
            commands, answer_bytes_max, future = task
            if self._stopping:
                future.cancel()
                continue
            try:
                future.set_result(self._apply(self._machine, commands, answer_bytes_max))
            except BaseException as error:  # any at all: whoever waits has to know
                future.set_exception(error)

    def _apply(self, machine: StateMachine, commands: list[Command], answer_bytes_max: int) -> list[Answer]:
        self._ends_s = time.monotonic() + JOB_S
        self._limit_depth()
        return run(machine, commands, answer_bytes_max, self._mixed_python, self._may_go_on)

    def _may_go_on(self) -> bool:
        self._limit_depth()
        return not self._stopping and time.monotonic() < self._ends_s

    def _limit_depth(self) -> None:
        if sys.getrecursionlimit() != self._limit:
            sys.setrecursionlimit(self._limit)


class Levels(StateMachine):
    """Answers how many levels of Python functions it may have, its own `apply` included."""

    def apply(self, command: bytes, context: Context) -> bytes:
        """The number of levels, as text."""
        return b"%d" % levels_from(1)

    def snapshot(self) -> Iterator[bytes]:
        """Nothing."""
        return iter(())

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Nothing."""


def levels_from(level: int) -> int:
    """How many levels there may be, if `level` are in use without this one."""
    try:
        return levels_from(level + 1)
    except RecursionError:
        return level
