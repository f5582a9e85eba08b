"""`multipaxos status`: one row per node, also of nodes that do not answer."""

from __future__ import annotations

import json

from click.testing import CliRunner

from multipaxos.cli.status import status, status_rows
from tests.client.servers import nowhere


def test_a_node_that_does_not_answer_has_a_row_with_what_is_known() -> None:
    row = {"id": 0, "address": "a:1", "alive": True, "leading": True}
    assert status_rows([("a", 1), ("b", 2)], [row, None]) == [row, {"id": 1, "address": "b:2", "alive": False}]


def test_a_dead_cluster_is_shown_as_json_and_as_a_table() -> None:
    host, port = nowhere()
    cluster = ["--cluster", f"{host}:{port}"]
    shown = CliRunner().invoke(status, [*cluster, "--json"])
    assert (shown.exit_code, json.loads(shown.output)) == (0, [{"id": 0, "address": f"{host}:{port}", "alive": False}])
    table = CliRunner().invoke(status, cluster)
    assert table.exit_code == 0
    assert "False" in table.output
