"""`evoopt compare` and `evoopt reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evoopt.cli.app import DataDir, Device, Executor, Quiet, Workers, app

if TYPE_CHECKING:
    from evoopt.compare import Place

Tasks = Annotated[str, typer.Option(help="Tasks to compare on, separated by commas.")]
Out = Annotated[
    Path | None, typer.Option(help="Folder for JSON, CSV and pictures; finished work is kept there.")
]


@app.command()
def compare(
    candidates: Annotated[
        list[str],
        typer.Argument(
            metavar="CANDIDATE...",
            help="Runs, genome files, exported files, presets, or module:Class.",
        ),
    ],
    baselines: Annotated[
        str, typer.Option(help="Contenders to beat, separated by commas; the first is the reference.")
    ] = "adam,adamw,sgd,nadam,rmsprop,lion",
    tasks: Tasks = "digits,digits_cnn",
    trials: Annotated[int, typer.Option(help="Tuning trials per contender and task.")] = 24,
    seeds: Annotated[int, typer.Option(help="Fresh seeds of the final scores.")] = 12,
    budget: Annotated[int, typer.Option(help="Optimizer steps per training.")] = 500,
    controls: Annotated[
        str, typer.Option(help="Of random_search, noise, ablation, best_of_n; separated by commas.")
    ] = "",
    train_size: Annotated[int | None, typer.Option(help="Examples kept per task, all by default.")] = None,
    seed: Annotated[int, typer.Option(help="Root of all randomness.")] = 0,
    workers: Workers = None,
    executor: Executor = None,
    device: Device = None,
    data_dir: DataDir = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Compare optimizers, all tuned with the same effort, on fresh seeds and test data."""
    from evoopt.compare import Protocol
    from evoopt.compare import compare as run_compare

    report = run_compare(
        candidates,
        baselines=_names(baselines),
        protocol=Protocol(
            tasks=_names(tasks), steps=budget, trials=trials, seeds=seeds, seed=seed, train_size=train_size
        ),
        place=_place(workers, executor, device, data_dir),
        controls=_names(controls),
        out=out,
        quiet=quiet,
    )
    typer.echo(report.text)


@app.command()
def reproduce(
    publication: Annotated[str, typer.Argument(help="marfinetz2025.")],
    tasks: Tasks = "fashion_mnist,cifar10,mnist",
    steps: Annotated[int, typer.Option(help="Steps per training, 1000 as published.")] = 1000,
    seeds: Annotated[int, typer.Option(help="Seeds, 3 as published.")] = 3,
    honest: Annotated[bool, typer.Option(help="Also hold it against tuned baselines.")] = True,
    trials: Annotated[int, typer.Option(help="Tuning trials per contender and task.")] = 16,
    workers: Workers = None,
    executor: Executor = None,
    device: Device = None,
    data_dir: DataDir = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Repeat a published comparison literally, and the honest one beside it."""
    from evoopt.compare import Protocol
    from evoopt.compare import reproduce as run_reproduce

    names = _names(tasks)
    protocol = Protocol(tasks=names, steps=steps, trials=trials, train_size=None) if honest else None
    found = run_reproduce(
        publication,
        tasks=names,
        steps=steps,
        seeds=seeds,
        honest=protocol,
        place=_place(workers, executor, device, data_dir),
        out=out or Path("runs") / publication,
        quiet=quiet,
    )
    typer.echo(found.text)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _place(workers: int | None, executor: str | None, device: str | None, data_dir: Path | None) -> Place:
    from evoopt.compare import Place

    given: dict[str, Any] = {"workers": workers, "executor": executor, "device": device, "data_dir": data_dir}
    return Place(**{name: value for name, value in given.items() if value is not None})
