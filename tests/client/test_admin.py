"""The client of an admin: settings, decided and refused."""

from __future__ import annotations

import asyncio

import pytest

from multipaxos.client.admin import AdminClient
from multipaxos.errors import Refused
from multipaxos.paxos.settings import MACHINE_VERSION, SEMANTICS
from tests.client.servers import cluster
from tests.support.link_by_hand import PATIENCE_S


def test_a_refused_setting_does_not_hold_up_the_next_one() -> None:
    async def run() -> None:
        async with cluster() as addresses, AdminClient(addresses, (), timeout_s=PATIENCE_S) as admin:
            assert (await admin.change(SEMANTICS, 1))[1] == 1
            for _ in range(2):
                with pytest.raises(Refused, match="node 0 knows semantics 1 at most"):
                    await admin.change(SEMANTICS, 99)
                assert (await admin.change(MACHINE_VERSION, 1))[1] == 1

    asyncio.run(run())
