"""What a judge raises."""

from __future__ import annotations

from multipaxos.errors import MultipaxosError


class Violation(MultipaxosError):
    """A run broke a promise."""
