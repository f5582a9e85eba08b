"""The thread of a user's machine: its depth, its jobs and its end; and nodes whose machine is slow, deep or ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from multipaxos.errors import MachineStopped
from multipaxos.machine.state_machine import Context, StateMachine
from multipaxos.server import machine_thread
from multipaxos.server.machine_thread import DEPTH, Levels, MachineThread
from multipaxos.server.server import Server
from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.storage.memory import MemoryStorage
from tests.server.nodes import OK, REFUSED, one_node, three_nodes
from tests.support.link_by_hand import PATIENCE_S, Caller, run, until

ENOUGH = 1 << 20


class Scripted(StateMachine):
    """Does what the command says. `gate`: what "wait" waits for; `waiting`: how often it has begun to."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.waiting = 0
        self.applied: list[bytes] = []

    def apply(self, command: bytes, context: Context) -> bytes:
        word, _, rest = command.partition(b" ")
        if word == b"wait":
            self.waiting += 1
            assert self.gate.wait(PATIENCE_S), "the test never opened the gate"
        elif word == b"limit":
            sys.setrecursionlimit(int(rest))
        elif word == b"levels":
            return Levels().apply(rest, context)
        elif word == b"json":
            return repr(json.loads(rest)).encode()
        elif word == b"exit":
            sys.exit("this node is over")
        elif word == b"raise":
            raise {b"memory": MemoryError, b"interrupt": KeyboardInterrupt, b"cancel": asyncio.CancelledError}[rest]()
        self.applied.append(command)
        return b"%d" % len(self.applied)

    def snapshot(self) -> Iterator[bytes]:
        return iter(self.applied)

    def restore(self, chunks: Iterable[bytes]) -> None:
        self.applied = list(chunks)


@contextlib.contextmanager
def thread_of(machine: StateMachine, mixed_python: bool = False) -> Iterator[MachineThread]:
    """The thread of a machine; the process gets its recursion limit back."""
    limit = sys.getrecursionlimit()
    thread = MachineThread(machine, mixed_python)
    try:
        yield thread
    finally:
        thread.stop()
        thread.join()
        sys.setrecursionlimit(limit)


def commands(*payloads: bytes) -> list[tuple[int, int, int, int, bytes]]:
    """Commands of the slots from 1 on."""
    return [(slot, 0, 7, 1, payload) for slot, payload in enumerate(payloads, 1)]


# -- depth


def test_apply_has_the_same_depth_wherever_it_is_called_from() -> None:
    with thread_of(Levels()) as thread:
        assert thread.run(commands(b""), 0) == [(False, b"%d" % DEPTH)]

        def deep(levels: int) -> list[tuple[bool, bytes]]:
            return deep(levels - 1) if levels else thread.run(commands(b"", b""), ENOUGH)

        assert deep(300) == [(False, b"%d" % DEPTH)] * 2


def test_a_machine_that_changes_the_limit_changes_nothing_for_the_next_command() -> None:
    with thread_of(Scripted()) as thread:
        [before] = thread.run(commands(b"levels"), 0)
        answers = thread.run(commands(b"limit 5000", b"levels", b"limit 300", b"levels"), ENOUGH)
        assert [answers[1], answers[3]] == [before, before]
        thread.run(commands(b"limit 5000"), 0)
        assert thread.run(commands(b"levels"), 0) == [before]


def test_the_process_keeps_its_size_of_stacks() -> None:
    before = threading.stack_size()
    with thread_of(Scripted()):
        assert threading.stack_size() == before


@pytest.mark.parametrize("count", [100_000, 1_000_000])
def test_brackets_without_end_are_an_answer(count: int) -> None:
    with thread_of(Scripted()) as thread:
        [(refused, text)] = thread.run(commands(b"json " + b"[" * count), 0)
        assert refused
        assert text.startswith(b"RecursionError: ")
        assert thread.run(commands(b"json [[1]]"), 0) == [(False, b"[[1]]")]


def test_where_versions_are_mixed_depth_is_no_answer() -> None:
    with (
        thread_of(Scripted(), mixed_python=True) as thread,
        pytest.raises(MachineStopped, match=r"slot 1 \(session 7, 100005 bytes\): RecursionError"),
    ):
        thread.run(commands(b"json " + b"[" * 100_000), 0)


# -- jobs


def test_a_job_that_takes_long_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_thread, "JOB_S", 0)
    with thread_of(Scripted()) as thread:
        assert thread.run(commands(b"a", b"b"), ENOUGH) == [(False, b"1")]


def test_a_stop_waits_for_one_command() -> None:
    machine = Scripted()
    with thread_of(machine) as thread:
        running = thread.submit(commands(b"wait", b"b"), ENOUGH)
        behind = thread.submit(commands(b"c"), ENOUGH)
        while not machine.waiting:
            pass
        thread.stop()
        assert not running.done()
        machine.gate.set()
        assert running.result() == [(False, b"1")]
        with pytest.raises(CancelledError):
            behind.result()
    assert machine.applied == [b"wait"]


# -- nodes


@contextlib.asynccontextmanager
async def node_of(machine: StateMachine) -> AsyncIterator[Server]:
    """A cluster of one with that machine."""
    async with Server(one_node(), 0, MemoryStorage(), machine) as server:
        await until(lambda: server.facts()["leading"], "a leader")
        yield server


