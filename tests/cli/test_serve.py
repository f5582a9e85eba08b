"""`multipaxos serve` and `cluster`: what they refuse, and how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from multipaxos.local_cluster import free_base_port
from tests.support.processes import multipaxos

pytestmark = pytest.mark.timeout(180)


GOOD = '[cluster]\nname = "c"\nquorum = "majority"\n[[node]]\nid = 0\naddress = "127.0.0.1:{port}"\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[cluster]\nname = "c"\nquorum = \n', ":3:"),
        (GOOD + '[[node]]\nid = 0\naddress = "127.0.0.1:1"\n', "id"),
        (
            GOOD.replace('"majority"', "{ phase1 = 1, phase2 = 1 }") + '[[node]]\nid = 1\naddress = "127.0.0.1:1"\n',
            "intersect",
        ),
        (GOOD.replace('"majority"', "{ grid = [2, 3] }"), "grid"),
        (GOOD + 'roles = ["replica", "leader"]\n', "acceptor"),
    ],
    ids=["bad TOML", "equal ids", "no intersection", "grid", "no acceptor"],
)
def test_a_configuration_that_cannot_be_run(tmp_path: Path, text: str, reason: str) -> None:
    """It is refused at the start with the reason, code 2."""
    path = tmp_path / "c.toml"
    path.write_text(text.replace("{port}", str(free_base_port(1))))
    result = multipaxos("serve", "--config", path, "--node", "0", "--data-dir", tmp_path / "d")
    assert result.returncode == 2
    assert reason in result.stderr
    assert "Traceback" not in result.stderr


def test_serve_refuses_by_name(tmp_path: Path) -> None:
    """An unknown node, a directory in use, a port that is taken, another cluster's directory."""
    port = free_base_port(2)
    path = tmp_path / "c.toml"
    path.write_text(GOOD.replace("{port}", str(port)))
    arguments = ["serve", "--config", path, "--data-dir", tmp_path / "d", "--node"]
    unknown = multipaxos(*arguments, "7")
    assert (unknown.returncode, "no node 7" in unknown.stderr) == (2, True)
    nowhere = multipaxos(*arguments, "0", "--listen", "127.0.0.1")
    assert (nowhere.returncode, "HOST:PORT" in nowhere.stderr) == (2, True)
    command = [sys.executable, "-m", "multipaxos", *map(str, arguments), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline().startswith("ready node=0")
            second = multipaxos(*arguments, "0")
            assert (second.returncode, str(first.pid) in second.stderr) == (2, True)
            elsewhere = multipaxos("serve", "--config", path, "--data-dir", tmp_path / "e", "--node", "0")
            assert (elsewhere.returncode, str(port) in elsewhere.stderr) == (2, True)
            taken = multipaxos("cluster", "--nodes", "1", "--data-dir", tmp_path / "f", "--base-port", str(port))
            assert (taken.returncode, str(port) in taken.stderr) == (2, True)
        finally:
            first.terminate()
    assert first.returncode == 0
    path.write_text(GOOD.replace("{port}", str(port)).replace('"c"', '"other"'))
    other = multipaxos(*arguments, "0")
    assert (other.returncode, "'c'" in other.stderr) == (2, True)


def test_refusing_a_slot_asks_for_a_yes(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(GOOD.replace("{port}", str(free_base_port(1))))
    result = multipaxos("serve", "--config", path, "--node", "0", "--data-dir", tmp_path / "d", "--refuse-slot", "5")
    assert result.returncode == 2
    assert "a client may have been answered from it" in result.stderr
    assert "--yes" in result.stderr
    assert not (tmp_path / "d").exists()
