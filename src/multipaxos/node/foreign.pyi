from collections.abc import Callable
from typing import final

from multipaxos.node.context import Context
from multipaxos.node.links import Links

@final
class Foreign:
    def __new__(cls, context: Context, links: Links, flatten: Callable[[bytes], bytes]) -> Foreign: ...
