"""The timer of an open loop."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvloop

from multipaxos.load.timerfd import PreciseTimer

MS = 1_000_000


async def fired(*plan_ns: int, rearm_ns: int | None = None) -> list[int]:
    """When it fired, after arming it at each of these moments from now; waits for the last."""
    times: list[int] = []
    done = asyncio.Event()

    def on_due() -> None:
        times.append(time.monotonic_ns())
        done.set()

    timer = PreciseTimer(asyncio.get_running_loop(), on_due)
    began = time.monotonic_ns()
    try:
        for after in plan_ns:
            timer.arm(began + after)
        await asyncio.wait_for(done.wait(), 30)
    finally:
        timer.close()
        timer.close()
    return [at - began for at in times]


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_it_fires_at_its_time_and_not_before(run) -> None:
    assert run(fired(3 * MS))[0] >= 3 * MS


def test_what_is_armed_last_holds() -> None:
    assert asyncio.run(fired(3600_000 * MS, 2 * MS))[0] < 1000_000 * MS
    assert asyncio.run(fired(1 * MS, 20 * MS))[0] >= 20 * MS


def test_a_time_in_the_past_fires_at_once() -> None:
    assert len(asyncio.run(fired(-(10**18)))) == 1


def test_a_closed_one_does_not_fire() -> None:
    async def close_then_wait() -> list[int]:
        times: list[int] = []
        timer = PreciseTimer(asyncio.get_running_loop(), lambda: times.append(1))
        timer.arm(time.monotonic_ns() + MS)
        timer.close()
        await asyncio.sleep(0.02)
        return times

    assert asyncio.run(close_then_wait()) == []
