"""Timing diagrams: what participants sent each other and when, as SVG text.

Theory. A protocol is understood from its diagrams: time runs downwards, each participant is a vertical lifeline, a
message is an arrow that slants from the moment it was sent to the moment it arrived. In a distributed system moments
come in bursts with long waits between them, so distance down the page counts events, not milliseconds, and the clock is
written at the left. Departures and notes of one moment share a row where their words have room in it; else each has its
own. Words never overlap words, however many events there are.

Rules. `draw` and `label_of` are pure: equal input, equal text, byte for byte. A label stands at the sending end of its
arrow, in the row of the departure. Colour says what kind of message it is, but
never alone: the label says it too, and a lost message is dashed and ends in a cross. The colours are Okabe and Ito's,
which colour-blind readers tell apart. `label_of` gives a line for any bytes, also for those that are no message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

from multipaxos.paxos import ballot
from multipaxos.wire import codec

MS = 1_000_000
TO_THE_END = 2**64 - 1  # the exclusive end of a phase 1b's last part; its first in a refusal
NAMED_MAX = 6  # commands, answers or runs that one label names
PAYLOAD_CHARACTERS_MAX = 24

ROW_HEIGHT = 22  # of a departure or a note
ARRIVAL_HEIGHT = 20
LOST_WIDTH = 44  # from a lost message's cross to its target
STUB_WIDTH = 14  # of a message to oneself
PAUSE_HEIGHT = 16  # extra, where more than PAUSE_NS pass
PAUSE_NS = 20 * MS
CHARACTER_WIDTH, TITLE_CHARACTER_WIDTH = 6.7, 8.6  # of the fonts at their sizes
LABEL_CHARACTERS_MAX = 64
GAP_MIN, GAP_MAX = 120, 250  # between two lifelines
TIME_WIDTH = 84
HEAD_HEIGHT = 64
MARGIN = 24
LEFT = TIME_WIDTH + MARGIN + 30  # of the first lifeline

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
    """One line for any frame of the wire, such as ``phase2a 1.0 slots 5-7: x y z``; ballots as round.leader."""
    try:
        message: Mapping[str, Any] = codec.decode_message(frame)
    except codec.CodecError as error:
        return f"{len(frame)} bytes that are no message ({error.fault})"
    return describe(message)


def describe(message: Mapping[str, Any]) -> str:
    """The label of a decoded message."""
    kind = str(message["kind"])
    words = _DESCRIPTIONS.get(kind)
    return f"{kind} {words(message)}".rstrip() if words else kind


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


def _slots(first: int, end: int) -> str:
    """A range of slots in words; it may be empty."""
    if first >= end:
        return "no slots"
    return f"slot {first}" if end - first == 1 else f"slots {first}-{end - 1}"


def _range(message: Mapping[str, Any]) -> str:
    return _slots(message["first"], message["end"])


def _watermark(message: Mapping[str, Any], first: str, end: str, at: str) -> str:
    """What is decided: [first, end) at the ballot, and everything below first."""
    if message[end] <= 1:
        return "nothing decided"
    if message[first] >= message[end]:
        return f"decided below {message[end]}"
    ended = _slots(message[first], message[end]).partition(" ")[2]
    return f"decided {ended}" if at in ("", "ballot") else f"decided {ended}@{_ballot(message[at])}"


def _along(message: Mapping[str, Any]) -> str:
    """The watermark that a phase 2a or a pong brings along; nothing where nothing is decided."""
    if message["decided_end"] <= 1:
        return ""
    at = "" if message["decided_ballot"] == message["ballot"] else "decided_ballot"
    return f"; {_watermark(message, 'decided_first', 'decided_end', at)}"


def _pvalues(message: Mapping[str, Any]) -> str:
    """The slots of pvalues with the ballots that they are held at: ``: 3@1.0 4-9@2.1``."""
    parts = []
    for pvalues in message["pvalues"]:
        try:
            at = _ballot(codec.decode_phase2a(pvalues["run"])[0])
        except codec.CodecError:
            at = "no run"
        parts.append(f"{_slots(pvalues['first'], pvalues['end']).partition(' ')[2]}@{at}")
    return f": {_some(parts)}" if parts else ""


def _mark(message: Mapping[str, Any]) -> str:
    return f" mark {message['mark']}" if message["mark"] > 1 else ""


def _phase1b(message: Mapping[str, Any]) -> str:
    at = _ballot(message["ballot"])
    if message["first"] == TO_THE_END:
        return f"{at} refuses{_mark(message)}"
    part = "" if message["end"] == TO_THE_END else f" up to {message['end'] - 1}"
    return f"{at} from {message['first']}{part}{_mark(message)}{_pvalues(message)}"


def _phase2a(message: Mapping[str, Any]) -> str:
    commands, first = message["commands"], message["first"]
    names = _some([_command(command) for command in commands])
    return f"{_ballot(message['ballot'])} {_slots(first, first + len(commands))}: {names}{_along(message)}"


def _phase2b(message: Mapping[str, Any]) -> str:
    return f"{_ballot(message['ballot'])} {_range(message)}{_mark(message)}"


def _pong(message: Mapping[str, Any]) -> str:
    leading = " leading" + " with a quorum" * message["quorum"] if message["leading"] else ""
    return f"{_ballot(message['ballot'])} out {message['slot_out']}{leading}{_along(message)}"


def _founding(message: Mapping[str, Any]) -> str:
    known = sum(1 for incarnation in message["incarnations"] if incarnation)
    return f"{'fresh, heard of' if message['fresh'] else 'founders'} {known}"


def _reply(reply: Mapping[str, Any]) -> str:
    names = {number: name for name, number in codec.REPLY_STATUSES.items()}
    at = f" slot {reply['slot']}" if reply["slot"] else ""
    return f"{reply['sequence']} {names.get(reply['status'], reply['status'])}{at}"


def _response(message: Mapping[str, Any]) -> str:
    opened = codec.REPLY_STATUSES["opened"]
    if any(reply["status"] == opened for reply in message["replies"]):
        return f"session {message['session']} open"
    return _some([_reply(reply) for reply in message["replies"]], ", ")


def _request(message: Mapping[str, Any]) -> str:
    return _some([_command(command) for command in message["commands"]])


_DESCRIPTIONS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "phase1a": lambda message: f"{_ballot(message['ballot'])} from {message['first']}",
    "phase1b": _phase1b,
    "phase2a": _phase2a,
    "phase2b": _phase2b,
    "decision": lambda message: f"{_ballot(message['ballot'])} {_watermark(message, 'first', 'end', 'ballot')}",
    "fetch": _range,
    "fetched": lambda message: f"{_range(message)}{_mark(message)}{_pvalues(message)}",
    "ping": lambda message: f"{_ballot(message['ballot'])} out {message['slot_out']}",
    "pong": _pong,
    "founding": _founding,
    "request": _request,
    "response": _response,
    "leading": lambda message: _ballot(message["ballot"]),
}


# == the layout: which event stands where

ARRIVAL, NOTE, DEPARTURE, SUDDEN = range(4)  # of one moment: in this order; SUDDEN arrives as it is sent


@dataclass(slots=True)
class _Row:
    """A row of one moment: what stands where in it, and what is said to whom (see `_Layout.key`)."""

    y: float
    taken: list[tuple[float, float, str]] = field(default_factory=list)
    said: dict[tuple[str, bool, str, int], set[str]] = field(default_factory=dict)

    def has_room(self, wanted: Sequence[tuple[float, float, str]]) -> bool:
        """May this stand here too? A cross lies lower than labels."""
        return all(
            end <= left or right <= begin or {what, other} == {"label", "cross"}
            for begin, end, what in wanted
            for left, right, other in self.taken
        )


class _Layout:
    """Where everything stands: lifelines from left to right, events from top to bottom.

    Events of one moment share a row where their words do not meet, those of one participant in their order. The same
    words that one participant says to several others in one moment are said once.
    """

    def __init__(self, participants: Sequence[str], messages: Sequence[Message], notes: Sequence[Note]) -> None:
        self.messages, self.notes = messages, notes
        self.x = self.place_lifelines(participants)
        self.last = participants[-1] if len(participants) > 1 else ""
        self.departures: dict[int, float] = {}
        self.arrivals: dict[int, float] = {}
        self.noted: dict[int, float] = {}
        self.silent: set[int] = set()  # messages whose label another one shows
        self.times: list[tuple[float, int]] = []
        self.pauses: list[float] = []
        self.rows: list[_Row] = []  # of the present moment
        self.height = self.place_rows() + ROW_HEIGHT
        ends = [self.extent(kind, place)[1] for kind, place in self.events() if kind in (NOTE, DEPARTURE, SUDDEN)]
        self.width = max([*self.x.values(), *ends], default=LEFT) + MARGIN

    def place_lifelines(self, participants: Sequence[str]) -> dict[str, float]:
        """Lifelines stand as far apart as what is said from either into the gap between them wants, within bounds."""
        places = {name: place for place, name in enumerate(participants)}
        wanted = [float(GAP_MIN)] * len(participants)  # the gap at the right of each
        for message in self.messages:
            gap = places[message.source] - (places[message.target] < places[message.source])
            wanted[gap] = max(wanted[gap], _width(message.label) + 30)
        x, at = dict[str, float](), float(LEFT)
        for name, room in zip(participants, wanted, strict=True):
            x[name] = at
            at += min(room, GAP_MAX)
        return x

    def events(self) -> list[tuple[int, int]]:
        """(kind, place), in the order in which they stand."""
        timed = [(note.at_ns, NOTE, place) for place, note in enumerate(self.notes)]
        for place, message in enumerate(self.messages):
            sudden = message.arrived_ns is not None and message.arrived_ns <= message.sent_ns
            timed.append((message.sent_ns, SUDDEN if sudden else DEPARTURE, place))
            if message.arrived_ns is not None and not sudden:
                timed.append((message.arrived_ns, ARRIVAL, place))
        return [(kind, place) for _, kind, place in sorted(timed)]

    def at_ns(self, kind: int, place: int) -> int:
        """When it happens."""
        if kind == NOTE:
            return self.notes[place].at_ns
        message = self.messages[place]
        return message.arrived_ns or 0 if kind == ARRIVAL else message.sent_ns

    def is_rightward(self, message: Message) -> bool:
        """Whither its label goes."""
        return self.x[message.target] >= self.x[message.source]

    def goes_right(self, kind: int, place: int) -> bool:
        """To which side of their lifeline words go. A note goes right; at the last lifeline left, if it fits there."""
        if kind != NOTE:
            return self.is_rightward(self.messages[place])
        note = self.notes[place]
        return note.who != self.last or len(note.text) > self.room_at_left(note.who)

    def room_at_left(self, who: str) -> int:
        """How many characters fit between the clock and a lifeline."""
        return int((self.x[who] - TIME_WIDTH - 28) / CHARACTER_WIDTH)

    def words(self, kind: int, place: int) -> str:
        """What is shown of a note or a label: as much as there is room for."""
        who, text = self.said_by(kind, place)
        room = LABEL_CHARACTERS_MAX
        if not self.goes_right(kind, place):
            room = min(room, self.room_at_left(who))
        return text if len(text) <= room else text[: room - 1] + "…"

    def said_by(self, kind: int, place: int) -> tuple[str, str]:
        """Whose words they are, and all of them."""
        if kind == NOTE:
            return self.notes[place].who, self.notes[place].text
        return self.messages[place].source, self.messages[place].label

    def extent(self, kind: int, place: int) -> tuple[float, float]:
        """Where words begin and end; the dot of a note and the foot of an arrow are kept free too."""
        x, size = self.x[self.said_by(kind, place)[0]], _width(self.words(kind, place)) + 12
        over = 6 if kind == NOTE else 0
        return (x - over, x + size) if self.goes_right(kind, place) else (x - size, x + over)

    def place_rows(self) -> float:
        """Gives every event its height; returns the lowest."""
        y, before, row_kind = float(HEAD_HEIGHT), -1, -1
        for kind, place in self.events():
            at_ns = self.at_ns(kind, place)
            new = at_ns != before
            if before >= 0 and at_ns - before > PAUSE_NS:
                y += PAUSE_HEIGHT
                self.pauses.append(y)
            if new:
                self.rows = []
            if kind == ARRIVAL:
                y += ARRIVAL_HEIGHT if new or row_kind != ARRIVAL else 0
                self.arrivals[place] = y
            else:
                y = max(y, self.place_words(kind, place, y))
            if new and (not self.times or y - self.times[-1][0] >= ARRIVAL_HEIGHT):
                self.times.append((y, at_ns))
            before, row_kind = at_ns, kind
        return y

    def place_words(self, kind: int, place: int, lowest: float) -> float:
        """Gives a departure or a note a row of its moment, a new one below `lowest` where no other has room."""
        said = self.key(kind, place)
        row = self.row_for(kind, place)
        if row is None:
            row = _Row(lowest + ROW_HEIGHT)
            self.rows.append(row)
        if said in row.said:
            self.silent.add(place)
        else:
            row.taken.append((*self.extent(kind, place), "note" if kind == NOTE else "label"))
        row.taken += self.cross(kind, place)
        row.said.setdefault(said, set()).add("" if kind == NOTE else self.messages[place].target)
        (self.noted if kind == NOTE else self.departures)[place] = row.y
        if kind == SUDDEN:
            self.arrivals[place] = row.y
        return row.y

    def row_for(self, kind: int, place: int) -> _Row | None:
        """A row of this moment with room. Words that are there already need none of their own, below all that the same
        one was told before; others stand not above an earlier event of the same participant."""
        said, cross = self.key(kind, place), self.cross(kind, place)
        words = (*self.extent(kind, place), "note" if kind == NOTE else "label")
        target = "" if kind == NOTE else self.messages[place].target
        spoke, told = 0, -1
        for number, row in enumerate(self.rows):
            targets = [to for (who, *_), to in row.said.items() if who == said[0]]
            spoke = number if targets else spoke
            told = number if any(target in to for to in targets) else told
        for row in self.rows[told + 1 :]:
            if said in row.said and row.has_room(cross):
                return row
        for row in self.rows[spoke:]:
            if said not in row.said and row.has_room([words, *cross]):
                return row
        return None

    def cross(self, kind: int, place: int) -> list[tuple[float, float, str]]:
        """Where a lost message's cross stands."""
        if kind == NOTE or self.messages[place].arrived_ns is not None:
            return []
        x = self.end_of_lost(self.messages[place])
        return [(x - 6, x + 6, "cross")]

    def end_of_lost(self, message: Message) -> float:
        """A lost message ends shortly before its target."""
        x1, x2 = self.x[message.source], self.x[message.target]
        return x2 + min(max(x1 - x2, -LOST_WIDTH), LOST_WIDTH) if x1 != x2 else x1 + STUB_WIDTH

    def key(self, kind: int, place: int) -> tuple[str, bool, str, int]:
        """Who says what, and to which side; a note is never the same as another."""
        who, text = self.said_by(kind, place)
        return who, self.goes_right(kind, place), text, place if kind == NOTE else -1


