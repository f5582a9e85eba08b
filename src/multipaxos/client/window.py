"""How much a client keeps in flight: no IO, no clock.

Theory. A node that has no room answers `overloaded`. Clients that send as much again keep it busy with refusals. So a
client does as TCP does: it halves what it keeps in flight when it is refused, and grows again with the answers. What
does not fit waits in the client, or is refused there, which costs the cluster nothing.

Rules.
- A refusal halves the window, down to FLOOR of the whole. All refusals until the commands are sent again are one.
- Each window of answers widens it by STEP of the whole.
"""

from __future__ import annotations

FLOOR, STEP = 1 / 64, 1 / 64


class Window:
    """Of one client: at most so many `commands` of so many `bytes`, but always one."""

    def __init__(self, commands_max: int, bytes_max: int) -> None:
        self._commands_max = self.commands = commands_max
        self._bytes_max = self.bytes = bytes_max
        self._share = 1.0

    def has_room(self, commands: int, size: int, more: int) -> bool:
        """For a command of `more` bytes beside so many commands of `size` bytes."""
        return commands < self.commands and (not size or size + more <= self.bytes)

    def refused(self) -> None:
        """The cluster had no room."""
        self._set(self._share / 2)

    def answered(self, commands: int, size: int) -> None:
        """So many commands of so many bytes were answered."""
        if self._share < 1:
            windows = max(commands / self.commands, size / self.bytes)
            self._set(self._share + STEP * windows)

    def _set(self, share: float) -> None:
        self._share = min(1.0, max(FLOOR, share))
        self.commands = max(1, int(self._share * self._commands_max))
        self.bytes = int(self._share * self._bytes_max)
