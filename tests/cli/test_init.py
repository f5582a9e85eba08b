"""`multipaxos init`: the files of a new cluster, and what does not overwrite them."""

from __future__ import annotations

import shlex
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner

from multipaxos.cli.main import main
from multipaxos.config.addresses import parse_cluster
from multipaxos.config.cluster import Config
from multipaxos.config.keys import keys_of, read_keys

NODES = "10.0.0.1:7400,node-2:7400,[fd00::3]:7400"


def init(out: Path, *arguments: str) -> tuple[int, str]:
    """Runs the command; its exit code and what it printed."""
    shown = CliRunner().invoke(main, ["init", "--nodes", NODES, "--out", str(out), *arguments])
    return shown.exit_code, shown.output


def test_the_files_describe_a_cluster_that_can_be_run(tmp_path: Path) -> None:
    out = tmp_path / "a folder"
    code, text = init(out, "--name", "orders")
    assert code == 0
    config = Config.load(out / "cluster.toml")
    assert config.name == "orders"
    assert ",".join(node.address for node in config.nodes) == NODES
    assert config.role_masks() == [7, 7, 7]
    assert config.key_file == out / "cluster.key"
    assert stat.S_IMODE(config.key_file.stat().st_mode) == 0o600
    assert keys_of(config, config.nodes[0].place) == read_keys(out / "cluster.key")
    assert str(out) not in (out / "cluster.toml").read_text(), "the files may be moved together"
    assert read_keys(out / "cluster.key")[0].hex() not in text


def test_it_prints_the_line_to_export(tmp_path: Path) -> None:
    _, text = init(tmp_path / "a folder")
    word, addresses, key = shlex.split(text.splitlines()[-1])
    assert word == "export"
    assert parse_cluster(addresses.removeprefix("MULTIPAXOS_CLUSTER=")) == parse_cluster(NODES)
    assert key == f"MULTIPAXOS_KEY_FILE={tmp_path}/a folder/cluster.key"


@pytest.mark.parametrize("name", ["cluster.toml", "cluster.key"])
def test_nothing_is_overwritten(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    code, text = init(tmp_path)
    assert code == 2
    assert f"{tmp_path / name}" in text
    assert "File exists" in text
    assert (tmp_path / name).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [name], "and nothing is left behind"


def test_what_is_no_cluster_is_refused(tmp_path: Path) -> None:
    for wrong in ("a", "a:1,a:1", "a:1,A:1", "a:0"):
        shown = CliRunner().invoke(main, ["init", "--nodes", wrong, "--out", str(tmp_path / "x")])
        assert shown.exit_code == 2
        assert not (tmp_path / "x").exists()
    assert init(tmp_path / "x", "--name", "")[0] == 2
