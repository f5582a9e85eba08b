"""The report of an experiment: its set-up, figures, tables and words, as Markdown beside the pictures.

Rules. The caption of a figure says what is on both axes, how many runs it has, and how the systems' workloads differ.
Runs with failures stand at the top, not at the end. Everything is written again each time, from the runs alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation import figures
from evaluation.model import Spec
from evaluation.runs import Run, by_point, unfinished
from evaluation.systems import system
from evaluation.tables import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

IDLE_LOW = 0.15  # below it the processors limit what is measured


class Report:
    """Gathers the parts; `write` writes them. `folder`: of the experiment's runs; `to`: where the report goes."""

    def __init__(self, folder: Path, title: str, to: Path, png: bool = True) -> None:
        self.folder = folder
        self.title = title
        self.to = to
        self.png = png
        self.parts: list[str] = []

    def setup(self, runs: Sequence[Run]) -> None:
        """Adds what was run, and on which machine."""
        machines = {machine_line(run.result["provenance"]) for run in runs}
        names = list(dict.fromkeys(run.spec.system for run in runs))
        counts = sorted({len(point) for point in by_point(runs)})
        repetitions = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        self.text(
            f"{len(runs)} runs of {len(by_point(runs))} points, {repetitions} of each, every one on a fresh network."
        )
        delays = ", ".join(f"{system(name).title} {system(name).message_delays}" for name in names)
        told = [f"message delays from a command to its answer: {delays}"]
        told += [system(name).differences for name in names if system(name).differences]
        self.items([*sorted(machines), *told])
        failed = Counter(failure_line(result) for result in unfinished(self.folder).values())
        if failed:
            self.text("**Attempts that failed, or were cut off, and are in no figure:**")
            self.items(f"{line}: {count} times" if count > 1 else line for line, count in sorted(failed.items()))
        broken = [f"{run.folder.name}: {what}" for run in runs for what in run.result["checks"]["failures"]]
        if broken:
            self.text("**Broken promises:**")
            self.items(broken)

    def text(self, text: str) -> None:
        """Adds a paragraph."""
        self.parts.append(text)

    def heading(self, text: str) -> None:
        """Adds a heading."""
        self.parts.append(f"## {text}")

    def items(self, items: Iterable[str]) -> None:
        """Adds a list."""
        self.parts.append("\n".join(f"- {item}" for item in items))

    def figure(self, figure: Figure, name: str, caption: str) -> None:
        """Adds a picture, as SVG, and as PNG too if that is wanted."""
        paths = figures.save(figure, self.to, name, self.png)
        also = f" ([PNG]({paths[1].name}))" if self.png else ""
        self.parts.append(f"![{caption}]({paths[0].name})\n\n*{caption}*{also}")

    def table(self, table: Table, name: str) -> None:
        """Adds a table here and as CSV."""
        self.to.mkdir(parents=True, exist_ok=True)
        (self.to / f"{name}.csv").write_text(table.csv(), encoding="utf-8")
        self.parts.append(f"{table.markdown().rstrip()}\n\n([CSV]({name}.csv))")

    def write(self) -> Path:
        """Writes the report and returns its path."""
        path = self.to / "report.md"
        self.to.mkdir(parents=True, exist_ok=True)
        path.write_text("\n\n".join([f"# {self.title}", *self.parts]) + "\n", encoding="utf-8")
        return path


def machine_line(of: dict[str, Any]) -> str:
    """A run's provenance in one line."""
    commit = (of["commit"] or "no commit")[:12] + (" and changes" if of["dirty"] else "")
    return (
        f"multipaxos at {commit}; Python {of['python']}; Linux {of['kernel']}; {of['processors']} of "
        f"{of['processor']}, {of['memory_mib'] / 1024:.0f} GiB; all hosts, and the clients, on this one machine"
    )


def failure_line(result: dict[str, Any] | None) -> str:
    """The point of a failed attempt, and its error."""
    if result is None:
        return "cut off"
    return f"{Spec.from_json(result['spec']).words()}: {result['error'].partition(': ')[2]}"


def idle_share(run: Run) -> float:
    """The share of the processors' time that was idle during the measurement."""
    return float(run.result["usage"]["cpu"]["idle_share"])


def busy_words(runs: Sequence[Run]) -> str:
    """A sentence that says whether the processors were the limit."""
    idle = [idle_share(run) for run in runs]
    if not idle:
        return ""
    low, high = min(idle), max(idle)
    limit = (
        "they are the limit" if high < IDLE_LOW else "they are not the limit" if low > IDLE_LOW else "some at the limit"
    )
    return f"processors idle {100 * low:.0f} to {100 * high:.0f} % ({limit})"
