"""`multipaxos serve` and `cluster`: what they refuse, and how."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from multipaxos.cli.serve import load_machine
from multipaxos.errors import ConfigurationError
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


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("def f(:", "SyntaxError"),
        ("raise RuntimeError('at\\nimport')", "RuntimeError: at import"),
        ("import sys; sys.exit(5)", "SystemExit: 5"),
        ("class M:\n    def __init__(self, x): pass", "TypeError: M.__init__() missing"),
        ("class M: pass", "M is not a multipaxos.StateMachine"),
        ("", "module 'failing' has no attribute 'M'"),
    ],
)
def test_a_machine_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, reason: str) -> None:
    """Whatever the user's code raises is one line."""
    (tmp_path / "failing.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing", raising=False)
    with pytest.raises(ConfigurationError) as refused:
        load_machine("failing:M")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_slot_that_no_log_has_is_not_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(GOOD.replace("{port}", str(free_base_port(1))))
    arguments: list[str | Path] = ["--config", path, "--node", "0", "--data-dir", tmp_path / "d", "--yes"]
    result = multipaxos("serve", *arguments, "--refuse-slot", str(1 << 64))
    assert (result.returncode, "Traceback" in result.stderr) == (2, False)
    assert "--refuse-slot" in result.stderr
