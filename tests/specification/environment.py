"""Everything around one node, as random as its contract allows: other leaders, acceptors, replicas, a client.

It plays every role of all other nodes at once, and sends messages that they might send after losses, repetitions and
delays. It keeps only the promises that the protocol makes to a node: there is one command per ballot and slot (A4); a
decided slot stays decided: every proposal there at a higher ballot carries the same command (A5), and every full answer
to a scout shows it.
"""

from __future__ import annotations

from collections.abc import Callable

from multipaxos.wire import codec
from tests.specification.amended_replica import Open
from tests.specification.paper import Schedule
from tests.specification.refinement import LAST, Pair, fields_of, frame_of, to_wire
from tests.specification.terms import Ballot, Command, Pvalue

SLOTS = 6  # how many slots above slot_out the messages of others are about
HISTORY = 9  # the round of a ballot before all others
THE_OTHER = 40  # a leader at whose ballots only decided commands are proposed


class Environment:
    """All nodes except that of `pair`; the schedule makes every choice."""

    def __init__(self, pair: Pair, schedule: Schedule) -> None:
        self.pair = pair
        self.schedule = schedule
        self.peers = [i for i in range(pair.system.nodes) if i != pair.number]
        self.decided: dict[int, Command] = {}
        self.deciding: dict[int, Ballot] = {}  # ballots at which others decided
        self.commands: dict[tuple[Ballot, int], Command] = {}
        self.mark = 1
        self.tell_history()

    def tell_history(self) -> None:
        """Shows an earlier ballot, so that every attempt has ballots below its own."""
        self.pair.send(self.peers[0], "ping", ballot=to_wire(Ballot(HISTORY, self.peers[0])), slot_out=1)

    def run(self, weights: dict[str, int]) -> None:
        """Steps until the schedule ends; an action of twice the weight is twice as likely."""
        actions: list[Callable[[], None]] = [
            getattr(self, name) for name, weight in weights.items() for _ in range(weight)
        ]
        while self.schedule:
            actions[self.choose(len(actions))]()

    def choose(self, count: int) -> int:
        """One of [0, count)."""
        return self.schedule.choose(count)

    def peer(self) -> int:
        """Another node."""
        return self.peers[self.choose(len(self.peers))]

    # -- what others propose

    def ballot_of(self, leader: int) -> Ballot:
        """A ballot of that leader, near those that were seen."""
        return Ballot(max(1, self.pair.spec.leader.seen.round - 2 + self.choose(5)), leader)

    def slot(self) -> int:
        """A slot near slot_out."""
        return self.pair.spec.replica.slot_out + self.choose(SLOTS)

    def proposal(self, b: Ballot, s: int) -> Command:
        """The command proposed at (b, s): always the same; one of a few commands, so that some win two slots."""
        fresh = self.known(s)
        if fresh is None:
            cid = self.choose(8)
            if cid < 4:
                fresh = Command(0, 1 + cid, Open(), 100 + b.round)
            else:
                fresh = Command(1, cid - 3, b"%d" % cid, b.round, nonce=1)
        return self.commands.setdefault((b, s), fresh)

    def known(self, s: int) -> Command | None:
        """The command that is decided in a slot, if there is one."""
        found = self.pair.spec.replica.decision(s)
        return found if found is not None else self.decided.get(s)

    def send_p2a(self, leader: int, b: Ballot, first: int, count: int, decided: tuple[int, int, int]) -> None:
        """Sends phase 2a's of one slot each, because a run carries only one time."""
        for s in range(first, first + count):
            if s >= 1:
                self.pair.receive(leader, frame_of(b, s, [self.proposal(b, s)], decided))

    # -- actions: acceptor

    def p1a(self) -> None:
        """Another scout asks for a promise."""
        leader = self.peer()
        first = max(self.slot() - 2, self.pair.core.acceptor.accepted.base)
        self.pair.send(leader, "phase1a", ballot=to_wire(self.ballot_of(leader)), first=first)

    def p2a(self) -> None:
        """Other commanders ask for votes for a few slots."""
        leader = self.peer()
        self.send_p2a(leader, self.ballot_of(leader), self.slot(), 1 + self.choose(3), (0, 1, 1))

    def p2a_run(self) -> None:
        """One frame for a few undecided slots, of commands of one time."""
        leader, first = self.peer(), self.slot()
        b = self.ballot_of(leader)
        commands = []
        for s in range(first, first + 2 + self.choose(3)):
            if self.known(s) is not None or (b, s) in self.commands:
                break
            commands.append(self.commands.setdefault((b, s), Command(2, s, b"%d" % b.round, b.round)))
        if commands:
            self.pair.receive(leader, frame_of(b, first, commands))

    # -- actions: disk and time

    def sync(self) -> None:
        """The outstanding batch becomes durable."""
        self.pair.sync()

    def crash(self) -> None:
        """The process ends, and begins again."""
        self.pair.crash()
        self.tell_history()

    def tick(self) -> None:
        """Time passes."""
        self.close_gap()
        self.pair.tick((5, 20, 50, 110)[self.choose(4)])

    # -- actions: decisions

    def decide(self) -> None:
        """Another leader gets a slot decided, the next one or the one after. Its proposal may be lost. It reports the
        slot decided at its ballot, or only all slots below it."""
        leader, s = self.peer(), self.pair.spec.replica.slot_out + self.choose(2)
        b = self.deciding_ballot(leader, s)
        c = self.proposal(b, s)
        self.decided[s], self.deciding[s] = c, b
        if self.choose(4):
            self.pair.receive(leader, frame_of(b, s, [c]))
        first = s if self.choose(4) else s + 1
        if first == s or self.is_decided_below(s):
            self.pair.send(leader, "decision", ballot=to_wire(b), first=first, end=s + 1)

    def deciding_ballot(self, leader: int, s: int) -> Ballot:
        """A ballot at which a slot can be decided: above one that decided it, else above all that were proposed."""
        proposed = [at.round + 1 for at, slot in self.commands if slot == s and self.known(s) is None]
        before = self.deciding.get(s, Ballot(0, 0)).round + 1
        return Ballot(max([1, before, self.pair.spec.leader.seen.round + self.choose(2), *proposed]), leader)

    def is_decided_below(self, end: int) -> bool:
        """Is every slot below `end` decided?"""
        return all(self.known(s) is not None for s in range(self.pair.spec.replica.slot_out, end))

    def watermark(self) -> None:
        """A leader reports decided slots again, at a ballot at which they are not held here: no new decision."""
        end = self.pair.spec.replica.slot_out + self.choose(3)
        if self.is_decided_below(end):
            leader = self.peer()
            b, first = self.safe_ballot(leader), max(1, end - self.choose(4))
            self.pair.send(leader, "decision", ballot=to_wire(b), first=first, end=end)

    def safe_ballot(self, leader: int) -> Ballot:
        """A ballot for a watermark: above that of any pvalue held here, so that it is not taken for theirs."""
        return Ballot(max(p.ballot.round for p in self.pair.spec.acceptor.accepted | {NOTHING}) + 1, leader)

    def fetched(self) -> None:
        """The next slots that another replica knows to be decided: among them all below `start`."""
        first = max(1, self.pair.spec.replica.slot_out - self.choose(2))
        self.send_fetched(first, first + 1 + self.choose(3))

    def send_fetched(self, first: int, end: int) -> None:
        """Sends the decided slots of [first, end), up to the first undecided one."""
        entries = []
        for s in range(first, end):
            c = self.known(s)
            if c is None and s < self.pair.spec.leader.start_slot:
                c = self.proposal(Ballot(1, THE_OTHER), s)
            if c is None:
                break
            self.decided[s] = c
            entries.append({"first": s, "end": s + 1, "run": frame_of(self.held_elsewhere(), s, [c])})
        if entries:
            end = entries[-1]["end"]
            self.pair.send(self.peer(), "fetched", first=first, end=end, mark=1, pvalues=entries)

    def held_elsewhere(self) -> Ballot:
        """A ballot at which another node holds a decided command."""
        return Ballot(max(1, self.pair.spec.leader.seen.round - self.choose(2)), THE_OTHER)

    # -- actions: scout

    def until_scouting(self) -> None:
        """Time passes until the node scouts or leads."""
        self.close_gap()
        for _ in range(400):
            if self.pair.spec.leader.scouting or self.pair.spec.leader.active:
                return
            self.pair.tick(50)
        raise AssertionError("it never scouted")

    def close_gap(self) -> None:
        """Perhaps the slots below the `start` of the last reign are fetched before the next reign."""
        slot_out, told = self.pair.spec.replica.slot_out, self.pair.spec.leader.told
        if slot_out < told and self.choose(2):
            self.send_fetched(slot_out, told)

    def accepted_elsewhere(self, first: int, end: int) -> list[Pvalue]:
        """The pvalues that an acceptor may hold in [first, end); decided slots at a ballot above all earlier ones."""
        at = self.pair.spec.leader.ballot_num
        held = []
        for s in range(first, end):
            if self.known(s) is not None:
                held.append(Pvalue(Ballot(max(1, at.round - 1), THE_OTHER), s, self.known(s)))
            elif self.choose(2):
                b = Ballot(max(1, at.round - 1 - self.choose(3)), self.peer())
                held.append(Pvalue(b, s, self.proposal(b, s)))
        return held

    def p1b(self) -> None:
        """An acceptor answers the present scout: in full, or with one part of two."""
        if not self.pair.spec.leader.scouting:
            return
        first = self.pair.spec.replica.slot_out
        scout_first = self.pair.core.leader.scout.first
        part = self.choose(6)
        middle, end = scout_first + 2, max(first, scout_first) + SLOTS
        if part == 0:
            self.send_p1b(scout_first, middle, self.accepted_elsewhere(scout_first, middle))
        elif part == 1:
            self.send_p1b(middle, LAST, self.accepted_elsewhere(middle, end))
        else:
            self.send_p1b(scout_first, LAST, self.accepted_elsewhere(scout_first, end))

    def election(self) -> None:
        """The node scouts, and acceptors answer."""
        self.until_scouting()
        for _ in range(2 * self.pair.system.nodes):
            self.sync()
            self.p1b()

    def p1b_of_another_ballot(self) -> None:
        """A late answer to an earlier attempt, or a refusal."""
        own = self.pair.spec.leader.ballot_num
        if not own.round > 0:
            return
        which = self.choose(4)
        if which == 0:
            self.send_p1b(LAST, LAST, [], own)  # the refusal of an earlier attempt, with the present ballot
        elif which < 3:
            self.send_p1b(1, LAST, [], Ballot(own.round - 1, own.leader))
        else:
            self.send_p1b(LAST, LAST, [], Ballot(own.round + 1, self.peer()))

    def send_p1b(self, first: int, end: int, held: list[Pvalue], at: Ballot | None = None) -> None:
        """Sends a phase 1b."""
        peer = self.peer()
        self.pair.send(
            peer,
            "phase1b",
            ballot=to_wire(at or self.pair.spec.leader.ballot_num),
            first=first,
            end=end,
            mark=self.mark,
            pvalues=[
                {"first": p.slot, "end": p.slot + 1, "run": frame_of(p.ballot, p.slot, [p.command])} for p in held
            ],
        )

    # -- actions: commander

    def p2b(self) -> None:
        """An acceptor answers commanders."""
        leader = self.pair.spec.leader
        which = self.choose(32)
        b = max(leader.ballot_num, Ballot(0, self.pair.number))
        if which == 0:
            b = Ballot(b.round + 1, self.peer())
        elif which < 5:
            b = Ballot(max(1, b.round - 1), b.leader)
        first = leader.told + self.choose(3)
        end = first + 1 + self.choose(3) if which else first
        self.pair.send(self.peer(), "phase2b", ballot=to_wire(b), first=first, end=end, mark=self.mark)

    def collect(self) -> None:
        """The other nodes forget slots that are decided and held by enough of them: their marks rise together."""
        end = max(self.pair.spec.leader.told, self.pair.spec.replica.slot_out) + self.choose(3)
        self.mark = max(self.mark, end)

    # -- actions: client

    def request(self) -> None:
        """A client sends a few commands: some new, some again, some ahead of their turn."""
        self.pair.request(*[self.command() for _ in range(1 + self.choose(3))])

    def forwarded(self) -> None:
        """Another replica forwards a few commands."""
        commands = [self.command() for _ in range(1 + self.choose(3))]
        self.pair.receive(self.peer(), codec.encode_request([fields_of(c) for c in commands]))

    def command(self) -> Command:
        """A command of a client, which opens a session or names one; perhaps one that was opened in a slot that this
        node has not performed yet."""
        sessions = sorted(self.pair.spec.replica.last)
        if self.choose(16) == 0:
            session = self.pair.spec.replica.slot_out + self.choose(4)
            return Command(session, 1, b"1 of %d" % session)
        if not sessions or self.choose(4) == 0:
            return Command(0, 1 + self.choose(6), Open())
        session = sessions[self.choose(len(sessions))]
        cid = max(1, self.pair.spec.replica.last[session] + self.choose(4) - 1)
        nonce = self.pair.spec.replica.nonces[session]
        wrong = self.choose(16) == 0
        return Command(session, cid, b"%d of %d" % (cid, session), nonce=nonce + 1000 if wrong else nonce)


NOTHING = Pvalue(Ballot(0, 0), 0, Command(None, 0, None))
