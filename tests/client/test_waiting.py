"""The calls that wait for room."""

from __future__ import annotations

import asyncio

import pytest

from multipaxos.client.waiting import PURGE_MIN, Queue, Reply
from multipaxos.errors import NoQuorum


def futures(count: int) -> list[asyncio.Future[Reply]]:
    """So many calls."""
    return [asyncio.get_running_loop().create_future() for _ in range(count)]


def test_first_in_first_out() -> None:
    async def main() -> None:
        queue, calls = Queue(), futures(3)
        for i, call in enumerate(calls):
            queue.add(call, b"%d" % i, *[[1.0], []][i % 2])
        assert (len(queue), queue.next_command) == (3, b"0")
        assert [queue.pop() for _ in calls] == [(calls[0], b"0", True), (calls[1], b"1", False), (calls[2], b"2", True)]
        assert not queue

    asyncio.run(main())


def test_calls_that_have_waited_for_too_long() -> None:
    """But not those whose caller said how long they wait."""

    async def main() -> None:
        queue, calls = Queue(), futures(4)
        for call, since_s in zip(calls, ([1.0], [], [2.0], [3.0]), strict=True):
            queue.add(call, b"x", *since_s)
        queue.end_before(2.0, NoQuorum("none"))
        assert [call.done() for call in calls] == [True, False, True, False]
        assert [queue.pop()[0], queue.pop()[0]] == [calls[1], calls[3]]
        for call in (calls[0], calls[2]):
            with pytest.raises(NoQuorum):
                call.result()

    asyncio.run(main())


def test_calls_that_ended_are_not_kept() -> None:
    async def main() -> None:
        queue, (first,) = Queue(), futures(1)
        queue.add(first, b"first")
        for _ in range(10 * PURGE_MIN):
            (call,) = futures(1)
            queue.add(call, b"x")
            call.cancel()
            assert len(queue) <= PURGE_MIN + 1
        assert queue.pop()[0] is first
        queue.fail(NoQuorum("the others have ended"))
        assert not queue

    asyncio.run(main())
