"""``python -m reproductions NAME``: published results beside our own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from evoopt.cli.app import EXIT_INTERRUPTED, DataDir, Device, Executor, Quiet, Scheduler, Workers, main
from evoopt.cli.compare import OUT_HELP, names, place_of

app = typer.Typer(
    help="Repeat a publication's experiments and print its numbers beside our own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def marfinetz2025(
    tasks: Annotated[str, typer.Option(help="Comma-separated.")] = "fashion_mnist,cifar10,mnist",
    steps: Annotated[int, typer.Option(help="Steps per training.")] = 1000,
    seeds: Annotated[int, typer.Option(help="Seeds of the literal comparison.")] = 3,
    trials: Annotated[int, typer.Option(help="Tuning trials of the honest one; 0 leaves it out.")] = 24,
    final_seeds: Annotated[int, typer.Option(help="Fresh seeds of the honest comparison.")] = 10,
    workers: Workers = None,
    executor: Executor = None,
    scheduler: Scheduler = None,
    device: Device = None,
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("runs/marfinetz2025"),
    quiet: Quiet = False,
) -> None:
    """The evolved optimizer: the published comparison literally, then honestly, side by side."""
    from evoopt.compare import Protocol
    from reproductions.marfinetz2025.experiment import reproduce

    chosen = names(tasks)
    honest = Protocol(chosen, steps, trials, seeds=final_seeds) if trials else None
    try:
        place = place_of(workers, executor, scheduler, device, data_dir)
        found = reproduce(
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
        _interrupted(out)
    typer.echo(found.text)


@app.command()
def gadam(
    parts: Annotated[
        str | None,
        typer.Option(help="Comma-separated: mnist, orl5, orl7, orl9, yeast, adult, letter, digits, figures."),
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="The published scale: days on a CPU.")] = False,
    scale: Annotated[float, typer.Option(help="Factor of the steps of all training phases.")] = 1.0,
    population: Annotated[int | None, typer.Option(help="Unit models.")] = None,
    generations: Annotated[int | None, typer.Option(help="Generations.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps per training phase.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Repetitions.")] = None,
    workers: Workers = None,
    executor: Executor = None,
    scheduler: Scheduler = None,
    device: Device = None,
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("runs/gadam"),
    quiet: Quiet = False,
) -> None:
    """Genetic-evolutionary Adam: tables 1, 3, 4 and figures 3 to 6, with Adam at equal compute."""
    from reproductions.gadam.experiment import reproduce_gadam

    try:
        found = reproduce_gadam(
            parts=names(parts) if parts else None, paper=paper, scale=scale, population=population,
            generations=generations, steps=steps, seeds=seeds, out=out, quiet=quiet,
            place=place_of(workers, executor, scheduler, device, data_dir),
        )  # fmt: skip
    except KeyboardInterrupt:
        _interrupted(out)
    typer.echo(found.text)


@app.command()
def gacnn(
    tasks: Annotated[
        str, typer.Option(help="Comma-separated: genetic_digits, genetic_mnist, genetic_cifar10.")
    ] = "genetic_mnist,genetic_digits",
    population: Annotated[int | None, typer.Option(help="Networks.")] = None,
    generations: Annotated[int | None, typer.Option(help="Generations.")] = None,
    examples: Annotated[int | None, typer.Option(help="Examples a network is scored on.")] = None,
    steps: Annotated[int | None, typer.Option(help="Minibatches of the gradient baselines.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Repetitions.")] = None,
    workers: Workers = None,
    executor: Executor = None,
    scheduler: Scheduler = None,
    device: Device = None,
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("runs/gacnn"),
    quiet: Quiet = False,
) -> None:
    """Genetic CNN training: figures 12 to 16, against generations, forward passes and time."""
    from reproductions.gacnn.experiment import reproduce_gacnn

    try:
        found = reproduce_gacnn(
            tasks=names(tasks), population=population, generations=generations, examples=examples,
            steps=steps, seeds=seeds, out=out, quiet=quiet,
            place=place_of(workers, executor, scheduler, device, data_dir),
        )  # fmt: skip
    except KeyboardInterrupt:
        _interrupted(out)
    typer.echo(found.text)


@app.command("three_parent")
@app.command("recombination", hidden=True)
def three_parent(
    parts: Annotated[
        str | None, typer.Option(help="Comma-separated: digits, lenet, nmt, resnet20, capsnet.")
    ] = None,
    paper: Annotated[bool, typer.Option("--paper", help="The published scale: days on a CPU.")] = False,
    scale: Annotated[float, typer.Option(help="Factor of the steps of all trainings.")] = 1.0,
    population: Annotated[int | None, typer.Option(help="Members per generation.")] = None,
    generations: Annotated[int | None, typer.Option(help="Generations.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps per generation or training.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Repetitions.")] = None,
    replays: Annotated[int | None, typer.Option(help="Fresh seeds of each replay.")] = None,
    workers: Workers = None,
    executor: Executor = None,
    scheduler: Scheduler = None,
    device: Device = None,
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(help=OUT_HELP)] = Path("runs/recombination"),
    quiet: Quiet = False,
) -> None:
    """Three-parent recombination: table 4 and figures 9, 11, 13, with controls at equal budget."""
    from reproductions.three_parent.experiment import reproduce_recombination

    try:
        found = reproduce_recombination(
            parts=names(parts) if parts else None, paper=paper, scale=scale, population=population,
            generations=generations, steps=steps, seeds=seeds, replays=replays, out=out, quiet=quiet,
            place=place_of(workers, executor, scheduler, device, data_dir),
        )  # fmt: skip
    except KeyboardInterrupt:
        _interrupted(out)
    typer.echo(found.text)


def _interrupted(out: Path) -> NoReturn:
    typer.echo(f"stopped; the same command with --out {out} goes on from here", err=True)
    sys.exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    main(app)
