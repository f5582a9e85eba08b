"""Multi-Paxos, as *Paxos Made Moderately Complex* describes it: a replicated key-value store, and a library to
replicate any
deterministic state machine. `docs/design.md` tells how it is built."""

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
