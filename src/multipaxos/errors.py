"""The errors that a user of multipaxos can meet.

Each names what is wrong and what to do next. ``MultipaxosError`` is the root; what the command line does with
each is its exit code: 1 for a refusal, 2 for a wrong use, 3 for no quorum in time.
"""

from __future__ import annotations


class MultipaxosError(Exception):
    """Root of every error of this package."""


class ConfigurationError(MultipaxosError):
    """A configuration that cannot be run: the message says which entry, and why."""


class StorageError(MultipaxosError):
    """A data directory that cannot be used, or a disk that failed; the node stops promising."""


class DirectoryInUse(StorageError):
    """Another living process holds the data directory."""


class DirectoryMismatch(StorageError):
    """The data directory belongs to another cluster or node."""


class HandshakeRefused(MultipaxosError):
    """The other side refused the link, or we refused it: another cluster, node, version or configuration."""


class NoQuorum(MultipaxosError, TimeoutError):
    """No answer within the time-out. The command may yet take effect: the session repeats it."""


class SessionExpired(MultipaxosError):
    """The cluster no longer knows the session: the outcome of what was in flight is unknown."""


class Refused(MultipaxosError):
    """The state machine raised while applying the command: the text is its error. Nothing else happened."""


class TooLarge(MultipaxosError, ValueError):
    """A key, value or command beyond its limit, or an empty key: it was not sent."""


class Overloaded(MultipaxosError):
    """Too many commands of this client are unanswered: wait for some of them, then go on."""


class ClientClosed(MultipaxosError):
    """The client was closed before the answer came: the outcome of what was in flight is unknown."""


class CorruptLog(StorageError):
    """What the disk holds cannot have been written by this program: the message says where it breaks."""


class InvariantViolation(MultipaxosError):
    """A rule of the protocol does not hold inside this node: a defect. The node stops rather than go on."""


class CommandFailed(MultipaxosError):
    """The store answered that the command does not apply as things are; nothing was changed."""


class KeyExists(CommandFailed):
    """`create` of a key that is there."""


class NoSuchKey(CommandFailed, KeyError):
    """`update`, `remove` or `cas` of a key that is not there."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class CompareFailed(CommandFailed):
    """`cas` whose expectation does not hold; `value` and `version` are what is there."""

    def __init__(self, message: str, value: bytes, version: int) -> None:
        super().__init__(message)
        self.value = value
        self.version = version
