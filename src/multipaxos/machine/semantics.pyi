from typing import final

@final
class Semantics:
    @property
    def version(self) -> int: ...
    @property
    def sessions_max(self) -> int: ...
    @property
    def fresh_sessions_max(self) -> int: ...
    @property
    def unacknowledged_max(self) -> int: ...
    @property
    def answer_bytes_max(self) -> int: ...
    @property
    def kept_bytes_max(self) -> int: ...
    @property
    def answer_cost(self) -> int: ...
    @property
    def refusal_bytes(self) -> int: ...
    @property
    def key_bytes_max(self) -> int: ...
    @property
    def value_bytes_max(self) -> int: ...
    @property
    def scan_bytes(self) -> int: ...
    @property
    def transact_bytes_max(self) -> int: ...
    @property
    def machine_answer_bytes_max(self) -> int: ...
    def __init__(
        self,
        version: int = ...,
        *,
        sessions_max: int = ...,
        fresh_sessions_max: int = ...,
        unacknowledged_max: int = ...,
        answer_bytes_max: int = ...,
        kept_bytes_max: int = ...,
        answer_cost: int = ...,
        refusal_bytes: int = ...,
        key_bytes_max: int = ...,
        value_bytes_max: int = ...,
        scan_bytes: int = ...,
        transact_bytes_max: int = ...,
        machine_answer_bytes_max: int = ...,
    ) -> None: ...

VERSIONS: tuple[Semantics, ...]
