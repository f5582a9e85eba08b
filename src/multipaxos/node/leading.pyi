from typing import final

from multipaxos.node.agreement import Agreement
from multipaxos.node.context import Context
from multipaxos.node.delivery import Delivery
from multipaxos.node.election import Election
from multipaxos.node.joining import Joining
from multipaxos.node.journal import Journal
from multipaxos.node.links import Links
from multipaxos.node.patience import Patience
from multipaxos.paxos.acceptor import Acceptor
from multipaxos.paxos.leader import Leader
from multipaxos.paxos.replica import Replica

@final
class Leading:
    @property
    def delivery(self) -> Delivery: ...
    @property
    def patience(self) -> Patience: ...
    @property
    def known_ballot(self) -> int: ...
    @property
    def leading_ballot(self) -> int: ...
    def __new__(
        cls,
        context: Context,
        links: Links,
        journal: Journal,
        joining: Joining,
        election: Election,
        agreement: Agreement,
        acceptor: Acceptor,
        leader: Leader,
        replica: Replica,
        in_flight_bytes: int,
    ) -> Leading: ...
    def invariants(self) -> None: ...
