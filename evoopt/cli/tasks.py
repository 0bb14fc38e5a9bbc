"""`evoopt tasks`."""

from __future__ import annotations

from typing import Annotated

import typer

from evoopt.cli.app import DataDir, Device, Executor, Quiet, Workers, app, list_lines
from evoopt.cli.compare import place_of
from evoopt.cli.completion import task_names
from evoopt.tasks.catalogue import CATALOGUE


@app.command()
def tasks(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Only these: names or file.py:function.", autocompletion=task_names),
    ] = None,
    discriminate: Annotated[
        bool,
        typer.Option("--discriminate", help="Tune optimizers and see where they differ; see below."),
    ] = False,
    budget: Annotated[int, typer.Option(help="Optimizer steps per training.")] = 300,
    trials: Annotated[int, typer.Option(help="Tuning trials per optimizer and task.")] = 12,
    seeds: Annotated[int, typer.Option(help="Fresh seeds of the final scores.")] = 6,
    train_size: Annotated[int | None, typer.Option(help="Examples kept per task, all by default.")] = None,
    workers: Workers = None,
    executor: Executor = None,
    device: Device = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """List the built-in tasks and their families.

    With --discriminate, tune SGD, Adam, AdamW, Lion, Muon, and AdamW with
    averaged weights, by default on all tasks that need no files, and print how
    far they lie apart in units of the spread of seeds. Where they do not, no
    search can tell a better optimizer. The other options are for that.
    """
    if not discriminate:
        listed = {name: _words(name) for name in names or CATALOGUE}
        width = max(len(family) for family, _ in listed.values())
        list_lines({name: f"{family:<{width}}  {about}" for name, (family, about) in listed.items()})
        return
    from evoopt import compare as room
    from evoopt.tasks import EMBEDDED

    protocol = room.Protocol(tuple(names or EMBEDDED), budget, trials, seeds=seeds, train_size=train_size)
    place = place_of(workers, executor, None, device, None, data_dir)
    found = room.discriminate(protocol, place, quiet=quiet)
    typer.echo(room.describe_discriminations(found, protocol))


def _words(name: str) -> tuple[str, str]:
    """Family and description of a task."""
    if name in CATALOGUE:
        return CATALOGUE[name].family, CATALOGUE[name].description
    from evoopt.tasks import get_task

    task = get_task(name)
    return task.family, task.description
