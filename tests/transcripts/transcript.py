"""Golden transcripts: a script of the protocol with the trace that the real core gave, kept as text.

Theory. A transcript reads like a play. Directives say what happens to the cluster; the indented lines below each
directive say what the cores did then. `play` runs the directives and returns the text that the file should have; a
difference is a change of the protocol's behaviour, which a person has to judge. The diagrams in docs/diagrams are drawn
from the same runs.

A file is made of
- its first line, the title, underlined with ``=``;
- header lines ``key: value``: `draw` (kinds of events that its picture shows besides messages and elections, and,
  after a minus, kinds that it leaves out), `draw from`, `draw to` (directives with which the picture begins and ends);
- prose, kept as it is: it does not begin with blanks or ``>``;
- directives, one a line: ``> alice sends x=1`` (`tests/transcripts/language.py` has them all);
- below each directive its trace, indented: times in ms, ``n0 -> n1`` leaves, ``n1 <- n0`` arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from multipaxos.diagram.layout import Message, Note
from multipaxos.diagram.picture import draw
from multipaxos.errors import MultipaxosError
from multipaxos.simulation.timeline import MS
from tests.transcripts.language import begin, perform
from tests.transcripts.network import ARRIVED, ScriptError
from tests.transcripts.stage import Stage
from tests.transcripts.trace import Entry

PLACE = Path(__file__).resolve().parent
HEADERS = ("draw", "draw from", "draw to")
DRAWN_EVENTS = frozenset({"event", "crash", "restart", "cut", "decided"})  # in every picture
EVENTS = DRAWN_EVENTS | {"scene", "synced", "applied", "answered", "read"}


class TranscriptError(Exception):
    """A transcript that cannot be played; the text begins with file and line."""


@dataclass(slots=True)
class Step:
    """A directive and the number of its line, from 1."""

    line: int
    text: str


@dataclass(slots=True)
class Transcript:
    """A file: its lines without the traces, and the parts that they have."""

    name: str
    title: str
    lines: list[str]
    steps: list[Step]
    header: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Transcript:
        """From a file."""
        lines = path.read_text(encoding="utf-8").splitlines()
        title = lines[0] if lines else ""
        if len(lines) < 2 or not title or lines[1] != "=" * len(title):
            raise TranscriptError(f"{path.name}:1: a transcript begins with its title, underlined with =")
        header: dict[str, str] = {}
        kept, steps = [], []
        for number, line in enumerate(lines, 1):
            if line.startswith(" "):
                continue  # of the trace
            kept.append(line)
            key, colon, value = line.partition(": ")
            if line.startswith("> "):
                steps.append(Step(number, line[2:]))
            elif colon and key in HEADERS:
                header[key] = value
        if not steps:
            raise TranscriptError(f"{path.name}:{len(lines)}: no directive, such as '> cluster 3'")
        return cls(path.stem, title, kept, steps, header)


def paths() -> list[Path]:
    """Every transcript."""
    return sorted(PLACE.glob("*.txt"))


def run(transcript: Transcript) -> Stage:
    """Performs all directives. Raises TranscriptError, which names the line."""
    step = transcript.steps[0]
    try:
        stage = begin(step.text)
        stage.flow()
        for number, step in enumerate(transcript.steps[1:], 1):
            stage.trace.step = number
            perform(stage, step.text)
    except (ScriptError, AssertionError, MultipaxosError) as error:
        raise TranscriptError(f"{transcript.name}.txt:{step.line}: {error}") from error
    return stage


def play(path: Path) -> str:
    """The text that the file should have: its own lines, with the traces of a run."""
    transcript = Transcript.read(path)
    stage = run(transcript)
    lines, number = [], 0
    for line in transcript.lines:
        lines.append(line)
        if line.startswith("> "):
            lines += trace([entry for entry in stage.trace.entries if entry.step == number])
            number += 1
    return "\n".join(lines) + "\n"


def trace(entries: list[Entry]) -> list[str]:
    """Entries as lines; a time is written where it changes."""
    lines = []
    shown = ""
    for entry in entries:
        at = f"{entry.at_ns / MS:.1f}"
        words = f"{entry.who} {entry.text}" if entry.kind in EVENTS else entry.text
        lines.append(f"    {at if at != shown else '':>7}  {words}")
        shown = at
    return lines


# == the picture


def picture(path: Path) -> str:
    """The diagram of a transcript as SVG."""
    transcript = Transcript.read(path)
    stage = run(transcript)
    first, last = stretch(transcript)
    wanted = wanted_kinds(transcript)
    messages = [
        Message(one.sent_ns, one.arrived_ns if one.state == ARRIVED else None, one.source, one.target, one.label)
        for one in stage.network.flights
        if one.shown and first <= one.step <= last and wanted(one.kind)
    ]
    notes = joined(
        [one for one in stage.trace.entries if first <= one.step <= last and one.kind in EVENTS and wanted(one.kind)]
    )
    spoke = {name for one in messages for name in (one.source, one.target)} | {note.who for note in notes}
    return draw([name for name in (*stage.clients, *stage.actors) if name in spoke], messages, notes, transcript.title)


def joined(entries: list[Entry]) -> list[Note]:
    """Events as notes, shortened: up to a colon, and without the decided mark of a batch. What one node did to slots in
    one moment is one note."""
    notes: list[Note] = []
    before = None
    for entry in entries:
        key = (entry.at_ns, entry.who, entry.kind in ("decided", "applied"))
        text = entry.text.partition(":")[0].partition(", decided below")[0]
        if key == before and key[2]:
            notes[-1] = Note(entry.at_ns, entry.who, f"{notes[-1].text}, {text}")
        else:
            notes.append(Note(entry.at_ns, entry.who, text))
        before = key
    return notes


def stretch(transcript: Transcript) -> tuple[int, int]:
    """The numbers of the first and the last directive that are drawn."""
    texts = [step.text for step in transcript.steps]
    ends = [0, len(texts) - 1]
    for place, key in enumerate(("draw from", "draw to")):
        if key in transcript.header:
            if transcript.header[key] not in texts:
                raise TranscriptError(f"{transcript.name}.txt: {key}: no directive {transcript.header[key]!r}")
            ends[place] = texts.index(transcript.header[key])
    return ends[0], ends[1]


def wanted_kinds(transcript: Transcript) -> Callable[[str], bool]:
    """Whether a kind of message or event is drawn."""
    words = transcript.header.get("draw", "").split()
    more = {word for word in words if not word.startswith("-")}
    less = {word[1:] for word in words if word.startswith("-")}

    def is_wanted(kind: str) -> bool:
        return kind not in less and (kind not in EVENTS or kind in DRAWN_EVENTS | more)

    return is_wanted
