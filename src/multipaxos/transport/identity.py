"""What a node says of itself in its hellos, and whether a hello of another fits to it.

Rules.
- A client learns the cluster's name and id, the node's id and the versions. Everything else is said only to a peer that
  has proved the cluster's key.
- What is judged before the proof, and may be answered to anybody, is `stranger_misfit`; it tells no more than the
  cluster's name, its versions and the node's id.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from multipaxos.config.charter import Charter
from multipaxos.machine import semantics
from multipaxos.transport.meetings import COPIED, Life
from multipaxos.wire.schema import Hello, LinkKind

COMPARE = "compare the addresses in the configurations"
SAME = "nodes, roles, quorum, window and machine must be the same everywhere"


class Versions(NamedTuple):
    """The versions that one side knows, both ends included."""

    lowest: int
    highest: int

    def meet(self, lowest: int, highest: int) -> bool:
        """Whether any version is in both ranges."""
        return lowest <= self.highest and self.lowest <= highest


VERSIONS = Versions(3, 3)  # of the protocol
SEMANTICS = Versions(semantics.VERSIONS[0].version, semantics.VERSIONS[-1].version)  # of the log


@dataclass(frozen=True)
class Identity:
    """A node of a cluster with so many `nodes`. `cluster_id` is 0 until the node has one. `python`: the version of the
    interpreter, 0 if no machine of a user's runs on it."""

    cluster: str
    digest: int
    nodes: int
    node_id: int
    incarnation: int
    process: int
    versions: Versions = VERSIONS
    semantics: Versions = SEMANTICS
    python: int = 0
    mixed_python: bool = False
    machine_version: int = 1
    cluster_id: int = 0
    refused_slots: tuple[int, ...] = ()

    @classmethod
    def of(cls, charter: Charter, node_id: int, life: Life) -> Identity:
        """The identity of one of the charter's nodes."""
        return cls(charter.name, charter.digest(), len(charter.roles), node_id, life.incarnation, life.process)

    def hello(self, kind: LinkKind, nonce: int, echo: int, target: int) -> Hello:
        """A hello. `target`: the node that it is meant for, -1 if it is none or not known."""
        public = Hello(
            cluster=self.cluster, cluster_id=self.cluster_id, node=self.node_id, target=target,
            version_min=self.versions.lowest, version_max=self.versions.highest, kind=kind, nonce=nonce, echo=echo,
        )  # fmt: skip
        if kind != "peer":
            return public
        return replace(
            public, configuration=self.digest, incarnation=self.incarnation, process=self.process,
            semantics_min=self.semantics.lowest, semantics_max=self.semantics.highest,
            python=self.python, mixed_python=self.mixed_python,
            refused_slots=self.refused_slots, machine_version=self.machine_version,
        )  # fmt: skip

    def refusal(self, reason: str) -> Hello:
        """A hello that refuses, and tells nothing else of the node."""
        return Hello(
            cluster=self.cluster, version_min=self.versions.lowest, version_max=self.versions.highest, refusal=reason
        )

    def stranger_misfit(self, hello: Hello) -> str:
        """Why no link with the sender of this hello can be, whoever it is; empty if it can."""
        if not self.versions.meet(hello.version_min, hello.version_max):
            return (
                f"it speaks protocol versions {hello.version_min} to {hello.version_max}, "
                f"this node {self.versions.lowest} to {self.versions.highest}: upgrade the older one"
            )
        if (hello.cluster or hello.kind == "peer") and hello.cluster != self.cluster:
            return f"it belongs to cluster {hello.cluster!r}, this is {self.cluster!r}"
        if hello.target not in (-1, self.node_id):
            return f"it looks for node {hello.target}, this is node {self.node_id}: {COMPARE}"
        return ""

    def peer_misfit(self, hello: Hello, dialled: int) -> str:
        """Why no link with this peer can be; empty if it can. `dialled`: the node that was dialled, -1 if the peer
        dialled."""
        if hello.cluster_id and self.cluster_id and hello.cluster_id != self.cluster_id:
            return (
                f"it belongs to another cluster of the name {self.cluster!r}: its id is {hello.cluster_id:016x}, "
                f"this one's is {self.cluster_id:016x}; give each cluster a name of its own"
            )
        if hello.configuration != self.digest:
            return f"its configuration differs from this node's: {SAME}"
        if not 0 <= hello.node < self.nodes or hello.node == self.node_id:
            return f"node {hello.node} is not one of this node's peers"
        if dialled >= 0 and hello.node != dialled:
            return f"node {hello.node} answers where node {dialled} should be: {COMPARE}"
        if hello.incarnation == self.incarnation:
            return f"it has this node's incarnation: {COPIED}"
        return self._misfit_of_machines(hello)

    def _misfit_of_machines(self, hello: Hello) -> str:
        """Why the two machines may come to differ."""
        if not self.semantics.meet(hello.semantics_min, hello.semantics_max):
            return (
                f"it knows semantics {hello.semantics_min} to {hello.semantics_max} of the log, "
                f"this node {self.semantics.lowest} to {self.semantics.highest}: upgrade the older one"
            )
        mixed = hello.mixed_python and self.mixed_python
        if hello.python and self.python and hello.python != self.python and not mixed:
            return (
                f"it runs its machine on Python {_dotted(hello.python)}, this node on {_dotted(self.python)}, where "
                "recursion ends at another depth: use one version, or give --mixed-python to every node"
            )
        takes_them = bool(hello.cluster_id) != bool(self.cluster_id)  # the one without an id takes both from the other
        if hello.refused_slots != self.refused_slots and not takes_them:
            return (
                f"it refuses {_slots(hello.refused_slots)}, this node {_slots(self.refused_slots)}: "
                "give the same --refuse-slot to every node"
            )
        return ""


def _dotted(python: int) -> str:
    return f"{python >> 8}.{python & 255}"


def _slots(slots: tuple[int, ...]) -> str:
    return f"slots {', '.join(map(str, slots))}" if slots else "no slot"
