"""Tables from values and their intervals: Markdown for people, CSV for programs.

Rules. In Markdown a value has only the digits that its interval supports: the half-width is rounded to two significant
digits, the value to the same place. A value without an interval has three significant digits. A lower bound has a sign,
a missing value is a dash. In CSV nothing is rounded: the value, both ends of the interval and the count of runs have
columns of their own, and a missing value is empty.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.estimates import Estimate, Quantile

Cell = str | int | float | Estimate | Quantile | None

NOT_THERE = "-"
INTERVAL_DIGITS = 2
VALUE_DIGITS = 3
FLOATING = 1e-9  # the share of a value that floating point may change


@dataclass(frozen=True)
class Quantity:
    """What an axis or a column shows: its name, the unit in which it is shown, and the scale from the raw unit to it.

    `unit` is never empty: the unit of a count is what it counts.
    """

    name: str
    unit: str
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not self.unit:
            raise ValueError(f"{self.name} has no unit: name what is counted")

    @property
    def label(self) -> str:
        """The text of axes and column heads."""
        return f"{self.name} ({self.unit})"


THROUGHPUT = Quantity("throughput", "k/s", 1e-3)  # raw: operations a second
LATENCY = Quantity("latency", "ms", 1e-3)  # raw: microseconds
TIME = Quantity("time", "s")


@dataclass(frozen=True)
class Column:
    """A column of words has no quantity; a column of numbers may have one, which scales them and names their unit."""

    head: str
    quantity: Quantity | None = None

    @property
    def label(self) -> str:
        return self.head if self.quantity is None else f"{self.head} ({self.quantity.unit})"


@dataclass(frozen=True)
class Table:
    """Rows of cells, one cell for each column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row of {len(row)} cells in a table of {len(self.columns)} columns: {row}")

    def markdown(self) -> str:
        """The table with numbers aligned to the right and columns of one width, so that the source is readable too."""
        heads = [_escaped(column.label) for column in self.columns]
        texts = [[_text(cell, column) for cell, column in zip(row, self.columns, strict=True)] for row in self.rows]
        widths = [max(3, *(len(line[place]) for line in [heads, *texts])) for place in range(len(heads))]
        right = [self._is_numbers(place) for place in range(len(heads))]
        rule = ["-" * (width - 1) + ":" if number else "-" * width for width, number in zip(widths, right, strict=True)]
        return "".join(_line(line, widths, right) for line in [heads, rule, *texts])

    def csv(self) -> str:
        """The table as CSV. A column of estimates becomes four: the value, its low and high end, and the count of runs.
        A column of quantiles becomes two: the value, and whether it is a lower bound."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        parts = [self._csv_parts(place) for place in range(len(self.columns))]
        labels = zip(self.columns, parts, strict=True)
        writer.writerow([f"{column.label} {part}".rstrip() for column, names in labels for part in names])
        for row in self.rows:
            cells = zip(row, self.columns, parts, strict=True)
            writer.writerow([_csv_values(cell, column).get(part) for cell, column, names in cells for part in names])
        return file.getvalue()

    def _csv_parts(self, place: int) -> tuple[str, ...]:
        cells = [row[place] for row in self.rows]
        if any(isinstance(cell, Estimate) for cell in cells):
            return ("", "low", "high", "runs")
        return ("", "at least") if any(isinstance(cell, Quantile) for cell in cells) else ("",)

    def _is_numbers(self, place: int) -> bool:
        return not any(isinstance(row[place], str) for row in self.rows)


def value_text(value: float, digits: int = VALUE_DIGITS) -> str:
    """A number with `digits` significant digits, never as a power of ten: 17,400; 41.2; 0.0123."""
    if value == 0:
        return "0"
    return _fixed(value, digits - 1 - _magnitude(value, digits))


def estimate_text(estimate: Estimate, quantity: Quantity | None = None) -> str:
    """`41.2 ± 1.3 k/s`; `41.2 [40.1, 44.0] k/s` if the interval is lopsided; `41.2 k/s` if there is none."""
    if quantity is None:
        return _interval(estimate)
    return f"{_interval(estimate.scaled(quantity.scale))} {quantity.unit}"


def _interval(estimate: Estimate) -> str:
    half = estimate.half_width
    if half is None or estimate.low is None or estimate.high is None:
        return value_text(estimate.value)
    if half <= FLOATING * abs(estimate.value):
        return f"{value_text(estimate.value)} ± 0"
    places = INTERVAL_DIGITS - 1 - _magnitude(half, INTERVAL_DIGITS)
    value = _fixed(estimate.value, places)
    lopsided = abs(estimate.high - estimate.value - (estimate.value - estimate.low))
    if lopsided <= 1e-6 * half + FLOATING * abs(estimate.value):
        return f"{value} ± {_fixed(half, places)}"
    return f"{value} [{_fixed(estimate.low, places)}, {_fixed(estimate.high, places)}]"


def _magnitude(value: float, digits: int) -> int:
    """The power of ten of the first digit, after rounding: 9.96 to two digits is 10, of magnitude 1."""
    return int(f"{abs(value):.{digits - 1}e}".partition("e")[2])


def _fixed(value: float, places: int) -> str:
    """A number rounded to a place, which may be that of tens or hundreds, with commas between thousands."""
    return f"{round(value, places) + 0.0:,.{max(places, 0)}f}"


def _text(cell: Cell, column: Column) -> str:
    scale = 1.0 if column.quantity is None else column.quantity.scale
    match cell:
        case None:
            return NOT_THERE
        case str():
            return _escaped(cell)
        case Estimate():
            return _interval(cell.scaled(scale))
        case Quantile():
            return ("≥ " if cell.at_least else "") + value_text(cell.value * scale)
        case int() if column.quantity is None:
            return f"{cell:,}"
        case _:
            return value_text(cell * scale)


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _line(texts: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    cells = zip(texts, widths, right, strict=True)
    return "| " + " | ".join(text.rjust(width) if far else text.ljust(width) for text, width, far in cells) + " |\n"


def _csv_values(cell: Cell, column: Column) -> dict[str, str | int | float | None]:
    """The values of one cell, by the names of its parts."""
    scale = 1.0 if column.quantity is None else column.quantity.scale
    match cell:
        case Estimate():
            scaled = cell.scaled(scale)
            return {"": scaled.value, "low": scaled.low, "high": scaled.high, "runs": scaled.n}
        case Quantile():
            return {"": cell.value * scale, "at least": int(cell.at_least)}
        case int() | float() if column.quantity is not None:
            return {"": cell * scale}
        case _:
            return {"": cell}
