"""`evoopt export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evoopt.cli.app import app, list_lines
from evoopt.errors import EvooptError


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
    name: Annotated[str, typer.Option(help="Name of the class.")] = "EvolvedOptimizer",
    force: Annotated[bool, typer.Option(help="Replace an existing file.")] = False,
    list_formats: Annotated[
        bool,
        typer.Option("--list-formats", callback=_formats, is_eager=True, help="List what can be exported."),
    ] = False,
) -> None:
    """Write an evolved optimizer as an ordinary torch.optim class."""
    from evoopt.export import write_export
    from evoopt.export.naming import function_name

    path = out or Path(f"{function_name(name)}.py")
    if path.suffix != ".py":
        raise EvooptError(f"{path} could not be imported: give --out a name that ends in .py")
    write_export(source, path, name, force)
    typer.echo(f"wrote {path}: from {path.stem} import {name}")
