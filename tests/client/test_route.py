"""Which node a client talks to: on made-up times, without sockets."""

from __future__ import annotations

from multipaxos.client.route import AVOID_S, REFUSED_S, RETRY_MAX_S, Route

A, B, C = ("a", 1), ("b", 2), ("c", 3)
NO_LEADER = 0


def ballot(round_: int, node_id: int) -> int:
    """A ballot of this node."""
    return round_ << 24 | node_id


def route(retry_s: float = 0.4) -> Route:
    """Three addresses, of which the first is tried first."""
    return Route([A, B, C], retry_s, 2)


def test_without_a_leader_the_addresses_are_tried_in_turn() -> None:
    way = route()
    assert [way.next(NO_LEADER, 0.0) for _ in range(4)] == [A, B, C, A]


def test_the_leader_is_first_looked_for_at_its_place_in_the_list() -> None:
    way = route()
    assert way.next(ballot(3, 1), 0.0) == B
    assert way.is_led_elsewhere(ballot(3, 1), 0, 0.0)
    way.met(1, C, 0.0)
    assert way.next(ballot(3, 1), 0.0) == C, "the list is in another order"
    assert way.next(ballot(3, 2), 0.0) == A, "C is node 1's, so it is not node 2's"
    assert not way.is_led_elsewhere(ballot(3, 1), 1, 0.0)
    assert way.is_led_elsewhere(ballot(3, 1), 0, 0.0)


def test_a_leader_outside_the_list_is_not_looked_for() -> None:
    way = route()
    assert way.next(ballot(1, 7), 0.0) == A
    assert not way.is_led_elsewhere(ballot(1, 7), 0, 0.0)


def test_an_address_is_avoided_for_a_while() -> None:
    way = route()
    way.avoid_silent(A, 10.0)
    way.avoid_refused(B, 10.0)
    assert way.next(NO_LEADER, 10.0) == C
    assert way.next(NO_LEADER, 10.0) == C
    assert way.next(NO_LEADER, 10.0 + REFUSED_S) == B
    assert way.next(NO_LEADER, 10.0 + AVOID_S) == C
    assert way.next(NO_LEADER, 10.0 + AVOID_S) == A


def test_a_leader_that_is_silent_is_avoided_too() -> None:
    way = route()
    way.met(0, A, 0.0)
    way.avoid_silent(A, 10.0)
    assert way.next(ballot(1, 0), 10.1) == B
    assert not way.is_led_elsewhere(ballot(1, 0), 1, 10.1)
    assert way.is_led_elsewhere(ballot(1, 0), 1, 10.0 + AVOID_S)


def test_if_all_are_avoided_one_is_tried_all_the_same() -> None:
    way = route()
    for address in (A, B, C):
        way.avoid_silent(address, 10.0)
    assert way.next(NO_LEADER, 10.1) in (A, B, C)


def test_an_address_that_refuses_again_and_again_is_not_the_only_one_that_is_tried() -> None:
    """Two nodes were silent in an election, and the third one is down for good."""
    way, now_s = route(), 10.0
    for _ in range(4):
        way.avoid_refused(C, now_s)
        now_s += REFUSED_S / 2
    way.avoid_silent(A, now_s)
    way.avoid_silent(B, now_s + 0.1)
    tried = []
    for _ in range(3):
        address = way.next(NO_LEADER, now_s + 0.2)
        tried.append(address)
        if address == C:
            way.avoid_refused(C, now_s + 0.2)
        else:
            way.avoid_silent(address, now_s + 0.2)
    assert tried == [C, A, B]


def test_an_address_that_refused_and_then_answered_is_as_good_as_new() -> None:
    way = route()
    for _ in range(8):
        way.avoid_refused(A, 10.0)
    assert way.next(NO_LEADER, 10.0 + AVOID_S) == A
    way.met(0, A, 0.0)
    way.avoid_refused(A, 20.0)
    assert [way.next(NO_LEADER, 20.0) for _ in range(2)] == [B, C]
    assert way.next(NO_LEADER, 20.0 + REFUSED_S) == A


def test_a_slow_connection_gets_more_time() -> None:
    way = route(0.4)
    assert way.dial_s == 0.4
    way.avoid_slow(A, 0.0)
    assert way.dial_s == 0.4 * 1.5
    for _ in range(20):
        way.avoid_slow(A, 0.0)
    assert way.dial_s == RETRY_MAX_S
    way.met(0, A, 0.5)
    assert way.dial_s == 1.0, "twice what the connection took"
    way.met(0, A, 0.001)
    assert way.dial_s == 0.4
