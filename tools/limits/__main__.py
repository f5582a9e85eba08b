"""Measures what large values, slow links and floods do: ``python tools/limits large --quick``.

Theory. Each case has a bar: what a good cluster reaches on links of this kind, from the bytes that must travel, or as a
ratio of two measurements on one machine. A case makes a fresh cluster of processes, on this machine's loopback or in
network namespaces with links of a given rate (`slow_links`), and prints a line of JSON for each figure with its bar:
`holds` says whether it is kept, and is null for a figure that has none. `load` is the machine's load meanwhile: on a
busy machine counts and ratios say more than times. Elections are counted as the rounds by which the highest ballot
grew. What a good client sees is measured by a process of its own (`probe`), and floods are processes too (`floods`).

Rules. A cluster whose largest node is over `--ceiling` is ended, and the case says so instead of the rest of its
figures. Every process is started here and ended here, by its id, or by the kernel where this one is killed (`tied`);
namespaces are removed. `--quick` makes small sizes, which show that a case runs, and say nothing about the bars.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import click
import uvloop
from crowded import beside, flight, flood, overload
from far import behind, large, learner, undecided
from floods import FLOODS
from watched import MIB, QUICK, Rows, Sizes

# -- the cases

Case = Callable[[Rows, Sizes], Awaitable[None]]


def _with(measure: Callable[..., Awaitable[None]], *arguments: Any) -> Case:
    return lambda rows, sizes: measure(rows, sizes, *arguments)


CASES: dict[str, dict[str, Case]] = {
    "large": {f"1 MiB, {rate} Mbit/s": _with(large, rate) for rate in (100, 20)},
    "undecided": {f"{size} bytes undecided": _with(undecided, size) for size in (MIB - 64, 64)},
    "behind": {f"behind by {size} byte values": _with(behind, size) for size in (MIB, 64)},
    "learner": {"learner at 2 MiB/s": learner},
    "flight": {"30 of 1 MiB in flight": flight},
    "beside": {"small beside large": beside},
    "flood": {f"flood {name}": _with(flood, name) for name in FLOODS},
    "overload": {f"open loop at {times} times peak": _with(overload, times) for times in (2, 10)},
}


@click.command()
@click.argument("what", type=click.Choice(list(CASES)))
@click.option("--only", default="", help="Only the cases whose name holds this.")
@click.option("--quick", is_flag=True, help="Small sizes: shows that it runs.")
@click.option("--ceiling", type=click.FloatRange(64), default=4096, show_default=True, help="MiB of a node.")
def main(what: str, only: str, quick: bool, ceiling: float) -> None:
    """Measure on fresh clusters of three nodes, and compare with the bars."""
    for case, measure in CASES[what].items():
        if only in case:
            uvloop.run(measure(Rows(case, ceiling), QUICK if quick else Sizes()))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
