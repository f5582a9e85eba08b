"""Replicas that differ, inside the node and in whole clusters on virtual time: who is told, and what it then does."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from multipaxos import commands
from multipaxos.judges.quorums import Quorums
from multipaxos.paxos.roles import ALL_ROLES
from multipaxos.simulation.host import Host
from multipaxos.simulation.scenario import Scenario
from multipaxos.simulation.timeline import MS
from multipaxos.simulation.world import World
from multipaxos.wire.schema import encode_status_request
from tests.support.one_node import OPEN_SESSION, OneNode, ballot, command

B1 = ballot(1, 1)
OPENINGS = [command(0, 900 + i, b"", OPEN_SESSION) for i in range(20)]


def applied(node: OneNode, count: int = 10) -> OneNode:
    """The node follows node 1, which leads, and has applied so many openings."""
    node.phase2a(1, B1, 1, OPENINGS[:count])
    node.send(1, "decision", ballot=B1, first=1, end=count + 1)
    node.sync()
    node.events.clear()
    return node


def told(node: OneNode, peer: int = 2) -> list[tuple[int, int]]:
    """What the node tells a peer that does not lead, in one second: (slot, hash)."""
    node.take(100 + peer)
    for _ in range(10):
        node.send(1, "pong", ballot=B1, nonce=0, slot_out=node.core.slot_out, leading=True, quorum=True)
        node.tick(100)
    return [(one["state_slot"], one["state_hash"]) for one in node.from_peer(peer, "ping")]


def ping(node: OneNode, peer: int, slot: int = 0, hash: int = 0) -> None:
    """A peer's ping."""
    node.send(peer, "ping", ballot=B1, nonce=0, slot_out=11, voting=True, state_slot=slot, state_hash=hash)


def kinds(node: OneNode) -> list[str]:
    """Of the events since they were last cleared."""
    return [event.kind for event in node.events]


def differing(node: OneNode) -> OneNode:
    """Two peers have another state."""
    [(slot, hash)] = told(node)
    ping(node, 1, slot, hash ^ 1)
    ping(node, 2, slot, hash ^ 1)
    assert node.core.comparing.agreement.differs
    return node


class TestTelling:
    def test_nothing_is_told_before_anything_is_applied(self) -> None:
        assert told(OneNode()) == [(0, 0)]

    def test_the_slot_that_all_choose(self) -> None:
        """Of the slots 1 to 10 that is 8; at rest the last slot follows, with the hash of `status`."""
        node = applied(OneNode())
        assert [slot for slot, _ in told(node)] == [8]
        [(slot, hash)] = told(node)
        assert slot == 10
        status = node.core.status()
        assert f"{hash:016x}" == status["state_hash"]
        assert status["state_slot"] == 10
        assert told(node) == [(10, hash)]

    def test_pings_to_the_leader_repeat_it(self) -> None:
        node = applied(OneNode())
        told(node)
        node.take(101)
        node.tick(100)
        assert [one["state_slot"] for one in node.from_peer(1, "ping")] == [8]

    def test_a_node_without_a_machine_tells_nothing(self) -> None:
        node = applied(OneNode(roles=[ALL_ROLES & ~1, ALL_ROLES, ALL_ROLES]))
        assert told(node) == [(0, 0)]


