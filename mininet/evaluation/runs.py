"""Reading the folders of runs: each has `run.json` and the records of every client.

Theory. `<out>/<experiment>/runs/<digest>-<repetition>/` is one run. Its spec says what was asked, its marks when the
measurement began and ended, its records what each client saw. The *measuring window* is from `measure_began_ns` to
`measure_ended_ns`, which is not part of it. Throughput counts the answers `ok` within the window. Latency counts the
operations that were *planned* within it, no matter when they were answered: if the answer counted, the slowest
operations would fall out at the end; and in an open loop the operations that wait during a stall are planned during it
(coordinated omission would leave them out).

Censoring. An operation that was planned in the window and never answered counts as not over when the window ended: that
is a lower bound of its latency. So does an operation that was refused, because its client did not get what it asked
for, however early the refusal came. `estimates` says what that does to percentiles.

Rules. Nothing is dropped. A run is read whole or refused, by the name of its folder. A run that was cut off (no
`run.json` yet, or not `complete`) or failed is not read, but named by `unfinished`. A number that a run does not have
is None.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from evaluation import estimates, records, series
from evaluation.errors import BadRecords
from evaluation.estimates import Estimate, Flags, Floats
from evaluation.model import Spec
from evaluation.records import OK, OPERATION, REFUSED, UNANSWERED, Operations
from evaluation.series import SECOND, Seconds, Series
from multipaxos.load.operation_log import HEADER_BYTES

KEYS = ("spec", "repetition", "complete", "marks", "faults", "usage", "checks", "load")
MARKS = ("load_began_ns", "measure_began_ns", "measure_ended_ns")


@dataclass(frozen=True)
class Run:
    """One complete run. Its records are read when they are asked for, and kept until those of another run are."""

    spec: Spec
    folder: Path
    result: dict[str, Any]  # run.json

    @property
    def repetition(self) -> int:
        return int(self.result["repetition"])

    @property
    def began_ns(self) -> int:
        """The beginning of the measuring window."""
        return int(self.result["marks"]["measure_began_ns"])

    @property
    def ended_ns(self) -> int:
        """The end of the measuring window."""
        return int(self.result["marks"]["measure_ended_ns"])

    @property
    def seconds_only(self) -> bool:
        """Do the records of its clients have seconds in place of operations?"""
        return any(name.endswith(".csv") for name in self._names())

    @property
    def operations(self) -> Operations:
        """The operations of all clients, each client's in the order of the answers. Empty if records have seconds."""
        paths = [self.folder / name for name in self._names() if name.endswith(".npy")]
        return _read_operations(tuple((path, path.stat().st_mtime_ns) for path in paths))

    @property
    def seconds(self) -> tuple[Seconds, ...]:
        """One array of seconds for each client. Empty if the records have operations."""
        return tuple(_read_seconds(self.folder / name) for name in self._names() if name.endswith(".csv"))

    @property
    def outstanding(self) -> int | None:
        """The commands outstanding of all clients together, in a closed loop; None in an open one."""
        workload = self.spec.workload
        return None if workload.rate_per_s is not None else workload.outstanding * self.spec.topology.clients

    def at_s(self, time_ns: int) -> float:
        """A time of the machine's clock in seconds since the measurement began: the x of every time series."""
        return (time_ns - self.began_ns) / 1e9

    def _names(self) -> list[str]:
        return [str(client["records"]) for client in self.result["load"]]


@dataclass(frozen=True)
class Latencies:
    """The latencies of all operations planned in the window. A `censored` value is a lower bound."""

    us: Floats
    censored: Flags
    unanswered: int
    refused: int


def load_runs(folder: Path) -> list[Run]:
    """All complete runs of one experiment's folder, by digest and repetition. Raises BadRecords, with the name of the
    run's folder, for a run that says it is complete and cannot be read."""
    found = []
    for place in _run_folders(folder):
        result = _result(place)
        if result is not None and result["complete"]:
            found.append(_run(place, result))
    return sorted(found, key=lambda run: (run.spec.digest(), run.repetition))


def unfinished(folder: Path) -> dict[Path, dict[str, Any] | None]:
    """The folders of attempts that were cut off or failed, which are reported wherever the runs are; each with its
    run.json (None: there is none, the attempt was cut off)."""
    results = {place: _result(place) for place in _run_folders(folder)}
    return {place: result for place, result in results.items() if result is None or not result["complete"]}


