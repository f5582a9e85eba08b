"""The description of a cluster: its nodes, their roles, and the quorums.

Every node of a cluster is given the same TOML file::

    [cluster]
    name = "demo"
    quorum = "majority"        # or { phase1 = 4, phase2 = 2 }, or { grid = [2, 3] }
    window = 8192              # optional; PMMC's WINDOW: a power of two, 64 to 65536
    election_timeout_ms = 500  # optional
    ping_interval_ms = 100     # optional

    [[node]]
    id = 0
    address = "127.0.0.1:7400" # peers and clients
    roles = ["replica", "leader", "acceptor"]

Rules. Ids are 0 to n-1, so that a node's id is its bit in a vote mask. Every role has a node. Quorums that
need not intersect are refused. What the nodes must agree on for safety goes into `digest`, which they compare
when they meet; addresses and times may differ. A wrong entry is refused with its file and line, a misspelt
one with its nearest name.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from multipaxos.config.addresses import parse_address
from multipaxos.config.toml import Misfit, Place, known_only, line_of, toml_fault, toml_string
from multipaxos.errors import ConfigurationError
from multipaxos.paxos.quorum import QuorumSystem

NODES_MAX = 64
WINDOW_DEFAULT, WINDOW_MIN, WINDOW_MAX = 8192, 64, 65536
TIME_MAX_MS = 3_600_000
NAME_BYTES_MAX = 255

REPLICA, LEADER, ACCEPTOR = 1, 2, 4
ROLE_BITS = {"replica": REPLICA, "leader": LEADER, "acceptor": ACCEPTOR}
ROLES = tuple(ROLE_BITS)


@dataclass(frozen=True)
class Sizes:
    """Any `phase1` acceptors and any `phase2` acceptors."""

    phase1: int
    phase2: int


@dataclass(frozen=True)
class Grid:
    """Acceptors in order of id, row by row; a row for phase 1, a column for phase 2."""

    rows: int
    columns: int


Quorum = Literal["majority"] | Sizes | Grid


@dataclass(frozen=True)
class Member:
    """One process of the cluster. Roles are kept in the order of ROLES."""

    id: int
    address: str
    roles: tuple[str, ...] = ROLES

    @property
    def host(self) -> str:
        return parse_address(self.address)[0]

    @property
    def port(self) -> int:
        return parse_address(self.address)[1]

    @property
    def role_mask(self) -> int:
        return sum(ROLE_BITS[role] for role in self.roles)


@dataclass(frozen=True)
class Config:
    """A cluster that can be run: one that cannot is refused when made. Nodes are kept in order of id."""

    name: str
    nodes: tuple[Member, ...]
    quorum: Quorum = "majority"
    window: int = WINDOW_DEFAULT
    election_timeout_ms: int = 500
    ping_interval_ms: int = 100

    def __post_init__(self) -> None:
        check_nodes(self.nodes)
        check_cluster(self)
        ordered = (Member(n.id, n.address, tuple(r for r in ROLES if r in n.roles)) for n in self.nodes)
        object.__setattr__(self, "nodes", tuple(sorted(ordered, key=lambda node: node.id)))
        try:
            self.quorums()
        except ConfigurationError as error:
            raise Misfit(Place("cluster", key="quorum"), str(error)) from None

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """Reads the TOML file at `path`."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{path}: is not UTF-8 text: {error.reason}") from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, source: str = "configuration") -> Config:
        """Reads TOML; `source` names it in errors."""
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            reason, line = toml_fault(str(error), text)
            raise ConfigurationError(f"{source}:{line}: not valid TOML: {reason}") from error
        try:
            return config_of(document)
        except Misfit as misfit:
            line_number = line_of(text, misfit.place)
            where = f"{source}:{line_number}" if line_number else source
            raise ConfigurationError(f"{where}: {misfit}") from None

    @classmethod
    def local(
        cls,
        nodes: int,
        base_port: int,
        name: str = "local",
        quorum: Quorum = "majority",
    ) -> Config:
        """A cluster of `nodes` nodes on this machine, all with every role, node i on port `base_port` + i."""
        listed = tuple(Member(i, f"127.0.0.1:{base_port + i}") for i in range(nodes))
        return cls(name=name, nodes=listed, quorum=quorum)

    def quorums(self) -> QuorumSystem:
        """The quorum system over the nodes that are acceptors."""
        acceptors = [node.id for node in self.nodes if "acceptor" in node.roles]
        match self.quorum:
            case Sizes(phase1, phase2):
                return QuorumSystem.sizes(acceptors, phase1, phase2)
            case Grid(rows, columns):
                return QuorumSystem.grid(acceptors, rows, columns)
            case _:
                return QuorumSystem.majority(acceptors)

    def role_masks(self) -> list[int]:
        """By node id: 1 replica, 2 leader, 4 acceptor, added up."""
        return [node.role_mask for node in self.nodes]

    def digest(self) -> int:
        """64 bits, never 0, over all that the nodes must agree on for safety; the same in every process."""
        agreed = {
            "name": self.name,
            "nodes": [[node.id, list(node.roles)] for node in self.nodes],
            "quorum": quorum_words(self.quorum),
            "window": self.window,
        }
        canonical = json.dumps(agreed, sort_keys=True, separators=(",", ":")).encode()
        return int.from_bytes(hashlib.sha256(canonical).digest()[:8], "big") or 1

    def to_toml(self) -> str:
        """The file that `parse` reads back to an equal Config."""
        lines = [
            "[cluster]",
            f"name = {toml_string(self.name)}",
            f"quorum = {toml_quorum(self.quorum)}",
            f"window = {self.window}",
            f"election_timeout_ms = {self.election_timeout_ms}",
            f"ping_interval_ms = {self.ping_interval_ms}",
        ]
        for node in self.nodes:
            roles = ", ".join(toml_string(role) for role in node.roles)
            lines += [
                "",
                "[[node]]",
                f"id = {node.id}",
                f"address = {toml_string(node.address)}",
                f"roles = [{roles}]",
            ]
        return "\n".join(lines) + "\n"


