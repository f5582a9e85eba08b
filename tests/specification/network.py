"""Processes, and the asynchronous network between them (PMMC, section 1).

A message that is sent goes into a bag, from which any message may be delivered, lost or repeated at any time; `sent`
keeps all messages there ever were. A process sees nothing of this: it has `receive`, `send`, `spawn` and `exit`, as in
the figures.

A message of a scout or commander to its leader is never repeated: they are threads of the leader (section 2.3), and a
second <adopted> of one ballot would spawn its commanders twice, against C1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

from tests.specification.terms import Adopted, Chosen, Id, Preempted

WITHIN_A_LEADER = (Adopted, Preempted, Chosen)


class Envelope(NamedTuple):
    """A message on its way."""

    to: Id
    message: Any
    sender: Id


class Process(ABC):
    """A process of a figure: its state, and its turn of the loop."""

    def __init__(self, id: Id, network: Network) -> None:
        self.id = id
        self.network = network

    def start(self) -> None:  # noqa: B027 (most figures have no such part)
        """The part of the figure before its loop."""

    @abstractmethod
    def receive(self, message: Any) -> None:
        """One turn of the loop: `switch receive()`."""

    def send(self, to: Id, message: Any) -> None:
        """`send(to, message)`."""
        self.network.send(Envelope(to, message, self.id))

    def spawn(self, process: Process) -> None:
        """`spawn(process)`."""
        self.network.spawn(process)

    def exit(self) -> None:
        """`exit()`."""
        self.network.exit(self.id)


class Network:
    """All processes, and the bag."""

    def __init__(self) -> None:
        self.processes: dict[Id, Process] = {}
        self.bag: list[Envelope] = []
        self.sent: set[Envelope] = set()
        self.spawned: list[Process] = []

    def spawn(self, process: Process) -> None:
        """A new process begins."""
        self.processes[process.id] = process
        self.spawned.append(process)
        process.start()

    def exit(self, id: Id) -> None:
        """A process ends; messages on their way to it will be ignored."""
        self.processes.pop(id, None)

    def send(self, envelope: Envelope) -> None:
        """A message goes into the bag."""
        self.sent.add(envelope)
        self.bag.append(envelope)

    def deliver(self, at: int, again: bool = False) -> None:
        """One message of the bag arrives; `again`: it stays there, and may arrive once more."""
        again = again and not isinstance(self.bag[at].message, WITHIN_A_LEADER)
        envelope = self.bag[at] if again else self.bag.pop(at)
        process = self.processes.get(envelope.to)
        if process is not None:
            process.receive(envelope.message)

    def lose(self, at: int) -> None:
        """One message of the bag never arrives."""
        self.bag.pop(at)
