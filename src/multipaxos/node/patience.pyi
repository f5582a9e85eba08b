from typing import final

from multipaxos.node.context import Context
from multipaxos.node.election import Election
from multipaxos.node.links import Links

@final
class Patience:
    def __new__(cls, context: Context, links: Links, election: Election) -> Patience: ...
