"""Measuring a network: round trips, loss and bandwidth between hosts, by sockets that this process has in them.

Theory. One process holds both ends of each measurement, so there is one clock, and no program to start. The kernel of
the host that is asked answers echoes. Bandwidth is measured from the bytes that arrive, in a window after TCP's slow
start and the bucket's first burst. With loss TCP would measure itself and not the link, so datagrams are used then.
Many pairs are measured at once as long as the processor is not the limit.

Rules. This module judges nothing: it returns what it found. It leaves no socket open. Every wait has an end.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from evaluation.host import Host
from evaluation.namespaces import socket_inside

Pair = tuple[int, int]

ECHO, ECHO_REPLY = 8, 0
ECHO_GAP_S = 0.0003  # between two echoes: a burst of them would wait for each other
WINDOW_S = 0.25
WINDOW_BYTES = 300_000  # at least, at any rate: a bucket that was idle gives 15,000 more
RAMP_S, RAMP_ROUND_TRIPS = 0.06, 8  # TCP needs some round trips to fill a link
AT_ONCE_MBIT = 300  # of all pairs together
SEGMENT_BYTES, FRAME_BYTES = 1448, 1514  # of what TCP carries, and what the link carries for it
DATAGRAM_BYTES, DATAGRAM_FRAME_BYTES = 1472, 1514
LOSS_DATAGRAM_BYTES = 32
LOSS_PORTION = 25
SO_RCVBUFFORCE, SO_SNDBUFFORCE = 33, 32
BUFFER_BYTES = 8 << 20


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def _echo(identity: int, number: int, source: int) -> bytes:
    body = struct.pack("!HHQ", identity, number, source)
    return struct.pack("!BBH", ECHO, 0, _checksum(struct.pack("!BBH", ECHO, 0, 0) + body)) + body


@contextlib.contextmanager
def _echo_sockets(hosts: Sequence[Host], indices: set[int]) -> Iterator[dict[int, socket.socket]]:
    with contextlib.ExitStack() as stack:
        sockets = {}
        for index in sorted(indices):
            one = socket_inside(hosts[index].pid, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
            sockets[index] = stack.enter_context(one)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        yield sockets


def round_trips(
    hosts: Sequence[Host], pairs: Sequence[Pair], rounds: int = 1, timeout_s: float = 1.0
) -> dict[Pair, list[int]]:
    """The round trips of `rounds` echoes of each pair, in nanoseconds; fewer, or none, if answers did not come in time.
    A round ends when all pairs have answered, or after the time-out."""
    found: dict[Pair, list[int]] = {pair: [] for pair in pairs}
    identity = int.from_bytes(os.urandom(2), "big")
    with _echo_sockets(hosts, {a for a, _ in pairs}) as sockets:
        for number in range(rounds):
            sent: dict[Pair, int] = {}
            answered: set[Pair] = set()
            deadline_ns = time.monotonic_ns() + int((timeout_s + ECHO_GAP_S * len(pairs)) * 1e9)
            for a, b in pairs:
                sent[a, b] = time.monotonic_ns()
                # if the host's link is down the kernel refuses, and no answer comes
                with contextlib.suppress(OSError):
                    sockets[a].sendto(_echo(identity, number, b), (hosts[b].address, 0))
                _collect(sockets, identity, number, sent, found, answered, ECHO_GAP_S)
            while len(answered) < len(pairs) and (left_ns := deadline_ns - time.monotonic_ns()) > 0:
                _collect(sockets, identity, number, sent, found, answered, left_ns / 1e9)
    return found


def _collect(
    sockets: dict[int, socket.socket],
    identity: int,
    number: int,
    sent: dict[Pair, int],
    found: dict[Pair, list[int]],
    answered: set[Pair],
    timeout_s: float,
) -> None:
    """Takes the answers that have come, after one wait."""
    owners = {one: a for a, one in sockets.items()}
    ready, _, _ = select.select(list(owners), [], [], timeout_s)
    now_ns = time.monotonic_ns()
    for one in ready:
        with contextlib.suppress(BlockingIOError):
            while True:
                message = one.recv(256)[20:]
                if len(message) < 16 or message[0] != ECHO_REPLY:
                    continue
                of, which, b = struct.unpack("!HHQ", message[4:16])
                pair = (owners[one], int(b))
                if (of, which) == (identity, number) and pair in sent and pair not in answered:
                    answered.add(pair)
                    found[pair].append(now_ns - sent[pair])


def echoes(hosts: Sequence[Host], a: int, b: int, count: int) -> None:
    """Sends `count` echoes and waits for no answer, so that the counter of a filter can move."""
    with _echo_sockets(hosts, {a}) as sockets:
        for number in range(count):
            with contextlib.suppress(OSError):
                sockets[a].sendto(_echo(0, number % 65536, b), (hosts[b].address, 0))
            if number % LOSS_PORTION == 0:
                time.sleep(ECHO_GAP_S)


def ring(count: int) -> list[Pair]:
    """Each host with the next one: every link once in each direction."""
    return [(a, (a + 1) % count) for a in range(count)] if count > 1 else []


# -- loss


def arrivals(hosts: Sequence[Host], pairs: Sequence[Pair], count: int, delay_s: float) -> dict[Pair, int]:
    """How many of `count` datagrams arrived, for each pair."""
    arrived = dict.fromkeys(pairs, 0)
    with contextlib.ExitStack() as stack:
        senders, receivers = {}, {}
        for a, b in pairs:
            receivers[a, b] = stack.enter_context(socket_inside(hosts[b].pid, socket.AF_INET, socket.SOCK_DGRAM))
            receivers[a, b].setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 * BUFFER_BYTES)
            receivers[a, b].bind((hosts[b].address, 0))
            receivers[a, b].setblocking(False)
            senders[a, b] = stack.enter_context(socket_inside(hosts[a].pid, socket.AF_INET, socket.SOCK_DGRAM))
            senders[a, b].connect(receivers[a, b].getsockname())
        for start in range(0, count, LOSS_PORTION):
            for pair in pairs:
                for _ in range(min(LOSS_PORTION, count - start)):
                    senders[pair].send(bytes(LOSS_DATAGRAM_BYTES))
                arrived[pair] += _drain(receivers[pair])
        quiet_s = 0.15 + 2 * delay_s
        while True:  # this ends, because no thread sends any more
            ready, _, _ = select.select(list(receivers.values()), [], [], quiet_s)
            if not ready:
                return arrived
            for pair in pairs:
                arrived[pair] += _drain(receivers[pair])


def _drain(receiver: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            receiver.recv(LOSS_DATAGRAM_BYTES)
            count += 1
    return count


# -- bandwidth


def rates_mbit(
    hosts: Sequence[Host], pairs: Sequence[Pair], rate_mbit: float, round_trip_s: float, loss: float
) -> dict[Pair, float]:
    """The bandwidth that the link carried, for each pair: of whole frames, and corrected for the loss."""
    window_s = max(WINDOW_S, WINDOW_BYTES * 8 / (rate_mbit * 1e6))
    ramp_s = RAMP_S + RAMP_ROUND_TRIPS * round_trip_s + 60_000 * 8 / (rate_mbit * 1e6)
    at_once = max(1, int(AT_ONCE_MBIT / rate_mbit))
    found: dict[Pair, float] = {}
    for start in range(0, len(pairs), at_once):
        some = [
            _Transfer(hosts, pair, rate_mbit * 1e6 / 8 * round_trip_s, loss > 0) for pair in pairs[start:][:at_once]
        ]
        try:
            for transfer in some:
                transfer.start()
            time.sleep(ramp_s + window_s)
        finally:
            for transfer in some:  # all of them before the first is waited for: Ctrl-C may end the waiting
                transfer.tell_to_end()
            for transfer in some:
                transfer.end()
        for transfer in some:
            found[transfer.pair] = transfer.rate_mbit(ramp_s, window_s) / (1 - loss)
    return found


@dataclass
class _Transfer:
    """The transfer of one pair, as fast as the link takes it."""

    hosts: Sequence[Host]
    pair: Pair
    in_flight_bytes: float
    datagrams: bool
    _samples: list[tuple[float, int]] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)

    def start(self) -> None:
        """Connects both ends and begins."""
        sender, receiver = self._connected()
        for one in (sender, receiver):
            one.settimeout(0.2)
        for work, one in ((self._send, sender), (self._receive, receiver)):
            thread = threading.Thread(target=work, args=(one,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _connected(self) -> tuple[socket.socket, socket.socket]:
        a, b = (self.hosts[index] for index in self.pair)
        kind = socket.SOCK_DGRAM if self.datagrams else socket.SOCK_STREAM
        sender = socket_inside(a.pid, socket.AF_INET, kind)
        self._sockets.append(sender)
        receiver = socket_inside(b.pid, socket.AF_INET, kind)
        self._sockets.append(receiver)
        with contextlib.suppress(OSError):  # BBR, the default of some machines, pauses now and then; reno never does
            if not self.datagrams:
                sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
        sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, int(128 * 1024 + 2 * self.in_flight_bytes))
        receiver.bind((b.address, 0))
        if self.datagrams:
            receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
            sender.connect(receiver.getsockname())
            return sender, receiver
        receiver.listen(1)
        receiver.settimeout(5)
        sender.settimeout(5)
        sender.connect(receiver.getsockname())
        accepted, _ = receiver.accept()
        self._sockets.append(accepted)
        # closing discards the bytes that wait, so the link is free again at once
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return sender, accepted

    def _send(self, sender: socket.socket) -> None:
        data = bytes(DATAGRAM_BYTES if self.datagrams else 1 << 16)
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                sender.send(data)

    def _receive(self, receiver: socket.socket) -> None:
        buffer, total = bytearray(1 << 17), 0
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                total += receiver.recv_into(buffer)
                self._samples.append((time.monotonic(), total))

    def tell_to_end(self) -> None:
        """Asks the threads to end, and returns at once."""
        self._ended.set()

    def end(self) -> None:
        """Ends the threads, then closes the sockets."""
        self.tell_to_end()
        for thread in self._threads:
            thread.join()
        for one in self._sockets:
            one.close()

    def rate_mbit(self, ramp_s: float, window_s: float) -> float:
        """The bandwidth of the frames that arrived in the window."""
        if not self._samples:
            return 0.0
        begin_s = self._samples[0][0] + ramp_s
        inside = [sample for sample in self._samples if begin_s <= sample[0] <= begin_s + window_s]
        if len(inside) < 2:
            return 0.0
        (first_s, first), (last_s, last) = inside[0], inside[-1]
        # if nothing arrived in the rest of the window, that lowers the rate too
        span_s = max(last_s - first_s, window_s / 2)
        share = DATAGRAM_FRAME_BYTES / DATAGRAM_BYTES if self.datagrams else FRAME_BYTES / SEGMENT_BYTES
        return (last - first) * 8 * share / span_s / 1e6


def all_pairs(count: int) -> list[Pair]:
    """Each two hosts once."""
    return list(itertools.combinations(range(count), 2))
