"""`multipaxos status`: one row per node, also of nodes that do not answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner

from multipaxos.cli.status import COLUMNS, remarks, status
from multipaxos.errors import HandshakeRefused
from tests.client.servers import nowhere


def test_a_dead_cluster_is_shown_as_json_and_as_a_table() -> None:
    host, port = nowhere()
    cluster = ["--cluster", f"{host}:{port}"]
    shown = CliRunner().invoke(status, [*cluster, "--json"])
    assert (shown.exit_code, json.loads(shown.output)) == (0, [{"id": 0, "address": f"{host}:{port}", "alive": False}])
    table = CliRunner().invoke(status, cluster)
    assert table.exit_code == 0
    assert "False" in table.output
    assert f"{host}:{port} does not answer" in table.output


def test_a_table_in_a_pipe_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    full = {"id": 0, "address": "node0.somewhere.example:7400", "alive": True, "state_hash": "0123456789abcdef"}
    full |= {"storage": "lmdb", "slot_in": 1 << 62, "slot_out": 1 << 62, "mark": 1 << 62, "ballot": "1099511627775.63"}
    full |= {"differs": None, "differs_from": [], "cluster_id": "7" * 16}

    async def answer(address: object) -> dict[str, Any]:
        return full

    monkeypatch.setattr("multipaxos.cli.status.fetch_status", answer)
    table = CliRunner().invoke(status, ["--cluster", "a:1"])
    assert table.exit_code == 0
    assert [column for column in COLUMNS if column in full and str(full[column]) not in table.output] == []


def test_a_node_that_refuses_the_link_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may run another version, or be no node at all."""
    full: dict[str, Any] = {"id": 0, "address": "a:1", "alive": True, "differs": None, "differs_from": []}
    full["cluster_id"] = "7" * 16

    async def answer(address: tuple[str, int]) -> dict[str, Any]:
        if address == ("b", 2):
            raise HandshakeRefused("it speaks version 1")
        return full

    monkeypatch.setattr("multipaxos.cli.status.fetch_status", answer)
    shown = CliRunner().invoke(status, ["--cluster", "a:1,b:2", "--json"])
    refused = {"id": 1, "address": "b:2", "alive": False, "refusal": "it speaks version 1"}
    assert (shown.exit_code, json.loads(shown.output)) == (0, [full, refused])
    table = CliRunner().invoke(status, ["--cluster", "a:1,b:2"])
    assert table.output.splitlines()[-1] == "b:2: it speaks version 1"


def test_what_a_replica_finds_is_said_in_words() -> None:
    row: dict[str, Any] = {"id": 1, "alive": True, "differs": None, "differs_from": [], "cluster_id": "7" * 16}
    assert remarks([row]) == []
    assert "differs from that of node 0, 2" in remarks([row | {"differs_from": [0, 2]}])[0]
    assert "until it is restarted" in remarks([row | {"differs": "minority", "differs_from": [0, 2]}])[0]


def test_a_replica_that_is_outvoted_is_named_once() -> None:
    """Those that differ from it alone are the majority: of them there is nothing to say."""
    row: dict[str, Any] = {"alive": True, "differs": None, "differs_from": [2], "cluster_id": "7" * 16}
    outvoted = row | {"id": 2, "differs": "minority", "differs_from": [0, 1]}
    assert [line[:6] for line in remarks([row | {"id": 0}, row | {"id": 1}, outvoted])] == ["node 2"]


def test_addresses_of_two_clusters_are_told() -> None:
    """A client that meets only one of its addresses cannot tell."""
    row: dict[str, Any] = {"id": 0, "alive": True, "differs": None, "differs_from": []}
    rows = [row | {"cluster_id": f"{id:016x}"} for id in (8, 7, 0, 8)]
    ids = f"{7:016x}, {8:016x}"
    assert remarks(rows) == [f"the addresses are of 2 clusters, {ids}: give those of one cluster"]
    assert remarks(rows[:1] + rows[2:]) == []
