"""The report on a reproduction of GACNN: what each claim comes to, and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from reproductions.claims import HOLDS, RULE, UNDECIDED, Claim, Finding, claims_table, compare
from reproductions.gacnn.plots import PICTURES, drawn
from reproductions.gacnn.results import AXES, ROWS, TaskResult, lead
from reproductions.markdown import picture, section, spread_of, table
from reproductions.results import Found

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


_BEHIND, _AHEAD = ("genetic_mnist", "genetic_digits"), ("genetic_cifar10",)
_AT_LEAST = "at least as good as"
_ENCODINGS = {
    "steady_state": "steady_state_traditional",
    "generational": "generational_traditional",
    "elitist": "elitist_traditional",
    "elitist_matched": "elitist_traditional_matched",
    "robust": "robust_traditional",
}
_GRADIENTS = (("elitist", "adam"), ("elitist", "sgd"), ("robust", "adam"))
_SEEN = {"accuracy": "on the examples", "test_accuracy": "on test data"}


def _claims() -> Iterator[Claim]:
    for accordion, traditional in _ENCODINGS.items():
        for key, seen in _SEEN.items():
            yield Claim(f"{_AT_LEAST} {{rival}}", seen, (accordion,), (traditional,), key)
    best = ("steady_state", "generational")
    yield Claim("the best scheme, against {rival}", _SEEN["accuracy"], ("elitist",), best, "accuracy")
    for row, rival in _GRADIENTS:
        for key, seen in _SEEN.items():
            yield Claim("far ahead of {rival} in the end", seen, (rival,), (row,), key, _BEHIND)
            yield Claim("tremendously better than {rival}", seen, (row,), (rival,), key, _AHEAD)
    yield Claim(
        "a head start over {rival}", _SEEN["test_accuracy"], ("elitist_adam", "robust_adam"), ("adam",)
    )


CLAIMS = tuple(_claims())
"""Claims of the publication that two rows decide; "robust" and "matched" ask them of settings of ours."""


def report(found: Found[TaskResult]) -> list[str]:
    """All sections but the head."""
    if not found.parts:
        return []
    lines = section(
        "Which claims hold at this budget", f"{RULE} Differences are in points of accuracy.", "",
        *claims_table(CLAIMS, found.parts, ROWS, _judge),
    )  # fmt: skip
    for result in found.parts:
        lines += section(result.name, *(f"- {line}" for line in courses(result)), level=3)
    lines += section("Budget", *_budget(found.parts), "", _HOW)
    for result in found.parts:
        lines += section(result.name, *_table(result))
    lines += section("Figures", "Mean over seeds, and their range; logarithmic horizontal axes.")
    for name in drawn(found.parts):
        lines += [f"{PICTURES[name][0]}:", "", *picture(name)]
    return lines


def find(result: TaskResult, row: str, rival: str, key: str = "accuracy") -> Finding | None:
    """Compare two rows of a task."""
    return compare(result.column(row, key), result.column(rival, key))


def _judge(result: TaskResult, claim: Claim, row: str, rival: str) -> str | None:
    finding = find(result, row, rival, claim.key)
    if finding is None:
        return None
    verdict = finding.verdict
    if claim.text.startswith(_AT_LEAST) and verdict == UNDECIDED:
        verdict = f"not refuted, {verdict}"
    higher = f"higher in {finding.higher} of {finding.difference.pairs} seeds"
    return f"**{verdict}**, {finding.told(digits=1)}, {higher}"


def courses(result: TaskResult) -> Iterator[str]:
    """A line for each claim about the way, rather than the end."""
    for row, claim, wanted in (
        ("steady_state", "Steady state never gets worse", False),
        ("generational", "Generational oscillates", True),
        ("elitist", "Elitist never gets worse", False),
    ):
        if row in result.rows:
            falls, total = result.total(row, "falls"), result.total(row, "iterations")
            told = f"the fittest got worse in {falls:,.0f} of {total:,.0f} iterations"
            yield f'"{claim}": {_holds((falls > 0) == wanted)}: {told}.'
    finding = find(result, "elitist", "steady_state")
    if finding is not None:
        place = _place(lead(result, "steady_state", "elitist", "examples").last, "examples")
        told = f"{finding.verdict}; by examples steady state is {place}"
        yield f'"Steady state is slow", elitist better in the end: {told}.'
    for row, rival in _GRADIENTS:
        if find(result, row, rival) is not None:
            leads = {axis: lead(result, row, rival, axis) for axis in AXES}
            told = "; ".join(
                f"by {AXES[axis]} {_holds(own.early)}, {_place(own.last, axis)}"
                for axis, own in leads.items()
            )
            both = result.in_common(row, rival)
            times = both.total(row, "examples") / both.total(rival, "examples")
            end = f"in the end it has seen {times:.3g} times as many examples"
            yield f'"Faster than {ROWS[rival]} early", {ROWS[row]}: {told}; {end}.'


def _holds(yes: bool) -> str:
    return HOLDS if yes else "does not hold"


def _place(limit: float | None, axis: str) -> str:
    if limit is None:
        return "never ahead"
    if math.isinf(limit):
        return "ahead in the end"
    return f"last ahead at {limit:.3g} s" if axis == "seconds" else f"last ahead at {limit:,.0f}"


def _budget(results: Sequence[TaskResult]) -> list[str]:
    rows = []
    for result in results:
        b = result.budget
        examples = "all" if b.examples is None else f"{b.examples:,}"
        rows.append(
            [result.name, str(b.population), str(b.generations), examples, f"{b.steps:,}", str(b.seeds)]
        )
    return table(["task", "networks", "generations", "examples", "minibatches", "seeds"], rows)


def _table(result: TaskResult) -> list[str]:
    rows = []
    for row, by_seed in result.rows.items():
        told = [spread_of(result.column(row, key).values(), 100, 2) for key in ("test_accuracy", "accuracy")]
        first = next(iter(by_seed.values()))
        counts = [f"{first[key]:,.0f}" for key in ("iterations", "examples")]
        rows.append([ROWS[row], *told, *counts, spread_of(result.column(row, "seconds").values(), 1, 1)])
    header = (
        "method",
        "test accuracy %",
        "accuracy % on the examples",
        "iterations",
        "examples seen",
        "seconds",
    )
    starts = {
        round(by_seed[0]["curve"]["accuracy"][0], 6)
        for row, by_seed in result.rows.items()
        if not row.startswith("robust") and 0 in by_seed
    }
    same = ", ".join(f"{100 * start:.2f} %" for start in sorted(starts))
    told = ["", f"Accuracy of the fittest initial network, seed 0, in every method: {same}."]
    return [*table(header, rows), *(told if starts else [])]