# == the picture


def draw(participants: Sequence[str], messages: Sequence[Message], notes: Sequence[Note], title: str) -> str:
    """The diagram as SVG text. Every message and note must be of `participants`, which stand from left to right."""
    named = {name for message in messages for name in (message.source, message.target)} | {note.who for note in notes}
    unknown = sorted(named - set(participants))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of the participants {list(participants)}: name it among them")
    picture = _Picture(_Layout(participants, messages, notes), title)
    ElementTree.indent(picture.root, " ")
    return ElementTree.tostring(picture.root, encoding="unicode") + "\n"


def _number(value: float) -> str:
    """At most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def _clean(text: str) -> str:
    """Text that XML can hold, on one line."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _width(words: str) -> float:
    """How wide words are, at the size of labels."""
    return len(words) * CHARACTER_WIDTH


def _style() -> str:
    """Light by default, dark where the reader's system is."""

    def rules(dark: bool) -> str:
        ink, paper, faint = ("#e6e6e6", "#16181c", "#5a5f66") if dark else ("#1a1a1a", "#ffffff", "#b4b4b4")
        lines = [
            f".paper{{fill:{paper}}}text{{fill:{ink}}}.life,.tick{{stroke:{faint}}}",
            f".dead{{stroke:{paper}}}.dot{{fill:{ink};stroke:{paper}}}",
        ]
        for name, colours in PALETTE.items():
            lines.append(f"line.{name},.tip.{name}{{stroke:{colours[dark]}}}")
            lines.append(f"text.{name},.tip.{name}{{fill:{colours[dark]}}}")
        return "".join(lines)

    common = (
        "text{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;stroke:none}"
        "text.title{font-size:14px;font-weight:bold}text.name{font-size:12px;font-weight:bold}"
        "text.note{font-style:italic}text.time{font-size:10px}"
        "line{stroke-width:1.4}.lost{stroke-dasharray:5 3}.dead{stroke-width:3;stroke-dasharray:4 4}"
    )
    return f"{common}{rules(False)}@media(prefers-color-scheme:dark){{{rules(True)}}}"


