"""One wake-up of a core: the time, a verb, then everything that comes out of it.

Theory. Each simulated process, each node of a transcript and of a fuzzer does for its core what the server does: it
calls `tick`, then a verb, then carries out the output. Only what becomes of each effect differs: that is `Effects`.

Rules. Effects come in one order: events, closes, frames, reads, the batch, the job, the failure. An effect may
wake the same core up again (a link that is closed does); the rest of this output is carried out after that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from multipaxos.node.node import Node
from multipaxos.node.output import ApplyJob, Batch, Event, Read
from multipaxos.wire import codec

Act = Callable[[Node], None]
OnBulk = Callable[[int, list[bytes]], None]  # of a link, frames none of which is longer than a cut


class Effects(Protocol):
    """What becomes of the effects of a core."""

    def on_events(self, events: Sequence[Event]) -> None:
        """What the core reports for the log. Called for every output, also without events."""

    def on_close(self, link: int, reason: str) -> None:
        """The core closes a link."""

    def on_frames(self, link: int, frames: list[bytes]) -> None:
        """The core sends frames on a link."""

    def on_read(self, read: Read) -> None:
        """The core wants records; answer with `done`."""

    def on_batch(self, batch: Batch) -> None:
        """The core wants a batch to be durable; answer with `done`."""

    def on_job(self, job: ApplyJob) -> None:
        """The core has commands for the user's machine; answer with `done`."""

    def on_failed(self, why: str) -> None:
        """The core has stopped promising: its process has to end."""


def wake(core: Node, act: Act, now_ns: int, utc_ns: int, effects: Effects, on_bulk: OnBulk | None = None) -> None:
    """One wake-up: `tick`, `act` (one verb, or nothing), the output."""
    core.tick(now_ns, utc_ns)
    act(core)
    carry_out(core, effects, on_bulk)


def carry_out(core: Node, effects: Effects, on_bulk: OnBulk | None = None) -> None:
    """Takes one output and carries it out. Bulk leaves at once and whole, if nobody else takes it (`on_bulk`)."""
    output = core.output()
    is_plain = output.is_plain  # as most are
    effects.on_events(output.events)  # always, and first: some effects look at the core here
    if not is_plain:
        for link, reason in output.closes:
            effects.on_close(link, reason)
    for link, data in output.writes:
        effects.on_frames(link, whole_frames(data))
    for link, pieces in output.bulk:
        if on_bulk is not None:
            on_bulk(link, pieces)
        else:
            effects.on_frames(link, uncut(pieces))
            core.link_backlog(link, 0)
    for read in () if is_plain else output.reads:
        effects.on_read(read)
    if output.batch is not None:
        effects.on_batch(output.batch)
    if not is_plain:
        if output.job is not None:
            effects.on_job(output.job)
        if output.failed:
            effects.on_failed(output.failed)
    if output.bulk and on_bulk is None:
        carry_out(core, effects)  # a core that hears that all has left goes on


def nothing(core: Node) -> None:
    """The act of a wake-up that only lets the core see the time."""


def whole_frames(data: bytes) -> list[bytes]:
    """The frames of what was written in one piece. Raises AssertionError if the last one is incomplete."""
    frames, rest = codec.split(data)
    assert not rest, "half a frame was written"
    return frames


def uncut(frames: list[bytes]) -> list[bytes]:
    """The frames of bulk, pieces put together. Raises AssertionError if the last one is incomplete."""
    whole, pieces = codec.uncut(frames)
    assert not pieces, "half a frame was handed out"
    return whole
