"""When those calls end whose callers said for how long they wait."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

from multipaxos.client.call import Call
from multipaxos.client.deadlines import PURGE_MIN, Deadlines
from tests.client.calls import calls_here


def added(deadlines: Deadlines, *due_s: float) -> list[Call[Any]]:
    """Calls that end at these times."""
    calls, found = calls_here(), []
    for each in due_s:
        call = calls.make(lambda *_: None, None, True, bytes, b"x")
        call.due_s = each
        deadlines.add(call)
        found.append(call)
    return found


def test_in_the_order_of_their_times() -> None:
    async def main() -> None:
        deadlines, due_s = Deadlines(), [float(i) for i in range(100)]
        random.Random(1).shuffle(due_s)
        added(deadlines, *due_s)
        assert deadlines.next_s == 0
        assert [call.due_s for call in deadlines.due(49.5)] == list(range(50))
        assert [call.due_s for call in deadlines.due(1000)] == list(range(50, 100))
        assert (len(deadlines), deadlines.next_s) == (0, math.inf)

    asyncio.run(main())


def test_calls_that_ended_are_neither_given_nor_kept() -> None:
    async def main() -> None:
        deadlines = Deadlines()
        first, second = added(deadlines, 1.0, 2.0)
        first.cancel()
        assert list(deadlines.due(0.0)) == []
        assert deadlines.next_s == 2.0
        for _ in range(10 * PURGE_MIN):
            (call,) = added(deadlines, 3.0)
            call.cancel()
            assert len(deadlines) <= PURGE_MIN + 1
        assert list(deadlines.due(3.0)) == [second]

    asyncio.run(main())
