"""One wake-up of a core: the time, the verb, then the effects in their order."""

import pytest

from multipaxos.node.output import ApplyJob, Batch, Event, Output, Read
from multipaxos.simulation.shell import carry_out, nothing, wake, whole_frames
from multipaxos.wire import codec

FRAMES = [codec.encode("fetch", first=1, end=2), codec.encode("fetch", first=2, end=3)]


class Recorded:
    """A core with one output; and effects that write down what they are asked for."""

    def __init__(self, output):
        self._output = output
        self.seen = []

    def tick(self, now_ns, utc_ns):
        self.seen.append(("tick", now_ns, utc_ns))

    def output(self):
        self.seen.append(("output",))
        return self._output

    def on_events(self, events):
        self.seen.append(("events", [event.text for event in events]))

    def on_close(self, link, reason):
        self.seen.append(("close", link, reason))

    def on_frames(self, link, frames):
        self.seen.append(("frames", link, frames))

    def on_read(self, read):
        self.seen.append(("read", read.token))

    def on_batch(self, batch):
        self.seen.append(("batch", batch.token))

    def on_job(self, job):
        self.seen.append(("job", job.token))

    def on_failed(self, why):
        self.seen.append(("failed", why))


def test_effects_come_in_one_order():
    writes = [(5, b"".join(FRAMES)), (6, FRAMES[0])]
    output = Output(
        writes,
        Batch(1, {}, b""),
        [Read(2, 1, 5, 10)],
        [(9, "why")],
        [Event("a", 0, 0, "b")],
        [],
        "broken",
        ApplyJob(3, [], 0),
    )
    core = Recorded(output)
    wake(core, lambda core: core.seen.append(("verb",)), 10, 20, core)
    assert core.seen == [
        ("tick", 10, 20),
        ("verb",),
        ("output",),
        ("events", ["b"]),
        ("close", 9, "why"),
        ("frames", 5, FRAMES),
        ("frames", 6, FRAMES[:1]),
        ("read", 2),
        ("batch", 1),
        ("job", 3),
        ("failed", "broken"),
    ]


def test_events_are_carried_out_also_when_there_are_none():
    core = Recorded(Output([], None, [], [], [], [], ""))
    nothing(core)
    carry_out(core, core)
    assert core.seen == [("output",), ("events", [])]


def test_half_a_frame_is_a_fault():
    with pytest.raises(AssertionError, match="half a frame"):
        whole_frames(FRAMES[0] + FRAMES[1][:-1])
