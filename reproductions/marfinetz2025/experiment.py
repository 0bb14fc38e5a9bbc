"""The published comparison literally, then the honest one beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

from evoopt.compare.command import Report, checked_contenders, compare
from evoopt.compare.plots import save_figures
from evoopt.compare.protocol import Protocol
from evoopt.errors import EvooptError
from evoopt.execution import Place
from reproductions.claims import RULE, bold, from_zero
from reproductions.marfinetz2025.plots import draw_comparison
from reproductions.marfinetz2025.published import (
    CLAIMS,
    EVOLVED,
    NOTEBOOK,
    README,
    RULES,
    SEEDS,
    STEPS,
    TRAIN_SIZE,
    LiteralScore,
    LiteralScores,
    relative_gain,
    train_literally,
)  # fmt: skip
from reproductions.markdown import picture, section, spread_of, table
from reproductions.publication import command_line, head, write_files

NAME = "marfinetz2025"
PUBLISHED_TASKS = ("fashion_mnist", "cifar10", "mnist")
HONEST_BASELINES = ("adam", "adamw", "sgd", "rmsprop")
_TABLES = {"README": README, "notebook": NOTEBOOK}


@dataclass(frozen=True)
class Comparisons:
    """Both comparisons.

    Attributes:
        command: What repeats them.
        steps: Steps per training of the literal one.
        literal: Scores by the published protocol.
        honest: The comparison with tuned baselines; None if it was not asked for.
    """

    command: str
    steps: int
    literal: LiteralScores
    honest: Report | None

    @property
    def text(self) -> str:
        """The report as Markdown."""
        return "\n".join(_report(self)).rstrip("\n") + "\n"


def reproduce_marfinetz2025(
    *,
    tasks: Sequence[str] = PUBLISHED_TASKS,
    steps: int = STEPS,
    seeds: int = SEEDS,
    honest: Protocol | None = None,
    place: Place | None = None,
    out: Path = Path("runs") / NAME,
    quiet: bool = True,
) -> Comparisons:
    """Repeat the published comparison and hold the published genome against tuned baselines.

    Args:
        tasks: Tasks of the literal comparison.
        steps: Steps per training of the literal comparison.
        seeds: Seeds of the literal comparison, from 0.
        honest: Protocol of the honest comparison; None leaves it out. Its task list counts, not ``tasks``.
        place: Where to train.
        out: Folder for ``reproduction.md``, ``reproduction.json`` and the honest comparison's files. Finished
            trainings are kept there, so that an interrupted reproduction goes on.
        quiet: Show no progress bar.

    Raises:
        EvooptError: An unknown task, missing data, or nothing to do.
    """
    for name, value in (("tasks", len(tasks)), ("steps", steps), ("seeds", seeds)):
        if value < 1:
            raise EvooptError(f"{name} must be at least 1, not {value}")
    protocol = None if honest is None else replace(honest, allow_seen_test=True)
    if protocol is not None:  # what can be refused is refused before the literal part is trained
        checked_contenders([NAME], HONEST_BASELINES, protocol, place or Place())
    out.mkdir(parents=True, exist_ok=True)
    literal = train_literally(tasks, steps, seeds, place, out / "literal.jsonl")
    report = None
    if protocol is not None:
        report = compare(
            [NAME],
            baselines=HONEST_BASELINES,
            protocol=protocol,
            place=place or Place(),
            out=out,
            quiet=quiet,
        )
    tuning: dict[str, int | None] = {"trials": 0}
    if honest is not None:
        tuning = {"trials": honest.trials, "final_seeds": honest.seeds, "train_size": honest.train_size}
        tuning |= {"honest_steps": None if honest.steps == steps else honest.steps}
    command = command_line(NAME, tasks=tasks, steps=steps, seeds=seeds, **tuning)
    found = Comparisons(command, steps, literal, report)
    body = {
        "steps": steps,
        "literal": {t: {n: asdict(s) for n, s in own.items()} for t, own in literal.items()},
        "published": {"readme": README, "notebook": NOTEBOOK},
        "verdict": report.verdict.splitlines() if report else [],
    }
    save_figures(lambda: draw_comparison(literal), out)
    write_files(out, NAME, command, body, found.text)
    return found


def _report(found: Comparisons) -> list[str]:
    seeds = len(next(iter(next(iter(found.literal.values())).values())).fitness)
    reduced = "" if (found.steps, seeds) == (STEPS, SEEDS) else f" (published: {STEPS} steps, {SEEDS} seeds)"
    protocol = (
        f"{found.steps} steps, {seeds} seeds{reduced}, no tuning, fitness = test accuracy + 0.05*max(0, 1 - "
        f"training loss of the last 50 steps). Image sets are cut to {TRAIN_SIZE:,} training images. Mean ± "
        "standard deviation over seeds; published numbers as in the README of the published code and in its "
        f"notebook's output. {RULE}"
    )
    title = "Marfinetz (2025): the published comparison" + (" and an honest one" if found.honest else "")
    lines = [
        *head(title, "arXiv 2512.11853.", found.command),
        *section("The published protocol, literally", protocol),
    ]
    for task, scores in found.literal.items():
        lines += section(task, *_literal_table(task, scores), level=3)
    lines += picture("comparison", _BARS)
    lines += [*_overall_table(found.literal), ""]
    if found.honest is not None:
        sentences = (f"- {sentence}" for sentence in found.honest.verdict.splitlines())
        lines += section("The honest comparison", *sentences, "", "```text", found.honest.text, "```")
        lines += [*picture("differences"), *picture("curves")]
    return lines


_BARS = (
    "The published bars: mean fitness with its 95 % interval over seeds (Student's t); dashed: the evolved "
    "optimizer's mean; dots: the published numbers, where there are any for the task."
)


def _literal_table(task: str, scores: Mapping[str, LiteralScore]) -> list[str]:
    rows = []
    for name in RULES:
        published = [f"{own[name][task]:.4f}" if task in own[name] else "-" for own in _TABLES.values()]
        rows.append([name, spread_of(scores[name].fitness), spread_of(scores[name].accuracy), *published])
    header = ["optimizer", "fitness here", "test accuracy here", "published README", "published notebook"]
    told = ", ".join(
        f"{label} {_over_adam(own[EVOLVED][task], own['Adam'][task])}"
        for label, own in _TABLES.items()
        if task in own[EVOLVED]
    )
    theirs = f"Published: {told}." if told else "The publication has no number for this task."
    return [*table(header, rows), "", f"{_over_untuned_adam(scores)} {theirs}"]


def _overall_table(literal: LiteralScores) -> list[str]:
    if not set(PUBLISHED_TASKS) <= set(literal):
        told = f"No overall fitness: it is the mean over {', '.join(PUBLISHED_TASKS)}."
        return [told, "", f"For comparison, {CLAIMS}."]
    here = {name: score.mean for name, score in _overall(literal).items()}
    columns = [here, *({name: own[name]["overall"] for name in RULES} for own in _TABLES.values())]
    rows = [[name, *(f"{own[name]:.4f}" for own in columns)] for name in RULES]
    header = ["optimizer", "fitness here", "published README", "published notebook"]
    published = (_over_adam(own[EVOLVED], own["Adam"]) for own in columns[1:])
    told = ", ".join(f"{label} {theirs}" for label, theirs in zip(_TABLES, published, strict=True))
    sentence = f"{_over_untuned_adam(_overall(literal))} Published: {told}; {CLAIMS}."
    return section("overall", *table(header, rows), "", sentence, level=3)


def _over_adam(evolved: float, adam: float) -> str:
    return f"{100 * (evolved / adam - 1):+.2f}%"


def _over_untuned_adam(scores: Mapping[str, LiteralScore]) -> str:
    gain = from_zero(relative_gain(scores))
    assert gain is not None, "there is a seed"
    return f"Evolved over untuned Adam here: {bold(gain, gain.told(unit='%'))}."


def _overall(literal: LiteralScores) -> dict[str, LiteralScore]:
    """Means over the published tasks, seed by seed."""
    rows = {name: [literal[task][name] for task in PUBLISHED_TASKS] for name in RULES}
    return {
        name: LiteralScore(_by_seed(own.fitness for own in row), _by_seed(own.accuracy for own in row))
        for name, row in rows.items()
    }


def _by_seed(of_tasks: Iterable[Sequence[float]]) -> tuple[float, ...]:
    return tuple(map(fmean, zip(*of_tasks, strict=True)))
