"""`evoopt compare`, and `evoopt reproduce`: where the publications' experiments are."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, cast

import typer

from evoopt.cli.app import (
    EXIT_INTERRUPTED,
    DataDir,
    Device,
    Executor,
    Precision,
    Quiet,
    Scheduler,
    Workers,
    app,
    executor_kind,
)
from evoopt.errors import EvooptError, in_shell

if TYPE_CHECKING:
    from evoopt.compare import Place
    from evoopt.execution import ExecutorKind
    from evoopt.execution.place import Precision as Rounding

OUT_HELP = "Folder for report and finished trainings; the same folder again goes on where it stopped."


@app.command()
def compare(
    candidates: Annotated[
        list[str],
        typer.Argument(help="Run folders, rule, genome or exported files, preset names, or module:Class."),
    ],
    baselines: Annotated[
        str, typer.Option(help="Comma-separated; the first is the reference.")
    ] = "adam,adamw,sgd,nadam,rmsprop,lion",
    tasks: Annotated[str, typer.Option(help="Comma-separated, see `evoopt tasks`.")] = "digits,digits_cnn",
    budget: Annotated[int, typer.Option(help="Optimizer steps per training.")] = 500,
    trials: Annotated[int, typer.Option(help="Tuning trials per contender and task.")] = 24,
    seeds: Annotated[int, typer.Option(help="Fresh seeds of the final scores.")] = 12,
    seed: Annotated[int, typer.Option(help="Root of all randomness.")] = 0,
    train_size: Annotated[int | None, typer.Option(help="Examples kept per task, all by default.")] = None,
    max_loss: Annotated[float, typer.Option(help="A batch loss above this counts as divergence.")] = 50.0,
    control: Annotated[
        list[str] | None,
        typer.Option(help="ablation, random_search, tuned_start, noise or best_of_n; repeatable."),
    ] = None,
    tune_each_seed: Annotated[
        bool,
        typer.Option(
            "--tune-each-seed",
            help="Tune anew for every final seed: luck in tuning counts, at --seeds its cost.",
        ),
    ] = False,
    allow_seen_test: Annotated[
        bool,
        typer.Option("--allow-seen-test", help="Compare on test data that decided a search, and say so."),
    ] = False,
    workers: Workers = None,
    executor: Executor = None,
    scheduler: Scheduler = None,
    device: Device = None,
    precision: Precision = None,
    data_dir: DataDir = None,
    out: Annotated[Path | None, typer.Option(help=OUT_HELP)] = None,
    quiet: Quiet = False,
) -> None:
    """Compare optimizers with equally tuned baselines, on fresh seeds and unseen test data."""
    from evoopt import compare as room
    from evoopt.runs.folders import new_folder

    protocol = room.Protocol(
        names(tasks), budget, trials, seeds=seeds, seed=seed, train_size=train_size,
        max_loss=max_loss, tune_each_seed=tune_each_seed, allow_seen_test=allow_seen_test,
    )  # fmt: skip
    with new_folder("compare", out) as folder:
        try:
            place = place_of(workers, executor, scheduler, device, precision, data_dir)
            report = room.compare(
                candidates, baselines=names(baselines), protocol=protocol, place=place,
                controls=control or (), out=folder, quiet=quiet,
            )  # fmt: skip
        except KeyboardInterrupt:
            typer.echo(f"stopped; the same command with --out {in_shell(folder)} goes on from here", err=True)
            sys.exit(EXIT_INTERRUPTED)
    typer.echo(report.text)
    typer.echo(f"files    {folder}")


@app.command(context_settings={"ignore_unknown_options": True})
def reproduce(
    wanted: Annotated[list[str] | None, typer.Argument(metavar="[NAME] [OPTIONS]", help="Unused.")] = None,
) -> NoReturn:
    """Say where to repeat a publication's experiments: beside the package, in its checkout."""
    command = " ".join(["python -m reproductions", *(wanted or ["NAME ..."])])
    raise EvooptError(f"a checkout is needed: {command}")


def names(text: str) -> tuple[str, ...]:
    """Split names at commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def place_of(
    workers: int | None,
    executor: str | None,
    scheduler: str | None,
    device: str | None,
    precision: str | None,
    data_dir: Path | None,
) -> Place:
    """Where the command line says to train.

    Raises:
        EvooptError: A scheduler's address for an executor that has none.
    """
    from evoopt.compare import Place

    # make_executor answers a wrong name
    kind = cast("ExecutorKind", executor_kind(executor, scheduler) or "process")
    # check_device answers another precision
    rounding = cast("Rounding", precision or "full")
    return Place(
        kind, workers, device=device or "cpu", data_dir=data_dir, scheduler=scheduler, precision=rounding
    )
