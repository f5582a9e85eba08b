"""Finding the node that leads."""

from __future__ import annotations

import asyncio

import pytest

from multipaxos.client import discovery
from multipaxos.client.discovery import find_leader
from multipaxos.errors import NoQuorum


def test_a_silent_node_does_not_delay_the_search_for_the_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a node may be cut off: its answer would come only after a time-out."""
    silent, follower, leader, given_up = ("h", 0), ("h", 1), ("h", 2), []

    async def ask(address: tuple[str, int]) -> dict[str, bool] | None:
        if address == silent:
            try:
                await asyncio.Event().wait()
            finally:
                given_up.append(address)
        return {"leading": address == leader}

    monkeypatch.setattr(discovery, "fetch_status", ask)
    assert asyncio.run(find_leader([silent, follower, leader], 60.0)) == leader
    assert given_up == [silent]
    with pytest.raises(NoQuorum):
        asyncio.run(find_leader([follower], 0.1))
