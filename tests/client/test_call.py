"""One call of a client: a future, and a coroutine."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from multipaxos.client.call import Call, Calls
from multipaxos.errors import NoQuorum
from tests.client.calls import calls_here


def read(command: bytes, status: int, slot: int, answer: bytes) -> bytes:
    """Everything that was handed in, as bytes; status 1 is an error."""
    if status == 1:
        raise NoQuorum("refused by the test")
    return b"%s %d %d %s" % (command, status, slot, answer)


class Begun:
    """Calls whose test answers them. `calls`: those that have begun, in order."""

    def __init__(self) -> None:
        self.calls: list[Call[bytes]] = []
        self.made = calls_here(self.calls.append)

    def call(self, name: bytes = b"x") -> Call[bytes]:
        """Makes one."""
        return self.made.make(read, None, True, bytes, name)

    def answer_soon(self, status: int = 0) -> None:
        """Answers the first call in the loop's next turn but one."""
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: loop.call_soon(lambda: self.calls.pop(0).answer(status, 7, b"y")))


ANSWER = b"x 0 7 y"

WAYS: dict[str, Callable[[Call[bytes]], Awaitable[Any]]] = {
    "await": lambda call: call,
    "task": lambda call: asyncio.create_task(call),
    "ensure_future": asyncio.ensure_future,
    "gather": lambda call: first_of(asyncio.gather(call)),
    "wait_for": lambda call: asyncio.wait_for(call, 60),
    "shield": asyncio.shield,
    "as_completed": lambda call: next(asyncio.as_completed([call])),
    "task group": lambda call: in_a_group(call),
    "from another thread": lambda call: asyncio.wrap_future(
        asyncio.run_coroutine_threadsafe(call, asyncio.get_running_loop())
    ),
}


async def first_of(several: Awaitable[list[bytes]]) -> bytes:
    """The only result."""
    (result,) = await several
    return result


