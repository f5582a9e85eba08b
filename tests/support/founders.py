"""The metadata of a founder's disk."""

from __future__ import annotations

from collections.abc import Sequence

from multipaxos.membership.founding import cluster_id_of
from multipaxos.node.output import META_CLUSTER, META_VOTER, words


def founders_meta(founders: Sequence[int], name: str = "") -> dict[bytes, bytes]:
    """The voter record of these incarnations, with the id of the cluster of that name."""
    return {META_VOTER: words(founders), META_CLUSTER: words([cluster_id_of(name, founders)])}
