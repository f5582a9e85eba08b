"""Founding: which incarnations vote; the rule alone, and inside the node."""

import hashlib
import itertools
import random
import struct

import pytest

from multipaxos.errors import CorruptLog
from multipaxos.membership.founding import Founding, cluster_id_of
from multipaxos.node.output import META_CLUSTER, META_REFUSED, META_VOTER, words
from multipaxos.simulation.scenario import Faults, Scenario
from multipaxos.simulation.timeline import MS
from multipaxos.simulation.world import World
from multipaxos.wire import codec
from tests.support.one_node import NONCE, OPEN_SESSION, OneNode, ballot, command


def fresh_three():
    """Node 0 of three, incarnation 100, which knows of 101 and 102."""
    founding = Founding("", 0, 3, 100)
    founding.on_link_up(1, 101)
    founding.on_link_up(2, 102)
    return founding


ALL_VIEW = (100, 101, 102)


def test_all_fresh_with_equal_views_found():
    founding = fresh_three()
    assert founding.on_founding(1, 101, True, ALL_VIEW) is None
    assert founding.on_founding(2, 102, True, ALL_VIEW) == ALL_VIEW
    assert founding.founders == ALL_VIEW
    assert founding.message() == (100, False, list(ALL_VIEW))


@pytest.mark.parametrize("view", [(100, 101, 0), (100, 999, 102), (999, 101, 102), (0, 0, 102)])
def test_unequal_views_do_not_found(view):
    """One peer does not know all incarnations, or knows one that is gone."""
    founding = fresh_three()
    founding.on_founding(1, 101, True, ALL_VIEW)
    assert founding.on_founding(2, 102, True, view) is None
    assert founding.on_founding(2, 102, True, ALL_VIEW) == ALL_VIEW


def test_named_by_a_founder():
    founding = fresh_three()
    assert founding.on_founding(2, 102, False, (100, 101, 102)) == ALL_VIEW


def test_not_named_by_a_founder():
    founding = fresh_three()
    assert founding.on_founding(2, 102, False, (55, 101, 102)) is None
    assert founding.cluster_id == cluster_id_of("", (55, 101, 102))
    assert founding.known == (55, 101, 102)
    assert founding.on_founding(1, 101, True, ALL_VIEW) is None
    assert founding.fresh
    assert founding.founders is None


def test_the_id_is_that_of_the_name_and_the_founders_in_order():
    digest = hashlib.sha256(b"demo\0" + struct.pack("<3Q", *ALL_VIEW)).digest()
    assert cluster_id_of("demo", ALL_VIEW) == int.from_bytes(digest[:8], "big")
    assert len({cluster_id_of(*one) for one in (("", ALL_VIEW), ("a", ALL_VIEW), ("", ALL_VIEW[::-1]))}) == 3


def test_all_who_hold_one_list_have_one_id():
    """A founder from views, a founder from a list, one that is none, and each after a restart."""
    views, listed = fresh_three(), fresh_three()
    wiped = Founding("", 0, 3, 7)
    for peer in (1, 2):
        views.on_founding(peer, 100 + peer, True, ALL_VIEW)
        wiped.on_link_up(peer, 100 + peer)
    listed.on_founding(2, 102, False, ALL_VIEW)
    wiped.on_founding(2, 102, False, ALL_VIEW)
    assert {one.cluster_id for one in (views, listed, wiped)} == {cluster_id_of("", ALL_VIEW)}
    assert Founding("", 0, 3, 100, ALL_VIEW, views.cluster_id).known == ALL_VIEW


def test_a_node_with_an_id_believes_no_list_of_another():
    founding = Founding("", 0, 3, 100, None, cluster_id_of("", (55, 101, 102)))
    founding.on_link_up(1, 101)
    founding.on_link_up(2, 102)
    assert founding.on_founding(2, 102, False, ALL_VIEW) is None
    assert founding.is_foreign(2)
    assert founding.known is None
    assert founding.on_founding(1, 101, False, (55, 101, 102)) is None
    assert founding.known == (55, 101, 102)
    assert not founding.is_foreign(1)


