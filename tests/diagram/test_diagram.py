"""Timing diagrams: pictures in which nothing overlaps."""

from __future__ import annotations

import itertools
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.diagram.layout import CHARACTER_WIDTH, MS, Message, Note
from multipaxos.diagram.picture import draw

NODES = ("n0", "n1", "n2")
SVG = "{http://www.w3.org/2000/svg}"


def picture(messages: list[Message], notes: list[Note] = [], title: str = "T") -> ElementTree.Element:  # noqa: B006
    """A parsed picture of three nodes."""
    return ElementTree.fromstring(draw(NODES, messages, notes, title))


def texts(root: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """The texts of a picture by their words; of equal ones the last."""
    return {element.text or "": element for element in root.iter(f"{SVG}text")}


def lines(root: ElementTree.Element, css: str) -> list[tuple[float, ...]]:
    """(x1, y1, x2, y2) of each line of a class."""
    found = [line for line in root.iter(f"{SVG}line") if line.get("class") == css]
    return [tuple(float(line.get(name, "nan")) for name in ("x1", "y1", "x2", "y2")) for line in found]


def lifelines(root: ElementTree.Element) -> dict[str, float]:
    """The x of each participant."""
    return {name: float(texts(root)[name].get("x", "nan")) for name in NODES}


def message(sent: float, arrived: float | None, source: str, target: str, label: str = "ping 1.0 out 1") -> Message:
    """A message with times in milliseconds; `arrived` None: it was lost."""
    return Message(int(sent * MS), None if arrived is None else int(arrived * MS), source, target, label)


class TestPictures:
    """Which shapes are drawn, and where."""

    def test_equal_input_gives_equal_text(self) -> None:
        one = [message(1, 2, "n0", "n1"), message(1.5, None, "n1", "n2")]
        assert draw(NODES, one, [Note(MS, "n0", "a")], "T") == draw(NODES, list(one), [Note(MS, "n0", "a")], "T")

    def test_an_arrow_goes_down_from_source_to_target(self) -> None:
        root = picture([message(1, 2, "n0", "n2", "phase2a 1.0 slot 1: x")])
        x = lifelines(root)
        [(x1, y1, x2, y2)] = lines(root, "phase2")
        assert (x1, x2) == (x["n0"], x["n2"])
        assert y2 > y1
        assert texts(root)["phase2a 1.0 slot 1: x"].get("class") == "phase2"

    def test_time_runs_down(self) -> None:
        root = picture([message(at, at + 1, "n0", "n1", f"ping {at}") for at in range(0, 9, 3)])
        ys = [float(texts(root)[f"ping {at}"].get("y", "nan")) for at in range(0, 9, 3)]
        assert ys == sorted(ys)
        assert len(set(ys)) == 3
        assert {"0 ms", "3 ms", "6 ms", "1 ms"} <= texts(root).keys()

    def test_messages_that_overtake_cross(self) -> None:
        root = picture([message(1, 9, "n0", "n1", "phase2a slow"), message(2, 5, "n0", "n1", "phase1a fast")])
        [(_, slow_sent, _, slow_arrived)] = lines(root, "phase2")
        [(_, fast_sent, _, fast_arrived)] = lines(root, "phase1")
        assert slow_sent < fast_sent < fast_arrived < slow_arrived

    def test_a_lost_message_is_dashed_ends_in_a_cross_and_does_not_arrive(self) -> None:
        root = picture([message(1, None, "n0", "n1", "phase2b 1.0 slot 1")])
        [(_, _, end, _)] = lines(root, "phase2 lost")
        assert lifelines(root)["n0"] < end < lifelines(root)["n1"]
        assert len(lines(root, "phase2")) == 2  # the cross
        assert list(root.iter(f"{SVG}polygon")) == []

    def test_one_label_to_several_is_shown_once(self) -> None:
        root = picture([message(1, 2, "n0", "n1", "ping to all"), message(1, 2, "n0", "n2", "ping to all")])
        assert [text.text for text in root.iter(f"{SVG}text")].count("ping to all") == 1
        assert len({y for _, y, _, _ in lines(root, "other")}) == 1
        assert len(lines(root, "other")) == 2

    def test_one_label_to_both_sides_is_shown_at_both(self) -> None:
        root = picture([message(1, 2, "n1", "n0", "ping to all"), message(1, 2, "n1", "n2", "ping to all")])
        assert [text.text for text in root.iter(f"{SVG}text")].count("ping to all") == 2

    def test_messages_to_one_participant_in_one_moment_keep_their_order(self) -> None:
        """Equal labels may share a row, but not above a message that was sent to the same target before."""
        sent = [("n1", "ping a"), ("n2", "ping b"), ("n2", "ping a")]
        root = picture([message(1, 2, "n0", target, words) for target, words in sent])
        ys = [y for _, y, _, _ in lines(root, "other")]
        assert ys[0] < ys[1] < ys[2]

    def test_equal_messages_to_one_target_are_two_arrows(self) -> None:
        root = picture([message(1, 2, "n0", "n1"), message(1, 2, "n0", "n1")])
        assert len({y for _, y, _, _ in lines(root, "other")}) == 2

    def test_a_message_that_arrives_at_once_is_a_level_line(self) -> None:
        [(_, y1, _, y2)] = lines(picture([message(1, 1, "n0", "n1")]), "other")
        assert y1 == y2

    def test_a_message_to_oneself_is_a_stub(self) -> None:
        [(x1, y1, x2, y2)] = lines(picture([message(1, 2, "n1", "n1")]), "other")
        assert 0 < x2 - x1 < 20
        assert y2 > y1

    def test_a_crash_interrupts_the_lifeline_until_the_restart(self) -> None:
        notes = [Note(2 * MS, "n1", "crashes"), Note(5 * MS, "n1", "restarts"), Note(9 * MS, "n2", "crashes")]
        root = picture([message(1, 2, "n0", "n2"), message(6, 7, "n0", "n2"), message(10, 11, "n0", "n1")], notes)
        dead = lines(root, "dead")
        x = lifelines(root)
        assert [x1 for x1, *_ in dead] == [x["n1"], x["n2"]]
        dots = [float(dot.get("cy", "nan")) for dot in root.iter(f"{SVG}circle")]
        assert dead[0][1::2] == (dots[0], dots[1])
        assert dead[1][1] == dots[2]
        assert dead[1][3] == lines(root, "life")[2][3]  # it stays dead to the end

    def test_a_pause_is_marked(self) -> None:
        assert "⋮" not in texts(picture([message(1, 2, "n0", "n1"), message(12, 13, "n0", "n1")]))
        assert "⋮" in texts(picture([message(1, 2, "n0", "n1"), message(900, 901, "n0", "n1")]))

    def test_markup_in_words_is_text(self) -> None:
        hostile = "</text><script>alert(1)</script>&amp; \"'"
        root = picture([message(1, 2, "n0", "n1", hostile)], [Note(MS, "n0", hostile)], hostile)
        assert root.find(f"{SVG}title") is not None
        assert list(root.iter(f"{SVG}script")) == []
        assert [text.text for text in root.iter(f"{SVG}text")].count(hostile) == 3

    def test_control_characters_do_not_break_the_document(self) -> None:
        root = picture([message(1, 2, "n0", "n1", "a\0b\nc\x1b")], [], "t\0")
        assert "a\ufffdb\ufffdc\ufffd" in texts(root)

    def test_long_words_are_cut_and_whole_in_the_tool_tip(self) -> None:
        long = "phase2a " + "x" * 200
        for source, target in (("n0", "n1"), ("n2", "n0")):
            root = picture([message(1, 2, source, target, long)], [Note(MS, "n2", "y" * 300)])
            cut = [text for text in root.iter(f"{SVG}text") if (text.text or "").endswith("…")]
            assert {title.text for text in cut for title in text.iter(f"{SVG}title")} == {long, "y" * 300}

    def test_an_unknown_participant_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"'n9' is none of the participants \['n0', 'n1', 'n2'\]"):
            picture([message(1, 2, "n0", "n9")])
        with pytest.raises(ValueError, match="'n8' is none of the participants"):
            picture([], [Note(0, "n8", "x")])

    def test_an_empty_picture(self) -> None:
        assert ElementTree.fromstring(draw([], [], [], "Nothing")).get("width") is not None

    def test_both_colour_schemes(self) -> None:
        style = picture([]).findtext(f"{SVG}style") or ""
        light, dark = style.split("@media(prefers-color-scheme:dark)")
        for name in ("phase1", "phase2", "learn", "client", "other"):
            assert f"text.{name}," in light
            assert f"text.{name}," in dark


