"""One call of a client: a future and a coroutine in one object, as small as it can be.

Theory. Somebody may make a million calls at once. A coroutine in a task is half a dozen objects, and Python's garbage
collector walks over all of them again and again while they wait: that costs more than the calls. So a call is one
compiled object. It is a future: `gather`, `wait_for`, `shield` and callbacks take it as it is, without a task. It can
be driven like a coroutine, too: `create_task`, a task group and `run_coroutine_threadsafe` take it.

Rules.
- A call begins when it is made, if that is where the client's loop runs; else when that loop first waits for it.
- What is wrong with its arguments is raised where it is awaited.
- It ends once. What comes later is dropped.
- Callbacks run in the loop's next turn, each in a copy of the context in which it was added. Calls share the context
  that is copied for as long as it is the same, and one turn of the loop runs the callbacks of all calls that ended.
- The collector does not see a call that had to wait for room (`hide`): the client holds it until it ends. Nor does it
  see an answered one, which refers to its result and the loop only. It sees all others.
- If nobody has looked at an error, the loop's handler gets it when the call goes away.
"""

from cpython.object cimport PyObject

from asyncio import CancelledError, InvalidStateError, _get_running_loop, get_running_loop
from types import GenericAlias

SHARED_VARIABLES_MAX = 8

cdef extern from "Python.h":
    object PyContext_CopyCurrent()
    object PyContext_Copy(object context)
    void PyObject_GC_Track(PyObject* thing)
    void PyObject_GC_UnTrack(PyObject* thing)


cdef bint are_same(object one, object other) except -1:
    """Do two contexts hold the same variables with the same values? For large ones: no."""
    cdef object absent = object()
    if len(one) != len(other) or len(one) > SHARED_VARIABLES_MAX:
        return False
    for variable, value in one.items():
        if other.get(variable, absent) is not value:
            return False
    return True


cdef int run_callback(object loop, Call call, object callback, object context, bint shares) except -1:
    try:
        (PyContext_Copy(context) if shares else context).run(callback, call)
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        loop.call_exception_handler({"message": f"a callback of a call failed: {callback!r}", "exception": error})
    return 0


cdef class Calls:
    """The calls of one client. `begin_call` gets each of them when it begins."""

    def __init__(self, begin_call):
        self.begin_call = begin_call
        self.ended = []

    def open(self, loop):
        """The client runs in this loop from now on."""
        self.loop = loop

    def make(self, read, timeout_s, bint may_wait, encode, *arguments):
        """A call of the command ``encode(*arguments)``, whose result is ``read(command, status, slot, answer)``."""
        cdef Call call = Call.__new__(Call)
        call.calls, call.read, call.timeout_s, call.may_wait = self, read, timeout_s, may_wait
        try:
            call.command = encode(*arguments)
        except Exception as error:
            call.end(FAILED, error)
            return call
        if self.loop is None or _get_running_loop() is self.loop:
            call.begin()
        return call

    cdef object context(self):
        """The present context, for a callback."""
        present = PyContext_CopyCurrent()
        if self.snapshot is None or not are_same(present, self.snapshot):
            self.snapshot = present
        return self.snapshot

    cdef int call_back(self, Call call) except -1:
        """The call has ended: its callbacks run in the loop's next turn."""
        self.ended.append(call)
        if len(self.ended) == 1:
            self.loop.call_soon(self.run_callbacks)
        return 0

    def run_callbacks(self):
        """Of the calls that have ended."""
        cdef list ended = self.ended
        cdef Py_ssize_t done = 0
        self.ended = []
        try:
            for call in ended:
                done += 1
                (<Call>call).run_callbacks(self.loop)
        finally:
            for call in ended[done:]:
                self.call_back(<Call>call)


