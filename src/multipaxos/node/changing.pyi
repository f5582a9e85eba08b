from typing import final

from multipaxos.node.context import Context
from multipaxos.node.links import Links
from multipaxos.paxos.replica import Replica

@final
class Changing:
    def __new__(cls, context: Context, links: Links, replica: Replica) -> Changing: ...
