"""The bits of the roles: what the configuration, the core and the simulator share."""

from multipaxos.paxos.roles import ACCEPTOR, ALL_ROLES, LEADER, REPLICA, ROLE_BITS


def test_every_role_has_a_bit_of_its_own():
    assert sorted(ROLE_BITS.values()) == [1, 2, 4]
    assert ROLE_BITS == {"replica": REPLICA, "leader": LEADER, "acceptor": ACCEPTOR}
    assert sum(ROLE_BITS.values()) == ALL_ROLES
