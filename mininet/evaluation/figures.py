"""The figures' house style, and one function for each kind of plot.

Theory. A figure is drawn from values that other modules have estimated. It is legible at the width of a page, in print
without colours, and to readers who do not see all colours: every system has a colour (Okabe and Ito's, without the
yellow, which is too pale on paper), a marker and a line style of its own, the same in all figures. The caption, which
the caller writes, says what a figure means; the figure itself has no title.

Rules. Every axis names its unit (`tables.Quantity` insists). Bars and throughput start at zero; a log axis says so.
Error bars are the estimates' intervals; without an interval none is drawn. Legends stand above the axes, never on the
data, and name every system. Only matplotlib's objects are used, never pyplot, whose state is global. matplotlib is
imported when a figure is drawn, so that everything else works without it. Equal data gives equal bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluation.errors import Unsupported
from evaluation.estimates import Distribution, Estimate
from evaluation.series import Series
from evaluation.tables import LATENCY, THROUGHPUT, TIME, Quantity, value_text

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

PAGE_WIDTH_IN = 6.3
ROW_HEIGHT_IN = 3.1
PNG_DOTS_PER_INCH = 200
LEGEND_POINTS = 8.5
NOTE_POINTS = 7.5
MARK_COLOUR = "#444444"
SHARE = Quantity("share of operations", "1 = all")

RULES: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # matplotlib brings it
    "font.size": 9,
    "axes.labelsize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.fontsize": LEGEND_POINTS,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "lines.linewidth": 1.4,
    "lines.markersize": 5,
    "errorbar.capsize": 2.5,
    "svg.hashsalt": "multipaxos",
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class Style:
    """The look of one system."""

    colour: str
    marker: str
    line: str | tuple[int, tuple[int, ...]]
    hatch: str


STYLES = (
    Style("#0072B2", "o", "-", ""),  # blue
    Style("#D55E00", "s", "--", "///"),  # vermillion
    Style("#009E73", "^", "-.", "..."),  # bluish green
    Style("#000000", "D", ":", "xxx"),  # black
    Style("#CC79A7", "v", (0, (5, 1, 1, 1, 1, 1)), "\\\\\\"),  # reddish purple
    Style("#E69F00", "P", (0, (8, 2)), "+++"),  # orange
    Style("#56B4E9", "X", (0, (3, 1)), "ooo"),  # sky blue
)
FIXED = {"multipaxos": 0, "libpaxos": 1, "etcd": 2}  # the style of a system's first curve in all figures


@dataclass(frozen=True)
class Point:
    """A point of a curve: its place on both axes (y None: missing, and the line is broken), and a word beside it."""

    x: float | str | Estimate
    y: Estimate | None
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """One system, or one variant of it. `label` stands in the legend; `system` says which style it gets, if free."""

    label: str
    points: tuple[Point, ...]
    system: str = ""


@dataclass(frozen=True)
class Cdf:
    """One curve of a plot of distributions."""

    label: str
    distribution: Distribution
    system: str = ""


@dataclass(frozen=True)
class Mark:
    """An instant of a time series, and what happened then."""

    at_s: float
    text: str


@dataclass(frozen=True)
class Trace:
    """One run over time."""

    label: str
    series: Series
    marks: tuple[Mark, ...] = ()
    system: str = ""


@dataclass(frozen=True)
class Strip:
    """Every single value of one setting, lower bounds apart, and the median with its interval."""

    label: str
    values: tuple[float, ...]
    censored: tuple[float, ...] = ()
    median: Estimate | None = None


@dataclass(frozen=True)
class Bars:
    """One system's bars, one for each group; None: missing."""

    label: str
    values: tuple[Estimate | None, ...]
    system: str = ""


