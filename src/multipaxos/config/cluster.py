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

import difflib
import hashlib
import ipaddress
import json
import re
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

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


class Place(NamedTuple):
    """Where an entry stands; `nth` of the tables of its name, from 0; an empty key means the table itself."""

    table: str
    nth: int = 0
    key: str = ""


class Misfit(ConfigurationError):
    """A wrong entry and its place; `Config.parse` turns the place into file and line."""

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(reason)
        self.place = place


@dataclass(frozen=True)
class Node:
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
    nodes: tuple[Node, ...]
    quorum: Quorum = "majority"
    window: int = WINDOW_DEFAULT
    election_timeout_ms: int = 500
    ping_interval_ms: int = 100

    def __post_init__(self) -> None:
        check_nodes(self.nodes)
        check_cluster(self)
        ordered = (Node(n.id, n.address, tuple(r for r in ROLES if r in n.roles)) for n in self.nodes)
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
        listed = tuple(Node(i, f"127.0.0.1:{base_port + i}") for i in range(nodes))
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


# -- addresses


def parse_address(text: str) -> tuple[str, int]:
    """``host:port`` or ``[IPv6]:port`` as (host without brackets, port)."""
    match = re.fullmatch(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<host>[^:\[\]]*)):(?P<port>[0-9]{1,9})", text)
    if match is None:
        if text.count(":") > 1 and "[" not in text:
            raise ConfigurationError(f"address {text!r}: an IPv6 address needs brackets, like [::1]:7400")
        raise ConfigurationError(f"address {text!r} must be HOST:PORT, like 127.0.0.1:7400 or [::1]:7400")
    port = int(match["port"])
    if not 1 <= port <= 65535:
        raise ConfigurationError(f"address {text!r}: port {port} is out of range: it must be 1 to 65535")
    return checked_host(text, match["six"], match["host"]), port


def checked_host(text: str, six: str | None, host: str | None) -> str:
    """The host of the address `text`, which is either an IPv6 address `six` or a `host`."""
    if six is not None:
        try:
            ipaddress.IPv6Address(six)
        except ValueError as error:
            raise ConfigurationError(f"address {text!r}: {error}") from None
        return six
    if not host or not re.fullmatch(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?", host):
        raise ConfigurationError(f"address {text!r}: {host!r} is neither a host name nor an IP address")
    if re.fullmatch(r"[0-9.]+", host):
        try:
            ipaddress.IPv4Address(host)
        except ValueError as error:
            raise ConfigurationError(f"address {text!r}: {error}") from None
    return host


def format_address(host: str, port: int) -> str:
    """The inverse of `parse_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_cluster(text: str) -> list[tuple[str, int]]:
    """``host:port,host:port,...``, as ``--cluster`` takes it, in the order given."""
    addresses: list[tuple[str, int]] = []
    for item in text.split(","):
        address = parse_address(item.strip())
        if address in addresses:
            raise ConfigurationError(f"address {item.strip()!r} is listed twice in {text!r}")
        addresses.append(address)
    return addresses


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


def node_of(entries: dict[str, Any], index: int) -> Node:
    """Node of the `index`-th [[node]]."""
    for key in entries:
        known_only(key, ("id", "address", "roles"), "key in [[node]]", Place("node", index, key))
    for key in ("id", "address"):
        if key not in entries:
            raise Misfit(Place("node", index), f"this [[node]] has no {key}")
    roles = entries.get("roles", list(ROLES))
    if not isinstance(roles, list):
        raise Misfit(Place("node", index, "roles"), f"roles must be a list like {json.dumps(ROLES)}")
    return Node(entries["id"], entries["address"], tuple(roles))


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


def known_only(name: object, known: Collection[str], what: str, place: Place) -> None:
    """Refuses a `name` that is not `known`, with the nearest that is."""
    if name in known:
        return
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise Misfit(place, f"unknown {what} {name!r}; {hint}")


# -- what makes a Config one that can be run


def check_nodes(nodes: Sequence[Node]) -> None:
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


def check_id(node: Node, index: int, ids: Collection[int], count: int) -> None:
    place = Place("node", index, "id")
    if not is_whole(node.id):
        raise Misfit(place, f"node id {node.id!r} must be a whole number")
    if node.id in ids:
        raise Misfit(place, f"node id {node.id} is used twice")
    if not 0 <= node.id < count:
        raise Misfit(place, f"node id {node.id}: ids of {count} nodes must be 0 to {count - 1}, without gaps")


def check_address(node: Node, index: int) -> tuple[str, int]:
    """(host, port), comparable."""
    place = Place("node", index, "address")
    if not isinstance(node.address, str):
        raise Misfit(place, f'node {node.id}: address {node.address!r} must be a string "HOST:PORT"')
    try:
        host, port = parse_address(node.address)
    except ConfigurationError as error:
        raise Misfit(place, f"node {node.id}: {error}") from None
    return str(ipaddress.IPv6Address(host)) if ":" in host else host.lower(), port


def check_roles(node: Node, index: int) -> None:
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


# -- lines of a TOML file


def toml_fault(message: str, text: str) -> tuple[str, int]:
    """tomllib's message as (reason, line)."""
    match = re.fullmatch(r"(?P<reason>.*) \(at line (?P<line>\d+), column \d+\)", message, re.DOTALL)
    if match is not None:
        return match["reason"], int(match["line"])
    return message.removesuffix(" (at end of document)"), text.count("\n") + 1


def line_of(text: str, place: Place) -> int:
    """The line of an entry, from 1: that of its key, else of its table's header, else 0."""
    table, index, key = place
    header = 0
    for number, current, count, stripped in tables_by_line(text.splitlines()):
        if current.split(".")[0] != table or count != index:
            continue
        if stripped.startswith("["):
            header = header or number
            if current == f"{table}.{key}":
                return number
        elif key and re.match(rf"(?:{re.escape(key)}|\"{re.escape(key)}\")\s*[.=]", stripped):
            return number
    return header


def tables_by_line(lines: Sequence[str]) -> Iterable[tuple[int, str, int, str]]:
    """Of each line: its number, its table, how many tables of that name came before, and its text."""
    current, counts = "", dict[str, int]()
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        match = re.match(r"\[{1,2}\s*([A-Za-z0-9_.\-]+)\s*\]{1,2}\s*(#.*)?$", stripped)
        if match is not None:
            current = match[1]
            counts[current] = counts.get(current, -1) + 1
        yield number, current, counts.get(current, 0), stripped


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


def toml_string(text: str) -> str:
    """A TOML basic string of printable text: JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False)
