"""Tables of a reproduction of Vose et al.: what each method found, by part."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean, median

from reproductions.markdown import spread_of, table
from reproductions.results import numbers
from reproductions.three_parent.budget import PARTS
from reproductions.three_parent.published import LENET_OPTIMUM, LENET_PARAMETERS, OPTIMA
from reproductions.three_parent.results import NAMES, SearchResult

_TRIALS = """\
Here each genome trains afresh, so there are no weights to inherit: truncation exploits and explores
hyperparameters alone, and members that just go on are not trained again. The cost of a search is its
trainings and their steps; equal hyperparameters are trained once.{target} On fresh seeds
scores are those on the first test examples, as many as there are validation examples."""

_TARGET = """ A training ends at the target;
one that misses it counts as the most steps, or seconds, times (2 - its best accuracy)."""

_LEGEND = "Mean ± standard deviation over searches; differences with 95 % intervals, * where one is detected."
_LOWER = "lower than default by"


def schedules_table(part: SearchResult) -> list[str]:
    """Population-based training: a row per method."""
    fom, measure, rows = PARTS[part.name].config.recombination.fom, measure_of(part), []
    for method, by_seed in part.rows.items():
        results = list(by_seed.values())
        networks = [_network(result["network"], part) for result in results if result["network"] is not None]
        rows.append([
            NAMES[method],
            f"{results[0]['steps']:,}",
            f"{fmean(result['born'] + 1 for result in results):.1f}",
            spread_of(numbers(result["fom"] for result in results)),
            spread_of(networks, *scale(part.measure)) if networks else "-",
            spread_of(part.means(method).values(), *scale(part.measure)),
            _lower(part, method, part.measure),
            spread_of(part.means(method, "loss").values()),
            _lower(part, method, "loss"),
        ])  # fmt: skip
    header = [
        "method", "steps of a search", "winner's generation", f"best validation {fom}",
        f"winner's own network, test {measure}", f"fresh seeds, test {measure}", _LOWER, "test loss", _LOWER,
    ]  # fmt: skip
    return [*table(header, rows), "", _LEGEND]


def trials_table(part: SearchResult) -> list[str]:
    """Trainings to a target: a row per method, and the hyperparameters found."""
    b, rows = part.budget, []
    for method, by_seed in part.rows.items():
        results = list(by_seed.values())
        reached = [hit for result in results for hit in result["replay"]["reached"]]
        rows.append([
            NAMES[method],
            f"{fmean(result['trainings'] for result in results):.1f}",
            f"{fmean(result['steps'] for result in results):,.0f}",
            spread_of(numbers(result["fom"] for result in results), *scale(part.measure)),
            spread_of(part.means(method).values(), *scale(part.measure)),
            f"{sum(reached)} of {len(reached)}" if b.target else "-",
            _lower(part, method, part.measure),
            spread_of(part.means(method, "seconds").values(), digits=1),
            f"{median(result['parameters'] for result in results):,.0f}",
        ])  # fmt: skip
    header = [
        "method", "trainings of a search", "their steps", f"best validation {measure_of(part)}",
        f"fresh seeds, test {measure_of(part)}",
        "reached", _LOWER, "seconds", "parameters",
    ]  # fmt: skip
    parameters = "Published parameters: {:,} and, of the optimum, {:,}.".format(*LENET_PARAMETERS)
    lenet, told = OPTIMA[part.name] is LENET_OPTIMUM, ""
    if b.target:
        score = "an accuracy" if lenet else "a score"
        told = f"Target: {score} of {b.target:.1%} in two successive looks, one every {b.every} minibatches"
        told += " (published: 98.6 % and 100). " if lenet else ". "
    return [
        f"{told}The published widths of layers, and their bounds, are divided by {b.narrower}.",
        "",
        _TRIALS.format(target=_TARGET if b.target else ""),
        "",
        *table(header, rows),
        "",
        f"{_LEGEND} Seconds of a training with its looks on this machine; median of parameters.",
        *([parameters] if lenet else []),
        "",
        *_optima(part),
    ]


def _optima(part: SearchResult) -> list[str]:
    rows = [
        [name, f"{value:g}"]
        + [f"{median(r['hyperparameters'][name] for r in own.values()):.3g}" for own in part.rows.values()]
        for name, value in OPTIMA[part.name].items()
    ]
    header = ["hyperparameter", "published optimum", *(NAMES[method] for method in part.rows)]
    note = "Medians over searches"
    if OPTIMA[part.name] is LENET_OPTIMUM:
        note += "; the published dropout of .83 is taken as a rate of keeping"
    return [*table(header, rows), "", f"{note}."]


def _network(scores: Mapping[str, float | None], part: SearchResult) -> float:
    [loss, metric] = numbers([scores["loss"], scores["metric"]])
    return 1 - metric if part.measure == "error" else math.exp(loss)


def _lower(part: SearchResult, method: str, measure: str) -> str:
    finding = None if method == "default" else part.lower(method, measure=measure)
    return "-" if finding is None else finding.told(*scale(measure)) + (" *" if finding.detected else "")


def scale(measure: str) -> tuple[float, int]:
    """What numbers are multiplied by, and their digits after the point."""
    return {"error": (100.0, 2), "perplexity": (1.0, 2), "steps": (1.0, 0)}.get(measure, (1.0, 4))


def measure_of(part: SearchResult) -> str:
    """What a part is judged by, with its unit."""
    return "error %" if part.measure == "error" else part.measure
