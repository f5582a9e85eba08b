"""Typed errors of the evaluation: each says what is wrong and what to do next."""

from __future__ import annotations


class EvaluationError(Exception):
    """What went wrong in an evaluation, and what to do next."""


class Unsupported(EvaluationError):
    """This machine cannot do what was asked: its message says what is missing and where to get it."""


class NetworkRefused(EvaluationError):
    """A network that is not as it was asked for."""


class FaultRefused(EvaluationError):
    """A fault that did not take effect."""


class SystemFailed(EvaluationError):
    """A system under test that did not start, or ended by itself; its message has its last words."""


class BadRecords(EvaluationError):
    """A folder of records that cannot be read: remove that folder, and the run is done again."""
