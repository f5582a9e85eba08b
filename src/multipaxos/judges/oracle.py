"""The oracle: knows what is chosen, from the disks alone, and watches what everybody says.

Theory. In Paxos a command is chosen in a slot when the acceptors of a phase-2 quorum have accepted it at one ballot;
acceptors are their disks. So who reads every disk knows what is chosen at the moment it is, without trusting any
process, and can hold each of them to it.

Rules, each checked the moment that it could be broken; the names are those of PMMC where it has one.
- C1: at one ballot there is one command for a slot, with one time.
- C2: what a leader calls decided a phase-2 quorum has accepted at its ballot, or knows to be decided.
- C2, R1: what a node applies was chosen, and there is one chosen command for a slot.
- P2c (Paxos Made Simple): a proposal at a ballot above one that chose carries what was chosen.
- A ballot is one attempt of one life of one node, and is durable before its phase 1a leaves.
- A promise leaves when its ballot and all pvalues that it names are durable, and names all that its node has voted for;
  a vote leaves when its pvalues are durable.
- Who votes has a durable voter record that names its own incarnation; all voter records are equal while any of them, or
  anything of a log, is left.
- A3: a pvalue on a disk is replaced only by one of a higher ballot; who starts holds all that its disk does.
- A session is told to be expired only if the log has evicted it.
- R4: slot_out only rises while a process lives. The clock of the machine at a slot is equal everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multipaxos.errors import MultipaxosError
from multipaxos.judges.quorums import Quorums
from multipaxos.judges.session_model import LiveSessions
from multipaxos.paxos.ballot import describe
from multipaxos.simulation import REPLICA
from multipaxos.simulation.disk import Disk
from multipaxos.wire import codec

if TYPE_CHECKING:
    from multipaxos.node.node import Node
    from multipaxos.simulation.host import Host

Command = tuple[int, tuple[Any, ...]]  # time_ns, and the command as the codec has it
LAST = 2**64 - 1
ACTIVE = 2  # of the states of a leader in the core


class Violation(MultipaxosError):
    """A run broke a promise."""


class Oracle:
    """One for a world. Every method raises Violation."""

    def __init__(self, quorums: Quorums, sessions_max: int) -> None:
        self.quorums = quorums
        self.proposed: dict[tuple[int, int], Command] = {}  # (ballot, slot) -> command
        self.votes: dict[tuple[int, int], set[int]] = {}  # (ballot, slot) -> the nodes that accepted durably
        self.chosen: dict[int, tuple[int, Command]] = {}  # slot -> the lowest ballot known to have chosen it, command
        self.attempts: dict[int, tuple[int, ...]] = {}  # ballot -> node, life and first slot of the scout
        self.told: dict[int, dict[int, int]] = {}  # node -> slot -> the highest ballot at which it has told its vote
        self.decided: dict[int, int] = {}  # ballot -> below this slot all that its leader calls decided was checked
        self.voters: set[int] = set()  # the nodes with a voter record on their disks
        self.founders: bytes | None = None  # all voter records
        self.sessions = LiveSessions(sessions_max)
        self.clocks: dict[int, int] = {}  # slot_out -> the machine's clock
        self.checked: dict[int, tuple[int, int]] = {}  # node -> its life, and slot_out when last seen

    # -- disks
    def on_commit(self, node: int, disk: Disk) -> None:
        """A batch has become durable."""
        for slot, ballot, higher in disk.hidden:
            raise Violation(
                f"A3: on the disk of node {node} slot {slot} at {describe(ballot)} hides the one at {describe(higher)}"
            )
        votes, disk.votes = disk.votes, []
        for first, end, ballot, frame in votes:
            commands = self.propose(frame)
            for slot in range(first, end):
                if self.is_voter(node, disk):
                    self.vote(node, ballot, slot, commands[slot])
        if disk.voters is not None and node not in self.voters:
            self.on_founded(node, disk)

    def on_founded(self, node: int, disk: Disk) -> None:
        """A voter record is on a disk for the first time; what its node has learnt until now counts as accepted."""
        self.voters.add(node)
        if self.founders is None:
            self.founders = disk.voters
        if self.founders != disk.voters:
            raise Violation(f"founding: node {node} has other founders than those that were founded before")
        for slot, ballot in disk.accepted.items():
            if self.is_voter(node, disk):
                self.vote(node, ballot, slot, self.proposed[ballot, slot])

    def on_start(self, host: Host, node: Node) -> None:
        """A process has read its disk: of every slot that it has not applied the newest record holds."""
        held = dict(node.acceptor.pvalues())
        for slot, ballot in host.disk.accepted.items():
            if slot >= node.slot_out and held.get(slot) != ballot:
                raise Violation(
                    f"A3: node {host.id} starts and holds slot {slot} at {describe(held.get(slot, 0))}, "
                    f"its disk does at {describe(ballot)}"
                )

    def on_disk_lost(self, node: int, witnessed: bool) -> None:
        """What was on it is gone. If no disk is left that names the founders, and none that holds anything of the log,
        the cluster never was, and the next one begins with the same ballots."""
        self.voters.discard(node)
        self.told.pop(node, None)
        if self.voters or witnessed:
            return
        if self.chosen:
            raise Violation(f"slots were chosen, and the only founder was node {node}")
        self.founders = None
        for memory in (self.proposed, self.votes, self.attempts, self.decided):
            memory.clear()

    def is_voter(self, node: int, disk: Disk) -> bool:
        """Is it a founder, and does its disk say so?"""
        own = disk.incarnation.to_bytes(8, "little")
        return disk.voters is not None and disk.voters[8 * node : 8 * node + 8] == own

    def vote(self, node: int, ballot: int, slot: int, command: Command) -> None:
        """A durable acceptance by a voter."""
        voters = self.votes.setdefault((ballot, slot), set())
        voters.add(node)
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

    # -- frames
    def on_send(self, host: Host, message: dict[str, Any], frame: bytes) -> None:
        """A node lets a frame go to a peer: `message` is the frame, decoded."""
        kind = message["kind"]
        if kind == "phase2a":
            self.propose(frame)
        elif kind == "phase1a":
            self.on_phase1a(host, message)
        elif kind == "phase1b":
            self.on_phase1b(host, message)
        elif kind == "phase2b":
            self.on_phase2b(host, message)

    def on_phase1a(self, host: Host, message: dict[str, Any]) -> None:
        """A scout asks."""
        ballot = message["ballot"]
        attempt = host.id, host.life, message["first"]
        if self.attempts.setdefault(ballot, attempt) != attempt:
            raise Violation(f"ballot {describe(ballot)} is used for two attempts: {self.attempts[ballot]}, {attempt}")
        if host.disk.promised < ballot:
            raise Violation(f"node {host.id} scouts at ballot {describe(ballot)}, which is not durable")

    def on_phase1b(self, host: Host, message: dict[str, Any]) -> None:
        """An acceptor promises."""
        self.check_voter(host, "promises")
        if host.disk.promised < message["ballot"]:
            raise Violation(f"A1: node {host.id} promises ballot {describe(message['ballot'])}, which is not durable")
        named: dict[int, int] = {}
        for pvalues in message["pvalues"]:
            ballot = codec.decode_phase2a(pvalues["run"])[0]
            self.check_accepted(host, ballot, pvalues["first"], pvalues["end"])
            named.update(dict.fromkeys(range(pvalues["first"], pvalues["end"]), ballot))
        begin = max(message["first"], message["mark"])
        for slot, ballot in self.told.get(host.id, {}).items():
            if begin <= slot < message["end"] and named.get(slot, 0) < ballot < message["ballot"]:
                raise Violation(
                    f"A3: node {host.id} promises and leaves out its vote for slot {slot} at {describe(ballot)}"
                )

    def on_phase2b(self, host: Host, message: dict[str, Any]) -> None:
        """An acceptor votes, or says that it cannot."""
        self.check_voter(host, "votes")
        self.check_accepted(host, message["ballot"], message["first"], message["end"])
        told = self.told.setdefault(host.id, {})
        for slot in range(message["first"], message["end"]):
            told[slot] = max(message["ballot"], told.get(slot, 0))

    def check_voter(self, host: Host, what: str) -> None:
        """Only founders promise and vote."""
        if not self.is_voter(host.id, host.disk):
            raise Violation(f"node {host.id} {what} without a durable voter record that names its incarnation")

    def check_accepted(self, host: Host, ballot: int, first: int, end: int) -> None:
        """What a node says to hold is on its disk, at that ballot or above."""
        for slot in range(max(first, host.disk.decided), end):
            if host.disk.accepted.get(slot, 0) < ballot:
                raise Violation(f"A3: node {host.id} claims slot {slot} at {describe(ballot)}, which is not durable")

    # -- applied slots
    def on_step(self, host: Host) -> None:
        """A node has done something."""
        node = host.node
        if node is None:
            return
        node.invariants()
        life, before = self.checked.get(host.id, (0, 1))
        if life != host.life:
            before = 1
        slot_out = node.slot_out
        if slot_out < before:
            raise Violation(f"R4: slot_out of node {host.id} fell from {before} to {slot_out}")
        self.check_decided(host, node)
        for slot in range(before, slot_out):
            applied = node.command_at(slot)
            if applied is not None:
                self.on_applied(host.id, slot, applied)
        self.checked[host.id] = host.life, slot_out
        if not host.world.roles[host.id] & REPLICA:
            return  # it has no machine, and so no clock of the machine
        clock = node.replica.time_ns
        if self.clocks.setdefault(slot_out, clock) != clock:
            raise Violation(
                f"time: at slot {slot_out} the clock of node {host.id} is {clock}, of another {self.clocks[slot_out]}"
            )

    def check_decided(self, host: Host, node: Node) -> None:
        """What a leader calls decided: an acceptor need not hold any more what its disk says is decided."""
        leader = node.leader
        if leader.state != ACTIVE:
            return
        ballot = leader.ballot
        begin = max(leader.start, self.decided.get(ballot, 1))
        for slot in range(begin, leader.decided_end):
            knowing = {other.id for other in host.world.hosts if other.disk.decided > slot}
            if not self.quorums.is_phase2(self.votes.get((ballot, slot), set()) | knowing):
                raise Violation(
                    f"C2: at ballot {describe(ballot)} node {host.id} calls slot {slot} decided, accepted by "
                    f"{sorted(self.votes.get((ballot, slot), set()))} only"
                )
        self.decided[ballot] = max(begin, leader.decided_end)

    def on_applied(self, node: int, slot: int, applied: tuple[int, int, int, bytes]) -> None:
        """A node has applied a command."""
        if slot not in self.chosen:
            raise Violation(f"C2: node {node} applied {applied} in slot {slot}, which nothing was chosen for")
        session, sequence, kind, _, payload = self.chosen[slot][1][1]
        if applied != (kind, session, sequence, payload):
            raise Violation(f"R1: node {node} applied {applied} in slot {slot}, chosen is {self.chosen[slot][1]}")

    # -- clients
    def on_expired(self, session: int) -> None:
        """A client is told that its session is gone."""
        while self.sessions.slot_out in self.chosen:
            slot = self.sessions.slot_out
            id, sequence, kind, _, _ = self.chosen[slot][1][1]
            self.sessions.apply(slot, kind, id, sequence)
        if session in self.sessions.nonces:
            raise Violation(f"session {session} is told to be expired, and lives at slot {self.sessions.slot_out}")
