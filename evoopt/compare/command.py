"""What ``evoopt compare`` does, as functions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from evoopt.compare.analysis import Analysis, analyse
from evoopt.compare.comparison import LOCAL, run_comparison
from evoopt.compare.contender import Contender, with_unique_names
from evoopt.compare.controls import BEST_OF_N, best_of_n, check_controls, control_contenders
from evoopt.compare.plots import PICTURES, save_figures
from evoopt.compare.protocol import Protocol, check_trials, refuse_seen_tests
from evoopt.compare.result import Comparison, without_nan
from evoopt.compare.sources import BASELINES, contender
from evoopt.compare.table import describe_comparison, to_csv, to_csv_seeds
from evoopt.compare.verdict import verdicts
from evoopt.errors import EvooptError
from evoopt.execution import Place, check_device
from evoopt.execution.precision import in_float32
from evoopt.runs.run import COMPARISON_FILE, CONFIG_FILE, write_file
from evoopt.tasks import get_task

DEFAULT_PROTOCOL = Protocol(("digits", "digits_cnn"))
MEMORY_FILE = "trainings.jsonl"


@dataclass(frozen=True)
class Report:
    """A comparison with its analysis.

    Attributes:
        comparison: What was found.
        analysis: What it means.
    """

    comparison: Comparison
    analysis: Analysis

    @property
    def text(self) -> str:
        """Tables, settings, notes and verdicts for the terminal."""
        return describe_comparison(self.comparison, self.analysis)

    @property
    def verdict(self) -> str:
        """One sentence per candidate and control."""
        return "\n".join(verdicts(self.comparison, self.analysis))


@in_float32()
def compare(
    candidates: Sequence[str | Path | Contender],
    *,
    baselines: Sequence[str | Path | Contender] = BASELINES,
    protocol: Protocol = DEFAULT_PROTOCOL,
    place: Place = LOCAL,
    controls: Sequence[str] = (),
    out: Path | None = None,
    quiet: bool = True,
) -> Report:
    """Compare candidates with baselines tuned with the same effort, on fresh seeds and sealed test data.

    Args:
        candidates: Runs, rule or genome files, exported files, preset names, ``module:Class``, or contenders.
        baselines: The same; the first is the reference. One that names a candidate too is left out unless it
            is the reference.
        protocol: Budget, seeds and tasks.
        place: Where to train.
        controls: What else to hold the candidates against, some of `evoopt.compare.controls.CONTROLS`.
        out: Folder for ``comparison.json``, CSV files, pictures, and finished trainings, so that an
            interrupted comparison goes on there; None writes nothing.
        quiet: Show no progress bar.

    Raises:
        EvooptError: Anything the user can mend, in one line.
    """
    entrants, held = checked_contenders(candidates, baselines, protocol, place)
    runs = {
        c.name: Path(s)
        for c, s in zip(entrants, candidates, strict=True)
        if not isinstance(s, Contender) and (Path(s) / CONFIG_FILE).is_file()
    }
    check_controls(controls, entrants, runs, out)
    memory = None
    if out is not None:
        _refuse_another_run(out, candidates[0])
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EvooptError(f"cannot write folder {out}: {error.strerror or error}") from None
        memory = out / MEMORY_FILE
    extra = control_contenders(controls, entrants, runs, out)
    comparison = run_comparison(entrants, held, protocol, place, controls=extra, memory=memory, quiet=quiet)
    if BEST_OF_N in controls:
        luck = best_of_n(comparison, held[0], protocol, place=place)
        comparison = replace(comparison, controls={"best_of_n": {"contender": held[0].name, "tasks": luck}})
    report = Report(comparison, analyse(comparison))
    if out is not None:
        write_report(report, out)
    return report


def checked_contenders(
    candidates: Sequence[str | Path | Contender],
    baselines: Sequence[str | Path | Contender],
    protocol: Protocol,
    place: Place,
) -> tuple[list[Contender], list[Contender]]:
    """Candidates and baselines of a comparison that can be made, as far as that can be told before it.

    Raises:
        EvooptError: See `compare`.
    """
    if place.executor != "dask":  # whose workers may have what this machine has not
        check_device(place.device, place.precision)
    if not candidates:
        raise EvooptError("name at least one candidate: a run folder, a file, a preset or module:Class")
    if not baselines:
        raise EvooptError("a comparison needs at least one baseline")
    entrants = [_contender(source) for source in candidates]
    held = [_contender(source) for source in baselines]
    named = {c.name for c in entrants}
    held = [held[0], *(c for c in held[1:] if c.name not in named and c.name != held[0].name)]
    everyone = with_unique_names([held[0], *entrants, *held[1:]])
    for task in protocol.tasks:
        get_task(task)  # a misspelt name must not leave a folder behind
    check_trials(everyone, protocol)
    refuse_seen_tests(everyone, protocol)
    return everyone[1 : 1 + len(entrants)], [everyone[0], *everyone[1 + len(entrants) :]]


def write_report(report: Report, folder: Path) -> None:
    """Write JSON, CSV and pictures into a folder, each completely or not at all.

    Raises:
        EvooptError: A file cannot be written.
    """
    comparison, analysis = report.comparison, report.analysis
    write_file(folder / COMPARISON_FILE, json_text(report))
    write_file(folder / "comparison.csv", to_csv(comparison, analysis))
    write_file(folder / "scores.csv", to_csv_seeds(comparison))
    save_figures(lambda: {name: draw(comparison, analysis) for name, draw in PICTURES.items()}, folder)


def json_text(report: Report) -> str:
    """The comparison as JSON, with its verdicts and analysis beside it for other programs."""
    analysis = without_nan(asdict(replace(report.analysis, times={})))
    body = {**report.comparison.to_json(), "verdict": report.verdict.splitlines(), "analysis": analysis}
    return json.dumps(body, indent=1) + "\n"


def _refuse_another_run(out: Path, first: str | Path | Contender) -> None:
    """A comparison in a run's folder is taken for its winner's: by its report, by exports, by a search."""
    its_own = not isinstance(first, Contender) and Path(first).expanduser().resolve() == out.resolve()
    if (out / CONFIG_FILE).is_file() and not its_own:
        raise EvooptError(f"{out} is a run, and its winner is not the first candidate: give another --out")


def _contender(source: str | Path | Contender) -> Contender:
    return source if isinstance(source, Contender) else contender(source)
