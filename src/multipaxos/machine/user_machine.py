"""Runs commands in a user's machine: what becomes of an answer, of an exception, and of what no replica can share.

Rules.
- What `apply` returns is the client's answer. Any exception that `apply` raises is an answer too, a refusal
  "TypeName: text", whatever its type: SystemExit and RecursionError end no node.
- No answer is what comes from outside the command and may differ between replicas: MemoryError, KeyboardInterrupt and
  CancelledError. They stop the node with MachineStopped, which names slot, session and size. Where nodes run different
  versions of Python, the depth of a stack differs too, so RecursionError is one of them (`mixed_python`).
- The answers of a job are the answers of its first commands, at least one: whoever runs it may stop after any command.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from multipaxos.errors import MachineStopped
from multipaxos.machine.state_machine import Context, StateMachine

REFUSAL_BYTES_MAX = 1000
ANSWER_COST = 2048

Command = tuple[int, int, int, int, bytes]
"""A decided command for the machine: slot, time_ns, session, machine_version, payload."""
Answer = tuple[bool, bytes]
"""Was it refused, and the answer or the text of the refusal."""
Run = Callable[[list[Command], int], list[Answer]]

FROM_OUTSIDE = (MemoryError, KeyboardInterrupt, asyncio.CancelledError)


def refusal_text(error: BaseException) -> bytes:
    """`TypeName: text` in UTF-8, cut at a character. The user's code makes the text: if that fails, the command is
    refused too."""
    name = type(error).__name__
    try:
        text = f"{name}: {error}"
    except FROM_OUTSIDE:
        raise
    except BaseException:
        text = f"{name}: (its text cannot be made)"
    return text.encode("utf-8", "replace")[:REFUSAL_BYTES_MAX].decode("utf-8", "ignore").encode()


def answer_of(machine: StateMachine, command: Command, mixed_python: bool = False) -> Answer:
    """Applies one command. Raises MachineStopped."""
    slot, time_ns, session, machine_version, payload = command
    outside = (*FROM_OUTSIDE, RecursionError) if mixed_python else FROM_OUTSIDE
    try:
        try:
            given: object = machine.apply(payload, Context(slot, time_ns, session, machine_version))
            if not isinstance(given, bytes):
                raise TypeError(f"the machine answered with {type(given).__name__}, not bytes")
            answer = bytes(given)  # of a class of the user's, perhaps
        except outside:
            raise
        except BaseException as error:
            return True, refusal_text(error)
    except outside as error:
        raise MachineStopped(slot, session, len(payload), error) from error
    return False, answer


def run(
    machine: StateMachine,
    commands: list[Command],
    answer_bytes_max: int,
    mixed_python: bool = False,
    may_go_on: Callable[[], bool] = lambda: True,
) -> list[Answer]:
    """Applies the first of the commands, at least one, and returns their answers: up to the one with which all answers
    count more than `answer_bytes_max` bytes, or after which `may_go_on` says no. An answer counts ANSWER_COST bytes
    more than it has: no bound of kept answers counts more beside an answer's own bytes. Raises MachineStopped."""
    answers: list[Answer] = []
    size = 0
    for command in commands:
        refused, answer = answer_of(machine, command, mixed_python)
        answers.append((refused, answer))
        size += len(answer) + ANSWER_COST
        if size > answer_bytes_max or not may_go_on():
            break
    return answers


def runner_of(machine: StateMachine) -> Run:
    """`run` for this machine, on the caller's own stack: for simulations and tests."""
    return partial(run, machine)