async def in_a_group(call: Coroutine[Any, Any, bytes]) -> bytes:
    """As the only task of a group."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(call)
    return task.result()


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_every_way_to_await_it(way: Callable[[Call[bytes]], Awaitable[bytes]]) -> None:
    """It has begun when it is made; the result arrives, and so does an error."""

    async def main() -> None:
        begun = Begun()
        call = begun.call()
        assert begun.calls == [call]
        begun.answer_soon()
        assert await way(call) == ANSWER
        begun.call()
        begun.answer_soon(1)
        with pytest.raises((NoQuorum, ExceptionGroup)):
            await way(begun.calls[0])

    asyncio.run(main())


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_ended_call_can_be_awaited_every_way(way: Callable[[Call[bytes]], Awaitable[bytes]]) -> None:
    async def main() -> None:
        call = Begun().call()
        call.answer(0, 7, b"y")
        assert await way(call) == ANSWER
        assert await call == ANSWER

    asyncio.run(main())


@pytest.mark.parametrize("name", ["await", "task", "ensure_future", "gather", "wait_for", "task group"])
def test_a_cancelled_wait_cancels_the_call(name: str) -> None:
    """And whoever waits gets CancelledError; an answer that comes later is dropped."""

    async def main() -> None:
        begun = Begun()
        call = begun.call()

        async def wait() -> None:
            await WAYS[name](call)

        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert call.cancelled()
        call.answer(0, 7, b"late")
        with pytest.raises(asyncio.CancelledError):
            call.result()

    asyncio.run(main())


def test_gather_with_a_cancelled_call() -> None:
    async def main() -> None:
        begun = Begun()
        one, two = begun.call(), begun.call()
        one.cancel("why")
        two.answer(0, 7, b"y")
        results = await asyncio.gather(one, two, return_exceptions=True)
        assert (repr(results[0]), results[1]) == ("CancelledError('why')", ANSWER)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.gather(one, two)

    asyncio.run(main())


def test_several_wait_for_one_call() -> None:
    async def main() -> None:
        begun = Begun()
        call = begun.call()

        async def wait() -> bytes:
            return await call

        begun.answer_soon()
        assert await asyncio.gather(wait(), wait(), call) == [ANSWER] * 3

    asyncio.run(main())


def test_what_cannot_be_encoded_is_raised_where_it_is_awaited() -> None:
    async def main() -> None:
        begun = Begun()
        call = begun.made.make(read, None, True, lambda: (_ for _ in ()).throw(ValueError("wrong")))  # type: ignore[arg-type]
        for _ in range(2):
            with pytest.raises(ValueError, match="wrong"):
                await call
        assert begun.calls == []

    asyncio.run(main())


def test_it_begins_in_the_loop_of_its_client() -> None:
    """Made in another thread, it begins when its loop first waits for it; another loop cannot await it."""

    async def main() -> None:
        begun = Begun()
        found: list[Call[bytes]] = []
        thread = threading.Thread(target=lambda: found.append(begun.call()))
        thread.start()
        thread.join()
        assert begun.calls == []

        async def elsewhere() -> None:
            with pytest.raises(RuntimeError, match="another event loop"):
                await found[0]

        await asyncio.to_thread(asyncio.run, elsewhere())
        begun.answer_soon()
        assert await found[0] == ANSWER

    asyncio.run(main())


def test_a_call_that_was_not_begun_and_is_given_up_never_begins() -> None:
    async def main() -> None:
        begun = Begun()
        call = await asyncio.to_thread(begun.call)
        task = asyncio.create_task(call)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (call.cancelled(), begun.calls) == (True, [])

    asyncio.run(main())


def test_callbacks_run_in_their_contexts() -> None:
    """Each in a copy of its own, in the order in which they were added, also if one of them fails."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    seen: list[object] = []

    def note(call: Call[bytes]) -> None:
        seen.append(variable.get())
        variable.set(99)

    def fail(call: Call[bytes]) -> None:
        raise ValueError("of the callback")

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        begun = Begun()
        calls = [begun.call() for _ in range(3)]
        for i, call in enumerate(calls):
            call.add_done_callback(note)
            variable.set(i // 2 + 1)
            call.add_done_callback(fail)
            call.add_done_callback(note)
        given = contextvars.copy_context()
        given.run(variable.set, 50)
        calls[2].add_done_callback(note, context=given)
        for call in calls:
            call.answer(0, 7, b"y")
        assert seen == []
        await asyncio.sleep(0)
        assert seen == [0, 1, 1, 1, 1, 2, 50]
        assert given[variable] == 99
        assert [str(each["exception"]) for each in told] == ["of the callback"] * 3
        calls[0].add_done_callback(note)
        assert len(seen) == 7
        await asyncio.sleep(0)
        assert seen[7:] == [2]

    asyncio.run(main())


def test_callbacks_can_be_removed() -> None:
    async def main() -> None:
        call, ran = Begun().call(), []
        one, two = (lambda _: ran.append(1)), (lambda _: ran.append(2))
        for each in (one, two, one, two):
            call.add_done_callback(each)
        assert (call.remove_done_callback(one), call.remove_done_callback(one)) == (2, 0)
        call.answer(0, 7, b"y")
        assert call.remove_done_callback(two) == 0
        await asyncio.sleep(0)
        assert ran == [2, 2]

    asyncio.run(main())


def test_an_error_that_nobody_looked_at_is_told() -> None:
    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        begun = Begun()
        for look in (False, True):
            call = begun.call()
            begun.calls.clear()
            call.fail(NoQuorum(f"{look}"))
            if look:
                assert isinstance(call.exception(), NoQuorum)
            del call
        assert [str(each["exception"]) for each in told] == ["False"]

    asyncio.run(main())


def test_before_its_end_there_is_no_result() -> None:
    async def main() -> None:
        call = Begun().call()
        assert (call.done(), call.cancelled(), repr(call)) == (False, False, "<Call waiting>")
        for look in (call.result, call.exception):
            with pytest.raises(asyncio.InvalidStateError):
                look()
        call.answer(0, 7, b"y")
        assert (call.done(), call.cancel(), call.exception(), call.command) == (True, False, None, None)
        call.fail(NoQuorum("late"))
        assert call.result() == ANSWER

    asyncio.run(main())


def test_what_the_collector_sees() -> None:
    """A failed call may be in a circle with the frames of its error; an answered one refers to its result only."""

    async def main() -> None:
        begun = Begun()
        answered, failed, cancelled = (begun.call() for _ in range(3))
        for call in (answered, failed, cancelled):
            call.hide()
            assert not gc.is_tracked(call)
        answered.answer(0, 7, b"y")
        failed.fail(NoQuorum("none"))
        cancelled.cancel()
        assert [gc.is_tracked(call) for call in (answered, failed, cancelled)] == [False, True, True]
        gone = weakref.ref(failed)

        async def fail(kept: Call[bytes]) -> None:
            await kept

        with pytest.raises(NoQuorum):
            await fail(failed)
        begun.calls.clear()
        del failed, call
        gc.collect()
        assert gone() is None

    asyncio.run(main())


def test_a_client_and_its_calls_go_away_together() -> None:
    class Owner:
        def __init__(self) -> None:
            self.calls = Calls(self.begin)
            self.last: Call[bytes] | None = None

        def begin(self, call: Call[bytes]) -> None:
            """Does nothing with it."""

    async def main() -> None:
        owner = Owner()
        owner.calls.open(asyncio.get_running_loop())
        for end in (lambda call: call.answer(0, 7, b"y"), lambda call: call.cancel(), lambda call: None):
            owner.last = owner.calls.make(read, None, True, bytes, b"x")
            end(owner.last)
        gone = weakref.ref(owner)
        del owner
        gc.collect()
        assert gone() is None

    asyncio.run(main())


def test_what_ends_the_process_is_no_error_of_a_callback() -> None:
    """It goes on upwards, and what other calls have to tell is told when the loop goes on."""
    loop = asyncio.new_event_loop()
    heard: list[Call[bytes]] = []

    def leave(_: Call[bytes]) -> None:
        raise SystemExit(3)

    async def main() -> Call[bytes]:
        begun = Begun()
        one, other = begun.call(), begun.call()
        one.add_done_callback(leave)
        other.add_done_callback(heard.append)
        one.answer(0, 7, b"y")
        other.answer(0, 7, b"y")
        return other

    try:
        main_ = loop.create_task(main())
        with pytest.raises(SystemExit):
            loop.run_forever()
        loop.run_until_complete(asyncio.sleep(0))
        assert heard == [main_.result()]
    finally:
        loop.close()


def test_who_asks_to_be_told_of_a_call_begins_it() -> None:
    begun: list[Call[bytes]] = []
    made = Calls(begun.append)

    async def main() -> None:
        made.open(asyncio.get_running_loop())
        call = await asyncio.to_thread(made.make, read, None, True, bytes, b"x")
        assert not begun
        told = asyncio.get_running_loop().create_future()
        call.add_done_callback(told.set_result)
        assert begun == [call]
        call.answer(0, 7, b"y")
        assert await told is call

    asyncio.run(main())


def test_only_a_task_can_wait_for_it() -> None:
    """It is driven as a coroutine is, and says so where nobody takes care of what it waits for."""

    async def main() -> None:
        begun = Begun()
        call = begun.call()
        assert iter(call) is call
        assert call.send(None) is call
        with pytest.raises(RuntimeError, match="asyncio's tasks"):
            call.send(None)
        call.answer(0, 7, b"y")
        with pytest.raises(StopIteration) as ended:
            call.send(None)
        assert ended.value.value == ANSWER

    asyncio.run(main())
