"""The asyncio client: against real servers in this process, and against one that misbehaves."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import uvloop

from multipaxos import commands
from multipaxos.client import client as client_module
from multipaxos.client import patience as patience_module
from multipaxos.client.call import Call
from multipaxos.client.client import Client
from multipaxos.client.discovery import fetch_status
from multipaxos.errors import (
    ClientClosed,
    CompareFailed,
    ConfigurationError,
    KeyExists,
    NoQuorum,
    NoSuchKey,
    NotSent,
    Overloaded,
    Refused,
    SessionExpired,
    TooLarge,
)
from multipaxos.server.server import Server
from multipaxos.storage.memory import MemoryStorage
from multipaxos.wire import codec
from multipaxos.wire.schema import Hello
from tests.client.servers import cluster, nowhere
from tests.support.link_by_hand import PATIENCE_S, local_config, until


def on_cluster(story: Callable[[Client], Awaitable[None]], nodes: int = 1) -> None:
    """Plays the story with a client of a new cluster."""

    async def run() -> None:
        async with cluster(nodes) as addresses, Client(addresses, timeout_s=PATIENCE_S) as client:
            await story(client)

    asyncio.run(run())


def test_the_store() -> None:
    """Every method, and what it raises."""

    async def story(kv: Client) -> None:
        first = await kv.put(b"k", b"v")
        assert await kv.get(b"k") == b"v"
        assert await kv.get(b"nothing") is None
        assert await kv.get_versioned(b"k") == (b"v", first)
        with pytest.raises(KeyExists):
            await kv.create(b"k", b"w")
        second = await kv.update(b"k", b"w")
        assert second > first
        with pytest.raises(NoSuchKey, match="nothing"):
            await kv.update(b"nothing", b"w")
        third = await kv.cas(b"k", b"w", b"x")
        assert await kv.cas(b"k", third, b"y") > third
        with pytest.raises(CompareFailed) as failed:
            await kv.cas(b"k", b"other", b"z")
        assert failed.value.value == b"y"
        await kv.create(b"ka", b"1")
        page = await kv.scan(b"k", limit=1)
        assert ([key for key, _, _ in page.pairs], page.more) == ([b"k"], True)
        assert [key async for key, _, _ in kv.scan_all(b"k")] == [b"k", b"ka"]
        done = await kv.transact(
            [commands.exists(b"k"), commands.missing(b"z")], [commands.put(b"z", b"1"), commands.get(b"k")]
        )
        assert done.succeeded
        assert done.answers[1].value == b"y"  # type: ignore[union-attr]
        await kv.remove(b"k")
        with pytest.raises(NoSuchKey):
            await kv.remove(b"k")

    on_cluster(story)


def test_pipelined_commands_keep_their_order() -> None:
    """Calls made in one turn take effect in that order."""

    async def story(kv: Client) -> None:
        versions = await asyncio.gather(*(kv.put(b"k", b"%d" % i) for i in range(500)))
        assert versions == sorted(versions)
        assert await kv.get(b"k") == b"499"

    on_cluster(story, nodes=3)


def test_limits_before_anything_is_sent() -> None:
    """A key or value over its limit never leaves."""

    async def story(kv: Client) -> None:
        for call in (kv.put(b"", b"v"), kv.put(b"k" * 481, b"v"), kv.put(b"k", b"v" * ((1 << 20) + 1))):
            with pytest.raises(TooLarge):
                await call
        with pytest.raises(TooLarge):
            await kv.apply(b"x" * (codec.PAYLOAD_BYTES_MAX + 1))
        assert await kv.put(b"k" * 480, b"v" * (1 << 20))

    on_cluster(story)


def test_what_the_machine_refuses() -> None:
    """The same limits hold at the server, because a caller may build commands by hand."""

    async def story(kv: Client) -> None:
        with pytest.raises(Refused, match="TooLarge"):
            await kv.apply(b"\3" + (481).to_bytes(2, "little") + b"k" * 481 + b"v")
        with pytest.raises(Refused, match="Malformed"):
            await kv.apply(b"")
        assert await kv.put(b"k", b"v")

    on_cluster(story)


def test_a_cancelled_wait_loses_nothing() -> None:
    """The command stays in the session; later commands go on; no future is kept for it."""

    async def story(kv: Client) -> None:
        await kv.put(b"k", b"0")
        waits = [asyncio.ensure_future(kv.put(b"k%d" % i, b"1")) for i in range(50)]
        await asyncio.sleep(0)
        for wait in waits[::2]:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        assert await kv.put(b"k", b"1")
        for i in range(50):
            assert await kv.get(b"k%d" % i) in ((b"1",) if i % 2 else (b"1", None))
        assert not kv._waiting

    on_cluster(story)


def test_no_node_answers() -> None:
    """No node at all: NoQuorum, with what was tried; the client can be closed."""

    async def run() -> None:
        async with Client([nowhere()], timeout_s=0.3) as kv:
            with pytest.raises(NoQuorum, match=r"no answer in 0\.3 s"):
                await kv.put(b"k", b"v")

    asyncio.run(run())


def test_closing_fails_what_is_in_flight() -> None:
    """ClientClosed for calls that wait and for later calls."""

    async def run() -> None:
        kv = Client([nowhere()])
        with pytest.raises(ClientClosed):
            await kv.put(b"k", b"v")
        async with kv:
            wait = asyncio.ensure_future(kv.put(b"k", b"v"))
            await until(lambda: kv._session.unanswered)
        with pytest.raises(ClientClosed):
            await wait

    asyncio.run(run())


class Moody:
    """A server of the test's own: `handle` decides what it answers to each request."""

    def __init__(
        self, handle: Callable[[dict[str, object], Callable[[bytes], None]], None], cluster: str = "x", node: int = 0
    ) -> None:
        self.handle = handle
        self.cluster = cluster
        self.node = node

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The handshake, then requests."""
        pending = b""
        greeted = False
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                frames, pending = codec.split(pending + data)
                for frame in frames:
                    if codec.decode_message(frame)["kind"] == "hello":
                        if not greeted:
                            greeted = True
                            nonce = Hello.decode(frame).nonce
                            writer.write(
                                Hello(
                                    cluster=self.cluster, cluster_id=7, node=self.node, nonce=5, echo=nonce, kind="peer"
                                ).encode()
                            )
                    else:
                        self.handle(codec.decode_message(frame), writer.write)
        writer.close()


def with_moody(
    handle: Callable[[dict[str, object], Callable[[bytes], None]], None],
    story: Callable[[Client], Awaitable[None]],
    retry_s: float = 0.1,
) -> None:
    """Plays the story with a client of a moody server."""

    async def run() -> None:
        server = await asyncio.start_server(Moody(handle).serve, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()[:2]
        async with Client([address], timeout_s=PATIENCE_S, retry_s=retry_s) as kv:
            await story(kv)
        server.close()
        await server.wait_closed()

    asyncio.run(run())


def opened(command: dict[str, object], session: int = 3) -> bytes:
    """The answer to an opening."""
    return codec.encode_response(session, [(command["sequence"], session, 2, b"")])


def with_two_sessions(expired_slot: int, story: Callable[[Client], Awaitable[None]]) -> None:
    """A cluster that does not know the first session any more, as it says with `expired_slot`; commands of the second
    one are decided from slot 11 on."""
    sessions = [3, 9]

    def handle(message: dict[str, object], write: Callable[[bytes], None]) -> None:
        for command in message["commands"]:  # type: ignore[attr-defined]
            if command["kind"] == 2:
                write(opened(command, sessions.pop(0)))
            elif command["session"] == 3:
                write(codec.encode_response(3, [(command["sequence"], expired_slot, 4, b"")]))
            else:
                write(codec.encode_response(9, [(command["sequence"], 10 + command["sequence"], 0, b"\0")]))

    with_moody(handle, story)


def test_a_node_that_closes_every_link_is_asked_with_pauses() -> None:
    """As a replica does whose state differs from that of a majority."""
    requests = []

    def handle(message: dict[str, object], write: Callable[[bytes], None]) -> None:
        requests.append(message)
        raise ConnectionAbortedError

    async def story(kv: Client) -> None:
        with pytest.raises(NoQuorum, match="node 0 closed the link"):
            await kv.put(b"k", b"v", timeout_s=0.5)

    with_moody(handle, story)
    assert 2 <= len(requests) <= 0.5 / client_module.POLL_S + 1


def test_a_call_times_out_that_begins_when_the_client_has_just_stopped_to_count_time() -> None:
    """Between two calls nothing is unanswered: time is counted again from the next one on."""

    def handle(message: dict[str, object], write: Callable[[bytes], None]) -> None:
        for command in message["commands"]:  # type: ignore[attr-defined]
            if command["kind"] == 2:
                write(opened(command))
            elif command["sequence"] == 1:
                write(codec.encode_response(3, [(1, 10, 0, b"\0")]))

    async def story(kv: Client) -> None:
        await kv.put(b"k", b"answered")
        assert kv._ticking is not None
        kv._ticking.cancel()
        kv._tick()
        assert kv._ticking is None
        assert kv._work.is_set()
        kv.timeout_s = 0.2
        with pytest.raises(NoQuorum):
            await asyncio.wait_for(kv.put(b"k", b"never answered"), 10)

    with_moody(handle, story)


def test_an_expired_session_is_reported_and_a_new_one_goes_on() -> None:
    """SessionExpired for what was in flight; the next call opens a new session."""

    async def story(kv: Client) -> None:
        with pytest.raises(SessionExpired):
            await kv.put(b"k", b"v")
        assert await kv.put(b"k", b"v") == 11

    with_two_sessions(4, story)


def test_an_idle_client_whose_session_was_evicted_sees_no_error() -> None:
    """The command was not proposed, so it goes on in a new session; the others that were sent with it, too."""

    async def story(kv: Client) -> None:
        assert await asyncio.gather(kv.put(b"k", b"v"), kv.put(b"k", b"w")) == [11, 12]

    with_two_sessions(0, story)


def test_nor_does_one_that_was_answered_through_a_follower(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the pause its command goes to the leader alone: two nodes could have proposed it."""
    sessions = [3, 9]
    heard: dict[int, list[object]] = {0: [], 1: []}

    def handle(node: int, message: dict[str, object], write: Callable[[bytes], None]) -> None:
        """Node 1 opens the first session, answers its first command and says who leads; node 0 does not know it."""
        for command in message["commands"]:  # type: ignore[attr-defined]
            session, sequence = command["session"], command["sequence"]
            if command["kind"] == 2:
                write(opened(command, sessions.pop(0)))
                continue
            heard[node].append((session, sequence))
            expired = session == 3 and node == 0
            write(codec.encode_response(session, [(sequence, 0 if expired else 10, 4 if expired else 0, b"\0")]))
            write(codec.encode("leading", ballot=1 << 24))

    async def run() -> None:
        servers = [
            await asyncio.start_server(Moody(partial(handle, node), node=node).serve, "127.0.0.1", 0) for node in (0, 1)
        ]
        monkeypatch.setattr(client_module.secrets, "randbelow", lambda end: 0)  # place 1 is tried first
        places = [each.sockets[0].getsockname()[:2] for each in servers]
        async with Client(places, timeout_s=PATIENCE_S, retry_s=PATIENCE_S) as kv:
            assert await kv.put(b"k", b"v") == 10
            await asyncio.sleep(5 * client_module.POLL_S)
            assert await kv.put(b"k", b"w") == 10
        for each in servers:
            each.close()
            await each.wait_closed()

    asyncio.run(run())
    assert (heard[1][0], (3, 2) in heard[1]) == ((3, 1), False)
    assert heard[0][:2] == [(3, 2), (9, 1)]


