"""Multi-Paxos, as *Paxos Made Moderately Complex* describes it: a replicated key-value store, and a library that
replicates any deterministic state machine.

Public are the names in `__all__`, the modules `multipaxos.commands` (the store's commands as bytes) and
`multipaxos.errors`, and the command line. Every other module is private and may change in any release; docs/design.md
says what each is for. A name is imported when it is first used, so a program with a client does not load the server.
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
        NotSent,
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
    "NotSent",
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
}  # every other name is in errors


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value  # so that Python finds it itself the next time
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
