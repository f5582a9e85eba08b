"""The file of a trace: it survives kills, full disks and errors, and never disturbs the node."""

from __future__ import annotations

import contextlib
import logging
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from multipaxos.storage.memory import MemoryStorage
from multipaxos.trace.file import HEADER_LINE, Trace
from tests.support.one_node import OneNode, ballot
from tests.trace.traced import OpenTracedNode, Traced, lines


def test_a_cut_off_line_is_removed_and_the_next_life_appended(path: Path) -> None:
    Traced(path, OneNode(linked=False)).trace.close()
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"at_ns":1,"event":"cut' + b"." * 200_000)  # longer than a block
    Traced(path, OneNode(linked=False)).trace.close()
    assert path.read_bytes().startswith(whole)
    assert [line["event"] for line in lines(path)].count("started") == 2
    assert path.read_bytes().count(HEADER_LINE) == 1


@pytest.mark.parametrize("left", [b"", HEADER_LINE[:9]])
def test_a_kill_while_the_first_line_was_written_does_no_harm(path: Path, left: bytes) -> None:
    path.write_bytes(left)
    Traced(path, OneNode(linked=False)).trace.close()
    assert lines(path)[0]["event"] == "started"


@pytest.mark.parametrize("content", [b"no trace\n", HEADER_LINE.replace(b"2", b"1")])
def test_a_file_that_is_no_trace_is_left_as_it_is(path: Path, caplog: Any, content: bytes) -> None:
    path.write_bytes(content)
    trace = Trace(path, 0, 1)
    trace.add(1, "said")
    trace.close()
    assert trace.ended
    assert path.read_bytes() == content
    assert "it is no trace of version 2" in caplog.text


def test_two_processes_do_not_mix_their_traces(path: Path, caplog: Any) -> None:
    first, second = Trace(path, 0, 1), Trace(path, 1, 2)
    assert (first.ended, second.ended) == (False, True)
    assert "give each node a file of its own" in caplog.text
    first.add(1, "said")
    first.close()
    assert [line["node"] for line in lines(path)] == [0]


@contextlib.contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The kernel refuses larger files, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_ends_the_trace_and_not_the_node(path: Path, caplog: Any) -> None:
    traced = Traced(path, OneNode(linked=False))
    with files_of_at_most(path.stat().st_size + 100):
        traced.one.send(2, "ping", ballot=ballot(1, 2), nonce=3)
    assert traced.trace.ended
    ends = [record for record in caplog.records if "ends here, the node goes on" in record.message]
    assert [record.levelno for record in ends] == [logging.ERROR]
    traced.one.send(2, "ping", ballot=ballot(1, 2), nonce=4)
    assert [message["nonce"] for message in traced.one.take(102) if message["kind"] == "pong"] == [3, 4]
    assert caplog.text.count("ends here") == 1
    assert not path.read_bytes().endswith(b"\n")  # the last line is cut off, and the next life finds it so
    Traced(path, OneNode(linked=False))
    lines(path)


def test_an_error_in_tracing_ends_the_trace_and_not_the_node(path: Path, caplog: Any) -> None:
    node = OneNode(linked=False)
    trace = Trace(path, 0, 1)

    def fails(link: int) -> str:
        raise KeyError(link)

    node.core = OpenTracedNode(node.core, trace, MemoryStorage(), fails)
    node.link(2)
    assert trace.ended
    assert "KeyError(102)" in caplog.text
    node.send(2, "ping", ballot=ballot(1, 2), nonce=3)
    assert node.take(102, "pong")
