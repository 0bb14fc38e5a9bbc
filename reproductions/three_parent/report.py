"""The report on a reproduction of recombination as Markdown: verdicts, published and own numbers."""

from __future__ import annotations

from collections.abc import Sequence

from reproductions.three_parent.budget import PARTS
from reproductions.three_parent.claims import verdicts
from reproductions.three_parent.plots import DIFFERENCES, SEARCHES, schedule_picture
from reproductions.three_parent.published import PUBLISHED, REMARKS
from reproductions.three_parent.results import NAMES, SUBJECTS, Found, PartResult, compare
from reproductions.three_parent.tables import measure_of, percent, schedules_table, spread, trials_table

_HOW = """\
A search starts from one seed, which decides the division into training and validation examples too. What it
has found, a schedule along the weight lineage of its winner or a set of hyperparameters, is trained by from
scratch on fresh seeds that no search has seen, and so are the default hyperparameters on the same seeds;
test data is opened there, once for each network, and decides nothing. Differences are paired by search,
each with the mean over its fresh seeds. The publication's "ten training runs" may be such trainings or ten
searches; it does not say.

*Default hyperparameters*: constant, stopped at the generation that is best on the search's own seed, since
searches choose their winner's generation too; this costs one member. All others cost the same: the same
members, generations and steps. *Random search*: the defaults and random hyperparameters, each constant from
start to end. *Truncation PBT*: exploit and explore as in Ray Tune; the worst quarter takes weights and
hyperparameters of one of the best and multiplies the latter by 0.8 or 1.2, or draws them anew with
probability 0.25. *Three parents, as published*: mutation with rate 0.05, a first generation of the defaults
and their mutants, literal fitness. *Robust*: rate 0.2, a random first generation, winsorised fitness. Both
draw parents a and b, whose hyperparameters are crossed and mutated, and alpha, whose weights the child goes
on with, in proportion to fitness with sigma = 10."""


def markdown(found: Found) -> str:
    """The whole report."""
    scale = (
        "the published scale as far as it is given"
        if found.paper
        else "a small budget, not the published one"
    )
    lines = [
        "# Vose et al. (2019): recombination repeated, and held against controls of equal cost",
        "",
    ]
    lines += [f"arXiv 1901.03900. Searched and trained with {scale}.", ""]
    if found.notes:
        lines += ["## Missing", "", *(f"- {note}" for note in found.notes), ""]
    if found.parts:
        lines += ["## What holds at this budget", "", *verdicts(found.parts), ""]
        lines += [f"![differences]({DIFFERENCES}.png)", ""]
    lines += ["## Table 4", "", *_table_4(found.parts), ""]
    if found.parts:
        lines += ["## Budget", "", *_budget(found.parts), "", _HOW, ""]
        lines += [f"![searches]({SEARCHES}.png)", ""]
        lines += [
            "Best so far on validation data by generation: means between the smallest and the largest.",
            "",
        ]
    for part in found.parts:
        lines += _part(part)
    return "\n".join(lines)


def _table_4(parts: Sequence[PartResult]) -> list[str]:
    """Published and own improvements side by side."""
    methods = [m for m in NAMES if m != "default" and any(m in part.found for part in parts)]
    lines = [
        "Improvement over the default hyperparameters: as printed, as it follows from the published results, "
        "and here on fresh seeds, the mean over searches with its 95 % interval.",
        "",
        "| "
        + " | ".join(
            ["", "published results", "printed", "follows", "measured here", "default here"]
            + [NAMES[method] for method in methods]
        )
        + " |",
        f"|---|---|---|---|---|---|{'---|' * len(methods)}",
    ]
    own = {part.name: part for part in parts}
    for name in dict.fromkeys([*own, *PUBLISHED]):
        number, part = PUBLISHED.get(name), own.get(name)
        told = ["not in the paper", "-", "-"]
        if number is not None:
            slip = " (slip)" if number.slipped else ""
            told = [
                f"{number.default:g} to {number.evolved:g} {number.unit}",
                f"{number.printed:.1f} %{slip}",
                f"{number.improvement:.1f} %",
            ]
        here = ["-"] * (2 + len(methods))
        if part is not None:
            found = [compare(part, method, "default") for method in methods]
            here = [
                f"test {measure_of(part)}",
                spread(part.means("default").values(), part),
                *("-" if f is None else percent(f.relative) for f in found),
            ]
        title = number.title if number is not None else name
        lines.append(f"| {title} | {' | '.join([*told, *here])} |")
    slips = [f"{number.title}: {number.note}" for number in PUBLISHED.values() if number.slipped]
    rest = [
        f"{number.title}: {number.note}"
        for number in PUBLISHED.values()
        if number.note and not number.slipped
    ]
    return [*lines, "", f"Slips of the publication: {'; '.join(slips)}. Further: {'; '.join(rest)}."]


def _budget(parts: Sequence[PartResult]) -> list[str]:
    lines = [
        "| part | members | generations | steps | examples | searches by method | fresh seeds | published |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for part in parts:
        b, p = part.budget, PARTS[part.name].paper
        told = "-" if part.name not in PUBLISHED else f"{p.population} members"
        steps = f"at most {b.steps} a training" if part.measure == "steps" else f"{b.steps} a generation"
        lines.append(
            f"| {part.name} | {b.population} | {b.generations} | {steps} | {b.train_size or 'all'} "
            f"| {b.seeds} | {b.replays} a search | {told} |"
        )
    return lines


def _part(part: PartResult) -> list[str]:
    lines = [f"## {PARTS[part.name].title}", ""]
    if part.name in REMARKS:
        lines += [REMARKS[part.name], ""]
    lines += trials_table(part) if part.measure == "steps" else schedules_table(part)
    if part.measure != "steps" and any(part.schedules(method) for method in SUBJECTS):
        lines += [f"![schedules]({schedule_picture(part.name)}.png)", ""]
        lines += [
            "Left: trainings on fresh seeds, means between the smallest and the largest. Right: schedules "
            "along the winners' weight lineages, likewise over searches; black: the defaults.",
            "",
        ]
    return lines