def boxes(root: ElementTree.Element) -> list[tuple[float, float, float, float, str]]:
    """(left, top, right, bottom, words) of all words but the title and names."""
    found = []
    for text in root.iter(f"{SVG}text"):
        if text.get("class") in ("title", "name"):
            continue
        x, y, size = float(text.get("x", "nan")), float(text.get("y", "nan")), len(text.text or "") * CHARACTER_WIDTH
        size *= 10 / 11 if text.get("class") == "time" else 1
        left = {"end": x - size, "middle": x - size / 2}.get(text.get("text-anchor", "start"), x)
        found.append((left, y - 8, left + size, y + 2, text.text or ""))
    return found


def crosses(root: ElementTree.Element) -> list[tuple[float, float, float, float, str]]:
    """The crosses of lost messages as boxes: of each cross the stroke that falls."""
    strokes = [stroke for css in ("other", "phase1", "phase2", "client") for stroke in lines(root, css)]
    return [
        (*stroke, "a cross") for stroke in strokes if stroke[2] - stroke[0] == 10 and round(stroke[3] - stroke[1]) == 10
    ]


times = st.one_of(st.integers(0, 12), st.just(1000)).map(lambda half: half * MS // 2)
words = st.sampled_from(
    ["ping 1.0", "phase2a 1.0 slots 1-9: a b c d; decided 1-7", "phase1b " + "z" * 90, "leading 1.0"]
)
names = st.sampled_from(NODES)


@st.composite
def events(draw_from: st.DrawFn) -> tuple[list[Message], list[Note]]:
    """Messages and notes of three nodes, many of them in one moment."""
    messages = []
    for _ in range(draw_from(st.integers(0, 12))):
        sent = draw_from(times)
        arrived = draw_from(st.one_of(st.none(), times.map(lambda more: sent + more)))  # noqa: B023
        messages.append(Message(sent, arrived, draw_from(names), draw_from(names), draw_from(words)))
    notes = [Note(draw_from(times), draw_from(names), draw_from(words)) for _ in range(draw_from(st.integers(0, 8)))]
    return messages, notes


@settings(max_examples=150, deadline=None)
@given(events())
def test_words_never_overlap_and_are_inside_the_picture(what: tuple[list[Message], list[Note]]) -> None:
    root = picture(*what)
    found = boxes(root)
    found += [cross for cross in crosses(root) if cross not in found]
    for (left, top, right, bottom, one), (left2, top2, right2, bottom2, two) in itertools.combinations(found, 2):
        apart = right <= left2 or right2 <= left or bottom <= top2 or bottom2 <= top
        assert apart, f"{one!r} and {two!r} overlap"
    for left, top, right, bottom, one in found:
        inside = left >= 0 and top >= 0 and right <= float(root.get("width", "0"))
        assert inside, one
        assert bottom <= float(root.get("height", "0")), one


@settings(max_examples=100, deadline=None)
@given(events())
def test_events_of_one_participant_keep_their_order(what: tuple[list[Message], list[Note]]) -> None:
    """A later departure stands lower, and no arrival stands above its departure."""
    messages, notes = what
    labelled = [
        Message(one.sent_ns, one.arrived_ns, one.source, one.target, f"ping {place}")
        for place, one in enumerate(messages)
    ]
    root = picture(labelled, notes)
    at = {words.split()[1]: float(text.get("y", "nan")) for words, text in texts(root).items() if "ping " in words}
    for (place, one), (place2, two) in itertools.combinations(enumerate(messages), 2):
        if one.sent_ns < two.sent_ns:
            assert at[str(place)] < at[str(place2)]
    for _, y1, _, y2 in lines(root, "other"):
        assert y2 >= y1 or round(y1 - y2) == 10  # of a cross
