"""One direction of one link with a rate, from what a process writes to what arrives: a pipe, then a delay.

Rules. What has left arrives after all that left before it, so a delay holds up what follows.
"""

from __future__ import annotations

from collections.abc import Callable

from multipaxos.simulation.chance import Chance
from multipaxos.simulation.pipe import Pipe, Sent
from multipaxos.simulation.timeline import Timeline


class Stream:
    """One direction. `deliver`: takes bytes that arrive, and the frames that end in them. `held`: is the other side
    out of reach? `on_fallen`, `on_deaf`: as in `pipe.PipeEnd`."""

    def __init__(
        self,
        timeline: Timeline,
        chance: Chance,
        rate: int,
        deliver: Callable[[bytes, list[Sent]], None],
        *,
        held: Callable[[], bool] = lambda: False,
        on_fallen: Callable[[int], None] = lambda backlog: None,
        on_deaf: Callable[[], None] = lambda: None,
    ) -> None:
        self.timeline = timeline
        self.chance = chance
        self.deliver = deliver
        self.is_held = held
        self.on_fallen = on_fallen
        self.on_deaf = on_deaf
        self.arrives_ns = 0  # when what left last arrives
        self.pipe = Pipe(timeline, rate, self)

    def on_chunk(self, chunk: bytes, ended: list[Sent]) -> None:
        """Bytes have left."""
        delay_ns = self.chance.delay_ns(ended[0].kind if ended else "piece")
        self.arrives_ns = max(self.arrives_ns, self.timeline.now_ns + delay_ns)
        self.timeline.after(self.arrives_ns - self.timeline.now_ns, lambda: self.arrive(chunk, ended))

    def arrive(self, chunk: bytes, ended: list[Sent]) -> None:
        """They arrive."""
        for sent in ended:
            sent.arrived_ns = self.timeline.now_ns
        self.deliver(chunk, ended)
