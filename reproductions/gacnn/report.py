"""The report on a reproduction of GACNN as Markdown: what each claim comes to, and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from reproductions.gacnn.plots import PICTURES
from reproductions.gacnn.results import AXES, ROWS, Finding, Found, TaskResult, compare_rows, lead
from reproductions.gadam.results import spread_of

_HOW = """\
Everyone learns from the same fixed examples of a task. Every seed has one initial population, with which
all genetic methods start; Adam (learning rate 0.001) and SGD (0.01), the defaults of Keras with
minibatches of 32, start from its fittest member. The fitness that the genetic methods maximise is the
accuracy on those examples, parents are selected by scanning, and mutation has ratio 0.1 and sigma 0.5,
as published. *Matched mutation* scales the noise so that in both encodings the mean square of a
section's change is the same, and draws it for each weight. *Robust* maximises the likelihood, selects by
tournaments of 5, and mutates every child with ratio 0.05 and sigma 0.2, drawn for each weight. *Then
Adam* is the publication's head start: Adam goes on from the fittest network, with as many minibatches as
Adam gets alone.

An iteration is a generation, in a steady state one child, for Adam and SGD one minibatch, as in the
publication. Examples seen count forward passes alone: an example that Adam learns from takes a backward
pass too, about twice a forward pass more. Seconds are those of training on one thread. Examples and
seconds start after the initial population is scored, which all methods need. The table is about the
fittest network that ever was, of Adam and SGD the last one; curves show the fittest of the current
population. Test data decides nothing."""

_ENCODINGS = {
    "steady state": ("steady_state", "steady_state_traditional"),
    "generational": ("generational", "generational_traditional"),
    "elitist": ("elitist", "elitist_traditional"),
    "elitist, matched mutation": ("elitist_matched", "elitist_traditional_matched"),
    "robust settings": ("robust", "robust_traditional"),
}
_CAPTIONS = {
    "figure_12_steady_state": "Figure 12: steady state, both encodings",
    "figure_13_generational": "Figure 13: generational, both encodings",
    "figure_14_elitist": "Figure 14: elitist, both encodings",
    "figure_15_schemes": "Figure 15: the three schemes, accordion",
    "figure_16_gradients": "Figure 16: elitist accordion, Adam and SGD from the fittest initial network",
    "matched_mutation": "Both encodings at matched mutation strength, elitist",
    "robust_settings": "Robust settings, and Adam after them",
}


def markdown(found: Found) -> str:
    """The whole report."""
    lines = ["# Esfahanian and Akhavan (2019): GACNN repeated, with numbers", ""]
    lines += [
        "The publication prints curves without numbers, repetitions or counts of iterations. This is a small "
        "budget of our own; few seeds detect large differences only.",
        "",
    ]
    if found.notes:
        lines += ["## Missing", "", *(f"- {note}" for note in found.notes), ""]
    if not found.tasks:
        return "\n".join(lines)
    lines += ["## Which claims hold at this budget", ""]
    lines += [
        "Differences are in points of accuracy, paired by seed, with 95 % intervals by Student's t; a claim "
        "holds, or its opposite does, where the interval excludes 0.",
        "",
    ]
    for result in found.tasks:
        lines += [f"### {result.name}", "", *(f"- {line}" for line in claims(result)), ""]
    lines += ["## Budget", "", *_budget(found.tasks), "", _HOW, ""]
    for result in found.tasks:
        lines += [f"## {result.name}", "", *_table(result), ""]
    lines += ["## Figures", "", "Mean over seeds, and their range; logarithmic horizontal axes.", ""]
    for name, rows in PICTURES.items():
        if any(row in result.rows for result in found.tasks for row in rows):
            lines += [f"{_CAPTIONS[name]}:", "", f"![{_CAPTIONS[name]}]({name}.png)", ""]
    return "\n".join(lines)


def claims(result: TaskResult) -> Iterator[str]:
    """A line for each claim that there are rows for."""
    for where, (accordion, traditional) in _ENCODINGS.items():
        finding = compare_rows(result, accordion, traditional)
        if finding is not None:
            test = compare_rows(result, accordion, traditional, "test_accuracy")
            yield (
                f'"Accordion is at least as good as traditional", {where}: {_at_least(finding)}: {finding}; '
                f"on test data {_at_least(test)}: {test}."
            )
    yield from _slow(result)
    if "generational" in result.rows:
        yield f'"Generational oscillates": {_falls(result, "generational", wanted=True)}.'
    if "elitist" in result.rows:
        yield f'"Elitist never gets worse": {_falls(result, "elitist", wanted=False)}.'
    for rival in ("steady_state", "generational"):
        finding = compare_rows(result, "elitist", rival)
        if finding is not None:
            yield f'"Elitist is the best scheme", against {ROWS[rival]}: {finding.verdict}: {finding}.'
    for rival in ("adam", "sgd"):
        yield from _against_gradients(result, "elitist", rival)
    yield from _against_gradients(result, "robust", "adam")
    for row in ("elitist_adam", "robust_adam"):
        finding = compare_rows(result, row, "adam", "test_accuracy")
        if finding is not None:
            yield (
                f'Head start, "{ROWS[row]}" better than Adam alone on test data: {finding.verdict}: '
                f"{finding}; it saw {_times(result, row)} as many examples."
            )


def _slow(result: TaskResult) -> Iterator[str]:
    if "steady_state" not in result.rows:
        return
    yield f'"Steady state never gets worse": {_falls(result, "steady_state", wanted=False)}.'
    finding = compare_rows(result, "elitist", "steady_state")
    if finding is not None:
        place = _place(lead(result, "steady_state", "elitist", "examples").last, "examples")
        yield f'"Steady state is slow", elitist better after as many examples: {finding.verdict}; {place}.'


def _against_gradients(result: TaskResult, row: str, rival: str) -> Iterator[str]:
    """The publication: faster early, in the end far behind on MNIST and tremendously better on CIFAR-10."""
    better = "cifar10" in result.name
    first, second = (row, rival) if better else (rival, row)
    finding = compare_rows(result, first, second)
    if finding is None:
        return
    leads = {axis: lead(result, row, rival, axis) for axis in AXES}
    places = [
        f"by {AXES[axis]} {'holds' if it.early else 'does not hold'}, {_place(it.last, axis)}"
        for axis, it in leads.items()
    ]
    yield f'"Faster than {ROWS[rival]} early", {ROWS[row]}: {"; ".join(places)}.'
    claim = f"Tremendously better than {ROWS[rival]}" if better else f"Far behind {ROWS[rival]} in the end"
    test = compare_rows(result, first, second, "test_accuracy")
    yield (
        f'"{claim}", {ROWS[row]}, with {_times(result, row, rival)} as many examples: {finding.verdict}: '
        f"{ROWS[first]} {finding}; on test data {test}."
    )


def _at_least(finding: Finding | None) -> str:
    """Whether the first is at least as good: a detectable loss refutes it, a detectable gain shows it."""
    verdict = "-" if finding is None else finding.verdict
    known = {"holds": "holds", "no detectable difference": "not refuted, no detectable difference"}
    return known.get(verdict, verdict)


def _falls(result: TaskResult, row: str, wanted: bool) -> str:
    falls = sum(result.values(row, "falls"))
    total = sum(result.values(row, "iterations"))
    verdict = "holds" if (falls > 0) == wanted else "does not hold"
    return f"{verdict}: the fittest got worse in {falls:,.0f} of {total:,.0f} iterations"


def _place(limit: float | None, axis: str) -> str:
    if limit is None:
        return "never ahead"
    if math.isinf(limit):
        return "ahead in the end"
    return f"last ahead at {limit:.3g} s" if axis == "seconds" else f"last ahead at {limit:,.0f}"


def _times(result: TaskResult, row: str, rival: str = "adam") -> str:
    ratio = sum(result.values(row, "examples")) / sum(result.values(rival, "examples"))
    return f"{ratio:.3g} times"


def _budget(results: Sequence[TaskResult]) -> list[str]:
    lines = [
        "| task | networks | generations | examples | minibatches | seeds |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        b = result.budget
        lines.append(
            f"| {result.name} | {b.population} | {b.generations} | {result.examples:,} | {b.steps:,} "
            f"| {b.seeds} |"
        )
    return lines


def _table(result: TaskResult) -> list[str]:
    lines = [
        "| method | test accuracy % | accuracy % on the examples | iterations | examples seen | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for row in result.rows:
        told = [spread_of(result.values(row, key), 100, 2) for key in ("test_accuracy", "accuracy")]
        counts = [f"{result.values(row, key)[0]:,.0f}" for key in ("iterations", "examples")]
        seconds = spread_of(result.values(row, "seconds"), 1, 1)
        lines.append(f"| {ROWS[row]} | {' | '.join([*told, *counts, seconds])} |")
    starts = {
        round(scores["curve"]["accuracy"][0], 6)
        for row, by_seed in result.rows.items() if not row.startswith("robust")
        for seed, scores in by_seed.items() if seed == 0
    }  # fmt: skip
    if starts:
        same = ", ".join(f"{100 * start:.2f} %" for start in sorted(starts))
        lines += ["", f"Accuracy of the fittest initial network, seed 0, in every method: {same}."]
    return lines