class _Picture:
    """The SVG tree while it is drawn: lines, above them words on paper of their own, on top what ends a line."""

    def __init__(self, layout: _Layout, title: str) -> None:
        self.layout = layout
        self.width = max(layout.width, len(title) * TITLE_CHARACTER_WIDTH + 2 * MARGIN)
        self.height = layout.height + MARGIN
        size = {"width": _number(self.width), "height": _number(self.height)}
        box = f"0 0 {size['width']} {size['height']}"
        self.root = ElementTree.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "viewBox": box})
        self.root.set("role", "img")
        ElementTree.SubElement(self.root, "title").text = _clean(title)
        ElementTree.SubElement(self.root, "style").text = _style()
        self.lines, self.words, self.ends = (ElementTree.SubElement(self.root, "g") for _ in range(3))
        self.shape(self.lines, "rect", "paper", width=self.width, height=self.height)
        self.text(MARGIN, MARGIN, title, "title")
        self.lifelines()
        self.clock()
        for place, message in enumerate(layout.messages):
            self.arrow(place, message)
        for place, note in enumerate(layout.notes):
            self.note(place, note)

    # -- pieces
    def shape(self, layer: ElementTree.Element, tag: str, css: str, **attributes: float | str) -> None:
        element = ElementTree.SubElement(layer, tag, {"class": css})
        for name, value in attributes.items():
            element.set(name, value if isinstance(value, str) else _number(value))

    def text(self, x: float, y: float, words: str, css: str, anchor: str = "start") -> ElementTree.Element:
        element = ElementTree.SubElement(self.words, "text", {"class": css, "x": _number(x), "y": _number(y)})
        if anchor != "start":
            element.set("text-anchor", anchor)
        element.text = _clean(words)
        return element

    def on_paper(self, kind: int, place: int, css: str, y: float) -> None:
        """Words that lines do not run through, beside their lifeline; all of them are in the tool tip where they were
        cut."""
        who, text = self.layout.said_by(kind, place)
        words, right = self.layout.words(kind, place), self.layout.goes_right(kind, place)
        x = self.layout.x[who] + (8 if right else -8)
        left = x if right else x - _width(words)
        self.shape(self.words, "rect", "paper", x=left - 1, y=y - 10, width=_width(words) + 2, height=13)
        element = self.text(x, y, words, css, "start" if right else "end")
        if words != text:
            ElementTree.SubElement(element, "title").text = _clean(text)

    def line(self, css: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.shape(self.lines, "line", css, x1=x1, y1=y1, x2=x2, y2=y2)

    # -- parts
    def lifelines(self) -> None:
        """The lifelines, interrupted from a crash to the restart after it."""
        top, bottom = HEAD_HEIGHT - 6.0, self.layout.height
        for name, x in self.layout.x.items():
            self.text(x, top - 8, name, "name", "middle")
            self.line("life", x, top, x, bottom)
            crash = None
            noted = [(y, self.layout.said_by(NOTE, place)) for place, y in self.layout.noted.items()]
            for y, words in sorted((y, words) for y, (who, words) in noted if who == name):
                if words.startswith("crash") and crash is None:
                    crash = y
                elif words.startswith("restart") and crash is not None:
                    self.line("dead", x, crash, x, y)
                    crash = None
            if crash is not None:
                self.line("dead", x, crash, x, bottom)

    def clock(self) -> None:
        """Times at the left, and three dots where it stands still for long."""
        for y, at_ns in self.layout.times:
            self.text(TIME_WIDTH, y + 3, f"{at_ns / MS:.3f}".rstrip("0").rstrip(".") + " ms", "time", "end")
            self.line("tick", TIME_WIDTH + 6, y, TIME_WIDTH + 14, y)
        for y in self.layout.pauses:
            self.text(TIME_WIDTH - 24, y, "⋮", "time", "middle")

    def arrow(self, place: int, message: Message) -> None:
        css = CLASSES.get(message.label.partition(" ")[0], "other")
        x1, y1 = self.layout.x[message.source], self.layout.departures[place]
        x2, y2 = self.layout.x[message.target], self.layout.arrivals.get(place, y1)
        if message.source == message.target:
            x2 = x1 + STUB_WIDTH  # to itself: a stub beside the lifeline
        if message.arrived_ns is None:
            self.lost(css, x1, y1, self.layout.end_of_lost(message))
        else:
            self.line(css, x1, y1, x2, y2)
            self.tip(css, x1, y1, x2, y2)
        if place not in self.layout.silent:
            self.on_paper(DEPARTURE, place, css, y1 - 4)

    def lost(self, css: str, x1: float, y1: float, x2: float) -> None:
        """Dashed, and a cross where it ends; all of it in the row of the departure."""
        self.line(f"{css} lost", x1, y1, x2, y1 + 4)
        for turn in (1, -1):
            self.shape(self.ends, "line", css, x1=x2 - 5, y1=y1 + 4 - 5 * turn, x2=x2 + 5, y2=y1 + 4 + 5 * turn)

    def tip(self, css: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """The head of an arrow: a triangle along its direction."""
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5 or 1.0
        dx, dy = (x2 - x1) / length, (y2 - y1) / length
        corners = [(x2, y2)]
        corners += [(x2 - 9 * dx - turn * 3.5 * dy, y2 - 9 * dy + turn * 3.5 * dx) for turn in (1, -1)]
        points = " ".join(f"{_number(x)},{_number(y)}" for x, y in corners)
        self.shape(self.ends, "polygon", f"tip {css}", points=points)

    def note(self, place: int, note: Note) -> None:
        """A dot on the lifeline and the words beside it; at the last lifeline to the left, where there is room."""
        x, y = self.layout.x[note.who], self.layout.noted[place]
        self.shape(self.ends, "circle", "dot", cx=x, cy=y, r=3.5)
        self.on_paper(NOTE, place, "note", y + 4)