def test_what_a_broken_link_said_does_not_count():
    founding = fresh_three()
    founding.on_founding(1, 101, True, ALL_VIEW)
    founding.on_link_down(1)
    assert founding.on_founding(2, 102, True, ALL_VIEW) is None


def test_what_another_incarnation_said_does_not_count():
    founding = fresh_three()
    assert founding.on_founding(1, 777, True, ALL_VIEW) is None
    assert founding.on_founding(2, 102, True, ALL_VIEW) is None


def test_a_wiped_peer_changes_the_view():
    """B answered, was wiped and came back: no list with the old B is founded any more, nor a mixed one."""
    founding = fresh_three()
    founding.on_founding(1, 101, True, ALL_VIEW)
    assert founding.on_link_up(1, 201)
    assert founding.on_founding(2, 102, True, ALL_VIEW) is None
    assert founding.on_founding(1, 201, True, (100, 201, 102)) is None
    assert founding.on_founding(2, 102, True, (100, 201, 102)) == (100, 201, 102)


def test_a_list_of_another_length_is_no_list():
    founding = fresh_three()
    assert founding.on_founding(2, 102, False, (100, 101)) is None
    assert founding.on_founding(2, 102, False, (100, 101, 102, 103)) is None
    assert founding.fresh


def test_founders_are_set_once():
    founding = Founding("", 0, 3, 100, ALL_VIEW)
    founding.on_link_up(1, 101)
    assert founding.on_founding(1, 101, False, (100, 5, 6)) is None
    assert founding.founders == ALL_VIEW


@pytest.mark.parametrize("seed", range(40))
def test_two_lists_never_live_together(seed):
    """Random wipes, links and delayed reports among three nodes: all living nodes founded one list, or none."""
    chance, numbers = random.Random(seed), itertools.count(100)
    nodes = [Founding("", i, 3, next(numbers)) for i in range(3)]
    links, founded = {}, set()
    for _ in range(400):
        a, b = chance.sample(range(3), 2)
        act = chance.random()
        if act < 0.03:
            for other in range(3):
                links.pop((min(a, other), max(a, other)), None)
                nodes[other].on_link_down(a)
            nodes[a] = Founding("", a, 3, next(numbers))
        elif act < 0.3 and (min(a, b), max(a, b)) not in links:
            links[min(a, b), max(a, b)] = {a: [], b: []}
            nodes[a].on_link_up(b, nodes[b].incarnation)
            nodes[b].on_link_up(a, nodes[a].incarnation)
        elif (link := links.get((min(a, b), max(a, b)))) is not None:
            if chance.random() < 0.5:
                link[b].append(nodes[a].message())
            elif link[b]:
                nodes[b].on_founding(a, *link[b].pop(0))
        assert len({node.founders for node in nodes if node.founders}) <= 1
        founded |= {node.founders for node in nodes if node.founders}
    assert founded


# -- inside the node


def test_a_vote_waits_for_the_voter_record():
    node = OneNode(founded=False)
    view = [1000, 1001, 1002]
    node.send(1, "founding", incarnation=1001, fresh=True, incarnations=view)
    node.send(2, "founding", incarnation=1002, fresh=True, incarnations=view)
    node.send(1, "phase1a", ballot=ballot(1, 1), first=1)
    assert not node.core.voting
    node.tick(5000)
    assert not any(event.kind == "scouting" for event in node.events)
    assert node.batch.meta[b"voter"] == b"".join(one.to_bytes(8, "little") for one in view)
    node.sync()
    assert node.core.voting
    assert node.from_peer(1, "phase1b") == []
    node.send(1, "phase1a", ballot=ballot(1, 1), first=1)
    node.sync()
    assert len(node.from_peer(1, "phase1b")) == 1