def test_a_node_goes_on_while_its_machine_applies() -> None:
    """It decides, reports its status and answers from its table of sessions; answers come when the machine has them."""
    machine = Scripted()

    async def main() -> None:
        async with node_of(machine) as server:
            caller, other = await Caller.to(server.config, 0), await Caller.to(server.config, 0)
            assert await caller.call(b"a") == (OK, b"1")
            waiting = asyncio.create_task(caller.call(b"wait"))
            await until(lambda: machine.waiting)
            queued = asyncio.create_task(other.call(b"b"))
            await until(lambda: server.facts()["unapplied"] >= 2)
            assert not waiting.done()
            assert not queued.done()
            machine.gate.set()
            assert (await waiting, await queued) == ((OK, b"2"), (OK, b"3"))
            assert server.facts()["unapplied"] == 0
            caller.link.close()
            other.link.close()

    run(main())


@pytest.mark.parametrize(
    ("word", "name"), [(b"memory", "MemoryError"), (b"interrupt", "KeyboardInterrupt"), (b"cancel", "CancelledError")]
)
def test_what_comes_from_outside_the_command_ends_the_node_with_last_words(word: bytes, name: str) -> None:
    machine = Scripted()

    async def main() -> None:
        async with node_of(machine) as server:
            caller = await Caller.to(server.config, 0)
            assert await caller.call(b"a") == (OK, b"1")
            serving = asyncio.create_task(server.serve_forever())
            calling = asyncio.create_task(caller.call(b"raise " + word))
            with pytest.raises(
                MachineStopped, match=rf"slot 3 \(session 1, {6 + len(word)} bytes\): {name}; .*--refuse"
            ):
                await serving
            caller.link.close()
            calling.cancel()

    run(main())


def test_a_stop_waits_for_the_command_that_runs() -> None:
    machine = Scripted()

    async def main() -> None:
        async with node_of(machine) as server:
            caller = await Caller.to(server.config, 0)
            calling = asyncio.create_task(caller.call(b"wait"))
            await until(lambda: machine.waiting)
            stopping = asyncio.create_task(server.stop())
            await asyncio.wait([calling])
            assert not stopping.done()
            machine.gate.set()
            await stopping
        assert not any(thread.name == "machine" for thread in threading.enumerate())

    run(main())


def test_a_poisoned_log_is_answered_alike_by_all_and_again_at_the_next_start(tmp_path: Path) -> None:
    """100,000 brackets and sys.exit, on three nodes with disks; then all start again."""
    config = three_nodes()
    reached: set[tuple[object, object]] = set()  # slot_out and state_hash of each node when all clients were answered

    def states(servers: list[Server]) -> set[tuple[object, object]]:
        return {(server.facts()["slot_out"], server.facts()["state_hash"]) for server in servers}

    async def live(poison: bool) -> None:
        async with contextlib.AsyncExitStack() as stack:
            servers = []
            for node in config.nodes:
                storage = LmdbStorage(tmp_path / str(node.id), config.name, node.id)
                servers.append(await stack.enter_async_context(Server(config, node.id, storage, Scripted())))
            await until(lambda: any(server.facts()["leading"] for server in servers), "a leader")
            if poison:
                answers = [await send(servers, node, b"json " + b"[" * 100_000) for node in range(3)]
                answers += [await send(servers, node, b"exit") for node in range(3)]
                assert [status for status, _ in answers] == [REFUSED] * 6
                assert [text[:10] for _, text in answers] == [b"RecursionE"] * 3 + [b"SystemExit"] * 3
                assert await send(servers, 0, b"a") == (OK, b"1")
                await until(lambda: len(states(servers)) == 1, "one state")
                reached.update(states(servers))
            await until(lambda: states(servers) == reached, "the same state")

    run(live(poison=True))
    run(live(poison=False))


def test_a_cluster_that_one_command_ends_lives_on_without_it(tmp_path: Path) -> None:
    """Nodes end at the slot, and again after the next start, until its command is refused on every one."""
    config = three_nodes()

    async def live(refused_slots: tuple[int, ...], story: Callable[[list[Server]], Awaitable[None]]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            servers = []
            for node in config.nodes:
                storage = LmdbStorage(tmp_path / str(node.id), config.name, node.id)
                server = Server(config, node.id, storage, Scripted(), refused_slots=refused_slots)
                servers.append(await stack.enter_async_context(server))
            await story(servers)

    async def poisoned(servers: list[Server]) -> None:
        await until(lambda: any(server.facts()["leading"] for server in servers), "a leader")
        assert await send(servers, 1, b"a") == (OK, b"1")
        sending = asyncio.create_task(send(servers, 1, b"raise memory"))
        slots.update(await ends(servers))
        sending.cancel()

    async def ended_again(servers: list[Server]) -> None:
        slots.update(await ends(servers))

    async def refused(servers: list[Server]) -> None:
        await until(lambda: any(server.facts()["leading"] for server in servers), "a leader")
        assert await send(servers, 2, b"b") == (OK, b"2")
        await until(lambda: len({server.facts()["state_hash"] for server in servers}) == 1, "one state")
        assert [server.facts()["refused_slots"] for server in servers] == [sorted(slots)] * 3

    slots: set[int] = set()
    run(live((), poisoned))
    run(live((), ended_again))
    assert len(slots) == 1
    run(live(tuple(slots), refused))


async def send(servers: list[Server], node: int, payload: bytes) -> tuple[int, bytes]:
    """One command of a session of its own, by that node."""
    caller = await Caller.to(servers[node].config, node)
    answer = await caller.call(payload)
    caller.link.close()
    return answer


async def ends(servers: list[Server]) -> set[int]:
    """The slots whose commands ended nodes. One node ends at least: the others may not know yet what is decided."""
    await until(lambda: any(server.running.ended.done() for server in servers), "a node that ends")
    errors = [server.running.ended.exception() for server in servers if server.running.ended.done()]
    return {error.slot for error in errors if isinstance(error, MachineStopped)}
