"""`evoopt reproduce`: published results beside our own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from evoopt.cli.app import EXIT_INTERRUPTED, DataDir, Device, Executor, Quiet, Workers, app
from evoopt.cli.compare import OUT_HELP, names, place_of

reproduce = typer.Typer(
    help="Repeat a publication's experiments and print its numbers beside our own.", no_args_is_help=True
)
app.add_typer(reproduce, name="reproduce")


@reproduce.command()
def marfinetz2025(
    tasks: Annotated[str, typer.Option(help="Comma-separated.")] = "fashion_mnist,cifar10,mnist",
    steps: Annotated[int, typer.Option(help="Steps per training.")] = 1000,
    seeds: Annotated[int, typer.Option(help="Seeds of the literal comparison.")] = 3,
    trials: Annotated[int, typer.Option(help="Tuning trials of the honest one; 0 leaves it out.")] = 24,
    final_seeds: Annotated[int, typer.Option(help="Fresh seeds of the honest comparison.")] = 10,
    workers: Workers = None,
    executor: Executor = None,
    device: Device = None,
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("runs/marfinetz2025"),
    quiet: Quiet = False,
) -> None:
    """The evolved optimizer: the published comparison literally, then honestly, side by side."""
    from evoopt import compare as room

    chosen = names(tasks)
    honest = room.Protocol(chosen, steps, trials, seeds=final_seeds) if trials else None
    try:
        place = place_of(workers, executor, device, data_dir)
        found = room.reproduce(
            "marfinetz2025",
            tasks=chosen,
            steps=steps,
            seeds=seeds,
            honest=honest,
            place=place,
            out=out,
            quiet=quiet,
        )
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command with --out {out} goes on from here", err=True)
        sys.exit(EXIT_INTERRUPTED)
    typer.echo(found.text)
