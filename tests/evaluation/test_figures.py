"""The house style of the figures, checked on their objects and on their bytes."""

# ruff: noqa: E402

import re
import subprocess
import sys

import pytest

np = pytest.importorskip("numpy", reason="numpy is of the extra `evaluation`")
matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is of the extra `evaluation`")

from matplotlib.colors import to_rgb
from matplotlib.text import Text

from evaluation import figures, series
from evaluation.estimates import Estimate, distribution
from evaluation.figures import Bars, Cdf, Curve, Mark, Point, Strip, Trace
from evaluation.tables import LATENCY, THROUGHPUT, Quantity
from tests.evaluation.rows import answers, at

NODES = Quantity("cluster size", "nodes")
TIMEOUT = Quantity("election time-out", "ms")
OUTAGE = Quantity("time without service", "ms", 1e-3)
LABELS = ["multipaxos, memory", "LibPaxos3", "etcd"]
SYSTEMS = ["multipaxos", "libpaxos", "etcd"]


def near(value, spread=0.05):
    return Estimate(10, value, value * (1 - spread), value * (1 + spread))


def curves(xs, rise=1.0):
    return [
        Curve(label, tuple(Point(x, near(100.0 * (n + 1) * rise**m)) for m, x in enumerate(xs)), system)
        for n, (label, system) in enumerate(zip(LABELS, SYSTEMS, strict=True))
    ]


def throughput_curves():
    return curves([near(10_000.0), near(50_000.0), near(60_000.0)], rise=3)


def cdf_curves():
    values = np.random.default_rng(1).lognormal(5, 1, 800)
    return [Cdf(label, distribution(values * (n + 1)), SYSTEMS[n]) for n, label in enumerate(LABELS)]


def traces():
    served = [time for time in np.arange(0, 10, 0.01) if not 4 < time < 5]
    ours = series.of_operations(answers(served), at(0), at(10))
    rows = np.array([(at(second), 40 if second != 5 else 0) for second in range(1, 11)], dtype=series.SECOND)
    marks = (Mark(4.0, "leader killed"), Mark(4.6, "restored"), Mark(9.9, "follower stopped"))
    return [
        Trace(LABELS[0], ours, marks, "multipaxos"),
        Trace(LABELS[1], series.of_seconds([rows], at(0), at(10), 10), marks[:2], "libpaxos"),
    ]


def strips():
    values = tuple(np.random.default_rng(2).uniform(1e5, 2e5, 30))
    return [Strip("50", values, (), near(1.5e5)), Strip("100", values, (9e5,), near(1.5e5))]


def bars():
    return [Bars(label, (near(1000.0 * (n + 1)), None), SYSTEMS[n]) for n, label in enumerate(LABELS)]


DRAWN = {
    "latency against throughput": lambda: figures.latency_against_throughput(throughput_curves()),
    "cluster sizes": lambda: figures.points_with_intervals(curves([1, 3, 5, 7, 9]), NODES, THROUGHPUT),
    "quorums": lambda: figures.points_with_intervals(curves(["majority", "grid"]), NODES, LATENCY, log_y=True),
    "cdfs": lambda: figures.cdfs(cdf_curves()),
    "tails": lambda: figures.cdfs(cdf_curves(), tail=True),
    "over time": lambda: figures.over_time(traces()),
    "over time, overlaid": lambda: figures.over_time(traces(), overlay=True),
    "outages": lambda: figures.strips(strips(), TIMEOUT, OUTAGE),
    "bars": lambda: figures.grouped_bars(["star", "wide area"], bars(), Quantity("network", "kind"), THROUGHPUT),
}
UNIT = re.compile(r"\(.+\)")
FROM_ZERO = ["cluster sizes", "over time", "over time, overlaid", "outages", "bars"]


@pytest.fixture(params=DRAWN)
def name(request):
    return request.param


@pytest.fixture
def figure(name):
    return DRAWN[name]()


def legend_texts(figure):
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_axes_have_units_and_say_when_they_are_log(figure, name):
    labelled = {"over time": 2, "over time, overlaid": 1}  # columns; the first has the labels of y, the last row of x
    columns = labelled.get(name, 1)
    rows = len(figure.axes) // columns
    for place, axes in enumerate(figure.axes):
        across, up = axes.get_xlabel(), axes.get_ylabel()
        if place // columns == rows - 1:
            assert UNIT.search(across)
            assert across.endswith(", log") == (axes.get_xscale() == "log")
        if place % columns == 0:
            assert UNIT.search(up)
            assert up.endswith(", log") == (axes.get_yscale() == "log")


