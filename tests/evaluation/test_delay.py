"""The delay element on virtual time: when each frame is due. Real packets pass it in `test_network`."""

from __future__ import annotations

import socket

import pytest

from evaluation import delay

MS = 1_000_000
NEAR, FAR = "10.0.0.1", "10.0.0.2"


class Wire:
    """Stands in for both sockets: the frames to receive, and those that were sent."""

    def __init__(self) -> None:
        self.arrived: list[bytes] = []
        self.sent: list[bytes] = []

    def recv_into(self, buffer: bytearray) -> int:
        if not self.arrived:
            raise BlockingIOError
        frame = self.arrived.pop(0)
        buffer[: len(frame)] = frame
        return len(frame)

    def send(self, frame: bytes | memoryview) -> None:
        self.sent.append(bytes(frame))


def frame(destination: str, number: int) -> bytes:
    """An IPv4 frame with the kernel's header before it and a number as its payload."""
    head = bytearray(delay.DESTINATION_AT.stop)
    head[delay.TYPE_AT] = delay.IPV4
    head[delay.DESTINATION_AT] = socket.inet_aton(destination)
    return bytes(head) + number.to_bytes(4, "big")


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Wire:
    """The wire of the elements that a test makes."""
    made = Wire()
    monkeypatch.setattr(delay, "_socket", lambda interface, protocol: made)
    return made


def passed(wire: Wire, jitter_ms: float, every_ns: int, count: int) -> list[tuple[int, int, bytes]]:
    """(sent, left, frame) of frames to FAR, each taken `every_ns` after the one before it; time moves in 0.01 ms."""
    element = delay.Element("in", "out", {socket.inet_aton(FAR): 8 * MS}, round(jitter_ms * MS), seed=1)
    frames = [frame(FAR, number) for number in range(count)]
    left_ns: list[int] = []
    for now_ns in range(0, count * every_ns + 20 * MS, MS // 100):
        if now_ns % every_ns == 0 and now_ns < count * every_ns:
            wire.arrived.append(frames[now_ns // every_ns])
        element._take(now_ns)
        element._release(now_ns)
        left_ns += [now_ns] * (len(wire.sent) - len(left_ns))
    assert element.late == element.refused == 0
    return [(number * every_ns, left_ns[number], one) for number, one in enumerate(wire.sent)]


def test_a_frame_leaves_when_its_delay_is_over(wire: Wire) -> None:
    assert all(left_ns - sent_ns == 8 * MS for sent_ns, left_ns, _ in passed(wire, 0, MS, 20))


def test_frames_to_other_destinations_do_not_wait(wire: Wire) -> None:
    element = delay.Element("in", "out", {socket.inet_aton(FAR): 8 * MS})
    wire.arrived = [frame(NEAR, 1)]
    element._take(0)
    assert wire.sent == [frame(NEAR, 1)]


def test_jitter_stays_within_its_bounds_and_varies(wire: Wire) -> None:
    """Frames so far apart that none waits for the one before it: two uniform draws of 2 ms each way of 8 ms."""
    waits_ms = [(left_ns - sent_ns) / MS for sent_ns, left_ns, _ in passed(wire, 2.0, 10 * MS, 400)]
    assert min(waits_ms) >= 4.0
    assert max(waits_ms) <= 12.01
    mean_ms = sum(waits_ms) / len(waits_ms)
    assert abs(mean_ms - 8.0) < 0.3
    variance = sum((wait_ms - mean_ms) ** 2 for wait_ms in waits_ms) / len(waits_ms)
    assert variance == pytest.approx(2 * 2.0**2 / 3, rel=0.2)


def test_jitter_keeps_the_order_of_dense_frames(wire: Wire) -> None:
    found = passed(wire, 2.0, MS // 10, 400)
    assert [one for _, _, one in found] == [frame(FAR, number) for number in range(400)]
    assert all(left_ns - sent_ns >= 4 * MS for sent_ns, left_ns, _ in found)


def test_a_frame_that_leaves_late_is_counted(wire: Wire) -> None:
    element = delay.Element("in", "out", {socket.inet_aton(FAR): 8 * MS})
    wire.arrived = [frame(FAR, 1)]
    element._take(0)
    element._release(9 * MS + 1)
    assert (element.late, element.late_ns_max) == (1, MS + 1)
