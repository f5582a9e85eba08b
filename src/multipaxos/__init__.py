"""Multi-Paxos, as *Paxos Made Moderately Complex* describes it: a replicated key-value store, and a library to
replicate any deterministic state machine. `docs/design.md` tells how it is built.

The names below are imported when they are first used: who embeds a client does not pay for the server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multipaxos.client.blocking import BlockingClient
    from multipaxos.client.client import Client
    from multipaxos.config.cluster import Config
    from multipaxos.errors import (
        ClientClosed,
        CompareFailed,
        ConfigurationError,
        KeyExists,
        MultipaxosError,
        NoQuorum,
        NoSuchKey,
        Overloaded,
        Refused,
        SessionExpired,
        StorageError,
        TooLarge,
    )
    from multipaxos.machine.state_machine import Context, StateMachine
    from multipaxos.server.server import Server
    from multipaxos.storage.lmdb import LmdbStorage
    from multipaxos.storage.memory import MemoryStorage

__all__ = [
    "BlockingClient",
    "Client",
    "ClientClosed",
    "CompareFailed",
    "Config",
    "ConfigurationError",
    "Context",
    "KeyExists",
    "LmdbStorage",
    "MemoryStorage",
    "MultipaxosError",
    "NoQuorum",
    "NoSuchKey",
    "Overloaded",
    "Refused",
    "Server",
    "SessionExpired",
    "StateMachine",
    "StorageError",
    "TooLarge",
]

_HOMES = {
    "BlockingClient": "client.blocking",
    "Client": "client.client",
    "Config": "config.cluster",
    "Context": "machine.state_machine",
    "LmdbStorage": "storage.lmdb",
    "MemoryStorage": "storage.memory",
    "Server": "server.server",
    "StateMachine": "machine.state_machine",
}  # of the rest: errors


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
