"""The other side of a link, by hand: for tests of transport and server.

Rules. Every test process has a loopback address of its own, so that no two processes want the same port. A wait ends
with a condition, not after a time, and fails after PATIENCE_S.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import uvloop

from multipaxos.client.session import Session
from multipaxos.config.cluster import Config, Quorum
from multipaxos.config.keys import Keys
from multipaxos.config.members import Member
from multipaxos.transport.proof import proof_of
from multipaxos.wire.codec import decode_message, split
from multipaxos.wire.schema import Hello, LinkKind, decode_status_reply, encode_status_request

PATIENCE_S = 30.0
_ports = itertools.count(20_000)


def local_config(nodes: int = 3, name: str = "test", quorum: Quorum = "majority", **times: int) -> Config:
    """A cluster on addresses that no other test uses."""
    pid = os.getpid()
    host = f"127.{1 + (pid >> 16)}.{pid >> 8 & 255}.{pid & 255}"
    listed = tuple(Member(i, f"{host}:{next(_ports)}") for i in range(nodes))
    return Config(name=name, nodes=listed, quorum=quorum, **times)


def run(main: Coroutine[Any, Any, None], *, uv: bool = True) -> None:
    """Runs a test in an event loop of its own: with `uv` of the kind that servers use, else the standard one."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uv else None) as runner:
        runner.run(asyncio.wait_for(main, 3 * PATIENCE_S))


async def until(condition: Callable[[], object], what: str = "") -> None:
    """Waits for a condition."""
    end = asyncio.get_running_loop().time() + PATIENCE_S
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"never came: {what or condition}"
        await asyncio.sleep(0.002)


class RawLink:
    """A TCP connection that sends what the test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.nonce = 77
        self.received = b""
        self.frames: list[bytes] = []

    @classmethod
    async def to(cls, config: Config, node: int, **how: Any) -> RawLink:
        """Connects to a node; nothing is sent yet."""
        target = config.nodes[node]
        return cls(*await asyncio.open_connection(target.host, target.port, **how))

    def send(self, data: bytes) -> None:
        """Sends bytes as they are."""
        self.writer.write(data)

    async def frame(self) -> bytes:
        """Receives the next frame. Raises EOFError at the end."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.frames:
                data = await self.reader.read(1 << 16)
                if not data:
                    raise EOFError
                frames, self.received = split(self.received + data)
                self.frames += frames
        return self.frames.pop(0)

    async def hello(self) -> Hello:
        """Receives the next frame, which is a hello."""
        return Hello.decode(await self.frame())

    async def handshake(self, hello: Hello, keys: Keys = ()) -> Hello:
        """As the side that connects: sends our hello, receives theirs, sends ours again. Returns theirs, which may be a
        refusal."""
        self.send(proved(keys, hello).encode())
        theirs = await self.hello()
        if not theirs.refusal:
            assert theirs.echo == hello.nonce
            self.send(proved(keys, hello, theirs, replace(hello, echo=theirs.nonce)).encode())
        return theirs

    async def status(self, nonce: int) -> tuple[int, str]:
        """Asks for the node's status on a client's link; returns the nonce and the text of the reply. Other frames are
        dropped."""
        self.send(encode_status_request(nonce))
        while decode_message(frame := await self.frame())["kind"] != "status_reply":
            pass
        return decode_status_reply(frame)

    async def ended(self) -> None:
        """Waits until the other side has closed; frames before that are dropped."""
        try:
            while True:
                await self.frame()
        except (EOFError, ConnectionError):
            self.close()

    def close(self) -> None:
        """Closes the connection."""
        self.writer.close()


def proved(keys: Keys, *hellos: Hello) -> Hello:
    """The last of a handshake's hellos, with the proof of the first key if there is one."""
    return replace(hellos[-1], proof=proof_of(keys[0], hellos)) if keys else hellos[-1]


def peer_hello(config: Config, sender: int, **changes: Any) -> Hello:
    """The first hello of an honest peer; `changes` make it less honest."""
    fields: dict[str, Any] = {"cluster": config.name, "configuration": config.charter().digest(), "node": sender,
                              "kind": "peer", "incarnation": 500 + sender, "process": 900 + sender,
                              "nonce": 77}  # fmt: skip
    return Hello(**{**fields, **changes})


def client_hello(kind: LinkKind = "client") -> Hello:
    """The first hello of a client."""
    return Hello(cluster="", kind=kind, nonce=77)


async def ask_status(config: Config, node: int) -> dict[str, Any]:
    """Asks a node for its status, over a link of its own."""
    link = await RawLink.to(config, node)
    await link.handshake(client_hello())
    nonce, text = await link.status(9)
    assert nonce == 9
    link.close()
    return dict(json.loads(text))


class Caller:
    """A client of a node: one session, one command after another."""

    def __init__(self, link: RawLink) -> None:
        self.link = link
        self.session = Session(int.from_bytes(os.urandom(7), "little") | 1)

    @classmethod
    async def to(cls, config: Config, node: int) -> Caller:
        """A client of a node, its handshake done."""
        link = await RawLink.to(config, node)
        assert not (await link.handshake(client_hello())).refusal
        return cls(link)

    async def call(self, payload: bytes) -> tuple[int, bytes]:
        """Sends one command, again and again while the cluster has no leader. Returns (status, answer)."""
        sequence = self.session.submit(payload)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                self.link.send(self.session.output())
                try:
                    async with asyncio.timeout(0.2):
                        answers = self.session.receive(await self.link.frame())
                except TimeoutError:
                    self.session.connected()
                    continue
                for number, status, _, data in answers:
                    if number == sequence:
                        return status, data
                if self.session.rewind_wanted:
                    self.session.rewind()
                    await asyncio.sleep(0.01)


def put(key: bytes, value: bytes) -> bytes:
    """A command of the key-value machine."""
    return b"\3" + len(key).to_bytes(2, "little") + key + value


def get(key: bytes) -> bytes:
    """A command of the key-value machine."""
    return b"\4" + len(key).to_bytes(2, "little") + key
