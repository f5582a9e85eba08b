"""A core with a trace, for the tests of traces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from multipaxos.paxos.leader import Leader
from multipaxos.storage.interface import Storage
from multipaxos.storage.memory import MemoryStorage
from multipaxos.trace.file import HEADER_LINE, Trace
from multipaxos.trace.traced_node import TracedNode
from tests.support.one_node import OneNode


class OpenTracedNode(TracedNode):
    """A traced core whose insides a `OneNode` sees, as it does of a core without a trace."""

    @property
    def leader(self) -> Leader:
        """The core's."""
        return self.core.leader

    def command_at(self, slot: int) -> tuple[int, int, int, bytes] | None:
        """The core's answer."""
        return self.core.command_at(slot)

    def invariants(self) -> None:
        """The core's."""
        self.core.invariants()


class Traced:
    """One node with a traced core."""

    def __init__(self, path: Path, node: OneNode, storage: Storage | None = None) -> None:
        self.path = path
        self.one = node
        self.trace = Trace(path, node.id, node.incarnations[node.id])
        node.core = OpenTracedNode(node.core, self.trace, storage or MemoryStorage(), lambda link: f"link {link}")
        for peer in range(node.nodes):
            if peer != node.id:
                node.link(peer)
        self.taken = 0
        self.take()

    def take(self, *events: str) -> list[dict[str, Any]]:
        """The lines since the last call; only those of `events` if any are named."""
        found = lines(self.path)
        new, self.taken = found[self.taken :], len(found)
        return [line for line in new if not events or line["event"] in events]


def lines(path: Path) -> list[dict[str, Any]]:
    """All lines of a file but its header; each must be whole."""
    text = path.read_bytes()
    assert text.startswith(HEADER_LINE)
    assert text.endswith(b"\n")
    return [json.loads(line) for line in text.splitlines()[1:]]
