"""The report on a reproduction of GADAM, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evoopt.tasks import get_task
from reproductions.gadam.baselines import LEARNING_RATES
from reproductions.gadam.budget import PARTS
from reproductions.gadam.claims import CLAIMS, Finding, find, judged, saying
from reproductions.gadam.figures_text import figures_text
from reproductions.gadam.published import NOT_RUN, PUBLISHED, REMARKS
from reproductions.gadam.results import ROWS, Found, PartResult, spread_of

_SUBJECTS = ("gadam_paper", "gadam")

_HOW = f"""\
Every method of a data set sees the same division into training, validation and test examples, and by seed the
same initial weights. Published learning rates are not given, so that every optimizer has the defaults of
`torch.optim` (GADAM and Adam: 0.001). GADAM's population spends 2gKE steps, a lineage at most 2KE, which is
what Adam, SGD, RMSprop, Adagrad and Adadelta get. Four rows get the whole 2gKE: Adam in one go; Adam tuned,
with the learning rates {", ".join(f"{lr:g}" for lr in LEARNING_RATES)}, a third of the steps each, chosen on
validation data; the best of g restarts by validation loss; and the mean of their softmax outputs. After
every E steps each of them is scored on the validation part, and its best state counts, because GADAM chooses
as often. The test part is opened once for each result, after all choices.

*As published*: a mutated scalar is drawn from U(0, 1), the batches that select come from the training
examples, and parents survive only as trained. *Robust*: mutated scalars from N(0, std of their tensor),
selection on held-out examples, and parents may survive as they were. *Children fresh at random*: robust, but
each child gets new initial weights, a control for what inheritance is worth. Classical methods learn from
training and validation examples, normalised as for the networks."""


def markdown(found: Found) -> str:
    """The whole report."""
    scale = (
        "the published scale where it is given" if found.paper else "a small budget, not the published one"
    )
    lines = ["# Zhang and Gouza (2018): GADAM repeated, and held against equal compute", ""]
    lines += [
        f"arXiv 1805.07500. Trained with {scale}; numbers are mean ± standard deviation over seeds.",
        "",
    ]
    if found.notes:
        lines += ["## Missing", "", *(f"- {note}" for note in found.notes), ""]
    if found.parts:
        lines += ["## What holds at this budget", "", *_verdicts(found.parts), ""]
        lines += ["![differences](differences.png)", ""]
        lines += ["## Budget", "", *_budget(found.parts), "", _HOW, ""]
    for part in found.parts:
        lines += _part(part)
    if any(part.curves for part in found.parts):
        lines += _curves()
    if found.figures is not None:
        lines += figures_text(found.figures, found.file)
    return "\n".join(lines)


def _verdicts(parts: Sequence[PartResult]) -> list[str]:
    lines = [
        "By the 95 % interval (Student's t) of the difference in test accuracy, paired by seed; few seeds "
        "detect only large differences, and one in 20 comparisons of equals shows one by chance.",
        "",
    ]
    for claim in CLAIMS:
        for subject in claim.subjects:
            found = judged(claim, parts, subject)
            if not found:
                continue
            lines.append(f"- *{ROWS[subject]} is {claim.text}* ({claim.source}):")
            for verdict, findings in found.items():
                where = _where(findings, len(claim.rivals) == 1)
                lines.append(f"  - **{saying(verdict)}** {where}")
    return lines


def _where(findings: Sequence[Finding], all_alike: bool) -> str:
    """One rival: parts with numbers; several: who on which parts."""
    if all_alike:
        return ", ".join(f"on {finding.part} by {finding.points}" for finding in findings)
    by_rival: dict[str, list[str]] = {}
    for finding in findings:
        by_rival.setdefault(finding.rival, []).append(finding.part)
    return "; ".join(f"{ROWS[rival]} ({', '.join(parts)})" for rival, parts in by_rival.items())


def _budget(parts: Sequence[PartResult]) -> list[str]:
    lines = [
        "| part | g | K | E | a lineage's steps 2KE | the population's 2gKE | batch | seeds | published "
        "| minutes of a worker |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for part in parts:
        b, paper = part.budget, PARTS[part.name].paper
        told = f"g = {paper.population}, E = {paper.steps:,}" if part.name == "mnist" else "not given"
        told = "-" if part.name not in PUBLISHED else told
        batch = get_task(PARTS[part.name].task).batch_size
        lines.append(
            f"| {part.name} | {b.population} | {b.generations} | {b.steps:,} | {b.lineage_steps:,} "
            f"| {b.all_steps:,} | {batch} | {b.seeds} | {told} "
            f"| {part.seconds / 60:.1f} |"
        )
    return lines


def _part(part: PartResult) -> list[str]:
    published = PUBLISHED.get(part.name, {})
    lines = [
        f"## {PARTS[part.name].title}",
        "",
        "| method | steps | test accuracy % | published | test loss | published |",
        "|---|---|---|---|---|---|",
    ]
    for row, by_seed in part.rows.items():
        steps = next(iter(by_seed.values())).get("steps")
        told = published.get(row)
        accuracy = _spread(part.accuracies(row), 100, 2)
        loss = _spread(part.losses(row), 1, 4) if steps else "-"
        theirs = ("-", "-") if told is None else (f"{told.accuracy:.2f}", _loss(told.loss))
        count = f"{steps:,}" if steps else _examples(by_seed)
        lines.append(f"| {ROWS[row]} | {count} | {accuracy} | {theirs[0]} | {loss} | {theirs[1]} |")
    for row, number in published.items():
        if row not in part.rows:
            name = NOT_RUN.get(row) or ROWS[row]
            lines.append(f"| {name} | - | not run | {number.accuracy:.2f} | - | {_loss(number.loss)} |")
    if part.name in REMARKS:
        lines += ["", REMARKS[part.name]]
    return [*lines, "", *_differences(part), ""]


def _differences(part: PartResult) -> list[str]:
    """Differences of both kinds of GADAM from everyone else."""
    subjects = [row for row in _SUBJECTS if row in part.rows]
    rivals = [row for row in part.rows if row not in _SUBJECTS]
    if not subjects or not rivals:
        return []
    lines = [
        f"| points of accuracy above | {' | '.join(ROWS[row] for row in subjects)} |",
        f"|---|{'---|' * len(subjects)}",
    ]
    for rival in rivals:
        found = [find(part, subject, rival) for subject in subjects]
        told = ["-" if f is None else f"{f.points}{_star(f)}" for f in found]
        lines.append(f"| {ROWS[rival]} | {' | '.join(told)} |")
    return [*lines, "", "Paired by seed, with 95 % intervals; * where the interval excludes 0."]


def _star(finding: Finding) -> str:
    return " *" if finding.verdict in ("holds", "reversed") else ""


def _curves() -> list[str]:
    return [
        "## Training loss (the plot that the paper calls table 2)",
        "",
        "![training loss](training_loss.png)",
        "",
        "GADAM's curve is the lineage of the final winner: its own losses since its crossover, before that "
        "those of its fitter parent, and so on; dots mark crossovers. Left by the steps of the lineage, "
        "right by the steps of the whole population.",
        "",
    ]


def _spread(by_seed: Mapping[int, float], factor: float, digits: int) -> str:
    return spread_of(list(by_seed.values()), factor, digits)


def _loss(loss: float | None) -> str:
    return "-" if loss is None else f"{loss:.4f}"


def _examples(by_seed: Mapping[int, Mapping[str, int]]) -> str:
    return f"{next(iter(by_seed.values()))['examples']:,} examples"
