"""The calls that wait for room."""

from __future__ import annotations

import asyncio
import gc
import math
from typing import Any

import pytest

from multipaxos.client.call import Call
from multipaxos.client.waiting import PURGE_MIN, Queue
from multipaxos.errors import NoQuorum
from tests.client.calls import calls_here


def waiting(queue: Queue, *since_s: float) -> list[Call[Any]]:
    """Calls that began to wait at these times."""
    calls, found = calls_here(), []
    for i, each in enumerate(since_s):
        call = calls.make(lambda *_: None, None, True, bytes, b"%d" % i)
        call.since_s = each
        queue.add(call)
        found.append(call)
    return found


def test_first_in_first_out() -> None:
    async def main() -> None:
        queue = Queue()
        calls = waiting(queue, 1.0, math.inf, 2.0)
        assert len(queue) == 3
        assert queue.next() is calls[0]
        assert [queue.pop() for _ in calls] == calls
        assert (len(queue), queue.next()) == (0, None)

    asyncio.run(main())


def test_a_call_that_ended_is_passed_over() -> None:
    async def main() -> None:
        queue = Queue()
        calls = waiting(queue, 1.0, 1.0)
        calls[0].cancel()
        assert queue.next() is calls[1]

    asyncio.run(main())


def test_the_collector_does_not_see_a_call_that_waits() -> None:
    async def main() -> None:
        queue = Queue()
        calls = waiting(queue, *[1.0] * 3)
        calls[1].cancel()
        queue.pop()
        assert [gc.is_tracked(call) for call in calls] == [False, True, False]

    asyncio.run(main())


def test_calls_that_have_waited_for_too_long() -> None:
    """But not those whose caller said how long they wait."""

    async def main() -> None:
        queue = Queue()
        calls = waiting(queue, 1.0, math.inf, 2.0, 3.0)
        queue.end_before(2.0, NoQuorum("none"))
        assert [call.done() for call in calls] == [True, False, True, False]
        assert [queue.pop(), queue.pop()] == [calls[1], calls[3]]
        for call in (calls[0], calls[2]):
            with pytest.raises(NoQuorum):
                call.result()

    asyncio.run(main())


def test_calls_that_ended_are_not_kept() -> None:
    async def main() -> None:
        queue = Queue()
        (first,) = waiting(queue, 1.0)
        for _ in range(10 * PURGE_MIN):
            (call,) = waiting(queue, 1.0)
            call.cancel()
            assert len(queue) <= PURGE_MIN + 1
        assert queue.pop() is first
        queue.fail(NoQuorum("the others have ended"))
        assert not queue

    asyncio.run(main())
