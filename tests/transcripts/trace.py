"""The trace of a transcript: what the cores did, line by line, in order of time."""

from __future__ import annotations

from dataclasses import dataclass

from multipaxos.simulation.timeline import Timeline

QUIET = frozenset({"ping", "pong", "founding"})  # kinds that the trace leaves out unless a script asks for them


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `kind`: a message's kind, or what sort of event it is. `step`: the directive that was being done."""

    at_ns: int
    step: int
    kind: str
    who: str
    text: str


class Trace:
    """All lines of a run. `step`: the number of the directive that is being done."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.entries: list[Entry] = []
        self.shown: set[str] = set()  # of the quiet kinds, those that a script has asked for
        self.step = 0

    def shows(self, kind: str) -> bool:
        """Is an entry of this kind written?"""
        return kind in self.shown or kind not in QUIET

    def say(self, kind: str, who: str, text: str) -> None:
        """Writes what happens now."""
        if self.shows(kind):
            self.entries.append(Entry(self.timeline.now_ns, self.step, kind, who, text))


def slots(first: int, end: int) -> str:
    """Slots [first, end) in words: ``slot 3``, ``slots 3-5``."""
    return f"slot {first}" if end - first == 1 else f"slots {first}-{end - 1}"
