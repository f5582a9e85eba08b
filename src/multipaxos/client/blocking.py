"""The client for scripts without an event loop.

Theory. A `BlockingClient` has a thread with an event loop, in which a `Client` runs; each call waits for its result in
the caller's thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Sequence
from types import TracebackType
from typing import Any, TypeVar

from multipaxos import commands
from multipaxos.client.client import Client
from multipaxos.errors import ClientClosed

T = TypeVar("T")


class BlockingClient:
    """The client for scripts: ``with BlockingClient("host:port,...") as kv: kv.put(b"k", b"v")``.

    Several threads may call it at the same time. `timeout_s`: how long a call waits for its answer before it raises
    NoQuorum, from the moment when there is room for it; that of a call itself counts from the call. Every call raises
    ClientClosed after `close`.
    """

    def __init__(self, cluster: str | Sequence[tuple[str, int]], *, timeout_s: float = 10.0) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="multipaxos-client", daemon=True)
        self._thread.start()
        try:
            self._client = self._run(self._open(cluster, timeout_s))
        except BaseException:
            self._end()
            raise

    @staticmethod
    async def _open(cluster: str | Sequence[tuple[str, int]], timeout_s: float) -> Client:
        return await Client(cluster, timeout_s=timeout_s).__aenter__()

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            call.close()
            raise ClientClosed("the client was closed")
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> BlockingClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the client and its thread; calls in flight raise ClientClosed."""
        if not self._loop.is_closed():
            self._run(self._client.close())
            self._end()

    def apply(self, command: bytes, *, timeout_s: float | None = None, wait: bool = True) -> bytes:
        """See `Client.apply`."""
        return self._run(self._client.apply(command, timeout_s=timeout_s, wait=wait))

    def get(self, key: bytes, *, timeout_s: float | None = None) -> bytes | None:
        """See `Client.get`."""
        return self._run(self._client.get(key, timeout_s=timeout_s))

    def get_versioned(self, key: bytes, *, timeout_s: float | None = None) -> tuple[bytes, int] | None:
        """See `Client.get_versioned`."""
        return self._run(self._client.get_versioned(key, timeout_s=timeout_s))

    def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """See `Client.put`."""
        return self._run(self._client.put(key, value, timeout_s=timeout_s))

    def create(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """See `Client.create`."""
        return self._run(self._client.create(key, value, timeout_s=timeout_s))

    def update(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """See `Client.update`."""
        return self._run(self._client.update(key, value, timeout_s=timeout_s))

    def remove(self, key: bytes, *, timeout_s: float | None = None) -> None:
        """See `Client.remove`."""
        self._run(self._client.remove(key, timeout_s=timeout_s))

    def cas(self, key: bytes, expected: bytes | int, new: bytes, *, timeout_s: float | None = None) -> int:
        """See `Client.cas`."""
        return self._run(self._client.cas(key, expected, new, timeout_s=timeout_s))

    def scan(
        self, prefix: bytes, limit: int = 0, after: bytes = b"", *, timeout_s: float | None = None
    ) -> commands.Pairs:
        """See `Client.scan`."""
        return self._run(self._client.scan(prefix, limit, after, timeout_s=timeout_s))

    def transact(
        self,
        compares: Iterable[bytes],
        then: Iterable[bytes],
        otherwise: Iterable[bytes] = (),
        *,
        timeout_s: float | None = None,
    ) -> commands.Transacted:
        """See `Client.transact`."""
        return self._run(self._client.transact(compares, then, otherwise, timeout_s=timeout_s))
