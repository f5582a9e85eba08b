from typing import final

from multipaxos.node.context import Context
from multipaxos.node.foreign import Foreign
from multipaxos.node.links import Links

@final
class Receiving:
    def __new__(cls, context: Context, links: Links, foreign: Foreign) -> Receiving: ...
