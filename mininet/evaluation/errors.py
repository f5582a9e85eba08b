"""The errors of the evaluation: each says what is wrong and what to do next."""

from __future__ import annotations


class EvaluationError(Exception):
    """An evaluation cannot go on: the message says why, and what to do next."""


class Unsupported(EvaluationError):
    """This machine cannot do what was asked: the message says what is missing and where to get it."""


class NetworkRefused(EvaluationError):
    """A network is not as it was asked for."""


class FaultRefused(EvaluationError):
    """A fault did not take effect."""


class SystemFailed(EvaluationError):
    """A system under test did not start, or ended by itself; the message has its last words."""


class BadRecords(EvaluationError):
    """A folder of records cannot be read: remove that folder, and the run is carried out again."""
