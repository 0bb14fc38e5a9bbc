"""`evoopt reproduce`: where the publications' experiments are."""

from __future__ import annotations

from typing import Annotated, NoReturn

import typer

from evoopt.cli.app import app
from evoopt.errors import EvooptError


@app.command(context_settings={"ignore_unknown_options": True})
def reproduce(
    wanted: Annotated[list[str] | None, typer.Argument(metavar="[NAME] [OPTIONS]", help="Unused.")] = None,
) -> NoReturn:
    """Say where to repeat a publication's experiments: beside the package, in its checkout."""
    command = " ".join(["python -m reproductions", *(wanted or ["NAME ..."])])
    raise EvooptError(f"a checkout is needed: {command}")