def test_a_list_of_two_clusters_is_refused() -> None:
    """Whichever node is met first, and at every later call too."""

    def handle(message: dict[str, object], write: Callable[[bytes], None]) -> None:
        """Never answers, so the client tries the other address."""

    async def run() -> None:
        servers = [await asyncio.start_server(Moody(handle, name).serve, "127.0.0.1", 0) for name in ("x", "y")]
        async with Client([each.sockets[0].getsockname()[:2] for each in servers], retry_s=0.05) as kv:
            for _ in range(2):
                with pytest.raises(ConfigurationError, match="of two clusters"):
                    await kv.put(b"k", b"v")
        for each in servers:
            each.close()
            await each.wait_closed()

    asyncio.run(run())


def test_a_client_that_outlives_its_cluster_goes_on_in_the_next_one() -> None:
    """All nodes lose their memory: what the client does then is not taken for the session of another client."""

    async def run() -> None:
        config = local_config(1)
        address = (config.nodes[0].host, config.nodes[0].port)
        async with Client([address], timeout_s=PATIENCE_S, retry_s=0.1) as kv:
            async with Server(config, 0, MemoryStorage()):
                assert await kv.put(b"k", b"old") == 2
            async with Server(config, 0, MemoryStorage()), Client([address], timeout_s=PATIENCE_S) as other:
                assert await other.put(b"l", b"theirs") == 2
                assert await kv.get(b"k") is None
                assert await kv.put(b"k", b"new") > 2
                assert [await other.get(b"k"), await other.get(b"l")] == [b"new", b"theirs"]

    asyncio.run(run())


