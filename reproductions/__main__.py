"""``python -m reproductions NAME``: published results beside our own."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    main,
)
from evoopt.cli.compare import OUT_HELP, names, place_of

if TYPE_CHECKING:
    from reproductions.publication import Publication

app = typer.Typer(
    help="Repeat a publication's experiments and print its numbers beside our own.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Out = Annotated[Path | None, typer.Option(help=OUT_HELP, show_default="runs/NAME")]
Paper = Annotated[bool, typer.Option("--paper", help="The published scale: days on a CPU.")]
Methods = Annotated[str | None, typer.Option(help="Comma-separated: some of what is done in each part.")]
Generations = Annotated[int | None, typer.Option(help="Generations.")]
Seeds = Annotated[int | None, typer.Option(help="Repetitions.")]


@app.command()
def marfinetz2025(
    ctx: typer.Context,
    tasks: Annotated[str, typer.Option(help="Comma-separated.")] = "fashion_mnist,cifar10,mnist",
    steps: Annotated[int, typer.Option(help="Steps per training.")] = 1000,
    seeds: Annotated[int, typer.Option(help="Seeds of the literal comparison.")] = 3,
    trials: Annotated[int, typer.Option(help="Tuning trials of the honest one; 0 leaves it out.")] = 24,
    final_seeds: Annotated[int, typer.Option(help="Fresh seeds of the honest comparison.")] = 10,
    honest_steps: Annotated[
        int | None, typer.Option(help="Its steps per training.", show_default="those of the literal one")
    ] = None,
    train_size: Annotated[
        int | None, typer.Option(help="Training images of the honest one.", show_default="all")
    ] = None,
    workers: Workers = None,
    executor: Executor = None,
    scheduler: Scheduler = None,
    device: Device = None,
    precision: Precision = None,
    data_dir: DataDir = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """The evolved optimizer: the published comparison literally, then honestly, side by side."""
    from evoopt.compare import Protocol
    from reproductions.marfinetz2025.experiment import reproduce_marfinetz2025

    chosen = names(tasks)
    budget = Protocol(chosen, honest_steps or steps, trials, seeds=final_seeds, train_size=train_size)
    honest = budget if trials else None

    _run(partial(reproduce_marfinetz2025, tasks=chosen, steps=steps, seeds=seeds, honest=honest), ctx)


@app.command()
def gadam(
    ctx: typer.Context,
    parts: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: mnist, orl5, orl7, orl9, yeast, adult, letter, digits, figures, "
            "figures_lenet5."
        ),
    ] = None,
    methods: Methods = None,
    paper: Paper = False,
    scale: Annotated[float, typer.Option(help="Factor of the steps of all training phases.")] = 1.0,
    population: Annotated[int | None, typer.Option(help="Unit models.")] = None,
    generations: Generations = None,
    steps: Annotated[int | None, typer.Option(help="Steps per training phase.")] = None,
    seeds: Seeds = None,
    workers: Workers = None,
    executor: Executor = None,
    scheduler: Scheduler = None,
    device: Device = None,
    precision: Precision = None,
    data_dir: DataDir = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Genetic-evolutionary Adam: tables 1, 3, 4 and figures 3 to 6, with Adam at equal compute."""
    from reproductions.gadam.experiment import GADAM

    _repeat(GADAM, ctx)


@app.command()
def gacnn(
    ctx: typer.Context,
    tasks: Annotated[
        str | None, typer.Option(help="Comma-separated: genetic_digits, genetic_mnist, genetic_cifar10.")
    ] = None,
    methods: Methods = None,
    paper: Paper = False,
    population: Annotated[int | None, typer.Option(help="Networks.")] = None,
    generations: Generations = None,
    examples: Annotated[int | None, typer.Option(help="Examples a network is scored on.")] = None,
    steps: Annotated[int | None, typer.Option(help="Minibatches of the gradient baselines.")] = None,
    seeds: Seeds = None,
    workers: Workers = None,
    executor: Executor = None,
    scheduler: Scheduler = None,
    device: Device = None,
    precision: Precision = None,
    data_dir: DataDir = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Genetic CNN training: figures 12 to 16, against generations, forward passes and time."""
    from reproductions.gacnn.experiment import GACNN

    _repeat(GACNN, ctx)


@app.command("three_parent")
@app.command("recombination", hidden=True)
def three_parent(
    ctx: typer.Context,
    parts: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: digits, lenet, lenet_seconds, p3b1_stand_in, rpv_stand_in, nmt, resnet20, "
            "capsnet."
        ),
    ] = None,
    methods: Methods = None,
    paper: Paper = False,
    scale: Annotated[float, typer.Option(help="Factor of the steps of all trainings.")] = 1.0,
    population: Annotated[int | None, typer.Option(help="Members per generation.")] = None,
    generations: Generations = None,
    steps: Annotated[int | None, typer.Option(help="Steps per generation or training.")] = None,
    seeds: Seeds = None,
    replays: Annotated[int | None, typer.Option(help="Fresh seeds of each replay.")] = None,
    train_size: Annotated[int | None, typer.Option(help="Training and validation examples.")] = None,
    target: Annotated[
        float | None, typer.Option(help="To reach, of trainings to a target: lenet, p3b1.")
    ] = None,
    narrower: Annotated[
        int | None, typer.Option(help="What widths that are searched, and their bounds, are divided by.")
    ] = None,
    workers: Workers = None,
    executor: Executor = None,
    scheduler: Scheduler = None,
    device: Device = None,
    precision: Precision = None,
    data_dir: DataDir = None,
    out: Out = None,
    quiet: Quiet = False,
) -> None:
    """Three-parent recombination: table 4 and figures 9, 11, 13, with controls at equal budget."""
    from reproductions.three_parent.experiment import THREE_PARENT

    _repeat(THREE_PARENT, ctx)


@app.command()
def discovery(
    rule: Annotated[str, typer.Argument(help="The candidate's name in all comparisons.")],
    folders: Annotated[list[Path], typer.Argument(help="Comparisons, each with its tasks.")],
) -> None:
    """What comparisons of single tasks say together: the discovery's last step."""
    from evoopt.compare.result import load_comparison
    from reproductions.discovery.report import report

    typer.echo(report(rule, [load_comparison(folder) for folder in folders]))


def _repeat(publication: Publication[Any], ctx: typer.Context) -> None:
    """Repeat a publication with the options of its command."""
    from reproductions.publication import reproduce

    own = {name: value for name, value in ctx.params.items() if name not in (*_WHERE, "out", "quiet")}
    for option, name in ((publication.parts_option, "parts"), ("methods", "methods")):
        chosen = own.pop(option)
        own[name] = None if chosen is None else names(chosen)
    _run(partial(reproduce, publication, **own), ctx)


def _run(repeat: Callable[..., Any], ctx: typer.Context) -> None:
    """Repeat where the command says, and print the report."""
    out = ctx.params["out"] or Path("runs") / str(ctx.info_name)
    try:
        place = place_of(**{name: ctx.params[name] for name in _WHERE})
        found = repeat(place=place, out=out, quiet=ctx.params["quiet"])
    except KeyboardInterrupt:
        typer.echo(f"stopped; the same command with --out {out} goes on from here", err=True)
        sys.exit(EXIT_INTERRUPTED)
    typer.echo(found.text, nl=False)


_WHERE = ("workers", "executor", "scheduler", "device", "precision", "data_dir")

if __name__ == "__main__":
    main(app)
