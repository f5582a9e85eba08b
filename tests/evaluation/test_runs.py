"""Reading folders of runs that are made up with known numbers, and refusing those that are damaged."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# ruff: noqa: E402
np = pytest.importorskip("numpy", reason="numpy is of the extra `evaluation`")

from evaluation import runs
from evaluation.errors import BadRecords
from evaluation.model import Fault, Spec, Topology, Workload
from evaluation.records import REFUSED
from multipaxos.load.operation_log import OperationLog
from tests.evaluation.rows import at, rows

SPEC = Spec(
    experiment="steady",
    system="multipaxos",
    workload=Workload(outstanding=2),
    faults=(Fault(kind="partition", at_s=1.0, groups=((0,), (1, 2))),),
    options=(("window", 8),),
)
TWO_CLIENTS = Spec(experiment="steady", system="multipaxos", topology=Topology(clients=2), workload=SPEC.workload)
OPEN = Spec(experiment="steady", system="multipaxos", workload=Workload(rate_per_s=100.0))
USAGE = {
    "cpu": {"idle_share": 0.5, "steal_share": 0.0, "processes": {"node0": 2.0, "node1": 1.0, "client0": 9.0}},
    "links": {
        "node0": {"tx_bytes": 3000, "rx_bytes": 1, "tx_packets": 30, "rx_packets": 1},
        "node1": {"tx_bytes": 1000, "rx_bytes": 1, "tx_packets": 10, "rx_packets": 1},
        "client0": {"tx_bytes": 9999, "rx_bytes": 9, "tx_packets": 999, "rx_packets": 9},
    },
}
FOUR = [(-0.01, -0.01, 0.0), (0.5, 0.5, 0.6), (1.0, 1.0, 1.2), (1.9, 1.9, 2.1)]  # the last is answered too late


def make(out, *clients, spec=SPEC, repetition=0, **changes):
    """A run's folder, measured from 0 s to 2 s. A client is its rows of operations, or the text of its seconds."""
    place = out / "runs" / f"{spec.digest()}-{repetition}"
    place.mkdir(parents=True)
    load = []
    for number, client in enumerate(clients):
        name = f"seconds-{number}.csv" if isinstance(client, str) else f"operations-{number}.npy"
        load.append({"client": number, "records": name})
        if isinstance(client, str):
            (place / name).write_text(client)
        else:
            with OperationLog(place / name) as file:
                file.write(client.tobytes())
    result = {
        "spec": spec.to_json(),
        "repetition": repetition,
        "complete": True,
        "began_at": "2026-11-25T12:00:00+00:00",
        "marks": {"load_began_ns": at(-1), "measure_began_ns": at(0), "measure_ended_ns": at(2)},
        "faults": [],
        "network": {},
        "usage": USAGE,
        "checks": {"failures": []},
        "load": load,
        "provenance": {},
    }
    (place / "run.json").write_text(json.dumps({**result, **changes}))
    return place


def seconds_text(*counts, first=1.0):
    lines = [f"{at(first + place)},{count}" for place, count in enumerate(counts)]
    return "\n".join(["at_ns,completed", *lines]) + "\n"


def one(out, *clients, **changes):
    make(out, *clients, **changes)
    (run,) = runs.load_runs(out)
    return run


def test_a_run_comes_back_as_it_was(tmp_path):
    run = one(tmp_path, rows(FOUR))
    assert (run.spec, run.repetition) == (SPEC, 0)
    assert run.operations.tobytes() == rows(FOUR).tobytes()
    assert run.result["provenance"] == {}
    assert run.at_s(at(0.5)) == 0.5
    assert (run.seconds, run.seconds_only, run.outstanding) == ((), False, 2)


def test_throughput_is_by_the_answer_and_latency_by_the_plan(tmp_path):
    run = one(tmp_path, rows(FOUR))
    assert runs.throughput_per_s(run) == 3 / 2  # the answer at 0.0 counts, the one at 2.1 does not
    latencies = runs.latencies_us(run)
    assert latencies.us.tolist() == pytest.approx([1e5, 2e5, 2e5])  # for latencies it is the other way round
    assert not latencies.censored.any()
    assert runs.mean_latency_us(run) == pytest.approx(5e5 / 3)
    assert runs.percentile_us(run, 50) == pytest.approx(2e5)


def test_what_was_not_answered_or_refused_is_censored_at_the_end_of_the_window(tmp_path):
    made = rows([(0.5, 0.5, 0.6), (0.6, 0.6, 0.7, REFUSED), (1.0, 1.0, None), (2.5, 2.5, None)])
    latencies = runs.latencies_us(one(tmp_path, made))
    assert latencies.us.tolist() == pytest.approx([1e5, 1.4e6, 1e6])
    assert latencies.censored.tolist() == [False, True, True]
    assert (latencies.unanswered, latencies.refused) == (1, 1)


