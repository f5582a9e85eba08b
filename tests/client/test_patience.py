"""How long a client waits for a silent node: in numbers, without a clock."""

from __future__ import annotations

from multipaxos.client.patience import (
    CARRIED_BYTES_PER_S,
    CARRY_MAX_S,
    PATIENCE_MAX_S,
    REWIND_MAX_S,
    REWIND_S,
    Patience,
)

RETRY_S = 0.4


class Seen:
    """What the owner of a link sees of it; it tells a `Patience`."""

    def __init__(self) -> None:
        self.patience = Patience(RETRY_S)
        self.now_s = 0.0
        self.facts = {"answers": 0, "received_bytes": 0, "written_bytes": 0, "unsent_bytes": 0, "sent": 0, "last": 0}

    def after(self, seconds: float, **facts: int) -> bool:
        """Looks again, so much later; is the patience over?"""
        self.now_s += seconds
        self.facts.update(facts)
        self.patience.look(self.now_s, **self.facts)
        return self.patience.is_over(self.now_s, 0)


def test_a_silent_node_is_left_after_a_while() -> None:
    seen = Seen()
    seen.patience.begin(0.0, 1)
    assert not seen.after(0.3, written_bytes=10, sent=1, last=1)
    seen.after(0.0)  # they drain
    assert not seen.after(0.3)
    assert seen.after(0.2)


def test_a_node_has_time_to_carry_what_it_got() -> None:
    patience = Patience(RETRY_S)
    patience.begin(0.0, 1)
    assert not patience.is_over(RETRY_S + 0.9, CARRIED_BYTES_PER_S)
    assert patience.is_over(RETRY_S + 1.1, CARRIED_BYTES_PER_S)
    assert patience.is_over(RETRY_S + CARRY_MAX_S + 0.1, 1 << 40)


def test_while_bytes_drain_the_node_is_not_silent() -> None:
    seen, megabyte = Seen(), 1_000_000
    seen.patience.begin(0.0, 1)
    seen.after(0.0, written_bytes=megabyte, unsent_bytes=megabyte, sent=1, last=1)
    for step in range(1, 11):
        assert not seen.after(0.3, unsent_bytes=megabyte - step * 100_000)
    assert not seen.after(0.3)
    assert seen.after(0.2)


def test_what_waits_for_its_turn_on_the_link_counts_when_it_drains() -> None:
    """Three requests that were there at the beginning, written one after another."""
    seen = Seen()
    seen.patience.begin(0.0, 3)
    for sent in (1, 2, 3):
        assert not seen.after(0.3, written_bytes=sent * 1000, unsent_bytes=500, sent=sent, last=3)
        assert not seen.after(0.3, unsent_bytes=0)
    assert seen.after(0.5)


def test_new_commands_that_a_stopped_node_takes_say_nothing() -> None:
    """Its kernel acknowledges them."""
    seen = Seen()
    seen.patience.begin(0.0, 1)
    seen.after(0.0, written_bytes=100, sent=1, last=1)
    over = [
        seen.after(0.1, written_bytes=100 * n, sent=n, last=n) for n in range(2, 9)
    ]  # the first one's bytes count, once
    assert over == sorted(over)
    assert over[-1]


def test_only_answers_take_back_what_silent_nodes_have_taught() -> None:
    seen = Seen()
    for _ in range(10):
        seen.patience.begin(seen.now_s, 1)
        seen.patience.lose()
    assert not seen.after(PATIENCE_MAX_S - 0.1, received_bytes=10)
    assert not seen.after(PATIENCE_MAX_S - 0.1)  # a word of the node, and no answer
    assert seen.after(0.2)
    assert not seen.after(0.0, received_bytes=20, answers=1)
    assert seen.after(RETRY_S + 0.1)


def test_what_could_not_be_taken_is_sent_again_after_pauses_that_double() -> None:
    patience, now_s, waits = Patience(RETRY_S), 0.0, []
    for _ in range(7):
        began_s = now_s
        while not patience.may_rewind(now_s, 0):
            now_s += 0.001
        waits.append(round(now_s - began_s, 2))
    assert waits == [REWIND_S, 0.04, 0.08, 0.16, 0.32, REWIND_MAX_S, REWIND_MAX_S]


def test_it_is_never_sent_again_behind_its_own_copy() -> None:
    patience = Patience(RETRY_S)
    assert not any(patience.may_rewind(now_s, 1) for now_s in range(100))
    assert patience.may_rewind(100, 0)
