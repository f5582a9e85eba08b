"""tools/limits: figures and their bars, what the floods send, and cases in small sizes."""

from __future__ import annotations

import asyncio
import importlib
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from multipaxos.wire import codec, schema
from multipaxos.wire.codec import FRAME_BYTES_MAX, CodecError
from tests.support.places import ROOT

LIMITS = ROOT / "tools" / "limits"
CASE_S = 120.0


@pytest.fixture(scope="module")
def part() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of the program."""
    sys.path.insert(0, str(LIMITS))
    yield importlib.import_module
    sys.path.remove(str(LIMITS))


class Taken:
    """In place of a link: keeps what is sent, and has the node close it after the first frames."""

    def __init__(self, address: tuple[str, int] = ("", 0)) -> None:
        self.closed = False
        self.data = b""

    def send(self, data: bytes, *, reading: bool = False) -> bool:
        self.data, self.closed = data, True
        return True


def figures(*words: str) -> dict[str, dict[str, Any]]:
    """Runs the program in small sizes; its figures by name."""
    command = [sys.executable, str(LIMITS), *words, "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CASE_S)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["figure"]: row for row in rows}


def test_a_figure_is_held_against_its_bar(
    part: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = part("watched").Rows("case", 100)
    rows.add("most", 2.0, 2)
    rows.add("too much", 2.1, 2)
    rows.add("least", 0.9, 0.85, least=True)
    rows.add("never reached", None, 3)
    rows.add("said", "words", 0)
    rows.add("no bar", 5)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["holds"] for row in found] == [True, False, True, False, False, None]
    assert all(row["case"] == "case" for row in found)


def test_a_figure_of_a_probe_without_answers_is_none(part: Callable[[str], ModuleType]) -> None:
    summary, ratio = part("probe").summary, part("watched").ratio
    some = summary([0.001, 0.002, 0.004], Counter())
    assert (some["count"], some["p50_ms"], some["max_ms"]) == (3, 2.0, 4.0)
    assert ratio(some, some, "p50_ms") == 1
    assert ratio(summary([], Counter({"NoQuorum": 1})), some, "p99_ms") is None


def test_a_partial_frame_never_ends(part: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    floods = part("floods")
    monkeypatch.setattr(floods, "Wire", Taken)
    wires = floods.partial(("", 0), float("inf"))
    assert len(wires) == floods.PARTIAL_LINKS
    assert codec.split(wires[0].data) == ([], wires[0].data)
    assert FRAME_BYTES_MAX - 16 < len(wires[0].data) < FRAME_BYTES_MAX


def test_a_foreign_frame_is_valid_and_not_in_the_layout_of_the_codec(
    part: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    floods = part("floods")
    monkeypatch.setattr(floods, "Wire", Taken)
    monkeypatch.setattr(floods, "ELEMENTS", 10)
    frame = floods.foreign(("", 0), float("inf"))[0].data
    with pytest.raises(CodecError) as caught:
        codec.decode_message(frame)
    assert caught.value.fault == "foreign"
    assert len(codec.decode_request(schema.flatten(frame))) == 10


def test_a_process_ends_with_the_one_that_started_it(part: Callable[[str], ModuleType]) -> None:
    starts = "import subprocess, tied; subprocess.Popen([*tied.tied(), 'sh', '-c', 'echo up; exec sleep 1000']).wait()"
    process = subprocess.Popen([sys.executable, "-c", starts], cwd=LIMITS, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.kill()
    process.wait()
    assert process.stdout.read() == "", "the pipe ends when the last process does that has it"
    process.stdout.close()
    gone = subprocess.run([sys.executable, LIMITS / "tied.py", "1", "echo", "up"], capture_output=True, timeout=CASE_S)
    assert gone.stdout == b"", "its parent is another process"


def test_a_flood_is_measured() -> None:
    found = figures("flood", "--only", "status")
    assert found["sent_mib"]["value"] > 0
    assert {"elections", "rss_growth_mib", "second_adds_mib", "good_p99_to_before"} <= set(found)


def test_overload_is_measured() -> None:
    found = figures("overload", "--only", "at 2 times")
    assert found["peak_per_s"]["value"] > 0
    assert {"answered_to_peak", "timed_out", "probe_p99_to_before"} <= set(found)


def test_slow_links_are_measured(part: Callable[[str], ModuleType]) -> None:
    if not part("slow_links").may_make_namespaces():
        pytest.skip("network namespaces need root")
    found = figures("large", "--only", "100")
    assert found["carried_to_needed"]["value"] > 1, "each byte is counted"


def test_namespaces_are_removed(part: Callable[[str], ModuleType]) -> None:
    places = part("slow_links")
    if not places.may_make_namespaces():
        pytest.skip("network namespaces need root")
    with places.Net([1e6, 0]) as net:
        names = [*net.names, net.bridge]
        assert all(Path("/run/netns", name).exists() for name in names)
        assert net.sent_bytes() >= [0, 0]
    assert not any(Path("/run/netns", name).exists() for name in names)


def test_a_cluster_over_the_ceiling_is_ended(part: Callable[[str], ModuleType]) -> None:
    watched = part("watched")
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)

    async def follow() -> None:
        watch = watched.Watch(SimpleNamespace(processes={0: process}), ceiling_mib=1)
        await asyncio.to_thread(process.wait, CASE_S)
        with pytest.raises(watched.Over, match="holds"):
            watch.check()
        assert watch.peak_mib >= watch.held_peak_mib > 1

    try:
        asyncio.run(follow())
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
