from typing import final

from multipaxos.node.agreement import Agreement
from multipaxos.node.context import Context
from multipaxos.node.leading import Leading
from multipaxos.node.serving import Serving
from multipaxos.paxos.replica import Replica

@final
class Comparing:
    @property
    def agreement(self) -> Agreement: ...
    def __new__(
        cls, context: Context, leading: Leading, serving: Serving, replica: Replica, agreement: Agreement
    ) -> Comparing: ...
