from collections.abc import Mapping
from typing import Final

from multipaxos.errors import MultipaxosError

FRAME_BYTES_MAX: Final[int]
VALUE_BYTES_MAX: Final[int]
KEY_BYTES_MAX: Final[int]
PAYLOAD_BYTES_MAX: Final[int]
RUN_BYTES_MAX: Final[int]
RUN_SLOTS_MAX: Final[int]
SLOTS_END: Final[int]

KINDS: Final[tuple[str, ...]]
FAULTS: Final[tuple[str, ...]]
COMMAND_KINDS: Final[Mapping[str, int]]
REPLY_STATUSES: Final[Mapping[str, int]]
FIELDS: Final[Mapping[str, tuple[str, ...]]]
COMMAND_FIELDS: Final[tuple[str, ...]]
REPLY_FIELDS: Final[tuple[str, ...]]
PVALUES_FIELDS: Final[tuple[str, ...]]
REJOIN_FIELDS: Final[tuple[str, ...]]

_Buffer = bytes | bytearray | memoryview
_CommandTuple = tuple[int, int, int, int, bytes]
_ReplyTuple = tuple[int, int, int, bytes]

class CodecError(MultipaxosError, ValueError):
    fault: str
    def __init__(self, message: str, fault: str) -> None: ...

def encode(kind: str, **fields: object) -> bytes: ...
def decode_message(frame: _Buffer) -> dict[str, object]: ...
def split(data: _Buffer) -> tuple[list[bytes], bytes]: ...
def encode_phase2a(
    ballot: int, first: int, time_ns: int, decided: tuple[int, int, int], commands: list[_CommandTuple]
) -> bytes: ...
def decode_phase2a(frame: _Buffer) -> tuple[int, int, int, tuple[int, int, int], list[_CommandTuple]]: ...
def encode_request(commands: list[_CommandTuple]) -> bytes: ...
def decode_request(frame: _Buffer) -> list[_CommandTuple]: ...
def encode_response(session: int, replies: list[_ReplyTuple]) -> bytes: ...
def decode_response(frame: _Buffer) -> tuple[int, list[_ReplyTuple]]: ...
def decode_repeat(frame: _Buffer, times: int) -> int: ...
def encode_repeat(frame: _Buffer, times: int) -> int: ...
def run_frame(frame: _Buffer, decided: tuple[int, int, int] | None = None) -> bytes | None: ...
