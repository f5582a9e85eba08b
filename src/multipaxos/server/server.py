"""A node as a process, as its user holds it: made, started, served, stopped.

Theory. `Server` is the face of a node: what it is given, whether it was started, and its end. All that exists only
while the node runs is a `Running`.

Rules. A server is started once. A start that fails, and a stop, release the storage, the sockets and the threads.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from multipaxos.config.cluster import Config
from multipaxos.config.keys import keys_of
from multipaxos.config.members import is_whole
from multipaxos.errors import ConfigurationError, MultipaxosError
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.machine import Machine
from multipaxos.machine.python_machine import PythonMachine
from multipaxos.machine.state_machine import StateMachine, machine_name
from multipaxos.node.node import Node
from multipaxos.node.output import META_REFUSED, numbers, words
from multipaxos.paxos.settings import MACHINE_VERSION_MAX
from multipaxos.server.machine_thread import MachineThread
from multipaxos.server.running import Core, Running
from multipaxos.storage.interface import Storage
from multipaxos.transport.identity import Identity
from multipaxos.transport.meetings import Life
from multipaxos.transport.transport import Transport
from multipaxos.wire.schema import flatten

log = logging.getLogger("multipaxos.server")


class Server:
    """One node of a cluster. `machine`: a StateMachine of the user's; without one, the key-value store. `listen`: the
    (host, port) to listen on, if it is not the node's address in the configuration. `trace`: the file to which the node
    writes what it does, see `multipaxos.trace.traced_node`. `mixed_python`: nodes with a machine of the user's may run
    different minor versions of Python; then a RecursionError of the machine ends the node. `refused_slots`: slots whose
    commands are refused instead of being applied, for good, beside those that the storage keeps.

    Use as ``async with Server(config, 0, storage) as server: await server.serve_forever()``. Raises ConfigurationError
    if the configuration does not have the node or the node's port is taken; `serve_forever` raises StorageError if the
    disk fails, MachineStopped if the machine cannot apply a command.
    """

    def __init__(
        self,
        config: Config,
        node_id: int,
        storage: Storage,
        machine: StateMachine | None = None,
        listen: tuple[str, int] | None = None,
        trace: Path | None = None,
        *,
        mixed_python: bool = False,
        refused_slots: Collection[int] = (),
    ) -> None:
        if not 0 <= node_id < len(config.nodes):
            known = ", ".join(str(each.id) for each in config.nodes)
            raise ConfigurationError(
                f"the configuration of cluster {config.name!r} has no node {node_id}: its nodes are {known}"
            )
        if machine is not None and not (is_whole(machine.version) and 1 <= machine.version <= MACHINE_VERSION_MAX):
            raise ConfigurationError(
                f"{type(machine).__name__}.version is {machine.version!r}: versions are 1 to {MACHINE_VERSION_MAX}"
            )
        self.config = config
        self.node_id = node_id
        self.storage = storage
        self.listen = listen
        self.trace = trace
        self._user_machine = machine
        self._mixed_python = mixed_python
        self._refused_slots = refused_slots
        self._charter = config.charter(machine_name(machine))
        self._thread: MachineThread | None = None
        self._process = secrets.randbits(63) | 1  # the number of this process in its node's hellos
        self._running: Running | None = None
        self._started = False
        self._stopped = False

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Recovers from the storage, listens and dials. A start that fails releases everything."""
        if self._started:
            raise MultipaxosError(f"node {self.node_id} was started before: make a new Server for a new start")
        self._started = True
        try:
            kept = self.storage.meta()
            first = self._first_meta(kept)
            keys = keys_of(self.config, self.listen or self.config.nodes[self.node_id].place)
            if self._user_machine is not None:
                self._thread = MachineThread(self._user_machine, self._mixed_python)
            self._running = Running(
                self.config,
                self._identity(),
                self.storage,
                self._recover(kept | first),
                first,
                self._thread,
                self.listen,
                self.trace,
                keys,
            )
            await self._running.start()
        except BaseException:
            await self.stop()
            raise

    def _first_meta(self, kept: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """What the storage has to keep beside `kept` before the node promises, learns or applies anything. Raises
        DirectoryMismatch if it was made with another configuration."""
        first = self._charter.required(kept, self.node_id)
        stored = set(numbers(kept.get(META_REFUSED, b"")))
        if not stored.issuperset(self._refused_slots):
            first[META_REFUSED] = words(sorted(stored.union(self._refused_slots)))
        return first

    def _identity(self) -> Identity:
        """What this node says of itself to its peers."""
        identity = Identity.of(self._charter, self.node_id, Life(self.storage.incarnation, self._process))
        if self._user_machine is not None:
            major, minor, *_ = sys.version_info
            identity = replace(
                identity,
                python=major << 8 | minor,
                mixed_python=self._mixed_python,
                machine_version=self._user_machine.version,
            )
        return identity

    def _recover(self, meta: Mapping[bytes, bytes]) -> Node:
        """Makes the core from what the storage holds, `meta` and its records."""
        machine: Machine = (
            KeyValue(seed=secrets.randbits(63))
            if self._thread is None
            else PythonMachine(self._thread.run, self._thread.version)
        )
        began_s = time.monotonic()
        core = Node(
            node_id=self.node_id,
            roles=self.config.role_masks(),
            quorums=self.config.quorums(),
            incarnation=self.storage.incarnation,
            seed=secrets.randbits(63),
            machine=machine,
            meta=meta,
            records=self.storage.records(),
            flatten=flatten,
            cluster=self.config.name,
            window=self.config.window,
            in_flight_bytes=self.config.in_flight_bytes,
            election_timeout_ns=self.config.election_timeout_ms * 1_000_000,
            ping_interval_ns=self.config.ping_interval_ms * 1_000_000,
        )
        took_s = time.monotonic() - began_s
        log.info("node %d recovered to slot %d in %.3f s", self.node_id, core.slot_out - 1, took_s)
        return core

    async def stop(self) -> None:
        """Stops serving; waits for the commit that runs and for the command that the machine applies. Leaves no task,
        socket or thread."""
        if self._stopped:
            return
        self._stopped = True
        try:
            if self._running is not None:
                await self._running.stop()
            if self._thread is not None:
                self._thread.stop()
                self._thread.join()
        finally:
            self.storage.close()

    async def serve_forever(self) -> None:
        """Serves until it is cancelled. If the node ends by itself, raises the reason."""
        await asyncio.shield(self.running.ended)

    # -- queries

    @property
    def running(self) -> Running:
        """What exists while the node runs. Raises MultipaxosError before the start."""
        if self._running is None:
            raise MultipaxosError(f"node {self.node_id} is not running: start the Server first")
        return self._running

    @property
    def core(self) -> Core:
        """The node's core. Raises MultipaxosError before the start."""
        return self.running.core

    @property
    def transport(self) -> Transport:
        """The node's links. Raises MultipaxosError before the start."""
        return self.running.transport

    def facts(self) -> dict[str, Any]:
        """The node's row of `multipaxos status`. Raises MultipaxosError before the start."""
        return self.running.facts()
