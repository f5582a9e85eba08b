"""The replica as this project amends it: Figure 1, with the rules named here changed.

- MEMORY: a replica proposes no slot for which the acceptor of its machine has no room.
- ONE PROPOSER: it proposes only while the leader of its machine is active, from that leader's next slot on; otherwise
  its requests wait (and are sent to the leader's replica). When its leader stops, the proposals that it does not know
  to be decided wait again, and are marked as returned: if such a proposal loses its slot, it is not returned twice.
- WAKE-UP: it proposes once per wake-up, after it has taken all requests; a request that was performed in the meantime
  is dropped when it comes to the head of the queue.
- TURNS: which request is next, the paper leaves open. Of those that wait it is any one (`choose`); what comes while
  none waits is proposed in the order in which it came.
- SESSIONS: (session, sequence) names a command; one session's commands take effect in sequence; one ahead of its turn
  is void. A session is opened by a command of its own, and is named by that command's slot and its nonce: with another
  nonce there is no such session.
- TABLE: a command that was performed is answered again without a slot, with the first result.
- TIME: a command is stamped with the clock when it is proposed. The state's clock is the greatest time so far.
- WATERMARK: (b, first, end) says that [first, end) is decided at b, and all below first is decided. It is believed
  where the acceptor of the same machine holds a pvalue of b or above. A slot that a watermark of one ballot has passed
  over is not looked at again for that ballot: it is fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tests.specification.amended import AmendedAcceptor, AmendedLeader
from tests.specification.network import Network
from tests.specification.replica import Replica
from tests.specification.terms import BOTTOM, Ballot, Command, Decision, Id, Propose, Request, Response


class Open(NamedTuple):
    """The operation that opens a session; the command's cid is its nonce."""


class Result(NamedTuple):
    """An answer to a client."""

    session: int
    status: str
    slot: int
    data: Any = None


