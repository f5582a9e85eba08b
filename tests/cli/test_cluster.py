"""`multipaxos cluster`: a local cluster in the foreground."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from multipaxos.config.keys import read_keys, write_new_key
from multipaxos.local_cluster import free_base_port, is_free
from tests.support.processes import multipaxos

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_where_its_nodes_are_and_a_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    port = free_base_port(2)
    arguments = ["--nodes", "2", "--data-dir", str(tmp_path), "--storage", "memory", "--base-port", str(port)]
    command = [sys.executable, "-m", "multipaxos", "cluster", *arguments]
    addresses = [f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(4)]
            assert lines == [
                f"node 0 at {addresses[0]}, log {tmp_path}/node0.log\n",
                f"node 1 at {addresses[1]}, log {tmp_path}/node1.log\n",
                f"export MULTIPAXOS_CLUSTER={','.join(addresses)} MULTIPAXOS_KEY_FILE={tmp_path}/cluster.key\n",
                "Ctrl-C ends it\n",
            ]
            assert multipaxos("put", "--cluster", ",".join(addresses), "k", "v").returncode == 0
            assert len(read_keys(tmp_path / "cluster.key")) == 1
        finally:
            process.send_signal(number)
        assert process.wait(60) == 0
    assert is_free(port), "no node is left behind"
    assert is_free(port + 1), "no node is left behind"


def test_what_is_wrong_with_a_directory_or_a_node_is_one_line_and_wrong_use(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir()
    write_new_key(tmp_path / "open" / "cluster.key")
    (tmp_path / "open" / "cluster.key").chmod(0o644)
    for name, text in (
        ("file", f"multipaxos: {tmp_path}/file: File exists; choose a directory that can be written\n"),
        ("open", f"multipaxos: node 0 ended at its start: {tmp_path}/open/cluster.key: its mode is 0644"),
    ):
        port = free_base_port(1)
        ended = multipaxos("cluster", "--nodes", "1", "--data-dir", tmp_path / name, "--base-port", str(port))
        assert (ended.returncode, ended.stderr[: len(text)], ended.stderr.count("\n")) == (2, text, 1)
