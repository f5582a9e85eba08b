"""The timer of an open loop."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvloop

from multipaxos.load.timerfd import Timer

MS = 1_000_000


async def fired(*plan_ns: int) -> list[int]:
    """The times at which a timer fired first, in nanoseconds from now, after it was armed at each of these times."""
    times: list[int] = []
    done = asyncio.Event()

    def on_due() -> None:
        times.append(time.monotonic_ns())
        done.set()

    timer = Timer(asyncio.get_running_loop(), on_due)
    began = time.monotonic_ns()
    try:
        for after in plan_ns:
            timer.arm(began + after)
        await asyncio.wait_for(done.wait(), 30)
    finally:
        timer.close()
        timer.close()
    return [at - began for at in times]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_it_fires_at_its_time_and_not_before(run) -> None:
    assert run(fired(3 * MS))[0] >= 3 * MS


def test_what_is_armed_last_holds() -> None:
    assert asyncio.run(fired(3600_000 * MS, 2 * MS))[0] < 1000_000 * MS
    assert asyncio.run(fired(1 * MS, 20 * MS))[0] >= 20 * MS


def test_a_time_in_the_past_fires_at_once() -> None:
    assert len(asyncio.run(fired(-(10**18)))) == 1


def test_a_closed_one_does_not_fire() -> None:
    """It would be due before another timer that the test waits for."""

    async def close_then_wait() -> list[str]:
        fired: list[str] = []
        due = asyncio.Event()
        loop = asyncio.get_running_loop()
        closed, other = Timer(loop, lambda: fired.append("closed")), Timer(loop, due.set)
        closed.arm(1)
        closed.close()
        other.arm(time.monotonic_ns() + MS)
        await asyncio.wait_for(due.wait(), 30)
        other.close()
        return fired

    assert asyncio.run(close_then_wait()) == []
