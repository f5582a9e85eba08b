"""Which life of each peer was met, and which lives may no longer come up.

Theory. A *life* of a node is one process on one data directory: its incarnation is the directory's, its process number
was drawn when the process started. Lives of a node follow each other; a life that another one has followed is over. So
once a link with a life is up, no link with an earlier one comes up. Founding rests on this.

Rules.
- A life that was followed by another one never comes up again; nor does any process of a directory that was followed by
  another directory. This is remembered as long as the process lives.
- A life that was not met before does not come up on a connection that was made before a handshake with another life of
  the same node was done: its bytes may be those of a dead process. The peer dials again.
"""

from __future__ import annotations

from typing import NamedTuple

COPIED = "a copied data directory is not a node"


class Life(NamedTuple):
    """One process on one data directory."""

    incarnation: int
    process: int


class Meetings:
    """The lives of the peers. Connections are numbered from 1 in the order in which they were made."""

    def __init__(self) -> None:
        self._connections = 0
        self._met: dict[int, tuple[Life, int]] = {}  # node id -> its newest life, connections made by then
        self._over: set[tuple[int, Life]] = set()
        self._replaced: set[tuple[int, int]] = set()  # (node id, incarnation) that another one has followed

    def next_number(self) -> int:
        """The number of a connection that has just been made."""
        self._connections += 1
        return self._connections

    def note(self, node_id: int, life: Life) -> None:
        """A handshake with this life of the node is done."""
        before, _ = self._met.get(node_id, (life, 0))
        if before != life:
            self._over.add((node_id, before))
        if before.incarnation != life.incarnation:
            self._replaced.add((node_id, before.incarnation))
        self._met[node_id] = life, self._connections

    def bar(self, node_id: int, life: Life, number: int) -> str:
        """Why this life of the node may not come up on connection `number`; empty if it may."""
        newest, made = self._met.get(node_id, (life, 0))
        if (node_id, life.incarnation) in self._replaced:
            return (
                f"node {node_id} came up with another data directory since: start it with that one alone; to go back "
                "to this one, restart every node that says so"
            )
        if (node_id, life) in self._over:
            return f"another process came up as node {node_id} with this incarnation since: {COPIED}"
        if newest != life and number <= made:
            return f"node {node_id} came up in another life since this connection was made: dial again"
        return ""
