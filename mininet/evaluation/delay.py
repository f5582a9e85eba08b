"""A delay element for kernels without netem: a host's packets wait here, as long as their destination demands.

Theory. A host's packets leave through a veth pair inside the host. This process takes them from the other end and puts
them on the host's real interface when they are due. Packets that the host receives do not pass this element, so each
packet passes one element, its sender's, which delays it for the whole way. Frames are taken with the kernel's header
for offloads (PACKET_VNET_HDR), so large segments and missing checksums pass as they are. Frames that this end itself
sends are not seen again (PACKET_IGNORE_OUTGOING).

Rules. Packets to one destination leave in the order in which they came: jitter never moves a packet before the one
ahead of it. So jitter reorders no stream, and under a dense load the mean delay comes nearer to its maximum. Jitter is
the sum of two uniform draws, one for each of the two links of a star. Packets that the kernel's queues refuse are lost,
as in a network, and counted. Only the standard library is used: this starts in a few milliseconds in every host.

    python -m evaluation.delay --receive IN --send OUT --delay 10.0.0.2=5.0 --jitter-ms 0 --seed 1

It writes one line of JSON when it is ready, on SIGUSR1, and when it ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import ctypes
import heapq
import json
import os
import random
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable
from types import FrameType

SOL_PACKET, PACKET_STATISTICS, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 6, 15, 23
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
ETH_P_ALL = 3
PR_SET_TIMERSLACK = 29
BUFFER_BYTES = 32 << 20
FRAME_BYTES_MAX = 1 << 17
BATCH = 32  # frames taken before the due ones are sent again
LATE_NS = 1_000_000  # a frame that leaves more than this after it was due counts as late
VNET_HEADER, ETHERNET_HEADER = 10, 14
TYPE_AT = slice(VNET_HEADER + 12, VNET_HEADER + 14)
DESTINATION_AT = slice(VNET_HEADER + ETHERNET_HEADER + 16, VNET_HEADER + ETHERNET_HEADER + 20)
IPV4 = b"\x08\x00"


def _socket(interface: str, protocol: int) -> socket.socket:
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    one.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    one.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    one.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    one.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES)
    one.bind((interface, protocol))
    one.setblocking(False)
    return one


class Element:
    """Takes frames from one interface and sends them on another, later. Delays are nanoseconds by IPv4 address."""

    def __init__(
        self, receive: str, send: str, delays_ns: dict[bytes, int], jitter_ns: int = 0, seed: int | None = None
    ) -> None:
        self._receiver = _socket(receive, ETH_P_ALL)
        self._sender = _socket(send, 0)
        self._delays_ns = delays_ns
        self._jitter_ns = jitter_ns
        self._random = random.Random(seed)
        self._waiting: list[tuple[int, int, bytes]] = []  # a heap of (due, number, frame)
        self._last_due_ns: dict[bytes, int] = {}
        self._buffer = bytearray(FRAME_BYTES_MAX)
        self.frames = self.refused = self.overflow = self.late = self.late_ns_max = 0

    def run(self) -> None:
        """Runs for ever: a signal's handler ends it."""
        receivers = [self._receiver]
        while True:
            timeout_s = None
            if self._waiting:
                timeout_s = max(0, self._waiting[0][0] - time.monotonic_ns()) / 1e9
            ready, _, _ = select.select(receivers, [], [], timeout_s)
            if ready:
                self._take(time.monotonic_ns())
            if self._waiting:
                self._release(time.monotonic_ns())

    def _take(self, now_ns: int) -> None:
        """Takes a batch of frames and puts each into the heap; a frame without delay leaves at once if none waits."""
        receive, view = self._receiver.recv_into, memoryview(self._buffer)
        for _ in range(BATCH):
            try:
                size = receive(self._buffer)
            except BlockingIOError:
                return
            self.frames += 1
            due_ns = now_ns + self._delay_ns(now_ns)
            if due_ns <= now_ns and not self._waiting:
                self._send(view[:size])
            else:
                heapq.heappush(self._waiting, (due_ns, self.frames, bytes(view[:size])))

    def _delay_ns(self, now_ns: int) -> int:
        """How long the frame in the buffer waits."""
        if self._buffer[TYPE_AT] != IPV4:
            return 0
        destination = bytes(self._buffer[DESTINATION_AT])
        delay_ns = self._delays_ns.get(destination, 0)
        if not self._jitter_ns:
            return delay_ns
        delay_ns += int(2 * self._jitter_ns * (self._random.random() + self._random.random() - 1))
        due_ns = max(now_ns + delay_ns, now_ns, self._last_due_ns.get(destination, 0))
        self._last_due_ns[destination] = due_ns
        return due_ns - now_ns

    def _release(self, now_ns: int) -> None:
        """Sends all frames that are due."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= now_ns:
            due_ns, _, frame = heapq.heappop(waiting)
            if now_ns - due_ns > self.late_ns_max:
                self.late_ns_max = now_ns - due_ns
            self.late += now_ns - due_ns > LATE_NS
            self._send(frame)

    def _send(self, frame: bytes | memoryview) -> None:
        try:
            self._sender.send(frame)
        except OSError:  # a full queue, or a link that is down: a network loses such a packet, and so does this
            self.refused += 1

    def report(self) -> dict[str, int]:
        """What passed since the start, and what was lost: `overflow` before it was taken, `refused` when it was sent.
        `late`: frames that left late; `late_us_max`: how late at most since the last report."""
        _, overflow = struct.unpack("II", self._receiver.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self.overflow += overflow  # the kernel counts from the last question on
        late_us_max, self.late_ns_max = self.late_ns_max // 1000, 0
        return {
            "frames": self.frames,
            "overflow": self.overflow,
            "refused": self.refused,
            "waiting": len(self._waiting),
            "late": self.late,
            "late_us_max": late_us_max,
        }


def _say(values: dict[str, object] | dict[str, int]) -> None:
    sys.stdout.write(json.dumps(values) + "\n")
    sys.stdout.flush()


def _handler(do: Callable[[], None]) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: do()


def _before_others() -> str:
    """Makes this process run before all that does not run in real time, if that is allowed: neither a wire nor the
    kernel's own delays wait for a free processor."""
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    except OSError:
        return f"nice {os.nice(-15)}"
    return "real time"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Delays what a host sends.")
    parser.add_argument("--receive", required=True, help="the interface whose frames are taken")
    parser.add_argument("--send", required=True, help="the interface on which they go on")
    parser.add_argument("--delay", action="append", default=[], metavar="ADDRESS=MS", help="of one destination")
    parser.add_argument("--jitter-ms", type=float, default=0.0, help="of each of the two links")
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    delays_ns = {}
    for one in options.delay:
        address, delay_ms = one.split("=")
        delays_ns[socket.inet_aton(address)] = round(float(delay_ms) * 1e6)
    scheduled = _before_others()
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)  # timers to the nanosecond, not to 50 us
    element = Element(options.receive, options.send, delays_ns, round(options.jitter_ms * 1e6), options.seed)
    signal.signal(signal.SIGUSR1, _handler(lambda: _say(element.report())))
    signal.signal(signal.SIGTERM, _handler(lambda: sys.exit(0)))
    _say({"ready": True, "scheduled": scheduled})
    try:
        element.run()
    finally:
        _say(element.report())


if __name__ == "__main__":
    main()
