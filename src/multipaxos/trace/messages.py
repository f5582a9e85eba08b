"""Messages in a trace: how they are read, and what a line says of them.

Rules. A command is named by its hash, so that lines stay short and show no values. What a client has acknowledged is
not part of the hash, because it differs between repetitions of one command.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from multipaxos.wire.codec import CodecError, decode_message
from multipaxos.wire.schema import flatten

COMMAND = struct.Struct("<QQQ")  # kind, session, sequence; the payload follows
MESSAGE_FIELDS = ("ballot", "first", "end", "slot_out", "decided_ballot", "decided_first", "decided_end")


def command_hash(kind: int, session: int, sequence: int, payload: bytes) -> str:
    """Sixteen hexadecimal digits: blake2b of kind, session and sequence (uint64, little-endian) and the payload."""
    return hashlib.blake2b(COMMAND.pack(kind, session, sequence) + payload, digest_size=8).hexdigest()


def read(frame: bytes) -> Mapping[str, Any]:
    """The message of a frame, in any layout that a node accepts. Raises CodecError."""
    try:
        return decode_message(frame)
    except CodecError as error:
        if error.fault != "foreign":
            raise
    return decode_message(flatten(frame))


def hashes_of(commands: Sequence[Mapping[str, Any]]) -> list[str]:
    """The hash of each of a request's commands."""
    return [command_hash(one["kind"], one["session"], one["sequence"], one["payload"]) for one in commands]


def facts(message: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a line about a message, without its kind, size and label."""
    found = {name: message[name] for name in MESSAGE_FIELDS if name in message}
    kind = message["kind"]
    if kind == "decision":  # it is nothing but a watermark
        found = {"ballot": found["ballot"], **{f"decided_{name}": value for name, value in found.items()}}
    elif kind == "phase2a":
        found["end"] = found["first"] + len(message["commands"])
    elif kind == "request":
        found["commands"] = hashes_of(message["commands"])
    elif kind == "response":
        slots = [reply["slot"] for reply in message["replies"] if reply["slot"]]
        if slots:
            found |= {"first": min(slots), "end": max(slots) + 1}
    return found
