"""The values that make a run: they come back from a file equal, and their digests tell every two of them apart."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest

from evaluation import shaping
from evaluation.model import Fault, Spec, Topology, Workload

WIDE = Topology(
    nodes=3,
    clients=1,
    delay_ms=0.5,
    sites=("oslo", "rome", "bern", "oslo"),
    site_delays_ms=(("oslo-rome", 20.0), ("bern-oslo", 15.0), ("bern-rome", 5.0), ("oslo-oslo", 1.0)),
)
FULL = Spec(
    experiment="some",
    system="multipaxos",
    storage="lmdb",
    topology=dataclasses.replace(WIDE, rate_mbit=10.0, jitter_ms=0.25, loss=0.01),
    workload=Workload(outstanding=7, rate_per_s=100.0, arrivals="fixed", zipf=0.99, read_share=0.5),
    faults=(
        Fault(kind="partition", at_s=1.5, groups=((0,), (1, 2)), mode="one_way"),
        Fault(kind="slow", at_s=2.0, target=1, amount=0.1),
        Fault(kind="kill", at_s=3.0, target="leader"),
    ),
    quorum="sizes 2 2",
    options=(("window", 10), ("sync", True)),
    trace=True,
)
PLAIN = Spec(experiment="some", system="multipaxos")


@pytest.mark.parametrize("spec", [FULL, PLAIN])
def test_a_spec_comes_back_from_a_file_as_it_was(spec: Spec) -> None:
    again = Spec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert again.digest() == spec.digest()
    assert hash(again) == hash(spec)


def others_of(value: Any) -> list[Any]:
    """Other values of the same kind."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1]
    if isinstance(value, str):
        return [value + "x"]
    if isinstance(value, tuple):
        return [value[1:], (*value, value[0]), value[::-1]] if len(value) > 1 else [(*value, *value)]
    raise AssertionError(f"what differs from {value!r}?")


def variants(value: Any) -> list[Any]:
    """A dataclass with one value changed, each in turn."""
    found: list[Any] = []
    for field in dataclasses.fields(value):
        old = getattr(value, field.name)
        nested = variants(old) if dataclasses.is_dataclass(old) else others_of(old) if old not in (None, ()) else []
        found += [dataclasses.replace(value, **{field.name: new}) for new in nested]
    return found


def test_digests_differ_when_anything_differs() -> None:
    every = [FULL, *variants(FULL)]
    for place, fault in enumerate(FULL.faults):
        for other in variants(fault):
            faults = (*FULL.faults[:place], other, *FULL.faults[place + 1 :])
            every.append(dataclasses.replace(FULL, faults=faults))
    fields = sum(len(dataclasses.fields(part)) for part in (FULL, FULL.topology, FULL.workload, FULL.faults[0]))
    assert len(every) > fields
    assert len(set(every)) == len(every)
    assert len({spec.digest() for spec in every}) == len(every)


def test_a_digest_is_the_same_in_every_process_and_for_ever() -> None:
    """Folders are named by it: if it changed, every run would be repeated."""
    assert PLAIN.digest() == "62bfc161a4f8"
    script = "from evaluation.model import Spec; print(Spec(experiment='some', system='multipaxos').digest())"
    for seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(shaping.ELEMENTS)},
        )
        assert told.stdout.strip() == PLAIN.digest()


def test_equal_specs_have_equal_digests_also_when_a_float_was_written_without_a_point() -> None:
    whole = Spec(
        experiment="some",
        system="multipaxos",
        topology=Topology(rate_mbit=10, delay_ms=1),
        workload=Workload(duration_s=4),
        faults=(Fault(kind="loss", at_s=1, amount=1),),
    )
    point = Spec(
        experiment="some",
        system="multipaxos",
        topology=Topology(rate_mbit=10.0, delay_ms=1.0),
        workload=Workload(duration_s=4.0),
        faults=(Fault(kind="loss", at_s=1.0, amount=1.0),),
    )
    assert whole == point
    assert whole.digest() == point.digest()
    assert isinstance(whole.topology.nodes, int)  # a count stays a whole number
    assert whole.topology.rate_mbit == 10.0


def test_options_by_name() -> None:
    assert FULL.option("window") == 10
    assert FULL.option("sync") is True
    assert FULL.option("other") is None
    assert FULL.option("other", 5) == 5


def test_delays_of_a_star_are_those_of_two_links() -> None:
    star = Topology(nodes=3, clients=1, delay_ms=2.5)
    assert star.one_way_ms(0, 3) == 5.0
    assert star.one_way_ms(2, 2) == 0.0
    assert Topology().one_way_ms(0, 1) == 0.0


@pytest.mark.parametrize(
    ("a", "b", "asked_ms"),
    [(0, 1, 21.0), (1, 0, 21.0), (0, 2, 16.0), (2, 1, 6.0), (0, 3, 2.0), (3, 1, 21.0), (1, 1, 0.0)],
)
def test_delays_between_sites_come_on_top(a: int, b: int, asked_ms: float) -> None:
    """Hosts of one site have that site's own delay, if there is one."""
    assert WIDE.one_way_ms(a, b) == asked_ms


def test_words_tell_points_of_an_experiment_apart() -> None:
    spec = Spec(experiment="made_up", system="multipaxos")
    assert spec.words() == "multipaxos memory, n=3, 1 outstanding, 64 bytes"
    wide = dataclasses.replace(
        spec,
        topology=Topology(nodes=2, rate_mbit=10, sites=("a", "b", "b")),
        workload=Workload(rate_per_s=1000.0, value_size=4096),
        quorum="sizes 1 2",
        options=(("sync", True),),
        faults=(Fault(kind="kill", at_s=1.0, target="leader"), Fault(kind="restart", at_s=2.0, target="leader")),
    )
    assert wide.words() == (
        "multipaxos memory, n=2, 10 Mbit/s, wide area, sizes 1 2, 1000/s, 4,096 bytes, sync True, kill, restart"
    )