@pytest.mark.parametrize("name", FROM_ZERO)
def test_axes_from_zero(name):
    figure = DRAWN[name]()
    columns = 2 if name == "over time" else 1
    for axes in figure.axes[:columns]:
        assert axes.get_ylim()[0] == 0
        assert axes.get_yscale() == "linear"


def test_throughput_across_begins_at_zero_and_latency_is_log():
    (axes,) = DRAWN["latency against throughput"]().axes
    assert axes.get_xlim()[0] == 0
    assert axes.get_yscale() == "log"


@pytest.mark.parametrize("name", [name for name in DRAWN if name != "outages"])
def test_no_legend_misses_a_system(name):
    wanted = LABELS[:2] if name.startswith("over time") else LABELS
    assert legend_texts(DRAWN[name]())[: len(wanted)] == wanted


def test_the_legend_of_outages_says_what_is_there():
    assert legend_texts(DRAWN["outages"]()) == [
        "single values (61)",
        "median, 95 % interval",
        "not over when we stopped looking",
    ]
    plain = figures.strips([Strip("50", (1.0, 2.0))], TIMEOUT, OUTAGE)
    assert legend_texts(plain) == ["single values (2)"]


def test_legends_and_words_lie_on_the_page_and_not_on_the_data(figure):
    figure.canvas.draw()
    page = figure.bbox
    legend = figure.legends[0].get_window_extent()
    assert page.x0 <= legend.x0 < legend.x1 <= page.x1
    assert legend.y1 <= page.y1
    for axes in figure.axes:
        assert not legend.overlaps(axes.get_window_extent())
        for text in filter(Text.get_text, [*axes.texts, axes.xaxis.label, axes.yaxis.label]):
            extent = text.get_window_extent()
            assert page.x0 <= extent.x0 < extent.x1 <= page.x1 + 1, text.get_text()
            assert not legend.overlaps(extent), text.get_text()


def test_words_of_instants_do_not_lie_on_one_another():
    figure = DRAWN["over time"]()
    figure.canvas.draw()
    for axes in figure.axes:
        assert all(text.get_window_extent().x1 <= axes.get_window_extent().x1 + 5 for text in axes.texts)
    extents = [text.get_window_extent() for axes in figure.axes for text in axes.texts]
    assert len(extents) == 5
    assert not any(one.overlaps(other) for n, one in enumerate(extents) for other in extents[:n])


def test_same_data_same_bytes(name, tmp_path):
    first = figures.save(DRAWN[name](), tmp_path / "a", "figure")
    second = figures.save(DRAWN[name](), tmp_path / "b", "figure")
    assert [path.name for path in first] == ["figure.svg", "figure.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert first[0].read_bytes().startswith(b"<?xml")
    assert b"<dc:date>" not in first[0].read_bytes()


def test_same_bytes_in_another_process_whatever_its_settings(tmp_path):
    """The other process has another seed of hashes, and a matplotlibrc of the user."""
    program = """
import sys
from pathlib import Path
import matplotlib
matplotlib.rcParams["font.size"] = 20
matplotlib.rcParams["axes.facecolor"] = "yellow"
from evaluation import figures
from tests.evaluation.test_figures import DRAWN
figures.save(DRAWN["over time"](), Path(sys.argv[1]), "figure")
assert "matplotlib.pyplot" not in sys.modules
assert matplotlib.rcParams["font.size"] == 20
"""
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "1", "MPLCONFIGDIR": str(tmp_path)}
    command = [sys.executable, "-c", program, str(tmp_path / "there")]
    subprocess.run(command, check=True, timeout=60, env=environment)
    for path in figures.save(DRAWN["over time"](), tmp_path / "here", "figure"):
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()


def test_other_data_other_bytes(tmp_path):
    first, _ = figures.save(figures.cdfs(cdf_curves()), tmp_path, "a")
    second, _ = figures.save(figures.cdfs(cdf_curves()[:2]), tmp_path, "b")
    assert first.read_bytes() != second.read_bytes()


def test_styles_tell_systems_apart_without_colours():
    for parts in ("colour", "marker", "line", "hatch"):
        assert len({getattr(style, parts) for style in figures.STYLES}) == len(figures.STYLES)
    greys = [np.dot(to_rgb(style.colour), [0.299, 0.587, 0.114]) for style in figures.STYLES]
    assert max(greys) < 0.75  # none is too pale on white paper


def test_a_system_looks_the_same_in_all_figures():
    def colour(drawn, label):
        (axes,) = figures.points_with_intervals(drawn, NODES, THROUGHPUT).axes
        handles, labels = axes.get_legend_handles_labels()
        return handles[labels.index(label)].get_color()

    ours, theirs, third = curves([1, 3])
    variant = Curve("multipaxos, LMDB", ours.points, "multipaxos")
    assert colour([ours, theirs, third], "LibPaxos3") == colour([theirs], "LibPaxos3") == figures.STYLES[1].colour
    drawn = [variant, ours, theirs, third]
    assert len({colour(drawn, curve.label) for curve in drawn}) == 4
    with pytest.raises(ValueError, match="a reader can tell at most 7 apart"):
        figures.points_with_intervals([ours] * 8, NODES, THROUGHPUT)


