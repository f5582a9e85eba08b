"""The commands of the store: names, exit codes, JSON."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from multipaxos.client.client import Client
from multipaxos.local_cluster import LocalCluster
from tests.support.processes import multipaxos, play

pytestmark = pytest.mark.timeout(180)


def test_the_commands_of_the_store(tmp_path: Path) -> None:
    """Names, exit codes and JSON of put, get, create, update, remove, cas, scan, status, bench."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        where = ",".join(f"{host}:{port}" for host, port in cluster.addresses)

        async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(multipaxos, arguments[0], "--cluster", where, *arguments[1:])

        assert (await run("put", "a", "1")).returncode == 0
        assert (await run("get", "a")).stdout == "1\n"
        assert (await run("create", "a", "2")).returncode == 1
        assert (await run("update", "b", "2")).returncode == 1
        assert (await run("cas", "a", "1", "3")).returncode == 0
        failed = await run("cas", "a", "1", "4", "--json")
        assert failed.returncode == 1
        assert json.loads(failed.stdout)["value"] == "3"
        assert (await run("get", "nothing")).returncode == 1
        assert (await run("put", "k" * 481, "v")).returncode == 2
        await client.put(b"ab", b"x")
        await client.put(b"ac", b"y")
        scanned = await run("scan", "a", "--limit", "2", "--after", "a", "--json")
        assert [json.loads(line)["key"] for line in scanned.stdout.splitlines()] == ["ab", "ac"]
        assert (await run("remove", "a")).returncode == 0
        cluster.kill(2)
        rows = json.loads((await run("status", "--json")).stdout)
        assert [row["alive"] for row in rows] == [True, True, False]
        assert {
            "id",
            "address",
            "alive",
            "leading",
            "ballot",
            "slot_in",
            "slot_out",
            "mark",
            "voting",
            "state_hash",
            "storage",
        } <= set(rows[0])
        cluster.kill(1)
        assert (await run("put", "a", "1", "--timeout", "1")).returncode == 3

    play(tmp_path, story)
