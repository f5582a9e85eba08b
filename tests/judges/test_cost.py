"""The judge of cost counts copies, slots, elections and bytes held."""

from dataclasses import replace

import pytest

from multipaxos.judges.cost import Bounds, Cost
from multipaxos.judges.violation import Violation
from multipaxos.wire import codec
from tests.support.one_node import ballot

ONE, TWO = ballot(1, 0), ballot(2, 1)
COMMAND = (1, 1, 0, 0, b"x" * 1000, 7)
BOUNDS = Bounds(memory_bytes=1000, in_flight_bytes=100, link_bytes=10)
FINE = {"commands": 10, "slots": 11, "elections": 0, "faults": 0, "bounds": BOUNDS}


def run(at, *commands, first=5):
    return codec.encode_phase2a(at, first, 1, (0, 1, 1), list(commands))


def send(cost, frame, link=1):
    cost.on_send(link, codec.decode_message(frame), len(frame))


def test_one_copy_for_each_link_and_message_is_needed():
    cost = Cost()
    send(cost, run(ONE, COMMAND), link=1)
    send(cost, run(ONE, COMMAND), link=2)
    send(cost, run(TWO, COMMAND), link=1)
    send(cost, run(TWO, COMMAND, first=6), link=1)
    send(cost, codec.encode_request([COMMAND]))
    send(cost, codec.encode("phase1b", ballot=TWO, first=5, end=6, mark=1, pvalues=pvalues(ONE)))
    send(cost, codec.encode("fetched", first=5, end=6, mark=1, pvalues=pvalues(ONE)))
    assert cost.carried_bytes > 7000
    assert cost.repeated_bytes == 0
    assert cost.ratio == 1


def pvalues(at):
    return [{"first": 5, "end": 6, "run": run(at, COMMAND)}]


@pytest.mark.parametrize(
    "frame",
    [
        run(ONE, COMMAND),
        codec.encode_request([COMMAND]),
        codec.encode("phase1b", ballot=TWO, first=5, end=6, mark=1, pvalues=pvalues(ONE)),
        codec.encode("fetched", first=5, end=6, mark=1, pvalues=pvalues(ONE)),
    ],
)
def test_a_copy_more_is_a_repetition(frame):
    cost = Cost()
    for _ in range(2):
        send(cost, frame)
    assert cost.repeated_bytes == 1000
    with pytest.raises(Violation, match="bytes carried"):
        cost.check(**FINE)


def test_what_was_before_the_beginning_is_not_counted_but_known():
    cost = Cost()
    send(cost, run(ONE, COMMAND))
    cost.on_memory(5, 5)
    cost.on_waiting(5)
    cost.begin()
    assert cost.carried_bytes == cost.memory_bytes == cost.in_flight_bytes == cost.link_bytes == 0
    send(cost, run(ONE, COMMAND))
    assert cost.repeated_bytes == 1000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"slots": 12}, "12 slots for 10 commands"),
        ({"slots": 21, "faults": 1}, "21 slots"),
        ({"elections": 1}, "1 elections"),
        ({"elections": 2, "faults": 1}, "2 elections"),
        ({"bounds": replace(BOUNDS, memory_bytes=999)}, "held 1,000 bytes"),
        ({"bounds": replace(BOUNDS, in_flight_bytes=99)}, "undecided 100 bytes"),
        ({"bounds": replace(BOUNDS, link_bytes=9)}, "on one link waited 10 bytes"),
    ],
)
def test_bounds(changes, says):
    cost = Cost()
    cost.on_memory(1000, 100)
    cost.on_waiting(10)
    cost.check(**FINE)
    cost.check(**FINE | {"slots": 20, "elections": 1, "faults": 1})
    with pytest.raises(Violation, match=says):
        cost.check(**FINE | changes)
