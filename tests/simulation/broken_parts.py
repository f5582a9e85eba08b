"""Hosts, disks and networks that break a promise on purpose, around cores that keep theirs."""

from multipaxos.config.charter import META_CHARTER
from multipaxos.node.output import META_CLUSTER, META_VOTER
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.simulation.disk import Disk
from multipaxos.simulation.host import Host
from multipaxos.simulation.network import Network
from multipaxos.simulation.timeline import MS
from multipaxos.wire import codec


class EarlyHost(Host):
    """Reports a batch durable at once, and writes it later, if the process still lives then."""

    def synced(self, batch):
        self.batch = None
        self.later(60 * MS, lambda: self.commit(batch))
        self.wake(lambda core: core.done(batch.token, True))


class LosingDisk(Disk):
    """Forgets the last of its records at a restart."""

    def records(self):
        return iter(list(super().records())[:-1])


class LosingHost(Host):
    """After a crash the last record is gone."""

    disk_type = LosingDisk


class UnequalHost(Host):
    """Nodes are configured differently: phase-1 quorums of odd nodes need not meet phase-2 quorums of even ones."""

    @property
    def quorums(self):
        return QuorumSystem.sizes(range(3), 3, 1) if self.id % 2 else QuorumSystem.sizes(range(3), 1, 3)


class CopiedHost(Host):
    """After a crash the disk is empty except for its incarnation and voter record, as in a copy from its first day."""

    def crash(self):
        super().crash()
        old = self.disk
        self.mount(Disk(old.incarnation))
        if old.voters is not None:
            kept = {key: old.meta()[key] for key in (META_CHARTER, META_VOTER, META_CLUSTER)}
            self.disk.commit(kept, b"")


class Rewriter(Network):
    """Changes frames between nodes, after the oracle has seen them."""

    def carry(self, source, target, frame, kind, deliver, queue=None):
        changed = self.rewrite(codec.decode_message(frame))
        if changed is not None and deliver is not None and source.startswith("node") and target.startswith("node"):
            ids = int(source[5:]), int(target[5:])
            ends = [end for end, other in self.peers.items() if (other.node_id, end.node_id) == ids]
            if ends:  # else the other side has closed this link already
                frame = changed
                deliver = lambda: self.to_node(ends[0], frame, 0)  # noqa: E731
        super().carry(source, target, frame, kind, deliver, queue)


def encode(message, **changes):
    """A decoded message, changed, as a frame."""
    fields = {**message, **changes}
    return codec.encode(fields.pop("kind"), **fields)


class EmptyPromises(Rewriter):
    """Every phase 1b claims that nothing was accepted."""

    def rewrite(self, message):
        return encode(message, pvalues=[]) if message["kind"] == "phase1b" and message["pvalues"] else None


class HighMarks(Rewriter):
    """Every phase 2b claims more slots than were accepted."""

    def rewrite(self, message):
        if message["kind"] == "phase2b" and message["first"] < message["end"]:
            return encode(message, first=max(1, message["first"] - 8), end=message["end"] + 8)
        return None


class EarlyDecisions(Rewriter):
    """Every watermark claims that slots are decided which are only proposed."""

    def rewrite(self, message):
        if message["kind"] == "phase2a":
            end = message["first"] + len(message["commands"])
            return encode(message, decided_ballot=message["ballot"], decided_first=1, decided_end=end)
        return None
