# One call of a client, and all calls of it: see call.pyx.
from libc.stdint cimport uint8_t

cdef enum State:
    NEW, WAITING, ANSWERED, FAILED, CANCELLED

cdef class Calls:                    # what the calls of one client share
    cdef object begin_call           # gets each call when it begins
    cdef object loop                 # None until the client is open
    cdef object snapshot             # the context of the latest callback
    cdef list ended                  # calls whose callbacks are to run

    cdef object context(self)
    cdef int call_back(self, Call call) except -1

cdef class Call:
    cdef object __weakref__
    cdef Calls calls                 # None once the call is answered
    cdef object loop                 # of the client; None if the client was not open
    cdef readonly object command     # bytes; None once the call has ended
    cdef readonly object timeout_s   # None: the client's own
    cdef readonly bint may_wait      # for room
    cdef public bint has_room        # for the client: the command was submitted
    cdef public double since_s       # for the client: when it began to wait for room
    cdef public double due_s         # for the client: when it times out
    cdef public bint _asyncio_future_blocking  # a task is about to wait for it: asyncio's protocol of futures
    cdef uint8_t state
    cdef bint is_hidden              # the collector does not see it
    cdef bint is_heard               # somebody has seen how it ended
    cdef object read                 # (command, status, slot, answer) -> result
    cdef object outcome              # the result, the error or the message of the cancellation
    cdef object trace                # of the error
    cdef object callback, callback_context
    cdef bint callback_shares        # its context is shared: run it in a copy
    cdef list more                   # further callbacks: [(callback, context, shares)]

    cdef int begin(self) except -1
    cdef int end(self, State state, object outcome) except -1
    cdef int run_callbacks(self, object loop) except -1
