"""What one run is made of: plain values that go into a file and come back equal.

Rules. Everything that makes two runs different is in the `Spec`; runs with equal specs are repetitions of one point.
Units come last in names. A missing value is None, never a number without meaning.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

FaultKind = Literal[
    "kill",  # SIGKILL
    "stop",  # SIGSTOP
    "continue",  # SIGCONT
    "restart",  # after a kill: the same command again, on the same directory
    "link_down",
    "link_up",
    "partition",  # nothing passes between the groups; mode full, one_way, bridge or partial: see `groups`
    "heal",
    "loss",  # a share of the packets to a node is dropped
    "slow",  # a node gets a share of a CPU
]
Target = Literal["leader", "follower"] | int  # the node that leads, or follows, at that moment; or a number


class _Plain:
    """Makes whole numbers floats if a float is asked for: 10 equals 10.0, but would give another digest."""

    def __post_init__(self) -> None:
        for one in fields(self):  # type: ignore[arg-type]
            value = getattr(self, one.name)
            if one.type in ("float", "float | None") and isinstance(value, int):
                object.__setattr__(self, one.name, float(value))


@dataclass(frozen=True, kw_only=True)
class Topology(_Plain):
    """A star with one switch; or sites, with a one-way delay between each two.

    `rate_mbit`: the bandwidth of each host's link, both ways; None: not shaped. `delay_ms`, `jitter_ms`: one way, of
    each host's link. `loss`: the share of packets that a link loses, 0 to 1. `sites`: in a wide area the site of each
    host, nodes first, then clients; `site_delays_ms`: one way, by "a-b" of two sites in alphabetical order.
    """

    nodes: int = 3
    clients: int = 1
    rate_mbit: float | None = None
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    sites: tuple[str, ...] = ()
    site_delays_ms: tuple[tuple[str, float], ...] = ()

    def one_way_ms(self, a: int, b: int) -> float:
        """The delay that was asked for from host a to host b, in milliseconds (nodes first, then clients)."""
        delay_ms = (
            2 * self.delay_ms if a != b else 0.0
        )  # each host's link delays the packets that it sends and those that it receives
        if self.sites and a != b:
            one, other = sorted((self.sites[a], self.sites[b]))
            delay_ms += dict(self.site_delays_ms).get(f"{one}-{other}", 0.0)
        return delay_ms


@dataclass(frozen=True, kw_only=True)
class Workload(_Plain):
    """What each client asks for. `outstanding`: of a closed loop. `rate_per_s`: of an open loop, for one client, with
    `arrivals`. `zipf`: the exponent of the keys' popularity, 0 for uniform."""

    outstanding: int = 1
    rate_per_s: float | None = None
    arrivals: Literal["fixed", "poisson"] = "poisson"
    keys: int = 1000
    key_size: int = 8
    value_size: int = 64
    zipf: float = 0.0
    read_share: float = 0.0
    warm_up_s: float = 1.0
    duration_s: float = 5.0


@dataclass(frozen=True, kw_only=True)
class Fault(_Plain):
    """One fault. `at_s`: seconds after the measurement began. `groups`: the hosts of each side of a partition."""

    kind: FaultKind
    at_s: float
    target: Target | None = None
    groups: tuple[tuple[int, ...], ...] = ()
    mode: Literal["full", "one_way", "bridge", "partial"] = "full"
    amount: float | None = None  # for loss and slow: 0 to 1


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One point of an experiment. `quorum`: "majority", "sizes Q1 Q2", "grid ROWS COLUMNS". `options`: the system's, by
    name, documented in its module; and `kernel_defaults`, which leaves TCP's patience as the kernel has it."""

    experiment: str
    system: str
    storage: str = "memory"
    topology: Topology = field(default_factory=Topology)
    workload: Workload = field(default_factory=Workload)
    faults: tuple[Fault, ...] = ()
    quorum: str = "majority"
    options: tuple[tuple[str, Any], ...] = ()
    trace: bool = False

    def option(self, name: str, default: Any = None) -> Any:
        """One of the options."""
        return dict(self.options).get(name, default)

    def words(self) -> str:
        """One line for people that tells the point from others of its experiment."""
        work, rate_mbit = self.workload, self.topology.rate_mbit
        parts = [f"{self.system} {self.storage}", f"n={self.topology.nodes}"]
        parts += [f"{rate_mbit:g} Mbit/s"] if rate_mbit else []
        parts += ["wide area"] if self.topology.sites else []
        parts += [self.quorum] if self.quorum != "majority" else []
        parts += [f"{work.rate_per_s:g}/s" if work.rate_per_s else f"{work.outstanding} outstanding"]
        parts += [f"{work.value_size:,} bytes"]
        parts += [f"{name} {value}" for name, value in self.options]
        return ", ".join([*parts, *(fault.kind for fault in self.faults)])

    def to_json(self) -> dict[str, Any]:
        """The spec as plain values."""
        return asdict(self)

    def digest(self) -> str:
        """Twelve hexadecimal digits, equal for equal specs."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Spec:
        """The inverse of `to_json`."""
        topology = dict(values["topology"])
        topology["sites"] = tuple(topology["sites"])
        topology["site_delays_ms"] = tuple((name, delay) for name, delay in topology["site_delays_ms"])
        faults = tuple(
            Fault(**{**fault, "groups": tuple(tuple(group) for group in fault["groups"])}) for fault in values["faults"]
        )
        parts = {
            "topology": Topology(**topology),
            "workload": Workload(**values["workload"]),
            "faults": faults,
            "options": tuple((name, value) for name, value in values["options"]),
        }
        return cls(**{**values, **parts})
