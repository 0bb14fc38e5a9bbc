"""How any publication's experiments are repeated: check, load, do what is not done, write what came out."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import torch

from evoopt.compare.plots import save_figures
from evoopt.compare.result import without_nan
from evoopt.errors import EvooptError, unknown_name
from evoopt.execution import Place, check_device
from evoopt.execution.executor import WorkerFactory
from evoopt.version import __version__
from reproductions.markdown import section
from reproductions.results import Found, Result
from reproductions.units import Setup, Unit, UnitFile, do_units

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT_FILE, RESULT_FILE, UNITS_FILE = "reproduction.md", "reproduction.json", "units.jsonl"
VERSION = 2


@dataclass(frozen=True)
class Reproduction(Generic[Result]):
    """What a reproduction found.

    Attributes:
        found: All numbers.
        text: The report as Markdown.
        plots: Pictures that belong to it.
    """

    found: Found[Result]
    text: str
    plots: tuple[Path, ...]


@dataclass(frozen=True)
class Publication(Generic[Result]):
    """What is particular to one publication; parts are its data sets or experiments, budgets dataclasses.

    Attributes:
        name: As on the command line.
        title: Of the report.
        intro: What stands below the title.
        parts: Names of all parts.
        small_parts: Those done with a small budget unless others are asked for.
        paper_parts: Those done at the published scale.
        methods: What is done in each part.
        budget: Of a part, given whether the scale is the published one.
        prepare: Completes a budget that may lack what only the data tell; an `EvooptError` says that they are
            missing.
        units: Of a part with a budget and some of the methods.
        worker: Makes the function that does units.
        collect: Result of a part from its units.
        report: Sections of the report.
        draw: Pictures by name.
        extra: What a part, or None for all of them, adds to the result file.
        measure: What must be measured alone, with the main process's own executors.
        parts_option: What the command line calls the parts.
        bounds: Smallest and largest numbers of a budget, where these are not 1 and infinity.
    """

    name: str
    title: str
    intro: str
    parts: Sequence[str]
    small_parts: Sequence[str]
    paper_parts: Sequence[str]
    methods: Sequence[str]
    budget: Callable[[str, bool], Any]
    prepare: Callable[[str, Any, Setup], Any]
    units: Callable[[str, Any, Sequence[str]], list[Unit]]
    worker: WorkerFactory
    collect: Callable[[str, Any, Sequence[Unit], UnitFile], Result]
    report: Callable[[Found[Result]], list[str]]
    draw: Callable[[Found[Result]], Mapping[str, Figure | None]]
    extra: Callable[[Result | None], Mapping[str, Any]] = lambda _: {}
    measure: Callable[[str, Any, UnitFile, Place], None] = lambda *_: None
    parts_option: str = "parts"
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=lambda: {"population": (2, math.inf)})


def reproduce(
    publication: Publication[Result],
    *,
    parts: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    paper: bool = False,
    scale: float = 1.0,
    place: Place | None = None,
    out: Path | None = None,
    quiet: bool = True,
    **numbers: float | None,
) -> Reproduction[Result]:
    """Repeat a publication's experiments, by default with a small budget.

    Args:
        publication: Which.
        parts: Some of its parts.
        methods: Some of its methods.
        paper: The published scale, as far as it is given: days to weeks on a CPU.
        scale: Factor of the steps of all trainings.
        place: Where to train.
        out: Folder for ``reproduction.md``, ``reproduction.json``, pictures, and ``units.jsonl``, where each
            finished training is kept so that an interrupted reproduction goes on; ``runs/NAME`` by default.
        quiet: Show no progress bar.
        **numbers: Fields of the budgets, such as ``seeds``, to replace; None leaves them.

    Raises:
        EvooptError: An unknown part or method, or a number that is too small. Missing data is a note in the
            report.
    """
    place, out = place or Place(), out or Path("runs") / publication.name
    given = {name: value for name, value in numbers.items() if value is not None}
    usual = publication.paper_parts if paper else publication.small_parts
    wanted = tuple(dict.fromkeys(usual if parts is None else parts))
    chosen = tuple(dict.fromkeys(publication.methods if methods is None else methods))
    _check(publication, wanted, chosen, given, scale)
    check_device(place.device, place.precision)
    rounding = dict(place.rounding.items() - Place().rounding.items())
    setup = Setup(out, place.data_dir, place.device, place.threads_per_worker, rounding)
    budgets, notes = {}, []
    for name in wanted:
        budget = publication.budget(name, paper)
        fixed: Sequence[str] = getattr(budget, "fixed", ())
        budget = replace(budget, **{key: value for key, value in given.items() if key not in fixed})
        try:
            budget = publication.prepare(name, budget, setup)
        except EvooptError as error:
            notes.append(str(error))
        else:
            budgets[name] = replace(budget, steps=max(1, round(scale * budget.steps)))
    units = {name: publication.units(name, budget, chosen) for name, budget in budgets.items()}
    out.mkdir(parents=True, exist_ok=True)
    file = UnitFile(out / UNITS_FILE, rounding)
    everything = list({unit.key: unit for own in units.values() for unit in own}.values())
    notes += do_units(
        everything, file, lambda: place.start(publication.worker, setup), publication.name, quiet
    )
    for name, budget in budgets.items():
        try:
            publication.measure(name, budget, file, place)
        except EvooptError as error:
            notes.append(str(error))
    command = command_line(
        publication.name, **{publication.parts_option: parts and wanted}, methods=methods and chosen,
        paper=paper, scale=None if scale == 1 else scale, **given, device=rounding.get("device"),
        precision=rounding.get("precision"),
    )  # fmt: skip
    results = [
        publication.collect(name, budget, units[name], file)
        for name, budget in budgets.items()
        if any(unit in file for unit in units[name])
    ]
    published = paper and scale == 1 and not given.keys() - {"seeds"}
    return write(publication, Found(command, tuple(results), tuple(dict.fromkeys(notes)), published), out)


def write(publication: Publication[Result], found: Found[Result], out: Path) -> Reproduction[Result]:
    """Write report, result file and pictures into a folder."""
    plots = save_figures(lambda: publication.draw(found), out)
    scale = "the published scale as far as it is given" if found.paper else "a small budget of our own"
    intro = f"{publication.intro} Trained with {scale}."
    lines = [*head(publication.title, intro, found.command, found.notes), *publication.report(found)]
    text = "\n".join(lines).rstrip("\n") + "\n"
    body = {
        "paper_scale": found.paper,
        "parts": {
            part.name: {"budget": asdict(part.budget), "rows": part.rows, **publication.extra(part)}
            for part in found.parts
        },
        **publication.extra(None),
        "notes": found.notes,
    }
    write_files(out, publication.name, found.command, body, text)
    return Reproduction(found, text, plots)


def write_files(out: Path, name: str, command: str, body: Mapping[str, Any], text: str) -> None:
    """Write the report and the result file, which says with what versions it was made."""
    made = {"evoopt": __version__, "torch": torch.__version__, "python": platform.python_version()}
    whole = {
        "kind": "reproduction", "version": VERSION, "publication": name, "command": command,
        "versions": made, **body,
    }  # fmt: skip
    (out / RESULT_FILE).write_text(json.dumps(without_nan(whole), indent=1) + "\n", encoding="utf-8")
    (out / REPORT_FILE).write_text(text, encoding="utf-8")


def head(title: str, intro: str, command: str, notes: Sequence[str] = ()) -> list[str]:
    """Title, what this is, the command that repeats it, and what is missing."""
    lines = [f"# {title}", "", intro, "", f"`{command}`", ""]
    return lines + (section("Missing", *(f"- {note}" for note in notes)) if notes else [])


def command_line(name: str, **options: Any) -> str:
    """The command that asks for this; options that are None or False are left out."""
    words = ["python -m reproductions", name]
    for option, value in options.items():
        if value is None or value is False:
            continue
        words.append(f"--{option.replace('_', '-')}")
        if value is not True:
            words.append(str(value) if isinstance(value, (int, float)) else ",".join(value))
    return " ".join(words)


def _check(
    publication: Publication[Any],
    parts: Sequence[str],
    methods: Sequence[str],
    numbers: Mapping[str, float],
    scale: float,
) -> None:
    for option, chosen in ((publication.parts_option, parts), ("methods", methods)):
        if not chosen:
            raise EvooptError(f"--{option} names none; leave it out for the usual ones")
    for name in parts:
        if name not in publication.parts:
            raise unknown_name(publication.parts_option.removesuffix("s"), name, publication.parts)
    for name in methods:
        if name not in publication.methods:
            raise unknown_name("method", name, publication.methods)
    for name, value in numbers.items():
        least, most = publication.bounds.get(name, (1, math.inf))
        if not least <= value <= most:
            allowed = f"at least {least}" if most == math.inf else f"from {least:g} to {most:g}"
            raise EvooptError(f"{name} must be {allowed}, not {value}")
    if not 0 < scale < math.inf:
        raise EvooptError(f"scale must be above 0 and finite, not {scale}")
