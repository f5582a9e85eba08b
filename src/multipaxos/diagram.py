"""Timing diagrams: what participants sent each other and when, as SVG text.

Theory. A protocol is understood from its diagrams: time runs downwards, each participant is a vertical lifeline, a
message is an arrow that slants from the moment it was sent to the moment it arrived. In a distributed system moments
come in bursts with long waits between them, so distance down the page counts events, not milliseconds: every
departure and every note has a row of its own, and the clock is written at the left. Nothing overlaps, however many
events there are.

Rules. `draw` and `label_of` are pure: equal input, equal text, byte for byte. A label stands at the sending end of its
arrow, in the row of the departure, so that no two labels share a place. Colour says what kind of message it is, but
never alone: the label says it too, and a lost message is dashed and ends in a cross. The colours are Okabe and Ito's,
which colour-blind readers tell apart. `label_of` gives a line for any bytes, also for those that are no message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from multipaxos import ballot, codec

MS = 1_000_000
TO_THE_END = 2**64 - 1  # the exclusive end of a phase 1b's last part; its first in a refusal
NAMED_MAX = 6  # commands, answers or runs that one label names
PAYLOAD_CHARACTERS_MAX = 24

ROW_HEIGHT = 22  # of a departure or a note
ARRIVAL_HEIGHT = 12
PAUSE_HEIGHT = 16  # extra, where more than PAUSE_NS pass
PAUSE_NS = 20 * MS
CHARACTER_WIDTH = 6.1  # of the labels' font, at its size
GAP_MIN, GAP_MAX = 170, 430  # between two lifelines
TIME_WIDTH = 96
HEAD_HEIGHT = 64
MARGIN = 24

PALETTE = {  # class: (light, dark), after Okabe and Ito
    "phase1": ("#0072b2", "#56b4e9"),
    "phase2": ("#d55e00", "#f0894a"),
    "learn": ("#007a5a", "#2fc39c"),
    "client": ("#a0528a", "#dd9cc4"),
    "other": ("#6b6b6b", "#a8a8a8"),
}
CLASSES = {
    "phase1a": "phase1",
    "phase1b": "phase1",
    "phase2a": "phase2",
    "phase2b": "phase2",
    "decision": "learn",
    "fetch": "learn",
    "fetched": "learn",
    "request": "client",
    "response": "client",
    "leading": "client",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the wire; `arrived_ns` is None if it was lost."""

    sent_ns: int
    arrived_ns: int | None
    source: str
    target: str
    label: str


@dataclass(frozen=True, slots=True)
class Note:
    """What happened at one participant. A note that begins with `crash` ends its life, one with `restart` begins it."""

    at_ns: int
    who: str
    text: str


# == labels


def label_of(frame: bytes) -> str:
    """One line for any frame of the wire, such as ``phase2a 1.0 [5, 8): x y z``; ballots as round.leader."""
    try:
        message: Mapping[str, Any] = codec.decode_message(frame)
    except codec.CodecError as error:
        return f"{len(frame)} bytes that are no message ({error.fault})"
    kind = str(message["kind"])
    describe = _DESCRIPTIONS.get(kind)
    return f"{kind} {describe(message)}".rstrip() if describe else kind


def _ballot(number: int) -> str:
    """round.leader; a number that no leader makes stays a number."""
    try:
        return ballot.describe(number)
    except ValueError:
        return f"ballot {number}"


def _some(parts: Sequence[str], between: str = " ") -> str:
    """The first few, and how many more there are."""
    more = f" and {len(parts) - NAMED_MAX} more" if len(parts) > NAMED_MAX else ""
    return between.join(parts[:NAMED_MAX]) + more


def _payload(payload: bytes) -> str:
    """Readable bytes as they are, others in hexadecimal; a long payload is cut."""
    text = payload.decode("ascii", "replace")
    text = text if re.fullmatch(r"[!-~]+", text) else payload.hex()
    return text if len(text) <= PAYLOAD_CHARACTERS_MAX else text[: PAYLOAD_CHARACTERS_MAX - 1] + "…"


def _command(command: Mapping[str, Any]) -> str:
    if command["kind"] == codec.COMMAND_KINDS["noop"]:
        return "noop"
    if command["kind"] == codec.COMMAND_KINDS["open_session"]:
        return "open"
    if command["kind"] == codec.COMMAND_KINDS["rejoin"]:
        return f"rejoin({command['session']})"
    return _payload(command["payload"]) or "empty"


