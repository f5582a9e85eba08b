"""Concurrent clients of the torture, and the history of their operations.

Theory. CLIENTS clients, each with one session and WORKERS workers; each worker calls one operation after the other, of
all kinds, on a few keys. The search for an order is exponential in the operations that overlap on one key, above all if
outcomes are unknown. So the keys change with time: every EPOCH_S there are new keys, and the old keys are only read now
and then. The history of a key stays short however long the torture lasts, and is judged without a bound on effort.

Rules.
- Values are never repeated, so a read shows which write it saw.
- An outcome is unknown if the worker gave up waiting, if its client was closed meanwhile, or if its session expired.
  Such a command may still take effect, because the session goes on sending it, or because it was on its way.
- Now and then more sessions are opened at once than the nodes keep (see `node`), so sessions expire in use.
- Transactions name the two keys of a pair, so a history to be searched alone is that of two keys.
- At the end every key of every epoch is read. With these reads a history has an order only if every acknowledged write
  that no other write replaced is still there.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from random import Random

from multipaxos import commands
from multipaxos.client.client import Client
from multipaxos.client.store import read
from multipaxos.commands import Answer, Mismatch, Value, Written
from multipaxos.errors import ClientClosed, MultipaxosError, NoQuorum, SessionExpired
from multipaxos.judges.history import Operation
from multipaxos.judges.one_key import Parsed
from multipaxos.judges.store import parse
from tests.torture.node import SESSIONS_MAX

EPOCH_S = 5.0
KEYS = 8  # of an epoch
CLIENTS = 5
WORKERS = 4  # of a client
RATE_PER_S = 12.0  # operations of a worker, if each were answered at once
PATIENT_S = 20.0
HASTY = 0.1  # the share of operations that are given up after HASTY_S
HASTY_S = (0.001, 0.2)
OLD = 0.05  # the share of operations that read a key of an older epoch
SEVERAL = 0.06  # the share of scans and transactions
CROWD_S = 1.5  # between two crowds, on average
VISIT_S = 2.0
CLIENT_S = 20.0  # a client's mean life; then it is closed, and a new client takes its place
LARGE = 0.02
LARGE_BYTES = 200
FINAL_S = 60.0


def key_of(epoch: int, number: int) -> bytes:
    """The key of a number in an epoch."""
    return b"epoch %d key %d" % (epoch, number)


class Workload:
    """All clients. `history`: every operation with its answer; `errors`: those that no client should meet."""

    def __init__(self, addresses: Sequence[tuple[str, int]], seed: int) -> None:
        self.addresses = list(addresses)
        self.random = Random(f"workload {seed}")
        self.history: list[Operation] = []
        self.errors: list[str] = []
        self.unknown: Counter[str] = Counter()
        self.known: dict[bytes, Value] = {}
        self.answered_call_ns = [0] * (CLIENTS * WORKERS)  # by worker: when its last answered operation was called
        self.began_s = time.monotonic()
        self.clients: list[Client] = []  # by place; a worker finds its own there
        self._open: set[Client] = set()
        self.active = True  # while workers call
        self._stopping = False
        self._values = 0

    # -- life

    async def run(self) -> None:
        """Calls operations until `stop`; when it returns, only operations that were given up are outstanding."""
        self.clients = [await self._new_client() for _ in range(CLIENTS)]
        changing = asyncio.gather(self._change_clients(), self._crowd())
        try:
            async with asyncio.TaskGroup() as group:
                for worker in range(CLIENTS * WORKERS):
                    group.create_task(self._work(worker))
        finally:
            self.active = False
            changing.cancel()
            await asyncio.gather(changing, return_exceptions=True)

    def stop(self) -> None:
        """Ends the calling of new operations."""
        self._stopping = True

    async def close(self) -> None:
        """Closes the clients."""
        await asyncio.gather(*(client.close() for client in self._open))

    async def _new_client(self) -> Client:
        client = await Client(self.addresses).__aenter__()
        self._open.add(client)
        return client

    async def _change_clients(self) -> None:
        """Replaces a client now and then, which ends its session."""
        while True:
            await asyncio.sleep(self.random.expovariate(CLIENTS / CLIENT_S))
            place = self.random.randrange(CLIENTS)
            old, self.clients[place] = self.clients[place], await self._new_client()
            await old.close()
            self._open.discard(old)

    async def _crowd(self) -> None:
        """Opens more sessions at once than the nodes keep, again and again, and leaves them."""
        while True:
            await asyncio.sleep(self.random.expovariate(1 / CROWD_S))
            await asyncio.gather(*(self._visit() for _ in range(SESSIONS_MAX)))

    async def _visit(self) -> None:
        """One client opens a session, and goes when it has been served or has waited long enough."""
        client = await self._new_client()
        try:
            await client.get(b"crowd", timeout_s=VISIT_S)
        except MultipaxosError:
            pass
        finally:
            self._open.discard(client)
            await client.close()

    # -- operations

    @property
    def epoch(self) -> int:
        """The number of the present epoch, from 0."""
        return int((time.monotonic() - self.began_s) / EPOCH_S)

    async def _work(self, worker: int) -> None:
        """Calls one operation after the other."""
        while not self._stopping:
            await asyncio.sleep(self.random.expovariate(RATE_PER_S))
            key, command = self._choose()
            limit_s = self.random.uniform(*HASTY_S) if self.random.random() < HASTY else PATIENT_S
            await self._call(worker, key, command, limit_s)

    def _choose(self) -> tuple[bytes, bytes]:
        """A key and a command on it; the expectation of a `cas` is sometimes right."""
        chance, epoch = self.random, self.epoch
        if epoch and chance.random() < OLD:
            key = key_of(chance.randrange(epoch), chance.randrange(KEYS))
            return key, commands.get(key)
        number = chance.randrange(KEYS)
        key = key_of(epoch, number)
        value = self._new_value()
        if chance.random() < SEVERAL:
            return key, self._choose_several(key, key_of(epoch, number ^ 1), value)
        known = self.known.get(key)
        kind = chance.random()
        if kind < 0.28 or (known is None and kind < 0.65):
            return key, commands.put(key, value)
        if kind < 0.55 or known is None:
            return key, commands.create(key, value) if kind > 0.9 else commands.get(key)
        if kind < 0.65:
            return key, commands.cas(key, known.value, value)
        if kind < 0.75:
            return key, commands.cas(key, known.version, value)
        if kind < 0.83:
            return key, commands.create(key, value)
        if kind < 0.91:
            return key, commands.update(key, value)
        return key, commands.remove(key)

    def _choose_several(self, key: bytes, other: bytes, value: bytes) -> bytes:
        """A scan of one key, or a transaction on the two keys of a pair."""
        if self.random.random() < 0.2:
            return commands.scan(key)
        known = self.known.get(key)
        compare = commands.missing(key) if known is None else commands.version_equals(key, known.version)
        compares = [compare] if self.random.random() < 0.5 else []
        return commands.transact(
            compares, [commands.put(key, value + b"+"), commands.put(other, value + b"-")], [commands.get(other)]
        )

    def _new_value(self) -> bytes:
        self._values += 1
        return b"%d" % self._values + b"." * (LARGE_BYTES if self.random.random() < LARGE else 0)

    async def _call(self, worker: int, key: bytes, command: bytes, limit_s: float) -> None:
        """Calls one operation and adds it to the history, with or without an answer."""
        client = self.clients[worker // WORKERS]
        answer: Answer | None = None
        invoked_ns = time.monotonic_ns()
        try:
            # `put`, `get` and the others call this too; it returns the version of a `remove`, and raises for no answer.
            answer = await client._calls.make(read, limit_s, True, bytes, command)
        except NoQuorum:
            self.unknown["gave up"] += 1
        except ClientClosed:
            self.unknown["client closed"] += 1
        except SessionExpired:
            self.unknown["session expired"] += 1
        except Exception as error:  # of any kind: the verdict names it
            self.unknown[type(error).__name__] += 1
            self.errors.append(f"worker {worker}: {type(error).__name__}: {error}")
        finally:
            self.history.append(Operation(worker, command, answer, invoked_ns, time.monotonic_ns()))
        if answer is not None:
            self.answered_call_ns[worker] = invoked_ns
        if isinstance(answer, Value | Mismatch):
            self.known[key] = Value(answer.value, answer.version)
        elif isinstance(answer, Written) and isinstance(parsed := parse(command), Parsed):
            self.known[key] = Value(parsed.value, answer.version)  # after a `remove` this guess is wrong

    # -- in the end

    async def until_all_are_answered(self, limit_s: float) -> float:
        """Waits until every worker has an answer to a call from now on; returns the seconds. Raises NoQuorum."""
        now_ns, began_s = time.monotonic_ns(), time.monotonic()
        while min(self.answered_call_ns) < now_ns:
            if time.monotonic() - began_s > limit_s:
                waiting = [worker for worker, ns in enumerate(self.answered_call_ns) if ns < now_ns]
                raise NoQuorum(f"without faults for {limit_s:g} s, but workers {waiting} got no answer")
            await asyncio.sleep(0.02)
        return time.monotonic() - began_s

    async def read_all(self) -> int:
        """Reads every key that was used, and returns the time before these reads in nanoseconds. Raises NoQuorum."""
        began_ns = time.monotonic_ns()
        keys = sorted({key for operation in self.history for key in operation.keys})
        try:
            async with asyncio.timeout(FINAL_S):
                await asyncio.gather(*(self._read(worker, keys) for worker in range(CLIENTS * WORKERS)))
        except TimeoutError:
            raise NoQuorum(f"without faults for {FINAL_S:g} s, but not every key could be read") from None
        return began_ns

    async def _read(self, worker: int, keys: Sequence[bytes]) -> None:
        for key in keys[worker :: CLIENTS * WORKERS]:
            await self._call(worker, key, commands.get(key), FINAL_S)
