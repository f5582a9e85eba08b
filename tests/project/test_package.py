"""What `import multipaxos` provides and what it imports, and what the command line shows in its help."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

import multipaxos
from multipaxos.cli.main import main


def test_every_name_is_there_and_is_its_own() -> None:
    for name in multipaxos.__all__:
        assert getattr(multipaxos, name).__name__ == name
        assert name in dir(multipaxos)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'multipaxos' has no attribute 'Nothing'"):
        multipaxos.Nothing  # noqa: B018
    with pytest.raises(ImportError):
        exec("from multipaxos import Nothing")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import multipaxos", ["client.client", "config.cluster", "server.server", "storage.lmdb"]),
        ("from multipaxos import Client", ["server.server", "storage.lmdb", "node.node"]),
        ("from multipaxos import StorageError", ["client.client", "server.server", "storage.lmdb"]),
    ],
    ids=["package", "client", "error"],
)
def test_an_import_brings_no_more_than_it_needs(code: str, absent: list[str]) -> None:
    program = f"{code}\nimport sys\nprint([name for name in {absent} if 'multipaxos.' + name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_serve_shows_the_storages_that_are_meant_for_use() -> None:
    shown = CliRunner().invoke(main, ["serve", "--help"])
    assert shown.exit_code == 0
    assert "[lmdb|memory]" in shown.output
    assert "test-" not in shown.output