def test_a_client_that_ends_closes_its_session() -> None:
    """Also one that has done nothing but read, and one that is cut off from its node in between."""

    async def run() -> None:
        async with cluster() as addresses:
            for _ in range(3):
                async with Client(addresses, timeout_s=PATIENCE_S) as kv:
                    await kv.put(b"k", b"v" * 1000)
                    kv._drop_link()
                    await kv.get(b"k")
            status = await fetch_status(addresses[0])
            assert status is not None
            assert (status["sessions"], status["kept_bytes"]) == (0, 0)

    asyncio.run(run())


def test_repeated_late_and_missing_answers() -> None:
    """Every second answer is lost, every other arrives twice: the client asks again and takes each answer once."""
    count = 0

    def handle(message: dict[str, object], write: Callable[[bytes], None]) -> None:
        nonlocal count
        for command in message["commands"]:  # type: ignore[attr-defined]
            if command["kind"] == 2:
                write(opened(command))
                continue
            count += 1
            if count % 2:
                answer = codec.encode_response(3, [(command["sequence"], 100 + command["sequence"], 0, b"\0")])
                write(answer + answer)

    async def story(kv: Client) -> None:
        assert [await kv.put(b"k", b"v") for _ in range(4)] == [101, 102, 103, 104]

    with_moody(handle, story)


