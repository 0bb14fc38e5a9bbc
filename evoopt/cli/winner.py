"""`evoopt export`, `schedule` and `replay`: what a search found, to take away and to try again."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evoopt.cli.app import RunFolder, app, list_lines

if TYPE_CHECKING:
    from evoopt.systems.hyperparameters.schedules import Schedule


def _formats(show: bool) -> None:
    if show:
        from evoopt.export import FORMATS

        list_lines(FORMATS)
        raise typer.Exit


@app.command()
def export(
    source: Annotated[str, typer.Argument(help="A run folder, a genome's JSON file, or a preset's name.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="File to write; NAME.py by default.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the class; a preset's own, or EvolvedOptimizer, by default.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    prefer: Annotated[
        str | None, typer.Option(help="Of a run with a front: accuracy, memory or speed.")
    ] = None,
    member: Annotated[
        str | None, typer.Option(help="A run's finalist by number or hash, as evoopt show lists them.")
    ] = None,
    list_formats: Annotated[
        bool,
        typer.Option("--list-formats", callback=_formats, is_eager=True, help="List what can be exported."),
    ] = False,
) -> None:
    """Write an evolved optimizer as an ordinary torch.optim class."""
    from evoopt.export import write_export
    from evoopt.export.naming import function_name
    from evoopt.export.write_presets import PRESET_CLASSES

    if name is None:
        name = PRESET_CLASSES.get(source, "EvolvedOptimizer")
    path = out or Path(f"{function_name(name)}.py")
    write_export(source, path, name, force, prefer, member)
    typer.echo(f"wrote {path}: from {path.stem} import {name}")


@app.command()
def schedule(
    run: RunFolder,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ray: Annotated[
        bool,
        typer.Option("--ray", help="Print a policy for Ray Tune's replay, a report a generation."),
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw it to this PNG, SVG or PDF file.")] = None,
) -> None:
    """Show the hyperparameters that the winner's weights went through."""
    from evoopt.runs.run import Run
    from evoopt.systems.hyperparameters.pbt_search import winning_schedule

    with Run(run) as opened:
        winner = winning_schedule(opened)
    if plot is not None:
        from evoopt.report import save_plot

        save_plot(run, "schedule", plot)
    if ray:
        typer.echo(winner.ray_policy(), nl=False)
    else:
        typer.echo(json.dumps(winner.to_json(), indent=1) if as_json else _table(winner))


@app.command()
def replay(
    run: RunFolder,
    seeds: Annotated[int, typer.Option(min=1, help="Number of fresh seeds.")] = 5,
    first: Annotated[int, typer.Option(min=0, help="First seed.")] = 1_000_000,
) -> None:
    """Train by the winner's schedule from scratch, and by the default values, on fresh seeds."""
    from evoopt.runs.run import Run
    from evoopt.systems.hyperparameters.pbt_search import replay_run

    with Run(run) as opened:
        scheduled, constant = replay_run(opened, range(first, first + seeds))
    for name, result in (("schedule", scheduled), ("defaults", constant)):
        typer.echo(f"{name}  loss {_spread(result.losses[-1])}, metric {_spread(result.metrics[-1])}")
    typer.echo(f"on validation data, {seeds} seeds, mean ± standard deviation")


def _table(schedule: Schedule) -> str:
    names = list(schedule.values[0])
    widths = [max(10, len(name)) for name in names]
    lines = [f"{'generation':>10} " + " ".join(f"{n:>{w}}" for n, w in zip(names, widths, strict=True))]
    for k, values in enumerate(schedule.values):
        cells = [f"{v:.4g}" if isinstance(v, float) else str(v) for v in values.values()]
        lines.append(f"{k:>10} " + " ".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True)))
    lines.append(
        f"{schedule.optimizer}, {schedule.steps} steps of {schedule.batch_size} examples per generation"
    )
    return "\n".join(lines)


def _spread(values: tuple[float, ...]) -> str:
    good = [value for value in values if math.isfinite(value)]
    lost = f" ({len(values) - len(good)} of {len(values)} diverged)" if len(good) < len(values) else ""
    spread = f" ± {statistics.stdev(good):.4f}" if len(good) > 1 else ""
    return (f"{statistics.fmean(good):.4f}{spread}" if good else "-") + lost
