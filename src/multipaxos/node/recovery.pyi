from typing import final

from multipaxos.node.journal import Journal

@final
class Recovery:
    def __new__(cls, journal: Journal) -> Recovery: ...