def by_point(runs: Sequence[Run]) -> list[list[Run]]:
    """The repetitions of each spec together, in the order in which specs first come."""
    points: dict[str, list[Run]] = {}
    for run in runs:
        points.setdefault(run.spec.digest(), []).append(run)
    return list(points.values())


def over_runs(runs: Sequence[Run], number: Callable[[Run], float | None]) -> Estimate | None:
    """The mean of a number over independent runs. None if there are no runs, or if any run lacks the number: a mean of
    the others would be of those that went well."""
    numbers = [number(run) for run in runs]
    present = [value for value in numbers if value is not None]
    return estimates.mean(present) if present and len(present) == len(numbers) else None


def throughput_per_s(run: Run) -> float:
    """The answers `ok` within the window, divided by its length."""
    if run.seconds_only:
        return sum(series.throughput_of_seconds(rows, run.began_ns, run.ended_ns) for rows in run.seconds)
    return _completed(run) / _window_s(run)


def latencies_us(run: Run) -> Latencies:
    """The latency of every operation planned in the window, from the planned time; see above for operations without an
    answer. Empty if the records have seconds."""
    rows = run.operations
    rows = rows[(rows["planned_ns"] >= run.began_ns) & (rows["planned_ns"] < run.ended_ns)]
    ok = rows["outcome"] == OK
    until = np.where(ok, rows["answered_ns"], run.ended_ns).astype(np.int64)
    latency_us = (until - rows["planned_ns"].astype(np.int64)) / 1e3
    unanswered, refused = (int((rows["outcome"] == outcome).sum()) for outcome in (UNANSWERED, REFUSED))
    return Latencies(latency_us, ~ok, unanswered, refused)


def mean_latency_us(run: Run) -> float | None:
    """The mean latency from the rows, with censored ones at their lower bounds; in a closed loop whose records have
    seconds, by Little's law. None if nothing was asked for or done, and in an open loop of seconds."""
    if run.seconds_only:
        count = run.outstanding
        return None if count is None else estimates.mean_latency_by_little_us(count, throughput_per_s(run))
    latencies = latencies_us(run).us
    return float(latencies.mean()) if len(latencies) else None


def percentile_us(run: Run, percent: float) -> float | None:
    """A percentile of the latencies; a lower bound if censored values reach so far down. None without rows."""
    latencies = latencies_us(run)
    if not len(latencies.us):
        return None
    return estimates.percentiles(latencies.us, [percent], latencies.censored)[0].value


def bytes_per_operation(run: Run) -> float | None:
    """The bytes that all nodes sent, with all headers, to nodes and clients, for each operation of the window."""
    return _per_operation(run, _links(run, "tx_bytes"), sum)


def busiest_bytes_per_operation(run: Run) -> float | None:
    """The bytes that the busiest node sent, for each operation: they decide if links are narrow."""
    return _per_operation(run, _links(run, "tx_bytes"), max)


def packets_per_operation(run: Run) -> float | None:
    """The packets that all nodes sent, for each operation. A packet is what the link's counter counts: it may hold many
    messages, or a part of one."""
    return _per_operation(run, _links(run, "tx_packets"), sum)


def cpu_us_per_operation(run: Run) -> float | None:
    """The processor time of all nodes together, for each operation."""
    return _per_operation(run, _cpu_us(run), sum)


def busiest_cpu_us_per_operation(run: Run) -> float | None:
    """The processor time of the busiest node, for each operation: 1e6 divided by it is the most that one process could
    do."""
    return _per_operation(run, _cpu_us(run), max)


def series_of(run: Run, bin_s: float = series.BIN_S, tau_s: float = series.TAU_S) -> Series:
    """The run over time; in bins of a second if the records have seconds."""
    if run.seconds_only:
        return series.of_seconds(run.seconds, run.began_ns, run.ended_ns, run.outstanding, tau_s)
    return series.of_operations(run.operations, run.began_ns, run.ended_ns, bin_s, tau_s)


def _window_s(run: Run) -> float:
    return (run.ended_ns - run.began_ns) / 1e9


def _completed(run: Run) -> float:
    """How many operations were completed in the window."""
    if run.seconds_only:
        return throughput_per_s(run) * _window_s(run)
    rows = run.operations
    inside = (rows["answered_ns"] >= run.began_ns) & (rows["answered_ns"] < run.ended_ns)
    return float((inside & (rows["outcome"] == OK)).sum())


