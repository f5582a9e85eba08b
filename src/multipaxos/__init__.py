"""Multi-Paxos, as *Paxos Made Moderately Complex* describes it: a replicated key-value store, and a library to
replicate any deterministic state machine. `docs/design.md` tells how it is built.

The names below are imported when they are first used: who embeds a client does not pay for the server.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multipaxos.client import BlockingClient, Client
    from multipaxos.config import Config
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
    from multipaxos.server import Server
    from multipaxos.statemachine import Context, StateMachine
    from multipaxos.storage import LmdbStorage, MemoryStorage

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
    "BlockingClient": "client",
    "Client": "client",
    "Config": "config",
    "Context": "statemachine",
    "LmdbStorage": "storage",
    "MemoryStorage": "storage",
    "Server": "server",
    "StateMachine": "statemachine",
}  # of the rest: errors


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
