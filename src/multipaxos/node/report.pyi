from typing import final

from multipaxos.node.comparing import Comparing
from multipaxos.node.context import Context
from multipaxos.node.foreign import Foreign
from multipaxos.node.joining import Joining
from multipaxos.node.leading import Leading
from multipaxos.node.links import Links
from multipaxos.paxos.acceptor import Acceptor
from multipaxos.paxos.leader import Leader
from multipaxos.paxos.replica import Replica

@final
class Report:
    def __new__(
        cls,
        context: Context,
        links: Links,
        foreign: Foreign,
        joining: Joining,
        leading: Leading,
        comparing: Comparing,
        acceptor: Acceptor,
        leader: Leader,
        replica: Replica,
    ) -> Report: ...
