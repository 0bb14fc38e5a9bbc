"""From a run folder to its page, and to single figures."""

from __future__ import annotations

from pathlib import Path

from evoopt.errors import EvooptError, read_as_data, unknown_name
from evoopt.individuals import individual_type
from evoopt.report.blocks import Code, Page, Section, Text
from evoopt.report.common import Sections, planned_generations
from evoopt.report.html import render_page
from evoopt.runs.run import Run, write_bytes
from evoopt.version import __version__

REPORT_FILE = "report.html"


def sections_of(run: Run) -> Sections:
    """What a run's individual type has to say.

    Raises:
        EvooptError: Nobody has written it.
    """
    sections: Sections | None = individual_type(run.config.individual).report
    if sections is None:
        raise EvooptError(
            f"there is no report on runs of type {run.config.individual!r}: name one in its "
            "`IndividualType`, or look with: evoopt show"
        )
    return sections


def make_page(run: Run) -> Page:
    """The report on a run, which may be unfinished."""
    done, planned = len(run.generations), planned_generations(run)
    state = "finished" if run.finished else f"unfinished: {done} of {planned} generations"
    state += " but for its closing comparison" if run.uncompared else ""
    changes = [f"Changed {change}." for change in run.changes]
    stopped = [Section("Stopped", [Text(run.stopped)])] if run.stopped and not run.finished else []
    kind = individual_type(run.config.individual).about
    unstarted = [Section("Result", [Text("No generation is finished yet.")])]
    parts = sections_of(run).sections(run) if done else unstarted
    made_with = run.store.meta("evoopt")
    return Page(
        title=run.folder.resolve().name,
        lead=f"{kind} · space {run.config.name} · {state}",
        sections=[
            *stopped,
            *parts,
            Section(
                "Settings", [*map(Text, changes), Code("Every setting (config.toml)", run.config.to_toml())]
            ),
        ],
        footer=f"Written by evoopt {__version__} from a run folder of evoopt {made_with}. This file "
        "is complete: it loads nothing.",
    )


def write_report(folder: str | Path, out: str | Path | None = None) -> Path:
    """Write the report on a run as one HTML file.

    Args:
        folder: The run folder.
        out: The file; ``report.html`` in the run folder by default. An older one is replaced.

    Returns:
        The file.

    Raises:
        EvooptError: Not a run folder, or a file that cannot be written.
    """
    path = Path(out) if out is not None else Path(folder) / REPORT_FILE
    if out is None and path.is_symlink():
        raise EvooptError(f"{path} is a symbolic link, which is not written through: name another file")
    with Run(folder) as run, read_as_data(str(folder)):
        run.store.check()
        # Names of files that the locale could not decode are written as they are on disk.
        body = render_page(make_page(run)).encode("utf-8", "surrogateescape")
    write_bytes(path, body)
    return path


def figure_names(run: Run) -> list[str]:
    """The figures that a run can have."""
    return list(sections_of(run).figures(run))


def save_plot(folder: str | Path, kind: str, out: str | Path) -> Path:
    """Draw one of a run's figures into a PNG, SVG or PDF file.

    Raises:
        EvooptError: Not a run folder, an unknown kind, nothing to draw, or a file that cannot be written.
    """
    from evoopt.report.drawing import save_figure

    path = Path(out)
    with Run(folder) as run, read_as_data(str(folder)):
        figures = sections_of(run).figures(run)
        if kind not in figures:
            raise unknown_name("figure", kind, figures)
        if not run.generations:
            raise EvooptError(f"{folder} has no finished generation to draw")
        figure = figures[kind](run)
    save_figure(figure, path)
    return path
