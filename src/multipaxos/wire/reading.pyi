from typing import Final

from multipaxos.errors import MultipaxosError

FAULTS: Final[tuple[str, ...]]

class CodecError(MultipaxosError, ValueError):
    fault: str
    def __init__(self, message: str, fault: str) -> None: ...

def split(data: bytes | bytearray | memoryview) -> tuple[list[bytes], bytes]: ...
