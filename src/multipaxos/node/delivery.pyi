from typing import final

@final
class Delivery:
    def invariants(self) -> None: ...
