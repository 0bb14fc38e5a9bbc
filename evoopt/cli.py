"""The command line: thin commands over `evoopt.api`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

import evoopt
from evoopt.errors import EvooptError

app = typer.Typer(
    help="Discover deep-learning optimizers by evolution.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

EXIT_ERROR, EXIT_INTERRUPTED = 2, 130

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]
Workers = Annotated[int | None, typer.Option(help="Worker processes; one per core by default.")]
Executor = Annotated[str | None, typer.Option(help="serial or process.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N.")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder with data sets; EVOOPT_DATA by default, then the user's cache.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress bar.")]


def _version(show: bool) -> None:
    if show:
        typer.echo(f"evoopt {evoopt.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command()
def search(
    space: Annotated[
        str, typer.Argument(help="A search space's name (see `evoopt spaces`) or TOML file.")
    ] = "quick",
    task: Annotated[
        list[str] | None,
        typer.Option(help="Task to search on, repeatable: a name (see `evoopt tasks`) or file.py:function."),
    ] = None,
    population: Annotated[int | None, typer.Option(help="Individuals per generation.")] = None,
    generations: Annotated[int | None, typer.Option(help="Generations.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimizer steps per training.")] = None,
    seed: Annotated[int | None, typer.Option(help="Root of all randomness.")] = None,
    engine: Annotated[str | None, typer.Option(help="auto, batched or sequential training.")] = None,
    workers: Workers = None,
    executor: Executor = None,
    device: Device = None,
    data_dir: DataDir = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/<space>-<time> by default.")] = None,
    quiet: Quiet = False,
) -> None:
    """Evolve an optimizer and leave a run folder."""
    from evoopt import api
    from evoopt.show import describe_result

    config = api.resolve(
        space,
        {
            "search": {"population": population, "generations": generations, "seed": seed},
            "evaluation": {"tasks": task or None, "steps": steps, "engine": engine},
            "execution": _execution(workers, executor, device, data_dir),
        },
    )
    folder = out or api.default_folder(config)
    try:
        with api.search(config, out=folder, quiet=quiet) as run:
            typer.echo(describe_result(run))
    except KeyboardInterrupt:
        _interrupted(folder)


@app.command()
def resume(
    run: RunFolder,
    workers: Workers = None,
    executor: Executor = None,
    device: Device = None,
    data_dir: DataDir = None,
    quiet: Quiet = False,
) -> None:
    """Go on with an interrupted run; it ends as if it had never been interrupted."""
    from evoopt import api
    from evoopt.show import describe_result

    try:
        with api.resume(
            run, quiet=quiet, overrides=_execution(workers, executor, device, data_dir)
        ) as finished:
            typer.echo(describe_result(finished))
    except KeyboardInterrupt:
        _interrupted(run)


@app.command()
def show(run: RunFolder) -> None:
    """Show a run: best rule, fitness, lineage, term counts per generation."""
    from evoopt.runs.run import Run
    from evoopt.show import describe_run

    with Run(run) as opened:
        typer.echo(describe_run(opened))


@app.command()
def spaces() -> None:
    """List the shipped search spaces."""
    from evoopt.config import list_spaces

    _list({name: config.description for name, config in list_spaces().items()})


@app.command()
def tasks() -> None:
    """List the built-in tasks."""
    from evoopt.tasks import TASKS

    _list({name: task.description for name, task in TASKS.items()})


def main() -> NoReturn:
    """Entry point: known errors become one line on standard error and exit code 2."""
    # Stopping a service or a batch job sends SIGTERM; it deserves the same clean stop as Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: _raise_interrupt())
    try:
        app(standalone_mode=True)
    except EvooptError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output went away (`evoopt show RUN | head`): nothing is wrong.
        sys.stderr.close()
    sys.exit(0)


def _raise_interrupt() -> NoReturn:
    raise KeyboardInterrupt


def _fail(message: str) -> NoReturn:
    typer.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(EXIT_ERROR)


def _interrupted(folder: Path) -> NoReturn:
    from evoopt.runs.run import CONFIG_FILE

    if (folder / CONFIG_FILE).exists():
        typer.echo(f"stopped; everything done so far is kept. Go on with: evoopt resume {folder}", err=True)
    sys.exit(EXIT_INTERRUPTED)


def _execution(
    workers: int | None, executor: str | None, device: str | None, data_dir: Path | None
) -> dict[str, Any]:
    return {
        "workers": workers,
        "executor": executor,
        "device": device,
        "data_dir": str(data_dir.resolve()) if data_dir else None,
    }


def _list(lines: dict[str, str]) -> None:
    width = max(len(name) for name in lines)
    for name, description in lines.items():
        typer.echo(f"{name:<{width}}  {description}")


if __name__ == "__main__":
    main()