def test_a_founder_reports_the_founders_to_the_others():
    node = OneNode()
    node.take(101)
    node.send(1, "founding", incarnation=1001, fresh=True, incarnations=[0, 1001, 0])
    told = node.from_peer(1, "founding")
    assert [(one["fresh"], list(one["incarnations"])) for one in told] == [(False, [1000, 1001, 1002])]


def test_a_wiped_node_learns_without_voting_or_leading():
    node = OneNode(founded=False)
    node.send(1, "founding", incarnation=1001, fresh=False, incarnations=[4, 1001, 1002])
    node.send(2, "founding", incarnation=1002, fresh=False, incarnations=[4, 1001, 1002])
    node.sync()
    assert any(event.kind == "not_founder" for event in node.events)
    node.phase2a(1, ballot(1, 1), 1, [command(0, 9, b"", OPEN_SESSION)])
    node.send(1, "decision", ballot=ballot(1, 1), first=1, end=2)
    node.sync()
    for _ in range(50):
        node.tick(100)
    assert node.core.slot_out == 2
    assert not node.core.voting
    assert not any(event.kind == "scouting" for event in node.events)
    assert [one for one in node.take(101) if one["kind"] in ("phase1b", "phase2b")] == []


def test_a_node_that_has_learnt_does_not_found():
    """It is a witness of a cluster: if all founders are wiped, it must not found another cluster with them, whose log
    would differ from its own."""
    node = OneNode(node=2, founded=False)
    for peer in (0, 1):
        node.send(peer, "founding", incarnation=1000 + peer, fresh=False, incarnations=[1000, 1001, 7])
    node.sync()
    node.phase2a(0, ballot(1, 0), 1, [command(9, 1, b"old")])
    node.send(0, "decision", ballot=ballot(1, 0), first=1, end=2)
    node.sync()
    view = [2000, 2001, 1002]
    for peer in (0, 1):
        node.core.link_down(100 + peer)
        node.link(peer, incarnation=2000 + peer, number=300 + peer)
    for peer in (0, 1):
        node.receive(300 + peer, codec.encode("founding", incarnation=2000 + peer, fresh=True, incarnations=view))
    node.sync()
    assert not node.core.voting
    told = [m for m in node.take(300) if m["kind"] == "founding"]
    assert {(m["fresh"], tuple(m["incarnations"])) for m in told} == {(True, ())}


@pytest.mark.parametrize("synced", [False, True])
def test_a_node_learns_nothing_until_the_id_of_its_cluster_is_durable(synced):
    """A crash would make it forget whose log that is, and it could found another cluster."""
    node = OneNode(node=2, founded=False)
    node.send(0, "founding", incarnation=1000, fresh=False, incarnations=[1000, 1001, 7])
    if synced:
        node.sync()
    frame = node.phase2a(0, ballot(1, 0), 1, [command(9, 1, b"old")])
    node.send(0, "decision", ballot=ballot(1, 0), first=1, end=2)
    node.send(0, "fetched", first=1, end=2, mark=1, pvalues=((1, 2, frame),))
    assert node.core.slot_out == 1 + synced
    assert node.core.acceptor.end == 1 + synced
    assert node.core.cluster_id == (cluster_id_of("", (1000, 1001, 7)) if synced else 0)


def test_a_node_that_is_no_founder_keeps_its_clusters_id_over_a_restart():
    node = OneNode(node=2, founded=False)
    node.send(0, "founding", incarnation=1000, fresh=False, incarnations=[1000, 1001, 7])
    node.sync()
    again = node.restart()
    assert again.core.cluster_id == cluster_id_of("", (1000, 1001, 7))
    assert not again.core.voting
    assert [event.kind for event in again.events] == ["not_founder"]
    view = [1000, 1001, 1002]
    for peer in (0, 1):
        again.send(peer, "founding", incarnation=1000 + peer, fresh=True, incarnations=view)
    assert again.batch is None
    assert [event.kind for event in again.events] == ["not_founder", "witness"]


