"""The published comparison literally, then the honest one beside it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from evoopt.compare.command import Report, compare
from evoopt.compare.comparison import Place
from evoopt.compare.protocol import Protocol
from evoopt.compare.result import without_nan
from evoopt.errors import unknown_name
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
)

PUBLICATIONS = ("marfinetz2025",)
PUBLISHED_TASKS = ("fashion_mnist", "cifar10", "mnist")
HONEST_BASELINES = ("adam", "adamw", "sgd", "rmsprop")
REPORT_FILE = "reproduction.md"


@dataclass(frozen=True)
class Reproduction:
    """Both comparisons.

    Attributes:
        steps: Steps per training of the literal one.
        literal: Scores by the published protocol.
        honest: The comparison with tuned baselines; None if it was not asked for.
    """

    steps: int
    literal: LiteralScores
    honest: Report | None

    @property
    def text(self) -> str:
        """The report as Markdown."""
        return _markdown(self)


def reproduce(
    publication: str = "marfinetz2025",
    *,
    tasks: Sequence[str] = PUBLISHED_TASKS,
    steps: int = STEPS,
    seeds: int = SEEDS,
    honest: Protocol | None = None,
    place: Place | None = None,
    out: Path = Path("runs/marfinetz2025"),
    quiet: bool = True,
) -> Reproduction:
    """Repeat the published comparison and hold the published genome against tuned baselines.

    Args:
        publication: ``"marfinetz2025"``.
        tasks: Tasks of the literal comparison.
        steps: Steps per training of the literal comparison.
        seeds: Seeds of the literal comparison, from 0.
        honest: Protocol of the honest comparison; None leaves it out. Its task list counts, not ``tasks``.
        place: Where to train.
        out: Folder for ``reproduction.md``, ``reproduction.json`` and the honest comparison's files. Finished
            trainings are kept there, so that an interrupted reproduction goes on.
        quiet: Show no progress bar.

    Raises:
        EvooptError: Another publication, an unknown task, or missing data.
    """
    if publication not in PUBLICATIONS:
        raise unknown_name("publication", publication, PUBLICATIONS)
    out.mkdir(parents=True, exist_ok=True)
    literal = train_literally(tasks, steps, seeds, place, out / "literal.jsonl")
    report = None
    if honest is not None:
        report = compare(
            [publication],
            baselines=HONEST_BASELINES,
            protocol=replace(honest, allow_seen_test=True),
            place=place or Place(),
            out=out,
            quiet=quiet,
        )
    found = Reproduction(steps, literal, report)
    body = {
        "kind": "reproduction",
        "version": 1,
        "publication": publication,
        "steps": steps,
        "literal": {t: {n: asdict(s) for n, s in own.items()} for t, own in literal.items()},
        "published": {"readme": README, "notebook": NOTEBOOK},
        "verdict": report.verdict.splitlines() if report else [],
    }
    (out / "reproduction.json").write_text(json.dumps(without_nan(body), indent=1) + "\n", encoding="utf-8")
    (out / REPORT_FILE).write_text(found.text, encoding="utf-8")
    return found


def _markdown(found: Reproduction) -> str:
    seeds = len(next(iter(next(iter(found.literal.values())).values())).fitness)
    reduced = "" if (found.steps, seeds) == (STEPS, SEEDS) else f" (published: {STEPS} steps, {SEEDS} seeds)"
    lines = [
        "# Marfinetz (2025): the published comparison and an honest one",
        "",
        "## The published protocol, literally",
        "",
        f"{found.steps} steps, {seeds} seeds{reduced}, no tuning, fitness = test accuracy + 0.05*max(0, 1 - "
        f"training loss of the last 50 steps). Image sets are cut to {TRAIN_SIZE:,} training images. Mean ± "
        "standard deviation over seeds; published numbers as in the README of the published code and in its "
        "notebook's output.",
        "",
    ]
    for task, scores in found.literal.items():
        lines += _literal_table(task, scores)
    lines += [*_overall_table(found.literal), f"For comparison, {CLAIMS}.", ""]
    if found.honest is not None:
        lines += ["## The honest comparison", ""]
        lines += [f"- {sentence}" for sentence in found.honest.verdict.splitlines()]
        lines += ["", "```text", found.honest.text, "```", ""]
        lines += ["![differences](differences.png)", "", "![curves](curves.png)", ""]
    return "\n".join(lines)


def _literal_table(task: str, scores: Mapping[str, LiteralScore]) -> list[str]:
    lines = [
        f"### {task}",
        "",
        "| optimizer | fitness here | test accuracy here | published README | published notebook |",
        "|---|---|---|---|---|",
    ]
    for name in RULES:
        published = [_published(table, name, task) for table in (README, NOTEBOOK)]
        own = [_spread(scores[name].fitness), _spread(scores[name].accuracy)]
        lines.append(f"| {name} | {' | '.join([*own, *published])} |")
    gain = relative_gain(scores)
    told = [
        f"{label} {100 * (table[EVOLVED][task] / table['Adam'][task] - 1):+.2f}%"
        for label, table in (("README", README), ("notebook", NOTEBOOK))
        if task in table[EVOLVED]
    ]
    lines += ["", f"Evolved over untuned Adam here: {_percent(gain)}. {_told(told)}", ""]
    return lines


def _overall_table(literal: LiteralScores) -> list[str]:
    if not set(PUBLISHED_TASKS) <= set(literal):
        return [f"No overall fitness: it is the mean over {', '.join(PUBLISHED_TASKS)}.", ""]
    lines = [
        "### overall",
        "",
        "| optimizer | fitness here | published README | published notebook |",
        "|---|---|---|---|",
    ]
    for name in RULES:
        own = sum(literal[task][name].mean for task in PUBLISHED_TASKS) / len(PUBLISHED_TASKS)
        lines.append(
            f"| {name} | {own:.4f} | {README[name]['overall']:.4f} | {NOTEBOOK[name]['overall']:.4f} |"
        )
    return [*lines, ""]


def _published(table: Mapping[str, Mapping[str, float]], name: str, task: str) -> str:
    return f"{table[name][task]:.4f}" if task in table[name] else "-"


def _spread(values: Sequence[float]) -> str:
    good = [value for value in values if math.isfinite(value)]
    if not good:
        return "diverged"
    spread = f" ± {statistics.stdev(good):.4f}" if len(good) > 1 else ""
    return f"{statistics.fmean(good):.4f}{spread}"


def _percent(gain: Sequence[float]) -> str:
    spread = f" ± {100 * statistics.stdev(gain):.2f}" if len(gain) > 1 else ""
    return f"{100 * statistics.fmean(gain):+.2f}%{spread}"


def _told(told: Sequence[str]) -> str:
    return f"Published: {', '.join(told)}." if told else "The publication has no number for this task."
