"""The judge of cost counts copies, slots, elections and bytes held."""

import pytest

from multipaxos.judges.cost import Cost
from multipaxos.judges.violation import Violation
from multipaxos.wire import codec
from tests.support.one_node import ballot

ONE, TWO = ballot(1, 0), ballot(2, 1)
COMMAND = (1, 1, 0, 0, b"x" * 1000, 7)
FINE = {"commands": 10, "slots": 11, "elections": 0, "faults": 0, "memory_bytes_max": 1000}


def run(at, *commands):
    return codec.encode_phase2a(at, 5, 1, (0, 1, 1), list(commands))


def send(cost, frame, sender=0, receiver=1):
    cost.on_send(sender, receiver, codec.decode_message(frame), len(frame))


def test_one_copy_for_each_node_and_message_is_needed():
    cost = Cost()
    send(cost, run(ONE, COMMAND), receiver=1)
    send(cost, run(ONE, COMMAND), receiver=2)
    send(cost, run(TWO, COMMAND), receiver=1)
    send(cost, codec.encode_request([COMMAND]))
    pvalues = [{"first": 5, "end": 6, "run": run(ONE, COMMAND)}]
    send(cost, codec.encode("phase1b", ballot=TWO, first=5, end=6, mark=1, pvalues=pvalues))
    send(cost, codec.encode("fetched", first=5, end=6, mark=1, pvalues=pvalues))
    assert cost.carried_bytes > 6000
    assert cost.repeated_bytes == 0
    assert cost.ratio == 1


def test_a_copy_more_is_a_repetition():
    cost = Cost()
    for _ in range(2):
        send(cost, run(ONE, COMMAND))
    assert cost.repeated_bytes == 1000
    with pytest.raises(Violation, match="bytes carried"):
        cost.check(**FINE)


def test_of_clients_nothing_is_counted():
    cost = Cost()
    send(cost, codec.encode_response(1, [(1, 1, 0, b"x" * 1000)]), receiver=-1)
    assert cost.carried_bytes == 0


def test_what_was_before_the_beginning_is_not_counted_but_known():
    cost = Cost()
    send(cost, run(ONE, COMMAND))
    cost.on_memory(5)
    cost.begin()
    assert cost.carried_bytes == cost.memory_bytes == 0
    send(cost, run(ONE, COMMAND))
    assert cost.repeated_bytes == 1000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"slots": 12}, "12 slots for 10 commands"),
        ({"slots": 21, "faults": 1}, "21 slots"),
        ({"elections": 1}, "1 elections"),
        ({"elections": 2, "faults": 1}, "2 elections"),
        ({"memory_bytes_max": 99}, "held 100 bytes"),
    ],
)
def test_bounds(changes, says):
    cost = Cost()
    cost.on_memory(100)
    cost.check(**FINE)
    cost.check(**FINE | {"slots": 20, "elections": 1, "faults": 1})
    with pytest.raises(Violation, match=says):
        cost.check(**FINE | changes)