def test_clients_are_read_together(tmp_path):
    run = one(tmp_path, rows(FOUR), rows(FOUR[:2]), spec=TWO_CLIENTS)
    assert len(run.operations) == 6
    assert runs.throughput_per_s(run) == 5 / 2
    assert run.outstanding == 4
    assert not run.operations.flags.writeable


def test_a_file_of_a_client_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path):
    place = make(tmp_path, rows(FOUR))
    whole = (place / "operations-0.npy").read_bytes()
    fresh = tmp_path / "cut.npy"
    file = OperationLog(fresh)
    file.write(rows(FOUR[:2]).tobytes() + b"half a row")
    file._file.close()  # as SIGKILL does: the header still says 0 rows
    (place / "operations-0.npy").write_bytes(fresh.read_bytes())
    assert len(runs.load_runs(tmp_path)[0].operations) == 2
    (place / "operations-0.npy").write_bytes(whole)
    assert len(runs.load_runs(tmp_path)[0].operations) == 4  # no old rows are remembered


def test_per_operation(tmp_path):
    run = one(tmp_path, rows(FOUR))
    assert runs.bytes_per_operation(run) == pytest.approx(4000 / 3)
    assert runs.busiest_bytes_per_operation(run) == pytest.approx(1000)
    assert runs.packets_per_operation(run) == pytest.approx(40 / 3)
    assert runs.cpu_us_per_operation(run) == pytest.approx(1e6)
    assert runs.busiest_cpu_us_per_operation(run) == pytest.approx(2e6 / 3)


@pytest.mark.parametrize("usage", [None, {}, {"cpu": None, "links": {}}])
def test_what_was_not_measured_is_none(usage, tmp_path):
    run = one(tmp_path, rows(FOUR), usage=usage)
    assert runs.bytes_per_operation(run) is None
    assert runs.cpu_us_per_operation(run) is None


def test_a_run_in_which_nothing_was_done(tmp_path):
    run = one(tmp_path, rows([]))
    assert runs.throughput_per_s(run) == 0
    assert runs.mean_latency_us(run) is None
    assert runs.percentile_us(run, 99) is None
    assert runs.bytes_per_operation(run) is None
    assert runs.over_runs([run], runs.mean_latency_us) is None


def test_seconds(tmp_path):
    run = one(tmp_path, seconds_text(100, 300))
    assert run.seconds_only
    assert runs.throughput_per_s(run) == pytest.approx(200)
    assert runs.mean_latency_us(run) == pytest.approx(2 / 200 * 1e6)  # two outstanding: Little's law
    assert runs.cpu_us_per_operation(run) == pytest.approx(3e6 / 400)
    assert len(runs.latencies_us(run).us) == 0
    assert runs.percentile_us(run, 50) is None
    assert runs.series_of(run).throughput_per_s.tolist() == pytest.approx([100, 300])


def test_an_open_loop_of_seconds_has_no_latency(tmp_path):
    run = one(tmp_path, seconds_text(100, 300), spec=OPEN)
    assert run.outstanding is None
    assert runs.mean_latency_us(run) is None
    assert np.isnan(runs.series_of(run).latency_us).all()


def test_series_of_operations(tmp_path):
    found = runs.series_of(one(tmp_path, rows(FOUR)))
    assert len(found.at_s) == 20
    assert found.throughput_per_s[[0, 6, 12]].tolist() == pytest.approx([10, 10, 10])


def test_over_runs_is_over_all_of_them_or_not_at_all(tmp_path):
    for repetition, count in enumerate((1, 2, 3)):
        make(tmp_path, rows(FOUR[1:2] * count), repetition=repetition)
    found = runs.load_runs(tmp_path)
    assert [run.repetition for run in found] == [0, 1, 2]
    pytest.importorskip("scipy", reason="scipy is of the extra `evaluation`")
    estimate = runs.over_runs(found, runs.throughput_per_s)
    assert (estimate.n, estimate.value) == (3, 1.0)
    assert estimate.half_width == pytest.approx(4.302653 * 0.5 / 3**0.5, rel=1e-5)
    assert runs.over_runs([], runs.throughput_per_s) is None
    assert runs.over_runs(found, lambda run: None if run.repetition else 1.0) is None


