from enum import IntEnum
from typing import Final

from multipaxos.wire.fields import ELEMENTS as ELEMENTS
from multipaxos.wire.fields import FIELDS as FIELDS
from multipaxos.wire.reading import FAULTS as FAULTS
from multipaxos.wire.reading import CodecError as CodecError
from multipaxos.wire.reading import split as split

FRAME_BYTES_MAX: Final[int]
VALUE_BYTES_MAX: Final[int]
KEY_BYTES_MAX: Final[int]
PAYLOAD_BYTES_MAX: Final[int]
RUN_BYTES_MAX: Final[int]
RUN_SLOTS_MAX: Final[int]
SLOTS_END: Final[int]
CUT_BYTES: Final[int]
KINDS: Final[tuple[str, ...]]

class CommandKind(IntEnum):
    NOOP = 0
    APPLY = 1
    OPEN_SESSION = 2
    RECONFIGURE = 3
    CLOSE_SESSION = 4
    SETTING = 5

class ReplyStatus(IntEnum):
    OK = 0
    REFUSED = 1
    OPENED = 2
    AHEAD = 3
    EXPIRED = 4
    OVERLOADED = 5
    ACKNOWLEDGED = 6

_Buffer = bytes | bytearray | memoryview
_NamedCommand = tuple[int, int, int, int, bytes, int]
_CommandTuple = tuple[int, int, int, int, bytes] | _NamedCommand
_ReplyTuple = tuple[int, int, int, bytes]

def encode(kind: str, **fields: object) -> bytes: ...
def decode_message(frame: _Buffer) -> dict[str, object]: ...
def piece_of(frame: _Buffer) -> tuple[int, bytes] | None: ...
def uncut(frames: list[bytes]) -> tuple[list[bytes], list[bytes]]: ...
def encode_phase2a(
    ballot: int, first: int, time_ns: int, decided: tuple[int, int, int], commands: list[_CommandTuple]
) -> bytes: ...
def decode_phase2a(frame: _Buffer) -> tuple[int, int, int, tuple[int, int, int], list[_NamedCommand]]: ...
def encode_request(commands: list[_CommandTuple]) -> bytes: ...
def decode_request(frame: _Buffer) -> list[_NamedCommand]: ...
def encode_response(session: int, replies: list[_ReplyTuple]) -> bytes: ...
def decode_response(frame: _Buffer) -> tuple[int, list[_ReplyTuple]]: ...
def decode_repeat(frame: _Buffer, times: int) -> int: ...
def encode_repeat(frame: _Buffer, times: int) -> int: ...
def run_frame(frame: _Buffer, decided: tuple[int, int, int] | None = None) -> bytes | None: ...
