"""The terms that the figures of PMMC use: commands, ballots, pvalues, messages, quorums, pmax and the arrow.

Fields with a default are amendments: the paper's own processes neither set nor read them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

Id = Hashable  # of a process: ("acceptor", 1), ("commander", 0, ballot, slot), ...
Proposals = dict[int, "Command"]
Quorums = frozenset[frozenset[Id]]


class Ballot(NamedTuple):
    """Section 2.2: a pair of an integer and a leader, in lexicographic order."""

    round: int
    leader: int


BOTTOM = Ballot(-1, -1)  # below every ballot, of no leader


class Command(NamedTuple):
    """Section 1: (client, command id, operation). Amendments: `time` is stamped when it is proposed; `nonce` is that of
    the session that the command names."""

    client: Any
    cid: int
    op: Any
    time: int = 0
    nonce: int = 0

    def same(self, other: Command) -> bool:
        """Is it the same command? The time of its proposal does not matter."""
        return self[:3] == other[:3] and self.nonce == other.nonce


class Pvalue(NamedTuple):
    """Section 2.2: what an acceptor accepts."""

    ballot: Ballot
    slot: int
    command: Command


class Reconfiguration(NamedTuple):
    """Section 2.1: an operation that names the leaders from WINDOW slots on."""

    leaders: tuple[Id, ...]


# -- messages (Figures 1, 4, 6 and 7); the first field of p1a and p2a is `self()` of the scout or commander that asks


class Request(NamedTuple):
    """Client to replica."""

    command: Command


class Response(NamedTuple):
    """Replica to client."""

    cid: int
    result: Any


class Propose(NamedTuple):
    """Replica to leader."""

    slot: int
    command: Command


class Decision(NamedTuple):
    """Commander to replica."""

    slot: int
    command: Command


class P1a(NamedTuple):
    """Scout to acceptor; `first`: the first slot that is asked for."""

    asker: Id
    ballot: Ballot
    first: int = 1


class P1b(NamedTuple):
    """Acceptor to scout. It covers the slots [first, end); below `mark` all is decided and forgotten."""

    acceptor: Id
    ballot: Ballot
    pvalues: frozenset[Pvalue]
    first: float = 1
    end: float = float("inf")
    mark: int = 1


class P2a(NamedTuple):
    """Commander to acceptor."""

    asker: Id
    pvalue: Pvalue


class P2b(NamedTuple):
    """Acceptor to commander; `vote` false: the slot lies below the mark, nothing was accepted."""

    acceptor: Id
    ballot: Ballot
    vote: bool = True
    mark: int = 1


class Adopted(NamedTuple):
    """Scout to leader; `start`: below it nothing may be proposed."""

    ballot: Ballot
    pvalues: frozenset[Pvalue]
    start: int = 1


class Preempted(NamedTuple):
    """Scout or commander to leader."""

    ballot: Ballot


class Chosen(NamedTuple):
    """Amendment: commander to leader, which reports decisions in slot order."""

    pvalue: Pvalue


# -- section 2.4


def pmax(pvalues: Iterable[Pvalue]) -> Proposals:
    """{(s, c) | there is (b, s, c) in pvals, and every (b', s, c') in pvals has b' <= b}."""
    pvals = set(pvalues)
    return {s: c for (b, s, c) in pvals if all(other.ballot <= b for other in pvals if other.slot == s)}


def arrow(x: Proposals, y: Proposals) -> Proposals:
    """x ◁ y: the elements of y, and those of x whose slot is not in y."""
    return {s: y[s] if s in y else x[s] for s in sorted(x.keys() | y.keys())}


# -- quorums, as plain sets of sets


def of_size(members: Sequence[Id], size: int) -> Quorums:
    """All sets of that many members."""
    return frozenset(frozenset(some) for some in combinations(members, size))


def majority(members: Sequence[Id]) -> Quorums:
    """All smallest majorities."""
    return of_size(members, len(members) // 2 + 1)


def rows(members: Sequence[Id], count: int) -> Quorums:
    """The rows of a grid that is filled row by row."""
    width = len(members) // count
    return frozenset(frozenset(members[i * width : (i + 1) * width]) for i in range(count))


def columns(members: Sequence[Id], count: int) -> Quorums:
    """The columns of a grid with that many columns."""
    return frozenset(frozenset(members[i::count]) for i in range(count))


def holds(quorums: Quorums, votes: Iterable[Id]) -> bool:
    """Is some quorum a part of the votes?"""
    voters = frozenset(votes)
    return any(quorum <= voters for quorum in quorums)


# -- the application


Apply = Callable[[Any, Any], tuple[Any, Any]]


def journal(op: Any, state: Any) -> tuple[Any, Any]:
    """The application of these tests: its state is its history, its result the place of the operation in it."""
    return (*state, op), len(state)
