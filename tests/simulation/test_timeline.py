"""Virtual time: order, limits, notes."""

import pytest

from multipaxos.simulation.timeline import MS, Note, Timeline


def test_events_happen_in_order_of_time_and_then_as_they_were_planned():
    timeline = Timeline()
    seen = []
    for name, delay_ns in (("c", 2), ("a", 1), ("d", 2), ("b", 1)):
        timeline.after(delay_ns, lambda name=name: seen.append((name, timeline.now_ns)))
    timeline.run_for(10)
    assert seen == [("a", 1), ("b", 1), ("c", 2), ("d", 2)]
    assert timeline.steps == 4


def test_an_event_may_plan_others():
    timeline = Timeline(MS)
    seen = []
    timeline.after(5, lambda: timeline.after(0, lambda: seen.append(timeline.now_ns)))
    timeline.run_for(MS)
    assert seen == [MS + 5]


def test_run_until_ends_when_it_is_done_or_at_its_limit():
    timeline = Timeline()
    for delay_ns in (1, 2, 30):
        timeline.after(delay_ns, lambda: None)
    assert timeline.run_until(lambda: timeline.steps == 2, 10)
    assert timeline.now_ns == 2
    assert not timeline.run_until(lambda: False, 10)
    assert timeline.now_ns == 30  # the first event after the limit has happened
    assert timeline.next_ns() is None


def test_without_events_time_passes_all_the_same():
    timeline = Timeline(7)
    timeline.run_for(10)
    assert (timeline.now_ns, timeline.steps) == (17, 0)
    with pytest.raises(IndexError):
        timeline.step()


def test_notes_have_the_time_at_which_they_were_made():
    timeline = Timeline()
    timeline.after(4, lambda: timeline.note(1, "adopted at ballot 1.1", "adopted"))
    timeline.note(-1, "begins")
    timeline.run_for(10)
    assert timeline.notes == [Note(0, -1, "begins"), Note(4, 1, "adopted at ballot 1.1", "adopted")]