# -- from TOML to Config: shapes and names


def config_of(document: dict[str, Any]) -> Config:
    """Config of parsed TOML. Raises Misfit."""
    for table in document:
        known_only(table, ("cluster", "node"), "table", Place(table))
    cluster = document.get("cluster")
    if not isinstance(cluster, dict):
        raise Misfit(Place("cluster"), "there must be a table [cluster] with at least a name")
    nodes = document.get("node")
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise Misfit(Place("node"), "there must be a table [[node]] for each node (with double brackets)")
    listed = tuple(node_of(node, index) for index, node in enumerate(nodes))
    keys = [field.name for field in fields(Config) if field.name != "nodes"]
    for key in cluster:
        known_only(key, keys, "key in [cluster]", Place("cluster", key=key))
    entries: dict[str, Any] = {"name": ""} | cluster
    if "quorum" in entries:
        entries["quorum"] = quorum_of(entries["quorum"])
    return Config(nodes=listed, **entries)


def node_of(entries: dict[str, Any], index: int) -> Member:
    """Member of the `index`-th [[node]]."""
    for key in entries:
        known_only(key, ("id", "address", "roles"), "key in [[node]]", Place("node", index, key))
    for key in ("id", "address"):
        if key not in entries:
            raise Misfit(Place("node", index), f"this [[node]] has no {key}")
    roles = entries.get("roles", list(ROLES))
    if not isinstance(roles, list):
        raise Misfit(Place("node", index, "roles"), f"roles must be a list like {json.dumps(ROLES)}")
    return Member(entries["id"], entries["address"], tuple(roles))


def quorum_of(entry: object) -> Quorum:
    """Quorum of the entry ``quorum``: "majority", { phase1, phase2 } or { grid }."""
    place = Place("cluster", key="quorum")
    if entry == "majority":
        return "majority"
    if isinstance(entry, str):
        known_only(entry, ("majority",), "quorum", place)
    if not isinstance(entry, dict):
        raise Misfit(place, 'quorum must be "majority", { phase1 = N, phase2 = M } or { grid = [ROWS, COLUMNS] }')
    for key in entry:
        known_only(key, ("phase1", "phase2", "grid"), "key of quorum", place)
    if set(entry) == {"phase1", "phase2"}:
        return Sizes(entry["phase1"], entry["phase2"])
    grid = entry.get("grid")
    if set(entry) != {"grid"} or not isinstance(grid, list) or len(grid) != 2:
        raise Misfit(place, "quorum needs both phase1 and phase2, or grid = [ROWS, COLUMNS] alone")
    return Grid(grid[0], grid[1])