def save(figure: Figure, folder: Path, name: str, png: bool = True) -> tuple[Path, ...]:
    """Writes `name.svg` and, if wanted, `name.png`. Equal data gives equal bytes: the files have no date and no
    version."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{name}.{kind}" for kind in ("svg", "png")[: 1 + png])
    with _house_style():
        figure.savefig(paths[0], format="svg", metadata={"Date": None, "Creator": None})
        if png:
            figure.savefig(paths[1], format="png", dpi=PNG_DOTS_PER_INCH, metadata={"Software": None})
    return paths


def latency_against_throughput(
    curves: Sequence[Curve], *, throughput: Quantity = THROUGHPUT, latency: Quantity = LATENCY
) -> Figure:
    """Latency on a log axis against throughput. The load drives each curve from left to right and, past saturation,
    upwards or back. The x of each point is an estimate of the throughput. Notes show the load of a point (the first
    and the last are enough)."""
    with _house_style():
        figure, ((axes,),) = _figure()
        for curve, style in zip(curves, _styles(curves), strict=True):
            _draw_curve(axes, curve, style, [_x_of(point) for point in curve.points], throughput, latency)
        axes.set_xlim(left=0)
        _label_axes(axes, throughput, latency, log_y=True)
        _widen(axes, log_y=True)
        _legend(figure, axes)
    return figure


def points_with_intervals(
    curves: Sequence[Curve], x: Quantity, y: Quantity, *, log_x: bool = False, log_y: bool = False
) -> Figure:
    """A number against the size of clusters, values or quorums. If x are words, they are places in the order of the
    first curve that has them; if x are numbers, the ticks are those that were measured. The systems stand a little
    apart at each x, so that intervals do not hide one another. A y axis that is not log starts at zero."""
    with _house_style():
        figure, ((axes,),) = _figure()
        places = _places(curves, log_x)
        for number, (curve, style) in enumerate(zip(curves, _styles(curves), strict=True)):
            apart = (number - (len(curves) - 1) / 2) * 0.08
            at = [places[_key(point.x)] + apart for point in curve.points]
            _draw_curve(axes, curve, style, at, Quantity("place", "1"), y)
        axes.set_xticks(list(places.values()), [_tick(key) for key in places])
        axes.set_xlim(min(places.values()) - 0.5, max(places.values()) + 0.5)
        _label_axes(axes, x, y, log_y=log_y)
        if not log_y:
            axes.set_ylim(bottom=0)
        _widen(axes, log_y=log_y)
        _legend(figure, axes)
    return figure


def cdfs(
    curves: Sequence[Cdf], x: Quantity = LATENCY, *, share: Quantity = SHARE, log_x: bool = True, tail: bool = False
) -> Figure:
    """Distribution functions, as steps. `tail`: the share *above*, on a log axis, which shows the slowest
    operations."""
    with _house_style():
        figure, ((axes,),) = _figure()
        for curve, style in zip(curves, _styles(curves), strict=True):
            _draw_cdf(axes, curve, style, x, tail)
        if log_x:
            axes.set_xscale("log")
            _plain_log_ticks(axes.xaxis)
        else:
            axes.set_xlim(left=0)
        if tail:
            axes.set_yscale("log")
            share = Quantity(share.name.replace("share of", "share of slower", 1), share.unit)
        else:
            axes.set_ylim(0, 1.02)
        axes.set_xlabel(x.label + (", log" if log_x else ""))
        axes.set_ylabel(share.label + (", log" if tail else ""))
        _legend(figure, axes)
    return figure


def over_time(
    traces: Sequence[Trace], *, overlay: bool = False, throughput: Quantity = THROUGHPUT, latency: Quantity = LATENCY
) -> Figure:
    """Throughput above latency, over the time of a run: bins as points, their exponentially weighted average as a
    line, the sample mean as a thin level, the instants of faults as verticals with their words. Each trace has a
    column and a scale of throughput of its own; `overlay`: all traces on the same axes, with the marks of the first.
    A bin far above all others (commands that had waited and were served at once) does not squeeze them: it stands as
    an arrow with its value at the top."""
    with _house_style():
        columns = 1 if overlay else len(traces)
        figure, grid = _figure(2, columns, height_in=4.8)
        end_s = max(_end_s(trace.series) for trace in traces)
        for number, (trace, style) in enumerate(zip(traces, _styles(traces), strict=True)):
            column = 0 if overlay else number
            _draw_trace(grid[0][column], grid[1][column], trace, style, throughput, latency)
            if not overlay or number == 0:
                width_in = PAGE_WIDTH_IN / columns - 0.7  # beside the axes: ticks and label
                _draw_marks(grid[0][column], grid[1][column], trace.marks, end_s, width_in)
        for column in range(columns):
            _scale_throughput(grid[0][column], traces if overlay else [traces[column]], throughput)
            grid[1][column].set_yscale("log")
            _plain_log_ticks(grid[1][column].yaxis)
            grid[1][column].set_xlabel(TIME.label)
            grid[0][column].tick_params(labelbottom=False)
            for row in grid:
                row[column].set_xlim(0, end_s)
        _share_latency_axis(grid[1])
        grid[0][0].set_ylabel(throughput.label)
        grid[1][0].set_ylabel(latency.label + ", log")
        _trace_legend(figure, grid[0], traces)
    return figure


def strips(groups: Sequence[Strip], x: Quantity, y: Quantity) -> Figure:
    """Every value of each setting (one crash, one point) side by side, with the median beside them; y starts at
    zero. A value that is a lower bound is a hollow triangle."""
    with _house_style():
        figure, ((axes,),) = _figure()
        points, medians, bounds = STYLES[0], STYLES[1], STYLES[3]
        for place, group in enumerate(groups):
            at, values = _beside(place, group.values), np.array(group.values) * y.scale
            axes.plot(at, values, points.marker, color=points.colour, alpha=0.55, markersize=4, markeredgewidth=0)
            if group.censored:
                at, values = _beside(place, group.censored), np.array(group.censored) * y.scale
                axes.plot(at, values, "^", color=bounds.colour, fillstyle="none")
            if group.median is not None:
                level = group.median.scaled(y.scale)
                bar = _bar(level.arms)
                axes.errorbar([place + 0.36], [level.value], bar, fmt=medians.marker, color=medians.colour)
        axes.set_xticks(range(len(groups)), [group.label for group in groups])
        axes.set_xlim(-0.6, len(groups) - 0.4)
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(x.label)
        axes.set_ylabel(y.label)
        _widen(axes)
        _strip_legend(figure, axes, groups)
    return figure


def grouped_bars(groups: Sequence[str], bars: Sequence[Bars], x: Quantity, y: Quantity) -> Figure:
    """A group of bars for each of `groups`, with intervals, from zero; each bar has its value above it, or a dash if
    it is missing. Raises ValueError if a system has another number of values than there are groups."""
    with _house_style():
        figure, ((axes,),) = _figure()
        width = 0.8 / len(bars)
        for number, (bar, style) in enumerate(zip(bars, _styles(bars), strict=True)):
            if len(bar.values) != len(groups):
                raise ValueError(f"{bar.label} has {len(bar.values)} values for {len(groups)} groups")
            _draw_bars(axes, bar, style, (number - (len(bars) - 1) / 2) * width, width, y)
        axes.set_xticks(range(len(groups)), list(groups))
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        axes.set_xlabel(x.label)
        axes.set_ylabel(y.label)
        _widen(axes)
        _legend(figure, axes)
    return figure


@contextmanager
def _house_style() -> Iterator[None]:
    """Sets matplotlib's settings to those of this module, and restores them afterwards."""
    try:
        import matplotlib
    except ImportError as error:
        raise Unsupported("matplotlib is missing: install the extra `evaluation` of multipaxos") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # because the user may have settings of their own
        matplotlib.rcParams.update(RULES)
        yield


