"""Hosts that crash, lose their disks or cannot sync."""

from multipaxos.simulation.timeline import MS
from tests.simulation.worlds import settled


def test_a_wiped_node_learns_and_does_not_vote():
    """A node with a new disk catches up as a replica, and neither votes nor leads."""
    world = settled(5)
    wiped = world.hosts[1]
    wiped.crash()
    wiped.lose_disk()
    world.adversary.restart(wiped)
    top = max(host.core.slot_out for host in world.hosts if host is not wiped)
    assert world.timeline.run_until(lambda: wiped.core.slot_out >= top, 20_000 * MS)
    world.timeline.run_for(3000 * MS)
    assert not wiped.core.voting
    assert not wiped.core.status()["founded"]
    assert not wiped.core.status()["leading"]
    assert wiped.machine.items() == world.hosts[0].machine.items()


def test_with_one_wiped_and_one_crashed_nothing_is_decided_until_the_crashed_is_back():
    """Of three nodes, the wiped one must not make a quorum with the third."""
    world = settled(6)
    wiped, crashed = world.hosts[0], world.hosts[1]
    wiped.crash()
    crashed.crash()
    wiped.lose_disk()
    world.adversary.restart(wiped)
    before = world.hosts[2].core.slot_out
    world.add_client(7)
    world.timeline.run_for(5000 * MS)
    assert world.hosts[2].core.slot_out == before
    assert not world.hosts[2].core.status()["leading"]
    world.adversary.restart(crashed)
    assert world.timeline.run_until(lambda: world.clients[-1].done, 60_000 * MS), world.describe()


def test_a_failed_sync_ends_the_process():
    """A process makes no promise after a failed sync; the next one begins with what the disk holds."""
    world = settled(7)
    host = world.hosts[0]
    host.fail_syncs = True
    life = host.life
    world.add_client(7)
    assert world.timeline.run_until(lambda: host.core is None, 20_000 * MS)
    assert any("the storage failed" in note.text for note in world.timeline.notes if note.node_id == 0)
    assert world.timeline.run_until(lambda: world.clients[-1].done, 60_000 * MS), world.describe()
    assert host.life > life


def test_a_damaged_key_costs_the_disk():
    """The process refuses a directory whose sum is wrong, and goes on with an empty one, without a vote."""
    world = settled(8)
    host = world.hosts[2]
    host.crash()
    host.disk.damage_key(world.chance.random)
    world.adversary.restart(host)
    assert world.chance.counts["disks_refused"] == 1
    world.timeline.run_for(3000 * MS)
    assert not host.core.voting
    assert host.machine.items() == world.hosts[0].machine.items()


def test_a_damaged_record_is_a_hole_until_it_is_filled():
    """The node says so, fetches what the others know to be decided, and then promises again."""
    world = settled(8)
    host = world.hosts[2]
    host.crash()
    record = list(host.disk.records())[5]
    host.disk.damage(record, len(record[2]) - 1, 1)
    world.adversary.restart(host)
    assert world.chance.counts["holes"] == 1
    world.timeline.run_for(3000 * MS)
    assert world.chance.counts["holes_filled"] == 1
    assert host.core.status()["holes"] == 0
    assert host.machine.items() == world.hosts[0].machine.items()
