"""Made-up records of a load, for the tests of the analysis."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from evaluation.records import OK, OPERATION, Operations

SECOND_NS = 1_000_000_000
START_NS = 5_000 * SECOND_NS  # the measurement begins some hours after the machine's start


def rows(times: Iterable[tuple[Any, ...]]) -> Operations:
    """Rows of (planned, sent, answered) in seconds since START_NS, and perhaps an outcome; answered None: never."""
    made = []
    for planned_s, sent_s, answered_s, *outcome in times:
        answered_ns = 0 if answered_s is None else START_NS + round(answered_s * 1e9)
        code = outcome[0] if outcome else OK if answered_s is not None else 0
        made.append((START_NS + round(planned_s * 1e9), START_NS + round(sent_s * 1e9), answered_ns, 0, 1, 3, code, 0))
    return np.array(made, dtype=OPERATION)


def answers(times_s: Iterable[float], latency_s: float = 0.001) -> Operations:
    """Rows of operations that were answered at these times, each `latency_s` after it was sent."""
    return rows((at - latency_s, at - latency_s, at) for at in times_s)


def at(seconds: float) -> int:
    """The machine's clock `seconds` after the measurement began, in nanoseconds."""
    return START_NS + round(seconds * 1e9)
