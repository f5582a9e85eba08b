from typing import final

@final
class Keepers:
    def __new__(cls, bound: int) -> Keepers: ...
