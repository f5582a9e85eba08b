"""How long a client waits for a silent node, and when it sends again what the cluster could not take: no IO, no clock.

Theory. A node that is stopped or cut off looks like one that is slow. What tells them apart is what goes on meanwhile:
bytes of answers arrive, or bytes of commands drain towards the node, and then it is not silent. The owner of the link
looks at it now and then, and hands what it sees to `look`.

Rules.
- A node has as long as `retry_s`, and a second more for each CARRIED_BYTES_PER_S of commands without an answer (up to
  CARRY_MAX_S): a leader has to carry them to the others first. After a node that was left, the next one has 1.5 times
  as long, up to PATIENCE_MAX_S, until an answer comes. Only answers take this back.
- Draining counts for those bytes only that were to be sent when the node was last heard. The kernel of a node that is
  stopped goes on to take new commands, so these say nothing.
- What was answered `ahead` or `overloaded` is sent again on the same link after a pause, which doubles from REWIND_S to
  REWIND_MAX_S until an answer comes, and not before the earlier copy has left: never a copy behind its own copy.
"""

from __future__ import annotations

PATIENCE_MAX_S = 3.0
CARRIED_BYTES_PER_S = 1 << 20  # two copies over a link of 20 Mbit/s
CARRY_MAX_S = 3.0
REWIND_S = 0.02
REWIND_MAX_S = 0.5


class Patience:
    """With one node after another. `retry_s`: how long the first may be silent."""

    def __init__(self, retry_s: float) -> None:
        self._retry_s = self._limit_s = retry_s
        self._heard_s = 0.0
        self._answers = 0
        self._received_bytes = 0
        self._drained_bytes = 0
        self._last_due = 0  # the newest command at the time when the node was heard
        self._due_bytes = 0  # up to here, the bytes that the link was given count when they drain
        self._sent = 0
        self._rewind_s = REWIND_S  # the next pause
        self._rewind_at_s = 0.0  # when the present one ends; 0: there is none

    def begin(self, now_s: float, last: int) -> None:
        """There is a new link, or something to do after a time without anything. `last`: the newest command."""
        self._heard_s, self._last_due = now_s, last
        self._received_bytes = self._drained_bytes = self._due_bytes = self._sent = 0
        self._rewind_at_s = 0.0

    def look(
        self, now_s: float, *, answers: int, received_bytes: int, written_bytes: int, unsent_bytes: int,
        sent: int, last: int,
    ) -> None:  # fmt: skip
        """What is seen now: `answers` so far; of the link the bytes received, given to it, and not acknowledged by the
        node's kernel; the newest command that was sent on it, and the newest of all."""
        if answers != self._answers:
            self._answers = answers
            self._limit_s, self._rewind_s = self._retry_s, REWIND_S
        drained_bytes = written_bytes - unsent_bytes
        if received_bytes != self._received_bytes:
            self._heard_s, self._last_due, self._due_bytes = now_s, last, written_bytes
        else:
            if self._sent < self._last_due:
                self._due_bytes = written_bytes
            if self._drained_bytes < min(drained_bytes, self._due_bytes):
                self._heard_s = now_s
        self._received_bytes, self._drained_bytes, self._sent = received_bytes, drained_bytes, sent

    def is_over(self, now_s: float, unanswered_bytes: int) -> bool:
        """Has the node been silent for too long?"""
        return now_s - self._heard_s > self._limit_s + min(unanswered_bytes / CARRIED_BYTES_PER_S, CARRY_MAX_S)

    def lose(self) -> None:
        """The node was left because it was silent."""
        self._limit_s = min(self._limit_s * 1.5, PATIENCE_MAX_S)

    def may_rewind(self, now_s: float, unsent_bytes: int) -> bool:
        """Ask while there is something to be sent again on the same link; true when it is time."""
        if not self._rewind_at_s:
            self._rewind_at_s = now_s + self._rewind_s
        if now_s < self._rewind_at_s or unsent_bytes:
            return False
        self._rewind_at_s, self._rewind_s = 0.0, min(2 * self._rewind_s, REWIND_MAX_S)
        return True
