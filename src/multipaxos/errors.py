"""The errors that a user of multipaxos can meet.

Rules. `MultipaxosError` is the root of all of them. Every message says what is wrong and what to do next. The command
line ends with an exit code of the error's kind: 1 for a refusal, 2 for a wrong use, 3 for no quorum in time.
"""

from __future__ import annotations


class MultipaxosError(Exception):
    """The root of every error of this package."""


# -- configuration and storage


class ConfigurationError(MultipaxosError):
    """A configuration cannot be run: the message says which entry is wrong, and why."""


class StorageError(MultipaxosError):
    """A data directory cannot be used, or its disk failed: the node stops promising."""


class DirectoryInUse(StorageError):
    """Another living process holds the data directory."""


class DirectoryMismatch(StorageError):
    """The data directory belongs to another cluster or node, or has another format."""


class DamagedDirectory(StorageError):
    """The data directory may have lost what its node promised, so its disk counts as lost; `what` is wrong with it."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what}: this disk counts as lost, because what its node promised cannot be told; keep this directory, "
            "and start the node with an empty one: it learns from the others and does not vote"
        )


class CorruptLog(DamagedDirectory):
    """The log lacks a part that cannot be told, or holds what no node writes: the message says where."""


class LogTooNew(StorageError):
    """The log holds a decision that this program does not know: run a newer one."""


class MachineTooOld(StorageError):
    """The log raised the machine's version above the one that this node's machine is."""


# -- links and sessions


class HandshakeRefused(MultipaxosError):
    """This node or its peer refused the link: another cluster, node, version or configuration."""


class NoQuorum(MultipaxosError, TimeoutError):
    """No answer came within the time-out. The command may still take effect: the session repeats it."""


class NotSent(NoQuorum):
    """The time-out came before the client had room for the command, which was not sent: it has no effect."""


class SessionExpired(MultipaxosError):
    """The cluster no longer knows the session: the outcome of unanswered commands is unknown."""


class ClientClosed(MultipaxosError):
    """The client was closed before the answer came: the outcome of unanswered commands is unknown."""


class Overloaded(MultipaxosError):
    """Too many commands of this client are unanswered: wait for some of the answers, then go on."""


# -- commands


class TooLarge(MultipaxosError, ValueError):
    """A key, value or command exceeds its limit, or a key is empty: the command was not sent."""


class Refused(MultipaxosError):
    """The state machine raised an error for the command, whose text this is. Nothing was changed."""


class CommandFailed(MultipaxosError):
    """The store answered that the command does not apply to its present contents. Nothing was changed."""


class KeyExists(CommandFailed):
    """`create`: the key exists."""


class NoSuchKey(CommandFailed, KeyError):
    """`update`, `remove` or `cas`: the key does not exist."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class CompareFailed(CommandFailed):
    """`cas`: the expectation does not hold; `value` and `version` are what the key has instead."""

    def __init__(self, message: str, value: bytes, version: int) -> None:
        super().__init__(message)
        self.value = value
        self.version = version


# -- the node itself


class MachineStopped(MultipaxosError):
    """The machine could not apply a command, for a reason that lies outside the command: the node stops."""

    def __init__(self, slot: int, session: int, size: int, error: BaseException) -> None:
        why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        super().__init__(
            f"the machine could not apply the command of slot {slot} (session {session}, {size} bytes): {why}; start "
            f"this node again, with more memory if it ran out of it; if this command ends it again, see --refuse-slot"
        )
        self.slot = slot
        self.session = session
        self.size = size


class InvariantViolation(MultipaxosError):
    """A rule of the protocol does not hold inside this node, which is a bug. The node stops rather than go on."""