class TestDiffering:
    def test_it_says_so_and_status_shows_it(self) -> None:
        node = applied(OneNode())
        [(slot, hash)] = told(node)
        assert node.core.status()["differs"] is None
        ping(node, 1, slot, hash ^ 1)
        assert kinds(node) == ["unlike"]
        assert node.core.status()["differs"] is None
        ping(node, 2, slot, hash ^ 1)
        assert kinds(node) == ["unlike", "unlike", "differs"]
        assert "restart" in node.events[-1].text
        status = node.core.status()
        assert (status["differs"], status["differs_from"]) == ("minority", [1, 2])
        ping(node, 2, slot, hash ^ 1)
        assert len(node.events) == 3

    def test_a_leader_steps_down_and_never_leads_again(self) -> None:
        node = OneNode()
        at = node.lead()
        node.client()
        node.request(1, OPENINGS[0])
        node.accept(1, at, 1, 2)
        node.accept(2, at, 1, 2)
        node.sync()
        assert node.core.slot_out == 2
        for _ in range(11):
            node.send(1, "ping", ballot=at, nonce=0, slot_out=2, voting=True)
            node.send(2, "ping", ballot=at, nonce=0, slot_out=2, voting=True)
            node.tick(100)
        agreement = node.core.comparing.agreement
        assert agreement.slot == 1
        node.events.clear()
        for peer in (1, 2):
            fields = {"state_slot": 1, "state_hash": agreement.hash ^ 1}
            node.send(peer, "ping", ballot=at, nonce=0, slot_out=2, voting=True, **fields)
        assert kinds(node) == ["unlike", "unlike", "differs", "stepped_down"]
        assert not node.core.status()["leading"]
        for _ in range(600):
            node.tick(100)
        assert "scouting" not in kinds(node)

    def test_it_votes_and_learns(self) -> None:
        node = differing(applied(OneNode()))
        node.send(2, "phase1a", ballot=ballot(2, 2), first=11)
        node.sync()
        assert [one["ballot"] for one in node.from_peer(2, "phase1b")] == [ballot(2, 2)]
        node.phase2a(2, ballot(2, 2), 11, OPENINGS[10:12])
        node.sync()
        assert [(one["first"], one["end"]) for one in node.from_peer(2, "phase2b")] == [(11, 13)]
        node.send(2, "decision", ballot=ballot(2, 2), first=11, end=13)
        assert node.core.slot_out == 13

    def test_its_clients_are_sent_away(self) -> None:
        node = applied(OneNode())
        node.client(1)
        node.client(2)
        node.request(1, OPENINGS[0])
        differing(node)
        assert set(node.closed) == {1, 2}
        assert all("gives no answers" in reason for reason in node.closed.values())
        node.closed.clear()
        node.client(3)
        assert node.closed == {}
        node.request(3, OPENINGS[0])
        assert "gives no answers" in node.closed[3]
        assert node.take(3, "response") == []
        assert node.core.status()["bad_frames"] == 0

    def test_a_client_that_asks_for_the_status_is_answered(self) -> None:
        node = differing(applied(OneNode()))
        node.client(3)
        node.core.receive(3, encode_status_request(5))
        assert node.core.output().status_requests == [(3, 5)]

    def test_a_restart_begins_anew(self) -> None:
        node = differing(applied(OneNode()))
        again = applied(node.restart())
        again.client()
        again.request(1, OPENINGS[0])
        assert [one["replies"][0]["status"] for one in again.take(1, "response")] == [2]
        assert again.closed == {}

    def test_what_a_peer_told_before_its_new_link_does_not_count(self) -> None:
        node = applied(OneNode())
        [(slot, hash)] = told(node)
        ping(node, 1, slot, hash ^ 1)
        node.link(1, number=201)
        ping(node, 2, slot, hash ^ 1)
        assert "differs" not in kinds(node)
        assert node.core.status()["differs_from"] == [2]

    def test_a_peer_without_the_replicas_role_does_not_count(self) -> None:
        node = applied(OneNode(nodes=4, roles=[ALL_ROLES, ALL_ROLES & ~1, ALL_ROLES, ALL_ROLES]))
        [(slot, hash)] = told(node)
        ping(node, 1, slot, hash ^ 1)
        ping(node, 2, slot, hash ^ 1)
        assert "differs" not in kinds(node)
        ping(node, 3, slot, hash ^ 1)
        assert kinds(node)[-1] == "differs"


class TestDivided:
    def test_two_against_two(self) -> None:
        node = applied(OneNode(nodes=4))
        [(slot, hash)] = told(node)
        ping(node, 1, slot, hash)
        ping(node, 2, slot, hash ^ 1)
        assert node.core.status()["differs"] is None
        ping(node, 3, slot, hash ^ 1)
        assert kinds(node) == ["unlike", "unlike", "divided"]
        status = node.core.status()
        assert (status["differs"], status["differs_from"]) == ("no majority", [2, 3])
        node.client()
        node.request(1, OPENINGS[0])
        assert len(node.take(1, "response")) == 1
        assert node.closed == {}


# -- whole clusters


def corrupted(world: World, ids: Sequence[int]) -> None:
    """One bit of the memory of these hosts flips, all in the same way."""
    for id in ids:
        world.hosts[id].machine.apply_bytes(1, 0, 0, commands.put(b"stray", b"1"))


def statuses(world: World) -> list[object]:
    """`differs` of every node."""
    return [facts(host)["differs"] for host in world.hosts]


def facts(host: Host) -> dict[str, object]:
    """The status of a node that lives."""
    assert host.core is not None
    return host.core.status()


@pytest.mark.parametrize("id", range(3))
def test_one_of_three(id: int) -> None:
    """Within 2.5 seconds of its fault the replica knows, whether it leads or not; another one leads, every client is
    answered, and nobody sees the wrong state."""
    world = World(id, Scenario(clients=2))
    assert world.timeline.run_until(world.is_founded, 10_000 * MS)
    for client in range(2):
        world.add_client(client)
    world.timeline.run_for(1000 * MS)
    corrupted(world, [id])
    assert world.timeline.run_until(lambda: statuses(world)[id] is not None, 2500 * MS)
    world.timeline.run_for(3000 * MS)
    assert statuses(world) == ["minority" if i == id else None for i in range(3)]
    assert facts(world.hosts[id])["differs_from"] == [i for i in range(3) if i != id]
    world.chance.hostile = False
    assert world.timeline.run_until(world.is_finished, 60_000 * MS)
    assert not facts(world.hosts[id])["leading"]
    assert facts(world.hosts[id])["voting"]
    assert all(client.node_id != id for client in world.clients)


def test_two_against_two_of_four() -> None:
    world = World(1, Scenario(roles=(ALL_ROLES,) * 4, quorums=Quorums((0, 1, 2, 3)), clients=2))
    assert world.timeline.run_until(world.is_founded, 10_000 * MS)
    for client in range(2):
        world.add_client(client)
    world.timeline.run_for(1000 * MS)
    corrupted(world, [1, 3])
    world.timeline.run_for(3000 * MS)
    assert statuses(world) == ["no majority"] * 4
    world.chance.hostile = False
    assert world.timeline.run_until(world.is_finished, 60_000 * MS)
