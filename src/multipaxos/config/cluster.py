"""The description of a cluster: its nodes, their roles, and the quorums.

Every node of a cluster is given the same TOML file::

    [cluster]
    name = "demo"
    quorum = "majority"        # or { phase1 = 4, phase2 = 2 }, or { grid = [2, 3] }
    window = 8192              # optional; PMMC's WINDOW: a power of two, 64 to 65536
    election_timeout_ms = 500  # optional
    ping_interval_ms = 100     # optional
    in_flight_bytes = 8388608  # optional; of undecided commands, which an election has to carry over every link
    key_file = "cluster.key"   # the cluster's key; needed unless all addresses are of this machine alone

    [[node]]
    id = 0
    address = "127.0.0.1:7400" # for peers and clients
    roles = ["replica", "leader", "acceptor"]

Rules.
- A Config that cannot be run is refused when it is made; quorums that need not intersect are among what is refused.
- What the nodes must agree on for safety is the `charter`, which data directories keep and nodes compare. Addresses,
  times, `in_flight_bytes` and the place of the key file may differ between nodes.
- A `key_file` that is not absolute lies beside the TOML file.
- A wrong entry is refused with its file and line, and a misspelt name with the nearest known name.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from multipaxos.config.charter import Charter
from multipaxos.config.members import ROLES, Member, check_members, is_whole, member_of
from multipaxos.config.toml import Misfit, Place, located, parse_document, require_known, toml_string
from multipaxos.errors import ConfigurationError
from multipaxos.machine.state_machine import STORE
from multipaxos.paxos.quorum import QuorumSystem

WINDOW_DEFAULT, WINDOW_MIN, WINDOW_MAX = 8192, 64, 65536
TIME_MAX_MS = 3_600_000
# What an election carries over the slowest link: 8 MiB take 0.7 s at 100 Mbit/s. At the most a quarter of the memory
# that slots may take.
IN_FLIGHT_BYTES_DEFAULT, IN_FLIGHT_BYTES_MIN, IN_FLIGHT_BYTES_MAX = 8 << 20, 1 << 16, 64 << 20
NAME_BYTES_MAX = 255


@dataclass(frozen=True)
class Sizes:
    """Any `phase1` acceptors are a quorum of phase 1, any `phase2` acceptors one of phase 2."""

    phase1: int
    phase2: int


@dataclass(frozen=True)
class Grid:
    """Acceptors in order of id, row by row: a row is a quorum of phase 1, a column one of phase 2."""

    rows: int
    columns: int


Quorum = Literal["majority"] | Sizes | Grid


@dataclass(frozen=True)
class Config:
    """A cluster that can be run; `nodes` are kept in order of id. Raises ConfigurationError when it cannot be run."""

    name: str
    nodes: tuple[Member, ...]
    quorum: Quorum = "majority"
    window: int = WINDOW_DEFAULT
    election_timeout_ms: int = 500
    ping_interval_ms: int = 100
    in_flight_bytes: int = IN_FLIGHT_BYTES_DEFAULT
    key_file: Path | None = None

    def __post_init__(self) -> None:
        check_members(self.nodes)
        _check_cluster(self)
        ordered = (Member(n.id, n.address, tuple(r for r in ROLES if r in n.roles)) for n in self.nodes)
        object.__setattr__(self, "nodes", tuple(sorted(ordered, key=lambda node: node.id)))
        try:
            self.quorums()
        except ConfigurationError as error:
            raise Misfit(Place("cluster", key="quorum"), str(error)) from None

    @classmethod
    def load(cls, path: str | Path) -> Config:
        """The cluster of the TOML file at `path`. Raises ConfigurationError."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{path}: is not UTF-8 text: {error.reason}") from error
        return cls.parse(text, str(path), Path(path).absolute().parent)

    @classmethod
    def parse(cls, text: str, source: str = "configuration", folder: Path = Path()) -> Config:
        """The cluster of a TOML text; `source` names the text in errors, and the key file lies in `folder`. Raises
        ConfigurationError."""
        document = parse_document(text, source)
        try:
            return _config_of(document, folder)
        except Misfit as misfit:
            raise located(misfit, text, source) from None

    @classmethod
    def local(cls, nodes: int, base_port: int, name: str = "local", quorum: Quorum = "majority") -> Config:
        """A cluster of `nodes` nodes on this machine: every node has every role, node i has port `base_port` + i.

        Raises ConfigurationError.
        """
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
        """The roles of each node as bits, by node id: 1 replica, 2 leader, 4 acceptor."""
        return [node.role_mask for node in self.nodes]

    def charter(self, machine: str = STORE) -> Charter:
        """What safety rests on; `machine` is the name of the state machine, see `machine_name`."""
        return Charter(
            self.name, tuple(node.roles for node in self.nodes), _quorum_words(self.quorum), self.window, machine
        )

    def to_toml(self) -> str:
        """The text that `parse` reads back to an equal Config."""
        lines = [
            "[cluster]",
            f"name = {toml_string(self.name)}",
            f"quorum = {_quorum_toml(self.quorum)}",
            f"window = {self.window}",
            f"election_timeout_ms = {self.election_timeout_ms}",
            f"ping_interval_ms = {self.ping_interval_ms}",
            f"in_flight_bytes = {self.in_flight_bytes}",
        ]
        if self.key_file is not None:
            lines.append(f"key_file = {toml_string(str(self.key_file))}")
        for node in self.nodes:
            lines += ["", *node.to_toml()]
        return "\n".join(lines) + "\n"