def _range(message: Mapping[str, Any], first: str = "first", end: str = "end") -> str:
    return f"[{message[first]}, {message[end]})"


def _watermark(message: Mapping[str, Any]) -> str:
    """What a phase 2a or a pong says is decided; nothing where nothing is."""
    if message["decided_end"] <= 1:
        return ""
    return f" decided {_range(message, 'decided_first', 'decided_end')}@{_ballot(message['decided_ballot'])}"


def _slots(message: Mapping[str, Any]) -> str:
    """The slots of pvalues with the ballots that they are held at: ``: slots 3@1.0 4-9@2.1``."""
    parts = []
    for pvalues in message["pvalues"]:
        first, last = pvalues["first"], pvalues["end"] - 1
        try:
            at = _ballot(codec.decode_phase2a(pvalues["run"])[0])
        except codec.CodecError:
            at = "no run"
        parts.append(f"{first}@{at}" if first == last else f"{first}-{last}@{at}")
    return f": slots {_some(parts)}" if parts else ""


def _phase1b(message: Mapping[str, Any]) -> str:
    at = _ballot(message["ballot"])
    if message["first"] == TO_THE_END:
        return f"{at} refused mark {message['mark']}"
    end = "inf" if message["end"] == TO_THE_END else message["end"]
    return f"{at} first {message['first']} end {end} mark {message['mark']}{_slots(message)}"


def _phase2a(message: Mapping[str, Any]) -> str:
    commands, first = message["commands"], message["first"]
    names = _some([_command(command) for command in commands])
    return f"{_ballot(message['ballot'])} [{first}, {first + len(commands)}){_watermark(message)}: {names}"


def _phase2b(message: Mapping[str, Any]) -> str:
    accepted = _range(message) if message["first"] < message["end"] else "nothing accepted"
    return f"{_ballot(message['ballot'])} {accepted}"


def _pong(message: Mapping[str, Any]) -> str:
    leading = " leading" if message["leading"] else ""
    return f"{_ballot(message['ballot'])} out {message['slot_out']}{leading}{_watermark(message)}"


def _founding(message: Mapping[str, Any]) -> str:
    known = sum(1 for incarnation in message["incarnations"] if incarnation)
    return f"{'fresh, heard of' if message['fresh'] else 'founders'} {known}"


def _reply(reply: Mapping[str, Any]) -> str:
    names = {number: name for name, number in codec.REPLY_STATUSES.items()}
    return f"{reply['sequence']}:{names.get(reply['status'], reply['status'])}@{reply['slot']}"


def _response(message: Mapping[str, Any]) -> str:
    opened = codec.REPLY_STATUSES["opened"]
    if any(reply["status"] == opened for reply in message["replies"]):
        return f"session {message['session']} open"
    return f"session {message['session']}: {_some([_reply(reply) for reply in message['replies']])}"


def _request(message: Mapping[str, Any]) -> str:
    return _some([_command(command) for command in message["commands"]])


_DESCRIPTIONS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "phase1a": lambda message: f"{_ballot(message['ballot'])} first {message['first']}",
    "phase1b": _phase1b,
    "phase2a": _phase2a,
    "phase2b": _phase2b,
    "decision": lambda message: f"{_ballot(message['ballot'])} {_range(message)}",
    "fetch": _range,
    "fetched": lambda message: f"{_range(message)} mark {message['mark']}{_slots(message)}",
    "ping": lambda message: f"{_ballot(message['ballot'])} out {message['slot_out']}",
    "pong": _pong,
    "founding": _founding,
    "request": _request,
    "response": _response,
    "leading": lambda message: _ballot(message["ballot"]),
}


# == rows: which event stands how far down

ARRIVAL, NOTE, DEPARTURE, SUDDEN = range(4)  # of one moment: in this order; SUDDEN arrives as it is sent


@dataclass(frozen=True, slots=True)
class _Rows:
    """How far down each event stands: departures and arrivals by message, notes by place."""

    departures: dict[int, float]
    arrivals: dict[int, float]
    notes: dict[int, float]
    times: list[tuple[float, int]]
    pauses: list[float]
    height: float


