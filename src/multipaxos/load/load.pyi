from typing import final

from multipaxos.client.session import Session
from multipaxos.load.histogram import Histogram

@final
class Load(Session):
    measuring: bool
    draining: bool
    recording: bool
    @property
    def histogram(self) -> Histogram: ...
    @property
    def completed(self) -> int: ...
    @property
    def answered(self) -> int: ...
    @property
    def errors(self) -> int: ...
    def __init__(
        self,
        nonce: int,
        *,
        outstanding: int = 1,
        rate_per_s: float = 0,
        poisson: bool = False,
        key_size: int = 8,
        value_size: int = 64,
        keys: int = 1000,
        zipf: float = 0,
        seed: int = 1,
        read_share: float = 0,
        client: int = 0,
    ) -> None: ...
    def pump(self, now_ns: int, data: bytes | None = None) -> bytes: ...
    def take_rows(self) -> bytes: ...
    def unanswered_rows(self) -> bytes: ...
    def next_due_ns(self) -> int: ...
