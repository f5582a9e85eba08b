"""The network of a transcript: its messages, and the exceptions that directives make for them.

Theory. By default every message arrives MESSAGE_NS after it was sent. Directives name exceptions by a *pattern*,
``KIND SOURCE -> TARGET``, where each of the three may be ``*``: messages that match are held in the network, or lost.
All messages between a node that is cut off and the other nodes are lost; links stay up, because no node is told.

Rules.
- The newest rule that matches a message decides what becomes of it.
- A directive that names a message or a rule that does not exist is an error: otherwise a script would test nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from multipaxos.wire.codec import KINDS

MESSAGE_NS = 1_000_000
PATTERN = re.compile(r"(\S+) (\S+) -> (\S+)")
FLYING, HELD, LOST, ARRIVED = "flying", "held", "lost", "arrived"


class ScriptError(Exception):
    """A directive that cannot be done; the text says why, and what could be done instead."""


@dataclass(slots=True)
class Flight:
    """One message on its way, to the link `link` of its target."""

    sent_ns: int
    kind: str
    source: str
    target: str
    label: str
    frame: bytes
    link: int
    step: int
    shown: bool = True
    state: str = FLYING
    arrived_ns: int | None = None

    def describe(self) -> str:
        """Source, target and contents, as a trace shows them."""
        return f"{self.source} -> {self.target}  {self.label}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Which messages: kind, source and target, each a name or ``*``."""

    kind: str
    source: str
    target: str

    @classmethod
    def read(cls, text: str, names: set[str]) -> Pattern:
        """From a directive; `names` are those of nodes and clients."""
        match = PATTERN.fullmatch(text)
        if match is None:
            raise ScriptError(f"{text!r} names no message: write KIND SOURCE -> TARGET, each of them may be *")
        for name in match.groups()[1:]:
            if name not in names and name != "*":
                raise ScriptError(f"{name!r} is nobody here; there are {', '.join(sorted(names))}")
        if match[1] not in KINDS and match[1] != "*":
            raise ScriptError(f"{match[1]!r} is no kind of message; there are {', '.join(KINDS)}")
        return cls(*match.groups())

    def matches(self, flight: Flight) -> bool:
        """Is this message one of these?"""
        pairs = ((self.kind, flight.kind), (self.source, flight.source), (self.target, flight.target))
        return all(wanted in ("*", is_) for wanted, is_ in pairs)

    def __str__(self) -> str:
        return f"{self.kind} {self.source} -> {self.target}"


@dataclass(frozen=True, slots=True)
class Cut:
    """All messages between one node and the other nodes; clients still reach the node."""

    node: str
    nodes: frozenset[str]

    def matches(self, flight: Flight) -> bool:
        """Does this message cross the cut?"""
        ends = {flight.source, flight.target}
        return self.node in ends and ends <= self.nodes

    def __str__(self) -> str:
        return self.node


class Network:
    """The rules in force, and every message of a transcript."""

    def __init__(self) -> None:
        self.rules: list[tuple[str, Pattern | Cut]] = []  # (what becomes of it, of which), oldest first
        self.flights: list[Flight] = []

    def judge(self, flight: Flight) -> None:
        """A message sets out: it flies, is held, or is lost."""
        self.flights.append(flight)
        for state, rule in reversed(self.rules):
            if rule.matches(flight):
                flight.state = state
                return

    def add(self, state: str, rule: Pattern | Cut) -> None:
        """From now on messages that match are held or lost."""
        self.rules.append((state, rule))

    def heal(self, what: str) -> None:
        """Ends the rules of that text, or all for ``""``; messages that they held stay held until delivered."""
        ended = [(state, rule) for state, rule in self.rules if what in ("", str(rule))]
        if not ended:
            there = ", ".join(str(rule) for _, rule in self.rules) or "none"
            raise ScriptError(f"no rule {what!r} is in force to be healed; there are: {there}")
        self.rules = [rule for rule in self.rules if rule not in ended]

    def held(self, pattern: Pattern) -> list[Flight]:
        """The held messages that match. Raises ScriptError if there are none."""
        found = [flight for flight in self.flights if flight.state == HELD and pattern.matches(flight)]
        if not found:
            there = "; ".join(flight.describe() for flight in self.flights if flight.state == HELD) or "nothing"
            raise ScriptError(f"no message {pattern} is held; held are: {there}")
        return found

    def newest(self, pattern: Pattern) -> Flight:
        """The newest message that matches and has left. Raises ScriptError if there is none."""
        found = [flight for flight in self.flights if flight.state != HELD and pattern.matches(flight)]
        if not found:
            raise ScriptError(f"no message {pattern} was sent yet, so it cannot be repeated")
        return found[-1]