def _rows(messages: Sequence[Message], notes: Sequence[Note]) -> _Rows:
    events = [(note.at_ns, NOTE, place) for place, note in enumerate(notes)]
    for place, message in enumerate(messages):
        events.append((message.sent_ns, DEPARTURE, place))
        if message.arrived_ns is not None and message.arrived_ns > message.sent_ns:
            events.append((message.arrived_ns, ARRIVAL, place))
        elif message.arrived_ns is not None:
            events.append((message.sent_ns, SUDDEN, place))
    rows = _Rows({}, {}, {}, [], [], 0)
    y, before = float(HEAD_HEIGHT), (-1, -1)
    for at_ns, kind, place in sorted(events):
        new_time = at_ns != before[0]
        if before[0] >= 0 and at_ns - before[0] > PAUSE_NS:
            y += PAUSE_HEIGHT
            rows.pauses.append(y)
        if kind in (NOTE, DEPARTURE):
            y += ROW_HEIGHT
        elif new_time or before[1] != kind:
            y += ARRIVAL_HEIGHT
        if new_time and (not rows.times or y - rows.times[-1][0] >= ARRIVAL_HEIGHT):
            rows.times.append((y, at_ns))
        (rows.arrivals, rows.notes, rows.departures, rows.arrivals)[kind][place] = y
        before = (at_ns, kind)
    return _Rows(rows.departures, rows.arrivals, rows.notes, rows.times, rows.pauses, y + ROW_HEIGHT)


# == the picture


def draw(participants: Sequence[str], messages: Sequence[Message], notes: Sequence[Note], title: str) -> str:
    """The diagram as SVG text. Every message and note must be of `participants`, which stand from left to right."""
    named = {name for message in messages for name in (message.source, message.target)} | {note.who for note in notes}
    unknown = sorted(named - set(participants))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of the participants {list(participants)}: name it among them")
    picture = _Picture(participants, messages, notes)
    picture.head(title)
    picture.lifelines()
    picture.clock()
    for place, message in enumerate(messages):
        picture.arrow(place, message)
    for place, note in enumerate(notes):
        picture.note(place, note)
    ElementTree.indent(picture.root, " ")
    return ElementTree.tostring(picture.root, encoding="unicode") + "\n"


def _number(value: float) -> str:
    """At most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def _clean(text: str) -> str:
    """Text that XML can hold, on one line."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _style() -> str:
    """Light by default, dark where the reader's system is."""

    def rules(dark: bool) -> str:
        ink, paper, faint = ("#e6e6e6", "#16181c", "#5a5f66") if dark else ("#1a1a1a", "#ffffff", "#b4b4b4")
        lines = [
            f".paper{{fill:{paper}}}text{{fill:{ink};stroke:{paper}}}.life,.tick{{stroke:{faint}}}",
            f".box{{fill:{paper};stroke:{ink}}}.dead{{stroke:{paper}}}.dot{{fill:{ink}}}",
        ]
        for name, colours in PALETTE.items():
            lines.append(f".{name}{{stroke:{colours[dark]}}}.tip.{name}{{fill:{colours[dark]}}}")
        return "".join(lines)

    common = (
        "text{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;paint-order:stroke;stroke-width:3px}"
        "text.title{font-size:14px;font-weight:bold}text.name{font-weight:bold}text.note{font-style:italic}"
        "line{stroke-width:1.4}.lost{stroke-dasharray:5 3}.dead{stroke-width:3;stroke-dasharray:4 4}"
    )
    return f"{common}{rules(False)}@media(prefers-color-scheme:dark){{{rules(True)}}}"