def test_overloaded_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bounds a call waits for room, or raises Overloaded."""
    monkeypatch.setattr(client_module, "OUTSTANDING_MAX", 2)
    held: list[Callable[[], None]] = []
    two = asyncio.Event()

    def handle(message: dict[str, object], write: Callable[[bytes], None]) -> None:
        for command in message["commands"]:  # type: ignore[attr-defined]
            if command["kind"] == 2:
                write(opened(command))
            else:
                if held:
                    two.set()
                held.append(lambda c=command: write(codec.encode_response(3, [(c["sequence"], 9, 0, b"\0")])))  # type: ignore[misc]

    async def story(kv: Client) -> None:
        waits = [asyncio.ensure_future(kv.put(b"k", b"v")) for _ in range(3)]
        await two.wait()
        with pytest.raises(Overloaded):
            await kv.apply(b"x", wait=False)
        while not all(wait.done() for wait in waits):
            while held:
                held.pop(0)()
            await asyncio.sleep(0.005)
        assert [wait.result() for wait in waits] == [9, 9, 9]

    with_moody(handle, story)


def test_a_client_that_is_refused_narrows_what_it_keeps_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    """And grows again with the answers. Meanwhile a call that does not wait is refused by the client itself."""
    monkeypatch.setattr(client_module, "OUTSTANDING_MAX", 256)
    seen: list[int] = []
    refusals = 3

    def handle(message: dict[str, object], write: Callable[[bytes], None]) -> None:
        nonlocal refusals
        found = [command["sequence"] for command in message["commands"] if command["kind"] != 2]  # type: ignore[attr-defined]
        write(b"".join(opened(each) for each in message["commands"] if each["kind"] == 2))  # type: ignore[attr-defined]
        seen.append(len(found))
        if found:
            status = 5 if refusals else 0
            refusals -= bool(refusals)
            write(codec.encode_response(3, [(sequence, 9, status, b"" if status else b"\0") for sequence in found]))

    async def story(kv: Client) -> None:
        widest = kv._window.commands
        calls = [kv.put(b"k", b"v") for _ in range(widest)]
        await until(lambda: kv._window.commands < widest)
        refused = kv.apply(b"x", wait=False)
        assert isinstance(refused.exception(), Overloaded)
        assert await asyncio.gather(*calls) == [9] * widest
        assert max(seen) <= widest
        assert widest // 8 < kv._window.commands < widest // 2
        for _ in range(100):
            await asyncio.gather(*(kv.put(b"k", b"v") for _ in range(kv._window.commands)))
        assert kv._window.commands == widest

    with_moody(handle, story, retry_s=PATIENCE_S)


class Counter:
    """A server that keeps requests until the test answers them. `values`: those that came, in the order of arrival."""

    def __init__(self) -> None:
        self.values: list[bytes] = []
        self.held: list[Callable[[], None]] = []

    def handle(self, message: dict[str, object], write: Callable[[bytes], None]) -> None:
        """Opens sessions, and keeps commands."""
        for command in message["commands"]:  # type: ignore[attr-defined]
            if command["kind"] == 2:
                write(opened(command))
            elif command["kind"] == 4:
                write(codec.encode_response(3, [(command["sequence"], 9, 0, b"")]))
            else:
                self.values.append(command["payload"][4:])
                answer = codec.encode_response(3, [(command["sequence"], 9, 0, b"\0")])
                self.held.append(lambda answer=answer: write(answer))  # type: ignore[misc]

    def answer(self) -> None:
        """Answers the oldest command."""
        self.held.pop(0)()


def begin(kv: Client, values: list[int], **how: float) -> list[asyncio.Future[int]]:
    """Puts at once."""
    return [asyncio.ensure_future(kv.put(b"k", b"%d" % value, **how)) for value in values]


def test_waiters_get_room_first_in_first_out_as_many_as_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer lets one in; three answers in one turn let three in."""
    monkeypatch.setattr(client_module, "OUTSTANDING_MAX", 3)
    server = Counter()

    async def story(kv: Client) -> None:
        calls = begin(kv, list(range(8)))
        await until(lambda: len(server.held) == 3)
        late = begin(kv, [8])
        server.answer()
        await until(lambda: len(server.held) == 3)
        assert server.values == [b"0", b"1", b"2", b"3"]
        for _ in range(3):
            server.answer()
        await until(lambda: len(server.held) == 3)
        while not all(call.done() for call in calls + late):
            if server.held:
                server.answer()
            await asyncio.sleep(0)
        assert server.values == [b"%d" % i for i in range(9)]
        assert len(kv._queue) == 0

    with_moody(server.handle, story, retry_s=PATIENCE_S)


