"""The oracle: knows what is chosen, from the disks alone, and watches every message, disk and process.

Theory. In Paxos a command is chosen in a slot when the acceptors of a phase-2 quorum have accepted it at one ballot;
acceptors are their disks. So a judge that reads every disk knows what is chosen at the moment it is chosen, without
trusting any process, and can hold each process to it.

Rules, each checked the moment that it could be broken; the names are those of PMMC where it has one.
- C1: at one ballot there is one command for a slot, with one time.
- C2: if a leader calls a slot decided, a phase-2 quorum has accepted it at that ballot, or knows it to be decided.
- C2, R1: what a node applies, or teaches in an answer to a fetch, was chosen, and there is one chosen command for a
  slot.
- P2c (Paxos Made Simple): a proposal at a ballot above one that chose a command carries that command.
- A ballot is one attempt of one life of one node, and is durable before its phase 1a leaves.
- A promise leaves when its ballot and all pvalues that it names are durable, and names every slot that its node has
  voted for; a vote leaves when its pvalues are durable.
- A node that votes has a durable voter record that names its own incarnation; all voter records are equal while any of
  them, or any part of a log, is left.
- A3: a pvalue on a disk is replaced only by one of a higher ballot; a node that starts holds all that its disk does. A
  vote whose record was damaged may be answered for by a pvalue that is decided.
- H1: what a node has voted for and lost is a hole of its acceptor until then.
- A session is reported to be expired only if the log has closed or evicted it, or never opened it.
- A replica that knows that its state differs from a majority's answers no client.
- R4: slot_out only rises while a process lives. The clock of the machine at a slot is equal everywhere.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from multipaxos.judges.disks import DurableState
from multipaxos.judges.quorums import Quorums
from multipaxos.judges.session_model import SessionModel
from multipaxos.judges.violation import Violation
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.semantics import Semantics
from multipaxos.node.node import Node
from multipaxos.paxos.ballot import describe
from multipaxos.wire import codec
from multipaxos.wire.codec import CodecError

Command = tuple[int, tuple[Any, ...]]  # time_ns, and the command as the codec has it
INVARIANTS = 4  # a core's own invariants are checked after one of so many wake-ups
ACTIVE = 2  # of the states of a leader in the core


class Oracle:
    """The oracle of one run. `replicas`: the nodes with a machine. Every method may raise Violation."""

    def __init__(self, quorums: Quorums, replicas: Collection[int], semantics: Semantics) -> None:
        self.quorums = quorums
        self.replicas = replicas
        self.semantics = semantics
        self.disks: dict[int, DurableState] = {}  # node -> its present disk
        self.lives: dict[int, int] = {}  # node -> the life of its latest process
        self.cores: dict[int, Node] = {}  # node -> the core of that process
        self.begin_again()

    def begin_again(self) -> None:
        """No disk holds anything of the cluster any more; the next one has nothing to do with it."""
        self.proposed: dict[tuple[int, int], Command] = {}  # (ballot, slot) -> command
        self.votes: dict[tuple[int, int], set[int]] = {}  # (ballot, slot) -> the nodes that accepted durably
        self.chosen: dict[int, tuple[int, Command]] = {}  # slot -> the lowest ballot known to have chosen it, command
        self.attempts: dict[int, tuple[int, ...]] = {}  # ballot -> node, life and first slot of the scout
        self.voted: dict[int, dict[int, int]] = {}  # node -> slot -> the highest ballot of a vote that it has sent
        self.decided: dict[int, int] = {}  # ballot -> below this slot all that its leader calls decided was checked
        self.voters: set[int] = set()  # the nodes with a voter record on their disks
        self.founders: bytes | None = None  # all voter records
        machine = KeyValue()
        self.sessions = SessionModel(
            self.semantics, lambda slot, payload: machine.apply_bytes(slot, 0, 0, payload), machine.reads
        )
        self.clocks: dict[int, int] = {}  # slot_out -> the machine's clock
        self.checked: dict[int, int] = {}  # node -> slot_out of its present life when it was checked last
        self.steps = 0  # wake-ups that have ended

    # -- disks
    def on_disk(self, node_id: int, disk: DurableState) -> None:
        """This is the node's disk from now on."""
        self.disks[node_id] = disk

    def on_disk_lost(self, node_id: int) -> None:
        """The node's former disk is gone. If no disk is left that names the founders, and none that holds any part of
        the log, the cluster never existed, and the next one begins with the same ballots."""
        self.voters.discard(node_id)
        self.voted.pop(node_id, None)
        if self.voters or any(disk.accepted for disk in self.disks.values()):
            return
        if self.chosen:
            raise Violation(f"slots were chosen, and the only founder was node {node_id}")
        self.founders = None
        for memory in (self.proposed, self.votes, self.attempts, self.decided):
            memory.clear()

    def on_commit(self, node_id: int) -> None:
        """A batch has become durable."""
        disk = self.disks[node_id]
        for slot, ballot, higher in disk.take_hidden():
            raise Violation(
                f"A3: on the disk of node {node_id} slot {slot} at {describe(ballot)} hides the one at "
                f"{describe(higher)}"
            )
        for first, end, ballot, frame in disk.take_votes():
            commands = self.propose(frame)
            for slot in range(first, end):
                if self.is_voter(node_id):
                    self.vote(node_id, ballot, slot, commands[slot])
        if disk.voters is not None and node_id not in self.voters:
            self.on_founded(node_id)

    def on_founded(self, node_id: int) -> None:
        """A voter record is on a disk for the first time; what its node has learnt until now counts as accepted."""
        disk = self.disks[node_id]
        self.voters.add(node_id)
        if self.founders is None:
            self.founders = disk.voters
        if self.founders != disk.voters:
            raise Violation(f"founding: node {node_id} has other founders than those that were founded before")
        for slot, ballot in disk.accepted.items():
            if self.is_voter(node_id):
                self.vote(node_id, ballot, slot, self.proposed[ballot, slot])

    def is_voter(self, node_id: int) -> bool:
        """Is the node a founder, and does its disk say so?"""
        disk = self.disks[node_id]
        own = disk.incarnation.to_bytes(8, "little")
        return disk.voters is not None and disk.voters[8 * node_id : 8 * node_id + 8] == own

    def vote(self, node_id: int, ballot: int, slot: int, command: Command) -> None:
        """A durable acceptance by a voter."""
        voters = self.votes.setdefault((ballot, slot), set())
        voters.add(node_id)
        if not self.quorums.is_phase2(voters):
            return
        known = self.chosen.get(slot)
        if known is not None and known[1] != command:
            raise Violation(
                f"C2: slot {slot} is chosen twice: {known[1]} at ballot {describe(known[0])} and {command} at ballot "
                f"{describe(ballot)}"
            )
        if known is None or ballot < known[0]:
            self.chosen[slot] = ballot, command

    def propose(self, frame: bytes) -> dict[int, Command]:
        """A run, on its way or on a disk: {slot: command}."""
        ballot, first, time_ns, _, commands = codec.decode_phase2a(frame)
        slots = {slot: (time_ns, command) for slot, command in enumerate(commands, first)}
        for slot, command in slots.items():
            other = self.proposed.setdefault((ballot, slot), command)
            if other != command:
                raise Violation(f"C1: at ballot {describe(ballot)} slot {slot} has {other} and {command}")
            chosen = self.chosen.get(slot)
            if chosen is not None and ballot > chosen[0] and chosen[1] != command:
                raise Violation(
                    f"P2c: at ballot {describe(ballot)} slot {slot} is proposed {command}, but {chosen[1]} was chosen "
                    f"at ballot {describe(chosen[0])}"
                )
        return slots

    # -- processes
    def on_start(self, node_id: int, life: int, core: Node) -> None:
        """A process has read its disk: of every slot that it has not applied, the newest record holds."""
        self.lives[node_id] = life
        self.cores[node_id] = core
        self.checked.pop(node_id, None)
        held = dict(core.acceptor.pvalues())
        missing = {slot for first, end in core.acceptor.holes.spans_list() for slot in range(first, end)}
        for slot, ballot in self.disks[node_id].accepted.items():
            if slot >= core.slot_out and held.get(slot) != ballot and slot not in missing:
                raise Violation(
                    f"A3: node {node_id} starts and holds slot {slot} at {describe(held.get(slot, 0))}, "
                    f"its disk does at {describe(ballot)}"
                )

    def on_step(self, node_id: int, core: Node) -> None:
        """A wake-up of a node has ended."""
        self.steps += 1
        if self.steps % INVARIANTS == 0:
            core.invariants()
        before = self.checked.get(node_id, 1)
        slot_out = core.slot_out
        if slot_out < before:
            raise Violation(f"R4: slot_out of node {node_id} fell from {before} to {slot_out}")
        if core.leader.state == ACTIVE:
            self.check_decided(node_id, core)
        for slot in range(before, slot_out):
            applied = core.command_at(slot)
            if applied is not None:
                self.on_applied(node_id, slot, applied)
        self.checked[node_id] = slot_out
        if node_id in self.replicas:
            self.check_clock(node_id, slot_out, core.replica.time_ns)

    def check_clock(self, node_id: int, slot_out: int, clock_ns: int) -> None:
        """The machine's clock is the same at every node that has applied the same slots."""
        other_ns = self.clocks.setdefault(slot_out, clock_ns)
        if other_ns != clock_ns:
            raise Violation(
                f"time: at slot {slot_out} the clock of node {node_id} is {clock_ns}, of another {other_ns}"
            )

    def check_decided(self, node_id: int, core: Node) -> None:
        """Checks what a leader calls decided. An acceptor whose disk says that a slot is decided need not hold it."""
        leader = core.leader
        ballot = leader.ballot
        begin = max(leader.commanders.start, self.decided.get(ballot, 1))
        for slot in range(begin, leader.commanders.decided_end):
            accepted = self.votes.get((ballot, slot), set())
            knowing = {other for other, disk in self.disks.items() if disk.decided > slot}
            if not self.quorums.is_phase2(accepted | knowing):
                raise Violation(
                    f"C2: at ballot {describe(ballot)} node {node_id} calls slot {slot} decided, accepted by "
                    f"{sorted(accepted)} only"
                )
        self.decided[ballot] = max(begin, leader.commanders.decided_end)

    def on_applied(self, node_id: int, slot: int, applied: tuple[int, int, int, bytes]) -> None:
        """A node has applied a command."""
        if slot not in self.chosen:
            raise Violation(f"C2: node {node_id} applied {applied} in slot {slot}, where nothing was chosen")
        session, sequence, kind, _, payload, _ = self.chosen[slot][1][1]
        if applied != (kind, session, sequence, payload):
            raise Violation(f"R1: node {node_id} applied {applied} in slot {slot}, chosen is {self.chosen[slot][1]}")

    # -- frames
    def on_send(self, node_id: int, message: dict[str, Any], frame: bytes) -> None:
        """A node sends a frame: `message` is the frame, decoded."""
        kind = message["kind"]
        if kind == "phase2a":
            self.propose(frame)
        elif kind == "phase1a":
            self.on_phase1a(node_id, message)
        elif kind == "phase1b":
            self.on_phase1b(node_id, message)
        elif kind == "phase2b":
            self.on_phase2b(node_id, message)
        elif kind == "response" and message["replies"]:
            self.on_response(node_id)
        elif kind == "fetched":
            self.on_fetched(node_id, message)

    def on_response(self, node_id: int) -> None:
        """A node answers a client."""
        if self.cores[node_id].status()["differs"] == "minority":
            raise Violation(f"node {node_id} knows that its state differs from a majority's, and answers a client")

    def on_phase1a(self, node_id: int, message: dict[str, Any]) -> None:
        """A scout asks for promises."""
        ballot = message["ballot"]
        attempt = node_id, self.lives[node_id], message["first"]
        if self.attempts.setdefault(ballot, attempt) != attempt:
            raise Violation(f"ballot {describe(ballot)} is used for two attempts: {self.attempts[ballot]}, {attempt}")
        if self.disks[node_id].promised < ballot:
            raise Violation(f"node {node_id} scouts at ballot {describe(ballot)}, which is not durable")

    def on_phase1b(self, node_id: int, message: dict[str, Any]) -> None:
        """An acceptor promises."""
        self.check_voter(node_id, "promises")
        if self.disks[node_id].promised < message["ballot"]:
            raise Violation(f"A1: node {node_id} promises ballot {describe(message['ballot'])}, which is not durable")
        named: dict[int, int] = {}
        for pvalues in message["pvalues"]:
            ballot = codec.decode_phase2a(pvalues["run"])[0]
            self.check_accepted(node_id, ballot, pvalues["first"], pvalues["end"])
            named.update(dict.fromkeys(range(pvalues["first"], pvalues["end"]), ballot))
        begin, end, promised = max(message["first"], message["mark"]), message["end"], message["ballot"]
        for slot, ballot in self.voted.get(node_id, {}).items():
            if (
                begin <= slot < end
                and ballot < promised
                and self.answers_for(node_id, slot, named.get(slot, 0)) < ballot
            ):
                raise Violation(
                    f"A3: node {node_id} promises and leaves out its vote for slot {slot} at {describe(ballot)}"
                )

    def answers_for(self, node_id: int, slot: int, ballot: int) -> int:
        """Up to which ballot a pvalue answers for the votes of its node. For those of a damaged disk a decided pvalue
        does for all, because every ballot from its own on carries the decided command."""
        chosen = self.chosen.get(slot)
        decided = self.disks[node_id].damaged and chosen is not None and ballot >= chosen[0]
        return 1 << 64 if decided else ballot

    def on_phase2b(self, node_id: int, message: dict[str, Any]) -> None:
        """An acceptor votes, or says that it cannot."""
        self.check_voter(node_id, "votes")
        self.check_accepted(node_id, message["ballot"], message["first"], message["end"])
        voted = self.voted.setdefault(node_id, {})
        for slot in range(message["first"], message["end"]):
            voted[slot] = max(message["ballot"], voted.get(slot, 0))

    def on_fetched(self, node_id: int, message: dict[str, Any]) -> None:
        """A node says what was decided: it is what was chosen."""
        for pvalues in message["pvalues"]:
            try:
                commands = self.propose(pvalues["run"])
            except CodecError as error:
                raise Violation(f"C2: node {node_id} teaches slot {pvalues['first']} as no phase 2a") from error
            for slot in range(pvalues["first"], pvalues["end"]):
                chosen = self.chosen.get(slot)
                if chosen is None or chosen[1] != commands.get(slot):
                    raise Violation(
                        f"C2: node {node_id} teaches {commands.get(slot)} in slot {slot}, chosen is {chosen}"
                    )

    def check_voter(self, node_id: int, what: str) -> None:
        """Only founders promise and vote."""
        if not self.is_voter(node_id):
            raise Violation(f"node {node_id} {what} without a durable voter record that names its incarnation")

    def check_accepted(self, node_id: int, ballot: int, first: int, end: int) -> None:
        """What a node says that it holds is on its disk, at that ballot or above."""
        disk = self.disks[node_id]
        for slot in range(max(first, disk.decided), end):
            if max(disk.accepted.get(slot, 0), disk.remembered.get(slot, 0)) < ballot:
                raise Violation(f"A3: node {node_id} claims slot {slot} at {describe(ballot)}, which is not durable")

    # -- clients
    def on_expired(self, session: int, nonce: int) -> None:
        """The cluster reports to a client that its session has expired."""
        self.follow_sessions()
        if self.sessions.lives(session, nonce):
            raise Violation(f"session {session} is reported to be expired, and lives at slot {self.sessions.slot_out}")

    def follow_sessions(self) -> None:
        """The model of sessions applies all that is chosen by now."""
        while self.sessions.slot_out in self.chosen:
            slot = self.sessions.slot_out
            id, sequence, kind, unacknowledged, payload, own = self.chosen[slot][1][1]
            self.sessions.apply(slot, kind, id, own, sequence, unacknowledged, payload)

    def check_sessions(self, node_id: int) -> None:
        """A replica that has applied all that is chosen keeps the sessions that the log says, and what they keep."""
        self.follow_sessions()
        status = self.cores[node_id].status()
        kept = status["sessions"], status["kept_bytes"]
        wanted = len(self.sessions.live), self.sessions.kept_bytes
        if status["slot_out"] == self.sessions.slot_out and kept != wanted:
            raise Violation(f"node {node_id} keeps {kept} sessions and bytes of answers, the log says {wanted}")