class _Picture:
    """The SVG tree while it is drawn."""

    def __init__(self, participants: Sequence[str], messages: Sequence[Message], notes: Sequence[Note]) -> None:
        self.notes = notes
        self.participants = list(participants)
        self.rows = _rows(messages, notes)
        longest = max((len(message.label) for message in messages), default=0)
        gap = min(max(longest * CHARACTER_WIDTH + 24, GAP_MIN), GAP_MAX)
        self.room = int((gap - 24) / CHARACTER_WIDTH)  # characters of a label before it is cut
        left = TIME_WIDTH + MARGIN + 40
        self.x = {name: left + place * gap for place, name in enumerate(self.participants)}
        notes_width = max((len(note.text) for note in notes if note.who == self.participants[-1]), default=0)
        self.width = left + max(len(self.participants) - 1, 0) * gap + MARGIN
        self.width += max(notes_width * CHARACTER_WIDTH + 16, 50)
        self.height = self.rows.height + MARGIN
        size = {"width": _number(self.width), "height": _number(self.height)}
        box = f"0 0 {size['width']} {size['height']}"
        self.root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "viewBox": box})
        self.root.set("role", "img")

    def add(self, tag: str, css: str = "", **attributes: float | str) -> ElementTree.Element:
        element = ElementTree.SubElement(self.root, tag, {"class": css} if css else {})
        for name, value in attributes.items():
            element.set(name.replace("_", "-"), value if isinstance(value, str) else _number(value))
        return element

    def text(self, x: float, y: float, words: str, css: str = "", anchor: str = "start") -> ElementTree.Element:
        element = self.add("text", css, x=x, y=y)
        if anchor != "start":
            element.set("text-anchor", anchor)
        element.text = _clean(words)
        return element

    def line(self, css: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.add("line", css, x1=x1, y1=y1, x2=x2, y2=y2)

    def head(self, title: str) -> None:
        ElementTree.SubElement(self.root, "title").text = _clean(title)
        ElementTree.SubElement(self.root, "style").text = _style()
        self.add("rect", "paper", width=self.width, height=self.height)
        self.text(MARGIN, MARGIN, title, "title")

    def lifelines(self) -> None:
        """The lifelines, interrupted from a crash to the restart after it."""
        top, bottom = HEAD_HEIGHT - 6.0, self.rows.height
        for name, x in self.x.items():
            self.text(x, top - 8, name, "name", "middle")
            self.line("life", x, top, x, bottom)
            crash = None
            happened = sorted(
                (self.rows.notes[place], note) for place, note in enumerate(self.notes) if note.who == name
            )
            for y, note in happened:
                if note.text.startswith("crash") and crash is None:
                    crash = y
                elif note.text.startswith("restart") and crash is not None:
                    self.line("dead", x, crash, x, y)
                    crash = None
            if crash is not None:
                self.line("dead", x, crash, x, bottom)

    def clock(self) -> None:
        """Times at the left, and three dots where it stands still for long."""
        for y, at_ns in self.rows.times:
            self.text(TIME_WIDTH, y + 3, f"{at_ns / MS:.3f}".rstrip("0").rstrip(".") + " ms", "", "end")
            self.line("tick", TIME_WIDTH + 6, y, TIME_WIDTH + 14, y)
        for y in self.rows.pauses:
            self.text(TIME_WIDTH - 24, y, "⋮", "", "middle")

    def arrow(self, place: int, message: Message) -> None:
        css = CLASSES.get(message.label.partition(" ")[0], "other")
        x1, y1 = self.x[message.source], self.rows.departures[place]
        x2 = self.x[message.target]
        side = 1 if x2 >= x1 else -1
        if message.source == message.target:
            x2 = x1 + 14.0  # to itself: a stub beside the lifeline
        if message.arrived_ns is None:
            x2, y2 = x1 + (x2 - x1) * 0.7, y1 + ROW_HEIGHT * 0.7
            self.line(f"{css} lost", x1, y1, x2, y2)
            self.line(css, x2 - 5, y2 - 5, x2 + 5, y2 + 5)
            self.line(css, x2 - 5, y2 + 5, x2 + 5, y2 - 5)
        else:
            y2 = self.rows.arrivals[place]
            self.line(css, x1, y1, x2, y2)
            self.tip(css, x1, y1, x2, y2)
        cut = message.label if len(message.label) <= self.room else message.label[: self.room - 1] + "…"
        label = self.text(x1 + 7 * side, y1 - 4, cut, "", "start" if side > 0 else "end")
        if cut != message.label:
            ElementTree.SubElement(label, "title").text = _clean(message.label)

    def tip(self, css: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """The head of an arrow: a triangle along its direction."""
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5 or 1.0
        dx, dy = (x2 - x1) / length, (y2 - y1) / length
        corners = [(x2, y2)]
        corners += [(x2 - 9 * dx - turn * 3.5 * dy, y2 - 9 * dy + turn * 3.5 * dx) for turn in (1, -1)]
        points = " ".join(f"{_number(x)},{_number(y)}" for x, y in corners)
        self.add("polygon", f"tip {css}", points=points)

    def note(self, place: int, note: Note) -> None:
        """A dot on the lifeline and the words beside it."""
        x, y = self.x[note.who], self.rows.notes[place]
        self.add("circle", "dot", cx=x, cy=y, r=3.5)
        self.text(x + 8, y + 4, note.text, "note")
