"""Tables of a reproduction of recombination: what each method found, by part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import fmean, median

from evoopt.compare.statistics import PairedDifference
from reproductions.gadam.results import spread_of
from reproductions.three_parent.budget import PARTS
from reproductions.three_parent.published import LENET_OPTIMUM, LENET_PARAMETERS
from reproductions.three_parent.results import NAMES, PartResult, compare, numbers

_TRIALS = """\
Here each genome trains afresh, so there are no weights to inherit: truncation exploits and explores
hyperparameters alone, and members that just go on are not trained again. The cost of a search is its
trainings and their steps, which end at the target; equal hyperparameters are trained once. A training that
misses the target counts as the most steps times (2 - its best accuracy). On fresh seeds accuracy is that on
the first test images, as many as there are validation images."""

_LEGEND = "Mean ± standard deviation over searches; differences with 95 % intervals, * where they exclude 0."


def schedules_table(part: PartResult) -> list[str]:
    """Population-based training: a row per method."""
    fom, measure = PARTS[part.name].config.recombination.fom, measure_of(part)
    lines = [
        f"| method | steps of a search | winner's generation | best validation {fom} | winner's own network, "
        f"test {measure} | fresh seeds, test {measure} | lower than default by | test loss | lower than "
        "default by |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method, by_seed in part.found.items():
        results = list(by_seed.values())
        networks = [_network(result["network"], part) for result in results if result["network"] is not None]
        cells = [
            NAMES[method],
            f"{results[0]['steps']:,}",
            f"{fmean(result['born'] + 1 for result in results):.1f}",
            spread_of(numbers(result["fom"] for result in results)),
            spread(networks, part) if networks else "-",
            spread(part.means(method).values(), part),
            _lower(part, method),
            spread_of(list(part.means(method, "loss").values())),
            _lower(part, method, "loss"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", _LEGEND, ""]


def trials_table(part: PartResult) -> list[str]:
    """Trainings to a target: a row per method, and the hyperparameters found."""
    b = part.budget
    lines = [
        f"Target: an accuracy of {b.target:.1%} in two successive looks, one every {b.every} minibatches "
        "(published: 98.6 % and 100). The published widths of layers, and their bounds, are divided by "
        f"{b.narrower}.",
        "",
        _TRIALS,
        "",
        "| method | trainings of a search | their steps | best validation steps | fresh seeds, test steps | "
        "reached | lower than default by | seconds | parameters |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method, by_seed in part.found.items():
        results = list(by_seed.values())
        reached = [hit for result in results for hit in result["replay"]["reached"]]
        cells = [
            NAMES[method],
            f"{fmean(result['trainings'] for result in results):.1f}",
            f"{fmean(result['steps'] for result in results):,.0f}",
            spread_of(numbers(result["fom"] for result in results), digits=0),
            spread(part.means(method).values(), part),
            f"{sum(reached)} of {len(reached)}",
            _lower(part, method),
            spread_of(list(part.means(method, "seconds").values()), digits=1),
            f"{median(result['parameters'] for result in results):,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    parameters = "{:,} and, of the optimum, {:,}".format(*LENET_PARAMETERS)
    lines += ["", f"{_LEGEND} Seconds of a training with its looks on this machine; median of parameters."]
    return [*lines, f"Published parameters: {parameters}.", "", *_optima(part), ""]


def _optima(part: PartResult) -> list[str]:
    methods = list(part.found)
    lines = [
        f"| hyperparameter | published optimum | {' | '.join(NAMES[method] for method in methods)} |",
        f"|---|---|{'---|' * len(methods)}",
    ]
    for name, value in LENET_OPTIMUM.items():
        own = [
            f"{median(result['hyperparameters'][name] for result in part.found[method].values()):.3g}"
            for method in methods
        ]
        lines.append(f"| {name} | {value:g} | {' | '.join(own)} |")
    return [*lines, "", "Medians over searches; the published dropout of .83 is taken as a rate of keeping."]


def _network(scores: Mapping[str, float | None], part: PartResult) -> float:
    [loss, metric] = numbers([scores["loss"], scores["metric"]])
    return 1 - metric if part.measure == "error" else math.exp(loss)


def _lower(part: PartResult, method: str, measure: str | None = None) -> str:
    finding = None if method == "default" else compare(part, method, "default", measure)
    if finding is None or not math.isfinite(finding.difference.mean):
        return "-"
    d, (factor, digits) = finding.difference, _scale(measure or part.measure)
    mean, low, high = (f"{factor * value:+.{digits}f}" for value in (d.mean, d.low, d.high))
    if not math.isfinite(d.low):
        return mean
    return f"{mean} ({low} to {high}){' *' if d.low > 0 or d.high < 0 else ''}"


def _scale(measure: str) -> tuple[float, int]:
    """What numbers are multiplied by, and their digits after the point."""
    return {"error": (100.0, 2), "perplexity": (1.0, 2), "steps": (1.0, 0)}.get(measure, (1.0, 4))


def measure_of(part: PartResult) -> str:
    """What a part is judged by, with its unit."""
    return {"error": "error %", "perplexity": "perplexity", "steps": "steps"}[part.measure]


def spread(values: Iterable[float], part: PartResult) -> str:
    """Mean ± standard deviation in the part's measure."""
    factor, digits = _scale(part.measure)
    return spread_of(list(values), factor, digits)


def percent(d: PairedDifference) -> str:
    """A relative difference with its interval."""
    if not math.isfinite(d.mean):
        return "-"
    interval = f" ({100 * d.low:+.0f} to {100 * d.high:+.0f})" if math.isfinite(d.low) else ""
    return f"{100 * d.mean:+.1f} %{interval}"
