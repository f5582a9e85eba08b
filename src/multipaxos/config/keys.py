"""The cluster's key: 32 random bytes that the nodes of a cluster, and whoever may change it, have in a file.

Theory. Whoever has the key is a node or an administrator, and nobody else is: nodes prove it to each other when they
connect (`transport.proof`). The file has one key, or two while a cluster changes its key: who dials proves the first,
and both are accepted. So the key of a running cluster is changed in three rounds over all nodes, each of
which may take its time: OLD NEW, then NEW OLD, then NEW.

Rules.
- The file is read by its owner alone: a file whose mode lets others read or write it is refused.
- A cluster has a key unless all its addresses are of this machine alone.
- The key is never printed, logged or quoted in an error.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from pathlib import Path

from multipaxos.config.addresses import format_address, is_loopback
from multipaxos.config.cluster import Config
from multipaxos.errors import ConfigurationError

KEY_BYTES = 32
KEYS_MAX = 2
FILE_BYTES_MAX = 1024
KEY = re.compile(rb"[0-9a-fA-F]{%d}" % (2 * KEY_BYTES))

Keys = tuple[bytes, ...]  # none: no key; the first is the one to be proved


def read_keys(path: Path) -> Keys:
    """The keys of a file, one or two. Raises ConfigurationError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the key file cannot be read: {error.strerror}; copy it from a node of the cluster"
        ) from error
    try:
        status = os.fstat(descriptor)
        mode = stat.S_IMODE(status.st_mode)
        if not stat.S_ISREG(status.st_mode):
            raise ConfigurationError(f"{path}: a key file must be a regular file: name that of the cluster")
        if mode & 0o077:
            raise ConfigurationError(f"{path}: its mode is {mode:04o}, so others may use the key: chmod 600 {path}")
        return _keys_in(os.read(descriptor, FILE_BYTES_MAX), path)
    finally:
        os.close(descriptor)


def _keys_in(data: bytes, path: Path) -> Keys:
    lines = data.split()
    if not 1 <= len(lines) <= KEYS_MAX or not all(map(KEY.fullmatch, lines)):
        raise ConfigurationError(
            f"{path}: a key file has one or two lines of {2 * KEY_BYTES} hexadecimal digits and nothing else"
        )
    return tuple(bytes.fromhex(line.decode()) for line in lines)


def write_new_key(path: Path) -> None:
    """Makes a key and the file for it. Raises ConfigurationError, also if the file exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: the key file cannot be made: {error.strerror}; choose another folder"
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(KEY_BYTES).encode() + b"\n")
        file.flush()
        os.fsync(descriptor)


def keys_of(config: Config, listen: tuple[str, int]) -> Keys:
    """The keys of a cluster's node that listens there. Raises ConfigurationError if there are none and must be."""
    if config.key_file is not None:
        return read_keys(config.key_file)
    for host, port in [*(node.place for node in config.nodes), listen]:
        if not is_loopback(host):
            raise ConfigurationError(
                f"cluster {config.name!r} needs a key, because {format_address(host, port)} is not of this machine "
                "alone: make one with `multipaxos init`, copy it to every node, and name it in [cluster]: "
                'key_file = "cluster.key"'
            )
    return ()