def test_by_point(tmp_path):
    for spec in (SPEC, OPEN):
        for repetition in range(2):
            make(tmp_path, rows(FOUR), spec=spec, repetition=repetition)
    points = runs.by_point(runs.load_runs(tmp_path))
    assert [[run.repetition for run in point] for point in points] == [[0, 1], [0, 1]]
    assert {point[0].spec for point in points} == {SPEC, OPEN}


def test_runs_that_were_cut_off_are_named_and_not_read(tmp_path):
    make(tmp_path, rows(FOUR), repetition=0)
    cut = make(tmp_path, rows(FOUR), repetition=1, complete=False)
    gone = make(tmp_path, rows(FOUR), repetition=2)
    (gone / "run.json").unlink()
    assert [run.repetition for run in runs.load_runs(tmp_path)] == [0]
    told = runs.unfinished(tmp_path)
    assert list(told) == [cut, gone]
    assert (told[cut] or {})["complete"] is False
    assert told[gone] is None


def test_no_runs_yet(tmp_path):
    assert runs.load_runs(tmp_path) == []
    with pytest.raises(BadRecords, match="is no folder"):
        runs.load_runs(tmp_path / "steady")


def spoil(place: Path, how: str) -> None:
    """Damages one run's folder."""
    file, records = place / "run.json", place / "operations-0.npy"
    result = json.loads(file.read_text())
    match how:
        case "run.json is no JSON":
            file.write_text(file.read_text()[:100])
            return
        case "whether it is complete":
            del result["complete"]
        case "has no marks, load":
            del result["marks"], result["load"]
        case "cannot be understood":
            result["spec"]["surprise"] = 1
        case "those of":
            result["spec"]["workload"]["outstanding"] = 3
        case "ended before it began":
            result["marks"]["measure_ended_ns"] = result["marks"]["measure_began_ns"]
        case "all of one kind":
            result["load"].append({"client": 1, "records": "seconds-1.csv"})
        case "must be there":
            result["load"] = []
        case "operations-0.npy is missing":
            records.unlink()
        case "evil.npy is missing":
            shutil.copy(records, place.parent / "evil.npy")
            result["load"][0]["records"] = "../evil.npy"
        case "has 4 rows":
            records.write_bytes(records.read_bytes()[:-40])
        case "no file of operations":
            records.write_bytes(b"nothing of the kind" * 20)
        case "rows of another kind":
            np.save(records, np.zeros(4))
    file.write_text(json.dumps(result))


@pytest.mark.parametrize(
    "how",
    [
        "run.json is no JSON",
        "whether it is complete",
        "has no marks, load",
        "cannot be understood",
        "those of",
        "ended before it began",
        "all of one kind",
        "must be there",
        "operations-0.npy is missing",
        "evil.npy is missing",
        "has 4 rows",
        "no file of operations",
        "rows of another kind",
    ],
)
def test_a_damaged_run_is_refused_by_name(how, tmp_path):
    make(tmp_path, rows(FOUR), repetition=0)
    place = make(tmp_path, rows(FOUR), repetition=1)
    spoil(place, how)
    with pytest.raises(BadRecords, match=how) as told:
        runs.load_runs(tmp_path)
    assert str(place) in str(told.value)
    assert "repeat the run" in str(told.value)


@pytest.mark.parametrize(
    "text", ["", "at_ns,completed\n", "1,2\n", "at_ns,completed\n5,x\n", "at_ns,completed\n5,1\n5,1\n", "a\xff"]
)
def test_damaged_seconds_are_refused_by_name(text, tmp_path):
    place = make(tmp_path, seconds_text(1, 2))
    (place / "seconds-0.csv").write_text(text, encoding="latin-1")
    with pytest.raises(BadRecords, match=r"seconds-0\.csv") as told:
        runs.load_runs(tmp_path)
    assert str(place) in str(told.value)


def test_reading_runs_needs_neither_matplotlib_nor_scipy_nor_pandas(tmp_path):
    """Importing the figures, as experiments do that only carry out runs, needs none of them either."""
    make(tmp_path, rows(FOUR))
    program = f"""
import sys
for name in ("matplotlib", "scipy", "pandas"):
    sys.modules[name] = None  # an import of it fails
from pathlib import Path
from evaluation import errors, estimates, figures, runs, tables
run, = runs.load_runs(Path({str(tmp_path)!r}))
assert runs.throughput_per_s(run) == 1.5
for call in (lambda: estimates.mean([1.0, 2.0]), lambda: figures.cdfs([])):
    try:
        call()
    except errors.Unsupported as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=_paths())
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["scipy", "matplotlib"]


def _paths() -> dict[str, str]:
    return {"PYTHONPATH": ":".join(sys.path)}
