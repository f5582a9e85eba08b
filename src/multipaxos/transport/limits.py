"""What strangers may make a node hold: its limits, and who gives way where one is reached.

Theory. Whoever reaches a node's port can open connections, stay silent, and not read. Each of these costs the node
descriptors and bytes, so each has a limit in all, and one that a single address cannot reach alone. Where a limit in
all is reached, who holds most gives way: a flood closes its own connections first, and a good client that holds little
is the last. Peers are counted by none of them but `half_open`, because before its handshake nobody is a peer.

Rules.
- The sums are exact where they are judged. Only a client whose unread answers exceed the bound of its transport
  (`connection.CLIENT_UNSENT_BYTES`) is counted: the others hold no more than that each.
- What is refused or closed is counted under its reason in `closes` of the status; the log has a bounded number of lines
  for each cause, and says how many it left out.
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

TOO_MANY_HALF_OPEN = "too many connections without a handshake"
TOO_MANY_LINKS = "too many links"
TOO_MUCH_UNREAD = "too many bytes of answers unread in all"
TOO_MUCH_WAITS = "too many bytes of requests that wait for their turn in all"

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one node.

    `links`: of clients and admins in all; one costs about 20 KB, so all of them 80 MB. `links_of_address`: a quarter,
    so that no single host takes all of them; hosts behind one translated address share it. `half_open`: connections
    whose handshake is not done; it takes a round trip, and who does not finish has 3 s. `unread_bytes`: answers that
    clients do not read, in all: two large clients' worth. `waiting_bytes`: of clients that send more than there is time
    for, in all: a chunk of 256 KB from each of 256 links. `descriptors_kept`: of the process, for its storage, its
    listening sockets, its threads and its peers. `log_lines` for each cause in `log_s` seconds.
    """

    links: int = 4096
    links_of_address: int = 1024
    half_open: int = 256
    unread_bytes: int = 128 << 20
    waiting_bytes: int = 64 << 20
    descriptors_kept: int = 128
    log_lines: int = 20
    log_s: float = 10.0


def raised_descriptors() -> int:
    """Raises this process's limit of descriptors to the hard one, which needs no right. Returns what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 30


class Crowd(Generic[T]):
    """Things by address, each address's in the order in which they came."""

    def __init__(self) -> None:
        self.count = 0
        self._of: dict[str, dict[T, None]] = {}

    def add(self, address: str, thing: T) -> None:
        """One more."""
        self._of.setdefault(address, {})[thing] = None
        self.count += 1

    def discard(self, address: str, thing: T) -> None:
        """It is gone, if it was there."""
        mine = self._of.get(address)
        if mine is None or thing not in mine:
            return
        del mine[thing]
        self.count -= 1
        if not mine:
            del self._of[address]

    def of(self, address: str) -> int:
        """How many this address has."""
        return len(self._of.get(address, ()))

    def most(self) -> int:
        """How many the address has that has most."""
        return max(map(len, self._of.values()), default=0)

    def first_of_most(self, age: Callable[[T], float] = lambda thing: 0.0) -> T:
        """Of the address that has most, the one of the least `age`; of equals, the one that came first."""
        address = max(self._of, key=self.of)
        return min(self._of[address], key=age)


class Unread(Generic[T]):
    """Bytes of answers that clients do not read. `measure`: what one of them holds now."""

    def __init__(self, max_bytes: int, measure: Callable[[T], int]) -> None:
        self.max_bytes = max_bytes
        self.sum_bytes = 0
        self._measure = measure
        self._held: dict[T, int] = {}

    def note(self, client: T, held_bytes: int) -> T | None:
        """A client holds so much now; 0: it reads again, or is gone. Returns who holds most if it is too much in all:
        that one has to be closed."""
        self.sum_bytes += held_bytes - self._held.pop(client, 0)
        if held_bytes:
            self._held[client] = held_bytes
        if self.sum_bytes <= self.max_bytes:
            return None
        self._held = {each: self._measure(each) for each in self._held}  # some have read since
        self.sum_bytes = sum(self._held.values())
        return max(self._held, key=self._held.__getitem__) if self.sum_bytes > self.max_bytes else None


class LogLimit:
    """A bounded number of log lines for each cause."""

    def __init__(self, limits: Limits) -> None:
        self.left_out = 0
        self._limits = limits
        self._causes: dict[str, tuple[float, int]] = {}  # cause -> when its time began, lines since then

    def allows(self, cause: str, now_s: float) -> str | None:
        """None if this line is to be left out; else what it has to say of those that were left out before it."""
        began_s, lines = self._causes.get(cause, (now_s, 0))
        before = ""
        if now_s - began_s >= self._limits.log_s:
            if lines > self._limits.log_lines:
                before = f" ({lines - self._limits.log_lines} more of these were not logged)"
            began_s, lines = now_s, 0
        self._causes[cause] = began_s, lines + 1
        if lines < self._limits.log_lines:
            return before
        self.left_out += 1
        return None
