from typing import final

@final
class Keepers:
    def __new__(cls, floor: int) -> Keepers: ...
