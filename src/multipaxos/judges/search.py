"""Is there an order of the operations on one key that explains their answers?

Theory. The search is that of Wing and Gong (1993): take an operation that no unplaced operation precedes, try it next,
go back if nothing fits; with Lowe's pruning (2017): the same set of placed operations and the same state need not be
tried twice.

Rules.
- Versions rise: an operation whose answer names a version comes after all whose answers name lower ones. The search
  keeps the set of all states that are possible; an answer that says more makes it smaller.
- An operation without an answer never has to be placed. Such operations are tried after those that have answers, and
  of several with the same effect one stands for all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from multipaxos.judges.history import Operation, values_named
from multipaxos.judges.one_key import NOTHING, States, parse, step, version_in


class Event:
    """A call or an answer, in a list in order of time that events leave and come back to."""

    __slots__ = ("answer", "index", "is_call", "next", "previous")

    def __init__(self, index: int, is_call: bool, answer: Event | None = None) -> None:
        self.index = index
        self.is_call = is_call
        self.answer = answer  # of a call that was answered, its answer's event
        self.previous: Event = self
        self.next: Event | None = None

    def leave(self) -> None:
        """Takes this event out of the list, and its answer."""
        self.previous.next = self.next
        if self.next is not None:
            self.next.previous = self.previous
        if self.answer is not None:
            self.answer.leave()

    def come_back(self) -> None:
        """Puts both where they were."""
        if self.answer is not None:
            self.answer.come_back()
        self.previous.next = self
        if self.next is not None:
            self.next.previous = self


def events_of(history: Sequence[Operation]) -> Event:
    """The head of the list. At one instant calls come before answers, because those operations may overlap."""
    timed: list[tuple[int, bool, int, Event]] = []
    for index, operation in enumerate(history):
        answer = None if operation.answer is None else Event(index, False)
        timed.append((operation.invoked_ns, False, index, Event(index, True, answer)))
        if answer is not None:
            timed.append((operation.answered_ns, True, index, answer))
    head = last = Event(-1, False)
    for _, _, _, event in sorted(timed, key=lambda item: item[:3]):
        last.next, event.previous = event, last
        last = event
    return head


class Search:
    """A history on one key, prepared: its commands taken apart, and which must come before which."""

    def __init__(self, history: Sequence[Operation]) -> None:
        self.history = history
        self.commands = [parse(operation.command) for operation in history]
        self.head = events_of(history)
        self.left = sum(operation.answer is not None for operation in history)
        self.before = self.lower_versions()
        self.alike = self.effects()

    def lower_versions(self) -> list[int]:
        """For every operation the mask of those whose answers name lower versions."""
        versions = [version_in(operation.answer) for operation in self.history]
        masks = [0] * len(versions)
        below = same = at = 0
        for index in sorted(range(len(versions)), key=lambda index: versions[index]):
            if versions[index]:
                if versions[index] > at:
                    below, same, at = below | same, 0, versions[index]
                masks[index] = below
                same |= 1 << index
        return masks

    def effects(self) -> list[tuple[object, ...]]:
        """For every operation what it would do: all values that no answer names are alike."""
        named = values_named(self.history, self.commands)
        return [
            (command.op, command.expected, command.version, command.value if command.value in named else None)
            for command in self.commands
        ]

    def candidates(self) -> Iterator[Event]:
        """The calls before the first answer that is left: any may be next. Those without an answer come last."""
        answered: list[Event] = []
        others: dict[tuple[object, ...], Event] = {}
        event = self.head.next
        while event is not None and event.is_call:
            if event.answer is not None:
                answered.append(event)
            else:
                others.setdefault(self.alike[event.index], event)
            event = event.next
        return iter([*answered, *others.values()])

    def run(self, effort: int | None) -> bool:
        """Is there an order? A history that `effort` steps do not decide passes."""
        left, placed, states = self.left, 0, frozenset([NOTHING])
        tried = {(placed, states)}
        stack: list[tuple[Event, States, Iterator[Event]]] = []
        choices = self.candidates()
        steps = 0
        while left and steps != effort:
            steps += 1
            call = next(choices, None)
            if call is None:
                if not stack:
                    return False
                call, states, choices = stack.pop()
                placed ^= 1 << call.index
                left += call.answer is not None
                call.come_back()
                continue
            now = self.next_states(call, placed, states)
            mark = (placed | 1 << call.index, now)
            if now and mark not in tried:
                tried.add(mark)
                stack.append((call, states, choices))
                placed, states = mark
                left -= call.answer is not None
                call.leave()
                choices = self.candidates()
        return True

    def next_states(self, call: Event, placed: int, states: States) -> States:
        """The possible states after this call is done next."""
        if self.before[call.index] & ~placed:
            return frozenset()
        answer = self.history[call.index].answer
        now = frozenset(new for old in states for new in step(self.commands[call.index], answer, old))
        return now if answer is not None or now != states else frozenset()


def is_linearizable(history: Sequence[Operation], effort: int | None = None) -> bool:
    """Is this history of one key, which does not exist at first, linearizable? A history that `effort` steps do not
    decide passes."""
    return Search(history).run(effort)
