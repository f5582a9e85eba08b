from typing import final

from multipaxos.node.catch_up import CatchUp
from multipaxos.node.comparing import Comparing
from multipaxos.node.context import Context
from multipaxos.node.copies import Copies
from multipaxos.node.election import Election
from multipaxos.node.journal import Journal
from multipaxos.node.leading import Leading
from multipaxos.node.links import Links
from multipaxos.paxos.acceptor import Acceptor
from multipaxos.paxos.leader import Leader
from multipaxos.paxos.replica import Replica

@final
class Pings:
    @property
    def copies(self) -> Copies: ...
    def __new__(
        cls,
        context: Context,
        links: Links,
        journal: Journal,
        leading: Leading,
        catch_up: CatchUp,
        election: Election,
        comparing: Comparing,
        acceptor: Acceptor,
        leader: Leader,
        replica: Replica,
        interval_ns: int,
    ) -> Pings: ...
