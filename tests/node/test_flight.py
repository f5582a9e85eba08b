"""How many bytes a leader has undecided: what keeps disks and links busy, and no queue before them."""

from __future__ import annotations

from tests.support.one_node import OneNode, command

MIB = 1 << 20
LONG = bytes(MIB // 2)


class Leader(OneNode):
    """It leads; every client has one command in flight at a time, and node 1 votes when told to."""

    def __init__(self, clients: int) -> None:
        super().__init__(in_flight_bytes=8 * MIB, window=1024)
        self.at = self.lead()
        self.next_client = 1
        for link in range(1, clients + 1):
            self.client(link)

    @property
    def window(self) -> int:
        return int(self.core.status()["flight_window_bytes"])

    @property
    def undecided(self) -> int:
        return self.core.replica.slot_in - self.core.slot_out

    def put(self, payload: bytes) -> None:
        """One more client's first command, in a wake-up of its own."""
        self.tick(2)
        self.request(self.next_client, command(100 + self.next_client, 1, payload))
        self.next_client += 1

    def decide(self, after_ms: float, slots: int = 1) -> None:
        """The next slots are decided, so much later."""
        first = self.core.slot_out
        self.tick(after_ms)
        self.sync()
        self.accept(1, self.at, first, first + slots)


def held_back() -> Leader:
    """Decisions behind much took long: its window is the least."""
    one = Leader(100)
    one.put(b"small")
    one.decide(1)
    for _ in range(12):
        one.put(LONG)
        one.put(LONG)
        one.decide(20)
    while one.undecided:
        one.decide(20)
    return one


def test_what_waits_behind_long_decisions_waits_for_a_slot_and_not_in_one() -> None:
    one = Leader(0)
    assert one.window == 8 * MIB
    one = held_back()
    assert one.window == 256 << 10
    for _ in range(4):
        one.put(LONG)
    assert (one.undecided, len(one.core.replica.requests)) == (1, 3)


def test_a_small_command_is_not_held_up_by_large_ones_that_wait() -> None:
    one = held_back()
    for _ in range(3):
        one.put(LONG)
    assert one.undecided == 1
    one.put(b"small")
    assert one.undecided == 2
    one.decide(20, 2)
    assert one.undecided == 1, "the next large one"


def test_the_window_grows_again_when_decisions_are_quick() -> None:
    one = held_back()
    for _ in range(30):
        one.put(LONG)
    narrow = one.window
    for _ in range(12):
        one.decide(2)
    assert one.window > 2 * narrow


def test_small_commands_never_wait_for_it() -> None:
    one = held_back()
    for _ in range(20):
        one.put(bytes(64))
    assert one.undecided == 20
    one.core.invariants()


def test_who_is_overtaken_keeps_the_order_of_its_commands() -> None:
    """Small commands leave the queue from its middle; the places that they leave are used again."""
    one = held_back()
    for n in range(1, 5):
        for session in (4000, 4001):
            one.tick(2)
            one.request(1, command(session, n, b"%d " % session + LONG))
    waiting = len(one.core.replica.requests)
    assert waiting == 7
    for n in range(1, 601):
        one.request(2, command(5000, n, b"small"))
        one.core.invariants()
    assert len(one.core.replica.requests) == waiting
    while one.undecided:
        one.decide(20, one.undecided)
        one.core.invariants()
    order = [payload[:5] for payload in one.decided() if payload and payload[5:] == LONG]
    assert (order.count(b"4000 "), order.count(b"4001 "), len(one.core.replica.requests)) == (4, 4, 0)
