"""All nodes that a client talks to are of one cluster.

Theory. A node tells a client the name of its cluster and the cluster's id, which says who founded it: a cluster that
was founded again, on new disks, has another id. A session is known to one cluster only, and its id is a slot, so in
another cluster it may stand for another client's session. The nonce tells them apart; this file says what happened.

Rules. Another name is a mistake in the list of addresses. Another id of the same name is a cluster that was founded
again while the client lived. Once the client has left an id behind, a node that has it is of a cluster that should be
gone: then the list holds nodes of two clusters, and no answer could be trusted to be of the right one.
"""

from __future__ import annotations

from multipaxos.errors import ConfigurationError
from multipaxos.wire.schema import Hello


class OneCluster:
    """The cluster of a client. `id`: 0 until a node was met that knows it."""

    def __init__(self) -> None:
        self.name = ""
        self.id = 0
        self._left: set[int] = set()  # ids of clusters that this one took the place of

    def meet(self, address: tuple[str, int], hello: Hello) -> None:
        """A node has said of which cluster it is. Raises ConfigurationError if the addresses are of two clusters."""
        where = f"{address[0]}:{address[1]}"
        if self.name and hello.cluster != self.name:
            raise ConfigurationError(
                f"the addresses are of two clusters: {where} is of {hello.cluster!r}, another one of {self.name!r}; "
                "give the addresses of one cluster"
            )
        self.name = hello.cluster
        if hello.cluster_id in (0, self.id):
            return
        if hello.cluster_id in self._left:
            raise ConfigurationError(
                f"the addresses are of two clusters of the name {self.name!r}: {where} is of {hello.cluster_id:016x}, "
                f"another one of {self.id:016x}; give the addresses of one cluster"
            )
        if self.id:
            self._left.add(self.id)
        self.id = hello.cluster_id