def _figure(rows: int = 1, columns: int = 1, height_in: float = ROW_HEIGHT_IN) -> tuple[Figure, list[list[Axes]]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE_WIDTH_IN, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [list(row) for row in grid]


def _styles(drawn: Sequence[Curve | Cdf | Trace | Bars]) -> list[Style]:
    """One style for each: that of its system, or else the next free one."""
    if len(drawn) > len(STYLES):
        raise ValueError(f"{len(drawn)} curves in one figure: a reader can tell at most {len(STYLES)} apart")
    chosen: dict[int, int] = {}
    for place, one in enumerate(drawn):
        fixed = FIXED.get(one.system)
        if fixed is not None and fixed not in chosen.values():
            chosen[place] = fixed
    kept = {FIXED[one.system] for one in drawn if one.system in FIXED}
    free = (number for number in range(len(STYLES)) if number not in kept)
    return [STYLES[chosen[place] if place in chosen else next(free)] for place in range(len(drawn))]


def _draw_curve(axes: Axes, curve: Curve, style: Style, at: Sequence[float], x: Quantity, y: Quantity) -> None:
    ys = [None if point.y is None else point.y.scaled(y.scale) for point in curve.points]
    values = [np.nan if estimate is None else estimate.value for estimate in ys]
    xs = [value * x.scale for value in at]
    line = "none" if any(isinstance(point.x, str) for point in curve.points) else style.line  # words have no line
    axes.plot(xs, values, marker=style.marker, linestyle=line, color=style.colour, label=curve.label)
    for point, place, estimate in zip(curve.points, xs, ys, strict=True):
        if estimate is None:
            continue
        across = point.x.scaled(x.scale).arms if isinstance(point.x, Estimate) else None
        xerr, yerr = _bar(across), _bar(estimate.arms)
        axes.errorbar([place], [estimate.value], yerr, xerr, fmt="none", color=style.colour, elinewidth=1)
        if point.note:
            spot = (place, estimate.value)
            axes.annotate(
                point.note, spot, (6, -9), textcoords="offset points", fontsize=NOTE_POINTS, color=style.colour
            )


def _bar(arms: tuple[float, float] | None) -> list[list[float]] | None:
    """The arms as matplotlib wants them; None: no bar."""
    return None if arms is None else [[arms[0]], [arms[1]]]


def _draw_cdf(axes: Axes, curve: Cdf, style: Style, x: Quantity, tail: bool) -> None:
    values, shares = curve.distribution.values * x.scale, curve.distribution.shares
    if tail:
        shares = 1 - shares
        seen = shares > 0.5 / curve.distribution.n  # the last step goes to 0, which a log axis cannot show
        values, shares = values[seen], shares[seen]
    elif len(values):
        values, shares = np.insert(values, 0, values[0]), np.insert(shares, 0, 0.0)  # the function rises from zero
    bound = curve.distribution.exact_below
    if bound is not None and len(values) and bound * x.scale > values[-1]:
        values, shares = (
            np.append(values, bound * x.scale),
            np.append(shares, shares[-1]),
        )  # known up to there
    every = max(1, len(values) // 8)
    axes.step(
        values, shares, where="post", color=style.colour, linestyle=style.line, label=curve.label,
        marker=style.marker, markevery=every, markersize=4,
    )  # fmt: skip


def _draw_trace(above: Axes, below: Axes, trace: Trace, style: Style, throughput: Quantity, latency: Quantity) -> None:
    series = trace.series
    raw: dict[str, Any] = {
        "marker": style.marker,
        "linestyle": "none",
        "color": style.colour,
        "markersize": 2,
        "alpha": 0.35,
    }
    above.plot(series.at_s, series.throughput_per_s * throughput.scale, markeredgewidth=0, **raw)
    above.plot(series.at_s, series.throughput_ewma_per_s * throughput.scale, color=style.colour, label=trace.label)
    above.axhline(series.mean_throughput_per_s * throughput.scale, color=style.colour, linestyle=":", linewidth=1)
    below.plot(series.at_s, series.latency_us * latency.scale, markeredgewidth=0, **raw)
    below.plot(series.at_s, series.latency_ewma_us * latency.scale, color=style.colour)
    if series.mean_latency_us is not None:
        below.axhline(series.mean_latency_us * latency.scale, color=style.colour, linestyle=":", linewidth=1)


def _scale_throughput(axes: Axes, traces: Sequence[Trace], throughput: Quantity) -> None:
    """Scales the axis from zero to the usual values, and to all values if that is not much more."""
    bins = np.concatenate([trace.series.throughput_per_s for trace in traces])
    bins = bins[~np.isnan(bins)]
    averages = np.concatenate([trace.series.throughput_ewma_per_s for trace in traces])
    usual = 1.25 * max(float(np.quantile(bins, 0.98)), float(np.nanmax(averages)))
    highest = float(bins.max())
    if highest <= 2 * usual:
        axes.set_ylim(0, max(1.06 * highest, 1.0) * throughput.scale)
        return
    axes.set_ylim(0, usual * throughput.scale)
    for trace in traces:
        for at_s, value in _peaks(trace.series, usual):
            text, spot = f"↑ {value_text(value * throughput.scale)}", (at_s, 1)
            axes.annotate(
                text,
                spot,
                (4, -8),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                fontsize=NOTE_POINTS,
            )


def _peaks(series: Series, above_per_s: float) -> list[tuple[float, float]]:
    """The time and height of the bins above a level; of bins near each other only the highest."""
    near_s = _end_s(series) / 8
    peaks: list[tuple[float, float]] = []
    for place in np.flatnonzero(series.throughput_per_s > above_per_s):
        peak = (float(series.at_s[place]), float(series.throughput_per_s[place]))
        if peaks and peak[0] - peaks[-1][0] < near_s:
            peaks[-1] = max(peaks[-1], peak, key=lambda one: one[1])
        else:
            peaks.append(peak)
    return peaks


def _draw_marks(above: Axes, below: Axes, marks: Sequence[Mark], end_s: float, width_in: float) -> None:
    """Draws verticals through both axes, with their words above the upper one, in as many lines as they need."""
    seconds_an_inch = end_s / width_in
    lines: list[float] = []  # the end of each line of words
    for mark in sorted(marks, key=lambda mark: mark.at_s):
        for axes in (above, below):
            axes.axvline(mark.at_s, color=MARK_COLOUR, linewidth=0.9, linestyle=(0, (4, 2)))
        length_s = (_width_in(mark.text, NOTE_POINTS) + 0.05) * seconds_an_inch
        start_s = min(mark.at_s, max(0.0, end_s - length_s))
        line = next((place for place, reached in enumerate(lines) if reached <= start_s), len(lines))
        lines[line : line + 1] = [start_s + length_s]
        above.annotate(
            mark.text, (start_s, 1), (2, 3 + 9 * line), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=NOTE_POINTS, color=MARK_COLOUR,
        )  # fmt: skip


def _draw_bars(axes: Axes, bar: Bars, style: Style, apart: float, width: float, y: Quantity) -> None:
    for place, value in enumerate(bar.values):
        if value is None:
            axes.annotate("n/a", (place + apart, 0), (0, 3), textcoords="offset points", ha="center", fontsize=7)
    there = [(place, value.scaled(y.scale)) for place, value in enumerate(bar.values) if value is not None]
    at = [place + apart for place, _ in there]
    axes.bar(
        at, [value.value for _, value in there], width * 0.92, color=style.colour, hatch=style.hatch,
        edgecolor="white", linewidth=0.5, label=bar.label,
    )  # fmt: skip
    for spot, (_, value) in zip(at, there, strict=True):
        top = value.value if value.high is None else value.high
        axes.errorbar([spot], [value.value], _bar(value.arms), fmt="none", color="#222222", elinewidth=1)
        axes.annotate(value_text(value.value), (spot, top), (0, 3), textcoords="offset points", ha="center", fontsize=7)


def _label_axes(axes: Axes, x: Quantity, y: Quantity, log_y: bool) -> None:
    axes.set_xlabel(x.label)
    axes.set_ylabel(y.label + (", log" if log_y else ""))
    if log_y:
        axes.set_yscale("log", nonpositive="clip")
        _plain_log_ticks(axes.yaxis)


def _widen(axes: Axes, log_y: bool = False) -> None:
    """Makes room for notes and values: above the data, and on a log axis below it too."""
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom * 0.8, top * (1.25 if log_y else 1.06))


def _plain_log_ticks(axis: Axis) -> None:
    """Labels a log axis with numbers, not powers of ten; in short ranges also at 2 and 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_data_interval()
    short = low > 0 and high / low < 2e3
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if short else (1.0,), numticks=20))
    axis.set_major_formatter(FuncFormatter(lambda value, _: value_text(value, 1)))
    axis.set_minor_formatter(NullFormatter())


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    _put_legend(figure, handles, labels)


def _put_legend(figure: Figure, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """Puts a legend above the axes, in as few lines as fit the page."""
    counts = [math.ceil(len(labels) / lines) for lines in range(1, len(labels) + 1)]
    columns = next((count for count in counts if _fits(labels, count)), 1)
    figure.legend(handles, labels, loc="outside upper center", ncols=columns)


def _fits(labels: Sequence[str], columns: int) -> bool:
    """Are so many columns, which matplotlib fills from top to bottom, no wider than the page?"""
    widths = [0.72 + _width_in(label, LEGEND_POINTS) for label in labels]  # handle, gaps, text
    return sum(float(column.max()) for column in np.array_split(np.array(widths), columns)) <= PAGE_WIDTH_IN


def _width_in(text: str, points: float) -> float:
    """The width of a text in our font, in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(family=RULES["font.family"])
    return float(TextPath((0, 0), text, size=points, prop=font).get_extents().width) / 72


def _trace_legend(figure: Figure, row: Sequence[Axes], traces: Sequence[Trace]) -> None:
    """Adds a legend that names the traces, and says what points, lines and levels are."""
    from matplotlib.lines import Line2D

    handles: list[Artist] = [handle for axes in dict.fromkeys(row) for handle in axes.get_legend_handles_labels()[0]]
    labels = [trace.label for trace in traces]
    widths = sorted({trace.series.bin_s for trace in traces})
    bins = " and ".join(f"{width:g} s" for width in widths)
    grey = "#666666"
    handles += [
        Line2D([], [], color=grey, marker="o", linestyle="none", markersize=2.5),
        Line2D([], [], color=grey),
        Line2D([], [], color=grey, linestyle=":", linewidth=1),
    ]
    labels += [f"bins of {bins}", f"EWMA, τ = {traces[0].series.tau_s:g} s", "sample mean"]
    _put_legend(figure, handles, labels)


def _strip_legend(figure: Figure, axes: Axes, groups: Sequence[Strip]) -> None:
    """Adds a legend that says what each kind of point is, of those that are there."""
    from matplotlib.lines import Line2D

    points, medians, bounds = STYLES[0], STYLES[1], STYLES[3]
    count = sum(len(group.values) + len(group.censored) for group in groups)
    handles: list[Artist] = [Line2D([], [], color=points.colour, marker=points.marker, linestyle="none", markersize=4)]
    labels = [f"single values ({count})"]
    if any(group.median is not None for group in groups):
        handles.append(Line2D([], [], color=medians.colour, marker=medians.marker, linestyle="none"))
        labels.append("median, 95 % interval")
    if any(group.censored for group in groups):
        handles.append(Line2D([], [], color=bounds.colour, marker="^", linestyle="none", fillstyle="none"))
        labels.append("not over when we stopped looking")
    _put_legend(figure, handles, labels)


def _share_latency_axis(row: Sequence[Axes]) -> None:
    """Gives the latencies of all columns one scale."""
    low, high = min(axes.get_ylim()[0] for axes in row), max(axes.get_ylim()[1] for axes in row)
    for axes in row:
        axes.set_ylim(low, high)


def _end_s(series: Series) -> float:
    return float(series.at_s[-1] + series.bin_s / 2)


def _x_of(point: Point) -> float:
    if isinstance(point.x, str):
        raise ValueError(f"{point.x!r} is no throughput")
    return point.x.value if isinstance(point.x, Estimate) else float(point.x)


def _key(x: float | str | Estimate) -> float | str:
    return x.value if isinstance(x, Estimate) else x


def _places(curves: Sequence[Curve], log_x: bool) -> dict[float | str, float]:
    """The place of each x. Numbers stand at their own distances (or those of their logarithms), with the nearest two
    1 apart."""
    keys = list(dict.fromkeys(_key(point.x) for curve in curves for point in curve.points))
    numbers = sorted(key for key in keys if not isinstance(key, str))
    if len(numbers) < len(keys):
        return {key: float(place) for place, key in enumerate(keys)}
    at = np.log(numbers) if log_x else np.array(numbers, dtype=np.float64)
    nearest = float(np.diff(at).min()) if len(at) > 1 else 1.0
    return {number: float(place) for number, place in zip(numbers, at / nearest, strict=True)}


def _tick(key: float | str) -> str:
    return key if isinstance(key, str) else value_text(key, 6).rstrip("0").rstrip(".") if key % 1 else f"{key:,.0f}"


def _beside(place: int, values: Sequence[float]) -> list[float]:
    """Places of values around a centre, spread to both sides in the order in which they came."""
    return [place + 0.22 * ((number * 0.618034) % 1 * 2 - 1) for number in range(len(values))]