def test_refused_slots_come_with_the_id():
    """Of the very link from which the id comes, in one batch."""
    node = OneNode(node=2, founded=False, linked=False)
    node.core.link_up(100, 0, 1000, cluster_id=5, refused_slots=(3, 9))
    node.core.link_up(101, 1, 1001, refused_slots=(4,))
    node.send(0, "founding", incarnation=1000, fresh=False, incarnations=[1000, 1001, 7])
    assert node.batch.meta == {
        META_CLUSTER: words([cluster_id_of("", (1000, 1001, 7))]),
        META_REFUSED: words([3, 9]),
    }
    node.sync()
    assert node.core.refused_slots == (3, 9)
    assert node.restart().core.refused_slots == (3, 9)


def test_refused_slots_are_not_applied_by_a_node_that_took_them_nor_at_its_restart():
    """Slot 2 holds a command, which every replica refuses: the next one is applied."""
    node = OneNode(node=2, founded=False, linked=False)
    node.core.link_up(100, 0, 1000, cluster_id=5, refused_slots=(2,))
    node.send(0, "founding", incarnation=1000, fresh=False, incarnations=[1000, 1001, 7])
    node.sync()
    node.phase2a(0, ballot(1, 0), 1, [command(0, NONCE, b"", OPEN_SESSION), command(1, 1, b"x"), command(1, 2, b"y")])
    node.send(0, "decision", ballot=ballot(1, 0), first=1, end=4)
    node.sync()
    node.tick(2000)
    node.sync()
    assert node.core.slot_out == 4
    again = node.restart()
    assert again.core.slot_out == 4
    assert [node.machine.entries, again.machine.entries] == [[b"y"], [b"y"]]
    assert node.core.status()["state_hash"] == again.core.status()["state_hash"]


def test_a_link_of_another_clusters_id_is_refused():
    node = OneNode(linked=False)
    node.core.link_up(101, 1, 1001, cluster_id=node.core.cluster_id)
    node.core.link_up(102, 2, 1002, cluster_id=node.core.cluster_id + 1)
    node.collect()
    assert list(node.closed) == [102]
    assert "another cluster" in node.closed[102]
    assert node.core.status()["peers"] == [1]


@pytest.mark.parametrize(
    ("meta", "text"),
    [
        ({META_VOTER: words([1000, 1001])}, "2 founders of a cluster of 3"),
        ({META_VOTER: words([1000, 1001, 1002, 1003])}, "4 founders of a cluster of 3"),
        ({META_CLUSTER: words([77])}, "not that of the founders"),
        ({META_CLUSTER: words([0])}, "not that of the founders"),
    ],
)
def test_a_voter_record_that_is_not_this_clusters_is_corruption(meta, text):
    with pytest.raises(CorruptLog, match=text):
        OneNode(meta=meta)


def test_a_witness_says_that_it_blocks_a_founding():
    node = OneNode(founded=False)
    node.send(1, "founding", incarnation=1001, fresh=False, incarnations=[7, 1001, 1002])
    node.sync()
    for _ in range(2):
        for peer in (1, 2):
            node.send(peer, "founding", incarnation=1000 + peer, fresh=True, incarnations=[1000, 1001, 1002])
    assert [event.kind for event in node.events].count("witness") == 1


def test_a_node_that_missed_its_founding_is_founded_by_a_founder():
    node = OneNode(node=2, founded=False)
    node.phase2a(0, ballot(1, 0), 1, [command(9, 1, b"one")])
    assert node.core.acceptor.end == 1
    node.send(0, "founding", incarnation=1000, fresh=False, incarnations=[1000, 1001, 1002])
    node.sync()
    assert node.core.voting


