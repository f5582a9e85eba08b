"""Whose nodes a client talks to: a cluster that was founded again is told from a list of two clusters."""

from __future__ import annotations

import pytest

from multipaxos.client.one_cluster import OneCluster
from multipaxos.errors import ConfigurationError
from multipaxos.wire.schema import Hello


def meet(cluster: OneCluster, place: int, name: str, id: int) -> None:
    """A node at a place says of which cluster it is."""
    cluster.meet(("host", place), Hello(cluster=name, cluster_id=id))


def test_a_cluster_that_is_founded_again() -> None:
    cluster = OneCluster()
    for id in (0, 7, 7, 0, 8, 0, 8):
        meet(cluster, 1, "x", id)
    assert (cluster.name, cluster.id) == ("x", 8)


def test_two_clusters_of_one_name() -> None:
    """The second one that is met may have taken the place of the first; a node of the first says that it has not."""
    cluster = OneCluster()
    meet(cluster, 1, "x", 7)
    meet(cluster, 2, "x", 8)
    with pytest.raises(ConfigurationError, match=r"host:1 is of 0{15}7, another one of 0{15}8; give the addresses"):
        meet(cluster, 1, "x", 7)


def test_two_names() -> None:
    cluster = OneCluster()
    meet(cluster, 1, "x", 0)
    with pytest.raises(ConfigurationError, match="host:2 is of 'y', another one of 'x'; give the addresses"):
        meet(cluster, 2, "y", 0)
