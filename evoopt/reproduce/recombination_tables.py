"""Tables of a reproduction of recombination: what each method found, by part."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import fmean, median

from evoopt.compare.statistics import PairedDifference
from evoopt.reproduce.gadam_results import spread_of
from evoopt.reproduce.recombination_published import LENET_OPTIMUM, LENET_PARAMETERS
from evoopt.reproduce.recombination_results import NAMES, PartResult, compare

_TRIALS = """\
Here each genome trains afresh, so there are no weights to inherit: truncation exploits and explores
hyperparameters alone, and members that just go on are not trained again. Cost is the number of trainings and
their steps, which end at the target. A training that misses the target counts as the most steps times 2 - its best
accuracy. On fresh seeds accuracy is that on the first test images, as many as there are validation images."""

_STARS = "Differences with 95 % intervals; * where the interval excludes 0."


def schedules_table(part: PartResult) -> list[str]:
    """Population-based training: a row per method."""
    measure = measure_of(part)
    lines = [
        "| method | steps of a search | winner's generation | validation | winner's own network, test | "
        f"fresh seeds, test {measure} | lower than default by | fresh seeds, test loss | lower than default by |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method, by_seed in part.found.items():
        results = list(by_seed.values())
        networks = [_network(result["network"], part) for result in results if result["network"] is not None]
        cells = [
            NAMES[method],
            f"{results[0]['steps']:,}",
            f"{fmean(result['born'] + 1 for result in results):.1f}",
            spread_of([result["fom"] for result in results]),
            spread(networks, part) if networks else "-",
            spread(part.means(method).values(), part),
            _lower(part, method, None),
            spread_of(list(part.means(method, "loss").values())),
            _lower(part, method, "loss"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", f"Mean ± standard deviation over searches. {_STARS}", ""]


def trials_table(part: PartResult) -> list[str]:
    """Trainings to a target: a row per method, and the hyperparameters found."""
    b = part.budget
    lines = [
        f"Target: {b.target:.1%} in two successive looks, one every {b.every} minibatches (published: 98.6 %, 100)."
        + (f" The widths of the layers, and their bounds, are a {b.narrower}th of the published ones." if b.narrower > 1 else ""),
        "",
        _TRIALS,
        "",
        "| method | trainings of a search | their steps | steps to the target, validation | fresh seeds, steps on test "
        "images | reached | lower than default by | seconds | parameters |",
        "|---|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    for method, by_seed in part.found.items():
        results = list(by_seed.values())
        reached = [hit for result in results for hit in result["replay"]["reached"]]
        cells = [
            NAMES[method],
            f"{fmean(result['trainings'] for result in results):.1f}",
            f"{fmean(result['steps'] for result in results):,.0f}",
            spread_of([result["fom"] for result in results], digits=0),
            spread(part.means(method).values(), part),
            f"{sum(reached)} of {len(reached)}",
            _lower(part, method, None),
            spread_of(list(part.means(method, "seconds").values()), digits=1),
            f"{median(result['parameters'] for result in results):,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Mean ± standard deviation over searches; medians of parameters. Seconds on this machine. {_STARS}",
    ]
    lines += [
        f"Published parameters: {LENET_PARAMETERS[0]:,} and, of the optimum, {LENET_PARAMETERS[1]:,}.",
        "",
    ]
    return [*lines, *_optima(part), ""]


def _optima(part: PartResult) -> list[str]:
    methods = [method for method in NAMES if method in part.found]
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
    return [
        *lines,
        "",
        "Medians over searches; the published dropout is taken as 1 - .83, a rate of keeping.",
    ]


def _network(scores: Mapping[str, float | None], part: PartResult) -> float:
    value = scores["metric"] if part.measure == "error" else scores["loss"]
    if value is None:
        return math.nan
    return 1 - value if part.measure == "error" else math.exp(value)


def _lower(part: PartResult, method: str, measure: str | None) -> str:
    finding = compare(part, method, "default", measure) if method != "default" else None
    if finding is None:
        return "-"
    d, factor, digits = finding.difference, *_scale(part, measure)
    if not math.isfinite(d.low):
        return f"{factor * d.mean:+.{digits}f}" if math.isfinite(d.mean) else "-"
    star = " *" if d.low > 0 or d.high < 0 else ""
    return (
        f"{factor * d.mean:+.{digits}f} ({factor * d.low:+.{digits}f} to {factor * d.high:+.{digits}f}){star}"
    )


def _scale(part: PartResult, measure: str | None) -> tuple[float, int]:
    return {"error": (100.0, 2), "perplexity": (1.0, 2), "steps": (1.0, 0)}.get(
        measure or part.measure, (1.0, 4)
    )


def measure_of(part: PartResult) -> str:
    """What a part is judged by, with its unit."""
    return {"error": "error %", "perplexity": "perplexity", "steps": "steps"}[part.measure]


def spread(values: Iterable[float], part: PartResult) -> str:
    """Mean ± standard deviation in the part's measure."""
    factor, digits = _scale(part, None)
    return spread_of(list(values), factor, digits)


def percent(d: PairedDifference) -> str:
    """A relative difference with its interval."""
    if not math.isfinite(d.mean):
        return "-"
    interval = f" ({100 * d.low:+.0f} to {100 * d.high:+.0f})" if math.isfinite(d.low) else ""
    return f"{100 * d.mean:+.1f} %{interval}"