def test_the_default_time_out_counts_from_room_and_a_callers_from_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in flight at a time: each answer takes a third of the time-out, all together four of it."""
    monkeypatch.setattr(client_module, "OUTSTANDING_MAX", 1)
    server = Counter()

    async def story(kv: Client) -> None:
        kv.timeout_s = 0.6
        calls = begin(kv, list(range(12)))
        await asyncio.sleep(0)
        impatient = begin(kv, [12], timeout_s=0.05)
        began_s = asyncio.get_running_loop().time()
        while not all(call.done() for call in calls):
            await until(lambda: server.held or all(call.done() for call in calls))
            await asyncio.sleep(0.2)
            while server.held:
                server.answer()
        assert [call.result() for call in calls] == [9] * 12
        assert asyncio.get_running_loop().time() - began_s > 2 * kv.timeout_s
        with pytest.raises(NotSent, match=r"no answer in 0\.05 s.*was not sent"):
            await impatient[0]
        assert server.values == [b"%d" % i for i in range(12)]  # what timed out before it had room was not sent

    with_moody(server.handle, story, retry_s=PATIENCE_S)


def test_nobody_waits_for_room_for_ever_when_nothing_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "OUTSTANDING_MAX", 1)
    server = Counter()

    async def story(kv: Client) -> None:
        kv.timeout_s = 0.2
        sent, waiting = begin(kv, [0, 1])
        with pytest.raises(NoQuorum, match="may yet take effect") as told:
            await sent
        assert not isinstance(told.value, NotSent)
        with pytest.raises(NotSent, match="was not sent"):
            await waiting
        assert server.values == [b"0"]

    with_moody(server.handle, story, retry_s=PATIENCE_S)


def test_a_closed_client_says_what_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "OUTSTANDING_MAX", 1)
    server = Counter()

    async def story(kv: Client) -> None:
        sent, waiting = begin(kv, [0, 1])
        await until(lambda: server.held)
        await kv.close()
        with pytest.raises(ClientClosed, match="the outcome is unknown"):
            await sent
        with pytest.raises(ClientClosed, match="it has no effect"):
            await waiting

    with_moody(server.handle, story, retry_s=PATIENCE_S)


def test_the_earliest_of_the_callers_time_outs_counts() -> None:
    """Whatever the order of the calls; all of them share one timer, which ends with the last."""
    server = Counter()

    async def story(kv: Client) -> None:
        ended: list[float] = []
        for timeout_s in (0.2, 0.05, 60.0, 0.1):
            (call,) = begin(kv, [0], timeout_s=timeout_s)
            call.add_done_callback(lambda _, timeout_s=timeout_s: ended.append(timeout_s))
        await until(lambda: len(ended) == 3)
        assert ended == [0.05, 0.1, 0.2]
        assert kv._alarm is not None
        await until(lambda: len(server.held) == 4)
        while server.held:
            server.answer()
        await until(lambda: len(ended) == 4)
        assert list(kv._deadlines.due(0.0)) == []
        assert len(kv._deadlines) == 0

    with_moody(server.handle, story, retry_s=PATIENCE_S)


@pytest.mark.parametrize("loop_factory", [None, uvloop.new_event_loop])
def test_time_outs_that_are_over_at_once(loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> None:
    """Of calls that are made together; some event loops give them no timer."""

    async def story() -> None:
        async with Client([nowhere()]) as kv:
            calls = [kv.put(b"k", b"v", timeout_s=timeout_s) for timeout_s in (0.001, 0.0, -1.0, 0.0001, 0.002)]
            for call in calls:
                with pytest.raises(NoQuorum):
                    await call

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(story())


def test_a_cancelled_call_that_had_no_room_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "OUTSTANDING_MAX", 1)
    server = Counter()

    async def story(kv: Client) -> None:
        first, second, third = begin(kv, [0, 1, 2])
        await until(lambda: server.held)
        second.cancel()
        server.answer()
        await until(lambda: server.held)
        server.answer()
        assert (await first, await third, server.values) == (9, 9, [b"0", b"2"])

    with_moody(server.handle, story, retry_s=PATIENCE_S)


def test_time_in_which_the_loop_did_not_run_is_nobodys_silence() -> None:
    """The answer has arrived meanwhile: neither is the link left nor does the call time out."""
    server = Counter()

    async def story(kv: Client) -> None:
        kv.timeout_s = 0.4
        (call,) = begin(kv, [0])
        await until(lambda: server.held)
        server.answer()
        time.sleep(1.0)  # noqa: ASYNC251
        assert (await call, server.values) == (9, [b"0"])

    with_moody(server.handle, story, retry_s=0.3)


def test_a_slow_upload_arrives_over_one_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes several times as long as a node may be silent."""
    monkeypatch.setattr(patience_module, "CARRIED_BYTES_PER_S", 1 << 40)
    links = 0
    server = Counter()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal links
        links += 1
        slow = asyncio.StreamReader(limit=1 << 16)
        serving = asyncio.ensure_future(Moody(server.handle).serve(slow, writer))
        while data := await reader.read(1 << 14):
            slow.feed_data(data)
            if len(data) == 1 << 14:
                await asyncio.sleep(0.02)
            while server.held:
                server.answer()
        slow.feed_eof()
        await serving

    async def run() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 15)
            served = await asyncio.start_server(serve, sock=listening, limit=1 << 14)
            async with Client([listening.getsockname()[:2]], timeout_s=PATIENCE_S, retry_s=0.3) as kv:
                began_s = asyncio.get_running_loop().time()
                call = asyncio.ensure_future(kv.put(b"k", b"v" * (1 << 20)))
                while not call.done():
                    await asyncio.sleep(0.01)
                    while server.held:
                        server.answer()
                assert await call == 9
                assert asyncio.get_running_loop().time() - began_s > 2 * kv.retry_s
            served.close()
            await served.wait_closed()

    asyncio.run(run())
    assert links == 1


