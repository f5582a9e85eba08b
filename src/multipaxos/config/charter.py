"""A cluster's charter: the part of its configuration that safety rests on, as every data directory keeps it.

Theory. What is decided rests on quorums that meet. They meet only if all nodes count with one quorum system over the
same acceptors, at every moment of the log's life: five nodes of which three have acknowledged a write may not become
three nodes of which two never had it. The same holds for WINDOW and for the machine, which make of one log one state.
So a storage keeps the charter from its first start, and a start with another one is refused. Nodes compare its digest
in their hellos.

Rules.
- Addresses, times and keys are no part of it: they may differ between nodes and change between starts.
- It is durable before the node promises or learns anything. A storage that holds anything else and no charter is
  damaged.
- A storage that holds nothing beside its charter and refused slots has promised and learnt nothing, so a start with
  another charter replaces it: a slip of a first start can be mended.
- Equal charters have equal bytes.
- It cannot be changed yet. That will need a decision in the log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from multipaxos.errors import DamagedDirectory, DirectoryMismatch
from multipaxos.node.output import META_REFUSED

META_CHARTER = b"charter"


def is_bound(meta: Mapping[bytes, bytes]) -> bool:
    """Has a node with this metadata promised or learnt anything, or is about to?"""
    return not meta.keys() <= {META_CHARTER, META_REFUSED}


@dataclass(frozen=True)
class Charter:
    """`roles`: the names of each node's roles, by node id. `quorum`: "majority"; "sizes" and two numbers; or "grid" and
    two numbers. `machine`: the name of the state machine."""

    name: str
    roles: tuple[tuple[str, ...], ...]
    quorum: tuple[str | int, ...]
    window: int
    machine: str

    def encode(self) -> bytes:
        """The bytes that a storage keeps."""
        return json.dumps(self.__dict__, sort_keys=True, separators=(",", ":")).encode()

    def digest(self) -> int:
        """64 bits, never 0, equal in every process."""
        return int.from_bytes(hashlib.sha256(self.encode()).digest()[:8], "big") or 1

    def required(self, meta: Mapping[bytes, bytes], node_id: int) -> dict[bytes, bytes]:
        """What node `node_id` has to add to the metadata of its storage before it does anything.

        Raises DirectoryMismatch if the storage keeps another charter, DamagedDirectory if it has lost it.
        """
        kept = meta.get(META_CHARTER)
        if kept is None:
            if meta:
                raise DamagedDirectory(f"node {node_id}: its directory holds promises and no configuration")
            return {META_CHARTER: self.encode()}
        if kept != self.encode() and not is_bound(meta):
            return {META_CHARTER: self.encode()}
        if kept != self.encode():
            told = "; ".join(_differences(json.loads(kept), json.loads(self.encode())))
            raise DirectoryMismatch(
                f"node {node_id}: its directory was made with another configuration than this one ({told}): start it "
                "with that of the directory, because nodes, roles, quorums, WINDOW and the machine of a cluster cannot "
                "be changed yet"
            )
        return {}


def _differences(kept: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Each difference in words: what the directory says, and what this start says."""
    if len(kept["roles"]) != len(now["roles"]):
        yield f"{len(kept['roles'])} nodes in the directory, {len(now['roles'])} now"
    for node_id, (before, after) in enumerate(zip(kept["roles"], now["roles"], strict=False)):
        if before != after:
            yield f"roles of node {node_id}: {', '.join(before)} in the directory, {', '.join(after)} now"
    if kept["quorum"] != now["quorum"]:
        yield f"quorum: {_quorum(kept['quorum'])} in the directory, {_quorum(now['quorum'])} now"
    for key in ("name", "window", "machine"):
        if kept[key] != now[key]:
            yield f"{key}: {kept[key]} in the directory, {now[key]} now"


def _quorum(words: list[str | int]) -> str:
    kind, *numbers = words
    return f"{kind} {' and '.join(map(str, numbers))}".rstrip()
