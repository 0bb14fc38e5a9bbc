"""On which tasks do tuned optimizers differ? What they gain over each other, against the spread of seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evoopt.compare.comparison import LOCAL, run_comparison
from evoopt.compare.protocol import Protocol, check_trials
from evoopt.compare.result import Comparison
from evoopt.compare.sources import contender
from evoopt.compare.table import aligned
from evoopt.execution import Place
from evoopt.execution.precision import in_float32
from evoopt.tasks import get_task

REFERENCE = "adamw"
OPTIMIZERS = ("sgd", "adam", "lion", "muon", "adamw_ema")
"""Whom the reference is held against: optimizers of different kinds."""


@dataclass(frozen=True)
class Discrimination:
    """How far optimizers lie apart on a task, in units of the pooled standard deviation over seeds.

    Attributes:
        task: The task.
        apart: Standard deviation of the optimizers' means; if they do not differ it is about one divided by
            the root of the number of seeds. Infinite where seeds make no difference and optimizers do.
        gains: Mean of each optimizer but the reference less the reference's; NaN without two good seeds.
        deviation: The unit, in the task's metric.
    """

    task: str
    apart: float
    gains: Mapping[str, float]
    deviation: float


@in_float32()
def discriminate(protocol: Protocol, place: Place = LOCAL, quiet: bool = True) -> list[Discrimination]:
    """Tune optimizers of different kinds alike on some tasks, and see where they differ most.

    Args:
        protocol: Tasks, budget and seeds.
        place: Where to train.
        quiet: Show no progress bar.

    Returns:
        The tasks, those that tell optimizers apart best first.

    Raises:
        EvooptError: As `evoopt.compare.comparison.run_comparison`.
    """
    reference, *others = (contender(name) for name in (REFERENCE, *OPTIMIZERS))
    for task in protocol.tasks:
        get_task(task)  # a misspelt name must not wait for a worker
    check_trials([reference, *others], protocol)
    return discriminations(run_comparison(others, [reference], protocol, place, quiet=quiet))


def discriminations(comparison: Comparison) -> list[Discrimination]:
    """How far the contenders of a comparison lie apart on each task, best task first."""
    found = []
    for task, by_name in comparison.scores.items():
        good = {
            name: metrics
            for name, scores in by_name.items()
            if len(metrics := np.array([m for m in scores.metric if math.isfinite(m)])) > 1
        }
        means = {name: float(metrics.mean()) for name, metrics in good.items()}
        variances = [metrics.var(ddof=1) for metrics in good.values()]
        deviation = math.sqrt(np.mean(variances)) if variances else math.nan
        centre = means.get(comparison.reference, math.nan)
        gains = {
            name: _in_units(means.get(name, math.nan) - centre, deviation)
            for name in by_name
            if name != comparison.reference
        }
        spread = float(np.std([*means.values()], ddof=1)) if len(means) > 1 else 0.0
        found.append(Discrimination(task, _in_units(spread, deviation), gains, deviation))
    return sorted(found, key=lambda one: -one.apart)


def describe_discriminations(found: Sequence[Discrimination], protocol: Protocol) -> str:
    """A table for the terminal."""
    chance = 1 / math.sqrt(protocol.seeds)
    rows = [
        [
            one.task,
            get_task(one.task).family,
            f"{one.apart:.2f}",
            *("-" if math.isnan(gain) else f"{gain:+.2f}" for gain in one.gains.values()),
            f"{100 * one.deviation:.2f}",
        ]
        for one in found
    ]
    return "\n".join(
        [
            f"gain of tuned optimizers over tuned {REFERENCE}, test metric in standard deviations over "
            f"{protocol.seeds} seeds ({protocol.trials} trials, {protocol.steps} steps);",
            f"apart: standard deviation of all their means in the same unit, {chance:.2f} by chance alone",
            "",
            *aligned(["task", "family", "apart", *found[0].gains, "sd in points"], rows),
        ]
    )


def _in_units(difference: float, deviation: float) -> float:
    if deviation > 0 or math.isnan(difference):
        return difference / deviation
    return math.copysign(math.inf, difference) if difference else 0.0