def test_error_bars_are_the_intervals_and_none_where_there_is_none():
    points = (Point(near(1000.0), near(100.0)), Point(Estimate(1, 2000.0), Estimate(1, 200.0)), Point(3000.0, None))
    (axes,) = figures.latency_against_throughput([Curve("multipaxos", points)]).axes
    drawn = [tuple(map(tuple, path.vertices)) for bars in axes.collections for path in bars.get_paths()]
    assert sorted(drawn) == [
        ((pytest.approx(0.95), pytest.approx(0.1)), (pytest.approx(1.05), pytest.approx(0.1))),
        ((pytest.approx(1.0), pytest.approx(0.095)), (pytest.approx(1.0), pytest.approx(0.105))),
    ]
    assert np.isnan(axes.lines[0].get_ydata()[2])


def test_sizes_stand_at_their_own_distances():
    (axes,) = figures.points_with_intervals(curves([1, 3, 9]), NODES, THROUGHPUT).axes
    assert np.diff(axes.get_xticks()).tolist() == pytest.approx([1, 3])
    (axes,) = figures.points_with_intervals(curves([1, 3, 9]), NODES, THROUGHPUT, log_x=True).axes
    assert np.diff(axes.get_xticks()).tolist() == pytest.approx([1, 1])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "3", "9"]
    (axes,) = figures.points_with_intervals(curves(["majority", "grid"]), NODES, THROUGHPUT).axes
    assert {line.get_linestyle() for line in axes.lines if line.get_label() in LABELS} == {"None"}


def test_a_distribution_rises_from_zero_and_a_censored_one_ends_below_one():
    found = distribution([1000.0, 2000.0, 9000.0], np.array([False, False, True]))
    (axes,) = figures.cdfs([Cdf("multipaxos", found)]).axes
    assert axes.lines[0].get_xdata().tolist() == pytest.approx([1, 1, 2, 9])
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3])


def test_over_time_shows_bins_averages_means_and_instants():
    one = traces()[0]
    above, below = figures.over_time([one]).axes
    bins, average = above.lines[0], above.lines[1]
    assert bins.get_ydata().tolist() == pytest.approx((one.series.throughput_per_s / 1e3).tolist())
    assert average.get_ydata().tolist() == pytest.approx((one.series.throughput_ewma_per_s / 1e3).tolist())
    levels = [line.get_ydata()[0] for line in above.lines if line.get_linestyle() == ":"]
    assert levels == pytest.approx([one.series.mean_throughput_per_s / 1e3])
    for axes in (above, below):
        ends = [(line.get_xdata()[0], line.get_xdata()[-1]) for line in axes.lines]
        instants = [first for first, last in ends if first == last]
        assert instants == [4.0, 4.6, 9.9]
    assert np.isnan(below.lines[1].get_ydata()).any()  # the stall: nothing is drawn across it
    assert "EWMA, τ = 1 s" in legend_texts(figures.over_time([one]))


def test_a_burst_is_reported_and_does_not_squeeze_the_rest():
    """A thousand answers come at once after a stall; other bins have ten."""
    served = [*np.arange(0, 10, 0.01), *[5.05] * 1000]
    (above, _) = figures.over_time([Trace("multipaxos", series.of_operations(answers(served), at(0), at(10)))]).axes
    assert above.get_ylim()[1] < 2
    assert [text.get_text() for text in above.texts] == ["↑ 10.1"]


def test_every_outage_is_a_point():
    (axes,) = DRAWN["outages"]().axes
    points = [line for line in axes.lines if line.get_linestyle() == "None" and len(line.get_ydata()) > 1]
    assert [len(line.get_ydata()) for line in points] == [30, 30]
    hollow = [line for line in axes.lines if line.get_fillstyle() == "none"]
    assert [line.get_ydata().tolist() for line in hollow] == [[pytest.approx(900)]]


def test_bars_have_values_and_say_what_is_not_there():
    (axes,) = DRAWN["bars"]().axes
    assert sorted(text.get_text() for text in axes.texts) == ["1.00", "2.00", "3.00", "n/a", "n/a", "n/a"]
    assert [patch.get_height() for patch in axes.patches] == pytest.approx([1, 2, 3])
    with pytest.raises(ValueError, match="has 2 values for 1 groups"):
        figures.grouped_bars(["star"], bars(), Quantity("network", "kind"), THROUGHPUT)
