"""The layout of a timing diagram: which lifeline and which event stands where.

Theory. Time runs down the page. In a distributed system events come in bursts with long waits between them, so distance
down the page counts events, not milliseconds. Departures and notes of one moment share a row if there is room in it for
the words of all of them; otherwise each has a row of its own. The words that one participant sends to several others in
one moment are written once.

Rules. Words never overlap words, however many events there are. Positions and sizes are in pixels of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

MS = 1_000_000

ROW_HEIGHT = 22  # for a departure or a note
ARRIVAL_HEIGHT = 20
LOST_WIDTH = 44  # from a lost message's cross to its target
STUB_WIDTH = 14  # of a participant's message to itself
PAUSE_HEIGHT = 16  # in addition, where more than PAUSE_NS pass
PAUSE_NS = 20 * MS
CHARACTER_WIDTH, TITLE_CHARACTER_WIDTH = 6.7, 8.6  # of the fonts at their sizes
LABEL_CHARACTERS_MAX = 64
GAP_MIN, GAP_MAX = 120, 250  # between two lifelines
TIME_WIDTH = 84
HEAD_HEIGHT = 64
MARGIN = 24
LEFT = TIME_WIDTH + MARGIN + 30  # of the first lifeline

# Kinds of events, in the order in which events of one moment stand. A SUDDEN message arrives in the moment of its
# departure.
ARRIVAL, NOTE, DEPARTURE, SUDDEN = range(4)


@dataclass(frozen=True, slots=True)
class Message:
    """One message; `arrived_ns` is None if it was lost. Times are nanoseconds of any one clock."""

    sent_ns: int
    arrived_ns: int | None
    source: str
    target: str
    label: str


@dataclass(frozen=True, slots=True)
class Note:
    """An event at one participant. A text that begins with `crash` ends its life, one with `restart` begins it."""

    at_ns: int
    who: str
    text: str


def width_of(words: str) -> float:
    """The width of words at the size of labels."""
    return len(words) * CHARACTER_WIDTH


@dataclass(slots=True)
class _Row:
    """A row of one moment: which stretches of it are taken, and the targets of each words (see `Layout.key`)."""

    y: float
    taken: list[tuple[float, float, str]] = field(default_factory=list)
    targets: dict[tuple[str, bool, str, int], set[str]] = field(default_factory=dict)

    def has_room(self, wanted: Sequence[tuple[float, float, str]]) -> bool:
        """Is there room for all of `wanted`? A cross may overlap a label because it lies lower."""
        return all(
            end <= left or right <= begin or {what, other} == {"label", "cross"}
            for begin, end, what in wanted
            for left, right, other in self.taken
        )


class Layout:
    """Where everything stands: lifelines from left to right, events from top to bottom.

    `x`: of each lifeline. `departures`, `arrivals`, `noted`: the height of each event, by its place in `messages` or
    `notes`. `silent`: messages whose label another message shows. `times`: (height, time) of the clock's marks.
    `pauses`: the heights of long waits.
    """

    def __init__(self, participants: Sequence[str], messages: Sequence[Message], notes: Sequence[Note]) -> None:
        self.messages, self.notes = messages, notes
        self.x = self.place_lifelines(participants)
        self.last = participants[-1] if len(participants) > 1 else ""
        self.departures: dict[int, float] = {}
        self.arrivals: dict[int, float] = {}
        self.noted: dict[int, float] = {}
        self.silent: set[int] = set()
        self.times: list[tuple[float, int]] = []
        self.pauses: list[float] = []
        self.rows: list[_Row] = []  # of the present moment
        self.height = self.place_rows() + ROW_HEIGHT
        ends = [self.extent(kind, place)[1] for kind, place in self.events() if kind in (NOTE, DEPARTURE, SUDDEN)]
        self.width = max([*self.x.values(), *ends], default=LEFT) + MARGIN

    def place_lifelines(self, participants: Sequence[str]) -> dict[str, float]:
        """The x of each lifeline: gaps are as wide as the labels in them need, within GAP_MIN and GAP_MAX."""
        places = {name: place for place, name in enumerate(participants)}
        wanted = [float(GAP_MIN)] * len(participants)  # of the gap at the right of each
        for message in self.messages:
            gap = places[message.source] - (places[message.target] < places[message.source])
            wanted[gap] = max(wanted[gap], width_of(message.label) + 30)
        x, at = dict[str, float](), float(LEFT)
        for name, room in zip(participants, wanted, strict=True):
            x[name] = at
            at += min(room, GAP_MAX)
        return x

    def events(self) -> list[tuple[int, int]]:
        """(kind, place) of every event, in the order in which they stand."""
        timed = [(note.at_ns, NOTE, place) for place, note in enumerate(self.notes)]
        for place, message in enumerate(self.messages):
            sudden = message.arrived_ns is not None and message.arrived_ns <= message.sent_ns
            timed.append((message.sent_ns, SUDDEN if sudden else DEPARTURE, place))
            if message.arrived_ns is not None and not sudden:
                timed.append((message.arrived_ns, ARRIVAL, place))
        return [(kind, place) for _, kind, place in sorted(timed)]

    def at_ns(self, kind: int, place: int) -> int:
        """When an event happens."""
        if kind == NOTE:
            return self.notes[place].at_ns
        message = self.messages[place]
        return message.arrived_ns or 0 if kind == ARRIVAL else message.sent_ns

    def is_rightward(self, message: Message) -> bool:
        """Does a message go to the right, or to its own sender?"""
        return self.x[message.target] >= self.x[message.source]

    def goes_right(self, kind: int, place: int) -> bool:
        """Do an event's words stand right of their lifeline? A note's do, but left of the last lifeline if they fit."""
        if kind != NOTE:
            return self.is_rightward(self.messages[place])
        note = self.notes[place]
        return note.who != self.last or len(note.text) > self.room_at_left(note.who)

    def room_at_left(self, who: str) -> int:
        """The number of characters that fit between the clock and a lifeline."""
        return int((self.x[who] - TIME_WIDTH - 28) / CHARACTER_WIDTH)

    def words(self, kind: int, place: int) -> str:
        """The words of an event, cut to the room that there is."""
        who, text = self.source_and_text(kind, place)
        room = LABEL_CHARACTERS_MAX
        if not self.goes_right(kind, place):
            room = min(room, self.room_at_left(who))
        return text if len(text) <= room else text[: room - 1] + "…"

    def source_and_text(self, kind: int, place: int) -> tuple[str, str]:
        """The participant at whose lifeline an event's words stand, and all of the words."""
        if kind == NOTE:
            return self.notes[place].who, self.notes[place].text
        return self.messages[place].source, self.messages[place].label

    def extent(self, kind: int, place: int) -> tuple[float, float]:
        """Where an event's words begin and end, with the dot of a note and the foot of an arrow."""
        x, size = self.x[self.source_and_text(kind, place)[0]], width_of(self.words(kind, place)) + 12
        over = 6 if kind == NOTE else 0
        return (x - over, x + size) if self.goes_right(kind, place) else (x - size, x + over)

    def place_rows(self) -> float:
        """Gives every event its height and returns the lowest."""
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
        """Puts a departure or a note into a row of its moment, or into a new one below `lowest`; returns its height."""
        key = self.key(kind, place)
        row = self.row_for(kind, place)
        if row is None:
            row = _Row(lowest + ROW_HEIGHT)
            self.rows.append(row)
        if key in row.targets:
            self.silent.add(place)
        else:
            row.taken.append((*self.extent(kind, place), "note" if kind == NOTE else "label"))
        row.taken += self.cross(kind, place)
        row.targets.setdefault(key, set()).add("" if kind == NOTE else self.messages[place].target)
        (self.noted if kind == NOTE else self.departures)[place] = row.y
        if kind == SUDDEN:
            self.arrivals[place] = row.y
        return row.y

    def row_for(self, kind: int, place: int) -> _Row | None:
        """A row of this moment that has room, if there is one.

        Words that stand in a row already need no room of their own, but must lie below everything that was sent to the
        same target before. Other words must not lie above an earlier event of the same participant.
        """
        key, cross = self.key(kind, place), self.cross(kind, place)
        words = (*self.extent(kind, place), "note" if kind == NOTE else "label")
        target = "" if kind == NOTE else self.messages[place].target
        own, sent = 0, -1
        for number, row in enumerate(self.rows):
            targets = [to for (who, *_), to in row.targets.items() if who == key[0]]
            own = number if targets else own
            sent = number if any(target in to for to in targets) else sent
        for row in self.rows[sent + 1 :]:
            if key in row.targets and row.has_room(cross):
                return row
        for row in self.rows[own:]:
            if key not in row.targets and row.has_room([words, *cross]):
                return row
        return None

    def cross(self, kind: int, place: int) -> list[tuple[float, float, str]]:
        """The stretch that the cross of a lost message takes."""
        if kind == NOTE or self.messages[place].arrived_ns is not None:
            return []
        x = self.end_of_lost(self.messages[place])
        return [(x - 6, x + 6, "cross")]

    def end_of_lost(self, message: Message) -> float:
        """The x at which a lost message ends: shortly before its target."""
        x1, x2 = self.x[message.source], self.x[message.target]
        return x2 + min(max(x1 - x2, -LOST_WIDTH), LOST_WIDTH) if x1 != x2 else x1 + STUB_WIDTH

    def key(self, kind: int, place: int) -> tuple[str, bool, str, int]:
        """What makes the words of two events the same: participant, side and text. A note equals no other note."""
        who, text = self.source_and_text(kind, place)
        return who, self.goes_right(kind, place), text, place if kind == NOTE else -1