def _links(run: Run, counter: str) -> list[float]:
    links = (run.result["usage"] or {}).get("links") or {}
    return [float(counts[counter]) for name, counts in links.items() if name.startswith("node")]


def _cpu_us(run: Run) -> list[float]:
    processes = ((run.result["usage"] or {}).get("cpu") or {}).get("processes") or {}
    return [cpu_s * 1e6 for name, cpu_s in processes.items() if name.startswith("node")]


def _per_operation(run: Run, amounts: list[float], together: Callable[[list[float]], float]) -> float | None:
    completed = _completed(run)
    return together(amounts) / completed if amounts and completed else None


def _run_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BadRecords(f"{folder} is no folder: give one that has the runs of an experiment")
    runs = folder / "runs"
    return sorted(place for place in runs.iterdir() if place.is_dir()) if runs.is_dir() else []


def _result(place: Path) -> dict[str, Any] | None:
    """The run.json of a run; None if the run was cut off before it had one, or before its folder was renamed."""
    file = place / "run.json"
    if place.suffix == ".part" or not file.exists():
        return None
    try:
        result = json.loads(file.read_bytes())
    except ValueError as error:
        raise _damaged(place, f"run.json is no JSON ({error})") from error
    if not isinstance(result, dict) or not isinstance(result.get("complete"), bool):
        raise _damaged(place, "run.json does not say whether it is complete")
    return result


def _run(place: Path, result: dict[str, Any]) -> Run:
    """A complete run, after checking everything that can be seen without reading its records."""
    missing = [key for key in KEYS if key not in result]
    if missing:
        raise _damaged(place, f"run.json has no {', '.join(missing)}")
    try:
        run = Run(Spec.from_json(result["spec"]), place, result)
        named = f"{run.spec.digest()}-{run.repetition}"
        began_ns, ended_ns = (int(result["marks"][mark]) for mark in MARKS[1:])
        names = run._names()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(place, f"run.json cannot be understood: {type(error).__name__} {error}") from error
    if place.name != named:
        raise _damaged(place, f"its spec and repetition are those of {named}")
    if began_ns >= ended_ns:
        raise _damaged(place, "its measurement ended before it began")
    if not names or len({name.rpartition(".")[2] for name in names}) != 1:
        raise _damaged(place, "its clients' records must be there, and all of one kind")
    for name in names:
        _check_records(place, name)
    return run


def _check_records(place: Path, name: str) -> None:
    """Checks that a file is there and is not shorter than it says. A file whose client was killed says 0 rows: see
    `records`."""
    path = place / name
    if Path(name).name != name or not path.is_file():
        raise _damaged(place, f"{name} is missing")
    if name.endswith(".csv"):
        _read_seconds(path)
        return
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            (rows,), _, layout = np.lib.format.read_array_header_1_0(file)
    except ValueError as error:
        raise _damaged(place, f"{name} is no file of operations ({error})") from error
    if layout != OPERATION:
        raise _damaged(place, f"{name} has rows of another kind")
    if rows and path.stat().st_size != HEADER_BYTES + rows * OPERATION.itemsize:
        raise _damaged(place, f"{name} says it has {rows} rows, but its size is that of another number")


@lru_cache(maxsize=2)  # a run may have hundreds of megabytes, an experiment a hundred runs
def _read_operations(files: tuple[tuple[Path, int], ...]) -> Operations:
    parts = [records.read(path) for path, _ in files]
    if len(parts) == 1:
        return parts[0]
    together = np.concatenate(parts) if parts else np.empty(0, dtype=OPERATION)
    together.setflags(write=False)
    return together


def _read_seconds(path: Path) -> Seconds:
    """The rows of a `seconds-N.csv`, in the order of time."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        if not lines or lines[0] != "at_ns,completed":
            raise ValueError("its first line is not at_ns,completed")
        rows = np.array([tuple(map(int, line.split(",", 1))) for line in lines[1:]], dtype=SECOND)
    except (ValueError, OverflowError) as error:
        raise _damaged(path.parent, f"{path.name}: {error}") from error
    if not len(rows) or not (np.diff(rows["at_ns"].astype(np.int64)) > 0).all():
        raise _damaged(path.parent, f"{path.name} has no seconds, or not in the order of time")
    return rows


def _damaged(place: Path, why: str) -> BadRecords:
    return BadRecords(f"{place} is damaged: {why}. Remove that folder and repeat the run")
