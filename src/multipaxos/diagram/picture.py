"""Timing diagrams as SVG text: which messages participants sent each other, and when.

Theory. Time runs down the page. Each participant is a vertical lifeline; a message is an arrow that slants from the
moment of its departure to the moment of its arrival. `layout` says where everything stands; the clock is written at the
left.

Rules.
- `draw` is pure: equal input gives equal text, byte for byte.
- A label stands at the sending end of its arrow, in the row of the departure.
- Colour shows the kind of a message, but never alone: the label names the kind too, and a lost message is dashed and
  ends in a cross. The colours are Okabe and Ito's, which colour-blind readers can tell apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from multipaxos.diagram.layout import (
    DEPARTURE,
    HEAD_HEIGHT,
    MARGIN,
    MS,
    NOTE,
    STUB_WIDTH,
    TIME_WIDTH,
    TITLE_CHARACTER_WIDTH,
    Layout,
    Message,
    Note,
    width_of,
)

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


def draw(participants: Sequence[str], messages: Sequence[Message], notes: Sequence[Note], title: str) -> str:
    """The diagram as SVG text; `participants` stand from left to right.

    Raises ValueError if a message or a note names another participant.
    """
    named = {name for message in messages for name in (message.source, message.target)} | {note.who for note in notes}
    unknown = sorted(named - set(participants))
    if unknown:
        raise ValueError(f"{unknown[0]!r} is none of the participants {list(participants)}: name it among them")
    picture = _Picture(Layout(participants, messages, notes), title)
    ElementTree.indent(picture.root, " ")
    return ElementTree.tostring(picture.root, encoding="unicode") + "\n"


def _number(value: float) -> str:
    """A number with at most one decimal."""
    return f"{value:.1f}".removesuffix(".0")


def _clean(text: str) -> str:
    """The text without characters that XML cannot hold, on one line."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _style() -> str:
    """The style sheet: light by default, dark if the reader's system is dark."""

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
    """The SVG tree while it is drawn: lines below, words on paper of their own above them, ends of lines on top."""

    def __init__(self, layout: Layout, title: str) -> None:
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
        """Writes an event's words beside their lifeline, on paper that hides lines; cut words have a tool tip."""
        who, text = self.layout.source_and_text(kind, place)
        words, right = self.layout.words(kind, place), self.layout.goes_right(kind, place)
        x = self.layout.x[who] + (8 if right else -8)
        left = x if right else x - width_of(words)
        self.shape(self.words, "rect", "paper", x=left - 1, y=y - 10, width=width_of(words) + 2, height=13)
        element = self.text(x, y, words, css, "start" if right else "end")
        if words != text:
            ElementTree.SubElement(element, "title").text = _clean(text)

    def line(self, css: str, x1: float, y1: float, x2: float, y2: float) -> None:
        self.shape(self.lines, "line", css, x1=x1, y1=y1, x2=x2, y2=y2)

    # -- parts
    def lifelines(self) -> None:
        """Draws the lifelines, interrupted from each crash to the restart after it."""
        top, bottom = HEAD_HEIGHT - 6.0, self.layout.height
        for name, x in self.layout.x.items():
            self.text(x, top - 8, name, "name", "middle")
            self.line("life", x, top, x, bottom)
            crash = None
            noted = [(y, self.layout.source_and_text(NOTE, place)) for place, y in self.layout.noted.items()]
            for y, words in sorted((y, words) for y, (who, words) in noted if who == name):
                if words.startswith("crash") and crash is None:
                    crash = y
                elif words.startswith("restart") and crash is not None:
                    self.line("dead", x, crash, x, y)
                    crash = None
            if crash is not None:
                self.line("dead", x, crash, x, bottom)

    def clock(self) -> None:
        """Writes times at the left, and three dots where much time passes between two events."""
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
            x2 = x1 + STUB_WIDTH  # a stub beside the lifeline
        if message.arrived_ns is None:
            self.lost(css, x1, y1, self.layout.end_of_lost(message))
        else:
            self.line(css, x1, y1, x2, y2)
            self.tip(css, x1, y1, x2, y2)
        if place not in self.layout.silent:
            self.on_paper(DEPARTURE, place, css, y1 - 4)

    def lost(self, css: str, x1: float, y1: float, x2: float) -> None:
        """Draws a lost message: dashed, with a cross at its end, within the row of the departure."""
        self.line(f"{css} lost", x1, y1, x2, y1 + 4)
        for turn in (1, -1):
            self.shape(self.ends, "line", css, x1=x2 - 5, y1=y1 + 4 - 5 * turn, x2=x2 + 5, y2=y1 + 4 + 5 * turn)

    def tip(self, css: str, x1: float, y1: float, x2: float, y2: float) -> None:
        """Draws the head of an arrow: a triangle along its direction."""
        length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5 or 1.0
        dx, dy = (x2 - x1) / length, (y2 - y1) / length
        corners = [(x2, y2)]
        corners += [(x2 - 9 * dx - turn * 3.5 * dy, y2 - 9 * dy + turn * 3.5 * dx) for turn in (1, -1)]
        points = " ".join(f"{_number(x)},{_number(y)}" for x, y in corners)
        self.shape(self.ends, "polygon", f"tip {css}", points=points)

    def note(self, place: int, note: Note) -> None:
        """Draws a note: a dot on its lifeline, and the words beside it."""
        x, y = self.layout.x[note.who], self.layout.noted[place]
        self.shape(self.ends, "circle", "dot", cx=x, cy=y, r=3.5)
        self.on_paper(NOTE, place, "note", y + 4)
