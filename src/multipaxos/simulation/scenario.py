"""A scenario: a cluster, a load, and how hostile the world is to them.

Rules. `expendable` are the nodes that may lose their disks or stay dead: without them there still are quorums of both
phases, a leader and a replica, so that liveness may be demanded. In a `lossy` scenario any disk may be lost, as long as
another disk holds something: the nodes that are left then must not begin another log. In an `outlived` one all disks
are lost at once: another cluster begins, and nothing that clients asked of the former one may take effect in it. In a
`patient` scenario a client repeats nothing while its link is up, and that link loses nothing: an answer must come all
the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from multipaxos.judges.cost import LINK_BYTES_MAX, Bounds
from multipaxos.judges.quorums import Quorums
from multipaxos.machine.semantics import VERSIONS, Semantics
from multipaxos.paxos.roles import ACCEPTOR, ALL_ROLES, LEADER, REPLICA
from multipaxos.simulation.timeline import MS

PATIENT_NS = 120_000 * MS  # longer than liveness may take
VALUE_BYTES = 4 << 10  # more than any short value
RUN_BYTES = (1 << 20) + (4 << 10)  # of the greatest run


@dataclass(frozen=True, slots=True)
class Faults:
    """How hostile a world is. Shares are of frames; the last fields, named in EVENTS, are the mean virtual time between
    two faults of that kind in nanoseconds, 0 for never."""

    lost: float = 0.0
    repeated: float = 0.0
    delayed: float = 0.0  # share of frames that arrive up to delayed_ns later than delay_ns says
    delay_ns: tuple[int, int] = (MS // 10, MS)
    delayed_ns: int = 40 * MS
    victims: tuple[str, ...] = ()  # kinds of messages that fare worse than others
    sync_ns: tuple[int, int] = (MS // 10, 2 * MS)
    down_ns: tuple[int, int] = (20 * MS, 1000 * MS)
    notice_ns: int = MS  # the other side of a broken link notices within this time
    skew_ppm: int = 0  # clocks run up to so much faster or slower
    suspended: float = 0.0  # share of starts soon after which the machine is suspended
    link_breaks: int = 0
    cuts_one_way: int = 0
    cuts_both_ways: int = 0
    partitions: int = 0
    partial_partitions: int = 0
    stalls: int = 0
    pauses: int = 0
    leaders_cut_off: int = 0
    leaders_paused: int = 0
    leaders_crash: int = 0
    crashes: int = 0
    crashes_of_all: int = 0
    disks_lost: int = 0
    failed_syncs: int = 0
    records_damaged: int = 0
    keys_damaged: int = 0
    slots_refused: int = 0
    logs_collected: int = 0
    calendar_jumps: int = 0
    configurations_changed: int = 0
    sessions_abandoned: int = 0
    clients_die: int = 0
    intrusions: int = 0
    replays: int = 0
    learners_behind: int = 0

    def means_ns(self) -> dict[str, int]:
        """Of each kind in EVENTS the mean time between two faults; 0: it never happens."""
        fields = asdict(self)
        return {kind: fields[kind] for kind in EVENTS}


EVENTS = (
    "link_breaks",
    "cuts_one_way",
    "cuts_both_ways",
    "partitions",
    "partial_partitions",
    "stalls",
    "pauses",
    "leaders_cut_off",
    "leaders_paused",
    "leaders_crash",
    "crashes",
    "crashes_of_all",
    "disks_lost",
    "failed_syncs",
    "records_damaged",
    "keys_damaged",
    "slots_refused",
    "logs_collected",
    "calendar_jumps",
    "configurations_changed",
    "sessions_abandoned",
    "clients_die",
    "intrusions",
    "replays",
    "learners_behind",
)
CALM = Faults()
THREE = Quorums((0, 1, 2))


@dataclass(frozen=True, slots=True)
class Scenario:
    """Everything that a run is made of, except its seed."""

    roles: tuple[int, ...] = (ALL_ROLES,) * 3
    quorums: Quorums = THREE
    faults: Faults = CALM
    window: int = 64
    ring_bytes: int = 1 << 20
    sessions_max: int = VERSIONS[0].sessions_max
    kept_bytes_max: int = VERSIONS[0].kept_bytes_max
    election_timeout_ns: int = 500 * MS
    clients: int = 3
    operations: int = 60  # of each client
    outstanding: int = 4
    keys: int = 3
    several: float = 0.0  # share of operations that name several keys: scans, transactions
    user_machine: bool = False  # the store in Python, which is tried hard, instead of the compiled one
    differing: int = -1  # the node whose machine differs; -1: none
    session_operations: int = 0  # a client opens another session after so many; 0: it keeps its session
    patience_ns: int = 600 * MS
    hostile_ns: int = 4000 * MS
    load_ns: int = 0  # in which clients call their operations; 0: in hostile_ns
    hostile_founding: bool = False  # faults begin before the cluster is founded
    some_stay_dead: bool = False
    expendable: tuple[int, ...] = ()
    lossy: bool = False
    outlived: int = 0  # how often every disk is lost at once, while the clients live on
    patient: bool = False
    link_rates: tuple[int, ...] = ()  # of each node: bytes a second, in each direction, that its links to other nodes
    # carry, which have the lower rate of their two nodes; empty: frames take no time by their size
    client_rate: int = 0  # the same of links of clients; 0: frames take no time
    once: str = ""  # the kind of fault of EVENTS that happens once while the world is hostile
    value_bytes: int = 0  # every value has so many; 0: most are short
    in_flight_bytes: int = 8 << 20  # that a leader proposes before they are decided
    part_bytes: int = 1 << 20  # of a phase 1b

    @property
    def rates(self) -> dict[tuple[int, int], int]:
        """(from, to) -> rate, of nodes by their ids; -1 is any client."""
        rates, nodes = self.link_rates, range(len(self.roles))
        between = {(a, b): min(rates[a], rates[b]) for a in nodes for b in nodes if rates and a != b}
        clients = {pair: self.client_rate for a in nodes for pair in ((a, -1), (-1, a)) if self.client_rate}
        return between | clients

    @property
    def bounds(self) -> Bounds:
        """What a process may hold."""
        asked_bytes = self.clients * self.outstanding * (self.value_bytes + VALUE_BYTES)
        in_flight_bytes = self.in_flight_bytes + RUN_BYTES
        rings_bytes = self.ring_bytes + in_flight_bytes
        links_bytes = (len(self.roles) - 1) * LINK_BYTES_MAX
        return Bounds(rings_bytes + asked_bytes + links_bytes, in_flight_bytes)

    @property
    def semantics(self) -> Semantics:
        """The bounds of what its log says."""
        fresh = min(Semantics().fresh_sessions_max, self.sessions_max // 2)
        return Semantics(sessions_max=self.sessions_max, fresh_sessions_max=fresh, kept_bytes_max=self.kept_bytes_max)

    def describe(self) -> str:
        """The scenario in one line."""
        names = {REPLICA: "r", LEADER: "l", ACCEPTOR: "a"}
        roles = " ".join("".join(name for bit, name in names.items() if role & bit) for role in self.roles)
        return f"{len(self.roles)} nodes ({roles}), {self.quorums.describe()}, WINDOW {self.window}, {self.faults}"
