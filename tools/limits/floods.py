"""Floods by one who reaches the port of a node and proves nothing: ``python tools/limits/floods.py partial HOST:PORT``.

Theory. Each flood is a way to make nodes hold memory or time that nobody owes: frames that never end, answers that are
never read, answers that sessions keep, sessions opened for nothing, questions for the status, frames in a layout that
only the slow decoder reads, and commands that can do nothing. A flood is a program of its own with plain sockets, so
that nothing here is kept for a node that does not read, and it leaves the processors to the nodes (nice).

Rules. A flood does its fixed amount of work or lasts `--seconds`, then holds its links for HOLD_S and ends. It prints
one line of JSON: how much it sent, and how many links the node closed. Only for clusters of one's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import socket
import time
from collections.abc import Callable

import click

from multipaxos import commands
from multipaxos.client.session import Session
from multipaxos.config.addresses import parse_address
from multipaxos.transport.handshake import ClientHandshake
from multipaxos.wire import codec, schema
from multipaxos.wire.codec import FRAME_BYTES_MAX, CommandKind

PARTIAL_LINKS = 300
READERS, GETS = 40, 120  # links; answers of 1 MiB on each
KEPT = 1000  # commands of 54 bytes
OPENINGS = 70_000
AT_ONCE = 1000  # commands in a frame
ELEMENTS = 20_000  # of a frame in another layout
CHUNK_BYTES = 64 << 10
STALL_S = 1.0  # a node that takes nothing for so long takes no more
HOLD_S = 2.0
BIG = b"big"  # a key whose value is large: whoever starts a flood has put it


class Wire:
    """A client's link by a plain socket. What is sent counts in `sent`; `closed` if the node ended the link."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.sent = 0
        self.closed = False
        self._socket = socket.socket()
        self._socket.settimeout(5)
        try:
            self._shake_hands(address)
        except OSError:  # the node takes no more links
            self.closed = True
        self._socket.setblocking(False)

    def _shake_hands(self, address: tuple[str, int]) -> None:
        self._socket.connect(address)
        handshake = ClientHandshake("client", secrets.randbits(63) | 1)
        self._socket.sendall(handshake.open())
        while not handshake.done and handshake.failure is None:
            data = self._socket.recv(65536)
            if not data:
                break
            self._socket.sendall(handshake.receive(data))
        self.closed = not handshake.done

    def send(self, data: bytes, *, reading: bool = False) -> bool:
        """Sends all of it, and drops what arrives meanwhile if `reading`. False if the node takes no more of it."""
        view = memoryview(data)
        end_s = time.monotonic() + STALL_S
        while view and not self.closed and time.monotonic() < end_s:
            readable, writable, _ = select.select([self._socket] if reading else [], [self._socket], [], 0.05)
            if readable:
                self.receive()
            if writable:
                with contextlib.suppress(BlockingIOError):
                    count = self._take(view[:CHUNK_BYTES])
                    view, end_s = view[count:], time.monotonic() + STALL_S
        return not view

    def _take(self, view: memoryview) -> int:
        try:
            count = self._socket.send(view)
        except BlockingIOError:
            raise
        except OSError:
            self.closed = True
            return 0
        self.sent += count
        return count

    def receive(self) -> bytes:
        """What has arrived."""
        try:
            data = self._socket.recv(1 << 20)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        self.closed = self.closed or not data
        return data

    def wait(self, seconds: float) -> bytes:
        """What arrives within the time."""
        ready, _, _ = select.select([self._socket], [], [], seconds)
        return self.receive() if ready else b""


def opened(wire: Wire) -> Session:
    """A session over this link, which is open; empty of commands."""
    session = Session(secrets.randbits(64) or 1)
    session.submit(commands.put(b"opened", b""))
    session.connected()
    wire.send(session.output())
    end_s = time.monotonic() + 5
    while session.unanswered and time.monotonic() < end_s and not wire.closed:
        session.receive(wire.wait(0.5))
        wire.send(session.output())
    return session


# -- the floods


def partial(address: tuple[str, int], end_s: float) -> list[Wire]:
    """Frames of the greatest size, of which the last word never comes."""
    words = FRAME_BYTES_MAX // 8 - 1
    frame = bytes(4) + words.to_bytes(4, "little") + bytes(8 * (words - 1))
    wires = [Wire(address) for _ in range(PARTIAL_LINKS)]
    for wire in wires:
        if time.monotonic() < end_s:
            wire.send(frame)
    return wires


def readers(address: tuple[str, int], end_s: float) -> list[Wire]:
    """Links that ask for large values and read no answer."""
    wires = []
    for _ in range(READERS):
        wire = Wire(address)
        session = opened(wire)
        for _ in range(GETS):
            session.submit(commands.get(BIG))
        wire.send(session.output())
        wires.append(wire)
    return wires