cdef class Call:
    """See the module. Made by `Calls.make`."""

    __class_getitem__ = classmethod(GenericAlias)

    cdef int begin(self) except -1:
        cdef object loop = self.calls.loop
        if loop is not None:
            running = _get_running_loop()
            if running is not loop and (running is not None or loop.is_running()):
                raise RuntimeError("this client belongs to another event loop: await its calls there")
        self.loop = loop
        self.state = WAITING
        self.calls.begin_call(self)
        return 0

    # -- for the client

    def answer(self, int status, slot, bytes data):
        """The cluster has answered."""
        if self.state != WAITING:
            return
        try:
            result = self.read(self.command, status, slot, data)
        except Exception as error:
            self.end(FAILED, error)
        else:
            self.end(ANSWERED, result)

    def fail(self, error):
        """There will be no answer, unless the call has ended before."""
        if self.state <= WAITING:
            self.end(FAILED, error)

    def hide(self):
        """The client holds the call until it ends: the collector need not see it."""
        if not self.is_hidden and self.state == WAITING:
            self.is_hidden = True
            PyObject_GC_UnTrack(<PyObject*>self)

    def __lt__(self, Call other):
        return self.due_s < other.due_s

    def __hash__(self):
        return <Py_ssize_t>(<size_t><PyObject*>self >> 4)

    cdef int end(self, State state, object outcome) except -1:
        cdef Calls calls = self.calls
        self.state, self.outcome = state, outcome
        self.command = self.read = None
        if state == FAILED:
            self.trace = outcome.__traceback__
        if state == ANSWERED:
            self.calls = None
            if not self.is_hidden:
                PyObject_GC_UnTrack(<PyObject*>self)
        elif self.is_hidden:
            PyObject_GC_Track(<PyObject*>self)
        self.is_hidden = state == ANSWERED
        if self.callback is not None:
            calls.call_back(self)
        return 0

    cdef int run_callbacks(self, object loop) except -1:
        """In the loop's turn after the call's end."""
        cdef list more = self.more
        callback, context = self.callback, self.callback_context
        self.callback = self.callback_context = self.more = None
        run_callback(loop, self, callback, context, self.callback_shares)
        if more is not None:
            for callback, context, shares in more:
                run_callback(loop, self, callback, context, shares)
        return 0

    # -- a future

    def get_loop(self):
        """The client's loop."""
        return get_running_loop() if self.loop is None else self.loop

    def done(self):
        """Has it ended?"""
        return self.state > WAITING

    def cancelled(self):
        """Was it cancelled?"""
        return self.state == CANCELLED

    def cancel(self, msg=None):
        """Ends the wait: what was sent may take effect. False if the call had ended."""
        if self.state > WAITING:
            return False
        self.end(CANCELLED, msg)
        return True

    def result(self):
        """The result. Raises the call's error, CancelledError or InvalidStateError."""
        if self.state == ANSWERED:
            return self.outcome
        error = self.exception()
        raise error.with_traceback(self.trace)

    def exception(self):
        """The error, or None. Raises CancelledError or InvalidStateError."""
        if self.state <= WAITING:
            raise InvalidStateError("the call has not ended: await it")
        if self.state == CANCELLED:
            raise self._make_cancelled_error()
        self.is_heard = True
        return self.outcome if self.state == FAILED else None

    @property
    def _cancel_message(self):
        return self.outcome if self.state == CANCELLED else None

    def _make_cancelled_error(self):
        return CancelledError() if self.outcome is None else CancelledError(self.outcome)

    def add_done_callback(self, fn, *, context=None):
        """The loop calls it with the call once that has ended."""
        cdef bint shares = context is None
        if self.state == NEW:
            self.begin()
        if self.state > WAITING:
            self.get_loop().call_soon(fn, self, context=context)
            return
        if shares:
            context = self.calls.context()
        if self.callback is None:
            self.callback, self.callback_context, self.callback_shares = fn, context, shares
        else:
            if self.more is None:
                self.more = []
            self.more.append((fn, context, shares))

    def remove_done_callback(self, fn):
        """Removes all of these callbacks; returns how many there were."""
        cdef list kept, all_ = []
        if self.callback is not None and self.state == WAITING:
            all_.append((self.callback, self.callback_context, self.callback_shares))
            all_.extend(self.more or ())
        kept = [each for each in all_ if each[0] != fn]
        if len(kept) < len(all_):
            self.callback, self.callback_context, self.callback_shares = kept[0] if kept else (None, None, False)
            self.more = kept[1:]
        return len(all_) - len(kept)

    # -- an awaitable, and a coroutine

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if self.state == NEW:
            self.begin()
        if self.state > WAITING:
            raise StopIteration(self.result())
        if self._asyncio_future_blocking:
            raise RuntimeError("a call can be awaited in asyncio's tasks only")
        self._asyncio_future_blocking = True
        return self

    def send(self, value):
        """Goes on with the wait."""
        return self.__next__()

    def throw(self, kind, value=None, trace=None):
        """Ends the wait, as an error or a cancellation of the task that waits does. What was not begun never is."""
        self.close()
        raise kind if value is None else value

    def close(self):
        """Nobody waits any more."""
        if self.state == NEW:
            self.end(CANCELLED, None)

    def __repr__(self):
        return f"<Call {('not begun', 'waiting', 'answered', 'failed', 'cancelled')[self.state]}>"

    def __del__(self):
        if self.state == FAILED and not self.is_heard and self.loop is not None:
            told = {"message": "a call of a client failed, and nobody has looked at it", "exception": self.outcome}
            self.loop.call_exception_handler(told)
