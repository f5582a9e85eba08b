"""Ports for a cluster on this machine."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from multipaxos import local_cluster
from multipaxos.errors import MultipaxosError
from multipaxos.local_cluster import free_base_port, is_free


def test_free_base_port_gives_ports_that_are_free() -> None:
    base = free_base_port(4)
    assert all(is_free(base + i) for i in range(4))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not is_free(taken.getsockname()[1])


def test_free_base_port_gives_no_ephemeral_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_cluster, "EPHEMERAL", tmp_path / "range")
    for low, high in ((20_000, 65_535), (1024, 40_000), (10_050, 65_535)):
        (tmp_path / "range").write_text(f"{low}\t{high}\n")
        for _ in range(20):
            base = free_base_port(5)
            assert 10_000 <= base <= 65_531
            assert base + 4 < low or base > high
    (tmp_path / "range").write_text("1024 65535")
    with pytest.raises(MultipaxosError, match="outside 1024 to 65535, the ephemeral ports"):
        free_base_port(1)