def kept(address: tuple[str, int], end_s: float) -> list[Wire]:
    """One session whose small commands have large answers, which the cluster keeps until they are acknowledged."""
    wire = Wire(address)
    session = opened(wire)
    for _ in range(KEPT):
        session.submit(commands.cas(BIG, b"other", b"new"))
    wire.send(session.output())
    return [wire]


def openings(address: tuple[str, int], end_s: float) -> list[Wire]:
    """One link opens many sessions and uses none of them."""
    wire = Wire(address)
    for _ in range(OPENINGS // AT_ONCE):
        opening = [(0, secrets.randbits(64) or 1, int(CommandKind.OPEN_SESSION), 0, b"") for _ in range(AT_ONCE)]
        wire.send(codec.encode_request([*opening]), reading=True)
    return [wire]


def status(address: tuple[str, int], end_s: float) -> list[Wire]:
    """Questions for the status, as fast as the node takes them."""
    return _repeated(address, end_s, schema.encode_status_request(1) * 100)


def foreign(address: tuple[str, int], end_s: float) -> list[Wire]:
    """Valid frames that list their elements in another order, which only the slow decoder reads."""
    root = schema.SCHEMA.Message.new_message(num_first_segment_words=16 * ELEMENTS)
    elements = root.init("request").init("commands", ELEMENTS)
    for index in reversed(range(ELEMENTS)):
        elements[index].session, elements[index].sequence = 1, index + 1
        elements[index].kind, elements[index].payload = "apply", b"12345678"
    return _repeated(address, end_s, root.to_bytes())


def void(address: tuple[str, int], end_s: float) -> list[Wire]:
    """Commands that can do nothing: of a session that never was, to end it, and repeats of answered ones."""
    wire = Wire(address)
    session = opened(wire)
    apply, close = int(CommandKind.APPLY), int(CommandKind.CLOSE_SESSION)
    unknown = [(1, index + 1, apply, 0, b"12345678") for index in range(AT_ONCE)]
    ended = [(1, index + 1, close, 0, b"") for index in range(AT_ONCE)]
    written = [(session.id, 1, apply, 0, commands.put(b"opened", b""), session.nonce)] * AT_ONCE
    read = [(session.id, 2, apply, 0, commands.get(b"opened"), session.nonce)] * AT_ONCE
    frames = codec.encode_request([*unknown, *ended]) + codec.encode_request([*written, *read])
    return [wire, *_repeated(address, end_s, frames)]


def ahead(address: tuple[str, int], end_s: float) -> list[Wire]:
    """Commands of a session before their turn, which only the log can judge: each may take a slot."""
    wire = Wire(address)
    session = opened(wire)
    early = [
        (session.id, 100 + index, int(CommandKind.APPLY), 0, commands.get(b"opened"), session.nonce)
        for index in range(AT_ONCE)
    ]
    return [wire, *_repeated(address, end_s, codec.encode_request([*early]))]


def _repeated(address: tuple[str, int], end_s: float, frames: bytes) -> list[Wire]:
    """The same frames over a few links until the time is over; answers are read."""
    wires = [Wire(address) for _ in range(4)]
    while time.monotonic() < end_s and not all(wire.closed for wire in wires):
        for wire in wires:
            wire.send(frames, reading=True)
    return wires


FLOODS: dict[str, Callable[[tuple[str, int], float], list[Wire]]] = {
    "partial": partial,
    "readers": readers,
    "kept": kept,
    "openings": openings,
    "status": status,
    "foreign": foreign,
    "void": void,
    "ahead": ahead,
}


@click.command()
@click.argument("flood", type=click.Choice(list(FLOODS)))
@click.argument("address")
@click.option("--seconds", type=float, default=5.0, show_default=True, help="Of a flood without a fixed amount.")
def main(flood: str, address: str, seconds: float) -> None:
    """Flood the node at ADDRESS, which must be of a cluster of yours."""
    os.nice(10)
    began_s = time.monotonic()
    wires = FLOODS[flood](parse_address(address), began_s + seconds)
    time.sleep(HOLD_S)
    for wire in wires:
        while not wire.closed and flood != "readers" and wire.wait(0):
            pass
    closed = sum(wire.closed for wire in wires)
    facts = {"flood": flood, "links": len(wires), "closed": closed, "sent_bytes": sum(wire.sent for wire in wires)}
    click.echo(json.dumps({**facts, "seconds": round(time.monotonic() - began_s, 2)}))


if __name__ == "__main__":
    main()