def test_many_calls_at_once_are_all_answered() -> None:
    """More than there is room for, many times over."""

    async def story(kv: Client) -> None:
        count = 4 * client_module.OUTSTANDING_MAX
        versions = await asyncio.gather(*(kv.put(b"k%d" % (i % 100), b"v") for i in range(count)))
        assert versions == sorted(versions)
        assert len(set(versions)) == count
        assert (len(kv._queue), len(kv._waiting), len(kv._due)) == (0, 0, 0)

    on_cluster(story)


def test_the_collector_does_not_walk_over_calls_that_wait() -> None:
    """Nor over answered ones: a million calls at once would cost it their number again and again."""
    count = 4 * client_module.OUTSTANDING_MAX

    def seen() -> int:
        return sum(isinstance(each, Call) for each in gc.get_objects())

    async def story(kv: Client) -> None:
        calls = [kv.put(b"k", b"v") for _ in range(count)]
        together = asyncio.gather(*calls)
        assert seen() <= client_module.OUTSTANDING_MAX
        await together
        assert seen() == 0

    on_cluster(story)


def test_calls_are_tasks_of_a_group_too() -> None:
    """And can be built in another thread."""

    async def story(kv: Client) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(kv.put(b"k", b"%d" % i)) for i in range(10)]
        assert sorted(task.result() for task in tasks) == [task.result() for task in tasks]
        loop = asyncio.get_running_loop()
        got = await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(kv.get(b"k"), loop).result(PATIENCE_S))
        assert got == b"9"

    on_cluster(story)


def test_nothing_is_left_behind() -> None:
    """No task survives its client."""

    async def run() -> None:
        async with cluster() as addresses:
            for _ in range(5):
                async with Client(addresses) as kv:
                    await kv.put(b"k", b"v")
            gc.collect()
            names = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
            assert not any("Client" in name for name in names)

    asyncio.run(run())
