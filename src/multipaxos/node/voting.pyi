from typing import final

from multipaxos.node.catch_up import CatchUp
from multipaxos.node.context import Context
from multipaxos.node.election import Election
from multipaxos.node.journal import Journal
from multipaxos.node.leading import Leading
from multipaxos.node.links import Links
from multipaxos.paxos.acceptor import Acceptor
from multipaxos.paxos.leader import Leader

@final
class Voting:
    def __new__(
        cls,
        context: Context,
        links: Links,
        journal: Journal,
        leading: Leading,
        catch_up: CatchUp,
        election: Election,
        acceptor: Acceptor,
        leader: Leader,
    ) -> Voting: ...
    def invariants(self) -> None: ...
