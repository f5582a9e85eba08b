"""Which sessions live, computed from the log alone: so that no client is refused without a reason.

Theory. The rules are those of `ext/multipaxos/paxos/session_table.pyx`, in plain Python: dictionaries in place of
rings, lists and a heap. What an answer counts depends on the machine, so the model has a machine of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from multipaxos.machine.semantics import Semantics
from multipaxos.wire.codec import CommandKind, ReplyStatus

OK, REFUSED, EXPIRED = ReplyStatus.OK, ReplyStatus.REFUSED, ReplyStatus.EXPIRED


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer that is not acknowledged."""

    status: int
    counted_bytes: int  # among the unacknowledged ones of its session
    cost_bytes: int  # in the sum over all sessions
    read: bool


@dataclass(slots=True)
class LiveSession:
    """One session. `answers`: by sequence, those that are not acknowledged. `answer_bytes`: of all of them;
    `kept_bytes`: what they count in the sum over all sessions."""

    nonce: int
    used_slot: int
    last: int = 0
    acknowledged: int = 0
    answers: dict[int, Kept] = field(default_factory=dict)
    answer_bytes: int = 0
    kept_bytes: int = 0

    def put(self, sequence: int, answer: Kept) -> None:
        """The answer to this sequence, or a newer one of a read."""
        self.drop(sequence)
        self.answers[sequence] = answer
        self.answer_bytes += answer.counted_bytes
        self.kept_bytes += answer.cost_bytes

    def drop(self, sequence: int) -> None:
        """Forgets the answer to this sequence, if there is one."""
        answer = self.answers.pop(sequence, None)
        if answer is not None:
            self.answer_bytes -= answer.counted_bytes
            self.kept_bytes -= answer.cost_bytes

    def acknowledge(self, sequence: int) -> None:
        """Forgets the answers up to this sequence."""
        while self.acknowledged < min(sequence, self.last):
            self.acknowledged += 1
            self.drop(self.acknowledged)


class SessionModel:
    """The session table after the slots that were applied so far, which come in order. `semantics`: the first version.
    `answer`: applies a payload in a slot, and says whether the machine refused it, and the answer; `is_read`: of a
    payload."""

    def __init__(
        self,
        semantics: Semantics,
        answer: Callable[[int, bytes], tuple[bool, bytes]],
        is_read: Callable[[bytes], bool],
    ) -> None:
        self.semantics = semantics
        self.answer = answer
        self.is_read = is_read
        self.live: dict[int, LiveSession] = {}
        self.kept_bytes = 0
        self.slot_out = 1

    def use(self, semantics: Semantics) -> None:
        """The bounds that the log says, from the next command on."""
        self.semantics = semantics
        while len(self.live) > semantics.sessions_max:
            self.forget(self.next_to_go())
        while self.kept_bytes > semantics.kept_bytes_max:
            self.forget(self.keeps_most())

    def lives(self, id: int, nonce: int) -> bool:
        """Is there this session?"""
        return id in self.live and self.live[id].nonce == nonce

    def apply(
        self, slot: int, kind: int, session: int, nonce: int, sequence: int, unacknowledged: int, payload: bytes
    ) -> int:
        """Applies the command that is chosen in a slot; returns the status that its client gets (0: a no-op)."""
        self.slot_out = slot + 1
        if kind == CommandKind.OPEN_SESSION:
            return self.open(slot, sequence)
        if kind not in (CommandKind.APPLY, CommandKind.CLOSE_SESSION):
            return OK
        if not self.lives(session, nonce):
            return OK if kind == CommandKind.CLOSE_SESSION else EXPIRED
        if kind == CommandKind.CLOSE_SESSION:
            self.forget(session)
            return OK
        before = self.live[session].kept_bytes
        status = self.apply_in(self.live[session], slot, sequence, unacknowledged, payload)
        self.kept_bytes += self.live[session].kept_bytes - before
        if self.kept_bytes > self.semantics.kept_bytes_max:
            self.forget(self.keeps_most())
        return status

    def keeps_most(self) -> int:
        """The session that goes when too much is kept."""
        return max(self.live, key=lambda id: (self.live[id].kept_bytes, -self.live[id].used_slot))

    def next_to_go(self) -> int:
        """The session that goes when there are too many: unused for longest, of those that have applied nothing if
        these are too many."""
        fresh = [id for id, session in self.live.items() if not session.last]
        among = fresh if len(fresh) > self.semantics.fresh_sessions_max else self.live
        return min(among, key=lambda id: self.live[id].used_slot)

    def forget(self, id: int) -> None:
        """The session ends."""
        self.kept_bytes -= self.live.pop(id).kept_bytes

    def open(self, slot: int, nonce: int) -> int:
        """An opening, perhaps a repeated one."""
        if not nonce:
            return EXPIRED
        id = next((id for id, each in self.live.items() if each.nonce == nonce), slot)
        if id not in self.live:
            if len(self.live) >= self.semantics.sessions_max:
                self.forget(self.next_to_go())
            self.live[id] = LiveSession(nonce, slot)
        self.live[id].used_slot = slot
        return ReplyStatus.OPENED

    def apply_in(self, session: LiveSession, slot: int, sequence: int, unacknowledged: int, payload: bytes) -> int:
        """A command of a session that lives."""
        session.used_slot = slot
        if sequence > unacknowledged:
            session.acknowledge(sequence - 1 - unacknowledged)
        before = session.answers.get(sequence)
        if sequence <= session.last:
            if before is None or (before.read and not self.is_read(payload)):
                return ReplyStatus.ACKNOWLEDGED
            if not before.read:
                return before.status
        elif sequence > session.last + 1:
            return ReplyStatus.AHEAD
        elif (
            len(session.answers) >= self.semantics.unacknowledged_max
            or session.answer_bytes > self.semantics.answer_bytes_max
        ):
            return ReplyStatus.OVERLOADED
        session.last = max(session.last, sequence)
        refused, answer = self.answer(slot, payload)
        status = REFUSED if refused else OK
        reads = self.is_read(payload)
        counted = self.semantics.refusal_bytes if refused else len(answer)
        cost = before.cost_bytes if before else self.semantics.answer_cost + (0 if reads else counted)
        session.put(sequence, Kept(status, counted, cost, reads))
        return status