# -- what makes a Config one that can be run


def check_nodes(nodes: Sequence[Member]) -> None:
    """Ids 0 to n-1, addresses and roles well-formed, no address twice, no role without a node."""
    if not 1 <= len(nodes) <= NODES_MAX:
        raise Misfit(Place("node"), f"{len(nodes)} nodes are listed: there must be 1 to {NODES_MAX}")
    ids: set[int] = set()
    addresses: dict[tuple[str, int], int] = {}
    for index, node in enumerate(nodes):
        check_id(node, index, ids, len(nodes))
        address = check_address(node, index)
        if address in addresses:
            raise Misfit(
                Place("node", index, "address"),
                f"node {node.id}: address {node.address} is already that of node {addresses[address]}",
            )
        ids.add(node.id)
        addresses[address] = node.id
        check_roles(node, index)
    for role in ROLES:
        if not any(role in node.roles for node in nodes):
            raise Misfit(Place("node"), f"no node has the role {role!r}: give it to at least one")


def check_id(node: Member, index: int, ids: Collection[int], count: int) -> None:
    place = Place("node", index, "id")
    if not is_whole(node.id):
        raise Misfit(place, f"node id {node.id!r} must be a whole number")
    if node.id in ids:
        raise Misfit(place, f"node id {node.id} is used twice")
    if not 0 <= node.id < count:
        raise Misfit(place, f"node id {node.id}: ids of {count} nodes must be 0 to {count - 1}, without gaps")


def check_address(node: Member, index: int) -> tuple[str, int]:
    """(host, port), comparable."""
    place = Place("node", index, "address")
    if not isinstance(node.address, str):
        raise Misfit(place, f'node {node.id}: address {node.address!r} must be a string "HOST:PORT"')
    try:
        host, port = parse_address(node.address)
    except ConfigurationError as error:
        raise Misfit(place, f"node {node.id}: {error}") from None
    return str(ipaddress.IPv6Address(host)) if ":" in host else host.lower(), port


def check_roles(node: Member, index: int) -> None:
    place = Place("node", index, "roles")
    for role in node.roles:
        known_only(role, ROLES, "role", place)
    if not node.roles or len(set(node.roles)) != len(node.roles):
        raise Misfit(place, f"node {node.id}: roles must be some of {', '.join(ROLES)}, each once")


def check_cluster(config: Config) -> None:
    """Name, window and times."""
    name = config.name
    if not isinstance(name, str) or not name or not name.isprintable() or len(name.encode()) > NAME_BYTES_MAX:
        raise Misfit(
            Place("cluster", key="name"),
            f"the cluster needs a name: printable text of 1 to {NAME_BYTES_MAX} bytes, not {name!r}",
        )
    window = config.window
    if not is_whole(window) or not WINDOW_MIN <= window <= WINDOW_MAX or window & (window - 1):
        raise Misfit(
            Place("cluster", key="window"),
            f"window = {window!r} must be a power of two, {WINDOW_MIN} to {WINDOW_MAX}",
        )
    for key in ("election_timeout_ms", "ping_interval_ms"):
        value = getattr(config, key)
        if not is_whole(value) or not 1 <= value <= TIME_MAX_MS:
            raise Misfit(Place("cluster", key=key), f"{key} = {value!r} must be a whole number, 1 to {TIME_MAX_MS}")
    if config.election_timeout_ms < 2 * config.ping_interval_ms:
        raise Misfit(
            Place("cluster", key="election_timeout_ms"),
            f"election_timeout_ms = {config.election_timeout_ms} must be at least twice "
            f"ping_interval_ms = {config.ping_interval_ms}, or one lost ping is an election",
        )


def is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# -- to TOML


def quorum_words(quorum: Quorum) -> list[str | int]:
    match quorum:
        case Sizes(phase1, phase2):
            return ["sizes", phase1, phase2]
        case Grid(rows, columns):
            return ["grid", rows, columns]
        case _:
            return ["majority"]


def toml_quorum(quorum: Quorum) -> str:
    match quorum:
        case Sizes(phase1, phase2):
            return f"{{ phase1 = {phase1}, phase2 = {phase2} }}"
        case Grid(rows, columns):
            return f"{{ grid = [{rows}, {columns}] }}"
        case _:
            return toml_string("majority")
