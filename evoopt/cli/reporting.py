"""`evoopt report`, `plot` and `watch`: what a run has found, and how it is getting on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evoopt.cli.app import RunFolder, app
from evoopt.cli.completion import figure_kinds


@app.command()
def report(
    run: RunFolder,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="HTML file; RUN/report.html by default.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Explain a run in one HTML file that needs no network."""
    from evoopt.report import write_report

    path = write_report(run, out)
    typer.echo(f"wrote {path}")
    if open_it:
        typer.launch(path.resolve().as_uri())


@app.command()
def plot(
    run: RunFolder,
    kind: Annotated[
        str,
        typer.Argument(
            help="fitness, genealogy, ...; a wrong one is answered with all.", autocompletion=figure_kinds
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="PNG, SVG or PDF file; KIND.png by default.")
    ] = None,
) -> None:
    """Draw one figure of a run for a paper."""
    from evoopt.report import save_plot

    typer.echo(f"wrote {save_plot(run, kind, out or Path(f'{kind}.png'))}")


@app.command()
def watch(
    run: RunFolder,
    every: Annotated[float, typer.Option(min=0.1, max=86_400, help="Seconds between two looks.")] = 1.0,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve its report, or those of a folder of runs, to a browser.")
    ] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to serve on; 0: any free one.")] = 8788,
    host: Annotated[str, typer.Option(help="Address to serve on.")] = "127.0.0.1",
) -> None:
    """Follow a run from another terminal, a line per finished generation."""
    if serve:
        from evoopt.report.serving import ReportServer

        with ReportServer(run, host, port, every) as server:
            typer.echo(f"serving {run} at {server.url} until Ctrl-C")
            server.serve_forever()
    from evoopt.report.watch import follow

    for line in follow(run, every):
        typer.echo(line)
