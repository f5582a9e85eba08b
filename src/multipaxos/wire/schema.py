"""The only module that uses pycapnp: the schema, and the rare messages that the compiled codec does not handle.

Theory. pycapnp reads every valid frame, in any layout, slowly; the codec reads one layout, fast. So the rare messages
(``Hello``, the status reply) are read and written here, and ``flatten`` rewrites a frame in any other
layout for the codec.

Rules. Frames come from the network, so every failure is a ``CodecError``, and a reader may traverse no more words than
the frame has: pointers that share their targets cannot unfold it. (``as_builder`` of a reader is never called, because
it aborts the process past that limit.) A reader must not outlive its bytes, so functions return plain values. Every
message is written in one segment, its fields in schema order.
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import capnp

from multipaxos.errors import TooLarge
from multipaxos.wire import codec
from multipaxos.wire.codec import CodecError

capnp.remove_import_hook()
with importlib.resources.as_file(importlib.resources.files("multipaxos.wire") / "multipaxos.capnp") as _path:
    SCHEMA: Any = capnp.load(str(_path))

TRAVERSAL_SLACK_WORDS = 64  # tags and landing pads are counted twice; a message has few of them
FOREIGN_COMMANDS_MAX = 4096  # of a frame in another layout than ours: 25 ms
NUMBERS = ("incarnations", "processes")  # the fields of messages that are lists of numbers
LinkKind = Literal["peer", "client", "admin"]


@contextmanager
def read(frame: bytes) -> Iterator[Any]:
    """pycapnp's reader of a frame's Message. Every failure in the ``with`` block is raised as a CodecError."""
    if len(frame) > codec.FRAME_BYTES_MAX:
        raise CodecError(f"a frame of {len(frame)} bytes is over the limit: close its link", "oversized")
    words = len(frame) // 8 + TRAVERSAL_SLACK_WORDS
    try:
        with SCHEMA.Message.from_bytes(bytes(frame), traversal_limit_in_words=words) as message:
            yield message
    except CodecError:
        raise
    except (capnp.KjException, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise CodecError(f"the frame cannot be read: close its link ({reason})", "malformed") from None


def kind_of(message: Any) -> str:
    """The kind of a message, by its name in the schema."""
    try:
        return str(message.which())
    except capnp.KjException:
        raise CodecError("the message is of a kind that this version does not know", "malformed") from None


def write(kind: str, fields: dict[str, object], text_bytes: int = 0) -> bytes:
    """A frame with one message. ``fields`` have the schema's names and order; ``text_bytes`` is how long its texts are.

    Raises TooLarge for a frame over FRAME_BYTES_MAX.
    """
    message = SCHEMA.Message.new_message(num_first_segment_words=64 + text_bytes // 8)
    body = message.init(kind)
    for name, value in fields.items():
        setattr(body, name, value)
    frame = cast(bytes, message.to_bytes())
    if len(frame) > codec.FRAME_BYTES_MAX:
        raise TooLarge(f"a {kind} of {len(frame)} bytes is over the limit of {codec.FRAME_BYTES_MAX}: shorten it")
    return frame


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


@dataclass(frozen=True, kw_only=True)
class Hello:
    """The first frame of every link, in both directions; the schema says what the fields mean."""

    cluster: str
    configuration: int = 0
    node: int = -1
    target: int = -1
    incarnation: int = 0
    version_min: int = 3
    version_max: int = 3
    kind: LinkKind = "client"
    nonce: int = 0
    echo: int = 0
    refusal: str = ""
    cluster_id: int = 0
    process: int = 0
    semantics_min: int = 1
    semantics_max: int = 1
    python: int = 0
    mixed_python: bool = False
    proof: bytes = b""
    refused_slots: tuple[int, ...] = ()
    machine_version: int = 1

    def encode(self) -> bytes:
        """The frame. Raises TooLarge."""
        fields = {there: getattr(self, here) for here, there in HELLO_FIELDS.items()}
        fields["refusedSlots"] = list(self.refused_slots)
        lists = len(self.proof) + 8 * len(self.refused_slots) + 16
        return write("hello", fields, _utf8_bytes(self.cluster) + _utf8_bytes(self.refusal) + lists)

    @classmethod
    def decode(cls, frame: bytes) -> Hello:
        """The hello of a frame. Raises CodecError."""
        with read(frame) as message:
            _expect(message, "hello")
            hello = message.hello
            if hello.kind.raw not in (0, 1, 2):
                raise CodecError(f"a hello of an unknown kind of link, {hello.kind.raw}", "malformed")
            values = {here: getattr(hello, there) for here, there in HELLO_FIELDS.items()}
            if len(values["refused_slots"]) > len(frame) // 8:  # a list of bytes may stand for one of numbers
                raise CodecError("a hello whose refused slots are no list of numbers", "malformed")
            values |= {"kind": str(hello.kind), "refused_slots": tuple(values["refused_slots"])}
            return cls(**values)


HELLO_FIELDS = {name: _camel(name) for name in Hello.__dataclass_fields__}  # here -> in the schema


def encode_status_request(nonce: int) -> bytes:
    """The frame that asks a node for its status."""
    return codec.encode("status_request", nonce=nonce)


def decode_status_request(frame: bytes) -> int:
    """The nonce, which the reply repeats. Raises CodecError."""
    with read(frame) as message:
        _expect(message, "statusRequest")
        return int(message.statusRequest.nonce)


def encode_status_reply(nonce: int, json: str) -> bytes:
    """The frame of a status. Raises TooLarge."""
    return write("statusReply", {"nonce": nonce, "json": json}, _utf8_bytes(json))


def decode_status_reply(frame: bytes) -> tuple[int, str]:
    """The nonce of the request, and the status as JSON. Raises CodecError."""
    with read(frame) as message:
        _expect(message, "statusReply")
        reply = message.statusReply
        return int(reply.nonce), str(reply.json)


def flatten(frame: bytes) -> bytes:
    """The message of any valid frame, as the codec itself would write it. Raises CodecError.

    A field that a newer schema has added is left out; a field that an older schema lacks is 0.
    """
    with read(frame) as message:
        kind = kind_of(message)
        if kind == "hello":
            return Hello.decode(frame).encode()
        if kind == "statusReply":
            return encode_status_reply(*decode_status_reply(frame))
        kind = _snake(kind)
        fields = _fields(getattr(message, _camel(kind)), kind, len(frame) // 8)
    try:
        return codec.encode(kind, **fields)
    except TooLarge as error:
        raise CodecError(str(error), "oversized") from None
    except ValueError as error:
        raise CodecError(str(error), "malformed") from None


def _fields(body: Any, kind: str, words: int) -> dict[str, Any]:
    """The fields of a message that the codec knows. Each is read once, because reading uses up the traversal limit."""
    fields: dict[str, Any] = {}
    for name in codec.FIELDS[kind]:
        value = getattr(body, _camel(name))
        if name in codec.ELEMENTS or name in NUMBERS:
            _check_count(name, value, words)
        if name in codec.ELEMENTS:
            value = [{part: _plain(getattr(each, part)) for part in codec.ELEMENTS[name]} for each in value]
        elif name in NUMBERS:
            value = list(value)
        if name == "commands":
            nonces = body.nonces
            _check_count("nonces", nonces, words)
            _resolve_nonces(value, list(nonces))
        fields[name] = value
    return fields


def _check_count(name: str, items: Any, words: int) -> None:
    """A list of bytes may stand for structs with one small field, or for numbers, and would unfold. Ours have a word or
    more. Each command costs microseconds here, while all links wait: a client sends many of them in several frames."""
    most = min(words, FOREIGN_COMMANDS_MAX) if name in ("commands", "nonces") else words
    if len(items) > most:
        raise CodecError(f"{len(items)} {name} in {words} words, at most {most}: close its link", "malformed")


def _resolve_nonces(commands: list[dict[str, Any]], nonces: list[int]) -> None:
    """Commands have the indexes of their nonces in a frame; the codec has the nonces themselves."""
    for command in commands:
        index = command["nonce"]
        command["nonce"] = nonces[index] if index < len(nonces) else 0


def _plain(value: Any) -> int | bytes:
    """A number or bytes. Of an enum the number, because this version may have no name for it."""
    return value if isinstance(value, (int, bytes)) else int(value.raw)


def _expect(message: Any, kind: str) -> None:
    if kind_of(message) != kind:
        raise CodecError(f"the frame holds {kind_of(message)}, not {kind}", "malformed")


def _snake(name: str) -> str:
    return re.sub("[A-Z]", lambda upper: "_" + upper[0].lower(), name)


def _utf8_bytes(text: str) -> int:
    return len(text.encode()) + 16
