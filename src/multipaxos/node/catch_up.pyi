from typing import final

from multipaxos.node.context import Context
from multipaxos.node.journal import Journal
from multipaxos.node.leading import Leading
from multipaxos.node.links import Links
from multipaxos.node.output import Read
from multipaxos.paxos.acceptor import Acceptor
from multipaxos.paxos.replica import Replica

@final
class Lookup:
    def __new__(cls, link: int, read: Read) -> Lookup: ...

@final
class CatchUp:
    def __new__(
        cls,
        context: Context,
        links: Links,
        journal: Journal,
        leading: Leading,
        acceptor: Acceptor,
        replica: Replica,
    ) -> CatchUp: ...
    def invariants(self) -> None: ...
