"""The command line of the evaluation: `python mininet/evaluate.py EXPERIMENT|all`, and `analyse DIR`.

Rules. The program asks nothing of the machine before it knows that the machine has it. Ctrl-C ends the run under way,
takes its network down, and keeps the complete runs; the same command goes on from there. SIGTERM does the same. Figures
are drawn from the records in DIR alone. Exit codes: 0 done, 1 a run failed or found a broken promise, or records cannot
be read, 2 usage, 3 this machine lacks something, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

FAILED, USAGE, LACKING, INTERRUPTED, TERMINATED = 1, 2, 3, 130, 143

try:
    from evaluation import campaign, experiments, machine
    from evaluation.errors import EvaluationError
    from evaluation.experiments import Experiment, Scale
    from evaluation.model import Spec
    from evaluation.runs import load_runs
    from evaluation.systems import Settings, system
    from evaluation.systems import systems as known_systems
except ModuleNotFoundError as error:
    click.echo(f"no Python package {error.name}: pip install 'multipaxos[evaluation]'", err=True)
    sys.exit(LACKING)

ANALYSE = "analyse"
QUICK_RUNS, RUNS = 1, 10


def settings_of(libpaxos_bin: Path | None, names: Sequence[str]) -> Settings:
    """The settings for the named systems. Ends the program if one of them cannot be run."""
    settings = Settings(libpaxos_bin)
    known = known_systems()
    for name in names:
        if name not in known:
            end(f"no system {name!r}: choose one of {', '.join(sorted(known))}", USAGE)
        missing = known[name].missing(settings)
        if missing is not None:
            end(missing, LACKING)
    return settings


def end(why: str, code: int) -> NoReturn:
    """Prints why, and ends the program."""
    click.echo(why, err=True)
    sys.exit(code)


def chosen(name: str) -> list[Experiment]:
    """The experiment of that name, or all."""
    known = experiments.experiments()
    if name == "all":
        return list(known.values())
    if name not in known:
        end(f"no experiment {name!r}: choose one of all, {', '.join(known)}; or {ANALYSE} DIR", USAGE)
    return [known[name]]


def carry_out(which: Sequence[Experiment], scale: Scale, out: Path, settings: Settings, seed: int) -> campaign.Outcome:
    """Carries out the runs that are left, then the runs that depend on what these found."""
    out.mkdir(parents=True, exist_ok=True)
    outcome = one_round([spec for each in which for spec in each.points(scale)], scale, out, settings, seed)
    done = [each for each in which if (out / each.name / "runs").is_dir()]  # others have no point for these systems
    more = [spec for each in done for spec in each.more_points(scale, load_runs(out / each.name))]
    return outcome + one_round(more, scale, out, settings, seed) if more else outcome


def one_round(points: Sequence[Spec], scale: Scale, out: Path, settings: Settings, seed: int) -> campaign.Outcome:
    """Carries out the runs of some points, and shows the progress and the time left."""
    points = [replace(spec, trace=spec.trace or (scale.trace and system(spec.system).traces)) for spec in points]
    planned = campaign.plan(points, scale.runs, seed)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"))
    with Progress(*columns, TimeElapsedColumn(), TextColumn("{task.fields[left]}"), console=console) as bar:
        todo = len(campaign.left(planned, out))
        if todo:
            remember(out, scale, seed, sorted({spec.experiment for spec in points}))
        task = bar.add_task(f"{len(planned) - todo} runs are there", total=todo, left="")
        begun = 0

        def say(each: campaign.Planned, left_s: float) -> None:
            nonlocal begun
            words = f"{each.spec.experiment}: {each.spec.words()}"
            bar.update(task, completed=begun, left=f"about {left_s / 60:.0f} min left", description=words)
            begun += 1
            if not console.is_terminal:
                click.echo(f"[{begun}/{todo}, about {left_s / 60:.1f} min left] {words}", err=True)

        outcome = campaign.carry_out(planned, out, settings, say)
        bar.update(task, completed=todo, left="", description="done")
    return outcome


def remember(out: Path, scale: Scale, seed: int, names: Sequence[str]) -> None:
    """Writes a line for each round that has something to do: what was asked for, and the seed of its order."""
    began_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with (out / "campaigns.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"began_at": began_at, "experiments": names, **asdict(scale), "seed": seed}) + "\n")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("experiment")
@click.argument("folder", required=False, type=click.Path(path_type=Path))
@click.option("--systems", default="multipaxos", show_default=True, help="Which, with commas between.")
@click.option("--libpaxos-bin", type=click.Path(path_type=Path), help="The folder of LibPaxos3's sample programs.")
@click.option(
    "--runs", type=click.IntRange(1, 1000), help=f"Of each point. [default: {RUNS}; {QUICK_RUNS} with --quick]"
)
@click.option("--quick", is_flag=True, help="The whole of it, small.")
@click.option("--trace", is_flag=True, help="Each node of ours traces its protocol; the traces are merged and checked.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("evaluation-results"), show_default=True)
@click.option("--to", type=click.Path(path_type=Path), help="Where figures and texts go. [default: beside the records]")
@click.option("--png/--no-png", default=True, help="Figures as PNG too, or as SVG only.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the order of the runs.")
def main(
    experiment: str,
    folder: Path | None,
    systems: str,
    libpaxos_bin: Path | None,
    runs: int | None,
    quick: bool,
    trace: bool,
    out: Path,
    to: Path | None,
    png: bool,
    seed: int,
) -> None:
    """Run EXPERIMENT, or all, and draw its figures into --out; or `analyse FOLDER`: draw them again."""
    if experiment != ANALYSE and folder is not None:
        end(f"only {ANALYSE} takes a folder: records of {experiment} go to --out", USAGE)
    stopped: list[int] = []
    try:
        with interruptible(stopped):
            if experiment == ANALYSE:
                end_if_any(analyse_again(folder or out, to or folder or out, png))
                return
            names = tuple(name.strip() for name in systems.split(",") if name.strip())
            settings = settings_of(libpaxos_bin, names)
            which = chosen(experiment)
            missing = machine.missing()
            if missing is not None:
                end(missing, LACKING)
            scale = Scale(names, quick, runs or (QUICK_RUNS if quick else RUNS), trace)
            outcome = carry_out(which, scale, out, settings, seed)
            click.echo(f"{outcome.done} runs done, {outcome.were_there} existed before")
            end_if_any([*outcome.failed, *outcome.broken, *analyse(which, out, to or out, png)])
    except KeyboardInterrupt:
        code = TERMINATED if stopped else INTERRUPTED
        end(f"interrupted: complete runs are in {out}; the same command goes on from there", code)
    except EvaluationError as error:
        end(str(error), FAILED)


@contextlib.contextmanager
def interruptible(stopped: list[int]) -> Iterator[None]:
    """Makes Ctrl-C count even if a shell started this in the background and so had it ignored. SIGTERM becomes Ctrl-C,
    so it also waits while a network is taken down."""

    def pass_on(number: int, _frame: FrameType | None) -> None:
        stopped.append(number)
        signal.raise_signal(signal.SIGINT)

    before = {
        number: signal.signal(number, handler)
        for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, pass_on))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_if_any(failures: Sequence[str]) -> None:
    """Prints the failures; ends the program if there is one."""
    for sentence in failures:
        click.echo(f"FAILED {sentence}", err=True)
    if failures:
        sys.exit(FAILED)


def analyse(which: Iterable[Experiment], out: Path, to: Path, png: bool = True) -> list[str]:
    """Draws figures, tables and texts of the experiments that have runs. Returns a sentence for each that cannot be
    drawn; the others are drawn nevertheless."""
    failures = []
    for experiment in which:
        try:
            written = experiment.analyse(out, to, png)
        except EvaluationError as error:
            failures.append(f"{experiment.name}: {error}")
            continue
        if written is not None:
            click.echo(f"{experiment.name}: {written}")
    return failures


def analyse_again(out: Path, to: Path, png: bool) -> list[str]:
    """Draws all experiments of a folder again; a folder without runs is a failure."""
    if not any((out / name / "runs").is_dir() for name in experiments.experiments()):
        return [f"{out} has no runs: give the folder that --out named"]
    return analyse(experiments.experiments().values(), out, to, png)


if __name__ == "__main__":
    main()