# -- from a document to a Config: shapes and names


def _config_of(document: dict[str, Any], folder: Path) -> Config:
    """The Config of a parsed document; its key file lies in `folder`. Raises Misfit."""
    for table in document:
        require_known(table, ("cluster", "node"), "table", Place(table))
    cluster = document.get("cluster")
    if not isinstance(cluster, dict):
        raise Misfit(Place("cluster"), "there must be a table [cluster] with at least a name")
    nodes = document.get("node")
    if not isinstance(nodes, list) or not all(isinstance(node, dict) for node in nodes):
        raise Misfit(Place("node"), "there must be a table [[node]] for each node (with double brackets)")
    listed = tuple(member_of(node, nth) for nth, node in enumerate(nodes))
    keys = [field.name for field in fields(Config) if field.name != "nodes"]
    for key in cluster:
        require_known(key, keys, "key in [cluster]", Place("cluster", key=key))
    entries: dict[str, Any] = {"name": ""} | cluster
    if "quorum" in entries:
        entries["quorum"] = _quorum_of(entries["quorum"])
    if "key_file" in entries:
        entries["key_file"] = _key_file_of(entries["key_file"], folder)
    return Config(nodes=listed, **entries)


def _key_file_of(entry: object, folder: Path) -> Path:
    """The path of the entry `key_file`. Raises Misfit."""
    if not isinstance(entry, str) or not entry or not entry.isprintable():
        raise Misfit(Place("cluster", key="key_file"), f"key_file = {entry!r} must be the path of a file")
    return folder / entry


def _quorum_of(entry: object) -> Quorum:
    """The quorum of the entry `quorum`: "majority", { phase1, phase2 } or { grid }. Raises Misfit."""
    place = Place("cluster", key="quorum")
    if entry == "majority":
        return "majority"
    if isinstance(entry, str):
        require_known(entry, ("majority",), "quorum", place)
    if not isinstance(entry, dict):
        raise Misfit(place, 'quorum must be "majority", { phase1 = N, phase2 = M } or { grid = [ROWS, COLUMNS] }')
    for key in entry:
        require_known(key, ("phase1", "phase2", "grid"), "key of quorum", place)
    if set(entry) == {"phase1", "phase2"}:
        return Sizes(entry["phase1"], entry["phase2"])
    grid = entry.get("grid")
    if set(entry) != {"grid"} or not isinstance(grid, list) or len(grid) != 2:
        raise Misfit(place, "quorum needs both phase1 and phase2, or grid = [ROWS, COLUMNS] alone")
    return Grid(grid[0], grid[1])


# -- what a Config must be, so that it can be run


def _check_cluster(config: Config) -> None:
    """Checks the name, the window and the times. Raises Misfit."""
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
    _check_time("election_timeout_ms", config.election_timeout_ms)
    _check_time("ping_interval_ms", config.ping_interval_ms)
    in_flight = config.in_flight_bytes
    if not is_whole(in_flight) or not IN_FLIGHT_BYTES_MIN <= in_flight <= IN_FLIGHT_BYTES_MAX:
        raise Misfit(
            Place("cluster", key="in_flight_bytes"),
            f"in_flight_bytes = {in_flight!r} must be a whole number, {IN_FLIGHT_BYTES_MIN} to {IN_FLIGHT_BYTES_MAX}",
        )
    if config.election_timeout_ms < 2 * config.ping_interval_ms:
        raise Misfit(
            Place("cluster", key="election_timeout_ms"),
            f"election_timeout_ms = {config.election_timeout_ms} must be at least twice "
            f"ping_interval_ms = {config.ping_interval_ms}, otherwise one lost ping starts an election",
        )


def _check_time(key: str, value_ms: object) -> None:
    if not is_whole(value_ms) or not 1 <= value_ms <= TIME_MAX_MS:
        place = Place("cluster", key=key)
        raise Misfit(place, f"{key} = {value_ms!r} must be a whole number, 1 to {TIME_MAX_MS}")


# -- the quorum, for the charter and for the file


def _quorum_words(quorum: Quorum) -> tuple[str | int, ...]:
    match quorum:
        case Sizes(phase1, phase2):
            return "sizes", phase1, phase2
        case Grid(rows, columns):
            return "grid", rows, columns
        case _:
            return ("majority",)


def _quorum_toml(quorum: Quorum) -> str:
    match quorum:
        case Sizes(phase1, phase2):
            return f"{{ phase1 = {phase1}, phase2 = {phase2} }}"
        case Grid(rows, columns):
            return f"{{ grid = [{rows}, {columns}] }}"
        case _:
            return toml_string("majority")