class AmendedReplica(Replica):
    """Figure 1, amended."""

    def __init__(
        self,
        id: Id,
        leader: AmendedLeader,
        acceptor: AmendedAcceptor,
        window: int,
        network: Network,
        clock: Callable[[], int] = lambda: 0,
        choose: Callable[[int, list[Command]], int] = lambda _slot, _waiting: 0,
    ) -> None:
        super().__init__(id, [leader.id], window, network)
        self.leader = leader
        self.acceptor = acceptor
        self.clock = clock
        self.choose = choose
        self.time = 0
        self.fresh: list[Command] = []  # requests of this wake-up
        self.returned: set[int] = set()
        self.reproposals = 0
        self.opened: dict[int, int] = {}  # nonce -> session
        self.last: dict[int, int] = {}  # session -> the last sequence performed
        self.nonces: dict[int, int] = {}  # session -> nonce
        self.results: dict[tuple[Any, int, int], Result] = {}  # (client, cid, nonce) -> the first answer
        self.told: set[tuple[int, Result]] = set()  # all answers that any client may receive, with the cid
        self.passed: tuple[Ballot, int] = (BOTTOM, 0)

    def receive(self, message: Any) -> None:
        """The two cases of Figure 1; propose() comes at the end of the WAKE-UP."""
        match message:
            case Request(c):
                result = self.results.get((c.client, c.cid, c.nonce))
                if result is not None:  # TABLE
                    self.respond(c, result)
                elif self.was_performed(c):
                    self.respond(c, Result(c.client, "expired", 0))
                else:
                    self.fresh.append(c)
            case Decision(s, c):
                self.decide(s, c)
                self.catch_up()

    def decide(self, s: int, c: Command) -> None:
        """decisions := decisions + {(s, c)}."""
        self.decisions.add((s, c))

    def catch_up(self) -> None:
        """The loop of Figure 1's second case."""
        while (decided := self.decision(self.slot_out)) is not None:
            proposed = self.proposals.pop(self.slot_out, None)
            lost = proposed is not None and not proposed.same(decided) and self.slot_out not in self.returned
            if lost and not self.was_performed(proposed):
                self.reproposals += 1
                self.add_request(proposed)
            self.perform(decided)
        self.slot_in = max(self.slot_in, self.slot_out)

    def wake(self) -> None:
        """WAKE-UP."""
        if self.leader.active:
            self.propose()
        self.wait()
        self.retire()

    def wait(self) -> None:
        """What came in this wake-up waits with the others."""
        for c in self.fresh:
            self.add_request(c)
        self.fresh = []

    def propose(self) -> None:
        """ONE PROPOSER, TIME; otherwise as in Figure 1."""
        self.slot_in = max(self.slot_in, self.leader.next_slot())
        limit = min(self.slot_out + self.window, self.acceptor.memory.stop)
        if self.slot_in < limit:
            self.retire()
        while self.slot_in < limit and (self.requests or self.fresh):
            if self.requests:
                self.wait()
                c = self.requests.pop(self.choose(self.slot_in, self.requests))
            else:
                c = self.fresh.pop(0)
            c = c._replace(time=self.clock())
            self.proposals[self.slot_in] = c
            self.returned.discard(self.slot_in)
            self.send(self.leader.id, Propose(self.slot_in, c))
            self.slot_in += 1

    def retire(self) -> None:
        """WAKE-UP: drops requests at the head that no longer need a slot; in a session that is gone, answers them."""
        while self.requests and self.was_performed(self.requests[0]):
            c = self.requests.pop(0)
            if not isinstance(c.op, Open) and not self.lives(c):
                self.respond(c, Result(c.client, "expired", self.slot_out))

    def leader_stops(self) -> None:
        """ONE PROPOSER."""
        for s in sorted(self.proposals.keys() - self.returned):
            if s >= self.slot_out:
                self.add_request(self.proposals[s])
                self.returned.add(s)

    def add_request(self, c: Command) -> None:
        """requests := requests + {c}; its time will be that of its next proposal."""
        if not any(c.same(other) for other in self.requests):
            self.requests.append(c)

    # -- SESSIONS

    def perform(self, c: Command) -> None:
        """function perform((client, cid, op))."""
        slot = self.slot_out
        self.time = max(self.time, c.time)
        self.slot_out += 1
        if c.client is None:
            return  # a no-op
        if isinstance(c.op, Open):
            session = self.opened.setdefault(c.cid, slot)
            self.last.setdefault(session, 0)
            self.nonces[session] = c.cid
            self.answer(c, Result(session, "opened", session))
            self.respond(c, Result(session, "opened", slot))  # opened again by a repetition: the same session
        elif not self.lives(c):
            self.respond(c, Result(c.client, "expired", slot))
        elif c.cid > self.last[c.client] + 1:
            self.respond(c, Result(c.client, "ahead", slot))
        elif c.cid == self.last[c.client] + 1:
            self.last[c.client] = c.cid
            self.state, place = self.apply(c.op, self.state)
            self.answer(c, Result(c.client, "ok", slot, place))

    def lives(self, c: Command) -> bool:
        """Is there the session that a command names?"""
        return self.nonces.get(c.client) == c.nonce

    def was_performed(self, c: Command) -> bool:
        """Was it performed, or can it no longer be? A session below slot_out that is not in the table never existed,
        or is gone."""
        if isinstance(c.op, Open):
            return c.cid in self.opened
        if not self.lives(c):
            return bool(c.client < self.slot_out)
        return c.cid <= self.last[c.client]

    def answer(self, c: Command, result: Result) -> None:
        """The first answer is the final one."""
        self.respond(c, self.results.setdefault((c.client, c.cid, c.nonce), result))

    def respond(self, c: Command, result: Result) -> None:
        """Answers the client."""
        self.told.add((c.cid, result))
        self.send(("client", c.client), Response(c.cid, result))

    # -- WATERMARK

    def on_watermark(self, b: Ballot, first: int, end: int) -> None:
        """[first, end) is decided at b."""
        if end <= self.slot_out:
            return
        begin = max(self.slot_out, self.passed[1]) if self.passed[0] == b else self.slot_out
        end = min(end, self.acceptor.memory.stop)
        for s in range(max(begin, first), end):
            held = self.acceptor.at(s)
            if held is not None and held.ballot >= b:
                self.decide(s, held.command)
        self.passed = (b, max(end, self.slot_out))
        self.catch_up()