def test_a_report_without_a_view_takes_the_earlier_one_back():
    founding = Founding("", 0, 3, 100)
    for node in (1, 2):
        founding.on_link_up(node, 100 + node)
    assert founding.on_founding(1, 101, True, ALL_VIEW) is None
    assert founding.on_founding(1, 101, True, ()) is None
    assert founding.on_founding(2, 102, True, ALL_VIEW) is None


def test_founders_of_two_clusters_refuse_each_other():
    node = OneNode()
    node.send(1, "founding", incarnation=1001, fresh=False, incarnations=[1000, 1001, 1002])
    assert 101 not in node.closed
    node.send(1, "founding", incarnation=1001, fresh=False, incarnations=[1, 1001, 1002])
    assert "another cluster" in node.closed[101]


@pytest.mark.parametrize("kind", ["phase1a", "phase2a"])
def test_an_incarnation_that_does_not_vote_does_not_lead(kind):
    node = OneNode()
    node.core.link_down(101)
    node.link(1, incarnation=5000, number=301)
    frame = (
        codec.encode("phase1a", ballot=ballot(9, 1), first=1)
        if kind == "phase1a"
        else codec.encode_phase2a(ballot(9, 1), 1, 5, (0, 1, 1), [command(9, 1)])
    )
    node.receive(301, frame)
    assert "founded nothing" in node.closed[301]
    assert node.core.acceptor.ballot_num == 0


def test_voters_stay_voters_over_a_restart():
    node = OneNode(founded=False)
    for peer in (1, 2):
        node.send(peer, "founding", incarnation=1000 + peer, fresh=True, incarnations=[1000, 1001, 1002])
    node.sync()
    assert node.restart().core.voting


def test_a_founding_of_another_incarnation_than_the_links_closes_it():
    node = OneNode(founded=False)
    node.send(1, "founding", incarnation=3, fresh=True, incarnations=[1000, 3, 1002])
    assert 101 in node.closed


def test_a_list_of_founders_is_sent_when_it_is_durable():
    """If a crash lost a list that was sent, the others could found with it, and this node with another one."""
    node = OneNode(founded=False)
    for peer in (1, 2):
        node.send(peer, "founding", incarnation=node.incarnations[peer], fresh=True, incarnations=node.incarnations)
    node.sent.clear()
    node.tick(1000)
    assert node.take(101, "founding") == []
    node.sync()
    assert [(m["fresh"], list(m["incarnations"])) for m in node.take(101, "founding")] == [(False, node.incarnations)]


def test_a_node_alone_founds_itself():
    node = OneNode(nodes=1, founded=False)
    assert not node.core.voting
    node.sync()
    assert node.core.voting


@pytest.mark.parametrize("seed", range(10))
def test_founding_under_wipes_is_of_one_list(seed):
    """Fresh disks are lost while the cluster is being founded: all voter records agree, and it is founded where it can
    be."""
    world = World(seed, Scenario(faults=Faults(delay_ns=(MS // 10, 30 * MS), sync_ns=(MS // 10, 30 * MS))))
    for _ in range(6):
        world.timeline.run_for(world.chance.random.randint(1, 60) * MS)
        host = world.chance.random.choice(world.hosts)
        if host.core.joining.founding.fresh and not any(one.core.voting for one in world.hosts):
            host.crash()
            host.lose_disk()
            world.adversary.restart(host)
    world.timeline.run_for(3000 * MS)
    records = {host.disk.voters for host in world.hosts if host.disk.voters is not None}
    assert len(records) == 1
    for host in world.hosts:
        assert host.core.voting == (host.disk.incarnation.to_bytes(8, "little") in next(iter(records)))


def test_the_message_carries_the_view_on_the_wire():
    frame = codec.encode("founding", incarnation=5, fresh=True, incarnations=[5, 0, 7])
    assert list(codec.decode_message(frame)["incarnations"]) == [5, 0, 7]
