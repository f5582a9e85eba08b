"""The cluster's key: which files are read, which are refused and with what text, and which clusters need one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from multipaxos.config.cluster import Config
from multipaxos.config.keys import keys_of, read_keys, write_new_key
from multipaxos.config.members import Member
from multipaxos.errors import ConfigurationError

ONE, TWO = bytes(range(32)), bytes(range(32, 64))
LOOPBACK = ("127.0.0.1", 7400)


def key_file(path: Path, text: str, mode: int = 0o600) -> Path:
    """A key file with this text."""
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_new_key_is_random_and_its_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        for name in ("a", "b"):
            write_new_key(tmp_path / name)
    finally:
        os.umask(old)
    (one,), (other,) = read_keys(tmp_path / "a"), read_keys(tmp_path / "b")
    assert len(one) == len(other) == 32
    assert one != other
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    with pytest.raises(ConfigurationError, match="the key file cannot be made: File exists"):
        write_new_key(tmp_path / "a")
    assert read_keys(tmp_path / "a") == (one,)


@pytest.mark.parametrize("form", ["{one}", "{one}\n", "\n{one}\n\n", "{one}\r\n"])
def test_a_file_has_one_key(form: str, tmp_path: Path) -> None:
    assert read_keys(key_file(tmp_path / "key", form.format(one=ONE.hex()))) == (ONE,)
    assert read_keys(key_file(tmp_path / "key", form.format(one=ONE.hex().upper()), 0o400)) == (ONE,)


def test_a_file_may_have_two_keys_in_their_order(tmp_path: Path) -> None:
    assert read_keys(key_file(tmp_path / "key", f"{TWO.hex()}\n{ONE.hex()}\n")) == (TWO, ONE)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601, 0o644])
def test_a_file_that_others_may_use_is_refused(mode: int, tmp_path: Path) -> None:
    path = key_file(tmp_path / "key", ONE.hex(), mode)
    with pytest.raises(
        ConfigurationError, match=f"its mode is {mode:04o}, so others may use the key: chmod 600 {path}"
    ):
        read_keys(path)


@pytest.mark.parametrize(
    "text",
    ["", "\n", ONE.hex()[:-1], ONE.hex() + "0", "g" + ONE.hex()[1:], "\n".join([ONE.hex()] * 3), ONE.hex() * 100, "é"],
)
def test_a_file_with_anything_else_is_refused_and_not_quoted(text: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match="one or two lines of 64 hexadecimal digits and nothing else"
    ) as caught:
        read_keys(key_file(tmp_path / "key", text))
    assert ONE.hex()[:8] not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file or directory; copy it from a node"):
        read_keys(tmp_path / "none")
    with pytest.raises(ConfigurationError, match="must be a regular file"):
        read_keys(tmp_path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ConfigurationError, match="must be a regular file"):
        read_keys(tmp_path / "pipe")


# -- which clusters need one


def cluster(*addresses: str, key: Path | None = None) -> Config:
    """A cluster with nodes at these addresses."""
    return Config("test", tuple(Member(i, address) for i, address in enumerate(addresses)), key_file=key)


@pytest.mark.parametrize("address", ["127.0.0.1:7401", "127.9.9.9:7401", "[::1]:7401", "localhost:7401", "LOCALHOST:7"])
def test_a_cluster_on_one_machine_needs_no_key(address: str) -> None:
    assert keys_of(cluster("127.0.0.1:7400", address), LOOPBACK) == ()


@pytest.mark.parametrize("address", ["10.0.0.1:7401", "[fd00::1]:7401", "0.0.0.0:7401", "node-1:7401", "localhost.x:1"])
def test_a_cluster_that_others_reach_needs_a_key(address: str, tmp_path: Path) -> None:
    text = rf"cluster 'test' needs a key, because {address.replace('[', '.').replace(']', '.')} is not of this machine"
    with pytest.raises(ConfigurationError, match=text):
        keys_of(cluster("127.0.0.1:7400", address), LOOPBACK)
    key = key_file(tmp_path / "key", ONE.hex())
    assert keys_of(cluster("127.0.0.1:7400", address, key=key), LOOPBACK) == (ONE,)


def test_a_node_that_listens_for_others_needs_a_key() -> None:
    with pytest.raises(ConfigurationError, match=r"because 0\.0\.0\.0:7400 is not of this machine alone"):
        keys_of(cluster("127.0.0.1:7400"), ("0.0.0.0", 7400))


def test_a_key_that_is_named_is_read_on_one_machine_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        keys_of(cluster("127.0.0.1:7400", key=tmp_path / "none"), LOOPBACK)
