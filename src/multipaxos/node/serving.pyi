from typing import final

from multipaxos.node.agreement import Agreement
from multipaxos.node.context import Context
from multipaxos.node.leading import Leading
from multipaxos.node.links import Links
from multipaxos.paxos.leader import Leader
from multipaxos.paxos.replica import Replica

@final
class Serving:
    def __new__(
        cls, context: Context, links: Links, leading: Leading, agreement: Agreement, leader: Leader, replica: Replica
    ) -> Serving: ...
