"""Which node a client talks to, and how long it waits for a connection: without sockets or a clock.

Theory. Only the leader proposes, so the leader answers soonest. Answers carry the leader's ballot, and a ballot names
its node. The client knows a node's address once it was linked with that node; before that it takes the address at the
node's place in the list. While no leader is known, the client tries the addresses in turn.

Rules. A node that is silent is avoided for AVOID_S, one that refuses a link for REFUSED_S, and for twice as long each
time that it refuses again, up to AVOID_S. If all are avoided, the one is tried that is avoided for the shortest time
from now on: so a client does not wait at an address where nobody is while nodes that were slow have come to themselves.
A connection that took too long is given more time at the next attempt. All times are of
the caller's clock, in seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

from multipaxos.paxos.ballot import LEADER_MAX

AVOID_S = 3.0  # a node that was silent
REFUSED_S = 0.2  # a node that refused the link
RETRY_MAX_S = 3.0


class Route:
    """The addresses of a cluster and what the client knows of them. `first`: the place in the list before the one that
    is tried first."""

    def __init__(self, addresses: Sequence[tuple[str, int]], retry_s: float, first: int) -> None:
        self.addresses = addresses
        self.address_of: dict[int, tuple[str, int]] = {}  # node id -> address, of nodes that were met
        self.dial_s = retry_s  # how long the next connection may take
        self._retry_s = retry_s
        self._avoided_until_s: dict[tuple[str, int], float] = {}
        self._refused_s: dict[tuple[str, int], float] = {}  # for how long it was avoided when it refused last
        self._place = first

    def next(self, leading_ballot: int, now_s: float) -> tuple[str, int]:
        """The address to dial: the leader's, else the next in turn that is not avoided. `leading_ballot`: 0 if no
        leader is known."""
        leader = self._leader(leading_ballot, now_s)
        if leader is not None:
            return leader
        for _ in self.addresses:
            self._place = (self._place + 1) % len(self.addresses)
            if not self._is_avoided(self.addresses[self._place], now_s):
                return self.addresses[self._place]
        return min(self.addresses, key=self._avoided_until_s.__getitem__)

    def is_led_elsewhere(self, leading_ballot: int, node_id: int, now_s: float) -> bool:
        """Whether a node other than the one that the client is linked with leads, and can be tried."""
        leader = self._leader(leading_ballot, now_s)
        return leader is not None and leader != self.address_of.get(node_id)

    def _leader(self, leading_ballot: int, now_s: float) -> tuple[str, int] | None:
        """Where the leader should be: its address if the client has met it, else the one at its place in the list."""
        if not leading_ballot:
            return None
        leader = leading_ballot & LEADER_MAX
        address = self.address_of.get(leader)
        if address is None and leader < len(self.addresses) and self.addresses[leader] not in self.address_of.values():
            address = self.addresses[leader]
        return None if address is None or self._is_avoided(address, now_s) else address

    def _is_avoided(self, address: tuple[str, int], now_s: float) -> bool:
        return self._avoided_until_s.get(address, 0.0) > now_s

    def met(self, node_id: int, address: tuple[str, int], took_s: float) -> None:
        """A link with this node is up; connecting took so long."""
        self.address_of[node_id] = address
        self._refused_s.pop(address, None)
        self.dial_s = min(max(self._retry_s, 2 * took_s), RETRY_MAX_S)

    def avoid_silent(self, address: tuple[str, int], now_s: float) -> None:
        """The node there does not answer commands."""
        self._avoided_until_s[address] = now_s + AVOID_S

    def avoid_slow(self, address: tuple[str, int], now_s: float) -> None:
        """No connection in time. The node there may be far away, so the next connection may take longer."""
        self.avoid_silent(address, now_s)
        self.dial_s = min(self.dial_s * 1.5, RETRY_MAX_S)

    def avoid_refused(self, address: tuple[str, int], now_s: float) -> None:
        """The node there, or its machine, refused the connection or the link."""
        refused_s = self._refused_s[address] = min(2 * self._refused_s.get(address, REFUSED_S / 2), AVOID_S)
        self._avoided_until_s[address] = now_s + refused_s
